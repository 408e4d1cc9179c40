#include "ha/adapters/corosync.h"

#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "ha/adapters/corosync_connection.h"
#include "ha/adapters/message_codec.h"
#include "target/control/blocking_calls.h"

namespace itgtd::ha {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kReconnect{200};
constexpr milliseconds kSendRetry{5};
/// Changes of the node list come key by key.
constexpr milliseconds kNodesSettle{50};
constexpr std::chrono::minutes kComplainEvery{1};
/// Messages of ours that corosync has taken and not delivered yet. libqb waits for room in a socket of some
/// 250 messages once it is full: when corosync hangs, they wait here and not there.
constexpr size_t kInFlightMax = 128;
/// Of messages that wait here. Beyond this they are lost, and the connection is made anew when corosync goes
/// on.
constexpr size_t kQueueBytesMax = size_t{16} << 20U;
/// How long corosync has to take note that the group is left.
constexpr milliseconds kLeaveTime{1000};

using Bytes = std::vector<std::byte>;

Result<CorosyncSettings> settings_of_corosync() {
  const auto cmap = Cmap::connect();
  if (!cmap) return cmap.error();
  return cmap.value()->settings();
}

size_t hash_of(ConstBytes bytes) {
  return std::hash<std::string_view>{}(as_text(bytes));
}

}  // namespace

