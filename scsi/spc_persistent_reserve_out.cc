// PERSISTENT RESERVE OUT: parameter lists, and the service actions of scsi/persistent_reservations.h as
// changes of a logical unit. SPC-4 §6.14.
#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/logical_unit.h"
#include "scsi/nexus.h"
#include "scsi/persistent_reservations.h"
#include "scsi/transport_id.h"

namespace itgtd::scsi {
namespace {

/// Room for more than 250 TransportIDs of any length. Bounds what a PARAMETER LIST LENGTH of 32 bits can ask
/// for, and lets a field pointer reach every byte.
constexpr uint32_t kParameterListBytesMax = uint32_t{64} << 10;
static_assert(kParameterListBytesMax - 1 <= std::numeric_limits<uint16_t>::max());

/// SPC-4, Basic PERSISTENT RESERVE OUT parameter list.
struct BasicList {
  be64 reservation_key;
  be64 service_action_reservation_key;
  uint8_t obsolete_scope_specific_address[4];
  uint8_t flags;
  uint8_t reserved;
  uint8_t obsolete_extent_length[2];
};
static_assert(WireStruct<BasicList> && sizeof(BasicList) == 24);
constexpr uint16_t kFlagsAt = 20;
constexpr uint8_t kSpecifyInitiatorPortsBit = 3;  // SPEC_I_PT
constexpr uint8_t kAllTargetPortsBit = 2;         // ALL_TG_PT
constexpr uint8_t kPersistBit = 0;                // APTPL

/// SPC-4, Parameter list for the PERSISTENT RESERVE OUT command with REGISTER AND MOVE service action.
struct MoveList {
  be64 reservation_key;
  be64 service_action_reservation_key;
  uint8_t reserved;
  uint8_t flags;
  be16 relative_target_port_identifier;
  be32 transport_id_length;
};
static_assert(WireStruct<MoveList> && sizeof(MoveList) == 24);
constexpr uint16_t kMoveFlagsAt = 17;
constexpr uint16_t kRelativeTargetPortAt = 18;
constexpr uint8_t kUnregisterBit = 1;  // UNREG

/// Of the TransportIDs behind a BasicList.
constexpr size_t kPortsLengthBytes = 4;

bool bit(uint8_t flags, uint8_t number) {
  return ((flags >> number) & 1) != 0;
}

uint8_t scope_and_type(const Command& command) {
  return command.cdb[2];
}

// Header time: how long the list may be.

Admission admit_list(const Command& command, size_t bytes_min, size_t bytes_max) {
  const uint32_t length = cdb_u32(command, 5);
  if (length < bytes_min || length > bytes_max) {
    return check_condition(sense::parameter_list_length_error());
  }
  return DataPhase{DataDirection::out, length, 0};
}
Admission admit_basic(Command& command) {
  return admit_list(command, sizeof(BasicList), sizeof(BasicList));
}
Admission admit_register(Command& command) {
  return admit_list(command, sizeof(BasicList), kParameterListBytesMax);
}
Admission admit_move(Command& command) {
  return admit_list(command, sizeof(MoveList) + kTransportIdBytesMin, kParameterListBytesMax);
}

// On the writer's thread.

Decision refuse(const Done& done) {
  Decision decision;
  decision.done = done;
  return decision;
}
Decision refuse(const Sense& sense) {
  return refuse(check_condition(sense));
}

/// What the initiator sent; it may have announced less than the CDB says.
ConstBytes list_of(const Command& command) {
  return ConstBytes(command.data).first(command.data_out_bytes);
}

/// Why the command can't be looked at, if anything is. SPC-2 §5.5.1: while the logical unit is reserved by a
/// RESERVE, all of PERSISTENT RESERVE conflicts, whoever asks.
std::optional<Done> check_common(const LuState& state, const Command& command) {
  if (command.data_out_bytes != command.phase.transfer_bytes) {
    return check_condition(sense::parameter_list_length_error());
  }
  if (state.reserved_by != 0) return Done{Status::reservation_conflict, {}, 0};
  return std::nullopt;
}

PersistentReservations reservations_of(const LuState& state) {
  return state.reservations == nullptr ? PersistentReservations{} : *state.reservations;
}

ReservationNexus asking(const Command& command) {
  return {command.nexus->port(), command.lu->relative_target_port};
}

Decision apply(const LuState& state, ReservationChange change) {
  if (change.done.status != Status::good) return refuse(change.done);
  LuState next = state;
  if (change.next != reservations_of(state)) {
    next.reservations = std::make_shared<const PersistentReservations>(std::move(change.next));
  }
  Decision decision = publish(state, std::move(next));
  decision.unit_attentions = std::move(change.unit_attentions);
  return decision;
}

/// Every initiator port that `id` names and that is known: logged in, or registered. SPC-4 §7.6.4.6: without
/// an ISID these are all ports of the initiator.
std::vector<InitiatorPort> ports_named(const TransportId& id, const PersistentReservations& reservations,
                                       const Command& command, const DecideContext& context) {
  if (id.isid) return {{std::string(id.name), *id.isid}};
  std::vector<InitiatorPort> ports;
  const auto add = [&](const InitiatorPort& port) {
    if (id.names(port) && std::ranges::find(ports, port) == ports.end()) ports.push_back(port);
  };
  add(command.nexus->port());
  for (const KnownNexus& known : context.nexuses) add(known.port);
  for (const Registrant& registrant : reservations.registrants) add(registrant.port);
  return ports;
}

Sense fault_sense(const TransportIdFault& fault, size_t at) {
  if (fault.truncated) return sense::parameter_list_length_error();
  return sense::invalid_field_in_parameter_list(static_cast<uint16_t>(at + fault.byte), fault.bit);
}

/// The ports that the TransportIDs behind a BasicList name, or what is wrong with them.
std::variant<std::vector<NamedPort>, Sense> specified_ports(const PersistentReservations& reservations,
                                                            const Command& command,
                                                            const DecideContext& context) {
  const ConstBytes list = list_of(command);
  size_t at = sizeof(BasicList) + kPortsLengthBytes;
  // The list must hold what it says, and no more.
  if (list.size() < at || load<be32>(list.subspan(sizeof(BasicList))).get() != list.size() - at) {
    return sense::parameter_list_length_error();
  }
  std::vector<NamedPort> ports;
  while (at < list.size()) {
    const auto parsed = parse_transport_id(list.subspan(at));
    if (const auto* fault = std::get_if<TransportIdFault>(&parsed)) return fault_sense(*fault, at);
    const auto& id = std::get<TransportId>(parsed);
    const auto named = ports_named(id, reservations, command, context);
    // It names nobody.
    if (named.empty()) return sense::invalid_field_in_parameter_list(static_cast<uint16_t>(at));
    for (const InitiatorPort& port : named) ports.push_back({port, static_cast<uint16_t>(at)});
    if (ports.size() > kRegistrantsMax) return sense::insufficient_registration_resources();
    at += id.length_bytes;
  }
  return ports;
}

template <bool kIgnoreExistingKey>
Decision decide_register(const LuState& state, const Command& command, const DecideContext& context) {
  if (const auto refused = check_common(state, command)) return refuse(*refused);
  const auto list = load<BasicList>(list_of(command));
  RegisterRequest request;
  request.key = list.reservation_key.get();
  request.action_key = list.service_action_reservation_key.get();
  request.ignore_existing_key = kIgnoreExistingKey;
  request.persist = bit(list.flags, kPersistBit);
  request.all_target_ports = bit(list.flags, kAllTargetPortsBit);
  request.specified_ports = bit(list.flags, kSpecifyInitiatorPortsBit);
  if (request.persist && !command.lu->keeps_reservations) {
    return refuse(sense::invalid_field_in_parameter_list(kFlagsAt, kPersistBit));
  }
  const PersistentReservations before = reservations_of(state);
  std::vector<NamedPort> ports;
  if (request.specified_ports) {
    if (kIgnoreExistingKey) {
      return refuse(sense::invalid_field_in_parameter_list(kFlagsAt, kSpecifyInitiatorPortsBit));
    }
    auto specified = specified_ports(before, command, context);
    if (const Sense* wrong = std::get_if<Sense>(&specified)) return refuse(*wrong);
    ports = std::get<std::vector<NamedPort>>(std::move(specified));
  } else if (command.data_out_bytes != sizeof(BasicList)) {
    return refuse(sense::parameter_list_length_error());
  }
  request.ports = ports;
  return apply(state, register_nexus(before, asking(command), request));
}

enum class Action : uint8_t { reserve, release, clear, preempt };

ReservationChange carry_out(Action action, const PersistentReservations& before, const Command& command,
                            const BasicList& list) {
  const uint64_t key = list.reservation_key.get();
  const ReservationNexus nexus = asking(command);
  switch (action) {
    case Action::reserve:
      return reserve(before, nexus, key, scope_and_type(command));
    case Action::release:
      return release(before, nexus, key, scope_and_type(command));
    case Action::clear:
      return clear(before, nexus, key);
    case Action::preempt:
      return preempt(before, nexus, key, list.service_action_reservation_key.get(), scope_and_type(command));
  }
  return {};
}

/// Refuses SPEC_I_PT, which only a REGISTER may have.
ReservationChange change_by(Action action, const LuState& state, const Command& command) {
  ReservationChange change;
  if (const auto refused = check_common(state, command)) {
    change.done = *refused;
    return change;
  }
  const auto list = load<BasicList>(list_of(command));
  if (bit(list.flags, kSpecifyInitiatorPortsBit)) {
    change.done =
        check_condition(sense::invalid_field_in_parameter_list(kFlagsAt, kSpecifyInitiatorPortsBit));
    return change;
  }
  return carry_out(action, reservations_of(state), command, list);
}

template <Action kAction>
Decision decide_basic(const LuState& state, const Command& command, const DecideContext& /*context*/) {
  return apply(state, change_by(kAction, state, command));
}

/// SPC-4 §5.12, Preempting and aborting.
Decision decide_preempt_and_abort(const LuState& state, const Command& command,
                                  const DecideContext& context) {
  ReservationChange change = change_by(Action::preempt, state, command);
  if (change.done.status != Status::good) return refuse(change.done);
  std::vector<InitiatorPort> preempted = std::move(change.preempted);
  LuState allowed = state;
  // As if each of them had sent a PREVENT ALLOW MEDIUM REMOVAL with PREVENT 0.
  for (const KnownNexus& known : context.nexuses) {
    if (std::ranges::find(preempted, known.port) == preempted.end()) continue;
    std::erase(allowed.removal_prevented_by, known.id);
  }
  Decision decision = apply(allowed, std::move(change));
  decision.abort = std::move(preempted);
  return decision;
}

/// True exactly when the logical unit can be reached through a target port with this identifier.
bool is_target_port(const LuState& state, const LogicalUnit& lu, uint16_t relative_target_port) {
  if (relative_target_port == lu.relative_target_port) return true;
  if (state.port_groups == nullptr) return false;
  return std::ranges::any_of(state.port_groups->groups, [&](const PortGroup& group) {
    return std::ranges::find(group.relative_target_ports, relative_target_port) !=
           group.relative_target_ports.end();
  });
}

/// The one port that the TransportID behind a MoveList names, or what is wrong with it.
std::variant<NamedPort, Sense> destination(const PersistentReservations& reservations, const Command& command,
                                           const DecideContext& context) {
  constexpr uint16_t kAt = sizeof(MoveList);
  const ConstBytes list = list_of(command);
  const auto parsed = parse_transport_id(list.subspan(kAt));
  if (const auto* fault = std::get_if<TransportIdFault>(&parsed)) return fault_sense(*fault, kAt);
  const auto& id = std::get<TransportId>(parsed);
  if (id.length_bytes != list.size() - kAt) return sense::parameter_list_length_error();
  const auto ports = ports_named(id, reservations, command, context);
  // A reservation has one holder: a name alone does when it stands for one port.
  if (ports.size() != 1) return sense::invalid_field_in_parameter_list(kAt);
  return NamedPort{ports.front(), kAt};
}

Decision decide_move(const LuState& state, const Command& command, const DecideContext& context) {
  if (const auto refused = check_common(state, command)) return refuse(*refused);
  const ConstBytes bytes = list_of(command);
  const auto list = load<MoveList>(bytes);
  if (list.transport_id_length.get() != bytes.size() - sizeof(MoveList)) {
    return refuse(sense::parameter_list_length_error());
  }
  const PersistentReservations before = reservations_of(state);
  MoveRequest request;
  request.key = list.reservation_key.get();
  request.action_key = list.service_action_reservation_key.get();
  request.unregister = bit(list.flags, kUnregisterBit);
  request.persist = bit(list.flags, kPersistBit);
  request.relative_target_port = list.relative_target_port_identifier.get();
  // Conflicts before what only matters to a holder.
  if (const Done done = check_move(before, asking(command), request.key, request.action_key);
      done.status != Status::good) {
    return refuse(done);
  }
  if (request.persist && !command.lu->keeps_reservations) {
    return refuse(sense::invalid_field_in_parameter_list(kMoveFlagsAt, kPersistBit));
  }
  if (!is_target_port(state, *command.lu, request.relative_target_port)) {
    return refuse(sense::invalid_field_in_parameter_list(kRelativeTargetPortAt));
  }
  auto to = destination(before, command, context);
  if (const Sense* wrong = std::get_if<Sense>(&to)) return refuse(*wrong);
  request.destination = std::get<NamedPort>(std::move(to));
  return apply(state, register_and_move(before, asking(command), request));
}

template <Decide* kDecide>
Step start_update(Command& /*command*/) {
  return Update{kDecide};
}

constexpr CommandEntry row(std::string_view name, uint8_t service_action, Admit* admit, Start* start) {
  return {.name = name,
          .opcode = 0x5F,
          .service_action = service_action,
          .cdb_bytes = 10,
          .direction = DataDirection::out,
          .reservation = ReservationClass::query,  // each action knows whom it conflicts with
          .flags = kRunsWhenNotReady | kRunsInStandby,
          // SCOPE and TYPE may be set where they are ignored, too.
          .cdb_usage = {0x5F, service_action, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF},
          .admit = admit,
          .start = start};
}

constexpr std::array kCommands = {
    row("PERSISTENT RESERVE OUT, REGISTER", 0x00, admit_register, start_update<decide_register<false>>),
    row("PERSISTENT RESERVE OUT, RESERVE", 0x01, admit_basic, start_update<decide_basic<Action::reserve>>),
    row("PERSISTENT RESERVE OUT, RELEASE", 0x02, admit_basic, start_update<decide_basic<Action::release>>),
    row("PERSISTENT RESERVE OUT, CLEAR", 0x03, admit_basic, start_update<decide_basic<Action::clear>>),
    row("PERSISTENT RESERVE OUT, PREEMPT", 0x04, admit_basic, start_update<decide_basic<Action::preempt>>),
    row("PERSISTENT RESERVE OUT, PREEMPT AND ABORT", 0x05, admit_basic,
        start_update<decide_preempt_and_abort>),
    row("PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", 0x06, admit_basic,
        start_update<decide_register<true>>),
    row("PERSISTENT RESERVE OUT, REGISTER AND MOVE", 0x07, admit_move, start_update<decide_move>),
};

}  // namespace

std::span<const CommandEntry> spc_persistent_reserve_out_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
