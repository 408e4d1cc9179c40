#include "ha/adapters/announcer.h"

#include <gmock/gmock.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>

#include "ha/adapters/packets.h"
#include "tests/ha/adapters/network_namespace.h"

namespace itgtd::ha {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::IsEmpty;

constexpr MacAddress kStranger = {std::byte{2}, std::byte{0}, std::byte{0},
                                  std::byte{0}, std::byte{0}, std::byte{9}};

/// An end of a cable, as raw frames.
class Tap {
 public:
  explicit Tap(const std::string& interface)
      : socket_(::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_ll at{};
    at.sll_family = AF_PACKET;
    at.sll_protocol = htons(ETH_P_ALL);
    at.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
    const int yes = 1;
    EXPECT_EQ(::setsockopt(socket_.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes), 0);
    EXPECT_EQ(::bind(socket_.get(), static_cast<const sockaddr*>(static_cast<const void*>(&at)), sizeof at),
              0);
  }
  void send(const std::vector<std::byte>& frame) const {
    EXPECT_EQ(::send(socket_.get(), frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
  }
  /// How often each of `frames` has arrived since the last call.
  std::vector<int> count(const std::vector<std::vector<std::byte>>& frames) const {
    std::vector<int> counts(frames.size());
    std::array<std::byte, 2048> buffer{};
    for (;;) {
      const ssize_t received = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
      if (received < 0) return counts;
      for (size_t i = 0; i < frames.size(); ++i) {
        if (std::equal(frames[i].begin(), frames[i].end(), buffer.begin(), buffer.begin() + received))
          ++counts[i];
      }
    }
  }

 private:
  Descriptor socket_;
};

class AnnouncerTest : public NetworkNamespaceTest {
 protected:
  void SetUp() override {
    NetworkNamespaceTest::SetUp();
    if (IsSkipped()) return;
    sh("ip link add v0 address 02:00:00:00:00:01 type veth peer name v1 address 02:00:00:00:00:02");
    sh("ip link set v0 up; ip link set v1 up");
    index = ::if_nametoindex("v0");
    announcer = std::make_unique<Announcer>(loop, [this](const std::string& address, const std::string& mac) {
      conflicts.push_back(address + " " + mac);
    });
  }
  static MacAddress mac(uint8_t last) {
    MacAddress result = kStranger;
    result[5] = static_cast<std::byte>(last);
    return result;
  }
  std::vector<std::vector<std::byte>> frames() const {
    return {arp_announcement(ArpOperation::request, four, mac(1)),
            arp_announcement(ArpOperation::reply, four, mac(1)), neighbour_advertisement(six, mac(1))};
  }

  IpAddress four = *IpAddress::parse("10.0.0.5");
  IpAddress six = *IpAddress::parse("2001:db8::5");
  uint32_t index = 0;
  std::vector<std::string> conflicts;
  std::unique_ptr<Announcer> announcer;
};

TEST_F(AnnouncerTest, AnnouncesInBurstsUntilWithdrawn) {
  const Tap tap("v1");
  const Instant begun = now();
  announcer->announce({"10.0.0.5", index, "v0"});
  announcer->announce({"2001:db8::5", index, "v0"});
  announcer->announce({"not an address", index, "v0"});
  // By what arrives, not by when: a busy machine is late.
  std::vector<int> seen(3);
  const auto saw = [&](int of_four, int of_six) {
    const std::vector<int> more = tap.count(frames());
    for (size_t i = 0; i < seen.size(); ++i) seen[i] += more[i];
    return seen[0] >= of_four && seen[1] >= of_four && seen[2] >= of_six;
  };
  EXPECT_TRUE(run_until([&] { return saw(1, 1); }));
  EXPECT_TRUE(run_until([&] { return saw(4, 4); }));
  EXPECT_GE(now() - begun, 500ms) << "the fourth";
  EXPECT_TRUE(now() - begun >= 1s || seen == std::vector<int>({4, 4, 4})) << "the fifth comes after 1 s";
  announcer->withdraw("10.0.0.5");
  announcer->withdraw("10.0.0.6");
  (void)saw(0, 0);
  const std::vector<int> before = seen;
  EXPECT_TRUE(run_until([&] { return saw(0, before[2] + 1); }));
  EXPECT_THAT(seen, ElementsAre(before[0], before[1], Ge(before[2] + 1)));
  announcer->announce({"10.0.0.5", index, "v0"});
  announcer->announce({"2001:db8::5", index, "v0"});  // from the start
  EXPECT_TRUE(run_until([&] { return saw(before[0] + 2, before[2] + 3); }));
  EXPECT_THAT(conflicts, IsEmpty());
}

TEST_F(AnnouncerTest, AnAnnouncementMovesTheNeighboursEntry) {
  // The other end's kernel is asked what it has learnt: it lives in a namespace of its own.
  const Descriptor here = present_namespace();
  ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  const Descriptor there = present_namespace();
  ASSERT_EQ(::setns(here.get(), CLONE_NEWNET), 0);
  sh(fmt::format("ip link set v1 netns /proc/{}/fd/{}", ::getpid(), there.get()));
  ASSERT_EQ(::setns(there.get(), CLONE_NEWNET), 0);
  sh("ip link set v1 up; ip address add 10.0.0.9/24 dev v1; ip address add 2001:db8::9/64 dev v1 nodad");
  sh("ip neighbour add 10.0.0.5 dev v1 lladdr 02:00:00:00:00:99 nud stale");
  sh("ip neighbour add 2001:db8::5 dev v1 lladdr 02:00:00:00:00:99 nud stale");
  ASSERT_EQ(::setns(here.get(), CLONE_NEWNET), 0);
  announcer->announce({"10.0.0.5", index, "v0"});
  announcer->announce({"2001:db8::5", index, "v0"});
  run_for(100ms);
  ASSERT_EQ(::setns(there.get(), CLONE_NEWNET), 0);
  EXPECT_TRUE(succeeds("ip neighbour show 10.0.0.5 | grep -q 02:00:00:00:00:01"));
  EXPECT_TRUE(succeeds("ip neighbour show 2001:db8::5 | grep -q 02:00:00:00:00:01"));
  ASSERT_EQ(::setns(here.get(), CLONE_NEWNET), 0);
}

TEST_F(AnnouncerTest, HearsWhoElseClaimsAnAddress) {
  const Tap tap("v1");
  sh("ip address add 2001:db8::1/64 dev v0 nodad");
  announcer->announce({"10.0.0.5", index, "v0"});
  announcer->announce({"2001:db8::5", index, "v0"});
  run_for(20ms);
  // Not ours, a probe, our own frame come back, and an answer of another interface of this machine.
  tap.send(arp_announcement(ArpOperation::reply, *IpAddress::parse("10.0.0.6"), kStranger));
  tap.send(arp_announcement(ArpOperation::request, *IpAddress::parse("0.0.0.0"), kStranger));
  tap.send(arp_announcement(ArpOperation::request, four, mac(1)));
  tap.send(arp_announcement(ArpOperation::reply, four, mac(2)));
  tap.send(neighbour_advertisement(six, mac(1)));
  run_for(50ms);
  EXPECT_THAT(conflicts, IsEmpty());
  for (int i = 0; i < 20; ++i) {
    tap.send(arp_announcement(ArpOperation::request, four, kStranger));
    tap.send(neighbour_advertisement(six, kStranger));
  }
  ASSERT_TRUE(run_until([&] { return conflicts.size() >= 2; }));
  run_for(50ms);
  EXPECT_THAT(conflicts,
              ::testing::UnorderedElementsAre("10.0.0.5 02:00:00:00:00:09", "2001:db8::5 02:00:00:00:00:09"));
  announcer->withdraw("10.0.0.5");
  announcer->announce({"10.0.0.5", index, "v0"});
  announcer->withdraw("10.0.0.5");
  tap.send(arp_announcement(ArpOperation::request, four, kStranger));
  run_for(50ms);
  EXPECT_EQ(conflicts.size(), 2U);
}

TEST_F(AnnouncerTest, SixteenHundredAreSpread) {
  Duration longest{};
  for (int i = 0; i < 800; ++i) {
    announcer->announce({fmt::format("10.0.{}.{}", 1 + i / 200, 1 + i % 200), index, "v0"});
    announcer->announce({fmt::format("2001:db8::{:x}", 16 + i), index, "v0"});
  }
  Instant last = now();
  const Instant end = last + 1200ms;
  (void)run_until([&] {  // looks once a millisecond, between the turns
    longest = std::max(longest, now() - last);
    last = now();
    return last >= end;
  });
  RecordProperty("longest_turn_us", std::to_string(longest / 1us));
  EXPECT_LE(longest, 1s);
}

}  // namespace
}  // namespace itgtd::ha
