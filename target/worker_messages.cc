// What a worker does with what the control thread tells it.
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "net/socket.h"
#include "target/worker.h"

namespace itgtd::target {

void Worker::read_mailbox() {
  for (WorkerMessage& message : inbox_.drain()) {
    std::visit([this](auto& content) { on_message(content); }, message);
  }
  ring_->poll_readable({net::OpKind::mailbox, {}}, inbox_.fd());
}

void Worker::taken(Key change) {
  if (change != 0) control_.post(Taken{change, options_.index});
}

// --- Listeners and connections
// -----------------------------------------------------------------------------------

void Worker::on_message(AddListener& message) {
  if (stopping_) {
    ring_->close({net::OpKind::close, {}}, message.fd);
    return;
  }
  // Places of listeners that went are not reused: a late completion must not meet another tenant.
  auto& listener = *listeners_.emplace_back(std::make_unique<Listener>());
  listener.key = message.listener;
  listener.fd = message.fd;
  arm_accept(listener);
}

void Worker::on_message(RemoveListener& message) {
  for (const auto& listener : listeners_) {
    if (listener->key != message.listener || listener->fd < 0) continue;
    timers_.disarm(*listener);
    const auto index = static_cast<uint32_t>(&listener - listeners_.data());
    ring_->cancel({net::OpKind::accept, {index, 0}});
    ring_->close({net::OpKind::close, {}}, listener->fd);
    listener->fd = -1;
  }
}

void Worker::on_message(AdoptConnection& message) {
  ConnectionSlot* holder = stopping_ ? nullptr : connections_.acquire();
  const auto peer = net::peer_address(message.fd);
  const auto local = net::local_address(message.fd);
  if (holder == nullptr || !peer || !local) {
    if (holder != nullptr) connections_.release(*holder);
    ring_->close({net::OpKind::close, {}}, message.fd);
    control_.post(ConnectionClosed{{options_.index, {}}, true});
    return;
  }
  net::tune_connection(message.fd);
  holder->connection = std::make_unique<Connection>(
      context_,
      Connection::Start{message.fd, message.listener, connections_.id_of(*holder), peer.value(),
                        local.value()},
      now_);
  touch(*holder->connection);
}

void Worker::on_message(SessionOpened& message) {
  Connection* connection = find_connection(message.connection);
  const auto target = targets_.find(message.target);
  if (connection == nullptr || connection->state() != Connection::State::opening) {
    // The initiator went while the registry was asked.
    control_.post(SessionClosed{{options_.index, message.connection}, message.nexus, false});
    return;
  }
  if (message.target != 0 && target == targets_.end()) {
    connection->on_session_refused(iscsi::LoginStatus::target_removed);
    control_.post(SessionClosed{{options_.index, message.connection}, message.nexus, false});
  } else {
    const scsi::LunMap* luns = message.target == 0 ? nullptr : &target->second->luns;
    connection->on_session_opened(message.target, luns, message.nexus, message.tsih, now_);
    // Without memory for the answer there is no session: it is closing, and says so when it ends.
    if (luns != nullptr && connection->session() != nullptr) {
      target->second->connections.push_back(*connection);
      for (const auto& [lun, asc] : message.unit_attentions) connection->session()->nexus()->raise(lun, asc);
      if (target->second->muting) connection->set_muted(true, now_);
    }
  }
  touch(*connection);
}

void Worker::on_message(SessionRefused& message) {
  Connection* connection = find_connection(message.connection);
  if (connection == nullptr || connection->state() != Connection::State::opening) return;
  connection->on_session_refused(static_cast<iscsi::LoginStatus>(message.login_status));
  touch(*connection);
}

void Worker::on_message(CloseSession& message) {
  Connection* connection = find_connection(message.connection);
  if (connection == nullptr) return;  // its SessionClosed is on the way
  if (message.announce) {
    connection->close_announced(message.reason);
  } else {
    connection->close(message.reason);
  }
  touch(*connection);
}

void Worker::on_message(SetDirectory& message) {
  context_.directory = message.directory;
  for (uint32_t i = 0; i < connections_.capacity(); ++i) {
    ConnectionSlot* holder = connections_.tenant(i);
    ConnectionSession* session = holder == nullptr ? nullptr : holder->connection->session();
    if (session != nullptr) session->set_directory(message.directory);
  }
  taken(message.change);
}

void Worker::on_message(Quit&) {
  quit_ = true;
}

void Worker::on_message(Stop&) {
  stopping_ = true;
  abandon_detached(nullptr);
  stop_deadline_ = now_ + kDrainTime;
  for (const auto& listener : listeners_) {
    RemoveListener remove{listener->key};
    on_message(remove);
  }
  for (uint32_t i = 0; i < connections_.capacity(); ++i) {
    ConnectionSlot* holder = connections_.tenant(i);
    if (holder == nullptr) continue;
    holder->connection->drain();
    touch(*holder->connection);
  }
}

// --- Targets and logical units
// -------------------------------------------------------------------------------------

void Worker::on_message(AddTarget& message) {
  auto target = std::make_unique<Target>();
  target->key = message.target;
  target->name = message.name;
  target->grouped = message.grouped;
  target->hold = message.hold;
  target->mute = message.mute;
  govern(*target);
  targets_.emplace(message.target, std::move(target));
  taken(message.change);
}

void Worker::on_message(RemoveTarget& message) {
  const auto found = targets_.find(message.target);
  ITGTD_ASSERT(found != targets_.end() && found->second->connections.empty());
  end_errands(message.target);
  if (found->second->muting) --muting_;
  targets_.erase(found);
  taken(message.change);
}

void Worker::on_message(AddLun& message) {
  auto lun = std::make_unique<WorkerLun>();
  lun->identity = message.identity;
  lun->geometry = message.geometry;
  lun->removable = message.removable;
  lun->read_only = message.read_only;
  lun->lun = message.lun;
  lun->key = message.lun_key;
  lun->statistics = message.statistics;
  lun->counts = &lun->statistics->of_worker.at(options_.index);
  lun->target = message.target;
  set_state(*lun, message.state);
  lun->medium = message.medium;
  if (lun->medium) lun->backend = lun->medium->make_backend(*ring_, completed_);
  Target& target = *targets_.at(message.target);
  target.luns.units[message.lun] = lun.get();
  // A claim from a worker that had this message first.
  for (const BlockHold& hold : block_holds_) {
    for (const scsi::ClaimedRange& range : std::span(hold.turn.ranges.ranges).first(hold.turn.ranges.count)) {
      if (range.lu_key == lun->key) ++lun->holds;
    }
  }
  if (target.holding) hold_unit(*lun, true);
  luns_.emplace(message.lun_key, std::move(lun));
  if (message.announce) {
    // To those who are here already it is as new as to those who come.
    const WorkerLun& added = *luns_.at(message.lun_key);
    raise(added, {{scsi::UnitAttentionRaise::Scope::all, 0, scsi::Asc::power_on_or_reset_occurred, {}}});
    announce_luns(target);
  }
  taken(message.change);
}

void Worker::on_message(AttachMedium& message) {
  if (const auto found = luns_.find(message.lun_key); found != luns_.end()) {
    WorkerLun& lun = *found->second;
    lun.geometry = message.geometry;
    lun.medium = message.medium;
    lun.backend = lun.medium->make_backend(*ring_, completed_);
  }
  taken(message.change);
}

void Worker::on_message(RemoveLun& message) {
  WorkerLun& lun = *luns_.at(message.lun_key);
  Target& target = *targets_.at(lun.target);
  target.luns.units[lun.lun] = nullptr;
  for (Connection* c = target.connections.front(); c != nullptr; c = target.connections.next(*c)) {
    c->session()->nexus()->clear(lun.lun);
    // An initiator that does not send the data of a write must not keep it for ever.
    c->session()->end_tasks_of(lun, scsi::check_condition(scsi::sense::logical_unit_not_supported()));
    touch(*c);
  }
  abandon_detached(&lun);
  announce_luns(target);
  removals_.push_back({message.change, message.lun_key});
  check_removals();
}

/// SPC-4 §6.33: what REPORT LUNS says has changed; each logical unit of the target says so once to each
/// nexus.
void Worker::announce_luns(Target& target) {
  for (Connection* c = target.connections.front(); c != nullptr; c = target.connections.next(*c)) {
    for (const scsi::LogicalUnit* lun : target.luns.units) {
      if (lun != nullptr) c->session()->nexus()->raise(lun->lun, scsi::Asc::reported_luns_data_has_changed);
    }
  }
}

bool Worker::in_use(const WorkerLun& lun) {
  for (uint32_t i = 0; i < tasks_.capacity(); ++i) {
    const iscsi::Task* task = tasks_.tenant(i);
    if (task != nullptr && task->command.lu == &lun && task->state != iscsi::TaskState::responding)
      return true;
  }
  return false;
}

/// Answers that still wait to be sent outlive the logical unit that they are from.
void Worker::forget(const WorkerLun& lun) {
  for (uint32_t i = 0; i < tasks_.capacity(); ++i) {
    iscsi::Task* task = tasks_.tenant(i);
    if (task != nullptr && task->command.lu == &lun) task->command.lu = nullptr;
  }
}

void Worker::check_removals() {
  std::erase_if(removals_, [this](const Removal& removal) {
    const WorkerLun& lun = *luns_.at(removal.lun_key);
    if (in_use(lun)) return false;
    forget(lun);
    luns_.erase(removal.lun_key);
    taken(removal.change);
    return true;
  });
}

void Worker::raise(const WorkerLun& lun, const std::vector<scsi::UnitAttentionRaise>& raises) {
  using Scope = scsi::UnitAttentionRaise::Scope;
  Target& target = *targets_.at(lun.target);
  for (Connection* c = target.connections.front(); c != nullptr; c = target.connections.next(*c)) {
    scsi::Nexus& nexus = *c->session()->nexus();
    for (const scsi::UnitAttentionRaise& one : raises) {
      const bool same = one.scope == Scope::port ? nexus.port() == one.port : nexus.id() == one.nexus;
      if (one.scope == Scope::all || same != (one.scope == Scope::all_but)) nexus.raise(lun.lun, one.asc);
    }
  }
}

void Worker::on_message(SettleConnections& message) {
  settling_.push_back(message);
}

/// At the end of a turn: what the kernel had said of a peer before the message came has been looked at.
void Worker::check_settled() {
  std::erase_if(settling_, [this](const SettleConnections& message) {
    if (const auto target = targets_.find(message.target); target != targets_.end()) {
      auto& connections = target->second->connections;
      for (Connection* c = connections.front(); c != nullptr; c = connections.next(*c)) {
        const bool ending = c->state() == Connection::State::closing && c->session()->executing() == 0;
        if (ending) return false;
      }
    }
    taken(message.change);
    return true;
  });
}

void Worker::on_message(PublishState& message) {
  // A logical unit that was removed meanwhile has nobody left to tell.
  if (const auto found = luns_.find(message.lun_key); found != luns_.end()) {
    if (message.state) set_state(*found->second, message.state);
    if (!message.unit_attentions.empty()) raise(*found->second, message.unit_attentions);
  }
  taken(message.change);
}

void Worker::on_message(CommandDecided& message) {
  iscsi::Task* task = tasks_.find(message.task);
  ITGTD_ASSERT(task != nullptr);  // executing: nobody may release it
  using scsi::AfterUpdate;
  if (message.after == AfterUpdate::detach || message.after == AfterUpdate::detach_and_wait) {
    // Aborted or not: the state says already that the work goes on.
    const bool wait = message.after == AfterUpdate::detach_and_wait && !task->aborted;
    detach(*task, wait);
    if (wait) return;
  } else if (message.after == AfterUpdate::resume && !task->aborted) {
    resume(*task);
    return;
  }
  if (!message.data_in.empty()) {
    const size_t bytes = std::min(message.data_in.size(), task->command.data.size());
    std::copy_n(message.data_in.begin(), bytes, task->command.data.begin());
    message.done.data_in_bytes = static_cast<uint32_t>(bytes);
  }
  finish(*task, message.done);
}

// --- Task management
// -----------------------------------------------------------------------------------------------

std::vector<Key> Worker::hold_units(const Hold& hold) {
  std::vector<Key> held;
  const auto target = targets_.find(hold.target);
  if (hold.only_nexus || !hold.only_ports.empty() || target == targets_.end()) return held;
  for (scsi::LogicalUnit* unit : target->second->luns.units) {
    if (unit == nullptr || (!hold.all_luns && unit->lun != hold.lun)) continue;
    auto* lun = static_cast<WorkerLun*>(unit);
    ++lun->holds;
    ++lun->barriers;
    held.push_back(unit->key);
  }
  return held;
}

bool Worker::concerns(const Hold& hold, const scsi::Nexus& nexus) {
  if (hold.only_nexus) return nexus.id() == hold.nexus;
  if (hold.only_ports.empty()) return true;
  // Who asked for it waits for its own command.
  return nexus.id() != hold.nexus &&
         std::ranges::find(hold.only_ports, nexus.port()) != hold.only_ports.end();
}

void Worker::on_message(Hold& message) {
  std::vector<Key> held = hold_units(message);
  const auto target = targets_.find(message.target);
  if (target != targets_.end()) {
    const iscsi::AbortScope scope{message.all_luns, message.lun};
    auto& connections = target->second->connections;
    for (Connection* c = connections.front(); c != nullptr; c = connections.next(*c)) {
      ConnectionSession& session = *c->session();
      if (!concerns(message, *session.nexus())) continue;
      const bool lost_commands = session.abort_tasks(scope) != 0;
      // SAM-5 §5.14: a nexus whose commands another one has cleared is told.
      if (lost_commands && message.tell_others != scsi::Asc::none && session.nexus()->id() != message.nexus) {
        session.nexus()->raise(message.lun, message.tell_others);
      }
      touch(*c);
    }
  }
  barriers_.push_back({std::move(message), false, std::move(held)});
}

void Worker::check_barriers() {
  for (Barrier& barrier : barriers_) {
    if (barrier.reported) continue;
    uint32_t executing = 0;
    if (const auto target = targets_.find(barrier.hold.target); target != targets_.end()) {
      auto& connections = target->second->connections;
      for (Connection* c = connections.front(); c != nullptr; c = connections.next(*c)) {
        if (!concerns(barrier.hold, *c->session()->nexus())) continue;
        executing += c->session()->aborted_executing({barrier.hold.all_luns, barrier.hold.lun});
      }
    }
    if (executing != 0) continue;
    barrier.reported = true;
    taken(barrier.hold.change);
  }
}

void Worker::on_message(Lift& message) {
  std::erase_if(barriers_, [&](const Barrier& barrier) {
    if (barrier.hold.barrier != message.barrier) return false;
    for (const Key key : barrier.held) {
      const auto lun = luns_.find(key);
      if (lun == luns_.end()) continue;
      --lun->second->holds;
      --lun->second->barriers;
    }
    return true;
  });
}

void Worker::on_message(ManagementDone& message) {
  Connection* connection = find_connection(message.connection.slot);
  if (connection == nullptr || connection->session() == nullptr) return;  // its owner has gone: nobody waits
  connection->session()->on_management_done(message.request, message.outcome);
  touch(*connection);
}

}  // namespace itgtd::target
