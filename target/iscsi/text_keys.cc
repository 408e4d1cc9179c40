#include "target/iscsi/text_keys.h"

#include <algorithm>

namespace itgtd::iscsi {
namespace {

// Wider than the standard-label of RFC 7143 §6.1: keys of RFC 7143 §13.22 and §13.26 have a '#' (open-iscsi
// and others send X#NodeArchitecture), and the answer to a key that we do not know is NotUnderstood, not the
// end of the login. What is refused could not be echoed or logged as it is.
bool is_key_character(char c) {
  return c > ' ' && c <= '~';
}

TextError check_key(std::string_view key) {
  if (key.empty()) return TextError::empty_key;
  if (key.size() > kKeyNameBytesMax) return TextError::key_too_long;  // RFC 7143 §6.1
  if (!std::all_of(key.begin(), key.end(), is_key_character)) return TextError::bad_key_character;
  return TextError::none;
}

}  // namespace

std::string_view describe(TextError error) {
  switch (error) {
    case TextError::none:
      return "no error";
    case TextError::missing_terminator:
      return "the text does not end with a zero byte";
    case TextError::missing_equals:
      return "a key has no '='";
    case TextError::empty_key:
      return "a key is empty";
    case TextError::key_too_long:
      return "a key is longer than 63 bytes";
    case TextError::bad_key_character:
      return "a key has a character that keys may not have";
  }
  return "unknown error";
}

TextPairs split_pairs(std::string_view text) {
  TextPairs result;
  while (!text.empty()) {
    const size_t end = text.find('\0');
    // RFC 7143 §6.1: every pair, including the last, is followed by at least one zero byte.
    if (end == std::string_view::npos) {
      result.error = TextError::missing_terminator;
      return result;
    }
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) {
      result.error = TextError::missing_equals;
      return result;
    }
    result.error = check_key(pair.substr(0, equals));
    if (result.error != TextError::none) return result;
    result.pairs.push_back({pair.substr(0, equals), pair.substr(equals + 1)});
  }
  return result;
}

void append_pair(std::string& text, std::string_view key, std::string_view value) {
  text.append(key).append(1, '=').append(value).append(1, '\0');
}

std::optional<std::string_view> take_list_item(std::string_view& list) {
  if (list.data() == nullptr) return std::nullopt;
  const size_t comma = list.find(',');
  const std::string_view item = list.substr(0, comma);
  list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  return item;
}

}  // namespace itgtd::iscsi
