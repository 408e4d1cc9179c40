// DRBD 8.4 and 9: what its resources are like (drbdsetup events2) and how they change (drbdadm, drbdsetup).
// Translates, decides nothing. Control thread; programs run beside it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ha/adapters/finding.h"
#include "ha/core/types.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

class Drbd {
 public:
  /// `on_change`: the facts of a followed resource, at first and whenever they change.
  Drbd(control::EventLoop& loop,
       std::function<void(const std::string& resource, const StorageFacts&)> on_change);
  ~Drbd();
  Drbd(const Drbd&) = delete;
  Drbd& operator=(const Drbd&) = delete;

  /// What is unsafe or missing, with the setting to change: allow-two-primaries; DRBD 9 with neither quorum
  /// nor fencing; protocol other than C; no such resource; drbd-utils missing. Blocks for a moment: for
  /// start-up.
  [[nodiscard]] static std::vector<Finding> preflight(const std::vector<std::string>& resources);

  /// The resources to know about; replaces the list before. One that is down is brought up, once: whoever
  /// takes it down later meant it.
  void follow(const std::vector<std::string>& resources);

  struct Outcome {
    bool ok = true;
    bool retry_here =
        true;          ///< false: it makes no sense to try again on this node as things are (exit 17, 16)
    std::string text;  ///< what DRBD said, with the number of the state change error
  };
  using Done = std::function<void(const Outcome&)>;
  /// Brought up first when it is down, and given 5 s to find its peers. Never forced. While a peer that is
  /// going away is still Primary it is tried again, for 5 s. `done` is called once, never from within this;
  /// what is asked for a resource ends what was asked before, with an outcome that says so.
  void promote(const std::string& resource, Done done);
  /// `force`: drbdsetup secondary --force; without it where DRBD does not have that (8.4). Who holds the
  /// device open is in the text. A resource that is down is Secondary, and so is one that this node does not
  /// have.
  void demote(const std::string& resource, bool force, Done done);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace itgtd::ha
