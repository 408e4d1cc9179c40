// An IPv4 or IPv6 address without a port, as kernel interfaces carry it: bytes of a family.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/address.h"
#include "base/bytes.h"

namespace itgtd::ha {

struct IpAddress {
  bool ipv6 = false;
  std::array<std::byte, 16> octets{};  ///< in network order; behind size() they are zero
  auto operator<=>(const IpAddress&) const = default;

  /// Numeric only, without a port; nothing where it is no address.
  [[nodiscard]] static std::optional<IpAddress> parse(std::string_view text);
  [[nodiscard]] static IpAddress of(const Address& address);
  /// Of 4 or 16 bytes; nothing for any other length.
  [[nodiscard]] static std::optional<IpAddress> of(ConstBytes octets);

  [[nodiscard]] size_t size() const { return ipv6 ? 16 : 4; }
  [[nodiscard]] uint8_t bits() const { return ipv6 ? 128 : 32; }
  /// AF_INET or AF_INET6.
  [[nodiscard]] uint8_t family() const;
  [[nodiscard]] ConstBytes bytes() const { return ConstBytes(octets).first(size()); }
  [[nodiscard]] std::string to_string() const;
  /// True exactly when both are of one family and equal in their first `prefix_bits` bits.
  [[nodiscard]] bool same_network(const IpAddress& other, uint8_t prefix_bits) const;
};

/// An address and a TCP port: "192.168.222.35:3260", "[2001:db8::35]:3260".
struct IpEndpoint {
  IpAddress address;
  uint16_t port = 0;
  auto operator<=>(const IpEndpoint&) const = default;

  /// With a port, which is not 0. The error says what is wrong with `text`.
  [[nodiscard]] static Result<IpEndpoint> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
};

}  // namespace itgtd::ha
