#include "target/config/syntax.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "base/address.h"
#include "base/parse.h"
#include "target/config/text.h"

namespace itgtd::config {
namespace {

constexpr std::string_view kRamPrefix = "ram:";
constexpr std::string_view kNullPrefix = "null:";
constexpr size_t kNaaSerialDigits = 25;

bool is_lower_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool all_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return hex_digit(c).has_value(); });
}

/// iqn.yyyy-mm.reversed.domain[:anything]. RFC 7143 §4.2.7.4.
std::string check_iqn(std::string_view name) {
  constexpr std::string_view kForm =
      "; the form is iqn.YYYY-MM.DOMAIN:NAME, as iqn.2017-01.com.example:disk0, with a domain that you "
      "owned in that month, written backwards";
  const std::string_view date = name.substr(4, 8);
  const bool dated = date.size() == 8 && is_digit(date[0]) && is_digit(date[1]) && is_digit(date[2]) &&
                     is_digit(date[3]) && date[4] == '-' && is_digit(date[5]) && is_digit(date[6]) &&
                     date[7] == '.';
  if (!dated) return fmt::format("{} has no date behind 'iqn.'{}", in_quotes(name), kForm);
  const int month = (date[5] - '0') * 10 + (date[6] - '0');
  if (month < 1 || month > 12) return fmt::format("{} has no month {}{}", in_quotes(name), month, kForm);
  const std::string_view rest = name.substr(12);
  const std::string_view domain = rest.substr(0, rest.find(':'));
  const bool good = !domain.empty() && domain.front() != '.' && domain.back() != '.' &&
                    domain.find("..") == std::string_view::npos;
  if (!good) return fmt::format("{} has no domain behind the date{}", in_quotes(name), kForm);
  return {};
}

/// The letters that a pattern fixes before its first wildcard could begin a name of this type.
bool may_begin(std::string_view pattern, std::string_view type) {
  for (size_t i = 0; i < type.size(); i++) {
    if (i == pattern.size()) return false;
    if (pattern[i] == '*') return true;
    if (pattern[i] != '?' && pattern[i] != type[i]) return false;
  }
  return true;
}

}  // namespace

std::string check_iscsi_name(std::string_view name) {
  if (name.size() > kIscsiNameBytesMax) {
    return fmt::format("{} has {} bytes; an iSCSI name has at most {}", in_quotes(name), name.size(),
                       kIscsiNameBytesMax);
  }
  const std::string lower = to_lower(name);
  if (lower != name) {
    // RFC 7143 §4.2.7.2: names are normalised to lower case before they are compared.
    return fmt::format("{} has upper-case letters; iSCSI names are lower-case: {}", in_quotes(name),
                       in_quotes(lower));
  }
  // RFC 7143 §4.2.7.2. Of Unicode, only what needs no stringprep.
  for (const char c : name) {
    if (is_lower_alnum(c) || c == '-' || c == '.' || c == ':') continue;
    return fmt::format("{} has a {}; an iSCSI name has letters, digits, '-', '.' and ':' only",
                       in_quotes(name), c == ' ' ? "space" : in_quotes(std::string_view(&c, 1)));
  }
  if (name.starts_with("iqn.")) return check_iqn(name);
  if (name.starts_with("eui.")) {  // RFC 7143 §4.2.7.5
    if (name.size() == 4 + 16 && all_hex(name.substr(4))) return {};
    return fmt::format("{}: 'eui.' is followed by 16 hexadecimal digits", in_quotes(name));
  }
  if (name.starts_with("naa.")) {  // RFC 7143 §4.2.7.6
    if ((name.size() == 4 + 16 || name.size() == 4 + 32) && all_hex(name.substr(4))) return {};
    return fmt::format("{}: 'naa.' is followed by 16 or 32 hexadecimal digits", in_quotes(name));
  }
  return fmt::format(
      "{} is not an iSCSI name: it begins with 'iqn.', 'eui.' or 'naa.', as iqn.2017-01.com.example:disk0",
      in_quotes(name));
}

