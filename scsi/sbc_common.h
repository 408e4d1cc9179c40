// What the block commands share: where a CDB points, whether that is on the medium, the Io that moves it, and
// the sense data of an Io that failed. SBC-3.
//
// The functions are pure; the row's own file (sbc_*.cc) keeps its steps in Command::{lba, blocks_left,
// stage}.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/endian.h"
#include "scsi/cdb.h"
#include "scsi/command.h"
#include "scsi/command_entry.h"
#include "scsi/logical_unit.h"

namespace itgtd::scsi::sbc {

/// Bytes of the medium that one VERIFY may go over without moving them to or from the initiator (BYTCHK 00b
/// or 11b): bounds the time that it takes. Every VERIFY(10) fits.
inline constexpr uint64_t kRangeBytesMax = uint64_t{256} << 20;

struct BlockRange {
  uint64_t lba = 0;
  uint64_t blocks = 0;
};

/// Where the field that holds the number of blocks starts, by the length of the CDB; for field pointers.
template <uint8_t kCdbBytes>
inline constexpr uint16_t kLengthByte = kCdbBytes == 6    ? 4
                                        : kCdbBytes == 10 ? 7
                                        : kCdbBytes == 12 ? 6
                                                          : 10;

/// LOGICAL BLOCK ADDRESS and the number of blocks, as every SBC-3 command of that CDB length has them.
template <uint8_t kCdbBytes>
[[nodiscard]] BlockRange decode_range(const Command& command) {
  static_assert(kCdbBytes == 6 || kCdbBytes == 10 || kCdbBytes == 12 || kCdbBytes == 16);
  if constexpr (kCdbBytes == 6) {
    // SBC-2, READ (6) and WRITE (6): 21 bits of address; a length of zero is 256 blocks.
    const uint8_t length = command.cdb[4];
    return {cdb_u32(command, 0) & 0x1F'FFFF, length == 0 ? uint64_t{256} : length};
  } else if constexpr (kCdbBytes == 10) {
    return {cdb_u32(command, 2), cdb_u16(command, 7)};
  } else if constexpr (kCdbBytes == 12) {
    return {cdb_u32(command, 2), cdb_u32(command, 6)};
  } else {
    return {cdb_u64(command, 2), cdb_u32(command, 10)};
  }
}

[[nodiscard]] inline uint32_t block_bytes(const Command& command) {
  return command.lu->geometry.block_bytes;
}
[[nodiscard]] inline uint64_t capacity(const Command& command) {
  return command.lu->state->block_count;
}
/// True exactly when a write has to be durable before GOOD although the CDB does not say so: WCE is off.
[[nodiscard]] inline bool write_through(const Command& command) {
  return !command.lu->state->write_cache;
}

/// Nothing when the range is on the medium: then its end in bytes can't overflow. An empty range may start
/// right behind the last block, but not further. Otherwise LOGICAL BLOCK ADDRESS OUT OF RANGE with the first
/// LBA that is not there. SBC-3 §4.5, §5.11.
[[nodiscard]] Sense out_of_range(const Command& command, BlockRange range);
[[nodiscard]] inline std::optional<Sense> check_range(const Command& command, BlockRange range) {
  const uint64_t blocks = capacity(command);
  if (range.lba <= blocks && range.blocks <= blocks - range.lba) [[likely]] {
    return std::nullopt;
  }
  return out_of_range(command, range);
}

/// RDPROTECT, WRPROTECT and VRPROTECT stand in the same three bits of byte 1. Without protection information
/// on the medium anything but zero is an invalid field. SBC-3 §4.22, §5.11.
[[nodiscard]] inline std::optional<Sense> check_protect(const Command& command) {
  if ((command.cdb[1] & 0xE0) == 0) [[likely]] {
    return std::nullopt;
  }
  return sense::invalid_field_in_cdb(1, uint8_t{7});
}

/// Admits a command that moves the whole range between the initiator and the medium, and notes it in
/// Command::lba and blocks_left. More than kTransferBytesMax is an invalid field at `length_byte`
/// (SBC-3 §6.6, MAXIMUM TRANSFER LENGTH).
[[nodiscard]] inline Admission admit_transfer(Command& command, BlockRange range, DataDirection direction,
                                              uint16_t length_byte) {
  if (const auto refused = check_range(command, range)) [[unlikely]] {
    return check_condition(*refused);
  }
  // No overflow: a range of 2^32 blocks at most.
  const uint64_t bytes = range.blocks * block_bytes(command);
  if (bytes > kTransferBytesMax) [[unlikely]] {
    return check_condition(sense::invalid_field_in_cdb(length_byte));
  }
  command.lba = range.lba;
  command.blocks_left = range.blocks;
  DataPhase phase;
  phase.direction = bytes == 0 ? DataDirection::none : direction;
  phase.transfer_bytes = static_cast<uint32_t>(bytes);
  return phase;
}

/// The Io over `range`, which is on the medium.
[[nodiscard]] inline Io make_io(const Command& command, IoKind kind, BlockRange range,
                                std::byte* data = nullptr) {
  const uint64_t bytes = block_bytes(command);
  return {kind, false, range.lba * bytes, range.blocks * bytes, data};
}
[[nodiscard]] inline Io make_flush() {
  return {IoKind::flush, false, 0, 0, nullptr};
}
/// A write or write_zeroes: durable when asked for, or when WCE is off.
[[nodiscard]] inline Io make_write(const Command& command, IoKind kind, BlockRange range, std::byte* data,
                                   bool force_unit_access) {
  Io io = make_io(command, kind, range, data);
  io.force_unit_access = force_unit_access || write_through(command);
  return io;
}

/// Nobody else touches `range` from the next resume() on.
[[nodiscard]] inline Claim make_claim(const Command& command, BlockRange range) {
  return {{ClaimedRange{command.lu->key, range.lba, range.blocks}}, 1};
}

/// Memory to go through a range of `blocks` in steps: for all of it at once, or kScratchBytesMax of it.
[[nodiscard]] inline uint32_t scratch_for(const Command& command, uint64_t blocks) {
  return static_cast<uint32_t>(std::min<uint64_t>(blocks * block_bytes(command), kScratchBytesMax));
}
/// Where the first byte is that differs. Both are of the same length.
[[nodiscard]] std::optional<uint64_t> first_difference(ConstBytes a, ConstBytes b);

/// Whole blocks of data-out that are here. The initiator may have announced less than the CDB asks for: then
/// the residual tells it what was not written, and nothing is made up for it. RFC 7143 §11.4.5.
[[nodiscard]] uint64_t data_out_blocks(const Command& command);

/// True exactly when `length_bytes` bytes were moved. A read or write that ends early without an errno is a
/// failure (the file behind the LUN shrank); other kinds give 0, their errno says it all.
[[nodiscard]] inline bool succeeded(const IoResult& result, uint64_t length_bytes = 0) {
  return result.error == 0 && result.bytes_done >= length_bytes;
}

/// With Command::lba and blocks_left claimed, and before they are written: a token may have been made while
/// the claim was waited for. What takes such tokens away; the command comes back to where it asks then.
[[nodiscard]] std::optional<Update> break_tokens(const Command& command);

/// How the command ends after an Io of `kind` that began at block `lba` did not succeed.
[[nodiscard]] Done io_failed(const Command& command, IoKind kind, uint64_t lba, const IoResult& result);

}  // namespace itgtd::scsi::sbc
