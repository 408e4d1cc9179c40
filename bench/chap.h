// The initiator's half of one-way CHAP. RFC 1994, RFC 7143 §12.1.3; SHA-256 as IANA lists it (7).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace itgtd::bench {

/// The value of CHAP_R, "0x...", for the target's CHAP_A, CHAP_I and CHAP_C as they came: 5 is MD5, 7
/// SHA-256. CHAP_C is hexadecimal or base64 (RFC 7143 §6.1).
[[nodiscard]] Result<std::string> chap_response(std::string_view algorithm, std::string_view identifier,
                                                std::string_view challenge, std::string_view secret);

}  // namespace itgtd::bench
