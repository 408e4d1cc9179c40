#include "bench/chap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace itgtd::bench {
namespace {

using ::testing::HasSubstr;

// Computed with md5sum and sha256sum over identifier, secret and challenge. RFC 1994 §4.1.
constexpr std::string_view kSecret = "secretsecret12";
constexpr std::string_view kMd5 = "0x8db760e2d060d29520d957fa032eb4c3";
constexpr std::string_view kSha256 = "0xbc1544df704fc491768fc2c3eca2fa556aa4632e44a4ff16a8872631da12c95b";

TEST(Chap, AnswersWithMd5) {
  EXPECT_EQ(chap_response("5", "23", "0x000102030405060708090a0b0c0d0e0f", kSecret).value(), kMd5);
}

TEST(Chap, AnswersWithSha256) {
  EXPECT_EQ(chap_response("7", "0x17", "0x000102030405060708090a0b0c0d0e0f", kSecret).value(), kSha256);
}

// RFC 7143 §6.1: a binary value is hexadecimal or base64.
TEST(Chap, TakesABase64Challenge) {
  EXPECT_EQ(chap_response("5", "23", "0bAAECAwQFBgcICQoLDA0ODw==", kSecret).value(), kMd5);
}

TEST(Chap, RefusesWhatItDidNotOffer) {
  EXPECT_THAT(chap_response("6", "23", "0x00", kSecret).error().message, HasSubstr("CHAP_A=6"));
}

TEST(Chap, RefusesBadNumbersAndChallenges) {
  EXPECT_FALSE(chap_response("5", "256", "0x00", kSecret).ok());
  EXPECT_FALSE(chap_response("5", "x", "0x00", kSecret).ok());
  for (const char* challenge : {"", "0x", "0b", "00", "0xzz", "0b***", "0bAAA"}) {
    EXPECT_FALSE(chap_response("5", "1", challenge, kSecret).ok()) << challenge;
  }
}

}  // namespace
}  // namespace itgtd::bench
