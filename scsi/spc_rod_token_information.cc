// RECEIVE ROD TOKEN INFORMATION: what became of a POPULATE TOKEN or WRITE USING TOKEN, and the token. SPC-4,
// RECEIVE ROD TOKEN INFORMATION command.
#include <array>

#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/logical_unit.h"
#include "scsi/nexus.h"
#include "scsi/parameter_data.h"

namespace itgtd::scsi {
namespace {

constexpr uint16_t kListIdentifierByte = 2;

/// COPY OPERATION STATUS.
enum CopyOperationStatus : uint8_t {
  kCompleted = 0x01,
  kCompletedWithErrors = 0x02,
  kInProgressInForeground = 0x11,
  kTerminated = 0x60,
};

uint8_t copy_operation_status(const CopyResult& result) {
  if (result.running) return kInProgressInForeground;
  if (result.done.status == Status::good) return kCompleted;
  return result.done.status == Status::task_aborted ? kTerminated : kCompletedWithErrors;
}

Admission admit_token_information(Command& command) {
  return parameter_data_in(cdb_u32(command, 10));
}

void write_information(const CopyResult& result, bool descriptor_sense, ParameterData& data) {
  constexpr uint32_t kNoEstimate = 0xFFFF'FFFF;
  constexpr uint8_t kLogicalBlocks = 0xF1;
  std::array<std::byte, kSenseBytesMax> sense{};
  size_t sense_bytes = 0;
  if (!result.running && result.done.status == Status::check_condition) {
    sense_bytes = encode_sense(result.done.sense, descriptor_sense, sense);
  }
  data.u32(0);
  data.u8(static_cast<uint8_t>(result.command));
  data.u8(copy_operation_status(result));
  data.u16(1);  // OPERATION COUNTER: the one command
  data.u32(kNoEstimate);
  data.u8(result.running ? 0 : static_cast<uint8_t>(result.done.status));
  data.u8(static_cast<uint8_t>(sense_bytes));
  data.u8(static_cast<uint8_t>(sense_bytes));
  data.u8(kLogicalBlocks);
  data.u64(result.blocks);
  data.u16(0);  // SEGMENTS PROCESSED: there are none
  data.zeros(6);
  data.bytes(ConstBytes(sense).first(sense_bytes));
  data.u32(result.token ? sizeof(be16) + kRodTokenBytes : 0);
  if (result.token) {
    data.u16(0);
    data.bytes(*result.token);
  }
  data.set_u32(0, static_cast<uint32_t>(data.size() - 4));
}

Step start_token_information(Command& command) {
  CopyResults& copies = command.nexus->copies();
  const CopyName name{command.lu->key, false, cdb_u32(command, kListIdentifierByte)};
  const CopyResult* result = copies.find(name);
  if (result == nullptr) return check_condition(sense::invalid_field_in_cdb(kListIdentifierByte));
  ParameterData data;
  write_information(*result, command.lu->state->descriptor_sense, data);
  // SPC-4: it is told once, but an initiator that had no room for the token may ask again.
  if (!result->running && data.size() <= command.data.size()) copies.forget(result->ticket);
  return data.send(command);
}

constexpr std::array kCommands = {
    // SPC-4, commands in the presence of reservations: as the others of THIRD-PARTY COPY IN.
    CommandEntry{.name = "RECEIVE ROD TOKEN INFORMATION",
                 .opcode = 0x84,
                 .service_action = 0x07,
                 .cdb_bytes = 16,
                 .direction = DataDirection::in,
                 .reservation = ReservationClass::read,
                 .flags = kRunsWhenNotReady,
                 .cdb_usage = {0x84, 0x07, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0},
                 .admit = admit_token_information,
                 .start = start_token_information},
};

}  // namespace

std::span<const CommandEntry> spc_rod_token_information_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
