#include "ha/adapters/corosync.h"

#include <corosync/cpg.h>
#include <corosync/quorum.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "ha/adapters/corosync_cmap.h"
#include "ha/adapters/message_codec.h"

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
/// on (not before: connecting waits for its answer).
constexpr size_t kQueueBytesMax = size_t{16} << 20U;
/// A message that takes longer says that corosync hangs: calls that wait for its answer are not made.
constexpr milliseconds kResponsive{1000};

using Bytes = std::vector<std::byte>;

bool is_permission(cs_error_t error) {
  return error == CS_ERR_ACCESS || error == CS_ERR_SECURITY;
}

struct Waiting {
  size_t hash = 0;
  Clock::time_point since;
};

size_t hash_of(ConstBytes bytes) {
  return std::hash<std::string_view>{}(as_text(bytes));
}

}  // namespace

struct Corosync::Impl {
  Impl(control::EventLoop& event_loop, std::function<void(const Event&)> event_sink)
      : loop(event_loop), on_event(std::move(event_sink)) {}
  ~Impl() { stop(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Result<void> start(const std::string& group_name);
  void stop();
  void send(const Message& message);

  // The connection, made in this order: the group is joined last, when all that it needs is there.
  Result<void> connect();
  Result<void> connect_cmap();
  Result<void> connect_quorum();
  Result<void> connect_cpg();
  void try_connect();
  void lost(std::string reason);
  void disconnect(bool politely);
  [[nodiscard]] bool responsive() const;

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
  cpg_name group{};
  bool started = false;
  bool lost_told = false;  ///< true exactly when CorosyncLost was the last that was said of the connection
  /// Counts connections: callbacks and dispatchers of one that is over stop.
  uint64_t generation = 0;
  bool connected = false;
  NodeId self_node = 0;

  std::unique_ptr<Cmap> cmap;
  std::optional<quorum_handle_t> quorum;
  std::optional<cpg_handle_t> cpg;
  control::Subscription cmap_watch;
  control::Subscription quorum_watch;
  control::Subscription cpg_watch;
  control::Subscription reconnect_timer;
  control::Subscription retry_timer;
  control::Subscription nodes_timer;

  std::deque<Bytes> queue;
  size_t queue_bytes = 0;
  bool overflowed = false;  ///< true exactly when messages were lost in this connection
  std::deque<Waiting> in_flight;
  uint64_t dropped = 0;
  std::map<NodeId, Clock::time_point> complained;
};

// --- Callbacks of the libraries: they turn what comes into events.

Corosync::Impl* Corosync::Impl::of(cpg_handle_t handle) {
  void* context = nullptr;
  return cpg_context_get(handle, &context) == CS_OK ? static_cast<Impl*>(context) : nullptr;
}

Result<void> Corosync::Impl::connect_cpg() {
  cpg_model_v1_data_t model{};
  model.model = CPG_MODEL_V1;
  model.flags = CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF;
  model.cpg_deliver_fn = [](cpg_handle_t from, const cpg_name*, uint32_t node, uint32_t pid, void* bytes,
                            size_t length) {
    Impl* self = of(from);
    if (self != nullptr && self->connected)
      self->on_message({node, pid}, {static_cast<const std::byte*>(bytes), length});
  };
  model.cpg_confchg_fn = [](cpg_handle_t from, const cpg_name*, const cpg_address* members,
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
  model.cpg_totem_confchg_fn = [](cpg_handle_t from, cpg_ring_id ring, uint32_t count,
                                  const uint32_t* nodes) {
    Impl* self = of(from);
    if (self == nullptr || !self->connected) return;
    self->on_event(RingChanged{.ring = {ring.nodeid, ring.seq}, .nodes = {nodes, nodes + count}});
  };
  cpg_handle_t handle = 0;
  cs_error_t error = cpg_model_initialize(&handle, CPG_MODEL_V1,
                                          static_cast<cpg_model_data_t*>(static_cast<void*>(&model)), this);
  if (error != CS_OK)
    return Error{is_permission(error) ? EACCES : 0, "corosync's process groups (cpg): " + name_of(error)};
  cpg = handle;
  int fd = -1;
  error = cpg_fd_get(handle, &fd);
  if (error == CS_OK) error = cpg_join(handle, &group);
  if (error != CS_OK) return Error{0, "joining the process group: " + name_of(error)};
  cpg_watch = loop.watch_readable(
      fd, [this] { dispatch("cpg_dispatch", [this] { return cpg_dispatch(*cpg, CS_DISPATCH_ALL); }); });
  return {};
}

Result<void> Corosync::Impl::connect_quorum() {
  quorum_model_v1_data_t model{};
  model.model = QUORUM_MODEL_V1;
  // Not the node list's notification: it comes with a new ring before the quorum of that ring is known.
  model.quorum_notify_fn = [](quorum_handle_t from, uint32_t quorate, quorum_ring_id ring, uint32_t count,
                              const uint32_t* nodes) {
    const void* context = nullptr;
    if (quorum_context_get(from, &context) != CS_OK || context == nullptr) return;
    const auto* self = static_cast<const Impl*>(context);
    if (!self->connected) return;
    self->on_event(QuorumChanged{
        .ring = {ring.nodeid, ring.seq}, .quorate = quorate != 0, .nodes = {nodes, nodes + count}});
  };
  quorum_handle_t handle = 0;
  uint32_t type = 0;
  cs_error_t error = quorum_model_initialize(
      &handle, QUORUM_MODEL_V1, static_cast<quorum_model_data_t*>(static_cast<void*>(&model)), &type, this);
  if (error != CS_OK)
    return Error{is_permission(error) ? EACCES : 0, "corosync's quorum service: " + name_of(error)};
  quorum = handle;
  int fd = -1;
  error = quorum_fd_get(handle, &fd);
  if (error == CS_OK) error = quorum_trackstart(handle, CS_TRACK_CURRENT | CS_TRACK_CHANGES);
  if (error != CS_OK) return Error{0, "following corosync's quorum: " + name_of(error)};
  quorum_watch = loop.watch_readable(fd, [this] {
    dispatch("quorum_dispatch", [this] { return quorum_dispatch(*quorum, CS_DISPATCH_ALL); });
  });
  return {};
}

Result<void> Corosync::Impl::connect_cmap() {
  auto made = Cmap::connect();
  if (!made) return made.error();
  cmap = std::move(made.value());
  const auto nodes_changed = [this] {
    nodes_timer = loop.timer(kNodesSettle, [this] { on_nodes_changed(); });
  };
  if (Result<void> tracked = cmap->track_nodes(nodes_changed); !tracked) return tracked;
  const Result<int> fd = cmap->fd();
  if (!fd) return fd.error();
  cmap_watch = loop.watch_readable(
      fd.value(), [this] { dispatch("cmap_dispatch", [this] { return cmap->dispatch(); }); });
  return {};
}

// --- The connection.

Result<void> Corosync::Impl::connect() {
  if (Result<void> made = connect_cmap(); !made) return made;
  const Result<CorosyncSettings> settings = cmap->settings();
  if (!settings) return settings.error();
  if (Result<void> made = connect_quorum(); !made) return made;
  if (Result<void> made = connect_cpg(); !made) return made;
  self_node = settings.value().self;
  connected = true;
  lost_told = false;
  on_event(NodesKnown{settings.value().nodes});
  return {};
}

Result<void> Corosync::Impl::start(const std::string& group_name) {
  if (group_name.empty() || group_name.size() > CPG_MAX_NAME_LENGTH) {
    return Error{0, fmt::format("the cluster's name '{}' has {} bytes: corosync allows 1 to {}", group_name,
                                group_name.size(), CPG_MAX_NAME_LENGTH)};
  }
  group.length = static_cast<uint32_t>(group_name.size());
  std::ranges::copy(group_name, group.value);
  // Events come from the loop only, so that whoever starts this is ready for them.
  if (const Result<CorosyncSettings> settings = read_settings(); !settings && settings.error().code == EACCES)
    return settings.error();
  started = true;
  reconnect_timer = loop.timer(milliseconds{0}, [this] { try_connect(); });
  return {};
}

void Corosync::Impl::try_connect() {
  if (!started || connected) return;
  if (const Result<void> made = connect(); !made) lost(made.error().to_string());
}

// By value: the timer that calls this ends here, and what it holds with it.
void Corosync::Impl::lost(std::string reason) {
  disconnect(false);
  if (!started) return;
  reconnect_timer = loop.timer(kReconnect, [this] { try_connect(); });
  if (std::exchange(lost_told, true)) return;
  on_event(CorosyncLost{std::move(reason)});
}

bool Corosync::Impl::responsive() const {
  return in_flight.empty() || Clock::now() - in_flight.front().since < kResponsive;
}

/// `politely`: the group is left, so that the others see it at once. Only when corosync answers or has ended.
void Corosync::Impl::disconnect(bool politely) {
  generation++;
  const bool was_connected = std::exchange(connected, false);
  cmap_watch.reset();
  quorum_watch.reset();
  cpg_watch.reset();
  retry_timer.reset();
  nodes_timer.reset();
  queue.clear();
  queue_bytes = 0;
  overflowed = false;
  in_flight.clear();
  if (cpg && was_connected && politely) cpg_leave(*cpg, &group);
  if (cpg) cpg_finalize(*cpg);
  cpg.reset();
  if (quorum) quorum_finalize(*quorum);
  quorum.reset();
  cmap.reset();
}

void Corosync::Impl::stop() {
  started = false;
  reconnect_timer.reset();
  if (!responsive()) {
    log::warning("corosync has not answered for a second: the process group is left without its knowledge");
    cmap_watch.reset();
    quorum_watch.reset();
    cpg_watch.reset();
    connected = false;
    in_flight.clear();
    // Its handles end with the process; whoever reads them gets nothing.
    if (cpg) cpg_context_set(*cpg, nullptr);
    if (quorum) quorum_context_set(*quorum, nullptr);
    cpg.reset();
    quorum.reset();
    static_cast<void>(cmap.release());
    return;
  }
  disconnect(true);
}

template <typename Dispatch>
void Corosync::Impl::dispatch(std::string_view service, Dispatch call) {
  const uint64_t dispatched = generation;
  const cs_error_t error = call();
  if (generation != dispatched) return;  // a callback has ended the connection
  if (error == CS_OK || error == CS_ERR_TRY_AGAIN || error == CS_ERR_INTERRUPT) return;
  lost(fmt::format("{}: {}", service, name_of(error)));
}

void Corosync::Impl::on_nodes_changed() {
  if (!connected) return;
  const Result<CorosyncSettings> settings = cmap->settings();
  if (!settings) return log::warning("corosync's node list has changed: {}", settings.error().to_string());
  on_event(NodesKnown{settings.value().nodes});
}

// --- Messages.

void Corosync::Impl::on_message(Member from, ConstBytes bytes) {
  if (from.node == self_node && from.pid == static_cast<uint32_t>(getpid())) {
    // Ours come in the order in which they were sent. Should corosync have lost one, those after it tell.
    const auto found = std::ranges::find(in_flight, hash_of(bytes), &Waiting::hash);
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
  return cpg_mcast_joined(*cpg, CPG_TYPE_AGREED, &vector, 1);
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
    in_flight.push_back({hash, Clock::now()});
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
