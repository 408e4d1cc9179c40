#include "ha/adapters/packets.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/endian.h"

namespace itgtd::ha {
namespace {

using Ip4Bytes = std::array<std::byte, 4>;
using Ip6Bytes = std::array<std::byte, 16>;

constexpr MacAddress kBroadcast = {std::byte{0xFF}, std::byte{0xFF}, std::byte{0xFF},
                                   std::byte{0xFF}, std::byte{0xFF}, std::byte{0xFF}};
// RFC 2464 §7 of ff02::1.
constexpr MacAddress kAllNodesMac = {std::byte{0x33}, std::byte{0x33}, std::byte{0},
                                     std::byte{0},    std::byte{0},    std::byte{1}};
constexpr uint16_t kEtherTypeIpv4 = 0x0800;
constexpr uint16_t kEtherTypeArp = 0x0806;
constexpr uint16_t kEtherTypeIpv6 = 0x86DD;
constexpr uint16_t kHardwareEthernet = 1;
constexpr uint8_t kProtocolTcp = 6;
constexpr uint8_t kProtocolIcmp6 = 58;
constexpr uint8_t kNeighbourAdvertisement = 136;
constexpr uint32_t kOverride = 0x20000000;
constexpr uint8_t kTargetLinkLayerAddress = 2;
constexpr uint8_t kHopLimit = 255;  // RFC 4861 §7.1.2: whatever has less was forwarded
constexpr uint8_t kTimeToLive = 64;
constexpr uint8_t kTcpAck = 0x10;
constexpr uint8_t kTcpSynOrAck = 0x12;
constexpr uint8_t kTcpSyn = 0x02;
constexpr uint16_t kFragment = 0x3FFF;  // more fragments, or not the first
constexpr size_t kTcpChecksumOffset = 16;

struct Ethernet {
  MacAddress to;
  MacAddress from;
  be16 ether_type;
};
static_assert(sizeof(Ethernet) == 14);

struct Arp {  // RFC 826
  be16 hardware;
  be16 protocol;
  uint8_t hardware_bytes = 0;
  uint8_t protocol_bytes = 0;
  be16 operation;
  MacAddress sender_mac{};
  Ip4Bytes sender{};
  MacAddress target_mac{};
  Ip4Bytes target{};
};
static_assert(sizeof(Arp) == 28);

struct Ipv4 {  // RFC 791 §3.1
  uint8_t version_and_words = 0x45;
  uint8_t service = 0;
  be16 total_bytes;
  be16 identification;
  be16 fragment;
  uint8_t time_to_live = kTimeToLive;
  uint8_t protocol = 0;
  be16 checksum;
  Ip4Bytes source{};
  Ip4Bytes destination{};
};
static_assert(sizeof(Ipv4) == 20);

struct Ipv6 {  // RFC 8200 §3
  be32 version_and_flow{0x60000000};
  be16 payload_bytes;
  uint8_t next_header = 0;
  uint8_t hop_limit = kHopLimit;
  Ip6Bytes source{};
  Ip6Bytes destination{};
};
static_assert(sizeof(Ipv6) == 40);

struct Advertisement {  // RFC 4861 §4.4
  uint8_t type = 0;
  uint8_t code = 0;
  be16 checksum;
  be32 flags;
  Ip6Bytes target{};
};
static_assert(sizeof(Advertisement) == 24);

struct LinkLayerOption {  // RFC 4861 §4.6.1
  uint8_t type = 0;
  uint8_t words = 0;  // of 8 bytes
  MacAddress mac{};
};
static_assert(sizeof(LinkLayerOption) == 8);

struct Tcp {  // RFC 9293 §3.1
  be16 source_port;
  be16 destination_port;
  be32 seq;
  be32 ack;
  uint8_t data_offset = 0x50;
  uint8_t flags = 0;
  be16 window;
  be16 checksum;
  be16 urgent;
};
static_assert(sizeof(Tcp) == 20);

uint32_t sum_of(ConstBytes bytes, uint32_t sum) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = std::to_integer<uint32_t>(bytes[i]);
    sum += i % 2 == 0 ? byte << 8 : byte;
  }
  return sum;
}

