// What the atomic block commands promise, and VPD B0h reports. SBC-3 §6.6.4, SBC-4 Block Limits VPD page.
#pragma once

#include <algorithm>
#include <cstdint>

#include "scsi/limits.h"
#include "scsi/logical_unit.h"

namespace itgtd::scsi {

/// MAXIMUM COMPARE AND WRITE LENGTH: what its one byte can name, and what a transfer buffer holds twice.
[[nodiscard]] inline uint8_t compare_and_write_blocks_max(uint32_t block_bytes) {
  return static_cast<uint8_t>(std::min<uint32_t>(0xFF, kTransferBytesMax / 2 / block_bytes));
}

/// MAXIMUM ATOMIC TRANSFER LENGTH, ATOMIC ALIGNMENT and ATOMIC TRANSFER LENGTH GRANULARITY of WRITE ATOMIC:
/// one physical block, which is what the medium below writes wholly or not at all when the power fails.
/// Initiators put databases without a journal on this promise, so it is not stretched: a longer WRITE ATOMIC
/// of whole physical blocks is done as well, and no other command sees a part of it, but a crash might.
[[nodiscard]] inline uint32_t atomic_unit_blocks(const Geometry& geometry) {
  // Where physical blocks do not begin at block 0 there is no alignment to name.
  if (geometry.lowest_aligned_lba != 0) return 1;
  return uint32_t{1} << std::min<unsigned>(geometry.physical_block_exponent, 15);
}

}  // namespace itgtd::scsi
