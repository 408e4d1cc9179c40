// CRC32C (Castagnoli), the digest of iSCSI. RFC 7143 §13.1, RFC 3720 Appendix B.4. By ISA-L.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace itgtd {

/// Continues a digest: start with kCrc32cSeed, feed the bytes in any number of parts, end with
/// crc32c_finish().
inline constexpr uint32_t kCrc32cSeed = 0xFFFF'FFFF;
[[nodiscard]] uint32_t crc32c_update(uint32_t crc, ConstBytes bytes);
[[nodiscard]] inline uint32_t crc32c_finish(uint32_t crc) {
  return ~crc;
}

/// The digest of `bytes` in one call. On the wire it is sent least significant byte first.
[[nodiscard]] uint32_t crc32c(ConstBytes bytes);

}  // namespace itgtd
