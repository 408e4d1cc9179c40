// The one dispatch over events, and what each step does before and after.
#include "ha/core/step.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "ha/core/node.h"

namespace itgtd::ha {

namespace {

/// A process appears, ends, or is another one.
void set_pid(Node& node, Peer& peer, uint32_t pid) {
  if (peer.pid == pid) {
    return;
  }
  peer.pid = pid;
  peer.pid_since = node.now;
  peer.heartbeat = 0;
  peer.acked = 0;
  if (pid != 0 && pid != peer.last_pid) {
    peer.last_pid = pid;
    peer.has_report = false;
    peer.report = {};
  }
  node.all_dirty = true;
}

void on(Node&, const Tick&) {}

void on(Node& node, const Configured& configured) {
  for (auto& [name, group] : node.groups) {
    group.configured = false;
  }
  for (const GroupSpec& spec : configured.groups) {
    Group& group = node.groups[spec.name];
    if (group.spec.vips != spec.vips) {
      group.vips.assign(spec.vips.size(), VipFacts{});
    }
    group.spec = spec;
    group.configured = true;
  }
  node.all_dirty = true;
  mark_report(node);
}

void on(Node& node, const NodesKnown& known) {
  for (auto& [id, peer] : node.peers) {
    peer.configured = false;
  }
  for (const NodeName& name : known.nodes) {
    Peer& peer = node.peers[name.id];
    peer.configured = true;
    peer.name = name.name;
  }
  node.configured_nodes = known.nodes.size();
  node.all_dirty = true;
}

void on(Node& node, const RingChanged& changed) {
  node.ring_known = true;
  node.ring = changed.ring;
  node.ring_nodes = changed.nodes;
  std::sort(node.ring_nodes.begin(), node.ring_nodes.end());
  node.delivered_seq = 0;
  node.passed_seq = 0;
  node.all_dirty = true;
  node.heartbeat_due = node.now;
  node.report_due = node.now;
  node.connections_whole = true;
  node.connections_due = node.now;
}

void on(Node& node, const MembersChanged& changed) {
  std::map<NodeId, std::set<uint32_t>> pids;
  for (const Member& member : changed.members) {
    pids[member.node].insert(member.pid);
    if (!node.peers[member.node].pids.contains(member.pid)) {
      // Somebody new: it needs to hear everything.
      node.heartbeat_due = node.now;
      node.report_due = node.now;
      node.connections_whole = true;
      node.connections_due = node.now;
    }
  }
  for (auto& [id, peer] : node.peers) {
    peer.pids = pids[id];
    if (id == node.self) {
      set_pid(node, peer, peer.pids.contains(node.pid) ? node.pid : 0);
    } else if (!peer.pids.contains(peer.pid)) {
      set_pid(node, peer, peer.pids.empty() ? 0 : *peer.pids.rbegin());
    }
  }
}

void on(Node& node, const QuorumChanged& changed) {
  node.quorum = {changed.ring, changed.quorate, changed.nodes};
  std::sort(node.quorum.nodes.begin(), node.quorum.nodes.end());
  if (!changed.quorate) {
    node.quorate_since = -1;
  } else if (node.quorate_since < 0) {
    node.quorate_since = node.now;
  }
  if (changed.quorate != node.reported_quorate) {
    mark_report(node);
  }
  node.all_dirty = true;
}

void on(Node& node, const CorosyncLost& lost) {
  note(node, Note::Kind::alarm, {}, 0, "the connection to corosync is lost: " + lost.reason);
  node.ring_known = false;
  node.ring_nodes.clear();
  node.quorum = {};
  node.quorate_since = -1;
  for (auto& [id, peer] : node.peers) {
    peer.pids.clear();
    set_pid(node, peer, 0);
  }
  node.all_dirty = true;
}

void on(Node& node, const Delivered& delivered) {
  const Member& from = delivered.from;
  const auto peer = node.peers.find(from.node);
  if (peer == node.peers.end() || !peer->second.configured || !peer->second.pids.contains(from.pid)) {
    ++node.messages_dropped;
    return;
  }
  if (from.node != node.self) {
    set_pid(node, peer->second, from.pid);  // who speaks is the one that lives
  }
  std::visit(
      [&](const auto& message) {
        using T = std::decay_t<decltype(message)>;
        if constexpr (std::is_same_v<T, Heartbeat>) {
          on_heartbeat(node, from.node, message);
        } else if constexpr (std::is_same_v<T, Report>) {
          on_report(node, from, message);
        } else if constexpr (std::is_same_v<T, Assign>) {
          on_assign(node, from.node, message);
        } else if constexpr (std::is_same_v<T, Ack>) {
          on_ack(node, from.node, message);
        } else if constexpr (std::is_same_v<T, Outcome>) {
          on_outcome(node, from.node, message);
        } else if constexpr (std::is_same_v<T, Wish>) {
          on_wish(node, message);
        } else if constexpr (std::is_same_v<T, Connections>) {
          on_connections(node, from.node, message);
        }
        // Units are the business of ha/replication.
      },
      delivered.message);
}

void on(Node& node, const StorageChanged& changed) {
  const auto found = node.groups.find(changed.group);
  if (found == node.groups.end() ||
      (found->second.storage_known && found->second.storage == changed.storage)) {
    return;
  }
  found->second.storage = changed.storage;
  found->second.storage_known = true;
  mark_dirty(node, changed.group);
  mark_report(node);
}

void on(Node& node, const VipChanged& changed) {
  const auto found = node.groups.find(changed.group);
  if (found == node.groups.end() || changed.vip >= found->second.vips.size() ||
      found->second.vips[changed.vip] == changed.facts) {
    return;
  }
  found->second.vips[changed.vip] = changed.facts;
  mark_dirty(node, changed.group);
  mark_report(node);
}

void on(Node& node, const SessionsChanged& changed) {
  on_sessions(node, changed);
}
void on(Node& node, const ActionDone& done) {
  on_action_done(node, done);
}
void on(Node& node, const Asked& asked) {
  on_asked(node, asked.wish);
}

void on(Node& node, const StopAsked&) {
  if (node.stop_since < 0) {
    node.stop_since = node.now;
    node.all_dirty = true;
  }
}

void set_timer(Node& node, const std::string& group, TimeMs at) {
  const auto found = node.timer_of.find(group);
  if (found != node.timer_of.end()) {
    if (found->second == at) {
      return;
    }
    node.timers.erase({found->second, group});
    node.timer_of.erase(found);
  }
  if (at != kNever) {
    node.timers.emplace(at, group);
    node.timer_of.emplace(group, at);
  }
}

/// The daemon stops: what nobody can take, or takes in time, is stopped here.
TimeMs leave(Node& node, Group& group) {
  const Ownership ownership = ownership_of(node, group.spec.name);
  if (ownership.owner != node.self || group.run.stopped_epoch == ownership.epoch) {
    return kNever;
  }
  const TimeMs at = node.stop_since + node.timing.drain_ms;
  const std::optional<Cause> cause = cause_of(node, group);
  const bool moves = node.may_propose_since >= 0 && cause && cause->reason == Reason::drained;
  if (moves && node.now < at) {
    return at;
  }
  group.run.stopped_epoch = ownership.epoch;
  return kNever;
}

void look_at_group(Node& node, const std::string& name) {
  const auto found = node.groups.find(name);
  if (found == node.groups.end()) {
    return;
  }
  Group& group = found->second;
  TimeMs at = kNever;
  if (node.stop_since >= 0) {
    at = leave(node, group);
  }
  at = std::min(at, run_group(node, group));
  if (!group.configured && group.run.phase == Phase::idle) {
    set_timer(node, name, kNever);
    node.groups.erase(found);
    return;
  }
  at = std::min(at, propose(node, group));
  set_timer(node, name, at == kNever ? kNever : std::max(at, node.now + 1));
}

void look_at_groups(Node& node) {
  while (!node.timers.empty() && node.timers.begin()->first <= node.now) {
    const std::string name = node.timers.begin()->second;
    set_timer(node, name, kNever);
    node.dirty.insert(name);
  }
  if (node.all_dirty) {
    for (const auto& [name, group] : node.groups) {
      node.dirty.insert(name);
    }
    node.all_dirty = false;
  }
  const std::set<std::string> dirty = std::exchange(node.dirty, {});
  for (const std::string& name : dirty) {
    look_at_group(node, name);
  }
}

void finish_stop_asked(Node& node) {
  if (node.stop_since < 0 || node.stopped) {
    return;
  }
  for (const auto& [name, group] : node.groups) {
    if (group.run.phase != Phase::idle) {
      return;
    }
  }
  node.stopped = true;
  node.actions.emplace_back(Stopped{});
}

}  // namespace

State::State(NodeId self, std::string self_name, uint32_t pid, Timing timing, Origin origin)
    : node_(std::make_unique<Node>()) {
  node_->self = self;
  node_->self_name = std::move(self_name);
  node_->pid = pid;
  node_->version = std::move(origin.version);
  node_->epoch_floor = origin.epoch_floor;
  node_->timing = timing;
  node_->heartbeat_seq = uint64_t{pid} << 32;
}
State::~State() = default;
State::State(const State& other) : node_(std::make_unique<Node>(*other.node_)) {}
State::State(State&&) noexcept = default;
State& State::operator=(const State& other) {
  if (this != &other) {
    node_ = std::make_unique<Node>(*other.node_);
  }
  return *this;
}
State& State::operator=(State&&) noexcept = default;

Actions State::step(TimeMs now, const Event& event) {
  Node& node = *node_;
  node.now = std::max(node.now, now);
  if (!node.started) {
    node.started = true;
    node.born_at = node.now;
  }
  if (node.stopped) {
    return {};
  }
  check_lapse(node);
  std::visit([&](const auto& what) { on(node, what); }, event);
  renew_lease(node);
  update_may_propose(node);
  look_at_groups(node);
  if (node.now >= node.report_due) {
    send_report(node);
  }
  if (node.now >= node.connections_due) {
    send_connections(node);
  }
  if (node.now >= node.heartbeat_due) {
    send_heartbeat(node);
  }
  finish_stop_asked(node);
  return std::exchange(node.actions, {});
}

TimeMs State::wake_at() const {
  const Node& node = *node_;
  if (node.stopped) {
    return kNever;
  }
  TimeMs at = std::min({node.heartbeat_due, node.report_due, node.connections_due});
  if (!node.lapsed) {
    at = std::min(at, node.lease_until);
  }
  if (!node.timers.empty()) {
    at = std::min(at, node.timers.begin()->first);
  }
  return at;
}

}  // namespace itgtd::ha
