// The login phase: RFC 7143 §6.3, §11.12, §11.13, as a step function.
//
// Reads no clock, draws no random number, sends nothing: a request and a fresh challenge go in, a response
// and a verdict come out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/address.h"
#include "target/iscsi/bhs.h"
#include "target/iscsi/directory.h"
#include "target/iscsi/parameters.h"

namespace itgtd::iscsi {

/// RFC 7143 §6.2: until MaxRecvDataSegmentLength is declared each side takes 8192 bytes; both ways, and for
/// the whole login, as the declaration counts from the full feature phase on.
inline constexpr size_t kLoginTextPduBytesMax = 8192;
/// What one login may send in all. Real ones send under 2 KiB in at most six requests; the limits bound the
/// memory and time that a peer gets before it is known.
inline constexpr size_t kLoginTextBytesMax = size_t{64} << 10;
inline constexpr size_t kLoginContinuationsMax = 16;  ///< requests with the C bit
inline constexpr size_t kLoginRequestsMax = 64;
/// The longest answer to one text: NotUnderstood may make it several times as long as the offer.
inline constexpr size_t kLoginAnswerBytesMax = size_t{64} << 10;

/// RFC 7143 §11.13.5: class << 8 | detail.
enum class LoginStatus : uint16_t {
  success = 0x0000,
  target_moved_temporarily = 0x0101,
  target_moved_permanently = 0x0102,
  initiator_error = 0x0200,
  authentication_failure = 0x0201,
  authorization_failure = 0x0202,
  target_not_found = 0x0203,
  target_removed = 0x0204,
  unsupported_version = 0x0205,
  too_many_connections = 0x0206,
  missing_parameter = 0x0207,
  cannot_include_in_session = 0x0208,
  session_type_not_supported = 0x0209,
  session_does_not_exist = 0x020A,
  invalid_during_login = 0x020B,
  target_error = 0x0300,
  service_unavailable = 0x0301,
  out_of_resources = 0x0302,
};

/// Random bytes for one CHAP exchange, drawn by the caller for each connection and never used twice. RFC 7143
/// §12.1.3.
struct FreshChallenge {
  uint8_t identifier = 0;
  std::array<std::byte, 32> challenge{};
};

/// What a login is judged by. Borrowed for the call.
struct LoginPolicy {
  const Directory* directory = nullptr;
  Address peer;
  Address local;
  /// What we declare as MaxRecvDataSegmentLength.
  uint32_t max_recv_data_segment_length = 262144;
};

enum class LoginVerdict : uint8_t {
  more,          ///< send the response and wait for the next request
  full_feature,  ///< the response is the last one: set its TSIH, register the session, send it, go on with a
                 ///< Session
  fail,          ///< send the response (its status says why), then close
};

struct LoginResponse {
  LoginResponseBhs bhs;
  std::string text;  ///< the data segment
};

struct LoginStep {
  LoginResponse response;
  LoginVerdict verdict = LoginVerdict::more;
  /// A sentence for the log when the login failed; no secrets.
  std::string reason;
};

/// Where a login stands between two requests.
class LoginState {
 public:
  LoginState();
  ~LoginState();
  LoginState(LoginState&&) noexcept;
  LoginState& operator=(LoginState&&) noexcept;

  /// What has been agreed on; complete with LoginVerdict::full_feature.
  [[nodiscard]] const Parameters& parameters() const;
  [[nodiscard]] const SessionIdentity& identity() const;
  /// CmdSN of the login, which the first command of the full feature phase continues, and the next StatSN.
  [[nodiscard]] uint32_t exp_cmd_sn() const;
  [[nodiscard]] uint32_t stat_sn() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  friend LoginStep login_step(LoginState&, const Bhs&, ConstBytes, const LoginPolicy&, const FreshChallenge&);
};

/// Takes one Login Request (any header that came in the login phase: another opcode fails the login) with its
/// data segment.
[[nodiscard]] LoginStep login_step(LoginState& state, const Bhs& request, ConstBytes text,
                                   const LoginPolicy& policy, const FreshChallenge& challenge);

}  // namespace itgtd::iscsi
