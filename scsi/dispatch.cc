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

/// SPC-2 §5.5.1: a RESERVE of another nexus keeps out all that is not always allowed. SPC-4 §5.12.1, tables
/// 65 and 66, for persistent reservations.
bool conflicts(Nexus& nexus, const LogicalUnit& lu, ReservationClass reservation) {
  if (reservation == ReservationClass::allowed) return false;
  const LuState& state = *lu.state;
  if (state.reserved_by != 0 && state.reserved_by != nexus.id()) return true;
  if (reservation == ReservationClass::query) return false;
  const ReservationAccess access = nexus.persistent_access(lu);
  return access == ReservationAccess::none ||
         (access == ReservationAccess::read && reservation == ReservationClass::write);
}

/// True exactly when check_unit() has nothing to find, whatever the command.
bool is_untroubled(Nexus& nexus, const LogicalUnit& lu) {
  const LuState& state = *lu.state;
  const AccessState access = access_state(lu);
  return state.condition == LuCondition::ready && !state.write_protected && !lu.read_only &&
         (access == AccessState::active_optimized || access == AccessState::active_non_optimized) &&
         !conflicts(nexus, lu, ReservationClass::write);
}

/// The flag of those that run in `state` although others don't.
uint16_t runs_in(AccessState state) {
  if (state == AccessState::standby) return kRunsInStandby;
  return state == AccessState::transitioning ? kRunsInTransition : kRunsInUnavailable;
}

/// SPC-4 §5.15.2: what a port group in this state does not serve.
std::optional<Done> check_access_state(AccessState state, uint16_t flags) {
  const std::optional<Sense> refused = access_sense(state);
  if (!refused || (flags & runs_in(state)) != 0) return std::nullopt;
  return check_condition(*refused);
}

/// Whether a command with these flags runs in this condition. While the medium is written anew only those
/// do that always do (SAM-5 §5.14), and the few others that say so.
bool runs_in(LuCondition condition, uint16_t flags) {
  if (condition == LuCondition::ready) return true;
  if (is_being_rewritten(condition) || condition == LuCondition::sanitize_failed) {
    return (flags & (kRunsWithUnitAttention | kRunsInRewrite)) != 0;
  }
  return (flags & kRunsWhenNotReady) != 0;
}

/// Apart from admit(), whose frame it would enlarge.
[[gnu::noinline]] std::optional<Done> check_logical_unit(Command& command) {
  Nexus& nexus = *command.nexus;
  const CommandEntry& entry = *command.entry;
  // SAM-5 §5.14: before anything that the command itself could report.
  if ((entry.flags & kRunsWithUnitAttention) == 0 && nexus.pending(command.lun)) {
    const std::optional<Asc> asc = nexus.take(command.lun);
    if (asc) return check_condition(sense::unit_attention(*asc));
  }
  if (!nexus.pending(command.lun) && is_untroubled(nexus, *command.lu)) {
    nexus.set_untroubled(command.lun, command.lu->state->generation);
    return std::nullopt;
  }
  return check_unit(nexus, *command.lu, entry.reservation, entry.flags);
}

// Apart from admit(), so that the result is built where the caller wants it and not copied there.
Admission admit_row(Command& command) {
  Admission admission = command.entry->admit(command);
  if (const DataPhase* phase = std::get_if<DataPhase>(&admission)) command.phase = *phase;
  return admission;
}

}  // namespace

std::optional<Done> check_unit(Nexus& nexus, const LogicalUnit& lu, ReservationClass reservation,
                               uint16_t flags) {
  const LuState& state = *lu.state;
  if (const std::optional<Done> refused = check_access_state(access_state(lu), flags)) return refused;
  if (conflicts(nexus, lu, reservation)) return Done{Status::reservation_conflict, {}, 0};
  if (!runs_in(state.condition, flags)) {
    return check_condition(condition_sense(state));
  }
  if ((flags & kWritesMedium) != 0 && (state.write_protected || lu.read_only)) {
    return check_condition(sense::write_protected());
  }
  return std::nullopt;
}

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
  if (command.lu != nullptr && !command.nexus->is_untroubled(command.lun, command.lu->state->generation))
      [[unlikely]] {
    if (const std::optional<Done> refused = check_logical_unit(command)) [[unlikely]]
      return *refused;
  }
  return admit_row(command);
}

}  // namespace itgtd::scsi
