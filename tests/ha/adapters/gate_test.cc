#include "ha/adapters/gate.h"

#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/address.h"
#include "tests/ha/adapters/network_namespace.h"

namespace itgtd::ha {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr const char* kFour = "127.0.0.5:3260";
constexpr const char* kSix = "[::1]:3260";
constexpr TimeMs kLong = 60'000;

/// Listens on an address of this namespace.
class Listener {
 public:
  explicit Listener(const std::string& text) : address_(*Address::parse(text, 0)), socket_(make()) {
    const int yes = 1;
    EXPECT_EQ(::setsockopt(socket_.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes), 0);
    EXPECT_EQ(::bind(socket_.get(), address_.data(), address_.size()), 0) << text;
    EXPECT_EQ(::listen(socket_.get(), 16), 0);
  }
  /// Whether a connection comes about within `most`.
  [[nodiscard]] bool answers(std::chrono::milliseconds most = 60ms) const {
    const Descriptor client = make();
    if (::connect(client.get(), address_.data(), address_.size()) == 0) return true;
    pollfd writable{client.get(), POLLOUT, 0};
    if (::poll(&writable, 1, static_cast<int>(most / 1ms)) != 1) return false;
    int error = 0;
    socklen_t size = sizeof error;
    return ::getsockopt(client.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
  }
  struct Pair {
    Descriptor client;
    Descriptor server;
  };
  [[nodiscard]] Pair connection() const {
    Descriptor client = make();
    (void)::connect(client.get(), address_.data(), address_.size());
    pollfd readable{socket_.get(), POLLIN, 0};
    EXPECT_EQ(::poll(&readable, 1, 1000), 1);
    return {Descriptor(client.release()),
            Descriptor(::accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK))};
  }

