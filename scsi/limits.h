// Bounds of the SCSI layer, each with its reason.
#pragma once

#include <cstddef>
#include <cstdint>

namespace itgtd::scsi {

/// LUNs of a target: what peripheral device addressing can name (SAM-5 §4.7.7.2), and what Linux scans.
inline constexpr uint16_t kLunsPerTargetMax = 256;

/// The largest transfer of one command: one block of the buddy pool. Reported as MAXIMUM TRANSFER LENGTH (VPD
/// B0h).
inline constexpr uint32_t kTransferBytesMax = uint32_t{8} << 20;

/// What a command may borrow beyond its transfer, for patterns and comparisons, and the step in which such
/// commands work.
inline constexpr uint32_t kScratchBytesMax = uint32_t{256} << 10;

/// Blocks of one WRITE SAME: what WRITE SAME(10) can name. Bounds the time that one command takes.
inline constexpr uint64_t kWriteSameBlocksMax = 0xFFFF;
/// Blocks of all UNMAP descriptors together, likewise. More than 1 Mi is what conformance tests call insane.
inline constexpr uint32_t kUnmapDescriptorsMax = 256;
inline constexpr uint32_t kUnmapBlocksMax = 0x0010'0000;

/// Unit attentions queued per nexus and LUN. More of them collapse into one POWER ON, RESET OR BUS DEVICE
/// RESET OCCURRED.
inline constexpr size_t kUnitAttentionsMax = 7;

}  // namespace itgtd::scsi
