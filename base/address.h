// Addresses as values: parsing and printing of portals, matching of networks. No sockets here (net/socket.h).
//
// In base because configuration, discovery and transport all need them and none may include another.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace itgtd {

/// An IPv4 or IPv6 address with a port. A value.
class Address {
 public:
  Address() = default;
  /// "192.168.222.35:3260", "[2001:db8::35]:3260", or either without a port, which is then `default_port`.
  /// Numeric only.
  static Result<Address> parse(std::string_view text, uint16_t default_port);
  static Address from_sockaddr(const sockaddr_storage& storage);

  /// "192.168.222.35:3260", "[2001:db8::35]:3260": the form of SendTargets (RFC 7143 §13.8). An IPv4-mapped
  /// address is printed as IPv4.
  [[nodiscard]] std::string to_string() const;
  /// Without the port and without brackets.
  [[nodiscard]] std::string host() const;
  [[nodiscard]] uint16_t port() const;
  [[nodiscard]] bool is_ipv6() const;
  [[nodiscard]] bool is_wildcard() const;  ///< 0.0.0.0 or ::
  [[nodiscard]] const sockaddr* data() const;
  [[nodiscard]] socklen_t size() const;

  bool operator==(const Address& other) const;
  /// The same host, whatever the port.
  [[nodiscard]] bool same_host(const Address& other) const;

 private:
  sockaddr_storage storage_{};
};

/// A network in CIDR notation.
class Network {
 public:
  /// "192.168.222.0/24", "2001:db8::/32", or a host without a prefix. Bits behind the prefix must be zero.
  static Result<Network> parse(std::string_view text);
  [[nodiscard]] bool contains(const Address& address) const;
  [[nodiscard]] std::string to_string() const;
  bool operator==(const Network&) const = default;

 private:
  std::array<uint8_t, 16> prefix_{};
  uint8_t prefix_bits_ = 0;
  bool ipv6_ = false;
};

}  // namespace itgtd
