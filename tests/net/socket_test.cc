#include "net/socket.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "net/ring.h"

namespace itgtd::net {
namespace {

using namespace std::chrono_literals;

Address address(std::string_view text) {
  const auto parsed = Address::parse(text, 3260);
  EXPECT_TRUE(parsed.ok());
  return parsed.value();
}

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(fd, level, name, &value, &size), 0);
  return value;
}

// Port 0 can't be written in a configuration; here the kernel is to choose one.
Address any_port(std::string_view host) {
  sockaddr_storage storage{};
  const Address parsed = address(host);
  std::memcpy(&storage, parsed.data(), parsed.size());
  if (parsed.is_ipv6()) {
    static_cast<sockaddr_in6*>(static_cast<void*>(&storage))->sin6_port = 0;
  } else {
    static_cast<sockaddr_in*>(static_cast<void*>(&storage))->sin_port = 0;
  }
  return Address::from_sockaddr(storage);
}

void connect_through(const char* host) {
  const auto listener = listen_on(any_port(host), 8);
  if (!listener.ok() && (listener.error().code == EAFNOSUPPORT || listener.error().code == EADDRNOTAVAIL)) {
    GTEST_SKIP() << listener.error().to_string();
  }
  ASSERT_TRUE(listener.ok()) << listener.error().to_string();
  const auto local = local_address(listener.value());
  ASSERT_TRUE(local.ok());
  EXPECT_NE(local->port(), 0);

  auto ring = Ring::create({.entries = 8});
  ASSERT_TRUE(ring.ok());
  (*ring)->accept({OpKind::accept, {1, 1}}, listener.value());
  std::array<Completion, 2> done{};
  EXPECT_EQ((*ring)->submit_and_wait(now() + 5ms, done), 0U) << "an accept must wait for a connection";

  const int client = ::socket(local->is_ipv6() ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::connect(client, local->data(), local->size()), 0);
  ASSERT_EQ((*ring)->submit_and_wait(now() + 5s, done), 1U);
  const int server = done[0].result;
  ASSERT_GE(server, 0);
  tune_connection(server);
  EXPECT_NE(option(server, IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_NE(option(server, SOL_SOCKET, SO_KEEPALIVE), 0);
  EXPECT_EQ(local_address(server).value(), *local.operator->());
  EXPECT_EQ(peer_address(server).value(), local_address(client).value());
  ::close(client);
  ::close(server);
  ::close(listener.value());
}

TEST(SocketTest, ConnectsOverIpv4) {
  connect_through("127.0.0.1");
}
TEST(SocketTest, ConnectsOverIpv6) {
  connect_through("[::1]");
}

TEST(SocketTest, ListensOnAnAddressThatIsNotHereYet) {
  // TEST-NET-1: no interface has it.
  const auto listener = listen_on(any_port("192.0.2.35"), 8);
  ASSERT_TRUE(listener.ok()) << listener.error().to_string();
  ::close(listener.value());
  const auto ipv6 = listen_on(any_port("[2001:db8::35]"), 8);
  if (!ipv6.ok() && ipv6.error().code == EAFNOSUPPORT) GTEST_SKIP() << "no IPv6 here";
  ASSERT_TRUE(ipv6.ok()) << ipv6.error().to_string();
  ::close(ipv6.value());
}

TEST(SocketTest, AddressInUseSaysSo) {
  const auto first = listen_on(any_port("127.0.0.1"), 8);
  ASSERT_TRUE(first.ok());
  const auto taken = local_address(first.value());
  ASSERT_TRUE(taken.ok());
  const auto second = listen_on(taken.value(), 8);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, EADDRINUSE);
  EXPECT_NE(second.error().message.find(taken->to_string()), std::string::npos);
  ::close(first.value());
}

TEST(SocketTest, WildcardsOfBothFamiliesShareAPort) {
  const auto ipv6 = listen_on(any_port("[::]"), 8);
  if (!ipv6.ok() && ipv6.error().code == EAFNOSUPPORT) GTEST_SKIP() << "no IPv6 here";
  ASSERT_TRUE(ipv6.ok()) << ipv6.error().to_string();
  const auto bound = local_address(ipv6.value());
  ASSERT_TRUE(bound.ok());
  const auto ipv4 = listen_on(address("0.0.0.0:" + std::to_string(bound->port())), 8);
  EXPECT_TRUE(ipv4.ok());
  if (ipv4.ok()) ::close(ipv4.value());
  ::close(ipv6.value());
}

TEST(SocketTest, AddressOfWhatIsNoSocketIsAnError) {
  EXPECT_FALSE(local_address(-1).ok());
  EXPECT_FALSE(peer_address(-1).ok());
}

}  // namespace
}  // namespace itgtd::net
