// key=value text of login and text PDUs: split, and joined. RFC 7143 §6.1.
//
// Wire bytes stay (pointer, length) throughout; nothing here looks for a zero byte beyond the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace itgtd::iscsi {

/// RFC 7143 §6.1: a key-name is a standard-label of at most 63 bytes.
inline constexpr size_t kKeyNameBytesMax = 63;
/// RFC 7143 §6.1: "Unless specified otherwise, the maximum length of a simple-value is 255 bytes".
inline constexpr size_t kSimpleValueBytesMax = 255;
/// Lists and binary values: what fits one login PDU; RFC 7143 §12.1.3 allows 1024 bytes of binary, which is
/// 2050 digits.
inline constexpr size_t kLongValueBytesMax = 8192;

struct TextPair {
  std::string_view key;
  std::string_view value;
};

enum class TextError : uint8_t {
  none,
  missing_terminator,  ///< the last pair has no zero byte behind it
  missing_equals,
  empty_key,
  key_too_long,
  bad_key_character,
};

/// What is wrong, as a clause for the log.
[[nodiscard]] std::string_view describe(TextError error);

struct TextPairs {
  std::vector<TextPair> pairs;  ///< borrow the text; up to the first error
  TextError error = TextError::none;
};

/// Splits a complete text. Zero bytes between pairs, which some initiators use as padding, are skipped. At
/// most one pair per three bytes of text comes out.
[[nodiscard]] TextPairs split_pairs(std::string_view text);

/// Appends "key=value" and its zero byte.
void append_pair(std::string& text, std::string_view key, std::string_view value);

/// Takes the first item off a list-of-values ("a,b,c"); nullopt when `list` is used up (its data() is null).
[[nodiscard]] std::optional<std::string_view> take_list_item(std::string_view& list);

}  // namespace itgtd::iscsi
