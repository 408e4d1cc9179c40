// Reads the CHAP secrets that a configuration names. No message ever holds one.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"
#include "target/config/config.h"
#include "target/config/problems.h"

namespace itgtd::config {

/// 96 bits, below which a secret can be guessed from one exchange. RFC 7143 §9.2.1.
inline constexpr size_t kSecretBytesMin = 12;
/// A text value of a login (RFC 7143 §6.1), and what initiators take.
inline constexpr size_t kSecretBytesMax = 255;

/// The secret in `path`, without the newline at its end.
[[nodiscard]] Result<std::string> read_secret(const std::string& path);

/// Fills the secrets of all targets.
void read_secrets(Config& config, Problems& problems);

}  // namespace itgtd::config
