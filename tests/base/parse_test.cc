#include "base/parse.h"

#include <gtest/gtest.h>

namespace itgtd {
namespace {

TEST(ParseTest, U64) {
  EXPECT_EQ(parse_u64("0"), 0U);
  EXPECT_EQ(parse_u64("007"), 7U);
  EXPECT_EQ(parse_u64("18446744073709551615"), UINT64_MAX);
  for (const char* bad : {"", " ", "1 ", " 1", "+1", "-1", "-0", "0x1", "1k", "18446744073709551616", "1.0",
                          "1e3", "99999999999999999999999999"}) {
    EXPECT_EQ(parse_u64(bad), std::nullopt) << bad;
  }
  EXPECT_EQ(parse_u64(std::string_view("1\0", 2)), std::nullopt);
}

// RFC 7143 §6.1: decimal-constant and hex-constant.
TEST(ParseTest, Number) {
  EXPECT_EQ(parse_number("262144"), 262144U);
  EXPECT_EQ(parse_number("0x40000"), 0x40000U);
  EXPECT_EQ(parse_number("0XffFF"), 0xFFFFU);
  EXPECT_EQ(parse_number("0xFFFFFFFFFFFFFFFF"), UINT64_MAX);
  for (const char* bad :
       {"", "0x", "0X", "x1", "0xg", "0x 1", "0x-1", "0x0x1", "0x10000000000000000", "ff", "-0x1"}) {
    EXPECT_EQ(parse_number(bad), std::nullopt) << bad;
  }
}

TEST(ParseTest, Size) {
  EXPECT_EQ(parse_size("512"), 512U);
  EXPECT_EQ(parse_size("4k"), 4096U);
  EXPECT_EQ(parse_size("1M"), 1U << 20);
  EXPECT_EQ(parse_size("1g"), 1U << 30);
  EXPECT_EQ(parse_size("2T"), uint64_t{2} << 40);
  EXPECT_EQ(parse_size("0K"), 0U);
  EXPECT_EQ(parse_size("16777215T"), uint64_t{16777215} << 40);
  for (const char* bad : {"", "k", "1KB", "1 G", "-1G", "1.5G", "16777216T", "0x1G", "1P", "G1"}) {
    EXPECT_EQ(parse_size(bad), std::nullopt) << bad;
  }
}

TEST(ParseTest, HexDigit) {
  for (int value = 0; value < 16; ++value) {
    EXPECT_EQ(hex_digit("0123456789abcdef"[value]), value);
    EXPECT_EQ(hex_digit("0123456789ABCDEF"[value]), value);
  }
  for (const char bad : {'g', 'G', '/', ':', '@', '`', ' ', '\0', '\xff'})
    EXPECT_EQ(hex_digit(bad), std::nullopt);
}

}  // namespace
}  // namespace itgtd
