// TEST UNIT READY, REQUEST SENSE, START STOP UNIT.
#include <array>

#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/dispatch.h"
#include "scsi/logical_unit.h"
#include "scsi/mode_pages.h"
#include "scsi/nexus.h"
#include "scsi/parameter_data.h"

namespace itgtd::scsi {
namespace {

// TEST UNIT READY, SPC-4 §6.47. Dispatch has checked all that it asks.

Admission admit_test_unit_ready(Command& /*command*/) {
  return DataPhase{};
}

Step start_test_unit_ready(Command& /*command*/) {
  return good();
}

// REQUEST SENSE, SPC-4 §6.39.

Admission admit_request_sense(Command& command) {
  return parameter_data_in(command.cdb[4]);
}

/// SPC-4 §6.39: what is there to be told, most urgent first. Telling a unit attention takes it away.
Sense pollable_sense(Command& command) {
  if (command.lu == nullptr) {
    return command.lun == kReportLunsWellKnown ? sense::no_sense() : sense::logical_unit_not_supported();
  }
  if (const std::optional<Asc> asc = command.nexus->take(command.lun)) return sense::unit_attention(*asc);
  // What TEST UNIT READY would be told, in the order of dispatch.
  if (const std::optional<Sense> refused = access_sense(access_state(*command.lu))) return *refused;
  const LuState& state = *command.lu->state;
  // SPC-4 §7.5.11: an exception that is only reported on request.
  if (state.condition == LuCondition::ready &&
      state.exceptions.method == InformationalExceptions::kMethodOnRequest) {
    return informational_exception(state);
  }
  return condition_sense(state);
}

Step start_request_sense(Command& command) {
  const bool descriptor_format = cdb_bit(command, 1, 0);
  std::array<std::byte, 64> encoded{};
  const size_t size = encode_sense(pollable_sense(command), descriptor_format, encoded);
  ParameterData data;
  data.bytes(ConstBytes(encoded).first(size));
  return data.send(command);
}

// START STOP UNIT, SBC-3 §5.25.

constexpr size_t kActionByte = 4;
constexpr unsigned kStartBit = 0;
constexpr unsigned kLoadEjectBit = 1;
constexpr unsigned kNoFlushBit = 2;

bool wants_power_condition(const Command& command) {
  return (command.cdb[kActionByte] >> 4) != 0;
}

Admission admit_start_stop_unit(Command& command) {
  const bool load_eject = cdb_bit(command, kActionByte, kLoadEjectBit);
  if (!wants_power_condition(command) && load_eject && !command.lu->removable) {
    return check_condition(sense::invalid_field_in_cdb(kActionByte, kLoadEjectBit));
  }
  // SBC-3 table 13: starting it harms no reservation, anything else does.
  if (wants_power_condition(command) || !cdb_bit(command, kActionByte, kStartBit)) {
    const std::optional<Done> refused =
        check_unit(*command.nexus, *command.lu, ReservationClass::write, command.entry->flags);
    if (refused) return *refused;
  }
  return DataPhase{};
}

/// The condition that START and LOEJ ask for, whatever the present one is.
LuCondition wanted_condition(const Command& command, LuCondition now) {
  const bool start = cdb_bit(command, kActionByte, kStartBit);
  if (cdb_bit(command, kActionByte, kLoadEjectBit)) return start ? LuCondition::ready : LuCondition::ejected;
  if (now == LuCondition::ejected) return now;
  if (start) return LuCondition::ready;
  // A removable medium is there until it is ejected, and nothing of it spins: stopping it changes nothing.
  return command.lu->removable ? now : LuCondition::stopped;
}

Decision decide_start_stop(const LuState& state, const Command& command, const DecideContext& context) {
  Decision decision;
  // No START brings a backend that is gone, or a medium that is not loaded, or ends what has to be done anew.
  if (state.condition == LuCondition::not_ready || is_being_rewritten(state.condition) ||
      is_left_unfinished(state.condition)) {
    decision.done = check_condition(condition_sense(state));
    return decision;
  }
  // SBC-3, PREVENT ALLOW MEDIUM REMOVAL: neither way, while anybody prevents it.
  if (cdb_bit(command, kActionByte, kLoadEjectBit) && !state.removal_prevented_by.empty()) {
    decision.done = check_condition(sense::medium_removal_prevented());
    return decision;
  }
  LuState next = state;
  next.condition = wanted_condition(command, state.condition);
  if (next.condition == LuCondition::ejected && cdb_bit(command, kActionByte, kStartBit)) {
    decision.done = check_condition(condition_sense(next));
    return decision;
  }
  const bool was_stopped = state.condition == LuCondition::stopped || state.condition == LuCondition::ejected;
  if (was_stopped && next.condition == LuCondition::ready) ++next.start_stop_cycles;
  decision = publish(state, next);
  // SPC-4 annex F 28h/00h: others than the one that loaded it have to look at the medium again.
  if (state.condition == LuCondition::ejected && next.condition == LuCondition::ready) {
    decision.unit_attentions.push_back(
        {UnitAttentionRaise::Scope::all_but, context.nexus, Asc::not_ready_to_ready_medium_may_have_changed});
  }
  return decision;
}

Step start_start_stop_unit(Command& command) {
  // SBC-3 §5.25: a POWER CONDITION other than START_VALID makes START and LOEJ void. The logical unit has
  // one power condition, active, so there is nothing to change; hosts that send one expect GOOD.
  if (wants_power_condition(command)) return good();
  const bool stops = !cdb_bit(command, kActionByte, kStartBit);
  // SBC-3 §5.25, NO_FLUSH: what is cached is on the medium before the logical unit stops. IMMED does not
  // help the initiator to a status before it is true.
  if (stops && !cdb_bit(command, kActionByte, kNoFlushBit) &&
      command.lu->state->condition == LuCondition::ready) {
    Io flush;
    flush.kind = IoKind::flush;
    return flush;
  }
  return Update{decide_start_stop};
}

Step resume_start_stop_unit(Command& /*command*/, const IoResult& result) {
  if (result.error != 0) return check_condition(sense::write_error(0));
  return Update{decide_start_stop};
}

constexpr std::array kCommands = {
    CommandEntry{.name = "TEST UNIT READY",
                 .opcode = 0x00,
                 .reservation = ReservationClass::query,
                 .cdb_usage = {0x00},
                 .admit = admit_test_unit_ready,
                 .start = start_test_unit_ready},
    CommandEntry{
        .name = "REQUEST SENSE",
        .opcode = 0x03,
        .direction = DataDirection::in,
        .reservation = ReservationClass::allowed,
        .flags = kRunsWithUnitAttention | kRunsWhenNotReady | kRunsWithoutLun | kRunsInEveryAccessState,
        .cdb_usage = {0x03, 0x01, 0x00, 0x00, 0xFF, 0x00},
        .admit = admit_request_sense,
        .start = start_request_sense},
    CommandEntry{.name = "START STOP UNIT",
                 .opcode = 0x1B,
                 .reservation = ReservationClass::query,
                 .flags = kRunsWhenNotReady,
                 .cdb_usage = {0x1B, 0x01, 0x00, 0x0F, 0xF7, 0x00},
                 .admit = admit_start_stop_unit,
                 .start = start_start_stop_unit,
                 .resume = resume_start_stop_unit},
};

}  // namespace

std::span<const CommandEntry> spc_basic_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
