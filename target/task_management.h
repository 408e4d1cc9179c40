// Task management functions that concern all sessions of a target: CLEAR TASK SET, LOGICAL UNIT RESET, TARGET
// WARM and COLD RESET; and I_T NEXUS RESET, which changes state that all share. RFC 7143 §4.2.3.4, §11.5; RFC
// 7144 §4; SAM-5 §7.
//
// Each is a barrier: every worker holds new commands in its scope and ends those in flight; when all are gone
// the state is reset, everybody is told, and the workers go on. It has a deadline, and goes on to its end
// when the connection that asked for it is lost.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "target/control/event_loop.h"
#include "target/coordinator.h"
#include "target/limits.h"
#include "target/state_writer.h"

namespace itgtd::target {

class TaskManagement {
 public:
  /// `close_sessions` ends every session of a target (TARGET COLD RESET). `time_max`: see kBarrierTime.
  TaskManagement(control::EventLoop& loop, Coordinator& coordinator, StateWriter& writer,
                 std::function<void(Key target)> close_sessions,
                 std::chrono::milliseconds time_max = kBarrierTime)
      : loop_(loop),
        coordinator_(coordinator),
        writer_(writer),
        close_sessions_(std::move(close_sessions)),
        time_max_(time_max) {}

  void start(const Manage& request);
  /// PREEMPT AND ABORT: ends the commands of `ports` on a LUN, but none of `nexus`; `done` when they are
  /// gone, or with false when they are not in time.
  void abort(Key target, uint16_t lun, std::vector<scsi::InitiatorPort> ports, scsi::NexusId nexus,
             std::function<void(bool all)> done);

 private:
  struct Running {
    std::string what;  ///< for the log
    Instant deadline;
    std::function<void()> on_quiet;
    std::function<void(bool in_time)> on_end;
  };
  void put_up(Hold hold, Running running);
  void on_quiet(const Manage& request, Key barrier);
  void finish(Key barrier, bool in_time);
  void watch();
  void answer(const Manage& request, iscsi::TaskManagementOutcome outcome);

  control::EventLoop& loop_;
  Coordinator& coordinator_;
  StateWriter& writer_;
  std::function<void(Key target)> close_sessions_;
  std::chrono::milliseconds time_max_;
  std::map<Key, Running> running_;  ///< by barrier, and so the oldest first
  bool watching_ = false;           ///< true exactly when the timer for the oldest deadline runs
};

}  // namespace itgtd::target
