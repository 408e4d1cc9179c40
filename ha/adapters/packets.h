// The packets that tell the network where an address is, and those that end old connections: built and read
// as bytes. Pure.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "ha/adapters/ip_address.h"

namespace itgtd::ha {

using MacAddress = std::array<std::byte, 6>;

/// "02:00:00:00:00:09".
[[nodiscard]] std::string to_string(const MacAddress& mac);

enum class ArpOperation : uint16_t { request = 1, reply = 2 };

/// A broadcast Ethernet frame: `address` (IPv4) is at `mac`. As a request it is the announcement of RFC 5227
/// §2.3; some switches and hosts heed only replies.
[[nodiscard]] std::vector<std::byte> arp_announcement(ArpOperation operation, const IpAddress& address,
                                                      const MacAddress& mac);
/// An Ethernet frame to all nodes: the unsolicited neighbour advertisement of RFC 4861 §7.2.6, with the
/// Override flag and the target link-layer address.
[[nodiscard]] std::vector<std::byte> neighbour_advertisement(const IpAddress& address, const MacAddress& mac);

/// Who says that an address is his.
struct NeighbourClaim {
  IpAddress address;
  MacAddress mac{};
};
/// Of an Ethernet frame with ARP; nothing: no claim (a probe of RFC 5227 §2.1.1), or malformed.
[[nodiscard]] std::optional<NeighbourClaim> parse_arp(ConstBytes frame);
/// Of an ICMPv6 message (RFC 4861 §4.4); nothing: no neighbour advertisement with a link-layer address.
[[nodiscard]] std::optional<NeighbourClaim> parse_neighbour_advertisement(ConstBytes message);

/// A bare ACK from `local` to `peer` (of one family) with `seq`, as an IP packet.
[[nodiscard]] std::vector<std::byte> tickle_ack(const IpEndpoint& local, const IpEndpoint& peer,
                                                uint32_t seq);

/// A request for a connection, as it came: who asks whom, and the IP packet, its TCP checksum complete (a
/// packet of the same machine may have come without).
struct ConnectionRequest {
  IpEndpoint peer;
  IpEndpoint local;
  std::vector<std::byte> packet;
};
/// Of an IP packet with a bare SYN; nothing: something else, a fragment, or malformed. IPv6 without extension
/// headers.
[[nodiscard]] std::optional<ConnectionRequest> parse_syn(ConstBytes packet);

/// RFC 1071: of `bytes`, whose checksum field is 0, behind what `sum` has already.
[[nodiscard]] uint16_t internet_checksum(ConstBytes bytes, uint32_t sum = 0);

}  // namespace itgtd::ha
