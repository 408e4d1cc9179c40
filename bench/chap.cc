#include "bench/chap.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <vector>

#include "base/bytes.h"
#include "base/parse.h"

namespace itgtd::bench {
namespace {

constexpr size_t kChallengeBytesMax = 1024;  // RFC 7143 §12.1.3

std::optional<std::vector<uint8_t>> decode_hex(std::string_view digits) {
  std::vector<uint8_t> out;
  // An odd number of digits has a leading zero that was not written.
  bool high = digits.size() % 2 == 0;
  if (!high) out.push_back(0);
  for (const char c : digits) {
    const auto digit = hex_digit(c);
    if (!digit) return std::nullopt;
    if (high) {
      out.push_back(static_cast<uint8_t>(*digit << 4));
    } else {
      out.back() = static_cast<uint8_t>(out.back() | *digit);
    }
    high = !high;
  }
  return out;
}

std::optional<std::vector<uint8_t>> decode_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const std::vector<uint8_t> in(text.begin(), text.end());
  std::vector<uint8_t> out(in.size() / 4 * 3);
  if (EVP_DecodeBlock(out.data(), in.data(), static_cast<int>(in.size())) < 0) return std::nullopt;
  if (text.ends_with('=')) out.pop_back();
  if (text.ends_with("==")) out.pop_back();
  return out;
}

std::optional<std::vector<uint8_t>> decode_binary(std::string_view text) {
  if (text.starts_with("0x") || text.starts_with("0X")) return decode_hex(text.substr(2));
  if (text.starts_with("0b") || text.starts_with("0B")) return decode_base64(text.substr(2));
  return std::nullopt;
}

}  // namespace

Result<std::string> chap_response(std::string_view algorithm, std::string_view identifier,
                                  std::string_view challenge, std::string_view secret) {
  const EVP_MD* digest = algorithm == "5" ? EVP_md5() : algorithm == "7" ? EVP_sha256() : nullptr;
  if (digest == nullptr)
    return Error{0, fmt::format("the target chose CHAP_A={}, which is not known", algorithm)};
  const auto id = parse_number(identifier);
  if (!id || *id > UINT8_MAX) return Error{0, fmt::format("the target sent CHAP_I={}", identifier)};
  const auto bytes = decode_binary(challenge);
  if (!bytes || bytes->empty() || bytes->size() > kChallengeBytesMax) {
    return Error{0, "the target sent a CHAP_C that can't be decoded"};
  }
  // RFC 1994 §4.1: the digest of identifier, secret and challenge.
  std::vector<uint8_t> input{static_cast<uint8_t>(*id)};
  input.insert(input.end(), secret.begin(), secret.end());
  input.insert(input.end(), bytes->begin(), bytes->end());
  std::array<uint8_t, EVP_MAX_MD_SIZE> out{};
  unsigned size = 0;
  if (EVP_Digest(input.data(), input.size(), out.data(), &size, digest, nullptr) != 1) {
    return Error{0, fmt::format("CHAP_A={} is not available in this OpenSSL", algorithm)};
  }
  std::string text = "0x";
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", out[i]);
  return text;
}

}  // namespace itgtd::bench
