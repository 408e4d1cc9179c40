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

/// The echo buffer of a nexus, of WRITE BUFFER: as much as its descriptor, of 13 bits, and most hosts know.
inline constexpr uint16_t kEchoBufferBytesMax = 4096;

/// CSCD (copy source and copy destination) descriptors of one EXTENDED COPY: initiators use two.
inline constexpr uint16_t kCopyTargetsMax = 16;
/// Its segment descriptors, and what one of them may copy. Together they bound the time that one command
/// takes; RECEIVE COPY RESULTS and VPD 8Fh tell both.
inline constexpr uint16_t kCopySegmentsMax = 16;
inline constexpr uint32_t kCopySegmentBytesMax = uint32_t{16} << 20;
/// What one third-party copy command of any kind may copy.
inline constexpr uint64_t kCopyBytesMax = uint64_t{256} << 20;
static_assert(kCopyBytesMax == uint64_t{kCopySegmentsMax} * kCopySegmentBytesMax);
/// Third-party copies of a nexus with a list identifier: under way, or with results that nobody has asked
/// for. Beyond it the oldest results go.
inline constexpr uint16_t kCopiesMax = 32;

/// ROD tokens of one logical unit at a time: each write to it is held against their ranges. An initiator that
/// makes more loses its oldest.
inline constexpr size_t kRodTokensMax = 64;
/// Why a token can't be used any more is remembered of so many.
inline constexpr size_t kEndedRodTokensMax = 64;
/// Block device range descriptors of one POPULATE TOKEN or WRITE USING TOKEN.
inline constexpr uint16_t kRodRangesMax = 64;
/// INACTIVITY TIMEOUT of a token: when none is asked for, and the most that may be.
inline constexpr uint32_t kRodInactivityDefaultSeconds = 60;
inline constexpr uint32_t kRodInactivityMaxSeconds = 600;
/// OPTIMAL TRANSFER COUNT: done well within the four seconds that Windows gives one WRITE USING TOKEN.
inline constexpr uint64_t kRodOptimalBytes = uint64_t{64} << 20;

/// Unit attentions queued per nexus and LUN. More of them collapse into one POWER ON, RESET OR BUS DEVICE
/// RESET OCCURRED.
inline constexpr size_t kUnitAttentionsMax = 7;

/// What SET IDENTIFYING INFORMATION may store: the most that SPC-4 lets a device server support.
inline constexpr uint16_t kIdentifyingInformationBytesMax = 512;
inline constexpr uint16_t kIdentifyingTextBytesMax = 256;

}  // namespace itgtd::scsi
