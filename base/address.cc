#include "base/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/parse.h"

namespace itgtd {
namespace {

constexpr std::array<uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
constexpr unsigned kIpv4Bits = 32;
constexpr unsigned kIpv6Bits = 128;
constexpr unsigned kMappedBits = 96;
// The longest numeric address has 45 characters; what is longer is not looked at.
constexpr size_t kHostCharactersMax = INET6_ADDRSTRLEN - 1;

// Views of the storage as what its family says it is: the socket interface is made of such casts.
sockaddr_in& as_ipv4(sockaddr_storage& storage) {
  return *static_cast<sockaddr_in*>(static_cast<void*>(&storage));
}
const sockaddr_in& as_ipv4(const sockaddr_storage& storage) {
  return *static_cast<const sockaddr_in*>(static_cast<const void*>(&storage));
}
sockaddr_in6& as_ipv6(sockaddr_storage& storage) {
  return *static_cast<sockaddr_in6*>(static_cast<void*>(&storage));
}
const sockaddr_in6& as_ipv6(const sockaddr_storage& storage) {
  return *static_cast<const sockaddr_in6*>(static_cast<const void*>(&storage));
}

sockaddr_storage make_ipv4(const in_addr& host, in_port_t port) {
  sockaddr_storage storage{};
  sockaddr_in& to = as_ipv4(storage);
  to.sin_family = AF_INET;
  to.sin_addr = host;
  to.sin_port = port;
  return storage;
}

sockaddr_storage make_ipv6(const in6_addr& host, in_port_t port, uint32_t scope) {
  if (std::memcmp(&host, kMappedPrefix.data(), kMappedPrefix.size()) == 0) {
    // One form for one host, so that comparing and matching need not know of mapped addresses.
    in_addr inner{};
    std::memcpy(&inner, &host.s6_addr[kMappedPrefix.size()], sizeof inner);
    return make_ipv4(inner, port);
  }
  sockaddr_storage storage{};
  sockaddr_in6& to = as_ipv6(storage);
  to.sin6_family = AF_INET6;
  to.sin6_addr = host;
  to.sin6_port = port;
  to.sin6_scope_id = scope;
  return storage;
}

Error bad_address(std::string_view text, std::string_view why) {
  return {0, fmt::format("\"{}\" is not an address: {}", text, why)};
}

std::optional<sockaddr_storage> parse_host(std::string_view host, bool ipv6, uint16_t port) {
  if (host.empty() || host.size() > kHostCharactersMax) return std::nullopt;
  // inet_pton wants a terminated string, and would stop at a zero byte within.
  if (host.find('\0') != std::string_view::npos) return std::nullopt;
  std::array<char, INET6_ADDRSTRLEN> terminated{};
  std::copy(host.begin(), host.end(), terminated.begin());
  if (ipv6) {
    in6_addr address{};
    if (inet_pton(AF_INET6, terminated.data(), &address) != 1) return std::nullopt;
    return make_ipv6(address, htons(port), 0);
  }
  in_addr address{};
  if (inet_pton(AF_INET, terminated.data(), &address) != 1) return std::nullopt;
  return make_ipv4(address, htons(port));
}

struct HostAndPort {
  std::string_view host;
  std::string_view port;  // empty: none was given
  bool ipv6 = false;
};

Result<HostAndPort> split(std::string_view text) {
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return bad_address(text, "']' is missing");
    const std::string_view host = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (rest.empty()) return HostAndPort{host, {}, true};
    if (!rest.starts_with(':') || rest.size() == 1)
      return bad_address(text, "want ':' and a port behind ']'");
    return HostAndPort{host, rest.substr(1), true};
  }
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return HostAndPort{text, {}, false};
  // Two colons without brackets: an IPv6 address and no port.
  if (text.find(':', colon + 1) != std::string_view::npos) return HostAndPort{text, {}, true};
  if (colon + 1 == text.size()) return bad_address(text, "the port behind ':' is missing");
  return HostAndPort{text.substr(0, colon), text.substr(colon + 1), false};
}

bool is_zero_behind(const std::array<uint8_t, 16>& bytes, unsigned bits) {
  for (unsigned bit = bits; bit < kIpv6Bits; ++bit) {
    if ((bytes[bit / 8] & (0x80U >> (bit % 8))) != 0) return false;
  }
  return true;
}

bool equal_bits(const std::array<uint8_t, 16>& a, const std::array<uint8_t, 16>& b, unsigned bits) {
  const size_t whole = bits / 8;
  if (!std::equal(a.begin(), a.begin() + static_cast<ptrdiff_t>(whole), b.begin())) return false;
  if (bits % 8 == 0) return true;
  return ((a[whole] ^ b[whole]) & (0xFF00U >> (bits % 8)) & 0xFFU) == 0;
}

std::array<uint8_t, 16> host_bytes(const sockaddr_storage& storage) {
  std::array<uint8_t, 16> bytes{};
  if (storage.ss_family == AF_INET6) {
    std::memcpy(bytes.data(), &as_ipv6(storage).sin6_addr, sizeof(in6_addr));
  } else if (storage.ss_family == AF_INET) {
    std::memcpy(bytes.data(), &as_ipv4(storage).sin_addr, sizeof(in_addr));
  }
  return bytes;
}

sockaddr_storage storage_of(const Address& address) {
  sockaddr_storage storage{};
  std::memcpy(&storage, address.data(), address.size());
  return storage;
}

}  // namespace

