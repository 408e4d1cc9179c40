#include "target/iscsi/iscsi_name.h"

#include <algorithm>
#include <cstdint>

#include "base/parse.h"

namespace itgtd::iscsi {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

char to_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// RFC 7143 §4.2.7.2, with RFC 3722: what the iSCSI profile of stringprep lets pass of ASCII. Upper case is
// what normalisation takes away, so it is allowed on input.
bool is_ascii_name_character(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' ||
         c == ':' || c == '_';
}

// The length of the UTF-8 sequence that `lead` starts, 0 when it starts none.
size_t sequence_bytes(uint8_t lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

bool has_only_name_characters(std::string_view name) {
  while (!name.empty()) {
    const auto lead = static_cast<uint8_t>(name.front());
    if (lead < 0x80) {
      if (!is_ascii_name_character(name.front())) return false;
      name.remove_prefix(1);
      continue;
    }
    const size_t length = sequence_bytes(lead);
    if (length == 0 || length > name.size()) return false;
    const std::string_view rest = name.substr(1, length - 1);
    const auto continues = [](char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; };
    if (!std::all_of(rest.begin(), rest.end(), continues)) return false;
    name.remove_prefix(length);
  }
  return true;
}

// "yyyy-mm.", a domain that is not empty. RFC 7143 §4.2.7.4.
bool is_iqn_body(std::string_view body) {
  constexpr size_t kDateBytes = 8;
  if (body.size() <= kDateBytes || body[4] != '-' || body[7] != '.' || body[kDateBytes] == ':') return false;
  const std::string_view year = body.substr(0, 4);
  const std::string_view month = body.substr(5, 2);
  return std::all_of(year.begin(), year.end(), is_digit) && std::all_of(month.begin(), month.end(), is_digit);
}

bool is_hex(std::string_view digits) {
  return std::all_of(digits.begin(), digits.end(), [](char c) { return hex_digit(c).has_value(); });
}

}  // namespace

bool is_iscsi_name(std::string_view name) {
  if (name.size() > kNameBytesMax || name.size() < 4 || !has_only_name_characters(name)) return false;
  const std::string prefix = normalised_name(name.substr(0, 4));
  const std::string_view body = name.substr(4);
  if (prefix == "iqn.") return is_iqn_body(body);
  if (prefix == "eui.") return body.size() == 16 && is_hex(body);                         // §4.2.7.5
  if (prefix == "naa.") return (body.size() == 16 || body.size() == 32) && is_hex(body);  // §4.2.7.6
  return false;
}

std::string normalised_name(std::string_view name) {
  std::string result(name);
  std::transform(result.begin(), result.end(), result.begin(), to_lower);
  return result;
}

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return to_lower(x) == to_lower(y); });
}

}  // namespace itgtd::iscsi
