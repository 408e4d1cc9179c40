// The one writer of the state that workers share about logical units.
//
// Decisions are made one after another on the control thread from the newest state, saved where they must
// survive the daemon, and published to every worker; whoever asked goes on when all have taken it, so no
// command admitted afterwards, on any worker, sees the old state.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "scsi/registrant_attentions.h"
#include "target/coordinator.h"
#include "target/lu_store.h"

namespace itgtd::target {

class StateWriter {
 public:
  /// Milliseconds since 1970-01-01 UTC.
  using Clock = std::function<uint64_t()>;
  /// `store` outlives the writer; null: nothing is saved.
  explicit StateWriter(Coordinator& coordinator, LuStore* store = nullptr, Clock clock = wall_clock);
  static uint64_t wall_clock();

  /// Ends commands of `ports` on a LUN, but none of `nexus`, then calls `done`: false when some could not be
  /// ended in time. What carries out Decision::abort.
  using AbortCommands = std::function<void(Key target, uint16_t lun, std::vector<scsi::InitiatorPort> ports,
                                           scsi::NexusId nexus, std::function<void(bool)> done)>;
  void set_abort(AbortCommands abort) { abort_ = std::move(abort); }

  /// Who is logged in to a target: DecideContext::nexuses.
  using Nexuses = std::function<std::vector<scsi::KnownNexus>(Key target)>;
  void set_nexuses(Nexuses nexuses) { nexuses_ = std::move(nexuses); }

  struct UnitName {
    Key target = 0;
    uint16_t lun = 0;
    std::string stored_as;  ///< its name in the store; empty: it is never saved
  };
  /// `attentions`: of a unit of a group, as they were restored; nothing: it is not one (scsi/lu_snapshot.h).
  void add(Key lun_key, UnitName name, std::shared_ptr<const scsi::LuState> state,
           std::optional<scsi::RegistrantAttentions> attentions = {});
  /// What the store has of the unit could not be read: until it could, nothing is saved over it, and what
  /// would have to be saved fails.
  void set_unreadable(Key lun_key, bool unreadable);
  /// Those of a unit that could be read after all; ignored where add() was given none.
  void set_attentions(Key lun_key, scsi::RegistrantAttentions attentions);
  void remove(Key lun_key);
  [[nodiscard]] std::shared_ptr<const scsi::LuState> state(Key lun_key) const;

  /// A command asked for a change.
  void on_update(const DecideUpdate& request);
  void on_break_tokens(const BreakTokens& request);
  /// What `port` is to be told, of the units of a target, when it logs in.
  [[nodiscard]] std::vector<SessionOpened::Attention> waiting_for(Key target,
                                                                  const scsi::InitiatorPort& port) const;
  void on_told(const AttentionTold& message);
  /// A nexus with `target` is gone.
  void on_nexus_loss(Key target, scsi::NexusId nexus);
  /// I_T NEXUS RESET: as if the nexus were lost, and it is told so on every LUN (I_T NEXUS LOSS OCCURRED).
  void on_nexus_reset(Key target, scsi::NexusId nexus, std::function<void()> done);
  /// Resets the LUN of `target`, or all of them; `done` when every worker has taken it.
  void reset(Key target, bool all_luns, uint16_t lun, scsi::NexusId nexus, std::function<void()> done);
  /// Applies a change of the daemon's own to the newest state, behind those that are on their way.
  using Decider = std::function<scsi::Decision(const scsi::LuState&)>;
  void change(Key lun_key, const Decider& decide, std::function<void()> done = {});
  [[nodiscard]] bool has_lun(Key target, uint16_t lun) const;

 private:
  struct Unit {
    UnitName name;
    std::shared_ptr<const scsi::LuState> state;
    std::vector<std::byte> saved;  ///< scsi::snapshot() of what the store has
    /// Of a group's: what its registrants have not been told yet.
    std::optional<scsi::RegistrantAttentions> attentions;
    bool saving = false;  ///< the store is at work: what comes meanwhile waits
    bool unreadable = false;
    std::deque<std::function<void()>> waiting;
  };
  using Done = std::function<void(bool saved)>;
  /// Decides from the newest state, saves, publishes. False: it could not be saved, and nothing has changed.
  void decide(Key lun_key, const Decider& decide, Done done);
  [[nodiscard]] std::vector<std::byte> snapshot_after(Unit& unit, const scsi::Decision& decision) const;
  void publish(Key lun_key, const scsi::Decision& decision, std::function<void()> done);
  void on_saved(Key lun_key, const scsi::Decision& decision, const Result<void>& result, const Done& done);
  void apply_to(const std::function<bool(const Unit&)>& which, const Decider& decide,
                std::function<void()> done);
  void answer(const DecideUpdate& request, const scsi::Decision& decision);

  Coordinator& coordinator_;
  LuStore* store_;
  Clock clock_;
  AbortCommands abort_;
  Nexuses nexuses_;
  std::map<Key, Unit> units_;
};

}  // namespace itgtd::target
