// VERIFY and WRITE AND VERIFY (10, 12, 16). SBC-3 §5.29 to §5.31, §5.37 to §5.39.
//
// The medium is read into the command's scratch memory step by step, and compared there where BYTCHK asks for
// it. Command::lba and blocks_left say what is still to be read.
//
// What is compared is claimed as a whole, or a write that comes between two steps, or between the write of
// WRITE AND VERIFY and its verification, would make a MISCOMPARE where nothing is wrong. What is only read is
// claimed step by step: a long VERIFY does not keep the writers of its range waiting until its end.
#include <algorithm>
#include <cstring>

#include "scsi/sbc_common.h"

namespace itgtd::scsi {

namespace {

using namespace sbc;

/// BYTCHK, in byte 1 of all of these CDBs. 10b is reserved.
enum class ByteCheck : uint8_t {
  medium_only = 0,  ///< it can be read: that is all
  every_block = 1,  ///< equal to the data-out of the same length
  reserved = 2,
  one_block = 3,  ///< every block is equal to the one block of data-out; VERIFY only
};

ByteCheck byte_check(const Command& command) {
  return static_cast<ByteCheck>((command.cdb[1] >> 1) & 0x03);
}

/// Command::stage: what resume() hears of.
enum Stage : uint32_t { kClaiming, kWriting, kVerifying };

Sense invalid_byte_check() {
  return sense::invalid_field_in_cdb(1, uint8_t{2});
}

/// Blocks that the next, or the present, step reads.
uint64_t step_blocks(const Command& command) {
  return std::min<uint64_t>(command.blocks_left, command.phase.scratch_bytes / block_bytes(command));
}

Io read_step(const Command& command) {
  return make_io(command, IoKind::read, {command.lba, step_blocks(command)}, command.scratch.data());
}

/// Where in the data-out buffer the first byte stands that is not what `blocks` blocks in scratch have.
std::optional<uint64_t> find_miscompare(const Command& command, uint64_t blocks) {
  const uint64_t bytes = block_bytes(command);
  const ConstBytes read = command.scratch.first(blocks * bytes);
  const ConstBytes data = command.data;
  switch (byte_check(command)) {
    case ByteCheck::every_block: {
      const uint64_t offset = (data_out_blocks(command) - command.blocks_left) * bytes;
      const auto at = first_difference(data.subspan(offset, read.size()), read);
      return at ? std::optional(offset + *at) : std::nullopt;
    }
    case ByteCheck::one_block:
      for (uint64_t block = 0; block < blocks; ++block) {
        if (const auto at = first_difference(data.first(bytes), read.subspan(block * bytes, bytes)))
          return at;
      }
      return std::nullopt;
    case ByteCheck::medium_only:
    case ByteCheck::reserved:
      break;
  }
  return std::nullopt;
}

template <uint8_t kCdbBytes>
Admission admit_verify(Command& command) {
  const BlockRange range = decode_range<kCdbBytes>(command);
  if (const auto refused = check_protect(command)) return check_condition(*refused);
  const ByteCheck check = byte_check(command);
  if (check == ByteCheck::reserved) return check_condition(invalid_byte_check());
  if (check == ByteCheck::every_block) {
    Admission admission = admit_transfer(command, range, DataDirection::out, kLengthByte<kCdbBytes>);
    if (DataPhase* phase = std::get_if<DataPhase>(&admission))
      phase->scratch_bytes = scratch_for(command, command.blocks_left);
    return admission;
  }
  if (const auto refused = check_range(command, range)) return check_condition(*refused);
  if (range.blocks > kRangeBytesMax / block_bytes(command)) {
    return check_condition(sense::invalid_field_in_cdb(kLengthByte<kCdbBytes>));
  }
  command.lba = range.lba;
  command.blocks_left = range.blocks;
  DataPhase phase;
  phase.scratch_bytes = scratch_for(command, command.blocks_left);
  if (check == ByteCheck::one_block && range.blocks != 0) {
    phase.direction = DataDirection::out;
    phase.transfer_bytes = block_bytes(command);
  }
  return phase;
}

Claim claim_for_verify(Command& command) {
  command.stage = kClaiming;
  const bool whole = byte_check(command) != ByteCheck::medium_only;
  return make_claim(command, {command.lba, whole ? command.blocks_left : step_blocks(command)});
}

template <uint8_t kCdbBytes>
Step start_verify(Command& command) {
  if (command.blocks_left == 0) return good();
  // GOOD would say that all was compared, so too little data can't be let pass as WRITE does.
  if (command.data_out_bytes < command.phase.transfer_bytes) {
    return check_condition(sense::invalid_field_in_cdb(kLengthByte<kCdbBytes>));
  }
  return claim_for_verify(command);
}

/// Looks at what was read. How the command ends, or nothing: there is more to read.
std::optional<Done> on_read(Command& command, const IoResult& result) {
  const uint64_t blocks = step_blocks(command);
  if (!succeeded(result, blocks * block_bytes(command))) {
    return io_failed(command, IoKind::read, command.lba, result);
  }
  // SBC-3 §5.29: MISCOMPARE, and where in INFORMATION.
  if (const auto offset = find_miscompare(command, blocks))
    return check_condition(sense::miscompare(*offset));
  command.lba += blocks;
  command.blocks_left -= blocks;
  if (command.blocks_left == 0) return good();
  return std::nullopt;
}

Step resume_verify(Command& command, const IoResult& result) {
  if (command.stage == kVerifying) {
    if (const std::optional<Done> done = on_read(command, result)) return *done;
    if (byte_check(command) == ByteCheck::medium_only) return claim_for_verify(command);
  }
  command.stage = kVerifying;
  return read_step(command);
}

template <uint8_t kCdbBytes>
Admission admit_write_and_verify(Command& command) {
  if (const auto refused = check_protect(command)) return check_condition(*refused);
  const ByteCheck check = byte_check(command);
  if (check == ByteCheck::reserved || check == ByteCheck::one_block)
    return check_condition(invalid_byte_check());
  Admission admission =
      admit_transfer(command, decode_range<kCdbBytes>(command), DataDirection::out, kLengthByte<kCdbBytes>);
  if (DataPhase* phase = std::get_if<DataPhase>(&admission))
    phase->scratch_bytes = scratch_for(command, command.blocks_left);
  return admission;
}

Step start_write_and_verify(Command& command) {
  command.blocks_left = data_out_blocks(command);
  if (command.blocks_left == 0) return good();
  command.stage = kClaiming;
  return make_claim(command, {command.lba, command.blocks_left});
}

Step resume_write_and_verify(Command& command, const IoResult& result) {
  if (command.stage == kClaiming) {
    if (const auto update = break_tokens(command)) return *update;
    command.stage = kWriting;
    // What is verified is the medium, so that is where the data goes first.
    return make_write(command, IoKind::write, {command.lba, command.blocks_left}, command.data.data(), true);
  }
  if (command.stage == kWriting) {
    if (!succeeded(result, command.blocks_left * block_bytes(command))) {
      return io_failed(command, IoKind::write, command.lba, result);
    }
    command.stage = kVerifying;
  } else if (const std::optional<Done> done = on_read(command, result)) {
    return *done;
  }
  return read_step(command);
}

constexpr auto kOut = DataDirection::out;
constexpr auto kRead = ReservationClass::read;
constexpr auto kWrite = ReservationClass::write;

// Byte 1: VRPROTECT or WRPROTECT, DPO, BYTCHK.
// clang-format off
constexpr CommandEntry kCommands[] = {
    {"VERIFY(10)", 0x2F, kNoServiceAction, 10, kOut, kRead, kClaims,
     {0x2F, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0xFF, 0xFF, 0x00},
     admit_verify<10>, start_verify<10>, resume_verify},
    {"VERIFY(12)", 0xAF, kNoServiceAction, 12, kOut, kRead, kClaims,
     {0xAF, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     admit_verify<12>, start_verify<12>, resume_verify},
    {"VERIFY(16)", 0x8F, kNoServiceAction, 16, kOut, kRead, kClaims,
     {0x8F, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     admit_verify<16>, start_verify<16>, resume_verify},
    {"WRITE AND VERIFY(10)", 0x2E, kNoServiceAction, 10, kOut, kWrite, kWritesMedium | kClaims,
     {0x2E, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0xFF, 0xFF, 0x00},
     admit_write_and_verify<10>, start_write_and_verify, resume_write_and_verify},
    {"WRITE AND VERIFY(12)", 0xAE, kNoServiceAction, 12, kOut, kWrite, kWritesMedium | kClaims,
     {0xAE, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     admit_write_and_verify<12>, start_write_and_verify, resume_write_and_verify},
    {"WRITE AND VERIFY(16)", 0x8E, kNoServiceAction, 16, kOut, kWrite, kWritesMedium | kClaims,
     {0x8E, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     admit_write_and_verify<16>, start_write_and_verify, resume_write_and_verify},
};
// clang-format on

}  // namespace

std::span<const CommandEntry> sbc_verify_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
