// Task management. RFC 7143 §11.5, §11.6, §4.2.3; RFC 7144 §4.
//
// Requests come in CmdSN order behind every command that they concern, since a session has one connection.
// What concerns only this session is done here; the rest is handed to the worker and answered when it says
// so.

#include "scsi/dispatch.h"
#include "target/iscsi/pdu_builder.h"
#include "target/iscsi/session.h"

namespace itgtd::iscsi {

namespace {

using Function = TaskManagementFunction;
using Outcome = TaskManagementOutcome;

/// Who carries a function out, and what it acts on.
struct FunctionRow {
  enum class Reach : uint8_t { unsupported, one_task, this_session, query, everywhere };
  Function function;
  Reach reach;
  bool names_lun;          ///< refused for a LUN that does not exist
  bool all_luns;           ///< not only those of one LUN
  uint8_t protocol_level;  ///< iSCSIProtocolLevel from which on it exists
};

constexpr std::array kFunctions = {
    FunctionRow{Function::abort_task, FunctionRow::Reach::one_task, false, false, 0},
    FunctionRow{Function::abort_task_set, FunctionRow::Reach::this_session, true, false, 0},
    FunctionRow{Function::clear_aca, FunctionRow::Reach::unsupported, false, false, 0},
    FunctionRow{Function::clear_task_set, FunctionRow::Reach::everywhere, true, false, 0},
    FunctionRow{Function::logical_unit_reset, FunctionRow::Reach::everywhere, true, false, 0},
    FunctionRow{Function::target_warm_reset, FunctionRow::Reach::everywhere, false, true, 0},
    FunctionRow{Function::target_cold_reset, FunctionRow::Reach::everywhere, false, true, 0},
    FunctionRow{Function::query_task, FunctionRow::Reach::query, true, false, 2},
    FunctionRow{Function::query_task_set, FunctionRow::Reach::query, true, false, 2},
    FunctionRow{Function::i_t_nexus_reset, FunctionRow::Reach::everywhere, false, true, 2},
    FunctionRow{Function::query_asynchronous_event, FunctionRow::Reach::query, true, false, 2},
};

const FunctionRow* find_function(Function function, uint8_t protocol_level) {
  for (const FunctionRow& row : kFunctions) {
    if (row.function == function && protocol_level >= row.protocol_level) return &row;
  }
  return nullptr;
}

bool within(const AbortScope& scope, uint16_t lun) {
  return scope.all_luns || scope.lun == lun;
}

}  // namespace

void Session::on_task_management(const Pdu& pdu, ConstBytes) {
  const auto& bhs = *view<TaskManagementRequestBhs>(bytes_of(*pdu.bhs));
  const uint32_t tag = bhs.initiator_task_tag.get();
  if (tag == kReservedTag) {
    reject(*pdu.bhs, RejectReason::invalid_pdu_field);
    return;
  }
  ++arrivals_;
  const auto function = static_cast<Function>(bhs.function & TaskManagementRequestBhs::kFunctionMask);
  if (function == Function::task_reassign) {
    // RFC 7143 §11.6.1: error recovery level 2 only.
    answer_management(tag, Outcome::task_allegiance_reassignment_not_supported);
    return;
  }
  const FunctionRow* row = find_function(function, parameters_.protocol_level);
  if (row == nullptr || row->reach == FunctionRow::Reach::unsupported) {
    answer_management(tag, Outcome::function_not_supported);
    return;
  }
  const uint16_t lun = scsi::decode_lun(bhs.lun.get());
  if (row->names_lun && nexus_->find(lun) == nullptr) {
    answer_management(tag, Outcome::lun_does_not_exist);
    return;
  }
  if (row->reach == FunctionRow::Reach::query) {
    answer_management(tag, query(bhs, function));
    return;
  }
  if (managements_pending_ == kManagementPendingMax) {
    answer_management(tag, Outcome::function_rejected);
    return;
  }
  const AbortScope scope{row->all_luns, row->all_luns ? uint16_t{0} : lun};
  switch (row->reach) {
    case FunctionRow::Reach::one_task:
      abort_one(bhs);
      return;
    case FunctionRow::Reach::this_session:
      begin_management(bhs, function, Management::Stage::waits_for_tasks, scope, {});
      abort_tasks(scope);
      check_management();
      return;
    default:
      begin_management(bhs, function, Management::Stage::for_worker, scope, {});
      return;
  }
}

void Session::abort_one(const TaskManagementRequestBhs& bhs) {
  Task* task = find_task(bhs.referenced_task_tag.get());
  if (task != nullptr && task->lun_field == bhs.lun.get()) {
    // RFC 7143 §11.5.1: no answer of the task follows that of the function, so an executing one is waited
    // for.
    begin_management(bhs, Function::abort_task, Management::Stage::waits_for_tasks, {},
                     resources_.tasks.id_of(*task));
    abort(*task);
    check_management();
    return;
  }
  // RFC 7143 §11.6.1: a command that has not come yet although its number is in the window and before that of
  // this request was lost with a Reject: it MUST be considered received. Otherwise there is no such task: it
  // was answered before.
  const uint32_t ref = bhs.ref_cmd_sn.get();
  const bool lost = window_.contains(ref) && serial_before(ref, bhs.cmd_sn.get());
  if (lost && ref == window_.exp_cmd_sn()) window_.advance();
  answer_management(bhs.initiator_task_tag.get(),
                    lost ? Outcome::function_complete : Outcome::task_does_not_exist);
}

Outcome Session::query(const TaskManagementRequestBhs& bhs, Function function) {
  const uint16_t lun = scsi::decode_lun(bhs.lun.get());
  bool found = false;
  if (function == Function::query_task) {
    const Task* task = find_task(bhs.referenced_task_tag.get());
    found = task != nullptr && task->lun_field == bhs.lun.get();
  } else if (function == Function::query_task_set) {
    for (Task* task = tasks_.front(); task != nullptr && !found; task = tasks_.next(*task)) {
      found = task->lun == lun && !task->answered && !task->aborted;
    }
  } else {
    found = nexus_->pending(lun);
  }
  return found ? Outcome::function_succeeded : Outcome::function_complete;
}

bool Session::task_is_executing(const Task& task) {
  if (task.state == TaskState::executing) return true;
  return task.state == TaskState::ready && !static_cast<const ListLink<ReadyTag>&>(task).linked();
}

void Session::abort(Task& task) {
  if (task.answered || task.aborted) return;  // its answer is on its way, before that of the function
  if (task_is_executing(task) || &task == segment_task_ || task.pdus_outstanding > 0) {
    // Its memory is still written to or sent from: it goes when that has ended.
    task.aborted = true;
    if (static_cast<ListLink<MemoryTag>&>(task).linked()) resources_.waiting.remove(task);
    return;
  }
  release(task);
}

uint32_t Session::abort_tasks(const AbortScope& scope) {
  // A function of this session that the worker is carrying out concerns no command that came behind it.
  uint64_t arrival_end = UINT64_MAX;
  for (const Management& management : managements_) {
    const bool ours = management.stage == Management::Stage::with_worker &&
                      (management.scope.all_luns == scope.all_luns) &&
                      (scope.all_luns || management.scope.lun == scope.lun);
    if (ours && management.arrival < arrival_end) arrival_end = management.arrival;
  }
  uint32_t ended = 0;
  for (Task* task = tasks_.front(); task != nullptr;) {
    Task* following = tasks_.next(*task);
    if (within(scope, task->lun) && task->arrival < arrival_end) {
      ++ended;
      abort(*task);
    }
    task = following;
  }
  return ended;
}

void Session::end_tasks_of(const scsi::LogicalUnit& lu, const scsi::Done& done) {
  for (Task* task = tasks_.front(); task != nullptr;) {
    Task* following = tasks_.next(*task);
    if (task->command.lu == &lu && task->state != TaskState::responding && !task_is_executing(*task)) {
      task->command.lu = nullptr;
      if (!task->aborted) end_without_unit(*task, done);
    }
    task = following;
  }
}

void Session::end_without_unit(Task& task, const scsi::Done& done) {
  if (static_cast<ListLink<ReadyTag>&>(task).linked()) resources_.ready.remove(task);
  if (task.failed) return;  // it has its end, and waits for the rest of its data
  if (&task == segment_task_) {
    // The kernel may be writing into its memory: on_data() goes on.
    if (static_cast<ListLink<MemoryTag>&>(task).linked()) resources_.waiting.remove(task);
    task.failed = true;
    task.result = done;
    task.state = TaskState::discarding;
    return;
  }
  fail(task, done);
  finish_failed(task);
}

uint32_t Session::aborted_executing(const AbortScope& scope) const {
  uint32_t count = 0;
  for (Task* task = tasks_.front(); task != nullptr; task = tasks_.next(*task)) {
    if (task->aborted && within(scope, task->lun) && task_is_executing(*task)) ++count;
  }
  return count;
}

void Session::end_all_tasks() {
  for (Task* task = tasks_.front(); task != nullptr;) {
    Task* following = tasks_.next(*task);
    abort(*task);
    task = following;
  }
}

void Session::begin_management(const TaskManagementRequestBhs& bhs, Function function,
                               Management::Stage stage, const AbortScope& scope, SlotId task) {
  for (Management& management : managements_) {
    if (management.stage != Management::Stage::unused) continue;
    management = {stage, function, bhs.initiator_task_tag.get(), scope, task, arrivals_};
    ++managements_pending_;
    return;
  }
}

void Session::check_management() {
  if (managements_pending_ == 0) return;
  for (Management& management : managements_) {
    if (management.stage != Management::Stage::waits_for_tasks) continue;
    if (management.function == Function::abort_task) {
      const Task* task = resources_.tasks.find(management.task);
      if (task != nullptr && task_is_executing(*task)) continue;
    } else if (aborted_executing(management.scope) > 0) {
      continue;
    }
    management.stage = Management::Stage::unused;
    --managements_pending_;
    answer_management(management.initiator_task_tag, Outcome::function_complete);
  }
}

std::optional<ManagementRequest> Session::next_management() {
  Management* oldest = nullptr;
  for (Management& management : managements_) {
    if (management.stage != Management::Stage::for_worker) continue;
    if (oldest == nullptr || management.arrival < oldest->arrival) oldest = &management;
  }
  if (oldest == nullptr) return std::nullopt;
  oldest->stage = Management::Stage::with_worker;
  return ManagementRequest{oldest->function, oldest->scope.lun, oldest->initiator_task_tag};
}

void Session::on_management_done(const ManagementRequest& request, Outcome outcome) {
  for (Management& management : managements_) {
    if (management.stage != Management::Stage::with_worker ||
        management.initiator_task_tag != request.initiator_task_tag) {
      continue;
    }
    management.stage = Management::Stage::unused;
    --managements_pending_;
    answer_management(management.initiator_task_tag, outcome);
    // RFC 7143 §11.5.1: TARGET COLD RESET ends every connection.
    if (management.function == Function::target_cold_reset && outcome == Outcome::function_complete &&
        ending_ == Ending::open) {
      ending_ = Ending::after_send;
    }
    return;
  }
}

void Session::answer_management(uint32_t initiator_task_tag, Outcome outcome) {
  OutPdu* pdu = acquire_pdu();
  if (pdu == nullptr) {
    // The initiator waits for this one: without it the session is of no use to it.
    ending_ = Ending::at_once;
    return;
  }
  TaskManagementResponseBhs& header = begin_pdu<TaskManagementResponseBhs>(*pdu);
  header.flags = 0x80;
  header.response = static_cast<uint8_t>(outcome);
  header.initiator_task_tag.set(initiator_task_tag);
  number(header, true);
  queue(*pdu);
}

}  // namespace itgtd::iscsi