// The pseudo header of TCP and ICMPv6 (RFC 9293 §3.1, RFC 8200 §8.1): both families sum up alike.
uint32_t pseudo_header(const IpAddress& source, const IpAddress& destination, uint8_t protocol,
                       size_t bytes) {
  return sum_of(source.bytes(), sum_of(destination.bytes(), protocol + static_cast<uint32_t>(bytes)));
}

template <size_t kSize>
std::array<std::byte, kSize> octets_of(const IpAddress& address) {
  ITGTD_ASSERT(address.size() == kSize);
  std::array<std::byte, kSize> octets{};
  std::copy_n(address.octets.begin(), kSize, octets.begin());
  return octets;
}

template <typename... Parts>
std::vector<std::byte> joined(const Parts&... parts) {
  std::vector<std::byte> bytes;
  const auto append = [&](ConstBytes part) { bytes.insert(bytes.end(), part.begin(), part.end()); };
  (append(bytes_of(parts)), ...);
  return bytes;
}

}  // namespace

std::string to_string(const MacAddress& mac) {
  std::string text;
  for (const std::byte byte : mac) {
    text += fmt::format("{}{:02x}", text.empty() ? "" : ":", std::to_integer<unsigned>(byte));
  }
  return text;
}

uint16_t internet_checksum(ConstBytes bytes, uint32_t sum) {
  sum = sum_of(bytes, sum);
  while (sum > 0xFFFF) sum = (sum & 0xFFFF) + (sum >> 16);
  return static_cast<uint16_t>(~sum & 0xFFFF);
}

std::vector<std::byte> arp_announcement(ArpOperation operation, const IpAddress& address,
                                        const MacAddress& mac) {
  Arp arp;
  arp.hardware.set(kHardwareEthernet);
  arp.protocol.set(kEtherTypeIpv4);
  arp.hardware_bytes = sizeof(MacAddress);
  arp.protocol_bytes = sizeof(Ip4Bytes);
  arp.operation.set(static_cast<uint16_t>(operation));
  arp.sender_mac = mac;
  arp.sender = arp.target = octets_of<4>(address);
  // RFC 5227 §1.1: zeros in a request; in a reply, whom it is for: everybody.
  if (operation == ArpOperation::reply) arp.target_mac = kBroadcast;
  return joined(Ethernet{kBroadcast, mac, be16(kEtherTypeArp)}, arp);
}

std::vector<std::byte> neighbour_advertisement(const IpAddress& address, const MacAddress& mac) {
  IpAddress all_nodes;
  all_nodes.ipv6 = true;
  all_nodes.octets[0] = std::byte{0xFF};
  all_nodes.octets[1] = std::byte{0x02};
  all_nodes.octets[15] = std::byte{0x01};

  Advertisement advertisement;
  advertisement.type = kNeighbourAdvertisement;
  advertisement.flags.set(kOverride);
  advertisement.target = octets_of<16>(address);
  const LinkLayerOption option{kTargetLinkLayerAddress, 1, mac};
  const std::vector<std::byte> message = joined(advertisement, option);
  advertisement.checksum.set(
      internet_checksum(message, pseudo_header(address, all_nodes, kProtocolIcmp6, message.size())));

  Ipv6 ip;
  ip.payload_bytes.set(static_cast<uint16_t>(message.size()));
  ip.next_header = kProtocolIcmp6;
  ip.source = octets_of<16>(address);
  ip.destination = octets_of<16>(all_nodes);
  return joined(Ethernet{kAllNodesMac, mac, be16(kEtherTypeIpv6)}, ip, advertisement, option);
}

std::optional<NeighbourClaim> parse_arp(ConstBytes frame) {
  if (frame.size() < sizeof(Ethernet) + sizeof(Arp)) return std::nullopt;
  if (load<Ethernet>(frame).ether_type.get() != kEtherTypeArp) return std::nullopt;
  const Arp arp = load<Arp>(frame.subspan(sizeof(Ethernet)));
  if (arp.hardware.get() != kHardwareEthernet || arp.protocol.get() != kEtherTypeIpv4 ||
      arp.hardware_bytes != sizeof(MacAddress) || arp.protocol_bytes != sizeof(Ip4Bytes)) {
    return std::nullopt;
  }
  if (arp.sender == Ip4Bytes{}) return std::nullopt;
  return NeighbourClaim{*IpAddress::of(ConstBytes(arp.sender)), arp.sender_mac};
}

