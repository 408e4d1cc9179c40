// REPORT LUNS, SPC-4 §6.33. REPORT SUPPORTED OPERATION CODES, SPC-4 §6.35. REPORT SUPPORTED TASK MANAGEMENT
// FUNCTIONS, SPC-4 §6.36.
#include <array>

#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/command_table.h"
#include "scsi/dispatch.h"
#include "scsi/nexus.h"
#include "scsi/parameter_data.h"

namespace itgtd::scsi {
namespace {

// REPORT LUNS.

constexpr uint16_t kSelectReportByte = 2;
enum SelectReport : uint8_t { kAddressable = 0x00, kWellKnown = 0x01, kAll = 0x02 };

Admission admit_report_luns(Command& command) {
  if (command.cdb[kSelectReportByte] > kAll) {
    return check_condition(sense::invalid_field_in_cdb(kSelectReportByte, 7));
  }
  return parameter_data_in(cdb_u32(command, 6));
}

Step start_report_luns(Command& command) {
  const uint8_t select = command.cdb[kSelectReportByte];
  ParameterData data;
  data.u32(0);
  data.u32(0);
  static_assert(8 + 8 * (kLunsPerTargetMax + 1) <= kParameterDataBytesMax);
  if (select != kWellKnown) {
    for (uint16_t lun = 0; lun < kLunsPerTargetMax; ++lun) {
      if (command.nexus->find(lun) != nullptr) data.u64(encode_lun(lun));
    }
  }
  if (select != kAddressable) data.u64(encode_lun(kReportLunsWellKnown));
  data.set_u32(0, static_cast<uint32_t>(data.size() - 8));
  // SPC-4 §6.33: what was to be told has been told.
  command.nexus->clear_reported_luns_changed();
  return data.send(command);
}

// REPORT SUPPORTED OPERATION CODES.

constexpr uint16_t kOptionsByte = 2;
constexpr uint8_t kOptionsBit = 2;  // REPORTING OPTIONS is bits 2 to 0
constexpr unsigned kTimeoutsBit = 7;
enum ReportingOptions : uint8_t { kEveryCommand, kOpcode, kOpcodeAndAction, kOpcodeAndPerhapsAction };

constexpr uint16_t kTimeoutsDescriptorBytes = 12;
constexpr size_t kCommandDescriptorBytes = 8;
static_assert(4 + CommandTable::kRowsMax * (kCommandDescriptorBytes + kTimeoutsDescriptorBytes) <=
              kParameterDataBytesMax);

bool has_service_action(const CommandEntry& entry) {
  return entry.service_action != kNoServiceAction;
}

/// SPC-4 §6.35: what is told is what this logical unit supports.
bool is_served(const Command& command, const CommandEntry& entry) {
  return (entry.flags & kThinOnly) == 0 || command.lu->geometry.thin;
}

/// SPC-4 §6.35.4: no timeout is promised and none recommended; its length and zeros.
void command_timeouts(ParameterData& data) {
  data.u16(kTimeoutsDescriptorBytes - 2);
  data.zeros(kTimeoutsDescriptorBytes - 2);
}

/// SPC-4 §6.35.2.
Done report_all(Command& command, bool timeouts) {
  constexpr uint8_t kServiceActionValid = 0x01;
  constexpr uint8_t kTimeoutsPresent = 0x02;
  ParameterData data;
  data.u32(0);
  for (const CommandEntry* entry : all_commands()) {
    if (!is_served(command, *entry)) continue;
    const bool action = has_service_action(*entry);
    data.u8(entry->opcode);
    data.u8(0);
    data.u16(action ? static_cast<uint16_t>(entry->service_action) : 0);
    data.u8(0);
    data.u8(static_cast<uint8_t>((action ? kServiceActionValid : 0) | (timeouts ? kTimeoutsPresent : 0)));
    data.u16(entry->cdb_bytes);
    if (timeouts) command_timeouts(data);
  }
  data.set_u32(0, static_cast<uint32_t>(data.size() - 4));
  return data.send(command);
}

/// SPC-4 §6.35.3. Null: not supported.
Done report_one(Command& command, const CommandEntry* entry, bool timeouts) {
  constexpr uint8_t kNotSupported = 0x01;
  constexpr uint8_t kAsTheStandardSays = 0x03;
  constexpr uint8_t kTimeoutsPresent = 0x80;
  ParameterData data;
  data.u8(0);
  if (entry == nullptr) {
    data.u8(kNotSupported);
    data.u16(0);
    return data.send(command);
  }
  data.u8(static_cast<uint8_t>(kAsTheStandardSays | (timeouts ? kTimeoutsPresent : 0)));
  data.u16(entry->cdb_bytes);
  for (size_t i = 0; i < entry->cdb_bytes; ++i) data.u8(entry->cdb_usage[i]);
  if (timeouts) command_timeouts(data);
  return data.send(command);
}

Admission admit_report_opcodes(Command& command) {
  if ((command.cdb[kOptionsByte] & 0x07) > kOpcodeAndPerhapsAction) {
    return check_condition(sense::invalid_field_in_cdb(kOptionsByte, kOptionsBit));
  }
  return parameter_data_in(cdb_u32(command, 6));
}

/// SPC-4 table 260: which options fit an opcode with, and one without service actions. Neither is an error
/// for an opcode that is not there.
bool option_fits(const Command& command, uint8_t option, std::span<const IndexedRow> rows) {
  if (rows.empty() || !is_served(command, *rows.front().entry)) return true;
  if (option == kOpcodeAndPerhapsAction) return true;
  return has_service_action(*rows.front().entry) == (option == kOpcodeAndAction);
}

Step start_report_opcodes(Command& command) {
  const bool timeouts = cdb_bit(command, kOptionsByte, kTimeoutsBit);
  const auto option = static_cast<uint8_t>(command.cdb[kOptionsByte] & 0x07);
  if (option == kEveryCommand) return report_all(command, timeouts);

  const uint8_t opcode = command.cdb[3];
  const uint16_t action = cdb_u16(command, 4);
  const CommandTable& table = CommandTable::get();
  if (!option_fits(command, option, table.rows(opcode))) {
    return check_condition(sense::invalid_field_in_cdb(kOptionsByte, kOptionsBit));
  }
  const IndexedRow* row = table.find(opcode, action);
  if (row == nullptr || !is_served(command, *row->entry)) return report_one(command, nullptr, timeouts);
  // SPC-4 table 260, option 011b: an opcode without service actions is supported with action 0 only.
  const bool other_action =
      option == kOpcodeAndPerhapsAction && !has_service_action(*row->entry) && action != 0;
  return report_one(command, other_action ? nullptr : row->entry, timeouts);
}

// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS.

constexpr uint16_t kRepdByte = 2;
constexpr unsigned kExtendedDataBit = 7;  // REPD
constexpr uint16_t kAllocationLengthByte = 6;

// What target/iscsi/session_task_management.cc carries out: all but CLEAR ACA, since NACA is refused. A
// session that has not negotiated iSCSIProtocolLevel 2 lacks the queries and I_T NEXUS RESET (RFC 7144).
// ATS, ATSS, CTSS, LURS, QTS, TRS (obsolete, the resets of the target); QAES, QTSS, ITNRS.
constexpr uint8_t kFunctions[] = {0xDE, 0x07};

Admission admit_report_functions(Command& command) {
  const uint32_t length = cdb_u32(command, kAllocationLengthByte);
  // SPC-4 §6.36: less than the basic data is an error, and not cut.
  if (length < 4) return check_condition(sense::invalid_field_in_cdb(kAllocationLengthByte, 7));
  return parameter_data_in(length);
}

Step start_report_functions(Command& command) {
  constexpr uint8_t kExtendedDataBytes = 12;
  const bool extended = cdb_bit(command, kRepdByte, kExtendedDataBit);
  ParameterData data;
  for (const uint8_t functions : kFunctions) data.u8(functions);
  data.u8(0);
  data.u8(extended ? kExtendedDataBytes : 0);
  // TMFTMOV and all that it makes valid are zero: no timeout is promised.
  if (extended) data.zeros(kExtendedDataBytes);
  return data.send(command);
}

constexpr std::array kCommands = {
    CommandEntry{
        .name = "REPORT LUNS",
        .opcode = 0xA0,
        .cdb_bytes = 12,
        .direction = DataDirection::in,
        .reservation = ReservationClass::allowed,
        .flags = kRunsWithUnitAttention | kRunsWhenNotReady | kRunsWithoutLun | kRunsInEveryAccessState,
        .cdb_usage = {0xA0, 0, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0},
        .admit = admit_report_luns,
        .start = start_report_luns},
    CommandEntry{.name = "REPORT SUPPORTED OPERATION CODES",
                 .opcode = 0xA3,
                 .service_action = 0x0C,
                 .cdb_bytes = 12,
                 .direction = DataDirection::in,
                 .reservation = ReservationClass::read,
                 .flags = kRunsWhenNotReady | kRunsInStandby,
                 .cdb_usage = {0xA3, 0x0C, 0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0},
                 .admit = admit_report_opcodes,
                 .start = start_report_opcodes},
    CommandEntry{.name = "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
                 .opcode = 0xA3,
                 .service_action = 0x0D,
                 .cdb_bytes = 12,
                 .direction = DataDirection::in,
                 .reservation = ReservationClass::read,
                 .flags = kRunsWhenNotReady | kRunsInStandby,
                 .cdb_usage = {0xA3, 0x0D, 0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0},
                 .admit = admit_report_functions,
                 .start = start_report_functions},
};

}  // namespace

std::span<const CommandEntry> spc_report_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
