#include "ha/adapters/packets.h"

#include <gtest/gtest.h>

namespace itgtd::ha {
namespace {

constexpr MacAddress kMac = {std::byte{2}, std::byte{0}, std::byte{0},
                             std::byte{0}, std::byte{0}, std::byte{9}};

std::string hex(ConstBytes bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    text += "0123456789abcdef"[std::to_integer<unsigned>(byte) >> 4];
    text += "0123456789abcdef"[std::to_integer<unsigned>(byte) & 0xF];
  }
  return text;
}
IpAddress ip(const char* text) {
  return *IpAddress::parse(text);
}
IpEndpoint endpoint(const char* text) {
  return IpEndpoint::parse(text).value();
}

TEST(PacketsTest, ArpRequestAndReply) {
  EXPECT_EQ(hex(arp_announcement(ArpOperation::request, ip("10.0.0.5"), kMac)),
            "ffffffffffff0200000000090806"
            "0001080006040001"
            "0200000000090a000005"
            "0000000000000a000005");
  EXPECT_EQ(hex(arp_announcement(ArpOperation::reply, ip("10.0.0.5"), kMac)),
            "ffffffffffff0200000000090806"
            "0001080006040002"
            "0200000000090a000005"
            "ffffffffffff0a000005");
}

TEST(PacketsTest, NeighbourAdvertisementWithAChecksumThatHolds) {
  const std::vector<std::byte> frame = neighbour_advertisement(ip("2001:db8::5"), kMac);
  ASSERT_EQ(frame.size(), 14U + 40U + 32U);
  EXPECT_EQ(hex(ConstBytes(frame).first(22)), "33330000000102000000000986dd6000000000203aff");
  const ConstBytes message = ConstBytes(frame).subspan(54);
  EXPECT_EQ(hex(message.first(2)), "8800");
  EXPECT_EQ(hex(message.subspan(4)),
            "20000000"
            "20010db8000000000000000000000005"
            "0201020000000009");
  // Over source, destination, length and protocol, and the message with its checksum: RFC 1071.
  std::vector<std::byte> summed(frame.begin() + 22, frame.begin() + 54);
  summed.insert(summed.end(), {std::byte{0}, std::byte{32}, std::byte{0}, std::byte{58}});
  summed.insert(summed.end(), message.begin(), message.end());
  EXPECT_EQ(internet_checksum(summed), 0);
}

TEST(PacketsTest, TickleAckOfBothFamilies) {
  const auto four = tickle_ack(endpoint("10.0.0.5:3260"), endpoint("10.0.0.9:51234"), 0x10000000);
  ASSERT_EQ(four.size(), 40U);
  EXPECT_EQ(internet_checksum(ConstBytes(four).first(20)), 0);
  std::vector<std::byte> summed(four.begin() + 12, four.end());
  summed.insert(summed.end(), {std::byte{0}, std::byte{6}, std::byte{0}, std::byte{20}});
  EXPECT_EQ(internet_checksum(summed), 0);
  EXPECT_EQ(hex(ConstBytes(four).subspan(20, 14)), "0cbcc82210000000000000005010");
  const auto six = tickle_ack(endpoint("[2001:db8::5]:3260"), endpoint("[2001:db8::9]:51234"), 1);
  ASSERT_EQ(six.size(), 60U);
  summed.assign(six.begin() + 8, six.end());
  summed.insert(summed.end(), {std::byte{0}, std::byte{6}, std::byte{0}, std::byte{20}});
  EXPECT_EQ(internet_checksum(summed), 0);
}

/// A bare SYN, without a checksum, as a machine sends it to itself.
std::vector<std::byte> syn(const char* local, const char* peer) {
  std::vector<std::byte> packet = tickle_ack(endpoint(peer), endpoint(local), 1);
  const size_t tcp = packet.size() - 20;
  packet[tcp + 13] = std::byte{0x02};
  packet[tcp + 16] = packet[tcp + 17] = std::byte{0};
  return packet;
}

TEST(PacketsTest, ReadsARequestAndCompletesItsChecksum) {
  for (const bool ipv6 : {false, true}) {
    const char* local = ipv6 ? "[2001:db8::5]:3260" : "10.0.0.5:3260";
    const char* peer = ipv6 ? "[2001:db8::9]:51234" : "10.0.0.9:51234";
    std::vector<std::byte> packet = syn(local, peer);
    const size_t bytes = packet.size();
    packet.resize(bytes + 6);  // the padding of a short frame
    const auto request = parse_syn(packet);
    ASSERT_TRUE(request);
    EXPECT_EQ(request->local, endpoint(local));
    EXPECT_EQ(request->peer, endpoint(peer));
    ASSERT_EQ(request->packet.size(), bytes);
    const size_t addresses = ipv6 ? 32 : 8;
    const size_t tcp = bytes - 20;
    std::vector<std::byte> summed(request->packet.begin() + static_cast<ptrdiff_t>(tcp - addresses),
                                  request->packet.end());
    summed.insert(summed.end(), {std::byte{0}, std::byte{6}, std::byte{0}, std::byte{20}});
    EXPECT_EQ(internet_checksum(summed), 0) << ipv6;
  }
}

TEST(PacketsTest, WhatIsNoRequestIsNone) {
  const std::vector<std::byte> good = syn("10.0.0.5:3260", "10.0.0.9:51234");
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(parse_syn(ConstBytes(good).first(size))) << size;
  const auto with = [&](size_t at, uint8_t value) {
    std::vector<std::byte> packet = good;
    packet.at(at) = std::byte{value};
    return parse_syn(packet).has_value();
  };
  EXPECT_TRUE(with(8, 1));       // time to live: not looked at
  EXPECT_FALSE(with(0, 0x44));   // a header shorter than it can be
  EXPECT_FALSE(with(0, 0x4F));   // longer than the packet
  EXPECT_FALSE(with(0, 0x55));   // neither IPv4 nor IPv6
  EXPECT_FALSE(with(6, 0x20));   // a fragment
  EXPECT_FALSE(with(9, 17));     // UDP
  EXPECT_FALSE(with(2, 0xFF));   // says that it is longer
  EXPECT_FALSE(with(33, 0x12));  // SYN and ACK
  EXPECT_FALSE(with(33, 0x10));  // ACK
}

TEST(PacketsTest, ReadsItsOwnClaims) {
  const auto arp = parse_arp(arp_announcement(ArpOperation::reply, ip("10.0.0.5"), kMac));
  ASSERT_TRUE(arp);
  EXPECT_EQ(arp->address, ip("10.0.0.5"));
  EXPECT_EQ(to_string(arp->mac), "02:00:00:00:00:09");
  const auto frame = neighbour_advertisement(ip("2001:db8::5"), kMac);
  const auto advertisement = parse_neighbour_advertisement(ConstBytes(frame).subspan(54));
  ASSERT_TRUE(advertisement);
  EXPECT_EQ(advertisement->address, ip("2001:db8::5"));
  EXPECT_EQ(advertisement->mac, kMac);
}

TEST(PacketsTest, MalformedClaimsAreNone) {
  const auto arp = arp_announcement(ArpOperation::request, ip("10.0.0.5"), kMac);
  for (size_t size = 0; size < arp.size(); ++size)
    EXPECT_FALSE(parse_arp(ConstBytes(arp).first(size))) << size;
  for (const size_t at : {12U, 14U, 16U, 18U, 19U}) {  // ether type, hardware, protocol, lengths
    auto bad = arp;
    bad[at] ^= std::byte{0xFF};
    EXPECT_FALSE(parse_arp(bad)) << at;
  }
  EXPECT_FALSE(parse_arp(arp_announcement(ArpOperation::request, ip("0.0.0.0"), kMac)));  // a probe

  const auto frame = neighbour_advertisement(ip("2001:db8::5"), kMac);
  const ConstBytes message = ConstBytes(frame).subspan(54);
  for (size_t size = 0; size < message.size(); ++size) {
    EXPECT_FALSE(parse_neighbour_advertisement(message.first(size))) << size;
  }
  std::vector<std::byte> endless(message.begin(), message.end());
  endless[25] = std::byte{0};  // an option without a length
  EXPECT_FALSE(parse_neighbour_advertisement(endless));
  endless[25] = std::byte{200};
  EXPECT_FALSE(parse_neighbour_advertisement(endless));
}

TEST(IpAddressTest, ParsesAndMatches) {
  EXPECT_EQ(ip("10.0.0.5").to_string(), "10.0.0.5");
  EXPECT_EQ(ip("2001:DB8:0::5").to_string(), "2001:db8::5");
  for (const char* bad : {"", "10.0.0", "10.0.0.300", "10.0.0.5/24", "fe80::1%eth0", "[::1]"}) {
    EXPECT_FALSE(IpAddress::parse(bad)) << bad;
  }
  EXPECT_TRUE(ip("10.0.0.5").same_network(ip("10.0.0.200"), 24));
  EXPECT_FALSE(ip("10.0.0.5").same_network(ip("10.0.0.200"), 25));
  EXPECT_TRUE(ip("10.0.0.5").same_network(ip("192.168.0.1"), 0));
  EXPECT_FALSE(ip("10.0.0.5").same_network(ip("::10.0.0.5"), 0));
  EXPECT_FALSE(ip("10.0.0.5").same_network(ip("10.0.0.5"), 33));
  EXPECT_TRUE(ip("2001:db8::5").same_network(ip("2001:db8::5"), 128));
  EXPECT_FALSE(ip("2001:db8::5").same_network(ip("2001:db8::4"), 128));
  EXPECT_EQ(endpoint("[2001:db8::5]:3260").to_string(), "[2001:db8::5]:3260");
  EXPECT_FALSE(IpEndpoint::parse("10.0.0.5").ok());
}

}  // namespace
}  // namespace itgtd::ha
