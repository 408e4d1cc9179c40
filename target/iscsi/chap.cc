#include "target/iscsi/chap.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <memory>

#include "base/parse.h"
#include "target/iscsi/text_keys.h"

namespace itgtd::iscsi {
namespace {

struct AlgorithmEntry {
  ChapAlgorithm algorithm;
  std::string_view name;  // as in CHAP_A
  const EVP_MD* (*digest)();
};

// Strongest first.
constexpr std::array<AlgorithmEntry, 4> kAlgorithms{{
    {ChapAlgorithm::sha3_256, "8", EVP_sha3_256},
    {ChapAlgorithm::sha256, "7", EVP_sha256},
    {ChapAlgorithm::sha1, "6", EVP_sha1},
    {ChapAlgorithm::md5, "5", EVP_md5},
}};

const AlgorithmEntry& entry_of(ChapAlgorithm algorithm) {
  for (const AlgorithmEntry& entry : kAlgorithms) {
    if (entry.algorithm == algorithm) return entry;
  }
  assertion_failed("algorithm is one of kAlgorithms", __FILE__, __LINE__);
}

// Constant in time for texts of equal length; that lengths differ may be seen.
bool equal_secretly(ConstBytes a, ConstBytes b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::optional<size_t> decode_hex(std::string_view digits, Bytes to) {
  // An odd number of digits has no fixed number of bytes: refused rather than guessed.
  if (digits.empty() || digits.size() % 2 != 0 || digits.size() / 2 > to.size()) return std::nullopt;
  for (size_t i = 0; i < digits.size(); i += 2) {
    const auto high = hex_digit(digits[i]);
    const auto low = hex_digit(digits[i + 1]);
    if (!high || !low) return std::nullopt;
    to[i / 2] = static_cast<std::byte>(*high << 4 | *low);
  }
  return digits.size() / 2;
}

std::optional<uint32_t> base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<uint32_t>(c - 'A');
  if (c >= 'a' && c <= 'z') return static_cast<uint32_t>(c - 'a' + 26);
  if (c >= '0' && c <= '9') return static_cast<uint32_t>(c - '0' + 52);
  if (c == '+') return 62;
  if (c == '/') return 63;
  return std::nullopt;
}

// RFC 4648 §4. Padding is required where a group is short, as RFC 7143 §6.1 refers to that encoding.
std::optional<size_t> decode_base64(std::string_view text, Bytes to) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  size_t padding = 0;
  while (padding < 2 && text[text.size() - 1 - padding] == '=') ++padding;
  const size_t length = text.size() / 4 * 3 - padding;
  if (length > to.size()) return std::nullopt;

  const std::string_view digits = text.substr(0, text.size() - padding);
  uint32_t bits = 0;
  unsigned held = 0;
  size_t written = 0;
  for (const char c : digits) {
    const auto digit = base64_digit(c);
    if (!digit) return std::nullopt;
    bits = (bits << 6 | *digit) & 0xFFFF;
    held += 6;
    if (held < 8) continue;
    held -= 8;
    to[written++] = static_cast<std::byte>(bits >> held & 0xFF);
  }
  // RFC 4648 §3.5: bits behind the last byte are zero.
  if ((bits & ((1U << held) - 1)) != 0) return std::nullopt;
  return written;
}

}  // namespace

std::optional<ChapAlgorithm> strongest_algorithm(std::string_view list) {
  std::array<bool, kAlgorithms.size()> offered{};
  while (const auto item = take_list_item(list)) {
    for (size_t i = 0; i < kAlgorithms.size(); ++i) offered[i] = offered[i] || kAlgorithms[i].name == *item;
  }
  for (size_t i = 0; i < kAlgorithms.size(); ++i) {
    if (offered[i]) return kAlgorithms[i].algorithm;
  }
  return std::nullopt;
}

ChapDigest chap_digest(ChapAlgorithm algorithm, uint8_t identifier, std::string_view secret,
                       ConstBytes challenge) {
  ChapDigest result;
  const EVP_MD* digest = entry_of(algorithm).digest();
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  unsigned size = 0;
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  const bool done = context != nullptr && EVP_DigestInit_ex(context.get(), digest, nullptr) == 1 &&
                    EVP_DigestUpdate(context.get(), &identifier, 1) == 1 &&
                    EVP_DigestUpdate(context.get(), secret.data(), secret.size()) == 1 &&
                    EVP_DigestUpdate(context.get(), challenge.data(), challenge.size()) == 1 &&
                    EVP_DigestFinal_ex(context.get(), bytes.data(), &size) == 1;
  if (!done || size > result.bytes.size()) return result;
  std::transform(bytes.begin(), bytes.begin() + size, result.bytes.begin(),
                 [](unsigned char b) { return static_cast<std::byte>(b); });
  result.size = size;
  return result;
}

std::optional<size_t> decode_binary(std::string_view text, Bytes to) {
  if (text.starts_with("0x") || text.starts_with("0X")) return decode_hex(text.substr(2), to);
  if (text.starts_with("0b") || text.starts_with("0B")) return decode_base64(text.substr(2), to);
  return std::nullopt;
}

