#include "base/crc32c.h"

#include <isa-l/crc.h>

namespace itgtd {

uint32_t crc32c_update(uint32_t crc, ConstBytes bytes) {
  // ISA-L takes a pointer to non-const and an int length; it only reads. Data segments are below 16 MiB
  // (24-bit lengths), so the conversion can't overflow.
  auto* data = static_cast<unsigned char*>(static_cast<void*>(const_cast<std::byte*>(bytes.data())));
  return crc32_iscsi(data, static_cast<int>(bytes.size()), crc);
}

uint32_t crc32c(ConstBytes bytes) {
  return crc32c_finish(crc32c_update(kCrc32cSeed, bytes));
}

}  // namespace itgtd
