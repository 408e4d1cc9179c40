#include "target/iscsi/chap.h"

#include <gtest/gtest.h>

#include "tests/iscsi_login/login_fixture.h"

namespace itgtd::iscsi::testing {
namespace {

// Made with another implementation: H(07 | "initiatorsecret" | 00 01 ... 1f).
constexpr std::string_view kMd5 = "0xb95bc18e8bbd81d1c9a62b44db816efe";
constexpr std::string_view kSha1 = "0xb540f8326aea2e9d66f81afa68e22b3772d233cb";
constexpr std::string_view kSha256 = "0xd4cd89811438ade8332dda5e895a8032b72ae2c9c97d0f8fe8ac41d1313b825f";
constexpr std::string_view kSha3 = "0x0d7bbe5a77f6abe68df16e946a799da6ede522c7cfa975c04e8664b970716bc0";

std::string digest(ChapAlgorithm algorithm) {
  return encode_binary(chap_digest(algorithm, 7, kSecret, challenge().challenge).view());
}

TEST(ChapDigest, Vectors) {
  EXPECT_EQ(digest(ChapAlgorithm::md5), kMd5);
  EXPECT_EQ(digest(ChapAlgorithm::sha1), kSha1);
  EXPECT_EQ(digest(ChapAlgorithm::sha256), kSha256);
  EXPECT_EQ(digest(ChapAlgorithm::sha3_256), kSha3);
}

TEST(ChapAlgorithms, TheStrongestOffered) {
  EXPECT_EQ(strongest_algorithm("5"), ChapAlgorithm::md5);
  EXPECT_EQ(strongest_algorithm("5,6"), ChapAlgorithm::sha1);
  EXPECT_EQ(strongest_algorithm("7,5,6"), ChapAlgorithm::sha256);
  EXPECT_EQ(strongest_algorithm("5,6,7,8"), ChapAlgorithm::sha3_256);
  for (const std::string_view none : {"", ",", "9", "05", "5 ", " 5", "0x5", "55", "md5"}) {
    EXPECT_EQ(strongest_algorithm(none), std::nullopt) << none;
  }
}

std::optional<std::string> decoded(std::string_view text, size_t room) {
  std::vector<std::byte> to(room);
  const auto size = decode_binary(text, to);
  if (!size) return std::nullopt;
  return std::string(as_text(ConstBytes(to).first(*size)));
}

TEST(DecodeBinary, Hexadecimal) {
  EXPECT_EQ(decoded("0x41", 1), "A");
  EXPECT_EQ(decoded("0X4a4B", 2), "JK");
  for (const std::string_view bad : {"0x", "0x4", "0x4g", "0xg4", "41", "", "0", "x41", "0x 41", "0x4142"}) {
    EXPECT_EQ(decoded(bad, 1), std::nullopt) << bad;
  }
}

// RFC 4648 §10.
TEST(DecodeBinary, Base64) {
  EXPECT_EQ(decoded("0bZg==", 8), "f");
  EXPECT_EQ(decoded("0bZm8=", 8), "fo");
  EXPECT_EQ(decoded("0bZm9v", 8), "foo");
  EXPECT_EQ(decoded("0BZm9vYg==", 8), "foob");
  EXPECT_EQ(decoded("0bZm9vYmE=", 8), "fooba");
  EXPECT_EQ(decoded("0bZm9vYmFy", 6), "foobar");
  for (const std::string_view bad : {"0b", "0bZ", "0bZg", "0bZg=", "0bZ===", "0b====", "0bZg==Zg==", "0bZh==",
                                     "0bZm9=", "0bZm9-", "0bZm 9", "0bZm9vYmFyYg=="}) {
    EXPECT_EQ(decoded(bad, 6), std::nullopt) << bad;
  }
}

// Nothing is written behind the room that there is, whatever the length of the text.
TEST(DecodeBinary, StaysWithinItsRoom) {
  for (const size_t digits : {32UL, 33UL, 34UL, 64UL, 126UL, 127UL, 128UL, 129UL, 1024UL, 2050UL, 8000UL}) {
    for (const std::string_view prefix : {"0x", "0b"}) {
      std::array<std::byte, 64> to{};
      const auto guarded = Bytes(to).first(16);
      const auto size = decode_binary(std::string(prefix) + std::string(digits, 'A'), guarded);
      EXPECT_EQ(size.has_value(), prefix == "0x" && digits == 32) << prefix << digits;
      for (size_t i = 16; i < to.size(); ++i) EXPECT_EQ(to[i], std::byte{0});
    }
  }
}

TEST(DecodeBinary, OneKilobyteIsTheLimit) {
  EXPECT_EQ(decoded("0x" + std::string(2048, 'a'), kChapBinaryBytesMax)->size(), 1024U);
  EXPECT_EQ(decoded("0x" + std::string(2050, 'a'), kChapBinaryBytesMax), std::nullopt);
  EXPECT_EQ(decoded("0b" + std::string(1364, 'a') + "aA==", kChapBinaryBytesMax)->size(), 1024U);
  EXPECT_EQ(decoded("0b" + std::string(1368, 'a'), kChapBinaryBytesMax), std::nullopt);
}

TEST(CheckCredentials, TellsWhatIsWrong) {
  const std::string secret(kSecret), other(kMutualSecret);
  EXPECT_EQ(check_credentials({"user", secret, "", ""}), nullptr);
  EXPECT_EQ(check_credentials({"user", "twelve bytes", "", ""}), nullptr);
  EXPECT_EQ(check_credentials({"user", secret, "tgt", other}), nullptr);
  EXPECT_NE(check_credentials({"", secret, "", ""}), nullptr);
  EXPECT_NE(check_credentials({"user", "eleven byte", "", ""}), nullptr);
  EXPECT_NE(check_credentials({"user", secret, "tgt", "short"}), nullptr);
  EXPECT_NE(check_credentials({"user", secret, "tgt", secret}), nullptr);
}

// A login at the CHAP target up to the point where the response is due.
LoginState challenged() {
  LoginState state;
  (void)send(state, {.csg = 0, .text = names(kChap) + pairs({"AuthMethod=CHAP"})});
  EXPECT_EQ(value_of(send(state, {.csg = 0, .text = pairs({"CHAP_A=5"})}), "CHAP_A"), "5");
  return state;
}

LoginStep respond(std::string_view name, std::string_view response) {
  LoginState state = challenged();
  const std::string text = pairs({"CHAP_N=" + std::string(name), "CHAP_R=" + std::string(response)});
  return send(state, {.transit = true, .csg = 0, .nsg = 3, .text = text});
}

TEST(ChapLogin, TheRightResponseOnly) {
  EXPECT_EQ(respond("user", kMd5).verdict, LoginVerdict::full_feature);
  std::string wrong(kMd5);
  for (size_t i = 2; i < wrong.size(); ++i) {
    wrong[i] = wrong[i] == '0' ? '1' : '0';
    EXPECT_EQ(status_of(respond("user", wrong)), LoginStatus::authentication_failure);
    wrong = kMd5;
  }
}

// Which of name and secret was wrong is not to be seen from outside.
TEST(ChapLogin, AllWrongAnswersLookAlike) {
  const LoginStep wrong_secret = respond("user", "0x00112233445566778899aabbccddeeff");
  for (const std::string_view name : {"", "use", "userr", "USER", "0x75736572", "0bdXNlcg=="}) {
    const LoginStep step = respond(name, kMd5);
    EXPECT_EQ(status_of(step), LoginStatus::authentication_failure) << name;
    EXPECT_EQ(as_text(bytes_of(step.response.bhs)), as_text(bytes_of(wrong_secret.response.bhs)));
    EXPECT_EQ(step.reason, wrong_secret.reason);
    EXPECT_TRUE(step.response.text.empty());
  }
}

// A digest of another length, a prefix of the right one, the right one with more behind it.
TEST(ChapLogin, LengthOfTheResponse) {
  const std::string right(kMd5);
  for (const std::string& response :
       {std::string("0x"), right.substr(0, 32), right + "00", right + "0", right.substr(2),
        std::string(kSha256), "0x" + std::string(33, 'a'), "0x" + std::string(34, 'a'),
        "0x" + std::string(1024, 'a'), "0x" + std::string(2050, 'a'), "0x" + std::string(8000, 'a'),
        "0b" + std::string(127, 'a'), "0b" + std::string(128, 'a'), "0b" + std::string(129, 'a')}) {
    EXPECT_EQ(status_of(respond("user", response)), LoginStatus::authentication_failure) << response;
  }
}

TEST(ChapLogin, NoSecretInAReason) {
  const LoginStep step = respond("user", "0x00");
  EXPECT_EQ(step.reason.find(kSecret), std::string::npos);
  EXPECT_EQ(step.reason.find("user"), std::string::npos);
}

// The challenge that counts is the one that was sent, not what the caller draws for a later step.
TEST(ChapLogin, EachExchangeHasItsOwnChallenge) {
  ChapExchange exchange;
  const ChapCredentials credentials{"user", std::string(kSecret), "", ""};
  std::string reply;
  exchange.begin();
  EXPECT_EQ(exchange.step({.a = "5"}, credentials, 7, challenge().challenge, reply), nullptr);
  const std::array<std::byte, 32> other{};
  EXPECT_EQ(exchange.step({.n = "user", .r = kMd5}, credentials, 9, other, reply), nullptr);
  EXPECT_EQ(exchange.state(), ChapExchange::State::authenticated);
}

TEST(ChapLogin, AFailedExchangeStaysFailed) {
  ChapExchange exchange;
  const ChapCredentials credentials{"user", std::string(kSecret), "", ""};
  std::string reply;
  exchange.begin();
  EXPECT_NE(exchange.step({.a = "9"}, credentials, 7, challenge().challenge, reply), nullptr);
  EXPECT_EQ(exchange.state(), ChapExchange::State::failed);
  EXPECT_NE(exchange.step({.a = "5"}, credentials, 7, challenge().challenge, reply), nullptr);
  EXPECT_NE(exchange.step({.n = "user", .r = kMd5}, credentials, 7, challenge().challenge, reply), nullptr);
  EXPECT_TRUE(reply.empty());
}

}  // namespace
}  // namespace itgtd::iscsi::testing
