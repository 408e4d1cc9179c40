// The stages of the login phase and which steps between them are legal, as a table. RFC 7143 §6.3, §11.12.1
// to §11.12.3.
#pragma once

#include <cstdint>

namespace itgtd::iscsi {

/// As in CSG and NSG.
enum class LoginStage : uint8_t { security = 0, operational = 1, reserved = 2, full_feature = 3 };

/// Where the target stands: before the first request, or in the stage that the last request was in or has led
/// to.
enum class LoginPosition : uint8_t { start, security, operational };

/// The flags byte of a Login Request, taken apart.
struct LoginFlags {
  bool transit = false;
  bool continues = false;
  LoginStage current = LoginStage::security;
  LoginStage next = LoginStage::security;  ///< means something only with transit
};

[[nodiscard]] LoginFlags decode_login_flags(uint8_t flags);
[[nodiscard]] uint8_t encode_login_flags(const LoginFlags& flags);

/// A request with these flags may come when the target is at `position`.
[[nodiscard]] bool is_legal(LoginPosition position, const LoginFlags& flags);

}  // namespace itgtd::iscsi
