#include "scsi/persistent_reservations.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/assert.h"

namespace itgtd::scsi {
namespace {

/// Who besides the holder, and what is left to whom: SPC-4 tables 65 and 66, and SBC-3's for its commands.
struct TypeRow {
  ReservationType type;
  bool registrants_only;
  bool all_registrants;
  ReservationAccess registered;  ///< to a registrant that does not hold it
  ReservationAccess others;      ///< to a nexus without a registration
};
using Type = ReservationType;
using Access = ReservationAccess;
constexpr std::array kTypes = {
    TypeRow{Type::write_exclusive, false, false, Access::read, Access::read},
    TypeRow{Type::exclusive_access, false, false, Access::none, Access::none},
    TypeRow{Type::write_exclusive_registrants_only, true, false, Access::all, Access::read},
    TypeRow{Type::exclusive_access_registrants_only, true, false, Access::all, Access::none},
    TypeRow{Type::write_exclusive_all_registrants, false, true, Access::all, Access::read},
    TypeRow{Type::exclusive_access_all_registrants, false, true, Access::all, Access::none},
};

const TypeRow& row_of(ReservationType type) {
  const auto* row = std::ranges::find(kTypes, type, &TypeRow::type);
  ITGTD_ASSERT(row != kTypes.end());
  return *row;
}

// Where the fields of the parameter lists and of the CDB stand, for field pointers.
constexpr uint16_t kActionKeyAt = 8;
constexpr uint16_t kFlagsAt = 20;
constexpr uint8_t kSpecifiedPortsBit = 3;
constexpr uint16_t kScopeAndTypeByte = 2;
constexpr uint8_t kScopeBit = 7;
constexpr uint8_t kTypeBit = 3;
constexpr uint16_t kServiceActionByte = 1;
constexpr uint8_t kServiceActionBit = 4;

ReservationChange refuse(const Done& done) {
  ReservationChange change;
  change.done = done;
  return change;
}
ReservationChange refuse(const Sense& sense) {
  return refuse(check_condition(sense));
}
Done conflict() {
  return {Status::reservation_conflict, {}, 0};
}

bool stands_for(const Registrant& registrant, const ReservationNexus& nexus) {
  return (registrant.all_target_ports || registrant.relative_target_port == nexus.relative_target_port) &&
         registrant.port == nexus.port;
}

/// Unit attentions go by initiator port: never to that of the nexus that asked.
void tell(ReservationChange& change, const Registrant& whom, const ReservationNexus& asking, Asc asc) {
  if (whom.port == asking.port) return;
  UnitAttentionRaise raise;
  raise.scope = UnitAttentionRaise::Scope::port;
  raise.asc = asc;
  raise.port = whom.port;
  change.unit_attentions.push_back(std::move(raise));
}
void tell_registrants(ReservationChange& change, const ReservationNexus& asking, Asc asc) {
  for (const Registrant& registrant : change.next.registrants) tell(change, registrant, asking, asc);
}

/// The registrant that `nexus` is, when it says the key that it is registered with.
std::optional<uint32_t> authenticated(const PersistentReservations& state, const ReservationNexus& nexus,
                                      uint64_t key) {
  const std::optional<uint32_t> index = find_registrant(state, nexus);
  if (!index || state.registrants[*index].key != key) return std::nullopt;
  return index;
}

void end_reservation(PersistentReservations& state) {
  state.type.reset();
  state.holder = 0;
}

void begin_reservation(PersistentReservations& state, ReservationType type, uint32_t holder) {
  state.type = type;
  state.holder = is_all_registrants(type) ? 0 : holder;
}

/// Takes out whoever `gone` says, and returns them. A reservation without a holder left ends. SPC-4 §5.12,
/// Persistent reservation holder.
template <typename Gone>
std::vector<Registrant> remove_registrants(PersistentReservations& state, const Gone& gone) {
  std::vector<Registrant> removed;
  std::vector<Registrant> kept;
  const bool one_holder = state.type && !is_all_registrants(*state.type);
  std::optional<uint32_t> holder;
  for (uint32_t i = 0; i < state.registrants.size(); ++i) {
    Registrant& registrant = state.registrants[i];
    if (gone(i, registrant)) {
      removed.push_back(std::move(registrant));
      continue;
    }
    if (one_holder && i == state.holder) holder = static_cast<uint32_t>(kept.size());
    kept.push_back(std::move(registrant));
  }
  state.registrants = std::move(kept);
  if (one_holder && holder) {
    state.holder = *holder;
  } else if (one_holder || state.registrants.empty()) {
    end_reservation(state);
  }
  return removed;
}

/// SPC-4 §5.12, Unregistering.
void unregister(ReservationChange& change, const ReservationNexus& nexus, uint32_t index) {
  const std::optional<ReservationType> type = change.next.type;
  remove_registrants(change.next, [&](uint32_t i, const Registrant&) { return i == index; });
  if (type && !change.next.type && is_registrants_only(*type)) {
    tell_registrants(change, nexus, Asc::reservations_released);
  }
}

/// ALL_TG_PT: what the same initiator port had registered through other target ports becomes one with the
/// registrant at `index`.
void spread_over_target_ports(PersistentReservations& state, uint32_t index) {
  state.registrants[index].all_target_ports = true;
  const InitiatorPort port = state.registrants[index].port;
  const auto other_of_port = [&](uint32_t i, const Registrant& registrant) {
    return i != index && registrant.port == port;
  };
  if (state.type && !is_all_registrants(*state.type) &&
      other_of_port(state.holder, state.registrants[state.holder])) {
    state.holder = index;
  }
  remove_registrants(state, other_of_port);
}

uint32_t add_registrant(PersistentReservations& state, uint64_t key, const InitiatorPort& port,
                        uint16_t relative_target_port) {
  state.registrants.push_back({key, port, relative_target_port, false});
  return static_cast<uint32_t>(state.registrants.size() - 1);
}

/// A nexus that was not registered, and with SPEC_I_PT those that the list names. All of them or none.
ReservationChange register_new(const PersistentReservations& before, const ReservationNexus& nexus,
                               const RegisterRequest& request) {
  ReservationChange change;
  change.next = before;
  PersistentReservations& next = change.next;
  const auto add = [&](const InitiatorPort& port) {
    const uint32_t index = add_registrant(next, request.action_key, port, nexus.relative_target_port);
    if (request.all_target_ports) spread_over_target_ports(next, index);
  };
  add(nexus.port);
  for (const NamedPort& named : request.ports) {
    const ReservationNexus other = {named.port, nexus.relative_target_port};
    // SPC-4, Register behaviors for a REGISTER service action, note b.
    if (find_registrant(before, other)) return refuse(sense::invalid_field_in_parameter_list(named.at));
    // Named twice, or the one that asks.
    if (find_registrant(next, other)) continue;
    add(named.port);
    if (next.registrants.size() > kRegistrantsMax) break;
  }
  if (next.registrants.size() > kRegistrantsMax) {
    return refuse(sense::insufficient_registration_resources());
  }
  return change;
}

std::optional<Sense> check_scope_and_type(uint8_t scope_and_type) {
  // SPC-4 table 154: LU_SCOPE is the only one.
  if (scope_and_type >> 4 != 0) return sense::invalid_field_in_cdb(kScopeAndTypeByte, kScopeBit);
  if (!reservation_type(scope_and_type)) return sense::invalid_field_in_cdb(kScopeAndTypeByte, kTypeBit);
  return std::nullopt;
}

/// Those that lost their registration to a PREEMPT by `asking`.
void tell_preempted(ReservationChange& change, const std::vector<Registrant>& removed,
                    const ReservationNexus& asking) {
  for (const Registrant& registrant : removed) {
    tell(change, registrant, asking, Asc::registrations_preempted);
    if (registrant.port != asking.port) change.preempted.push_back(registrant.port);
  }
}

/// SPC-4 §5.12, Preempting persistent reservations and registration handling.
ReservationChange replace(ReservationChange change, const ReservationNexus& nexus, uint32_t own,
                          uint64_t action_key, uint8_t scope_and_type) {
  if (const auto wrong = check_scope_and_type(scope_and_type)) return refuse(*wrong);
  PersistentReservations& next = change.next;
  const ReservationType old_type = *next.type;
  const ReservationType new_type = *reservation_type(scope_and_type);
  const auto removed = remove_registrants(next, [&](uint32_t i, const Registrant& registrant) {
    return i != own && (action_key == 0 || registrant.key == action_key);
  });
  begin_reservation(next, new_type, *find_registrant(next, nexus));
  if (new_type != old_type) tell_registrants(change, nexus, Asc::reservations_released);
  tell_preempted(change, removed, nexus);
  return change;
}

}  // namespace

std::optional<ReservationType> reservation_type(uint8_t code) {
  for (const TypeRow& row : kTypes) {
    if (static_cast<uint8_t>(row.type) == code) return row.type;
  }
  return std::nullopt;
}

bool is_registrants_only(ReservationType type) {
  return row_of(type).registrants_only;
}

bool is_all_registrants(ReservationType type) {
  return row_of(type).all_registrants;
}

std::optional<uint32_t> find_registrant(const PersistentReservations& reservations,
                                        const ReservationNexus& nexus) {
  const auto& registrants = reservations.registrants;
  for (uint32_t i = 0; i < registrants.size(); ++i) {
    if (stands_for(registrants[i], nexus)) return i;
  }
  return std::nullopt;
}

bool is_holder(const PersistentReservations& reservations, uint32_t index) {
  return reservations.type && (is_all_registrants(*reservations.type) || reservations.holder == index);
}

ReservationAccess reservation_access(const PersistentReservations& reservations, const InitiatorPort& port,
                                     uint16_t relative_target_port) {
  if (!reservations.type) return ReservationAccess::all;
  const auto index = find_registrant(reservations, {port, relative_target_port});
  const TypeRow& row = row_of(*reservations.type);
  if (!index) return row.others;
  return is_holder(reservations, *index) ? ReservationAccess::all : row.registered;
}

bool covers_reserve(const PersistentReservations& reservations, const ReservationNexus& nexus) {
  const auto index = find_registrant(reservations, nexus);
  if (!index || !reservations.type) return false;
  return is_holder(reservations, *index) || is_registrants_only(*reservations.type);
}

ReservationChange register_nexus(const PersistentReservations& before, const ReservationNexus& nexus,
                                 const RegisterRequest& request) {
  ReservationChange change;
  change.next = before;
  const std::optional<uint32_t> own = find_registrant(before, nexus);
  // SPC-4 §5.12, Register behaviors for a REGISTER and for a REGISTER AND IGNORE EXISTING KEY service action.
  if (!request.ignore_existing_key) {
    const uint64_t due = own ? before.registrants[*own].key : 0;
    if (request.key != due) return refuse(conflict());
    if (own && request.specified_ports) {
      return refuse(sense::invalid_field_in_parameter_list(kFlagsAt, kSpecifiedPortsBit));
    }
  }
  if (!own && request.action_key == 0) return change;
  if (!own) {
    change = register_new(before, nexus, request);
    if (change.done.status != Status::good) return change;
  } else if (request.action_key == 0) {
    unregister(change, nexus, *own);
  } else {
    change.next.registrants[*own].key = request.action_key;
    if (request.all_target_ports) spread_over_target_ports(change.next, *own);
  }
  change.next.persist = request.persist;
  ++change.next.generation;
  return change;
}

ReservationChange reserve(const PersistentReservations& before, const ReservationNexus& nexus, uint64_t key,
                          uint8_t scope_and_type) {
  const auto own = authenticated(before, nexus, key);
  if (!own) return refuse(conflict());
  if (const auto wrong = check_scope_and_type(scope_and_type)) return refuse(*wrong);
  const ReservationType type = *reservation_type(scope_and_type);
  ReservationChange change;
  change.next = before;
  if (!before.type) {
    begin_reservation(change.next, type, *own);
  } else if (!is_holder(before, *own) || *before.type != type) {
    return refuse(conflict());
  }
  return change;
}

ReservationChange release(const PersistentReservations& before, const ReservationNexus& nexus, uint64_t key,
                          uint8_t scope_and_type) {
  const auto own = authenticated(before, nexus, key);
  if (!own) return refuse(conflict());
  ReservationChange change;
  change.next = before;
  if (!before.type || !is_holder(before, *own)) return change;
  if (scope_and_type != static_cast<uint8_t>(*before.type)) {
    return refuse(sense::invalid_release_of_persistent_reservation());
  }
  end_reservation(change.next);
  if (is_registrants_only(*before.type) || is_all_registrants(*before.type)) {
    tell_registrants(change, nexus, Asc::reservations_released);
  }
  return change;
}

ReservationChange clear(const PersistentReservations& before, const ReservationNexus& nexus, uint64_t key) {
  if (!authenticated(before, nexus, key)) return refuse(conflict());
  ReservationChange change;
  change.next = before;
  tell_registrants(change, nexus, Asc::reservations_preempted);
  change.next.registrants.clear();
  end_reservation(change.next);
  ++change.next.generation;
  return change;
}

ReservationChange preempt(const PersistentReservations& before, const ReservationNexus& nexus, uint64_t key,
                          uint64_t action_key, uint8_t scope_and_type) {
  const auto own = authenticated(before, nexus, key);
  if (!own) return refuse(conflict());
  ReservationChange change;
  change.next = before;
  ++change.next.generation;
  // SPC-4 §5.12, Preempting actions.
  const bool all_registrants = before.type && is_all_registrants(*before.type);
  if (action_key == 0) {
    if (!all_registrants) return refuse(sense::invalid_field_in_parameter_list(kActionKeyAt));
    return replace(std::move(change), nexus, *own, action_key, scope_and_type);
  }
  if (before.type && !all_registrants && before.registrants[before.holder].key == action_key) {
    return replace(std::move(change), nexus, *own, action_key, scope_and_type);
  }
  const auto removed = remove_registrants(
      change.next, [&](uint32_t, const Registrant& registrant) { return registrant.key == action_key; });
  if (removed.empty()) return refuse(conflict());
  tell_preempted(change, removed, nexus);
  return change;
}

Done check_move(const PersistentReservations& before, const ReservationNexus& nexus, uint64_t key,
                uint64_t action_key) {
  const auto own = authenticated(before, nexus, key);
  if (!own) return conflict();
  // SPC-4 §5.12, Registering and moving the reservation.
  if (!before.type) {
    return check_condition(sense::invalid_field_in_cdb(kServiceActionByte, kServiceActionBit));
  }
  if (is_all_registrants(*before.type) || !is_holder(before, *own)) return conflict();
  if (action_key == 0) return check_condition(sense::invalid_field_in_parameter_list(kActionKeyAt));
  return good();
}

ReservationChange register_and_move(const PersistentReservations& before, const ReservationNexus& nexus,
                                    const MoveRequest& request) {
  if (const Done done = check_move(before, nexus, request.key, request.action_key);
      done.status != Status::good) {
    return refuse(done);
  }
  const NamedPort& to = request.destination;
  if (to.port == nexus.port) return refuse(sense::invalid_field_in_parameter_list(to.at));
  ReservationChange change;
  change.next = before;
  PersistentReservations& next = change.next;
  auto moved_to = find_registrant(next, {to.port, request.relative_target_port});
  if (moved_to) {
    next.registrants[*moved_to].key = request.action_key;
  } else {
    moved_to = add_registrant(next, request.action_key, to.port, request.relative_target_port);
  }
  next.holder = *moved_to;
  if (request.unregister) unregister(change, nexus, *find_registrant(next, nexus));
  if (next.registrants.size() > kRegistrantsMax) {
    return refuse(sense::insufficient_registration_resources());
  }
  next.persist = request.persist;
  ++next.generation;
  return change;
}

}  // namespace itgtd::scsi