 private:
  [[nodiscard]] Descriptor make() const {
    return Descriptor(::socket(address_.is_ipv6() ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  }
  Address address_;
  Descriptor socket_;
};

bool readable(const Descriptor& socket, std::chrono::milliseconds most) {
  pollfd poll{socket.get(), POLLIN, 0};
  return ::poll(&poll, 1, static_cast<int>(most / 1ms)) == 1;
}

class GateTest : public NetworkNamespaceTest {
 protected:
  void SetUp() override {
    NetworkNamespaceTest::SetUp();
    if (IsSkipped()) return;
    if (!succeeds(
            "nft 'table inet t { chain c { type filter hook input priority 0; }; }; delete table inet t'")) {
      GTEST_SKIP() << "needs nft and a kernel with nf_tables for inet";
    }
    gate = std::make_unique<Gate>(loop);
  }
  void guard(const std::vector<std::string>& portals) {
    const Result<void> guarded = gate->guard(portals);
    ASSERT_TRUE(guarded.ok()) << guarded.error().to_string();
  }
  std::unique_ptr<Gate> gate;
};

#define EXPECT_OK(expression)                               \
  do {                                                      \
    const Result<void> result = (expression);               \
    EXPECT_TRUE(result.ok()) << result.error().to_string(); \
  } while (false)

TEST_F(GateTest, LetsPassWhatIsOpenWhileTheLeaseStands) {
  const Listener four(kFour);
  const Listener six(kSix);
  const Listener other_port("127.0.0.5:3261");
  const Listener other_host("127.0.0.6:3260");
  EXPECT_FALSE(gate->open({kFour}).ok());
  guard({kFour, kSix});
  EXPECT_FALSE(four.answers());
  EXPECT_FALSE(six.answers());
  EXPECT_TRUE(other_port.answers());
  EXPECT_TRUE(other_host.answers());
  EXPECT_OK(gate->open({kFour, kSix}));
  EXPECT_FALSE(four.answers());  // no lease
  EXPECT_OK(gate->lease(kLong));
  EXPECT_TRUE(four.answers());
  EXPECT_TRUE(six.answers());
  EXPECT_OK(gate->close({kFour}));
  EXPECT_OK(gate->close({kFour}));
  EXPECT_FALSE(four.answers());
  EXPECT_TRUE(six.answers());
  EXPECT_OK(gate->lease(0));
  EXPECT_FALSE(six.answers());
  EXPECT_EQ(gate->restored(), 0U);
}

TEST_F(GateTest, NothingLeavesAClosedPortal) {
  for (const char* portal : {kFour, kSix}) {
    const Listener listener(portal);
    guard({portal});
    EXPECT_OK(gate->open({portal}));
    EXPECT_OK(gate->lease(kLong));
    Listener::Pair pair = listener.connection();
    EXPECT_OK(gate->close({portal}));
    EXPECT_EQ(::send(pair.server.get(), "x", 1, MSG_NOSIGNAL), 1);
    EXPECT_FALSE(readable(pair.client, 300ms));
    // The end of the connection stays inside as well: neither FIN nor RST.
    const linger reset{1, 0};
    EXPECT_EQ(::setsockopt(pair.server.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    ::close(pair.server.release());
    EXPECT_FALSE(readable(pair.client, 300ms));
  }
}

TEST_F(GateTest, HoldsNewConnectionsAndLetsOldOnesGoOn) {
  const Listener four(kFour);
  ASSERT_TRUE(gate->guard({kFour}).ok());
  ASSERT_TRUE(gate->lease(kLong).ok());
  ASSERT_TRUE(gate->open({kFour}).ok());
  const Listener::Pair pair = four.connection();
  ASSERT_TRUE(pair.server.ok());

  ASSERT_TRUE(gate->hold_new({kFour}).ok());
  EXPECT_FALSE(four.answers());
  ASSERT_EQ(::send(pair.server.get(), "x", 1, MSG_NOSIGNAL), 1);
  EXPECT_TRUE(readable(pair.client, 1s)) << "what is there goes on";
  ASSERT_EQ(::send(pair.client.get(), "y", 1, MSG_NOSIGNAL), 1);
  EXPECT_TRUE(readable(pair.server, 1s));

  ASSERT_TRUE(gate->open({kFour}).ok());
  EXPECT_TRUE(four.answers(1s)) << "open again, it lets new ones in";
}

TEST_F(GateTest, ClosesByItselfWhenNobodyRenews) {
  const Listener listener(kFour);
  guard({kFour});
  EXPECT_OK(gate->open({kFour}));
  EXPECT_OK(gate->lease(300));
  const Instant end = now() + 300ms;
  const Listener::Pair pair = listener.connection();
  Instant last{};
  for (bool passes = true; passes && now() < end + 200ms;) {
    EXPECT_EQ(::send(pair.server.get(), "x", 1, MSG_NOSIGNAL), 1);
    passes = readable(pair.client, 50ms);
    if (passes) last = now();
    char byte = 0;
    EXPECT_EQ(::recv(pair.client.get(), &byte, 1, 0), passes ? 1 : -1);
  }
  RecordProperty("last_answer_after_lease_us", std::to_string((last - end) / 1us));
  EXPECT_GE(last, end - 50ms);
  EXPECT_LE(last, end + 10ms);
  EXPECT_OK(gate->lease(kLong));
  EXPECT_TRUE(listener.answers());
}

TEST_F(GateTest, RenewingOpensNoGapAndLeavesNone) {
  const Listener listener(kFour);
  guard({kFour, kSix});
  EXPECT_OK(gate->open({kFour}));
  EXPECT_OK(gate->lease(400));
  Listener::Pair pair = listener.connection();
  // Each segment that is dropped costs a retransmission of 200 ms: a gap would show.
  const Instant end = now() + 1500ms;
  Duration longest{};
  int rounds = 0;
  for (; now() < end; ++rounds) {
    const Instant begun = now();
    EXPECT_EQ(::send(pair.server.get(), "x", 1, MSG_NOSIGNAL), 1);
    EXPECT_OK(rounds % 64 == 63 ? gate->guard({kFour, kSix}) : gate->lease(400));
    ASSERT_TRUE(readable(pair.client, 1000ms));
    char byte = 0;
    EXPECT_EQ(::recv(pair.client.get(), &byte, 1, 0), 1);
    longest = std::max(longest, now() - begun);
  }
  RecordProperty("rounds", rounds);
  RecordProperty("longest_us", std::to_string(longest / 1us));
  EXPECT_LE(longest, 150ms);
}

TEST_F(GateTest, AClosedPortalStaysClosedWhileTheLeaseIsRenewed) {
  const Listener listener(kFour);
  guard({kFour});
  EXPECT_OK(gate->lease(kLong));
  for (int i = 0; i < 200; ++i) EXPECT_OK(gate->lease(kLong));
  EXPECT_FALSE(listener.answers());
}

TEST_F(GateTest, ALaterDaemonTakesOverWhatIsOpen) {
  const Listener four(kFour);
  const Listener six(kSix);
  guard({kFour, kSix});
  EXPECT_OK(gate->open({kFour, kSix}));
  EXPECT_OK(gate->lease(1500));
  const Instant end = now() + 1500ms;
  gate.reset();
  EXPECT_TRUE(four.answers());  // the table outlives the daemon
  gate = std::make_unique<Gate>(loop);
  guard({kFour, "127.0.0.7:3260"});
  EXPECT_TRUE(four.answers());
  EXPECT_TRUE(six.answers());  // not guarded any more
  ASSERT_TRUE(run_until([&] { return now() > end + 20ms; }));
  EXPECT_FALSE(four.answers());  // but not the lease beyond its end
  EXPECT_OK(gate->lease(kLong));
  EXPECT_TRUE(four.answers());
  // What was open and is guarded again has to be opened again.
  guard({kFour, kSix});
  EXPECT_FALSE(six.answers());
}

TEST_F(GateTest, PutsBackWhatSomebodyElseChanged) {
  const Listener four(kFour);
  const Listener six(kSix);
  guard({kFour, kSix});
  EXPECT_OK(gate->open({kFour}));
  EXPECT_OK(gate->lease(kLong));
  uint64_t restored = 0;
  for (const char* change : {
           "nft flush ruleset",
           "nft delete table inet itgtd",
           "nft flush table inet itgtd",
           "nft flush chain inet itgtd to4",
           "nft insert rule inet itgtd input accept",
           "nft flush set inet itgtd portals6",
           "nft 'add element inet itgtd open6 { ::1 . 3260 }'",
           "nft delete element inet itgtd open4 { 127.0.0.5 . 3260 }",
           "nft flush set inet itgtd lease",
           "nft 'add table inet itgtd { flags dormant; }'",
       }) {
    sh(change);
    const Instant changed = now();
    ASSERT_TRUE(run_until([&] { return gate->restored() == restored + 1; }, 1200ms)) << change;
    EXPECT_LE(now() - changed, 1000ms) << change;
    restored = gate->restored();
    EXPECT_TRUE(four.answers()) << change;
    EXPECT_FALSE(six.answers()) << change;
  }
  // What others do elsewhere is theirs.
  sh("nft add table ip another; nft add table ip itgtd; nft add chain ip itgtd input");
  run_for(1100ms);
  EXPECT_EQ(gate->restored(), restored);
  // The change that finds the table gone before the event was heard.
  sh("nft flush ruleset");
  EXPECT_OK(gate->close({kFour}));
  EXPECT_FALSE(four.answers());
  EXPECT_EQ(gate->restored(), restored + 1);
}

TEST_F(GateTest, RemoveLeavesNothing) {
  const Listener four(kFour);
  guard({kFour});
  gate->remove();
  EXPECT_TRUE(four.answers());
  EXPECT_FALSE(succeeds("nft list table inet itgtd"));
  run_for(1100ms);  // nor is it put back
  EXPECT_FALSE(succeeds("nft list table inet itgtd"));
  guard({kFour});
  EXPECT_FALSE(four.answers());
}

TEST_F(GateTest, BadPortalsAreRefusedAndChangeNothing) {
  guard({kFour});
  for (const char* bad : {"", "127.0.0.5", "127.0.0.5:0", "host:3260", "127.0.0.5:3260 } drop"}) {
    EXPECT_FALSE(gate->guard({bad}).ok()) << bad;
    EXPECT_FALSE(gate->open({bad}).ok()) << bad;
    EXPECT_FALSE(gate->close({bad}).ok()) << bad;
  }
  EXPECT_THAT(gate->guard({"127.0.0.5"}).error().to_string(), HasSubstr("has no port"));
  EXPECT_TRUE(succeeds("nft list set inet itgtd portals4 | grep -q 127.0.0.5"));
}

TEST_F(GateTest, SaysWhatIsMissingWithoutPermission) {
  // In a namespace of users without a namespace of networks there is no CAP_NET_ADMIN over this one.
  EXPECT_EXIT(
      {
        if (::unshare(CLONE_NEWUSER) != 0) std::exit(2);
        control::EventLoop own_loop;
        Gate own(own_loop);
        const Result<void> guarded = own.guard({kFour});
        if (guarded.ok()) std::exit(3);
        fmt::print(stderr, "{}\n", guarded.error().to_string());
        std::exit(0);
      },
      ::testing::ExitedWithCode(0), "CAP_NET_ADMIN");
}

TEST_F(GateTest, ALeaseCostsTheSameForSixteenHundredPortals) {
  std::vector<std::string> portals;
  for (int i = 0; i < 800; ++i) {
    portals.push_back(fmt::format("10.0.{}.{}:3260", 1 + i / 200, 1 + i % 200));
    portals.push_back(fmt::format("[2001:db8::{:x}]:3260", 16 + i));
  }
  const Instant begun = now();
  guard(portals);
  RecordProperty("guard_1600_us", std::to_string((now() - begun) / 1us));
  std::vector<Duration> costs;
  for (int i = 0; i < 101; ++i) {
    const Instant renewing = now();
    EXPECT_OK(gate->lease(kLong));
    costs.push_back(now() - renewing);
  }
  std::sort(costs.begin(), costs.end());
  RecordProperty("lease_median_us", std::to_string(costs[50] / 1us));
  RecordProperty("lease_99_us", std::to_string(costs[99] / 1us));
  EXPECT_LE(costs[50], 5ms);
  const std::vector<std::string> group(portals.begin(), portals.begin() + 8);
  const Instant opening = now();
  EXPECT_OK(gate->open(group));
  RecordProperty("open_8_us", std::to_string((now() - opening) / 1us));
  const Instant closing = now();
  EXPECT_OK(gate->close(group));
  RecordProperty("close_8_us", std::to_string((now() - closing) / 1us));
  EXPECT_OK(gate->open(portals));
  EXPECT_OK(gate->close(portals));
  sh("nft flush ruleset");
  const Instant flushed = now();
  ASSERT_TRUE(run_until([&] { return gate->restored() == 1; }));
  RecordProperty("put_back_1600_us", std::to_string((now() - flushed) / 1us));
}

}  // namespace
}  // namespace itgtd::ha
