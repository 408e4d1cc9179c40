// Strict parsing of numbers and sizes: the whole text or nothing. In place of strtol and stoi.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace itgtd {

/// Decimal digits only.
[[nodiscard]] std::optional<uint64_t> parse_u64(std::string_view text);
/// Decimal, or hexadecimal behind "0x" or "0X": the numerical values of RFC 7143 §6.1.
[[nodiscard]] std::optional<uint64_t> parse_number(std::string_view text);
/// A size in bytes: digits and nothing or one of k M G T (powers of 1024, either case), as "1G".
[[nodiscard]] std::optional<uint64_t> parse_size(std::string_view text);
/// The value of one hexadecimal digit.
[[nodiscard]] std::optional<uint8_t> hex_digit(char c);

}  // namespace itgtd
