// Commands that are more than one transfer for whoever looks on: claims of blocks, which exclude other
// commands on all workers, and commands that go on without their initiator.
#include <algorithm>

#include "scsi/dispatch.h"
#include "scsi/rod_tokens.h"
#include "target/worker.h"

namespace itgtd::target {
namespace {

constexpr WorkerIndex kTableWorker = 0;

// Values of Task::claim that no ClaimTable counts up to.
constexpr uint64_t kAskedMark = UINT64_MAX - 1;  ///< has asked for a claim and not got it yet
constexpr uint64_t kDetachedMark = UINT64_MAX;   ///< goes on without its initiator

using scsi::ClaimedRange;

/// The blocks that the command may touch, as far as its row tells.
ClaimedRange footprint(const scsi::Command& command) {
  if ((command.entry->flags & scsi::kOneRange) != 0) {
    return {command.lu->key, command.lba, command.blocks_left};
  }
  return {command.lu->key, 0, UINT64_MAX};
}

/// Whether a claim of others concerns the command at all: it has Io, and not under claims of its own.
bool minds_claims(const scsi::Command& command) {
  return command.entry->resume != nullptr && (command.entry->flags & scsi::kClaims) == 0;
}

}  // namespace

// --- Messages to workers, this one included
// --------------------------------------------------------------------------------

void Worker::post(WorkerIndex to, WorkerMessage message) {
  if (to == options_.index) {
    // Through a queue and not by a call: what it leads to may end the task that is being worked on.
    local_.push_back(std::move(message));
  } else {
    workers_.at(to)->post(std::move(message));
  }
}

bool Worker::run_local_messages() {
  if (local_.empty()) return false;
  for (WorkerMessage& message : std::exchange(local_, {})) {
    std::visit([this](auto& content) { on_message(content); }, message);
  }
  return true;
}

// --- The table, in the first worker
// ----------------------------------------------------------------------------------------

void Worker::carry_out(const ClaimTable::Actions& actions) {
  for (WorkerIndex worker = 0; worker < workers_.size(); ++worker) {
    for (const ClaimId claim : actions.lift) post(worker, LiftBlocks{claim});
    for (const ClaimTable::Turn& turn : actions.hold) post(worker, HoldBlocks{turn});
  }
  for (const ClaimTable::Grant& grant : actions.granted) {
    post(grant.owner.worker, ClaimGranted{grant.owner.task, grant.claim});
  }
}

void Worker::on_message(RequestClaim& message) {
  carry_out(claims_->request(message.owner, message.ranges));
}

void Worker::on_message(ReleaseClaim& message) {
  carry_out(claims_->release(message.claim));
}

void Worker::on_message(BlocksQuiet& message) {
  carry_out(claims_->on_quiet(message.claim));
}

// --- Holding blocks, in every worker
// ---------------------------------------------------------------------------------------

void Worker::count_hold(const scsi::Claim& ranges, bool on) {
  for (const ClaimedRange& range : std::span(ranges.ranges).first(ranges.count)) {
    const auto lun = luns_.find(range.lu_key);
    if (lun != luns_.end()) lun->second->holds += on ? 1U : UINT32_MAX;
  }
}

void Worker::on_message(HoldBlocks& message) {
  count_hold(message.turn.ranges, true);
  block_holds_.push_back({message.turn, false});
  check_block_holds();
}

void Worker::on_message(LiftBlocks& message) {
  std::erase_if(block_holds_, [&](const BlockHold& hold) {
    if (hold.turn.claim != message.claim) return false;
    count_hold(hold.turn.ranges, false);
    return true;
  });
}

void Worker::check_block_holds() {
  for (BlockHold& hold : block_holds_) {
    if (hold.reported || !is_quiet(hold.turn.ranges)) continue;
    hold.reported = true;
    post(kTableWorker, BlocksQuiet{hold.turn.claim});
  }
}

bool Worker::is_quiet(const scsi::Claim& ranges) {
  uint32_t left = tasks_.used();
  for (uint32_t i = 0; left > 0; ++i) {
    const iscsi::Task* task = tasks_.tenant(i);
    if (task == nullptr) continue;
    --left;
    // Of a detached one its unit's condition keeps everybody away.
    if (task->state != iscsi::TaskState::executing || task->session == nullptr) continue;
    const scsi::Command& command = task->command;
    if (command.lu == nullptr || !minds_claims(command)) continue;
    ClaimedRange touched{command.lu->key, 0, UINT64_MAX};
    if ((command.entry->flags & scsi::kOneRange) != 0) {
      // What it was admitted with has moved on; its one Io says where it is.
      const uint64_t block_bytes = command.lu->geometry.block_bytes;
      const scsi::Io& io = ops_[i].io;
      touched = {command.lu->key, io.offset_bytes / block_bytes, io.length_bytes / block_bytes};
    }
    if (overlap(ranges, touched)) return false;
  }
  return true;
}

bool Worker::waits_for_blocks(const iscsi::Task& task) const {
  if (block_holds_.empty() || !minds_claims(task.command)) return false;
  const ClaimedRange wanted = footprint(task.command);
  return std::ranges::any_of(block_holds_,
                             [&](const BlockHold& hold) { return overlap(hold.turn.ranges, wanted); });
}

bool Worker::is_held(const iscsi::Task& task, WorkerLun& lun) {
  return lun.barriers != 0 || waits_for_blocks(task) || breaks_tokens(task, lun);
}

bool Worker::breaks_tokens(const iscsi::Task& task, WorkerLun& lun) {
  constexpr unsigned kKinds = scsi::kWritesMedium | scsi::kClaims;
  // Who claims looks for tokens when it has its blocks: one may be made while it waits for them.
  if (lun.state->tokens == nullptr || (task.command.entry->flags & kKinds) != scsi::kWritesMedium)
    return false;
  const ClaimedRange written = footprint(task.command);
  if (!scsi::overlaps_token(*lun.state, written.lba, written.blocks)) return false;
  if (!std::exchange(lun.tokens_breaking, true)) {
    control_.post(BreakTokens{lun.key, written.lba, written.blocks});
  }
  return true;
}

void Worker::set_state(WorkerLun& lun, std::shared_ptr<const scsi::LuState> state) {
  const bool had_tokens = lun.state != nullptr && lun.state->tokens != nullptr;
  const bool was_ready = lun.state != nullptr && lun.state->condition == scsi::LuCondition::ready;
  lun.state = std::move(state);
  const scsi::LuCondition condition = lun.state->condition;
  if (was_ready &&
      (condition == scsi::LuCondition::formatting || condition == scsi::LuCondition::sanitizing)) {
    end_waiting_tasks(lun);
  }
  const bool has_tokens = lun.state->tokens != nullptr;
  if (has_tokens && !had_tokens) ++lun.holds;
  if (had_tokens && !has_tokens) --lun.holds;
  lun.tokens_breaking = false;  // who still waits asks again
}

/// What was admitted when the unit was ready, and has not begun: its data would come to lie on a medium that
/// is being sanitized.
void Worker::end_waiting_tasks(WorkerLun& lun) {
  const auto target = targets_.find(lun.target);
  if (target == targets_.end()) return;
  const scsi::Done refused = scsi::check_condition(scsi::condition_sense(*lun.state));
  auto& connections = target->second->connections;
  for (Connection* c = connections.front(); c != nullptr; c = connections.next(*c)) {
    c->session()->end_tasks_of(lun, refused);
    touch(*c);
  }
}

// --- Those who claim
// -------------------------------------------------------------------------------------------------------

void Worker::post_claim(iscsi::Task& task, const scsi::Claim& claim) {
  ITGTD_ASSERT(task.claim != kDetachedMark);  // its unit is its own already: see scsi::AfterUpdate::detach
  release_claim(task);
  task.claim = kAskedMark;
  post(kTableWorker, RequestClaim{{options_.index, tasks_.id_of(task)}, claim});
}

void Worker::release_claim(iscsi::Task& task) {
  if (task.claim == 0 || task.claim >= kAskedMark) return;
  post(kTableWorker, ReleaseClaim{std::exchange(task.claim, 0)});
}

void Worker::on_message(ClaimGranted& message) {
  iscsi::Task* task = tasks_.find(message.task);
  ITGTD_ASSERT(task != nullptr && task->claim == kAskedMark);  // executing: nobody may release it
  task->claim = message.claim;
  if (task->aborted) {
    finish(*task, scsi::good());
    return;
  }
  // It may have waited while the unit was reserved, or began to be sanitized.
  const scsi::Command& command = task->command;
  const scsi::CommandEntry& row = *command.entry;
  // A copy asks for both of its units itself.
  if (command.lu != nullptr && command.lu == command.nexus->find(command.lun)) {
    if (const auto refused = scsi::check_unit(*command.nexus, *command.lu, row.reservation, row.flags)) {
      finish(*task, *refused);
      return;
    }
  }
  resume(*task);
}

/// True when nothing is left to be done for the task.
bool Worker::finish_special(iscsi::Task& task, const scsi::Done& done) {
  if (task.claim == kDetachedMark) {
    end_detached(task, done);
    return true;
  }
  release_claim(task);
  return false;
}

// --- Detached commands
// -----------------------------------------------------------------------------------------------------

void Worker::detach(iscsi::Task& task, bool wait) {
  release_claim(task);
  Detached detached;
  detached.command = task.command;
  detached.command.nexus = nullptr;
  detached.command.data = {};
  detached.command.data_out_bytes = 0;
  const Bytes scratch = task.command.scratch;
  detached.scratch.assign(scratch.begin(), scratch.end());
  if (wait) {
    detached.waiting = tasks_.id_of(task);
    task.state = iscsi::TaskState::detached;
  }
  detached_.push_back(std::move(detached));
}

/// The next one that waits for its start. Without a task or memory for it: tried again every turn.
bool Worker::start_detached() {
  const auto next = std::ranges::find(detached_, false, &Detached::started);
  if (next == detached_.end()) return false;
  iscsi::Task* task = tasks_.acquire();
  if (task == nullptr) return false;
  const std::vector<std::byte>& kept = next->scratch;
  const Bytes scratch = kept.empty() ? Bytes{} : memory_.allocate(static_cast<uint32_t>(kept.size()));
  if (scratch.size() < kept.size()) {
    tasks_.release(*task);
    return false;
  }
  std::ranges::copy(kept, scratch.begin());
  task->session = nullptr;
  task->aborted = false;
  task->state = iscsi::TaskState::executing;
  task->claim = kDetachedMark;
  task->command = next->command;
  task->command.scratch = scratch;
  next->task = tasks_.id_of(*task);
  next->started = true;
  resume(*task);
  return true;
}

/// One step of each in a turn: on a medium of memory they would never let go of it.
void Worker::run_detached() {
  for (backend::BackendOp* op : std::exchange(detached_ops_, {})) {
    iscsi::Task* task = tasks_.find(op->op.slot);
    ITGTD_ASSERT(task != nullptr);
    if (task->aborted) {
      finish(*task, scsi::good());
    } else {
      resume(*task, op->result);
    }
  }
}

void Worker::end_detached(iscsi::Task& task, const scsi::Done& done) {
  const SlotId id = tasks_.id_of(task);
  const auto found = std::ranges::find(detached_, id, &Detached::task);
  ITGTD_ASSERT(found != detached_.end() && found->started);
  const SlotId waiting = found->waiting;
  // Given up in the middle: whatever it says, its work was not done.
  const scsi::Done end = task.aborted ? scsi::check_condition(scsi::sense::internal_target_failure()) : done;
  detached_.erase(found);
  if (!task.command.scratch.empty()) memory_.release(std::exchange(task.command.scratch, {}));
  task.claim = 0;
  task.state = iscsi::TaskState::free;
  tasks_.release(task);
  iscsi::Task* initiator = waiting.generation == 0 ? nullptr : tasks_.find(waiting);
  if (initiator != nullptr && initiator->state == iscsi::TaskState::detached) finish(*initiator, end);
}

void Worker::abandon_detached(const WorkerLun* lun) {
  for (const Detached& detached : detached_) {
    if (lun != nullptr && detached.command.lu != lun) continue;
    if (iscsi::Task* task = detached.started ? tasks_.find(detached.task) : nullptr) task->aborted = true;
  }
  std::erase_if(detached_, [&](const Detached& detached) {
    return !detached.started && (lun == nullptr || detached.command.lu == lun);
  });
}

}  // namespace itgtd::target
