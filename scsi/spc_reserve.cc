// RESERVE and RELEASE of SPC-2 §7.21 to §7.24: the whole logical unit, for the nexus that asks.
//
// Third-party and extent reservations are obsolete since SPC-2: their bits are reserved ones here, so that a
// command that wants them is refused with its bit instead of reserving something else.
#include <array>
#include <optional>

#include "scsi/command_entry.h"
#include "scsi/logical_unit.h"
#include "scsi/nexus.h"
#include "scsi/persistent_reservations.h"

namespace itgtd::scsi {
namespace {

Admission admit_no_data(Command& /*command*/) {
  return DataPhase{};
}

/// What persistent reservations make of a RESERVE or RELEASE; nothing where nobody is registered.
std::optional<Done> check_persistent(const LuState& state, const Command& command) {
  if (state.reservations == nullptr || state.reservations->registrants.empty()) return std::nullopt;
  // SPC-4, Exceptions to SPC-2 RESERVE and RELEASE behavior.
  if (covers_reserve(*state.reservations, {command.nexus->port(), command.lu->relative_target_port})) {
    return good();
  }
  // SPC-2 §5.5.1: while anybody is registered they conflict, whoever asks.
  return Done{Status::reservation_conflict, {}, 0};
}

Decision decide_reserve(const LuState& state, const Command& command, const DecideContext& context) {
  const NexusId nexus = context.nexus;
  Decision decision;
  if (const auto done = check_persistent(state, command)) {
    decision.done = *done;
    return decision;
  }
  // Another worker's nexus may have been quicker since dispatch looked. SPC-2 §7.21.2.
  if (state.reserved_by != 0 && state.reserved_by != nexus) {
    decision.done = {Status::reservation_conflict, {}, 0};
    return decision;
  }
  LuState next = state;
  next.reserved_by = nexus;
  return publish(state, next);
}

/// SPC-2 §7.19.2: releasing what another nexus holds, or nobody does, is no error and changes nothing.
Decision decide_release(const LuState& state, const Command& command, const DecideContext& context) {
  if (const auto done = check_persistent(state, command)) {
    Decision decision;
    decision.done = *done;
    return decision;
  }
  LuState next = state;
  if (next.reserved_by == context.nexus) next.reserved_by = 0;
  return publish(state, next);
}

Step start_reserve(Command& /*command*/) {
  return Update{decide_reserve};
}

Step start_release(Command& /*command*/) {
  return Update{decide_release};
}

constexpr std::array kCommands = {
    CommandEntry{.name = "RESERVE(6)",
                 .opcode = 0x16,
                 .reservation = ReservationClass::query,
                 .flags = kRunsWhenNotReady,
                 .cdb_usage = {0x16},
                 .admit = admit_no_data,
                 .start = start_reserve},
    CommandEntry{.name = "RELEASE(6)",
                 .opcode = 0x17,
                 .reservation = ReservationClass::allowed,
                 .flags = kRunsWhenNotReady,
                 .cdb_usage = {0x17},
                 .admit = admit_no_data,
                 .start = start_release},
    CommandEntry{.name = "RESERVE(10)",
                 .opcode = 0x56,
                 .cdb_bytes = 10,
                 .reservation = ReservationClass::query,
                 .flags = kRunsWhenNotReady,
                 .cdb_usage = {0x56},
                 .admit = admit_no_data,
                 .start = start_reserve},
    CommandEntry{.name = "RELEASE(10)",
                 .opcode = 0x57,
                 .cdb_bytes = 10,
                 .reservation = ReservationClass::allowed,
                 .flags = kRunsWhenNotReady,
                 .cdb_usage = {0x57},
                 .admit = admit_no_data,
                 .start = start_release},
};

}  // namespace

std::span<const CommandEntry> spc_reserve_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
