#include "base/address.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

namespace itgtd {
namespace {

using ::testing::HasSubstr;

Address address(std::string_view text) {
  const auto parsed = Address::parse(text, 3260);
  EXPECT_TRUE(parsed.ok()) << text;
  return parsed.ok() ? parsed.value() : Address();
}

Network network(std::string_view text) {
  const auto parsed = Network::parse(text);
  EXPECT_TRUE(parsed.ok()) << text;
  return parsed.ok() ? parsed.value() : Network();
}

sockaddr_storage ipv6_storage(const char* host, uint16_t port, uint32_t scope = 0) {
  sockaddr_storage storage{};
  auto& to = *static_cast<sockaddr_in6*>(static_cast<void*>(&storage));
  to.sin6_family = AF_INET6;
  to.sin6_port = htons(port);
  to.sin6_scope_id = scope;
  EXPECT_EQ(inet_pton(AF_INET6, host, &to.sin6_addr), 1);
  return storage;
}

TEST(AddressTest, ParsesAndPrints) {
  struct Case {
    const char* text;
    const char* printed;
  };
  for (const Case& it :
       {Case{"192.168.222.35:3260", "192.168.222.35:3260"}, Case{"192.168.222.35", "192.168.222.35:3260"},
        Case{"127.0.0.1:1", "127.0.0.1:1"}, Case{"0.0.0.0:65535", "0.0.0.0:65535"},
        Case{"[2001:db8::35]:3261", "[2001:db8::35]:3261"}, Case{"[2001:db8::35]", "[2001:db8::35]:3260"},
        Case{"2001:DB8:0:0::35", "[2001:db8::35]:3260"}, Case{"::1", "[::1]:3260"},
        Case{"[::]:3260", "[::]:3260"}, Case{"::ffff:192.0.2.1", "192.0.2.1:3260"},
        Case{"[::ffff:c000:201]:5", "192.0.2.1:5"}}) {
    EXPECT_EQ(address(it.text).to_string(), it.printed);
  }
}

TEST(AddressTest, JunkIsRefusedAndNamed) {
  using namespace std::string_view_literals;
  for (const std::string_view text : {""sv,
                                      ":"sv,
                                      ":3260"sv,
                                      "192.168.1"sv,
                                      "192.168.1.256"sv,
                                      "192.168.1.1:"sv,
                                      "192.168.1.1:0"sv,
                                      "192.168.1.1:65536"sv,
                                      "192.168.1.1:-1"sv,
                                      "192.168.1.1:+1"sv,
                                      "192.168.1.1:3260 "sv,
                                      " 192.168.1.1"sv,
                                      "192.168.1.1:0x10"sv,
                                      "192.168.1.01"sv,
                                      "host.example"sv,
                                      "localhost:3260"sv,
                                      "[]"sv,
                                      "[]:3260"sv,
                                      "[::1"sv,
                                      "[::1]3260"sv,
                                      "[::1]:"sv,
                                      "[::1]:x"sv,
                                      "::1]"sv,
                                      "[192.0.2.1]:3260"sv,
                                      "[[::1]]"sv,
                                      "1:2:3:4:5:6:7:8:9"sv,
                                      "2001:db8::1::2"sv,
                                      "fe80::1%eth0"sv,
                                      "[fe80::1%2]:3260"sv,
                                      "192.168.1.1\0:3260"sv,
                                      "::1\0"sv,
                                      "99999999999999999999999999999999999999999999999999999999"sv,
                                      "192.168.1.1:99999999999999999999999"sv,
                                      "192.168.1.1/24"sv}) {
    const auto parsed = Address::parse(text, 3260);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(parsed.error().message, HasSubstr(std::string(text)));
  }
}

TEST(AddressTest, PartsAndFamilies) {
  const Address v4 = address("10.1.2.3:4");
  EXPECT_EQ(v4.host(), "10.1.2.3");
  EXPECT_EQ(v4.port(), 4);
  EXPECT_FALSE(v4.is_ipv6());
  EXPECT_EQ(v4.size(), sizeof(sockaddr_in));
  EXPECT_EQ(v4.data()->sa_family, AF_INET);
  const Address v6 = address("[2001:db8::1]:5");
  EXPECT_EQ(v6.host(), "2001:db8::1");
  EXPECT_EQ(v6.port(), 5);
  EXPECT_TRUE(v6.is_ipv6());
  EXPECT_EQ(v6.size(), sizeof(sockaddr_in6));
}

TEST(AddressTest, Wildcards) {
  EXPECT_TRUE(address("0.0.0.0").is_wildcard());
  EXPECT_TRUE(address("[::]:9").is_wildcard());
  EXPECT_FALSE(address("0.0.0.1").is_wildcard());
  EXPECT_FALSE(address("::1").is_wildcard());
  EXPECT_FALSE(Address().is_wildcard());
}

TEST(AddressTest, ComparesByValue) {
  EXPECT_EQ(address("10.0.0.1:1"), address("10.0.0.1:1"));
  EXPECT_FALSE(address("10.0.0.1:1") == address("10.0.0.1:2"));
  EXPECT_TRUE(address("10.0.0.1:1").same_host(address("10.0.0.1:2")));
  EXPECT_FALSE(address("10.0.0.1").same_host(address("10.0.0.2")));
  EXPECT_FALSE(address("0.0.0.0").same_host(address("::")));
  EXPECT_EQ(address("::ffff:10.0.0.1"), address("10.0.0.1"));
}

TEST(AddressTest, FromTheKernel) {
  EXPECT_EQ(Address::from_sockaddr(ipv6_storage("2001:db8::35", 3260)), address("[2001:db8::35]:3260"));
  const Address mapped = Address::from_sockaddr(ipv6_storage("::ffff:192.0.2.7", 99));
  EXPECT_EQ(mapped.to_string(), "192.0.2.7:99");
  EXPECT_FALSE(mapped.is_ipv6());
  sockaddr_storage other{};
  other.ss_family = AF_UNIX;
  EXPECT_EQ(Address::from_sockaddr(other), Address());
  EXPECT_EQ(Address::from_sockaddr(other).port(), 0);
}

TEST(AddressTest, LinkLocalOnTwoLinksIsTwoHosts) {
  const Address one = Address::from_sockaddr(ipv6_storage("fe80::1", 1, 2));
  const Address two = Address::from_sockaddr(ipv6_storage("fe80::1", 1, 3));
  EXPECT_FALSE(one == two);
}

TEST(NetworkTest, ParsesAndPrints) {
  EXPECT_EQ(network("192.168.222.0/24").to_string(), "192.168.222.0/24");
  EXPECT_EQ(network("192.168.222.35").to_string(), "192.168.222.35/32");
  EXPECT_EQ(network("0.0.0.0/0").to_string(), "0.0.0.0/0");
  EXPECT_EQ(network("2001:DB8::/32").to_string(), "2001:db8::/32");
  EXPECT_EQ(network("::1").to_string(), "::1/128");
  EXPECT_EQ(network("::ffff:10.0.0.0/104").to_string(), "10.0.0.0/8");
  EXPECT_EQ(network("10.0.0.0/8"), network("::ffff:10.0.0.0/104"));
}

TEST(NetworkTest, JunkIsRefused) {
  for (const char* text : {"", "/", "/24", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8/8",
                           "10.0.0.0/ 8", "10.0.0.1/24", "10.0.0.0:3260", "2001:db8::/129", "2001:db8::1/64",
                           "x/8", "::/0x1", "[::1]/128", "::ffff:0:0/95", "128.0.0.0/0"}) {
    EXPECT_FALSE(Network::parse(text).ok()) << text;
  }
}

TEST(NetworkTest, ContainsItsOwnAndNothingElse) {
  const Network slash24 = network("192.168.222.0/24");
  EXPECT_TRUE(slash24.contains(address("192.168.222.0")));
  EXPECT_TRUE(slash24.contains(address("192.168.222.255:1")));
  EXPECT_TRUE(slash24.contains(address("::ffff:192.168.222.9")));
  EXPECT_FALSE(slash24.contains(address("192.168.223.0")));
  EXPECT_FALSE(slash24.contains(address("192.168.221.255")));
  EXPECT_FALSE(slash24.contains(address("c0a8:de00::")));
  EXPECT_FALSE(slash24.contains(Address()));
  const Network odd = network("10.96.0.0/11");
  EXPECT_TRUE(odd.contains(address("10.127.255.255")));
  EXPECT_FALSE(odd.contains(address("10.128.0.0")));
  EXPECT_FALSE(odd.contains(address("10.95.255.255")));
  EXPECT_TRUE(network("0.0.0.0/0").contains(address("255.255.255.255")));
  EXPECT_FALSE(network("0.0.0.0/0").contains(address("::1")));
  const Network v6 = network("2001:db8:8000::/33");
  EXPECT_TRUE(v6.contains(address("2001:db8:ffff::1")));
  EXPECT_FALSE(v6.contains(address("2001:db8:7fff::1")));
  EXPECT_TRUE(network("::1/128").contains(address("::1")));
  EXPECT_FALSE(network("::1/128").contains(address("::2")));
}

}  // namespace
}  // namespace itgtd
