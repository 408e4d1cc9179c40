// Targets that move between nodes: what a worker keeps, drops and says when their group is held, muted or
// ended, and when this node has no lease.
#include <algorithm>

#include "base/clock.h"
#include "target/worker.h"

namespace itgtd::target {

// --- What is in force
// ------------------------------------------------------------------------------------------------------

void Worker::look_at_lease() {
  // The lease first, then the clock: see Groups::set_lease.
  const int64_t until = lease_->load(std::memory_order_relaxed);
  const bool lapsed = boot_time_ms() >= until;
  if (lapsed == lapsed_) return;
  lapsed_ = lapsed;
  for (auto& [key, target] : targets_) govern(*target);
}

void Worker::hold_unit(WorkerLun& lun, bool on) {
  lun.holds += on ? 1U : UINT32_MAX;
  lun.barriers += on ? 1U : UINT32_MAX;
}

void Worker::govern(Target& target) {
  if (!target.grouped) return;
  const bool mute = target.mute || lapsed_;
  const bool hold = target.hold || mute;
  if (hold != target.holding) {
    target.holding = hold;
    for (scsi::LogicalUnit* unit : target.luns.units) {
      if (unit != nullptr) hold_unit(*static_cast<WorkerLun*>(unit), hold);
    }
  }
  if (mute == target.muting) return;
  target.muting = mute;
  muting_ += mute ? 1U : UINT32_MAX;
  for (Connection* c = target.connections.front(); c != nullptr; c = target.connections.next(*c)) {
    c->set_muted(mute, now_);
    touch(*c);
  }
}

void Worker::on_message(SetLease& message) {
  lease_ = message.lease;
  steps_waiting_.reserve(kTasksPerWorker);
  look_at_lease();
}

void Worker::on_message(LeaseRenewed&) {
  // It woke the worker, which looks at the lease in every turn.
  look_at_lease();
}

void Worker::on_message(GovernTarget& message) {
  const auto found = targets_.find(message.target);
  if (found == targets_.end()) return;
  // Suspended in the middle of a hand-over, it is drained and announced all the same; one that stays is not.
  if (!message.hold) end_errands(message.target);
  found->second->hold = message.hold;
  found->second->mute = message.mute;
  govern(*found->second);
}

// --- Commands that have begun
// ----------------------------------------------------------------------------------------------

/// By the target that it was sent to: all units that it may touch are there.
bool Worker::is_muted(const iscsi::Task& task) {
  const Key key = task.session != nullptr
                      ? static_cast<ConnectionSession*>(task.session)->connection->target()
                      : static_cast<WorkerLun*>(task.command.lu)->target;
  const auto target = targets_.find(key);
  return target != targets_.end() && target->second->muting && !task.aborted;
}

/// run_completed() while a target is muted.
bool Worker::run_completed_of_others() {
  bool progress = false;
  while (backend::BackendOp* op = completed_.pop_front()) {
    progress = true;
    iscsi::Task* task = tasks_.find(op->op.slot);
    ITGTD_ASSERT(task != nullptr);
    if (task->session == nullptr) {
      detached_ops_.push_back(op);
    } else if (task->aborted) {
      finish(*task, scsi::good());
    } else {
      resume(*task, op->result);
    }
  }
  return progress;
}

/// Those whose target is not muted any more, and those that were ended meanwhile.
void Worker::continue_waiting() {
  const size_t count = steps_waiting_.size();
  size_t kept = 0;
  // Those that go on may add others behind these.
  for (size_t i = 0; i < count; ++i) {
    const Waiting step = steps_waiting_[i];
    iscsi::Task* task = tasks_.find(step.task);
    ITGTD_ASSERT(task != nullptr);  // executing: nobody may release it
    if (is_muted(*task)) {
      steps_waiting_[kept++] = step;
    } else if (task->aborted) {
      finish(*task, scsi::good());
    } else {
      resume(*task, step.result);
    }
  }
  const auto begin = steps_waiting_.begin();
  steps_waiting_.erase(begin + static_cast<std::ptrdiff_t>(kept), begin + static_cast<std::ptrdiff_t>(count));
}

// --- Drain, announce, end
// --------------------------------------------------------------------------------------------------

void Worker::on_message(DrainTarget& message) {
  errands_.push_back({Errand::Kind::drain, message.change, message.target});
}

void Worker::on_message(AnnounceTarget& message) {
  if (const auto found = targets_.find(message.target); found != targets_.end()) {
    auto& connections = found->second->connections;
    for (Connection* c = connections.front(); c != nullptr; c = connections.next(*c)) {
      c->announce_end();
      touch(*c);
    }
  }
  errands_.push_back({Errand::Kind::announce, message.change, message.target});
}

void Worker::on_message(EndTarget& message) {
  end_errands(message.target);
  if (const auto found = targets_.find(message.target); found != targets_.end()) {
    auto& connections = found->second->connections;
    for (Connection* c = connections.front(); c != nullptr; c = connections.next(*c)) {
      c->end_silently();
      touch(*c);
    }
    // What has not begun need not be waited for.
    for (uint32_t i = 0; i < tasks_.capacity(); ++i) {
      const iscsi::Task* task = tasks_.tenant(i);
      if (task == nullptr || task->state != iscsi::TaskState::executing || task->command.lu == nullptr)
        continue;
      const auto* lun = static_cast<const WorkerLun*>(task->command.lu);
      if (lun->target == message.target && lun->backend != nullptr) lun->backend->cancel(ops_[i]);
    }
  }
  errands_.push_back({Errand::Kind::end, message.change, message.target});
}

/// A target that is governed otherwise, ended or removed: nobody waits for them any more, but for its end.
void Worker::end_errands(Key target) {
  std::erase_if(errands_, [&](const Errand& errand) {
    if (errand.target != target || errand.kind == Errand::Kind::end) return false;
    taken(errand.change);
    return true;
  });
}

bool Worker::is_announcing() const {
  return std::ranges::find(errands_, Errand::Kind::announce, &Errand::kind) != errands_.end();
}

bool Worker::is_drained(Target& target) {
  for (Connection* c = target.connections.front(); c != nullptr; c = target.connections.next(*c)) {
    if (c->session()->executing() != 0) return false;
  }
  return true;
}

bool Worker::is_announced(Target& target) {
  for (Connection* c = target.connections.front(); c != nullptr; c = target.connections.next(*c)) {
    if (!c->announcement_sent()) return false;
  }
  return true;
}

void Worker::check_errands() {
  std::erase_if(errands_, [this](const Errand& errand) {
    const auto found = targets_.find(errand.target);
    if (found != targets_.end()) {
      Target& target = *found->second;
      switch (errand.kind) {
        case Errand::Kind::drain:
          if (!is_drained(target)) return false;
          break;
        case Errand::Kind::announce:
          if (!is_announced(target)) return false;
          break;
        case Errand::Kind::end:
          if (!target.connections.empty()) return false;
          break;
      }
    }
    taken(errand.change);
    return true;
  });
}

}  // namespace itgtd::target
