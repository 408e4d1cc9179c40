#include "target/worker.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>

#include "base/log.h"
#include "net/socket.h"
#include "scsi/dispatch.h"

namespace itgtd::target {
namespace {

/// The kernel refused a descriptor or memory for a connection: look again after this time.
constexpr std::chrono::milliseconds kAcceptPause{100};

/// How often sockets are looked at whose last bytes have yet to leave: nothing tells of it.
constexpr std::chrono::milliseconds kAnnounceLook{1};

template <typename T>
T& non_null(std::unique_ptr<T>& pointer) {
  ITGTD_ASSERT(pointer != nullptr);
  return *pointer;
}

}  // namespace

Result<std::unique_ptr<Worker>> Worker::create(const WorkerOptions& options,
                                               const std::vector<WorkerMailbox*>& workers,
                                               ControlMailbox& control) {
  static_cast<void>(scsi::all_commands());  // the table is built here, and not by the first command
  auto ring = net::Ring::create({});
  if (!ring) return ring.error();
  void* region =
      mmap(nullptr, kDataBytesPerWorker, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (region == MAP_FAILED) return Error{errno, "no memory for the data buffers of a worker"};
  const Bytes bytes{static_cast<std::byte*>(region), kDataBytesPerWorker};
  if (const auto registered = (*ring)->register_region(bytes); !registered) {
    log::warning("worker {}: data buffers are not registered with the kernel, disk I/O costs more: {}",
                 options.index, registered.error().to_string());
  }
  return std::unique_ptr<Worker>(new Worker(options, workers, control, std::move(*ring), bytes));
}

Worker::Worker(const WorkerOptions& options, const std::vector<WorkerMailbox*>& workers,
               ControlMailbox& control, std::unique_ptr<net::Ring> ring, Bytes region)
    : options_(options),
      workers_(workers),
      inbox_(*workers.at(options.index)),
      control_(control),
      ring_(std::move(ring)),
      memory_(region),
      tasks_(kTasksPerWorker),
      ops_(kTasksPerWorker),
      pdus_(kPdusPerWorker),
      resources_{tasks_, pdus_, memory_, ready_, waiting_},
      context_{*ring_, resources_, std::make_shared<const iscsi::Directory>()},
      connections_(kConnectionsMax),
      timers_(kConnectionsMax + 64),
      now_(now()),
      last_busy_(now_) {
  if (options_.index == 0) claims_ = std::make_unique<ClaimTable>(workers_.size());
}

Worker::~Worker() {
  luns_.clear();  // backends first: they use the ring
  const Bytes region = memory_.region();
  ring_.reset();  // nothing may write into the region once it is gone
  munmap(region.data(), region.size());
}

// --- The turn
// ------------------------------------------------------------------------------------------------------

void Worker::run() {
  std::array<net::Completion, kCompletionsPerTurn> completions;
  ring_->poll_readable({net::OpKind::mailbox, {}}, inbox_.fd());
  while (!quit_) {
    const size_t count = ring_->submit_and_wait(wait_deadline(), completions);
    now_ = now();
    if (count != 0) last_busy_ = now_;
    if (lease_ != nullptr) look_at_lease();
    for (size_t i = 0; i < count; ++i) on_completion(completions[i]);
    run_commands();
    expire_timers();
    pump_connections();
    if (!barriers_.empty()) check_barriers();
    if (!block_holds_.empty()) check_block_holds();
    if (!removals_.empty()) check_removals();
    if (!settling_.empty()) check_settled();
    if (!errands_.empty()) check_errands();
    if (stopping_ && now_ >= stop_deadline_) {
      // What has not finished by now is cut off; the control thread leaves without us if a backend keeps even
      // that from ending.
      close_connections();
      stop_deadline_ = Instant::max();
    }
    if (stopping_ && !stopped_ && connections_.used() == 0 && detached_.empty()) {
      stopped_ = true;
      control_.post(Stopped{options_.index});
    }
  }
}

Instant Worker::wait_deadline() {
  if (!dirty_.empty() || !local_.empty() || !detached_ops_.empty()) return Instant::min();
  if (options_.polling == Polling::always) return Instant::min();
  if (options_.polling == Polling::adaptive && now_ - last_busy_ < kSpinTime) return Instant::min();
  Instant next = timers_.next_deadline();
  if (!errands_.empty() && is_announcing()) next = std::min(next, now_ + kAnnounceLook);
  return stopping_ ? std::min(next, stop_deadline_) : next;
}

/// The one switch over what the kernel finished. What a result means is the owner's business; a late one (its
/// slot has another tenant) is dropped.
///
///   operation   error                          outcome
///   accept      ECONNABORTED EINTR EAGAIN      again; anything else: look again after a pause
///   receive     EINTR EAGAIN                   again; anything else: the connection ends
///   send        EINTR EAGAIN                   again; anything else: the connection ends
///   backend     any                            the backend retries or ends the command with sense data
///   mailbox     any                            again
void Worker::on_completion(const net::Completion& completion) {
  const net::OpId op = completion.op;
  switch (op.kind) {
    case net::OpKind::accept:
      if (op.slot.index < listeners_.size())
        on_accept(non_null(listeners_[op.slot.index]), completion.result);
      return;
    case net::OpKind::receive:
      if (Connection* connection = find_connection(op.slot)) {
        connection->on_received(completion.result, now_);
        touch(*connection);
      }
      return;
    case net::OpKind::send:
      if (Connection* connection = find_connection(op.slot)) {
        connection->on_sent(completion.result, now_);
        touch(*connection);
      }
      return;
    case net::OpKind::shutdown:
      if (Connection* connection = find_connection(op.slot)) {
        connection->on_shut_down();
        touch(*connection);
      }
      return;
    case net::OpKind::backend:
      if (iscsi::Task* task = tasks_.find(op.slot)) {
        WorkerLun& lun = *static_cast<WorkerLun*>(task->command.lu);
        lun.backend->on_completion(ops_[op.slot.index], completion.result);
      }
      return;
    case net::OpKind::mailbox:
      read_mailbox();
      return;
    case net::OpKind::none:
    case net::OpKind::close:
    case net::OpKind::cancel:
      return;
  }
}

void Worker::run_commands() {
  if (!steps_waiting_.empty()) [[unlikely]] {
    continue_waiting();
  }
  run_detached();
  // Backends in memory finish at once, and what they finish makes room for what waits.
  while (run_completed() || run_ready() || run_local_messages() || retry_memory() || start_detached()) {
  }
}

void Worker::expire_timers() {
  while (net::Timer* timer = timers_.pop_expired(now_)) {
    bool is_listener = false;
    for (const auto& listener : listeners_) {
      if (listener.get() == timer) {
        arm_accept(*listener);
        is_listener = true;
      }
    }
    if (is_listener) continue;
    auto& connection = *static_cast<Connection*>(timer);
    connection.on_timer(now_);
    touch(connection);
  }
}

void Worker::pump_connections() {
  // Only what is dirty now: a connection that ends another one touches it for the next turn.
  for (size_t left = dirty_.size(); left > 0; --left) {
    Connection& connection = *dirty_.pop_front();
    if (connection.take_open_request()) request_session(connection);
    if (ConnectionSession* session = connection.session()) {
      while (auto request = session->next_management()) {
        control_.post(Manage{
            {options_.index, connection.slot()}, connection.target(), connection.nexus_id(), *request});
      }
      scsi::Nexus* nexus = session->nexus();
      if (nexus != nullptr && nexus->has_told()) [[unlikely]]
        post_told(connection.target(), *nexus);
    }
    connection.pump(now_);
    if (connection.finished()) {
      destroy(connection);
      continue;
    }
    const Instant deadline = connection.next_deadline();
    if (deadline == Instant::max()) {
      timers_.disarm(connection);
    } else if (!connection.armed() || deadline < connection.deadline()) {
      // A deadline that moved away is found out when the timer fires: moving it with every PDU would cost
      // more.
      timers_.arm(connection, deadline);
    }
  }
}

void Worker::post_told(Key target, scsi::Nexus& nexus) {
  for (const scsi::Nexus::Told& told : nexus.take_told()) {
    control_.post(AttentionTold{target, told.lun, nexus.port(), told.asc, told.generation});
  }
}

// --- Commands
// ------------------------------------------------------------------------------------------------------

void Worker::finish(iscsi::Task& task, const scsi::Done& done) {
  if (task.aborted && task.command.entry->aborted != nullptr) [[unlikely]] {
    task.command.entry->aborted(task.command);
  }
  if (task.claim != 0) [[unlikely]] {
    if (finish_special(task, done)) return;
  }
  auto& session = *static_cast<ConnectionSession*>(task.session);
  Connection& connection = *session.connection;
  session.on_done(task, done);
  touch(connection);
}

inline void Worker::submit(iscsi::Task& task, const scsi::Io& io) {
  const SlotId slot = tasks_.id_of(task);
  backend::BackendOp& op = ops_[slot.index];
  op.io = io;
  op.result = {};
  op.op = {net::OpKind::backend, slot};
  op.bytes_done = 0;
  op.stage = 0;
  backend::Backend* backend = static_cast<WorkerLun*>(task.command.lu)->backend.get();
  if (backend == nullptr) {
    op.result.error = ENODEV;  // the device went between admission and now
    completed_.push_back(op);
    return;
  }
  backend->submit(op);
}

[[gnu::always_inline]] inline void Worker::run_step(iscsi::Task& task, const scsi::Step& step) {
  if (const auto* io = std::get_if<scsi::Io>(&step)) {
    submit(task, *io);
  } else if (const auto* done = std::get_if<scsi::Done>(&step)) {
    finish(task, *done);
  } else if (const auto* claim = std::get_if<scsi::Claim>(&step)) {
    post_claim(task, *claim);
  } else {
    post_update(task, *std::get_if<scsi::Update>(&step));
  }
}

/// Off the data path: after an Update or a Claim, and for commands that are detached.
void Worker::resume(iscsi::Task& task, const scsi::IoResult& result) {
  if (muting_ != 0 && is_muted(task)) {
    steps_waiting_.push_back({tasks_.id_of(task), result});
    return;
  }
  run_step(task, scsi::resume(task.command, result));
}

// Apart: its message is large, and the frame for it would be made for every command.
[[gnu::noinline]] void Worker::post_update(iscsi::Task& task, const scsi::Update& update) {
  const scsi::NexusId nexus = task.command.nexus == nullptr ? 0 : task.command.nexus->id();
  control_.post(DecideUpdate{options_.index, tasks_.id_of(task), task.command.lu->key, nexus, &task.command,
                             update.decide});
}

bool Worker::run_ready() {
  bool progress = false;
  for (size_t left = ready_.size(); left > 0; --left) {
    iscsi::Task* task = ready_.pop_front();
    if (task == nullptr) break;
    auto* lun = static_cast<WorkerLun*>(task->command.lu);
    if (lun != nullptr && lun->holds != 0 && is_held(*task, *lun)) [[unlikely]] {
      ready_.push_back(*task);
      continue;
    }
    progress = true;
    task->state = iscsi::TaskState::executing;
    run_step(*task, scsi::start(task->command));
  }
  return progress;
}

bool Worker::run_completed() {
  if (muting_ != 0) [[unlikely]] {
    return run_completed_of_others();
  }
  bool progress = false;
  while (backend::BackendOp* op = completed_.pop_front()) {
    progress = true;
    iscsi::Task* task = tasks_.find(op->op.slot);
    ITGTD_ASSERT(task != nullptr);
    if (task->session == nullptr) [[unlikely]] {
      detached_ops_.push_back(op);
      continue;
    }
    if (task->aborted) {
      finish(*task,
             scsi::good());  // nothing of it is sent: the next step would only touch the medium in vain
    } else {
      run_step(*task, scsi::resume(task->command, op->result));
    }
  }
  return progress;
}

bool Worker::retry_memory() {
  bool progress = false;
  while (iscsi::Task* task = waiting_.front()) {
    auto& session = *static_cast<ConnectionSession*>(task->session);
    if (!session.retry_memory(*task)) break;
    touch(*session.connection);
    progress = true;
  }
  return progress;
}

// --- Connections
// -----------------------------------------------------------------------------------------------------

void Worker::touch(Connection& connection) {
  if (!static_cast<ListLink<DirtyTag>&>(connection).linked()) dirty_.push_back(connection);
}

Connection* Worker::find_connection(SlotId slot) {
  ConnectionSlot* found = connections_.find(slot);
  return found == nullptr ? nullptr : found->connection.get();
}

void Worker::arm_accept(Listener& listener) {
  if (listener.fd < 0 || listener.accept_in_flight) return;
  const auto index = static_cast<uint32_t>(std::find_if(listeners_.begin(), listeners_.end(),
                                                        [&](const auto& l) { return l.get() == &listener; }) -
                                           listeners_.begin());
  listener.accept_in_flight = true;
  ring_->accept({net::OpKind::accept, {index, 0}}, listener.fd);
}

void Worker::on_accept(Listener& listener, int32_t result) {
  listener.accept_in_flight = false;
  if (listener.fd < 0) {  // removed meanwhile
    if (result >= 0) ring_->close({net::OpKind::close, {}}, result);
    return;
  }
  if (result >= 0) {
    listener.error_logged = false;
    control_.post(Accepted{result, listener.key});
  } else if (result != -ECONNABORTED && result != -EINTR && result != -EAGAIN) {
    // Not about one connection: it would come again at once.
    if (!std::exchange(listener.error_logged, true)) {
      const bool descriptors = result == -EMFILE || result == -ENFILE;
      log::warning("cannot accept a connection: {}{}", std::strerror(-result),
                   descriptors ? "; raise LimitNOFILE" : "");
    }
    timers_.arm(listener, now_ + kAcceptPause);
    return;
  }
  arm_accept(listener);
}

void Worker::close_connections() {
  for (uint32_t i = 0; i < connections_.capacity(); ++i) {
    ConnectionSlot* holder = connections_.tenant(i);
    if (holder == nullptr) continue;
    holder->connection->close("");
    touch(*holder->connection);
  }
}

void Worker::request_session(Connection& connection) {
  control_.post(OpenSession{{options_.index, connection.slot()},
                            connection.open_identity(),
                            connection.peer(),
                            connection.local(),
                            connection.listener()});
}

void Worker::destroy(Connection& connection) {
  const SlotId slot = connection.slot();
  const bool during_login = connection.nexus_id() == 0;
  const scsi::NexusId nexus = connection.nexus_id();
  timers_.disarm(connection);
  if (static_cast<ListLink<DirtyTag>&>(connection).linked()) dirty_.remove(connection);
  if (static_cast<ListLink<TargetTag>&>(connection).linked()) {
    targets_.at(connection.target())->connections.remove(connection);
  }
  ring_->close({net::OpKind::close, {}}, connection.fd());
  ConnectionSlot* holder = connections_.find(slot);
  ITGTD_ASSERT(holder != nullptr);
  holder->connection.reset();
  connections_.release(*holder);
  if (nexus != 0) control_.post(SessionClosed{{options_.index, slot}, nexus});
  control_.post(ConnectionClosed{{options_.index, slot}, during_login});
}

}  // namespace itgtd::target
