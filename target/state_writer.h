// The one writer of the state that workers share about logical units.
//
// Decisions are made one after another on the control thread from the newest state, and published to every
// worker; whoever asked goes on when all have taken it, so no command admitted afterwards, on any worker,
// sees the old state.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "target/coordinator.h"

namespace itgtd::target {

class StateWriter {
 public:
  explicit StateWriter(Coordinator& coordinator) : coordinator_(coordinator) {}

  void add(Key lun_key, Key target, uint16_t lun, std::shared_ptr<const scsi::LuState> state);
  void remove(Key lun_key);
  [[nodiscard]] std::shared_ptr<const scsi::LuState> state(Key lun_key) const;

  /// A command asked for a change.
  void on_update(const DecideUpdate& request);
  /// A nexus with `target` is gone.
  void on_nexus_loss(Key target, scsi::NexusId nexus);
  /// I_T NEXUS RESET: as if the nexus were lost, and it is told so on every LUN (I_T NEXUS LOSS OCCURRED).
  void on_nexus_reset(Key target, scsi::NexusId nexus, std::function<void()> done);
  /// Resets the LUN of `target`, or all of them; `done` when every worker has taken it.
  void reset(Key target, bool all_luns, uint16_t lun, scsi::NexusId nexus, std::function<void()> done);
  /// Applies a decision of the daemon's own.
  void apply(Key lun_key, const scsi::Decision& decision, std::function<void()> done = {});
  [[nodiscard]] bool has_lun(Key target, uint16_t lun) const;

 private:
  struct Unit {
    Key target = 0;
    uint16_t lun = 0;
    std::shared_ptr<const scsi::LuState> state;
  };
  using Decider = std::function<scsi::Decision(const scsi::LuState&)>;
  void apply_to(const std::function<bool(const Unit&)>& which, const Decider& decide,
                std::function<void()> done);

  Coordinator& coordinator_;
  std::map<Key, Unit> units_;
};

}  // namespace itgtd::target
