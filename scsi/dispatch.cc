#include "scsi/dispatch.h"

#include <bit>
#include <cstring>
#include <optional>

#include "base/assert.h"
#include "scsi/cdb.h"
#include "scsi/command_table.h"
#include "scsi/logical_unit.h"

namespace itgtd::scsi {
namespace {

// SAM-5 §4.7.7: the address method in the top two bits of the LUN field.
constexpr unsigned kPeripheralMethod = 0;
constexpr unsigned kFlatSpaceMethod = 1;
constexpr uint64_t kWellKnownReportLuns = 0xC101'0000'0000'0000;  // SPC-4 §8.2

uint8_t highest_bit(uint8_t byte) {
  return static_cast<uint8_t>(std::bit_width(byte) - 1);
}

bool has_reserved_bits(const Command& command, const IndexedRow& row) {
  uint64_t cdb[2];
  uint64_t illegal[2];
  std::memcpy(cdb, command.cdb.data(), sizeof(cdb));
  std::memcpy(illegal, row.illegal_bits.data(), sizeof(illegal));
  return ((cdb[0] & illegal[0]) | (cdb[1] & illegal[1])) != 0;
}

/// The first bit of the CDB that its row does not allow, bytes in order, most significant bit first.
Done refuse_reserved_bits(const Command& command, const IndexedRow& row) {
  for (uint16_t byte = 1; byte < command.cdb.size(); ++byte) {
    const auto wrong = static_cast<uint8_t>(command.cdb[byte] & row.illegal_bits[byte]);
    if (wrong != 0) return check_condition(sense::invalid_field_in_cdb(byte, highest_bit(wrong)));
  }
  ITGTD_ASSERT(false);  // only called when there is one
}

/// SPC-4 §5.9.1, SPC-2 §5.5.1: what a RESERVE of another nexus keeps out. All that is not always allowed.
bool conflicts(const Command& command, const LuState& state) {
  return state.reserved_by != 0 && state.reserved_by != command.nexus->id() &&
         command.entry->reservation != ReservationClass::allowed;
}

/// True exactly when check_logical_unit() has nothing to find, whatever the command: no unit attention waits,
/// nothing is reserved, the unit is ready and not write-protected. What is true of nearly all commands.
bool is_untroubled(const Command& command) {
  const LogicalUnit& lu = *command.lu;
  const LuState& state = *lu.state;
  return !command.nexus->pending(command.lun) && state.reserved_by == 0 &&
         state.condition == LuCondition::ready && !state.write_protected && !lu.read_only;
}

/// Apart from admit(), whose frame it would enlarge.
[[gnu::noinline]] std::optional<Done> check_logical_unit(Command& command) {
  const uint8_t flags = command.entry->flags;
  const LuState& state = *command.lu->state;
  // SAM-5 §5.14: before anything that the command itself could report.
  if ((flags & kRunsWithUnitAttention) == 0 && command.nexus->pending(command.lun)) [[unlikely]] {
    const std::optional<Asc> asc = command.nexus->take(command.lun);
    if (asc) return check_condition(sense::unit_attention(*asc));
  }
  if (conflicts(command, state)) [[unlikely]]
    return Done{Status::reservation_conflict, {}, 0};
  if (state.condition != LuCondition::ready && (flags & kRunsWhenNotReady) == 0) [[unlikely]] {
    return check_condition(condition_sense(state.condition));
  }
  if ((flags & kWritesMedium) != 0 && (state.write_protected || command.lu->read_only)) [[unlikely]] {
    return check_condition(sense::write_protected());
  }
  return std::nullopt;
}

// Apart from admit(), so that the result is built where the caller wants it and not copied there.
Admission admit_row(Command& command) {
  Admission admission = command.entry->admit(command);
  if (const DataPhase* phase = std::get_if<DataPhase>(&admission)) command.phase = *phase;
  return admission;
}

}  // namespace

uint16_t decode_other_lun(uint64_t lun_field) {
  if (lun_field == kWellKnownReportLuns) return kReportLunsWellKnown;
  constexpr uint64_t kLowerLevels = 0x0000'FFFF'FFFF'FFFF;
  if ((lun_field & kLowerLevels) != 0) return kNoLun;
  const auto method = static_cast<unsigned>(lun_field >> 62);
  const auto value = static_cast<uint16_t>((lun_field >> 48) & 0x3FFF);
  if (method == kFlatSpaceMethod) return value;
  // SAM-5 §4.7.7.2: a bus identifier of other than zero means another device behind this one.
  if (method == kPeripheralMethod && value <= 0xFF) return value;
  return kNoLun;
}

uint64_t encode_lun(uint16_t lun) {
  if (lun == kReportLunsWellKnown) return kWellKnownReportLuns;
  const uint64_t method = lun <= 0xFF ? kPeripheralMethod : kFlatSpaceMethod;
  return (method << 62) | (uint64_t{lun} << 48);
}

Admission admit(Command& command, uint64_t lun_field) {
  ITGTD_ASSERT(command.nexus != nullptr);
  command.lun = decode_lun(lun_field);
  command.lu = command.nexus->find(command.lun);
  command.entry = nullptr;
  command.phase = {};

  const CommandTable& table = CommandTable::get();
  const IndexedRow* row = table.find(command.cdb[0], command.cdb[1] & kServiceActionMask);
  if (row == nullptr) [[unlikely]] {
    if (table.rows(command.cdb[0]).empty()) return check_condition(sense::invalid_opcode());
    // SPC-4 §4.2.5.2: the opcode is there, this service action of it is not. Bit 4 is its leftmost.
    return check_condition(sense::invalid_field_in_cdb(1, 4));
  }
  command.entry = row->entry;

  if (command.lu == nullptr && (row->entry->flags & kRunsWithoutLun) == 0) [[unlikely]] {
    return check_condition(sense::logical_unit_not_supported());
  }
  if (has_reserved_bits(command, *row)) [[unlikely]]
    return refuse_reserved_bits(command, *row);
  if (command.lu != nullptr && !is_untroubled(command)) [[unlikely]] {
    if (const std::optional<Done> refused = check_logical_unit(command)) [[unlikely]]
      return *refused;
  }
  return admit_row(command);
}

}  // namespace itgtd::scsi