struct Corosync::Impl {
  Impl(control::EventLoop& event_loop, std::function<void(const Event&)> event_sink)
      : loop(event_loop), on_event(std::move(event_sink)), calls(event_loop) {}
  ~Impl() { stop(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Result<void> start(const std::string& group_name);
  void stop();
  void send(const Message& message);

  using Made = Result<std::unique_ptr<CorosyncConnection>>;
  [[nodiscard]] CorosyncCallbacks callbacks();
  void connect();
  void on_made(Made made);
  void watch();
  void lost(std::string reason);
  std::unique_ptr<CorosyncConnection> disconnect();
  void end(std::shared_ptr<CorosyncConnection> old);
  void call(std::function<void()> work, std::function<void()> done);
  void read_settings(std::function<void(const Result<CorosyncSettings>&)> on_read);

  template <typename Dispatch>
  void dispatch(std::string_view service, Dispatch call);
  void on_message(Member from, ConstBytes bytes);
  void on_nodes_changed();
  void complain(const Member& from, const std::string& why);
  void lose_soon(const std::string& reason);
  void flush();
  cs_error_t cast(Bytes& bytes);

  static Impl* of(cpg_handle_t handle);

  control::EventLoop& loop;
  std::function<void(const Event&)> on_event;
  control::BlockingCalls calls;
  /// Of the calls, one at a time: libqb's tables of handles are not made for two at once. Owners: this and
  /// the calls.
  std::shared_ptr<std::mutex> calling = std::make_shared<std::mutex>();
  cpg_name group{};
  bool started = false;
  bool lost_told = false;  ///< true exactly when CorosyncLost was the last that was said of the connection
  /// Counts connections: callbacks and dispatchers of one that is over stop.
  uint64_t generation = 0;
  bool connected = false;
  NodeId self_node = 0;

  std::unique_ptr<CorosyncConnection> connection;
  control::Subscription cmap_watch;
  control::Subscription quorum_watch;
  control::Subscription cpg_watch;
  control::Subscription reconnect_timer;
  control::Subscription retry_timer;
  control::Subscription nodes_timer;

  std::deque<Bytes> queue;
  size_t queue_bytes = 0;
  bool overflowed = false;       ///< true exactly when messages were lost in this connection
  std::deque<size_t> in_flight;  ///< their hashes
  uint64_t dropped = 0;
  std::map<NodeId, Clock::time_point> complained;
};

// --- Callbacks of the libraries: they turn what comes into events.

Corosync::Impl* Corosync::Impl::of(cpg_handle_t handle) {
  void* context = nullptr;
  return cpg_context_get(handle, &context) == CS_OK ? static_cast<Impl*>(context) : nullptr;
}

CorosyncCallbacks Corosync::Impl::callbacks() {
  CorosyncCallbacks callbacks;
  callbacks.context = this;
  callbacks.cpg.cpg_deliver_fn = [](cpg_handle_t from, const cpg_name*, uint32_t node, uint32_t pid,
                                    void* bytes, size_t length) {
    Impl* self = of(from);
    if (self != nullptr && self->connected)
      self->on_message({node, pid}, {static_cast<const std::byte*>(bytes), length});
  };
  callbacks.cpg.cpg_confchg_fn = [](cpg_handle_t from, const cpg_name*, const cpg_address* members,
                                    size_t member_count, const cpg_address* left, size_t left_count,
                                    const cpg_address*, size_t) {
    Impl* self = of(from);
    if (self == nullptr || !self->connected) return;
    MembersChanged changed;
    for (const cpg_address& member : std::span(members, member_count))
      changed.members.push_back({member.nodeid, member.pid});
    for (const cpg_address& gone : std::span(left, left_count)) {
      if (gone.reason == CPG_REASON_PROCDOWN || gone.reason == CPG_REASON_LEAVE)
        changed.process_ended.push_back(gone.nodeid);
    }
    self->on_event(changed);
  };
  callbacks.cpg.cpg_totem_confchg_fn = [](cpg_handle_t from, cpg_ring_id ring, uint32_t count,
                                          const uint32_t* nodes) {
    Impl* self = of(from);
    if (self == nullptr || !self->connected) return;
    self->on_event(RingChanged{.ring = {ring.nodeid, ring.seq}, .nodes = {nodes, nodes + count}});
  };
  // Not the node list's notification: it comes with a new ring before the quorum of that ring is known.
  callbacks.quorum.quorum_notify_fn = [](quorum_handle_t from, uint32_t quorate, quorum_ring_id ring,
                                         uint32_t count, const uint32_t* nodes) {
    const void* context = nullptr;
    if (quorum_context_get(from, &context) != CS_OK || context == nullptr) return;
    const auto* self = static_cast<const Impl*>(context);
    if (!self->connected) return;
    self->on_event(QuorumChanged{
        .ring = {ring.nodeid, ring.seq}, .quorate = quorate != 0, .nodes = {nodes, nodes + count}});
  };
  callbacks.nodes_changed = [this] {
    nodes_timer = loop.timer(kNodesSettle, [this] { on_nodes_changed(); });
  };
  return callbacks;
}

// --- The connection.

Result<void> Corosync::Impl::start(const std::string& group_name) {
  if (group_name.empty() || group_name.size() > CPG_MAX_NAME_LENGTH) {
    return Error{0, fmt::format("the cluster's name '{}' has {} bytes: corosync allows 1 to {}", group_name,
                                group_name.size(), CPG_MAX_NAME_LENGTH)};
  }
  group.length = static_cast<uint32_t>(group_name.size());
  std::ranges::copy(group_name, group.value);
  started = true;
  connect();
  return {};
}

void Corosync::Impl::call(std::function<void()> work, std::function<void()> done) {
  calls.run(
      [lock = calling, work = std::move(work)]() mutable {
        const std::lock_guard guard(*lock);
        work();
        work = {};
      },
      std::move(done));
}

void Corosync::Impl::connect() {
  if (!started || connected) return;
  // Owners: the call and its end. When nobody waits for that any more, the call ends what it has made.
  auto made = std::make_shared<Made>(Error{});
  call([made, callbacks = callbacks(), group = group] { *made = CorosyncConnection::make(callbacks, group); },
       [this, made, of = generation] {
         if (of == generation) {
           on_made(std::move(*made));
         } else if (*made) {
           end(std::move(made->value()));
         }
       });
}

void Corosync::Impl::on_made(Made made) {
  if (!made) {
    lost(made.error().to_string());
    return;
  }
  connection = std::move(made.value());
  watch();
  self_node = connection->settings().self;
  connected = true;
  lost_told = false;
  on_event(NodesKnown{connection->settings().nodes});
}

void Corosync::Impl::watch() {
  cpg_watch = loop.watch_readable(connection->cpg_fd(), [this] {
    dispatch("cpg_dispatch", [this] { return cpg_dispatch(connection->cpg(), CS_DISPATCH_ALL); });
  });
  quorum_watch = loop.watch_readable(connection->quorum_fd(), [this] {
    dispatch("quorum_dispatch", [this] { return quorum_dispatch(connection->quorum(), CS_DISPATCH_ALL); });
  });
  cmap_watch = loop.watch_readable(connection->cmap_fd(), [this] {
    dispatch("cmap_dispatch", [this] { return connection->cmap().dispatch(); });
  });
}

void Corosync::Impl::end(std::shared_ptr<CorosyncConnection> old) {
  if (old) call([old = std::move(old)]() mutable { old.reset(); }, [] {});
}

// By value: the timer that calls this ends here, and what it holds with it.
void Corosync::Impl::lost(std::string reason) {
  end(disconnect());
  if (!started) return;
  reconnect_timer = loop.timer(kReconnect, [this] { connect(); });
  if (std::exchange(lost_told, true)) return;
  on_event(CorosyncLost{std::move(reason)});
}

/// What is left of the connection asks corosync once more when it goes.
std::unique_ptr<CorosyncConnection> Corosync::Impl::disconnect() {
  generation++;
  connected = false;
  cmap_watch.reset();
  quorum_watch.reset();
  cpg_watch.reset();
  retry_timer.reset();
  nodes_timer.reset();
  queue.clear();
  queue_bytes = 0;
  overflowed = false;
  in_flight.clear();
  return std::move(connection);
}

void Corosync::Impl::stop() {
  started = false;
  reconnect_timer.reset();
  std::shared_ptr<CorosyncConnection> old = disconnect();
  if (!old) return;
  auto left = std::make_shared<std::promise<void>>();
  const std::future<void> noted = left->get_future();
  call(
      [old = std::move(old), group = group, left]() mutable {
        old->leave(group);
        old.reset();
        left->set_value();
      },
      [] {});
  if (noted.wait_for(kLeaveTime) == std::future_status::ready) return;
  log::warning("corosync has not answered for a second: the process group is left without its knowledge");
}

template <typename Dispatch>
void Corosync::Impl::dispatch(std::string_view service, Dispatch call) {
  const uint64_t dispatched = generation;
  const cs_error_t error = call();
  if (generation != dispatched) return;  // a callback has ended the connection
  if (error == CS_OK || error == CS_ERR_TRY_AGAIN || error == CS_ERR_INTERRUPT) return;
  lost(fmt::format("{}: {}", service, name_of(error)));
}

void Corosync::Impl::read_settings(std::function<void(const Result<CorosyncSettings>&)> on_read) {
  auto read = std::make_shared<Result<CorosyncSettings>>(Error{});
  call([read] { *read = settings_of_corosync(); }, [read, on_read = std::move(on_read)] { on_read(*read); });
}

void Corosync::Impl::on_nodes_changed() {
  read_settings([this, of = generation](const Result<CorosyncSettings>& settings) {
    if (of != generation || !connected) return;
    if (!settings) return log::warning("corosync's node list has changed: {}", settings.error().to_string());
    on_event(NodesKnown{settings.value().nodes});
  });
}

// --- Messages.

void Corosync::Impl::on_message(Member from, ConstBytes bytes) {
  if (from.node == self_node && from.pid == static_cast<uint32_t>(getpid())) {
    // Ours come in the order in which they were sent. Should corosync have lost one, those after it tell.
    const auto found = std::ranges::find(in_flight, hash_of(bytes));
    if (found != in_flight.end()) in_flight.erase(in_flight.begin(), found + 1);
    if (overflowed) lose_soon("corosync took no messages for so long that some are lost");
  }
  const uint64_t delivered = generation;
  if (const Result<Message> message = decode(bytes); message)
    on_event(Delivered{.from = from, .message = message.value()});
  else
    complain(from, message.error().to_string());
  if (generation == delivered && !overflowed) flush();
}

void Corosync::Impl::complain(const Member& from, const std::string& why) {
  dropped++;
  const Clock::time_point now = Clock::now();
  const auto [last, first_time] = complained.try_emplace(from.node, now);
  if (!first_time && now - last->second < kComplainEvery) return;
  last->second = now;
  log::warning("a message from node {} (pid {}) is dropped, {} in all: {}", from.node, from.pid, dropped,
               why);
}

cs_error_t Corosync::Impl::cast(Bytes& bytes) {
  const iovec vector{.iov_base = bytes.data(), .iov_len = bytes.size()};
  return cpg_mcast_joined(connection->cpg(), CPG_TYPE_AGREED, &vector, 1);
}

void Corosync::Impl::send(const Message& message) {
  if (!connected) return;
  Bytes bytes = encode(message);
  if (bytes.size() > kMessageBytesMax) {
    return log::error("a message of {} bytes is not sent, at most {} are possible", bytes.size(),
                      kMessageBytesMax);
  }
  if (queue_bytes + bytes.size() > kQueueBytesMax) overflowed = true;
  if (overflowed) return;
  queue_bytes += bytes.size();
  queue.push_back(std::move(bytes));
  flush();
}

/// Not from within the caller's step: what it does next counts on the connection.
void Corosync::Impl::lose_soon(const std::string& reason) {
  retry_timer = loop.timer(milliseconds{0}, [this, reason] { lost(reason); });
}

void Corosync::Impl::flush() {
  while (connected && !queue.empty()) {
    if (in_flight.size() >= kInFlightMax) return;  // a delivery calls again
    const size_t hash = hash_of(queue.front());
    const cs_error_t error = cast(queue.front());
    if (error == CS_ERR_TRY_AGAIN) {
      retry_timer = loop.timer(kSendRetry, [this] { flush(); });
      return;
    }
    if (error != CS_OK) {
      lose_soon("cpg_mcast_joined: " + name_of(error));
      return;
    }
    in_flight.push_back(hash);
    queue_bytes -= queue.front().size();
    queue.pop_front();
  }
}

// ---

Corosync::Corosync(control::EventLoop& loop, std::function<void(const Event&)> on_event)
    : impl_(std::make_unique<Impl>(loop, std::move(on_event))) {}
Corosync::~Corosync() = default;

Result<void> Corosync::start(const std::string& name) {
  return impl_->start(name);
}
void Corosync::stop() {
  impl_->stop();
}
void Corosync::read_settings(std::function<void(const Result<CorosyncSettings>&)> on_read) {
  impl_->read_settings(std::move(on_read));
}
Result<CorosyncSettings> Corosync::read_settings(milliseconds wait_max) {
  auto read = std::make_shared<std::promise<Result<CorosyncSettings>>>();
  std::future<Result<CorosyncSettings>> answer = read->get_future();
  impl_->call([read] { read->set_value(settings_of_corosync()); }, [] {});
  if (answer.wait_for(wait_max) == std::future_status::ready) return answer.get();
  return no_answer(wait_max);
}
Error Corosync::no_answer(milliseconds waited) {
  return {0, fmt::format(
                 "corosync runs and has not answered for {} ms: it hangs; if it does not go on by itself, "
                 "restart it (systemctl restart corosync)",
                 waited.count())};
}
void Corosync::send(const Message& message) {
  impl_->send(message);
}
uint32_t Corosync::pid() const {
  return static_cast<uint32_t>(getpid());
}
uint64_t Corosync::dropped() const {
  return impl_->dropped;
}

}  // namespace itgtd::ha
