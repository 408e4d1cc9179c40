// Persistent reservations as a value: who is registered, what is reserved, and what each service action makes
// of it. SPC-4 §5.12.
//
// Each action is a pure function of the state before it and of the I_T nexus that asks; it either refuses,
// and then nothing changes, or gives the whole state after it. Nothing here knows of CDBs or sessions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "scsi/command.h"
#include "scsi/initiator_port.h"

namespace itgtd::scsi {

/// I_T nexuses registered with one logical unit: four ports of each of 256 hosts. Bounds what a change copies
/// (about 100 KB), what is saved of it, and READ KEYS (8 KiB).
inline constexpr size_t kRegistrantsMax = 1024;

/// SPC-4 table 155, TYPE.
enum class ReservationType : uint8_t {
  write_exclusive = 1,
  exclusive_access = 3,
  write_exclusive_registrants_only = 5,
  exclusive_access_registrants_only = 6,
  write_exclusive_all_registrants = 7,
  exclusive_access_all_registrants = 8,
};
/// Nothing: no type has this code.
[[nodiscard]] std::optional<ReservationType> reservation_type(uint8_t code);
[[nodiscard]] bool is_registrants_only(ReservationType type);
/// True exactly when every registrant is a holder.
[[nodiscard]] bool is_all_registrants(ReservationType type);

/// One I_T nexus with a reservation key: it outlives sessions, so it is an initiator port and a target port.
struct Registrant {
  uint64_t key = 0;
  InitiatorPort port;
  uint16_t relative_target_port = 1;
  /// ALL_TG_PT at registration: stands for the nexuses of `port` with every target port, which then change
  /// and end together.
  bool all_target_ports = false;
  bool operator==(const Registrant&) const = default;
};

/// The whole state of a logical unit's persistent reservations. Immutable once it is part of a LuState.
struct PersistentReservations {
  uint32_t generation = 0;  ///< PRGENERATION
  bool persist = false;     ///< APTPL of the last REGISTER: it survives the end of the daemon
  std::vector<Registrant> registrants;
  std::optional<ReservationType> type;  ///< nothing: no reservation
  /// Index of the registrant that holds it; 0 without a reservation, and for the all registrants types.
  uint32_t holder = 0;
  bool operator==(const PersistentReservations&) const = default;
};

/// An I_T nexus, for the length of a call.
struct ReservationNexus {
  const InitiatorPort& port;
  uint16_t relative_target_port;
};

/// Index of the registrant that stands for `nexus`.
[[nodiscard]] std::optional<uint32_t> find_registrant(const PersistentReservations& reservations,
                                                      const ReservationNexus& nexus);
/// True exactly when the registrant at `index` is a persistent reservation holder.
[[nodiscard]] bool is_holder(const PersistentReservations& reservations, uint32_t index);

/// What a reservation leaves to a nexus.
enum class ReservationAccess : uint8_t {
  all,
  read,  ///< write exclusive, held by others
  none,  ///< exclusive access, held by others
};

[[nodiscard]] ReservationAccess reservation_access(const PersistentReservations& reservations,
                                                   const InitiatorPort& port, uint16_t relative_target_port);

/// True exactly when the RESERVE and RELEASE of SPC-2 are answered GOOD and do nothing. SPC-4, Exceptions to
/// SPC-2 RESERVE and RELEASE behavior.
[[nodiscard]] bool covers_reserve(const PersistentReservations& reservations, const ReservationNexus& nexus);

// The service actions of PERSISTENT RESERVE OUT.

/// What came of one.
struct ReservationChange {
  Done done;                    ///< other than GOOD: refused, and nothing below is valid
  PersistentReservations next;  ///< may be what it was
  std::vector<UnitAttentionRaise> unit_attentions;
  /// Ports other than the asking one that lost their registration to a PREEMPT.
  std::vector<InitiatorPort> preempted;
};

/// An initiator port that a parameter list names, and at which byte: for the field pointer.
struct NamedPort {
  InitiatorPort port;
  uint16_t at = 0;
};

/// REGISTER, and REGISTER AND IGNORE EXISTING KEY.
struct RegisterRequest {
  uint64_t key = 0;         ///< RESERVATION KEY
  uint64_t action_key = 0;  ///< SERVICE ACTION RESERVATION KEY: the new one, or 0 to unregister
  bool ignore_existing_key = false;
  bool persist = false;           ///< APTPL
  bool all_target_ports = false;  ///< ALL_TG_PT
  bool specified_ports = false;   ///< SPEC_I_PT
  std::span<const NamedPort> ports = {};
};
[[nodiscard]] ReservationChange register_nexus(const PersistentReservations& before,
                                               const ReservationNexus& nexus, const RegisterRequest& request);

/// `scope_and_type` in what follows is byte 2 of the CDB.
[[nodiscard]] ReservationChange reserve(const PersistentReservations& before, const ReservationNexus& nexus,
                                        uint64_t key, uint8_t scope_and_type);
[[nodiscard]] ReservationChange release(const PersistentReservations& before, const ReservationNexus& nexus,
                                        uint64_t key, uint8_t scope_and_type);
[[nodiscard]] ReservationChange clear(const PersistentReservations& before, const ReservationNexus& nexus,
                                      uint64_t key);
/// PREEMPT; and PREEMPT AND ABORT, whose caller has the commands of `preempted` ended.
[[nodiscard]] ReservationChange preempt(const PersistentReservations& before, const ReservationNexus& nexus,
                                        uint64_t key, uint64_t action_key, uint8_t scope_and_type);

struct MoveRequest {
  uint64_t key = 0;
  uint64_t action_key = 0;
  bool unregister = false;  ///< UNREG
  bool persist = false;     ///< APTPL
  NamedPort destination;
  uint16_t relative_target_port = 0;
};
/// REGISTER AND MOVE, in two steps: what is refused whatever the destination is, and the move.
[[nodiscard]] Done check_move(const PersistentReservations& before, const ReservationNexus& nexus,
                              uint64_t key, uint64_t action_key);
[[nodiscard]] ReservationChange register_and_move(const PersistentReservations& before,
                                                  const ReservationNexus& nexus, const MoveRequest& request);

}  // namespace itgtd::scsi
