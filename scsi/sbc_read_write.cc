// READ and WRITE (6, 10, 12, 16). SBC-3 §5.11 to §5.13, §5.33 to §5.35.
//
// The data path: a READ is one Io straight into the transfer buffer, a WRITE one out of it.
#include "scsi/sbc_common.h"

namespace itgtd::scsi {

namespace {

using namespace sbc;

/// Command::stage. Set by admit(): whether the CDB has FUA. READ(6) and WRITE(6) have none.
enum Stage : uint32_t {
  kPlain,
  kForceUnitAccess,
  kFlushing,  ///< a READ with FUA waits until the cache is written back
};

constexpr uint8_t kFuaBit = 0x08;

template <uint8_t kCdbBytes, DataDirection kDirection>
Admission admit_blocks(Command& command) {
  command.stage = kPlain;
  if constexpr (kCdbBytes != 6) {
    if (const auto refused = check_protect(command)) [[unlikely]] {
      return check_condition(*refused);
    }
    // DPO is a hint on retention (SBC-3 §4.15), and there is nothing here that could follow it.
    if ((command.cdb[1] & kFuaBit) != 0) command.stage = kForceUnitAccess;
  }
  return admit_transfer(command, decode_range<kCdbBytes>(command), kDirection, kLengthByte<kCdbBytes>);
}

Io read_all(const Command& command) {
  Io io = make_io(command, IoKind::read, {command.lba, command.blocks_left}, command.data.data());
  io.may_borrow = true;
  return io;
}

Step start_read(Command& command) {
  if (command.blocks_left == 0) return good();
  if (command.stage == kForceUnitAccess && !write_through(command)) {
    // SBC-3 §4.15: with FUA what is newer in a volatile cache is written to the medium before it is read.
    command.stage = kFlushing;
    return make_flush();
  }
  return read_all(command);
}

Step resume_read(Command& command, const IoResult& result) {
  if (command.stage == kFlushing) {
    if (!succeeded(result)) return io_failed(command, IoKind::flush, command.lba, result);
    command.stage = kPlain;
    return read_all(command);
  }
  if (!succeeded(result, command.phase.transfer_bytes)) [[unlikely]] {
    return io_failed(command, IoKind::read, command.lba, result);
  }
  command.borrowed = result.borrowed;
  command.lu->counts->read_commands.add(1);
  command.lu->counts->read_blocks.add(command.blocks_left);
  return good(command.phase.transfer_bytes);
}

Step start_write(Command& command) {
  command.blocks_left = data_out_blocks(command);
  if (command.blocks_left == 0) return good();
  return make_write(command, IoKind::write, {command.lba, command.blocks_left}, command.data.data(),
                    command.stage == kForceUnitAccess);
}

Step resume_write(Command& command, const IoResult& result) {
  if (!succeeded(result, command.blocks_left * block_bytes(command))) [[unlikely]] {
    return io_failed(command, IoKind::write, command.lba, result);
  }
  command.lu->counts->write_commands.add(1);
  command.lu->counts->written_blocks.add(command.blocks_left);
  return good();
}

constexpr auto kIn = DataDirection::in;
constexpr auto kOut = DataDirection::out;
constexpr auto kRead = ReservationClass::read;
constexpr auto kWrite = ReservationClass::write;

// Byte 1 of the longer ones: RDPROTECT or WRPROTECT, DPO, FUA. FUA_NV and RELADR are obsolete; RARC, GROUP
// NUMBER and CONTROL are not supported and treated as reserved.
// clang-format off
constexpr CommandEntry kCommands[] = {
    {"READ(6)", 0x08, kNoServiceAction, 6, kIn, kRead, kOneRange,
     {0x08, 0x1F, 0xFF, 0xFF, 0xFF, 0x00},
     admit_blocks<6, kIn>, start_read, resume_read},
    {"WRITE(6)", 0x0A, kNoServiceAction, 6, kOut, kWrite, kWritesMedium | kOneRange,
     {0x0A, 0x1F, 0xFF, 0xFF, 0xFF, 0x00},
     admit_blocks<6, kOut>, start_write, resume_write},
    {"READ(10)", 0x28, kNoServiceAction, 10, kIn, kRead, kOneRange,
     {0x28, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0xFF, 0xFF, 0x00},
     admit_blocks<10, kIn>, start_read, resume_read},
    {"WRITE(10)", 0x2A, kNoServiceAction, 10, kOut, kWrite, kWritesMedium | kOneRange,
     {0x2A, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0xFF, 0xFF, 0x00},
     admit_blocks<10, kOut>, start_write, resume_write},
    {"READ(12)", 0xA8, kNoServiceAction, 12, kIn, kRead, kOneRange,
     {0xA8, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     admit_blocks<12, kIn>, start_read, resume_read},
    {"WRITE(12)", 0xAA, kNoServiceAction, 12, kOut, kWrite, kWritesMedium | kOneRange,
     {0xAA, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     admit_blocks<12, kOut>, start_write, resume_write},
    {"READ(16)", 0x88, kNoServiceAction, 16, kIn, kRead, kOneRange,
     {0x88, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     admit_blocks<16, kIn>, start_read, resume_read},
    {"WRITE(16)", 0x8A, kNoServiceAction, 16, kOut, kWrite, kWritesMedium | kOneRange,
     {0x8A, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     admit_blocks<16, kOut>, start_write, resume_write},
};
// clang-format on

}  // namespace

std::span<const CommandEntry> sbc_read_write_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
