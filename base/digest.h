// A digest of text, the same on every machine: for comparing what two nodes have without sending it. By
// OpenSSL.
#pragma once

#include <cstdint>
#include <string_view>

namespace itgtd {

/// The first eight bytes of the SHA-256 of `text`.
[[nodiscard]] uint64_t digest64(std::string_view text);

}  // namespace itgtd
