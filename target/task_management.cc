#include "target/task_management.h"

#include <fmt/format.h>

#include "base/log.h"

namespace itgtd::target {
namespace {

using Function = iscsi::TaskManagementFunction;
using Outcome = iscsi::TaskManagementOutcome;

bool concerns_all_luns(Function function) {
  return function == Function::target_warm_reset || function == Function::target_cold_reset ||
         function == Function::i_t_nexus_reset;
}

const char* name(Function function) {
  switch (function) {
    case Function::clear_task_set:
      return "CLEAR TASK SET";
    case Function::logical_unit_reset:
      return "LOGICAL UNIT RESET";
    case Function::target_warm_reset:
      return "TARGET WARM RESET";
    case Function::target_cold_reset:
      return "TARGET COLD RESET";
    case Function::i_t_nexus_reset:
      return "I_T NEXUS RESET";
    default:
      return "task management function";
  }
}

}  // namespace

void TaskManagement::answer(const Manage& request, Outcome outcome) {
  coordinator_.tell(request.connection.worker, ManagementDone{request.connection, request.request, outcome});
}

void TaskManagement::put_up(Hold hold, Running running) {
  const Key barrier = hold.barrier;
  running.deadline = now() + time_max_;
  running_[barrier] = std::move(running);
  coordinator_.broadcast(std::move(hold), [this, barrier] {
    const auto found = running_.find(barrier);
    if (found != running_.end()) found->second.on_quiet();
  });
  watch();
}

void TaskManagement::start(const Manage& request) {
  const Function function = request.request.function;
  const bool all_luns = concerns_all_luns(function);
  if (!all_luns && !writer_.has_lun(request.target, request.request.lun)) {
    answer(request, Outcome::lun_does_not_exist);
    return;
  }
  Hold hold;
  hold.barrier = coordinator_.next_key();
  hold.target = request.target;
  hold.all_luns = all_luns;
  hold.lun = request.request.lun;
  hold.nexus = request.nexus;
  hold.only_nexus = function == Function::i_t_nexus_reset;
  // A reset tells everybody by its own unit attention.
  if (function == Function::clear_task_set)
    hold.tell_others = scsi::Asc::commands_cleared_by_another_initiator;
  Running running;
  running.what = fmt::format("{} on LUN {}", name(function), request.request.lun);
  running.on_quiet = [this, request, barrier = hold.barrier] { on_quiet(request, barrier); };
  running.on_end = [this, request](bool in_time) {
    answer(request, in_time ? Outcome::function_complete : Outcome::function_rejected);
    // RFC 7143 §11.5.1: a cold reset ends all sessions of the target, after its answer.
    if (in_time && request.request.function == Function::target_cold_reset) close_sessions_(request.target);
  };
  put_up(std::move(hold), std::move(running));
}

void TaskManagement::abort(Key target, uint16_t lun, std::vector<scsi::InitiatorPort> ports,
                           scsi::NexusId nexus, std::function<void(bool all)> done) {
  Hold hold;
  hold.barrier = coordinator_.next_key();
  hold.target = target;
  hold.lun = lun;
  hold.nexus = nexus;
  hold.only_ports = std::move(ports);
  Running running;
  running.what = fmt::format("PREEMPT AND ABORT on LUN {}", lun);
  running.on_quiet = [this, barrier = hold.barrier] { finish(barrier, true); };
  running.on_end = std::move(done);
  put_up(std::move(hold), std::move(running));
}

void TaskManagement::watch() {
  if (watching_ || running_.empty()) return;
  watching_ = true;
  // One timer for all: thousands of functions that are soon over leave nothing behind.
  const Duration left = running_.begin()->second.deadline - now();
  loop_.after(std::chrono::ceil<std::chrono::milliseconds>(left), [this] {
    watching_ = false;
    while (!running_.empty() && running_.begin()->second.deadline <= now()) {
      log::error("{}: commands are stuck in the backend after {} ms", running_.begin()->second.what,
                 time_max_.count());
      finish(running_.begin()->first, false);
    }
    watch();
  });
}

void TaskManagement::on_quiet(const Manage& request, Key barrier) {
  const Function function = request.request.function;
  const auto complete = [this, barrier] { finish(barrier, true); };
  if (function == Function::clear_task_set) {
    complete();
  } else if (function == Function::i_t_nexus_reset) {
    writer_.on_nexus_reset(request.target, request.nexus, complete);
  } else {
    writer_.reset(request.target, concerns_all_luns(function), request.request.lun, request.nexus, complete);
  }
}

void TaskManagement::finish(Key barrier, bool in_time) {
  const auto found = running_.find(barrier);
  if (found == running_.end()) return;
  const std::function<void(bool)> on_end = std::move(found->second.on_end);
  running_.erase(found);
  coordinator_.tell_all(Lift{barrier});
  on_end(in_time);
}

}  // namespace itgtd::target
