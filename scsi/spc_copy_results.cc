// RECEIVE COPY RESULTS: what became of an EXTENDED COPY(LID1) of this nexus, and the limits of such copies.
// SPC-3 §6.17; SPC-4 calls its service actions RECEIVE COPY STATUS(LID1), RECEIVE COPY DATA(LID1), RECEIVE
// COPY OPERATING PARAMETERS and RECEIVE COPY FAILURE DETAILS(LID1).
#include <array>
#include <bit>
#include <limits>

#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/copy_list.h"
#include "scsi/logical_unit.h"
#include "scsi/nexus.h"
#include "scsi/parameter_data.h"

namespace itgtd::scsi {
namespace {

constexpr uint16_t kListIdentifierByte = 2;

Admission admit_results(Command& command) {
  return parameter_data_in(cdb_u32(command, 10));
}

CopyResult* find_copy(const Command& command) {
  return command.nexus->copies().find(CopyName{command.lu->key, true, command.cdb[kListIdentifierByte]});
}

Done unknown_list_identifier() {
  return check_condition(sense::invalid_field_in_cdb(kListIdentifierByte));
}

/// Forgets a copy of which everything has been told.
void release(Command& command, const CopyResult& result) {
  if (!result.status_held && !result.details_held) command.nexus->copies().forget(result.ticket);
}

enum CopyManagerStatus : uint8_t { kInProgress = 0, kCompleted = 1, kCompletedWithErrors = 2 };

uint8_t copy_manager_status(const CopyResult& result) {
  if (result.running) return kInProgress;
  return result.done.status == Status::good ? kCompleted : kCompletedWithErrors;
}

/// TRANSFER COUNT UNITS and TRANSFER COUNT: bytes, or KiB where they do not fit.
void transfer_count(uint64_t bytes, ParameterData& data) {
  const bool fits = bytes <= std::numeric_limits<uint32_t>::max();
  static_assert(kCopyBytesMax >> 10 <= std::numeric_limits<uint32_t>::max());
  data.u8(fits ? 0 : 1);
  data.u32(static_cast<uint32_t>(fits ? bytes : bytes >> 10));
}

Step start_copy_status(Command& command) {
  CopyResult* result = find_copy(command);
  if (result == nullptr || !result->status_held) return unknown_list_identifier();
  ParameterData data;
  data.u32(8);
  data.u8(copy_manager_status(*result));  // HDD zero: no data was ever held, so none was discarded
  data.u16(result->segments);
  transfer_count(result->blocks * result->block_bytes, data);
  if (!result->running) {
    result->status_held = false;
    // Without an error there are no details to wait for.
    if (result->done.status == Status::good) result->details_held = false;
    release(command, *result);
  }
  return data.send(command);
}

/// No segment descriptor that is supported leaves data to be held.
Step start_receive_data(Command& command) {
  const CopyResult* result = find_copy(command);
  if (result == nullptr || result->running) return unknown_list_identifier();
  ParameterData data;
  data.u32(0);
  return data.send(command);
}

Step start_operating_parameters(Command& command) {
  constexpr uint8_t kSupportsNoListIdentifier = 0x01;  // SNLID
  ParameterData data;
  data.u32(0);
  data.u8(kSupportsNoListIdentifier);
  data.zeros(3);
  data.u16(kCopyTargetsMax);
  data.u16(kCopySegmentsMax);
  data.u32(kCopyDescriptorListBytesMax);
  data.u32(kCopySegmentBytesMax);
  data.u32(0);  // MAXIMUM INLINE DATA LENGTH
  data.u32(0);  // HELD DATA LIMIT
  data.u32(0);  // MAXIMUM STREAM DEVICE TRANSFER SIZE
  data.zeros(2);
  data.u16(kCopiesMax);  // TOTAL CONCURRENT COPIES
  data.u8(kCopiesMax);   // MAXIMUM CONCURRENT COPIES
  // DATA SEGMENT GRANULARITY, a power of two: one block.
  data.u8(static_cast<uint8_t>(std::bit_width(command.lu->geometry.block_bytes) - 1));
  data.u8(0);  // INLINE DATA GRANULARITY
  data.u8(0);  // HELD DATA GRANULARITY
  data.zeros(3);
  data.u8(2);
  data.u8(kBlockToBlock);
  data.u8(kIdentificationDescriptor);
  data.set_u32(0, static_cast<uint32_t>(data.size() - 4));
  return data.send(command);
}

Step start_failed_segment_details(Command& command) {
  CopyResult* result = find_copy(command);
  if (result == nullptr || result->running || !result->details_held) return unknown_list_identifier();
  ParameterData data;
  data.u32(0);
  if (result->done.status != Status::good) {
    data.zeros(52);
    data.u8(static_cast<uint8_t>(result->done.status));
    data.u8(0);
    data.u16(0);
    if (result->done.status == Status::check_condition) {
      std::array<std::byte, kSenseBytesMax> sense{};
      const size_t bytes = encode_sense(result->done.sense, command.lu->state->descriptor_sense, sense);
      data.set_u16(58, static_cast<uint16_t>(bytes));
      data.bytes(ConstBytes(sense).first(bytes));
    }
    data.set_u32(0, static_cast<uint32_t>(data.size() - 4));
  }
  result->details_held = false;
  release(command, *result);
  return data.send(command);
}

constexpr CommandEntry row(std::string_view name, uint8_t service_action, Start* start) {
  CommandEntry entry;
  entry.name = name;
  entry.opcode = 0x84;
  entry.service_action = service_action;
  entry.cdb_bytes = 16;
  entry.direction = DataDirection::in;
  // SPC-3 table 31.
  entry.reservation = ReservationClass::write;
  entry.flags = kRunsWhenNotReady;
  entry.cdb_usage = {0x84, service_action, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0};
  entry.admit = admit_results;
  entry.start = start;
  return entry;
}

constexpr std::array kCommands = {
    row("RECEIVE COPY STATUS(LID1)", 0x00, start_copy_status),
    row("RECEIVE COPY DATA(LID1)", 0x01, start_receive_data),
    row("RECEIVE COPY OPERATING PARAMETERS", 0x03, start_operating_parameters),
    row("RECEIVE COPY FAILURE DETAILS(LID1)", 0x04, start_failed_segment_details),
};

}  // namespace

std::span<const CommandEntry> spc_copy_results_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
