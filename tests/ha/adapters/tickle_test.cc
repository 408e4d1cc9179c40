// An initiator that is idle learns at once that its target has moved: with the kernel's own TCP on all sides.
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/address.h"
#include "ha/adapters/announcer.h"
#include "tests/ha/adapters/network_namespace.h"

namespace itgtd::ha {
namespace {

using namespace std::chrono_literals;

struct Case {
  const char* name;
  const char* server;
  const char* client;
  const char* add_server;
  const char* add_client;
};

class TickleTest : public NetworkNamespaceTest, public ::testing::WithParamInterface<Case> {
 protected:
  void enter(const Descriptor& where) { ASSERT_EQ(::setns(where.get(), CLONE_NEWNET), 0); }
  static void move_cable(const Descriptor& to) {
    sh(fmt::format("ip link set s0 netns /proc/{}/fd/{}", ::getpid(), to.get()));
  }
  Descriptor make_namespace() {
    EXPECT_EQ(::unshare(CLONE_NEWNET), 0);
    sh("ip link set lo up");
    return present_namespace();
  }
};

bool readable(const Descriptor& socket, std::chrono::milliseconds most) {
  pollfd poll{socket.get(), POLLIN, 0};
  return ::poll(&poll, 1, static_cast<int>(most / 1ms)) == 1;
}

std::string name_of(const Descriptor& socket) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  EXPECT_EQ(::getsockname(socket.get(), static_cast<sockaddr*>(static_cast<void*>(&storage)), &size), 0);
  return Address::from_sockaddr(storage).to_string();
}

TEST_P(TickleTest, AnIdleConnectionToTheFormerOwnerIsReset) {
  Address server_address = Address::parse(GetParam().server, 0).value();
  const int family = server_address.is_ipv6() ? AF_INET6 : AF_INET;
  const Descriptor initiator = present_namespace();
  sh("ip link add c0 type veth peer name s0 address 02:00:00:00:00:05 && ip link set c0 up");
  sh(GetParam().add_client);
  const Descriptor former = make_namespace();
  const Descriptor present = make_namespace();

  enter(initiator);
  move_cable(former);
  enter(former);
  sh(GetParam().add_server);
  const Descriptor listener(::socket(family, SOCK_STREAM, 0));
  ASSERT_EQ(::bind(listener.get(), server_address.data(), server_address.size()), 0);
  ASSERT_EQ(::listen(listener.get(), 4), 0);
  enter(initiator);
  const Descriptor client(::socket(family, SOCK_STREAM, 0));
  ASSERT_EQ(::connect(client.get(), server_address.data(), server_address.size()), 0);
  const Descriptor server(::accept(listener.get(), nullptr, nullptr));
  ASSERT_TRUE(server.ok());

  // The address moves, with the hardware address: what remains is the connection. The new owner listens
  // already.
  enter(former);
  move_cable(present);
  enter(present);
  sh(GetParam().add_server);
  const Descriptor takes_over(::socket(family, SOCK_STREAM, 0));
  ASSERT_EQ(::bind(takes_over.get(), server_address.data(), server_address.size()), 0);
  ASSERT_EQ(::listen(takes_over.get(), 4), 0);
  EXPECT_FALSE(readable(client, 200ms));

  Announcer announcer(loop, [](const std::string&, const std::string&) {});
  announcer.tickle({{"nonsense", "at all"},
                    {"10.0.0.5:3260", "[::1]:5"},
                    {"10.0.0.5", "10.0.0.9:5"},
                    {GetParam().server, name_of(client)}});
  const Instant tickled = now();
  ASSERT_TRUE(run_until([&] { return readable(client, 0ms); }, 1000ms));
  RecordProperty("reset_after_us", std::to_string((now() - tickled) / 1us));
  char byte = 0;
  EXPECT_EQ(::recv(client.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
  run_for(1200ms);  // the further rounds disturb nobody
  enter(initiator);
  const Descriptor again(::socket(family, SOCK_STREAM, 0));
  EXPECT_EQ(::connect(again.get(), server_address.data(), server_address.size()), 0);
}

TEST_P(TickleTest, ALiveConnectionSurvives) {
  Address address = Address::parse(GetParam().server, 0).value();
  const int family = address.is_ipv6() ? AF_INET6 : AF_INET;
  sh("ip link add c0 type veth peer name s0 && ip link set c0 up");
  sh(GetParam().add_server);
  const Descriptor listener(::socket(family, SOCK_STREAM, 0));
  ASSERT_EQ(::bind(listener.get(), address.data(), address.size()), 0);
  ASSERT_EQ(::listen(listener.get(), 4), 0);
  const Descriptor client(::socket(family, SOCK_STREAM, 0));
  ASSERT_EQ(::connect(client.get(), address.data(), address.size()), 0);
  const Descriptor server(::accept(listener.get(), nullptr, nullptr));
  Announcer announcer(loop, [](const std::string&, const std::string&) {});
  announcer.tickle({{GetParam().server, name_of(client)}});
  run_for(900ms);
  EXPECT_EQ(::send(server.get(), "x", 1, MSG_NOSIGNAL), 1);
  char byte = 0;
  EXPECT_TRUE(readable(client, 500ms));
  EXPECT_EQ(::recv(client.get(), &byte, 1, 0), 1);
}

TEST_P(TickleTest, ThousandsAreSpread) {
  sh("ip link add c0 type veth peer name s0 && ip link set c0 up");
  sh(GetParam().add_server);
  std::vector<TcpPair> pairs;
  const std::string peer = std::string(GetParam().client);
  for (int port = 20000; port < 30000; ++port)
    pairs.push_back({GetParam().server, peer + std::to_string(port)});
  Announcer announcer(loop, [](const std::string&, const std::string&) {});
  const Instant begun = now();
  announcer.tickle(pairs);
  RecordProperty("queue_10000_us", std::to_string((now() - begun) / 1us));
  Duration longest{};
  Instant last = now();
  (void)run_until([&] {
    longest = std::max(longest, now() - last);
    last = now();
    return last - begun > 1500ms;
  });
  RecordProperty("longest_turn_us", std::to_string(longest / 1us));
  EXPECT_LE(longest, 1s);
}

INSTANTIATE_TEST_SUITE_P(
    Families, TickleTest,
    ::testing::Values(Case{"IPv4", "10.0.0.5:3260",
                           "10.0.0.9:", "ip address add 10.0.0.5/24 dev s0 && ip link set s0 up",
                           "ip address add 10.0.0.9/24 dev c0"},
                      Case{"IPv6", "[2001:db8::5]:3260", "[2001:db8::9]:",
                           "ip address add 2001:db8::5/64 dev s0 nodad && ip link set s0 up",
                           "ip address add 2001:db8::9/64 dev c0 nodad"}),
    [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace itgtd::ha
