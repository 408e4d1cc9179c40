// SEND DIAGNOSTIC, RECEIVE DIAGNOSTIC RESULTS, READ BUFFER and WRITE BUFFER. SPC-4 §6.14, §6.27, §6.42,
// §6.49.
#include <algorithm>
#include <array>
#include <optional>

#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/logical_unit.h"
#include "scsi/nexus.h"
#include "scsi/parameter_data.h"
#include "scsi/sbc_common.h"

namespace itgtd::scsi {
namespace {

// SEND DIAGNOSTIC. Of the self-tests there is the default one: a block is read. Those that go on in the
// background would have to leave their results somewhere.

constexpr unsigned kSelfTestCodeBit = 7;  // the leftmost of three
constexpr unsigned kPageFormatBit = 4;    // PF
constexpr unsigned kSelfTestBit = 2;
constexpr uint16_t kSendLengthByte = 3;

/// Supported diagnostic pages, SPC-4 §7.2.8: the page list has itself only.
constexpr uint8_t kSupportedPages = 0x00;
constexpr size_t kPageHeaderBytes = 4;

Admission admit_send_diagnostic(Command& command) {
  const uint16_t length = cdb_u16(command, kSendLengthByte);
  if ((command.cdb[1] >> 5) != 0) return check_condition(sense::invalid_field_in_cdb(1, kSelfTestCodeBit));
  if (cdb_bit(command, 1, kSelfTestBit)) {
    // SPC-4 §6.42: a self-test has no parameters.
    if (length != 0) return check_condition(sense::invalid_field_in_cdb(kSendLengthByte, 7));
    const LuState& state = *command.lu->state;
    if (state.condition != LuCondition::ready) return check_condition(condition_sense(state));
    return DataPhase{DataDirection::out, 0, sbc::block_bytes(command)};
  }
  // Without PF all parameters are vendor specific; there are none.
  if (length != 0 && !cdb_bit(command, 1, kPageFormatBit)) {
    return check_condition(sense::invalid_field_in_cdb(1, kPageFormatBit));
  }
  if (length > kParameterDataBytesMax)
    return check_condition(sense::invalid_field_in_cdb(kSendLengthByte, 7));
  return DataPhase{DataDirection::out, length, 0};
}

/// SPC-4 §7.2.1: one page, which fills the parameter list.
Done take_diagnostic_page(const Command& command) {
  const ConstBytes list = ConstBytes(command.data).first(command.data_out_bytes);
  if (list.size() != command.phase.transfer_bytes || list.size() < kPageHeaderBytes) {
    return check_condition(sense::parameter_list_length_error());
  }
  if (list[0] != std::byte{kSupportedPages}) {
    return check_condition(sense::invalid_field_in_parameter_list(0, 7));
  }
  if (list[1] != std::byte{0}) return check_condition(sense::invalid_field_in_parameter_list(1, 7));
  if (load<be16>(list.subspan(2)).get() != 0) {
    return check_condition(sense::invalid_field_in_parameter_list(2, 7));
  }
  if (list.size() != kPageHeaderBytes) return check_condition(sense::parameter_list_length_error());
  return good();
}

Step start_send_diagnostic(Command& command) {
  if (!cdb_bit(command, 1, kSelfTestBit)) {
    return command.phase.transfer_bytes == 0 ? good() : take_diagnostic_page(command);
  }
  if (sbc::capacity(command) == 0) return good();
  return sbc::make_io(command, IoKind::read, {0, 1}, command.scratch.data());
}

Step resume_send_diagnostic(Command& command, const IoResult& result) {
  if (sbc::succeeded(result, sbc::block_bytes(command))) return good();
  return check_condition(sense::failed_self_test());
}

// RECEIVE DIAGNOSTIC RESULTS. Without PCV it is the page that SEND DIAGNOSTIC asked for, and there is one.

Admission admit_receive_diagnostic(Command& command) {
  constexpr unsigned kPageCodeValidBit = 0;  // PCV
  if (cdb_bit(command, 1, kPageCodeValidBit)) {
    if (command.cdb[2] != kSupportedPages) return check_condition(sense::invalid_field_in_cdb(2, 7));
  } else if (command.cdb[2] != 0) {
    return check_condition(sense::invalid_field_in_cdb(2, 7));
  }
  return parameter_data_in(cdb_u16(command, 3));
}

Step start_receive_diagnostic(Command& command) {
  ParameterData data;
  data.u8(kSupportedPages);
  data.u8(0);
  data.u16(1);
  data.u8(kSupportedPages);
  return data.send(command);
}

// READ BUFFER and WRITE BUFFER: the echo buffer. There is no other memory to show, and no microcode.

constexpr uint8_t kModeMask = 0x1F;
constexpr unsigned kModeBit = 4;  // the leftmost of MODE
enum class BufferMode : uint8_t { descriptor = 0x03, echo = 0x0A, echo_descriptor = 0x0B };
constexpr uint16_t kBufferLengthByte = 6;

BufferMode buffer_mode(const Command& command) {
  return static_cast<BufferMode>(command.cdb[1] & kModeMask);
}
uint32_t buffer_length(const Command& command) {
  return cdb_u32(command, kBufferLengthByte - 1) & 0xFF'FFFF;
}

Admission admit_read_buffer(Command& command) {
  switch (buffer_mode(command)) {
    case BufferMode::descriptor:
    case BufferMode::echo:
    case BufferMode::echo_descriptor:
      return parameter_data_in(buffer_length(command));
  }
  return check_condition(sense::invalid_field_in_cdb(1, kModeBit));
}

Step start_read_buffer(Command& command) {
  ParameterData data;
  switch (buffer_mode(command)) {
    case BufferMode::descriptor:
      data.zeros(4);  // SPC-4 §6.27: of a buffer that is not there
      break;
    case BufferMode::echo: {
      const std::optional<ConstBytes> echo = command.nexus->echo_buffer(command.lun);
      // SPC-4 §6.27: nothing was written that could be read.
      if (!echo) return check_condition(sense::command_sequence_error());
      data.bytes(*echo);
      break;
    }
    case BufferMode::echo_descriptor:
      data.u8(0x01);  // EBOS: no other nexus overwrites it
      data.u8(0);
      data.u16(kEchoBufferBytesMax);
      break;
  }
  return data.send(command);
}

Admission admit_write_buffer(Command& command) {
  if (buffer_mode(command) != BufferMode::echo) {
    return check_condition(sense::invalid_field_in_cdb(1, kModeBit));
  }
  // SPC-4 §6.49: more than the capacity that is told of.
  const uint32_t length = buffer_length(command);
  if (length > kEchoBufferBytesMax) return check_condition(sense::invalid_field_in_cdb(kBufferLengthByte, 7));
  return DataPhase{DataDirection::out, length, 0};
}

Step start_write_buffer(Command& command) {
  // What did not come is not made up.
  if (command.data_out_bytes < command.phase.transfer_bytes) {
    return check_condition(sense::parameter_list_length_error());
  }
  command.nexus->set_echo_buffer(command.lun, ConstBytes(command.data).first(command.phase.transfer_bytes));
  return good();
}

constexpr std::array kCommands = {
    CommandEntry{.name = "RECEIVE DIAGNOSTIC RESULTS",
                 .opcode = 0x1C,
                 .direction = DataDirection::in,
                 .reservation = ReservationClass::read,
                 .flags = kRunsWhenNotReady | kRunsInStandby,
                 .cdb_usage = {0x1C, 0x01, 0xFF, 0xFF, 0xFF, 0x00},
                 .admit = admit_receive_diagnostic,
                 .start = start_receive_diagnostic},
    // DEVOFFL and UNITOFFL allow what the self-test does not do.
    CommandEntry{.name = "SEND DIAGNOSTIC",
                 .opcode = 0x1D,
                 .direction = DataDirection::out,
                 .reservation = ReservationClass::write,
                 .flags = kRunsWhenNotReady | kRunsInStandby,
                 .cdb_usage = {0x1D, 0xF7, 0x00, 0xFF, 0xFF, 0x00},
                 .admit = admit_send_diagnostic,
                 .start = start_send_diagnostic,
                 .resume = resume_send_diagnostic},
    CommandEntry{.name = "WRITE BUFFER",
                 .opcode = 0x3B,
                 .cdb_bytes = 10,
                 .direction = DataDirection::out,
                 .reservation = ReservationClass::write,
                 .flags = kRunsWhenNotReady | kRunsInEveryAccessState,
                 .cdb_usage = {0x3B, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00},
                 .admit = admit_write_buffer,
                 .start = start_write_buffer},
    CommandEntry{.name = "READ BUFFER",
                 .opcode = 0x3C,
                 .cdb_bytes = 10,
                 .direction = DataDirection::in,
                 .reservation = ReservationClass::read,
                 .flags = kRunsWhenNotReady | kRunsInEveryAccessState,
                 .cdb_usage = {0x3C, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00},
                 .admit = admit_read_buffer,
                 .start = start_read_buffer},
};

}  // namespace

std::span<const CommandEntry> spc_diagnostic_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