std::string check_initiator_pattern(std::string_view pattern) {
  if (pattern.empty()) return "an empty pattern matches nobody";
  if (pattern.size() > kIscsiNameBytesMax) {
    return fmt::format("{} has {} bytes; an iSCSI name has at most {}", in_quotes(pattern), pattern.size(),
                       kIscsiNameBytesMax);
  }
  for (const char c : pattern) {
    if (c > ' ' && c <= '~' && c != '[' && c != ']' && c != '{' && c != '}' && c != ',' && c != '\\')
      continue;
    return fmt::format(
        "{} has a {}; a pattern is an iSCSI name in which * stands for any characters and ? for one; "
        "several patterns are several items of the list",
        in_quotes(pattern), c == ' ' ? "space" : in_quotes(std::string_view(&c, 1)));
  }
  const std::string lower = to_lower(pattern);
  constexpr std::array<std::string_view, 3> kTypes = {"iqn.", "eui.", "naa."};
  const bool possible = std::any_of(kTypes.begin(), kTypes.end(),
                                    [&](std::string_view type) { return may_begin(lower, type); });
  if (possible) return {};
  return fmt::format("{} can match no initiator: their names begin with 'iqn.', 'eui.' or 'naa.', as in {}",
                     in_quotes(pattern), "\"iqn.1993-08.org.debian:*\"");
}

std::string check_absolute_path(std::string_view path) {
  if (path.empty()) return "is empty; it is an absolute path";
  if (path.front() != '/')
    return fmt::format("{} is not an absolute path: it begins with '/'", in_quotes(path));
  if (path.size() > kPathBytesMax)
    return fmt::format("has {} bytes; a path has at most {}", path.size(), kPathBytesMax);
  if (has_control_character(path)) return fmt::format("{} has a control character", in_quotes(path));
  return {};
}

bool is_memory_path(std::string_view path) {
  return path.starts_with(kRamPrefix) || path.starts_with(kNullPrefix);
}

std::optional<uint64_t> memory_size(std::string_view path) {
  if (!is_memory_path(path)) return std::nullopt;
  return parse_size(path.substr(path.find(':') + 1));
}

std::string check_lun_path(std::string_view path) {
  if (is_memory_path(path)) {
    const auto size = memory_size(path);
    if (size && *size > 0) return {};
    return fmt::format(
        "{} has no size behind the colon; write it as \"ram:1G\" (k, M, G and T are powers of 1024)",
        in_quotes(path));
  }
  if (!path.empty() && path.front() != '/') {
    return fmt::format(
        "{} is neither an absolute path nor a memory disk; write \"/dev/drbd0\", \"/srv/disk.img\", "
        "\"ram:1G\" or "
        "\"null:1G\"",
        in_quotes(path));
  }
  return check_absolute_path(path);
}

std::string naa_digits(std::string_view serial) {
  std::string digits;
  for (const char c : serial) {
    if (digits.size() == kNaaSerialDigits) break;
    if (hex_digit(c)) digits += to_lower(std::string_view(&c, 1));
  }
  digits.resize(kNaaSerialDigits, '0');
  return digits;
}

std::string check_serial(std::string_view serial) {
  const std::string complaint = check_inquiry_text(serial, kSerialBytesMax);
  if (!complaint.empty()) return complaint;
  const bool has_digit =
      std::any_of(serial.begin(), serial.end(), [](char c) { return hex_digit(c).has_value(); });
  if (has_digit) return {};
  return fmt::format(
      "{} has no hexadecimal digit (0-9, a-f), and the disk's WWID is made of those: it would be the WWID of "
      "every "
      "such serial; write one as \"aaaaaaa0\"",
      in_quotes(serial));
}

std::string check_inquiry_text(std::string_view text, size_t bytes_max) {
  if (text.empty()) return "is empty; leave the key out for the default";
  if (text.size() > bytes_max) {
    return fmt::format("{} has {} characters; at most {} are possible", in_quotes(text), text.size(),
                       bytes_max);
  }
  // SPC-4 §4.4.1: code values 20h to 7Eh.
  if (!is_printable_ascii(text))
    return fmt::format("{} has a character that is not printable ASCII", in_quotes(text));
  // Initiators strip the padding, and with it these.
  if (text.front() == ' ' || text.back() == ' ') {
    return fmt::format("{} begins or ends with a space, which initiators strip", in_quotes(text));
  }
  return {};
}

