// Unit attentions about reservations that initiator ports have not been told yet, as far as they must outlive
// the node that raised them.
//
// The initiator of a port that lost a registration or a reservation is told so by a unit attention:
// RESERVATIONS PREEMPTED, RESERVATIONS RELEASED, REGISTRATIONS PREEMPTED (SPC-4 §5.12). It waits in the nexus
// of that port (scsi/nexus.h); when the node ends, or the port is not logged in, it would never come. So the
// writer of the state remembers it, too, saves it with the state, and has it raised again whenever the port
// logs in, until it has been told and some time has passed: a status that was sent may have been lost with
// the node.
//
// So it may be told twice: after a failover, or a login, within kSettledMs of the first time; or later, when
// nothing has been saved since. Never not at all, but for ports beyond kRegistrantsMax.
//
// By initiator port, as unit attentions are: a target has one target port, whatever its portals, and each
// session of an initiator that uses several (multipath) has an ISID, and so a port, of its own (RFC 7143
// §10.1).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "scsi/command.h"
#include "scsi/initiator_port.h"
#include "scsi/persistent_reservations.h"

namespace itgtd::scsi {

/// The kinds, in the order of their bits in a snapshot. A bit is for ever.
inline constexpr std::array kRegistrantAttentions = {Asc::reservations_preempted, Asc::reservations_released,
                                                     Asc::registrations_preempted};
[[nodiscard]] bool is_registrant_attention(Asc asc);

class RegistrantAttentions {
 public:
  /// Longer than an initiator goes on trying to reach a node that has gone.
  static constexpr uint64_t kSettledMs = 60'000;

  /// What waits for one port.
  struct Pending {
    InitiatorPort port;
    struct Kind {
      bool waits = false;
      uint64_t generation = 0;  ///< of the state with which it was raised last; 0: before this was restored
      std::optional<uint64_t> told_ms;
    };
    std::array<Kind, kRegistrantAttentions.size()> kinds;
  };

  /// Of a decision whose state has `generation`: those for ports, of the kinds above. One of a kind that
  /// waits already is the same one. Beyond kRegistrantsMax ports the one that has waited longest is
  /// forgotten.
  void raise(std::span<const UnitAttentionRaise> raises, uint64_t generation);
  /// A nexus of `port` was told, while the state had `generation`: what was raised later has not been told.
  void on_told(const InitiatorPort& port, Asc asc, uint64_t generation, uint64_t now_ms);
  /// Forgets what was told kSettledMs ago, or longer. Before a save.
  void settle(uint64_t now_ms);

  /// What a nexus of `port` is to be told when it logs in.
  [[nodiscard]] std::vector<Asc> waiting_for(const InitiatorPort& port) const;
  [[nodiscard]] bool empty() const { return pending_.empty(); }
  /// Those that have waited longest first.
  [[nodiscard]] const std::vector<Pending>& all() const { return pending_; }
  /// For one that was restored. False: the port is there already, or there are too many.
  [[nodiscard]] bool add(Pending pending);

 private:
  std::vector<Pending> pending_;
};

}  // namespace itgtd::scsi
