#include "ha/adapters/ip_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

namespace itgtd::ha {

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  if (text.empty() || text.size() >= INET6_ADDRSTRLEN || text.find('\0') != std::string_view::npos) {
    return std::nullopt;
  }
  const std::string terminated(text);
  IpAddress parsed;
  if (inet_pton(AF_INET, terminated.c_str(), parsed.octets.data()) == 1) return parsed;
  parsed.ipv6 = true;
  if (inet_pton(AF_INET6, terminated.c_str(), parsed.octets.data()) == 1) return parsed;
  return std::nullopt;
}

IpAddress IpAddress::of(const Address& address) {
  IpAddress result;
  result.ipv6 = address.is_ipv6();
  if (result.ipv6) {
    sockaddr_in6 from{};
    std::memcpy(&from, address.data(), sizeof from);
    std::memcpy(result.octets.data(), &from.sin6_addr, result.size());
  } else {
    sockaddr_in from{};
    std::memcpy(&from, address.data(), sizeof from);
    std::memcpy(result.octets.data(), &from.sin_addr, result.size());
  }
  return result;
}

std::optional<IpAddress> IpAddress::of(ConstBytes octets) {
  if (octets.size() != 4 && octets.size() != 16) return std::nullopt;
  IpAddress result;
  result.ipv6 = octets.size() == 16;
  std::copy(octets.begin(), octets.end(), result.octets.begin());
  return result;
}

uint8_t IpAddress::family() const {
  return ipv6 ? AF_INET6 : AF_INET;
}

std::string IpAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(family(), octets.data(), text.data(), socklen_t{text.size()});
  return text.data();
}

bool IpAddress::same_network(const IpAddress& other, uint8_t prefix_bits) const {
  if (ipv6 != other.ipv6 || prefix_bits > bits()) return false;
  const size_t whole = prefix_bits / 8;
  if (!std::equal(octets.begin(), octets.begin() + static_cast<ptrdiff_t>(whole), other.octets.begin())) {
    return false;
  }
  if (prefix_bits % 8 == 0) return true;
  const auto mask = static_cast<std::byte>(0xFF00U >> (prefix_bits % 8));
  return (octets[whole] & mask) == (other.octets[whole] & mask);
}

Result<IpEndpoint> IpEndpoint::parse(std::string_view text) {
  Result<Address> address = Address::parse(text, 0);
  if (!address.ok()) return address.error();
  if (address->port() == 0) {
    return Error{0,
                 fmt::format("\"{}\" has no port; want \"192.0.2.1:3260\" or \"[2001:db8::1]:3260\"", text)};
  }
  return IpEndpoint{IpAddress::of(*address), address->port()};
}

std::string IpEndpoint::to_string() const {
  return address.ipv6 ? fmt::format("[{}]:{}", address.to_string(), port)
                      : fmt::format("{}:{}", address.to_string(), port);
}

}  // namespace itgtd::ha
