#include "target/task_management.h"

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

void TaskManagement::start(const Manage& request) {
  const Function function = request.request.function;
  const bool all_luns = concerns_all_luns(function);
  if (!all_luns && !writer_.has_lun(request.target, request.request.lun)) {
    answer(request, Outcome::lun_does_not_exist);
    return;
  }
  const Key barrier = coordinator_.next_key();
  running_[barrier] = {request, now() + time_max_};
  Hold hold;
  hold.barrier = barrier;
  hold.target = request.target;
  hold.all_luns = all_luns;
  hold.lun = request.request.lun;
  hold.nexus = request.nexus;
  hold.only_nexus = function == Function::i_t_nexus_reset;
  // A reset tells everybody by its own unit attention.
  if (function == Function::clear_task_set)
    hold.tell_others = scsi::Asc::commands_cleared_by_another_initiator;
  coordinator_.broadcast(hold, [this, barrier] { on_quiet(barrier); });
  watch();
}

void TaskManagement::watch() {
  if (watching_ || running_.empty()) return;
  watching_ = true;
  // One timer for all: thousands of functions that are soon over leave nothing behind.
  const Duration left = running_.begin()->second.deadline - now();
  loop_.after(std::chrono::ceil<std::chrono::milliseconds>(left), [this] {
    watching_ = false;
    while (!running_.empty() && running_.begin()->second.deadline <= now()) {
      const iscsi::ManagementRequest& request = running_.begin()->second.request.request;
      log::error("{} on LUN {}: commands are stuck in the backend after {} ms", name(request.function),
                 request.lun, time_max_.count());
      finish(running_.begin()->first, Outcome::function_rejected);
    }
    watch();
  });
}

void TaskManagement::on_quiet(Key barrier) {
  const auto found = running_.find(barrier);
  if (found == running_.end()) return;
  const Manage& request = found->second.request;
  const Function function = request.request.function;
  const auto complete = [this, barrier] { finish(barrier, Outcome::function_complete); };
  if (function == Function::clear_task_set) {
    complete();
  } else if (function == Function::i_t_nexus_reset) {
    writer_.on_nexus_reset(request.target, request.nexus, complete);
  } else {
    writer_.reset(request.target, concerns_all_luns(function), request.request.lun, request.nexus, complete);
  }
}

void TaskManagement::finish(Key barrier, Outcome outcome) {
  const auto found = running_.find(barrier);
  if (found == running_.end()) return;
  const Manage request = found->second.request;
  running_.erase(found);
  coordinator_.tell_all(Lift{barrier});
  answer(request, outcome);
  // RFC 7143 §11.5.1: a cold reset ends all sessions of the target, after its answer.
  const bool cold = request.request.function == Function::target_cold_reset;
  if (cold && outcome == Outcome::function_complete) close_sessions_(request.target);
}

}  // namespace itgtd::target