std::string encode_binary(ConstBytes bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text = "0x";
  text.reserve(2 + 2 * bytes.size());
  for (const std::byte b : bytes) {
    text += kDigits[std::to_integer<size_t>(b) >> 4];
    text += kDigits[std::to_integer<size_t>(b) & 0xF];
  }
  return text;
}

const char* check_credentials(const ChapCredentials& credentials) {
  if (credentials.user.empty()) return "the target's CHAP user is empty";
  // RFC 7143 §9.2.1: secrets of less than 96 bits are not to be used without IPsec.
  if (credentials.secret.size() < kChapSecretBytesMin) {
    return "the target's CHAP secret is shorter than 12 bytes";
  }
  if (credentials.mutual_user.empty()) return nullptr;
  if (credentials.mutual_secret.size() < kChapSecretBytesMin) {
    return "the target's mutual CHAP secret is shorter than 12 bytes";
  }
  // RFC 7143 §9.2.1: the secrets of the two directions must differ.
  if (equal_secretly(as_bytes(credentials.secret), as_bytes(credentials.mutual_secret))) {
    return "the target's CHAP secret is the same in both directions";
  }
  return nullptr;
}

void ChapExchange::begin() {
  state_ = State::wants_list;
}

const char* ChapExchange::step(const ChapKeys& keys, const ChapCredentials& credentials, uint8_t identifier,
                               ConstBytes fresh_challenge, std::string& reply) {
  const char* failure = "CHAP keys came out of their order";
  if (state_ == State::wants_list) {
    failure = check_credentials(credentials);
    if (failure == nullptr) failure = take_list(keys, identifier, fresh_challenge, reply);
  } else if (state_ == State::wants_response) {
    failure = take_response(keys, credentials, reply);
  }
  if (failure != nullptr) state_ = State::failed;
  return failure;
}

const char* ChapExchange::take_list(const ChapKeys& keys, uint8_t identifier, ConstBytes fresh_challenge,
                                    std::string& reply) {
  if (!keys.a) return "CHAP_A is missing";
  if (keys.i || keys.c || keys.n || keys.r) return "CHAP keys came out of their order";
  const auto algorithm = strongest_algorithm(*keys.a);
  if (!algorithm) return "CHAP_A names no algorithm that is supported";

  ITGTD_ASSERT(fresh_challenge.size() == challenge_.size());
  algorithm_ = *algorithm;
  identifier_ = identifier;
  std::copy(fresh_challenge.begin(), fresh_challenge.end(), challenge_.begin());
  append_pair(reply, "CHAP_A", entry_of(algorithm_).name);
  append_pair(reply, "CHAP_I", std::to_string(identifier_));
  append_pair(reply, "CHAP_C", encode_binary(challenge_));
  state_ = State::wants_response;
  return nullptr;
}

const char* ChapExchange::take_response(const ChapKeys& keys, const ChapCredentials& credentials,
                                        std::string& reply) {
  if (keys.a) return "CHAP_A came twice";
  if (!keys.n || !keys.r) return "CHAP_N or CHAP_R is missing";
  if (keys.i.has_value() != keys.c.has_value()) return "one of CHAP_I and CHAP_C is missing";

  std::array<std::byte, kChapBinaryBytesMax> response{};
  const auto response_bytes = decode_binary(*keys.r, response);
  // The digest is computed whatever the name is, so that an unknown user takes as long as a wrong secret, and
  // both get the same answer. CHAP_N is a text: "0x41" is a name of four letters.
  const ChapDigest expected = chap_digest(algorithm_, identifier_, credentials.secret, challenge_);
  const bool name_ok = equal_secretly(as_bytes(*keys.n), as_bytes(credentials.user));
  const bool response_ok = response_bytes.has_value() && expected.size != 0 &&
                           equal_secretly(ConstBytes(response).first(*response_bytes), expected.view());
  if (!name_ok || !response_ok) return "the CHAP name or response is wrong";

  if (keys.c) {
    if (const char* failure = answer_challenge(keys, credentials, reply)) return failure;
  }
  state_ = State::authenticated;
  return nullptr;
}

const char* ChapExchange::answer_challenge(const ChapKeys& keys, const ChapCredentials& credentials,
                                           std::string& reply) const {
  if (credentials.mutual_user.empty())
    return "the initiator wants the target to authenticate, which it can't";
  const auto identifier = parse_number(*keys.i);
  if (!identifier || *identifier > UINT8_MAX) return "CHAP_I is not a number from 0 to 255";
  std::array<std::byte, kChapBinaryBytesMax> buffer{};
  const auto challenge_bytes = decode_binary(*keys.c, buffer);
  if (!challenge_bytes) return "CHAP_C is not a binary value of 1 to 1024 bytes";
  const ConstBytes challenge = ConstBytes(buffer).first(*challenge_bytes);
  // RFC 7143 §12.1.3: a challenge that comes back ends the login and the connection.
  if (equal_secretly(challenge, challenge_)) return "the initiator sent our own CHAP challenge back";

  const ChapDigest response =
      chap_digest(algorithm_, static_cast<uint8_t>(*identifier), credentials.mutual_secret, challenge);
  if (response.size == 0) return "the CHAP algorithm is not available";
  append_pair(reply, "CHAP_N", credentials.mutual_user);
  append_pair(reply, "CHAP_R", encode_binary(response.view()));
  return nullptr;
}

}  // namespace itgtd::iscsi
