// Small text helpers for messages: quoting what the operator wrote, and the nearest known word.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace itgtd::config {

/// What the operator wrote, between apostrophes, fit for one line of a terminal: control characters are
/// escaped, and what is very long is cut.
[[nodiscard]] std::string in_quotes(std::string_view text);

/// `text` with its control characters written as \\xNN.
[[nodiscard]] std::string escaped(std::string_view text);

/// How many characters must be inserted, removed, replaced or swapped with their neighbour to turn `a` into
/// `b`.
[[nodiscard]] size_t edit_distance(std::string_view a, std::string_view b);

/// The word nearest to `text` when it may well be a slip of it, otherwise an empty text.
[[nodiscard]] std::string_view nearest(std::string_view text, std::span<const std::string_view> words);

/// "a", "a or b", "a, b or c".
[[nodiscard]] std::string one_of(std::span<const std::string_view> words);
/// "a", "a and b", "a, b and c".
[[nodiscard]] std::string all_of(std::span<const std::string_view> words);

/// Printable ASCII from end to end, space included.
[[nodiscard]] bool is_printable_ascii(std::string_view text);
[[nodiscard]] bool has_control_character(std::string_view text);
[[nodiscard]] std::string to_lower(std::string_view text);

}  // namespace itgtd::config