std::optional<NeighbourClaim> parse_neighbour_advertisement(ConstBytes message) {
  if (message.size() < sizeof(Advertisement)) return std::nullopt;
  const auto advertisement = load<Advertisement>(message);
  if (advertisement.type != kNeighbourAdvertisement || advertisement.code != 0) return std::nullopt;
  ConstBytes options = message.subspan(sizeof(Advertisement));
  while (options.size() >= sizeof(LinkLayerOption)) {
    const auto option = load<LinkLayerOption>(options);
    const size_t bytes = size_t{option.words} * 8;
    if (bytes == 0 || bytes > options.size()) return std::nullopt;  // RFC 4861 §4.6: discarded
    if (option.type == kTargetLinkLayerAddress && option.words == 1) {
      return NeighbourClaim{*IpAddress::of(ConstBytes(advertisement.target)), option.mac};
    }
    options = options.subspan(bytes);
  }
  return std::nullopt;
}

std::vector<std::byte> tickle_ack(const IpEndpoint& local, const IpEndpoint& peer, uint32_t seq) {
  ITGTD_ASSERT(local.address.ipv6 == peer.address.ipv6);
  Tcp tcp;
  tcp.source_port.set(local.port);
  tcp.destination_port.set(peer.port);
  tcp.seq.set(seq);
  tcp.flags = kTcpAck;
  tcp.checksum.set(internet_checksum(bytes_of(std::as_const(tcp)),
                                     pseudo_header(local.address, peer.address, kProtocolTcp, sizeof tcp)));
  if (local.address.ipv6) {
    Ipv6 ip;
    ip.payload_bytes.set(sizeof(Tcp));
    ip.next_header = kProtocolTcp;
    ip.hop_limit = kTimeToLive;
    ip.source = octets_of<16>(local.address);
    ip.destination = octets_of<16>(peer.address);
    return joined(ip, tcp);
  }
  Ipv4 ip;
  ip.total_bytes.set(sizeof(Ipv4) + sizeof(Tcp));
  ip.protocol = kProtocolTcp;
  ip.source = octets_of<4>(local.address);
  ip.destination = octets_of<4>(peer.address);
  ip.checksum.set(internet_checksum(bytes_of(std::as_const(ip))));
  return joined(ip, tcp);
}

std::optional<ConnectionRequest> parse_syn(ConstBytes packet) {
  if (packet.empty()) return std::nullopt;
  const auto first = std::to_integer<uint8_t>(packet[0]);
  ConnectionRequest request;
  size_t header = 0;
  size_t total = 0;
  if (first >> 4 == 4 && packet.size() >= sizeof(Ipv4)) {
    const Ipv4 ip = load<Ipv4>(packet);
    header = size_t{4} * (first & 0xFU);
    total = ip.total_bytes.get();
    if (ip.protocol != kProtocolTcp || (ip.fragment.get() & kFragment) != 0 || header < sizeof(Ipv4))
      return std::nullopt;
    request.peer.address = *IpAddress::of(ip.source);
    request.local.address = *IpAddress::of(ip.destination);
  } else if (first >> 4 == 6 && packet.size() >= sizeof(Ipv6)) {
    const Ipv6 ip = load<Ipv6>(packet);
    header = sizeof(Ipv6);
    total = header + ip.payload_bytes.get();
    if (ip.next_header != kProtocolTcp) return std::nullopt;
    request.peer.address = *IpAddress::of(ip.source);
    request.local.address = *IpAddress::of(ip.destination);
  }
  // Behind `total` may be the padding of a short frame.
  if (header == 0 || total > packet.size() || total < header + sizeof(Tcp)) return std::nullopt;
  const Tcp tcp = load<Tcp>(packet.subspan(header));
  if ((tcp.flags & kTcpSynOrAck) != kTcpSyn) return std::nullopt;
  request.peer.port = tcp.source_port.get();
  request.local.port = tcp.destination_port.get();
  request.packet.assign(packet.begin(), packet.begin() + static_cast<ptrdiff_t>(total));
  const Bytes segment = Bytes(request.packet).subspan(header);
  store(segment.subspan(kTcpChecksumOffset), be16());
  const uint32_t pseudo =
      pseudo_header(request.peer.address, request.local.address, kProtocolTcp, segment.size());
  store(segment.subspan(kTcpChecksumOffset), be16(internet_checksum(segment, pseudo)));
  return request;
}

}  // namespace itgtd::ha
