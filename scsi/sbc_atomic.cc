// COMPARE AND WRITE, ORWRITE(16), WRITE ATOMIC(16). SBC-3 §5.2, SBC-3 ORWRITE (16), SBC-4 WRITE ATOMIC (16).
//
// Each claims its whole range, so that no other command sees a part of what it does. The first two read the
// range step by step into scratch memory, and fold each step into the data-out; what has to be written then
// stands there as a whole, and is written in one Io, or not at all.
#include <algorithm>
#include <bit>
#include <cstring>

#include "scsi/sbc_atomic.h"
#include "scsi/sbc_common.h"

namespace itgtd::scsi {

namespace {

using namespace sbc;

constexpr uint8_t kFuaBit = 0x08;
constexpr uint16_t kCompareAndWriteLengthByte = 13;
constexpr uint16_t kAtomicLengthByte = 12;

/// Command::stage: what resume() hears of.
enum Stage : uint32_t { kClaiming, kReading, kWriting };

/// Blocks of the range that have been read and folded in: Command::lba and blocks_left stay as they are, for
/// the write; this stands in scratch.
struct Progress {
  be64 blocks_read;
};
static_assert(sizeof(Progress) == 8 && WireStruct<Progress>);

Bytes read_area(const Command& command) {
  return command.scratch.first(command.scratch.size() - sizeof(Progress));
}
Bytes progress_area(const Command& command) {
  return command.scratch.last(sizeof(Progress));
}
uint64_t blocks_read(const Command& command) {
  return load<Progress>(progress_area(command)).blocks_read.get();
}
void set_blocks_read(Command& command, uint64_t blocks) {
  store(progress_area(command), Progress{be64(blocks)});
}

/// Scratch of a command that reads `blocks` blocks in steps of its read_area().
uint32_t scratch_with_progress(const Command& command, uint64_t blocks) {
  const uint64_t most = kScratchBytesMax / block_bytes(command) - 1;
  const uint64_t step = std::min(blocks, most);
  return static_cast<uint32_t>(step * block_bytes(command) + sizeof(Progress));
}

uint64_t step_blocks(const Command& command) {
  return std::min(command.blocks_left - blocks_read(command),
                  read_area(command).size() / block_bytes(command));
}

Step read_step(Command& command) {
  const BlockRange range{command.lba + blocks_read(command), step_blocks(command)};
  return make_io(command, IoKind::read, range, command.scratch.data());
}

Step claim_all(Command& command) {
  command.stage = kClaiming;
  return make_claim(command, {command.lba, command.blocks_left});
}

Step write_all(Command& command, std::byte* data) {
  command.stage = kWriting;
  const bool force_unit_access = (command.cdb[1] & kFuaBit) != 0;
  return make_write(command, IoKind::write, {command.lba, command.blocks_left}, data, force_unit_access);
}

Step on_written(const Command& command, const IoResult& result) {
  if (succeeded(result, command.blocks_left * block_bytes(command))) return good();
  return io_failed(command, IoKind::write, command.lba, result);
}

/// One step of what was read, and the data-out that belongs to it. A result ends the command.
using Fold = std::optional<Done>(ConstBytes read, Bytes data, uint64_t offset);

/// The steps of COMPARE AND WRITE and ORWRITE: claim, read and fold, write what stands at `write_from`.
Step resume_read_fold_write(Command& command, const IoResult& result, Fold* fold, std::byte* write_from) {
  if (command.stage == kWriting) return on_written(command, result);
  if (command.stage == kClaiming) {
    if (const auto update = break_tokens(command)) return *update;
    command.stage = kReading;
    set_blocks_read(command, 0);
    return read_step(command);
  }
  const uint64_t done = blocks_read(command);
  const uint64_t bytes = step_blocks(command) * block_bytes(command);
  if (!succeeded(result, bytes)) return io_failed(command, IoKind::read, command.lba + done, result);
  const uint64_t offset = done * block_bytes(command);
  const ConstBytes read = command.scratch.first(bytes);
  if (const auto end = fold(read, command.data.subspan(offset, bytes), offset)) return *end;
  set_blocks_read(command, done + step_blocks(command));
  if (blocks_read(command) < command.blocks_left) return read_step(command);
  return write_all(command, write_from);
}

// ---- COMPARE AND WRITE: the data-out is what is expected, then what is to be written ----

Admission admit_compare_and_write(Command& command) {
  if (const auto refused = check_protect(command)) return check_condition(*refused);
  const BlockRange range{cdb_u64(command, 2), command.cdb[kCompareAndWriteLengthByte]};
  Admission admission =
      admit_transfer(command, {range.lba, range.blocks}, DataDirection::out, kCompareAndWriteLengthByte);
  DataPhase* phase = std::get_if<DataPhase>(&admission);
  if (phase == nullptr || range.blocks == 0) return admission;
  // SBC-3 §6.6, MAXIMUM COMPARE AND WRITE LENGTH.
  if (range.blocks > compare_and_write_blocks_max(block_bytes(command))) {
    return check_condition(sense::invalid_field_in_cdb(kCompareAndWriteLengthByte));
  }
  phase->transfer_bytes *= 2;
  phase->scratch_bytes = scratch_with_progress(command, range.blocks);
  return admission;
}

Step start_compare_and_write(Command& command) {
  // With more or less data than the CDB asks for it is not known where the second half begins. 256 blocks in
  // a field of one byte are 0 blocks with data.
  const uint32_t announced = std::max(command.data_out_bytes, command.expected_data_transfer_length);
  if (announced != command.phase.transfer_bytes || command.data_out_bytes != announced) {
    return check_condition(sense::invalid_field_in_cdb(kCompareAndWriteLengthByte));
  }
  if (command.blocks_left == 0) return good();
  return claim_all(command);
}

std::optional<Done> compare(ConstBytes read, Bytes data, uint64_t offset) {
  // SBC-3 §5.2: MISCOMPARE, nothing is written, and INFORMATION is the offset of the first byte that differs.
  if (const auto at = first_difference(read, data)) return check_condition(sense::miscompare(offset + *at));
  return std::nullopt;
}

Step resume_compare_and_write(Command& command, const IoResult& result) {
  return resume_read_fold_write(command, result, compare,
                                command.data.data() + command.phase.transfer_bytes / 2);
}

// ---- ORWRITE ----

Admission admit_orwrite(Command& command) {
  if (const auto refused = check_protect(command)) return check_condition(*refused);
  Admission admission =
      admit_transfer(command, decode_range<16>(command), DataDirection::out, kLengthByte<16>);
  if (DataPhase* phase = std::get_if<DataPhase>(&admission); phase != nullptr && command.blocks_left != 0) {
    phase->scratch_bytes = scratch_with_progress(command, command.blocks_left);
  }
  return admission;
}

Step start_orwrite(Command& command) {
  command.blocks_left = data_out_blocks(command);
  if (command.blocks_left == 0) return good();
  return claim_all(command);
}

std::optional<Done> set_bits(ConstBytes read, Bytes data, uint64_t /*offset*/) {
  std::transform(read.begin(), read.end(), data.begin(), data.begin(), std::bit_or<>());
  return std::nullopt;
}

Step resume_orwrite(Command& command, const IoResult& result) {
  return resume_read_fold_write(command, result, set_bits, command.data.data());
}

// ---- WRITE ATOMIC ----

Admission admit_write_atomic(Command& command) {
  if (const auto refused = check_protect(command)) return check_condition(*refused);
  const BlockRange range{cdb_u64(command, 2), cdb_u16(command, kAtomicLengthByte)};
  Admission admission = admit_transfer(command, range, DataDirection::out, kAtomicLengthByte);
  if (!std::holds_alternative<DataPhase>(admission)) return admission;
  // SBC-4, ATOMIC ALIGNMENT and ATOMIC TRANSFER LENGTH GRANULARITY.
  const uint32_t unit = atomic_unit_blocks(command.lu->geometry);
  if (range.lba % unit != 0) return check_condition(sense::invalid_field_in_cdb(2));
  if (range.blocks % unit != 0) return check_condition(sense::invalid_field_in_cdb(kAtomicLengthByte));
  return admission;
}

Step start_write_atomic(Command& command) {
  if (command.blocks_left == 0) return good();
  // A part of it would not be what was asked for.
  if (command.data_out_bytes < command.phase.transfer_bytes) {
    return check_condition(sense::invalid_field_in_cdb(kAtomicLengthByte));
  }
  return claim_all(command);
}

Step resume_write_atomic(Command& command, const IoResult& result) {
  if (command.stage == kClaiming) {
    if (const auto update = break_tokens(command)) return *update;
    return write_all(command, command.data.data());
  }
  return on_written(command, result);
}

constexpr auto kOut = DataDirection::out;
constexpr auto kWrite = ReservationClass::write;
constexpr uint16_t kFlags = kWritesMedium | kClaims;

// Byte 1: WRPROTECT or ORPROTECT, DPO, FUA. There are no atomic boundaries: MAXIMUM ATOMIC BOUNDARY SIZE is
// zero, and ATOMIC BOUNDARY, bytes 10 and 11 of WRITE ATOMIC, reserved by that.
// clang-format off
constexpr CommandEntry kCommands[] = {
    {"COMPARE AND WRITE", 0x89, kNoServiceAction, 16, kOut, kWrite, kFlags,
     {0x89, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0xFF, 0x00, 0x00},
     admit_compare_and_write, start_compare_and_write, resume_compare_and_write},
    {"ORWRITE(16)", 0x8B, kNoServiceAction, 16, kOut, kWrite, kFlags,
     {0x8B, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     admit_orwrite, start_orwrite, resume_orwrite},
    {"WRITE ATOMIC(16)", 0x9C, kNoServiceAction, 16, kOut, kWrite, kFlags,
     {0x9C, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0xFF, 0xFF, 0x00, 0x00},
     admit_write_atomic, start_write_atomic, resume_write_atomic},
};
// clang-format on

}  // namespace

std::span<const CommandEntry> sbc_atomic_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