Result<Address> Address::parse(std::string_view text, uint16_t default_port) {
  const auto parts = split(text);
  if (!parts) return parts.error();
  uint16_t port = default_port;
  if (!parts->port.empty()) {
    const auto number = parse_u64(parts->port);
    if (!number || *number == 0 || *number > UINT16_MAX) {
      return bad_address(text, "a port is a number from 1 to 65535");
    }
    port = static_cast<uint16_t>(*number);
  }
  const auto storage = parse_host(parts->host, parts->ipv6, port);
  if (!storage) {
    return bad_address(text,
                       "want a numeric address and perhaps a port, as 192.0.2.1:3260 or [2001:db8::1]:3260");
  }
  Address address;
  address.storage_ = *storage;
  return address;
}

Address Address::from_sockaddr(const sockaddr_storage& storage) {
  Address address;
  if (storage.ss_family == AF_INET) {
    const sockaddr_in& from = as_ipv4(storage);
    address.storage_ = make_ipv4(from.sin_addr, from.sin_port);
  } else if (storage.ss_family == AF_INET6) {
    const sockaddr_in6& from = as_ipv6(storage);
    address.storage_ = make_ipv6(from.sin6_addr, from.sin6_port, from.sin6_scope_id);
  }
  return address;
}

std::string Address::to_string() const {
  // RFC 7143 §13.8: an IPv6 address stands in brackets in front of a port.
  return is_ipv6() ? fmt::format("[{}]:{}", host(), port()) : fmt::format("{}:{}", host(), port());
}

std::string Address::host() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (storage_.ss_family == AF_INET6) {
    inet_ntop(AF_INET6, &as_ipv6(storage_).sin6_addr, text.data(), text.size());
  } else if (storage_.ss_family == AF_INET) {
    inet_ntop(AF_INET, &as_ipv4(storage_).sin_addr, text.data(), text.size());
  }
  return text.data();
}

uint16_t Address::port() const {
  if (storage_.ss_family == AF_INET6) return ntohs(as_ipv6(storage_).sin6_port);
  if (storage_.ss_family == AF_INET) return ntohs(as_ipv4(storage_).sin_port);
  return 0;
}

bool Address::is_ipv6() const {
  return storage_.ss_family == AF_INET6;
}

bool Address::is_wildcard() const {
  return storage_.ss_family != AF_UNSPEC && is_zero_behind(host_bytes(storage_), 0);
}

const sockaddr* Address::data() const {
  return static_cast<const sockaddr*>(static_cast<const void*>(&storage_));
}

socklen_t Address::size() const {
  if (storage_.ss_family == AF_INET6) return sizeof(sockaddr_in6);
  if (storage_.ss_family == AF_INET) return sizeof(sockaddr_in);
  return sizeof(sa_family_t);
}

bool Address::operator==(const Address& other) const {
  return same_host(other) && port() == other.port();
}

bool Address::same_host(const Address& other) const {
  if (storage_.ss_family != other.storage_.ss_family) return false;
  if (is_ipv6() && as_ipv6(storage_).sin6_scope_id != as_ipv6(other.storage_).sin6_scope_id) return false;
  return host_bytes(storage_) == host_bytes(other.storage_);
}

Result<Network> Network::parse(std::string_view text) {
  const size_t slash = text.find('/');
  const std::string_view host = text.substr(0, slash);
  const bool written_as_ipv6 = host.find(':') != std::string_view::npos;
  const auto storage = parse_host(host, written_as_ipv6, 0);
  if (!storage) {
    return Error{0, fmt::format("\"{}\" is not a network: want an address and perhaps a prefix length, as "
                                "192.0.2.0/24 or 2001:db8::/32",
                                text)};
  }
  const unsigned bits_max = written_as_ipv6 ? kIpv6Bits : kIpv4Bits;
  uint64_t bits = bits_max;
  if (slash != std::string_view::npos) {
    const auto number = parse_u64(text.substr(slash + 1));
    if (!number || *number > bits_max) {
      return Error{0, fmt::format("\"{}\" is not a network: its prefix length is a number from 0 to {}", text,
                                  bits_max)};
    }
    bits = *number;
  }
  Network network;
  network.prefix_ = host_bytes(*storage);
  network.ipv6_ = storage->ss_family == AF_INET6;
  if (written_as_ipv6 && !network.ipv6_) {
    if (bits < kMappedBits) {
      return Error{
          0,
          fmt::format("\"{}\" is not a network: an IPv4-mapped one has a prefix length of 96 or more", text)};
    }
    bits -= kMappedBits;
  }
  network.prefix_bits_ = static_cast<uint8_t>(bits);
  if (!is_zero_behind(network.prefix_, network.prefix_bits_)) {
    return Error{
        0, fmt::format("\"{}\" is not a network: there are bits set behind its prefix of {}", text, bits)};
  }
  return network;
}

bool Network::contains(const Address& address) const {
  const sockaddr_storage storage = storage_of(address);
  if (storage.ss_family != (ipv6_ ? AF_INET6 : AF_INET)) return false;
  return equal_bits(prefix_, host_bytes(storage), prefix_bits_);
}

std::string Network::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(ipv6_ ? AF_INET6 : AF_INET, prefix_.data(), text.data(), text.size());
  return fmt::format("{}/{}", text.data(), prefix_bits_);
}

}  // namespace itgtd
