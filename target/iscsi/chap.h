// CHAP as iSCSI uses it: RFC 1994 in the keys of RFC 7143 §12.1.3. The one home of OpenSSL in this folder.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "target/iscsi/directory.h"

namespace itgtd::iscsi {

/// The "PPP Authentication Algorithms" of IANA that iSCSI names in CHAP_A.
enum class ChapAlgorithm : uint8_t { md5 = 5, sha1 = 6, sha256 = 7, sha3_256 = 8 };

/// RFC 7143 §12.1.3: binary values are at most 1024 bytes.
inline constexpr size_t kChapBinaryBytesMax = 1024;
/// RFC 7143 §9.2.1: a secret has 96 random bits or more.
inline constexpr size_t kChapSecretBytesMin = 12;
inline constexpr size_t kChapChallengeBytes = 32;

/// The strongest of the algorithms in a CHAP_A list; nullopt when we have none of them.
[[nodiscard]] std::optional<ChapAlgorithm> strongest_algorithm(std::string_view list);

struct ChapDigest {
  std::array<std::byte, 32> bytes{};
  size_t size = 0;  ///< 16, 20 or 32
  [[nodiscard]] ConstBytes view() const { return {bytes.data(), size}; }
};

/// H(identifier | secret | challenge). RFC 1994 §4.1. A size of 0: the library lacks the algorithm (MD5 in a
/// FIPS build).
[[nodiscard]] ChapDigest chap_digest(ChapAlgorithm algorithm, uint8_t identifier, std::string_view secret,
                                     ConstBytes challenge);

/// Decodes a binary value, "0x" and hexadecimal or "0b" and base64 (RFC 7143 §6.1), into `to`. Returns the
/// number of bytes, or nullopt when it is not well-formed, is empty, or has more bytes than `to`; the length
/// is judged before the first byte is written.
[[nodiscard]] std::optional<size_t> decode_binary(std::string_view text, Bytes to);

/// "0x" and two digits a byte.
[[nodiscard]] std::string encode_binary(ConstBytes bytes);

/// Why these credentials can't be used, or null.
[[nodiscard]] const char* check_credentials(const ChapCredentials& credentials);

/// The CHAP keys of one request. Borrowed.
struct ChapKeys {
  std::optional<std::string_view> a, i, c, n, r;
  [[nodiscard]] bool none() const { return !a && !i && !c && !n && !r; }
};

/// The target's side of one exchange. RFC 7143 §12.1.3:
///
///   initiator CHAP_A=list                 target CHAP_A CHAP_I CHAP_C
///   initiator CHAP_N CHAP_R [CHAP_I CHAP_C]     target [CHAP_N CHAP_R]
class ChapExchange {
 public:
  enum class State : uint8_t {
    idle,            ///< CHAP has not been chosen
    wants_list,      ///< CHAP was chosen; CHAP_A is due
    wants_response,  ///< the challenge was sent
    authenticated,
    failed,
  };

  void begin();
  [[nodiscard]] State state() const { return state_; }
  /// True while keys of the initiator are due.
  [[nodiscard]] bool running() const {
    return state_ == State::wants_list || state_ == State::wants_response;
  }

  /// Takes the keys of one request and appends the answer to `reply`. Null: as the protocol has it. Otherwise
  /// the exchange has failed, and the sentence says why without a secret in it.
  [[nodiscard]] const char* step(const ChapKeys& keys, const ChapCredentials& credentials, uint8_t identifier,
                                 ConstBytes fresh_challenge, std::string& reply);

 private:
  [[nodiscard]] const char* take_list(const ChapKeys& keys, uint8_t identifier, ConstBytes fresh_challenge,
                                      std::string& reply);
  [[nodiscard]] const char* take_response(const ChapKeys& keys, const ChapCredentials& credentials,
                                          std::string& reply);
  [[nodiscard]] const char* answer_challenge(const ChapKeys& keys, const ChapCredentials& credentials,
                                             std::string& reply) const;

  State state_ = State::idle;
  ChapAlgorithm algorithm_ = ChapAlgorithm::md5;
  uint8_t identifier_ = 0;
  std::array<std::byte, kChapChallengeBytes> challenge_{};
};

}  // namespace itgtd::iscsi
