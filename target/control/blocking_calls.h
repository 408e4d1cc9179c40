// Calls that may block for as long as a disk or another process hangs, away from the control thread.
#pragma once

#include <functional>
#include <memory>

#include "target/control/event_loop.h"

namespace itgtd::control {

/// Each call has a thread of its own, so that one that hangs keeps no other from its end. Callers bound how
/// many there are: one for each group at a time. What has not ended when this goes is left to itself.
class BlockingCalls {
 public:
  /// `loop` outlives it.
  explicit BlockingCalls(EventLoop& loop);
  ~BlockingCalls();
  BlockingCalls(const BlockingCalls&) = delete;
  BlockingCalls& operator=(const BlockingCalls&) = delete;

  /// Calls `work` on another thread, then `done` on the control thread. `work` must own what it uses, for it
  /// may outlive everything else; no exceptions.
  void run(std::function<void()> work, std::function<void()> done);

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;  ///< owners: this and the threads
  Subscription watch_;
};

}  // namespace itgtd::control
