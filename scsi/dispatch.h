// The way into the SCSI layer: the three calls of command.h for whatever CDB came.
#pragma once

#include <optional>

#include "base/assert.h"
#include "scsi/command.h"
#include "scsi/command_entry.h"
#include "scsi/nexus.h"

namespace itgtd::scsi {

/// The LUN that the eight bytes of a LUN field name (peripheral or flat space addressing, SAM-5 §4.7.7), or
/// kNoLun for anything else; kReportLunsWellKnown for C1 01 00... (SPC-4 §8.2).
inline constexpr uint16_t kNoLun = 0xFFFF;
inline constexpr uint16_t kReportLunsWellKnown = 0xFFFE;
[[nodiscard]] uint16_t decode_other_lun(uint64_t lun_field);
[[nodiscard]] inline uint16_t decode_lun(uint64_t lun_field) {
  // Peripheral device addressing of bus 0, which is what initiators use: SAM-5 §4.7.7.2.
  constexpr uint64_t kPeripheralLun = 0x00FF'0000'0000'0000;
  if ((lun_field & ~kPeripheralLun) == 0) [[likely]]
    return static_cast<uint16_t>(lun_field >> 48);
  return decode_other_lun(lun_field);
}
/// The eight bytes for `lun`: peripheral device addressing below 256.
[[nodiscard]] uint64_t encode_lun(uint16_t lun);

/// Whether a command of `nexus` with this class and these flags may run on `lu` now: asymmetric access state,
/// reservations, readiness, write protection, in this order. Nothing: it may. For commands that touch units
/// beside the one that they were sent to; those of the others admit() asks itself.
[[nodiscard]] std::optional<Done> check_unit(Nexus& nexus, const LogicalUnit& lu,
                                             ReservationClass reservation, uint16_t flags);

/// Looks at `command.cdb` (already set, as is `command.nexus`), fills lu, entry and phase. The order of
/// checks: opcode known, LUN exists, CDB's reserved bits, unit attention, asymmetric access state,
/// reservation, readiness, write protection, then the row's admit(). Called in CmdSN order, so a unit
/// attention goes to the first command that came.
[[nodiscard]] Admission admit(Command& command, uint64_t lun_field);
/// Runs the row's start(): data-out is complete, `command.data` and `command.scratch` are there.
[[nodiscard]] inline Step start(Command& command) {
  ITGTD_ASSERT(command.entry != nullptr);
  return command.entry->start(command);
}
/// Goes on after an Io. An Update needs no resume: the command ends with Decision::done.
[[nodiscard]] inline Step resume(Command& command, const IoResult& result) {
  ITGTD_ASSERT(command.entry != nullptr && command.entry->resume != nullptr);
  return command.entry->resume(command, result);
}

/// The row for an opcode and its service action, or null. For `service_action` give the CDB's bits, whichever
/// row it is.
[[nodiscard]] const CommandEntry* find_command(uint8_t opcode, uint32_t service_action);
/// Every row, in the order of opcode and service action.
[[nodiscard]] std::span<const CommandEntry* const> all_commands();

}  // namespace itgtd::scsi