std::string check_text(std::string_view text, size_t bytes_max) {
  if (text.empty()) return "is empty";
  if (text.size() > bytes_max)
    return fmt::format("has {} bytes; at most {} are possible", text.size(), bytes_max);
  if (has_control_character(text)) return "has a control character";
  return {};
}

std::string check_plain_name(std::string_view name, size_t bytes_max) {
  if (name.empty()) return "is empty";
  if (name.size() > bytes_max) {
    return fmt::format("{} has {} characters; at most {} are possible", in_quotes(name), name.size(),
                       bytes_max);
  }
  for (const char c : name) {
    if (is_lower_alnum(c) || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.') continue;
    return fmt::format("{} has a {}; only letters, digits, '-', '_' and '.' are possible", in_quotes(name),
                       c == ' ' ? "space" : in_quotes(std::string_view(&c, 1)));
  }
  return {};
}

Result<VipConfig> parse_vip(std::string_view text) {
  constexpr std::string_view kForm =
      "; write ADDRESS/PREFIX, as \"192.168.222.35/24\" or \"192.168.222.35/24@eth0\"";
  VipConfig vip;
  std::string_view address = text;
  if (const size_t at = text.find('@'); at != std::string_view::npos) {
    const std::string_view interface = text.substr(at + 1);
    address = text.substr(0, at);
    const bool good = !interface.empty() && interface.size() <= kInterfaceBytesMax &&
                      is_printable_ascii(interface) &&
                      interface.find_first_of(" /@") == std::string_view::npos;
    if (!good) {
      return Error{
          0, fmt::format("{} names no interface behind '@': 1 to {} characters without '/' and spaces{}",
                         in_quotes(text), kInterfaceBytesMax, kForm)};
    }
    vip.interface = interface;
  }
  const size_t slash = address.find('/');
  if (slash == std::string_view::npos) {
    return Error{0, fmt::format("{} has no prefix length{}", in_quotes(text), kForm)};
  }
  const std::string_view host = address.substr(0, slash);
  const auto parsed = Address::parse(host, kIscsiPort);
  // A port has no place here; Address takes one.
  if (!parsed || parsed->port() != kIscsiPort || host.find_first_of("[]") != std::string_view::npos ||
      (!parsed->is_ipv6() && host.find(':') != std::string_view::npos)) {
    return Error{0,
                 fmt::format("{} has no numeric IPv4 or IPv6 address before '/'{}", in_quotes(text), kForm)};
  }
  if (parsed->is_wildcard())
    return Error{0, fmt::format("{} is no address that can move{}", in_quotes(text), kForm)};
  const auto bits = parse_u64(address.substr(slash + 1));
  const uint64_t bits_max = parsed->is_ipv6() ? 128 : 32;
  if (!bits || *bits == 0 || *bits > bits_max) {
    return Error{0, fmt::format("{} has no prefix length from 1 to {} behind '/'{}", in_quotes(text),
                                bits_max, kForm)};
  }
  vip.address = parsed->host();
  vip.prefix_bits = static_cast<uint8_t>(*bits);
  return vip;
}

Result<std::string> parse_network(std::string_view text) {
  if (text.size() > kAddressBytesMax) return Error{0, fmt::format("{} is not a network", in_quotes(text))};
  const auto network = Network::parse(text);
  if (!network) return network.error();
  return network->to_string();
}

Result<std::string> parse_portal(std::string_view text, uint16_t default_port) {
  if (text.size() > kAddressBytesMax) return Error{0, fmt::format("{} is not an address", in_quotes(text))};
  const auto address = Address::parse(text, default_port);
  if (!address) return address.error();
  if (address->port() == 0)
    return Error{0, fmt::format("{} has port 0; ports are 1 to 65535", in_quotes(text))};
  return address->to_string();
}

}  // namespace itgtd::config
