// Heartbeats, the lease that their acknowledgements give, its lapse, and when it is trusted again.
#include <algorithm>
#include <functional>

#include "ha/core/node.h"

namespace itgtd::ha {

namespace {

constexpr size_t kSentMax = 512;
/// How soon an acknowledgement goes out that others need now.
constexpr TimeMs kHurryMs = 20;

/// The newest heartbeat that enough nodes have acknowledged, counting those that `counts` says yes to; 0:
/// none. Enough: all others of the quorum's list, or a strict majority of the configured nodes; this one
/// included.
uint64_t enough_acked(const Node& node, bool only_settled) {
  const Peer* self = find_peer(node, node.self);
  if (!quorum_holds(node) || self == nullptr || !self->configured || self->pid != node.pid ||
      !is_in_ring(node, node.self)) {
    return 0;
  }
  const TimeMs settled_at = node.born_at + node.timing.lease_ms + node.timing.margin_ms;
  std::vector<uint64_t> acked;
  uint64_t all = std::numeric_limits<uint64_t>::max();
  for (const NodeId id : node.quorum.nodes) {
    const Peer* peer = find_peer(node, id);
    uint64_t seq = 0;
    if (peer != nullptr && peer->configured && peer->pid != 0) {
      seq = id == node.self ? peer->heartbeat : peer->acked;
      const bool settled = id == node.self
                               ? node.now >= settled_at
                               : peer->has_report && peer->report.ring == node.ring && peer->report.settled;
      if (only_settled && !settled) {
        seq = 0;
      }
    } else if (peer != nullptr && peer->configured && peer->pids.empty() && !only_settled) {
      seq = node.passed_seq;
    }
    acked.push_back(seq);
    all = std::min(all, seq);
  }
  std::sort(acked.begin(), acked.end(), std::greater<>());
  const size_t majority = node.configured_nodes / 2 + 1;
  const uint64_t most = acked.size() >= majority ? acked[majority - 1] : 0;
  return std::max(all == std::numeric_limits<uint64_t>::max() ? 0 : all, most);
}

TimeMs sent_at(const Node& node, uint64_t seq) {
  if (node.sent.empty() || seq < node.sent.front().seq || seq > node.sent.back().seq) {
    return -1;
  }
  return node.sent[seq - node.sent.front().seq].at;
}

/// After a lapse others may have been given what was ours. Who was in on that is among those that give a
/// lease now, or was in a quorum that ended before: so each of these, and all that are heard, must have told
/// its table in this ring; and must not have forgotten what it acknowledged, as a daemon does that starts.
bool is_told_everything(const Node& node) {
  bool all_configured = true;
  for (const auto& [id, peer] : node.peers) {
    if (!peer.configured || id == node.self) {
      continue;
    }
    const bool told = is_heard(node, id) && peer.has_report && peer.report.ring == node.ring;
    if (is_heard(node, id) && !told) {
      return false;
    }
    all_configured = all_configured && told;
  }
  if (all_configured) {
    return true;
  }
  const TimeMs at = sent_at(node, enough_acked(node, true));
  return at >= 0 && at + node.timing.lease_ms > node.now;
}

}  // namespace

/// A node without a daemon acknowledges nothing, and needs not: it can take nothing over before one starts
/// there, which then counts silence from when it has quorum. That is in a ring that formed after the token
/// was with it last. So a heartbeat is as good as acknowledged when another one, sent after it was delivered,
/// has been delivered too: the token has been round in between. (One alone proves nothing: a corosync that
/// was stopped may find an old token.)
void on_own_heartbeat(Node& node, uint64_t seq) {
  if (node.delivered_seq != 0 && sent_at(node, seq) > node.delivered_at) {
    node.passed_seq = node.delivered_seq;
  }
  node.delivered_seq = seq;
  node.delivered_at = node.now;
}

void send_heartbeat(Node& node) {
  node.heartbeat_due = node.now + node.timing.heartbeat_ms;
  const Peer* self = find_peer(node, node.self);
  if (!node.ring_known || self == nullptr || self->pid != node.pid) {
    return;
  }
  Heartbeat heartbeat;
  heartbeat.seq = ++node.heartbeat_seq;
  for (const auto& [id, peer] : node.peers) {
    if (peer.pid != 0 && peer.heartbeat != 0) {
      heartbeat.acks[id] = peer.heartbeat;
    }
  }
  node.sent.push_back({heartbeat.seq, node.now});
  while (node.sent.size() > kSentMax) {
    node.sent.pop_front();
  }
  send(node, std::move(heartbeat));
}

void on_heartbeat(Node& node, NodeId from, const Heartbeat& heartbeat) {
  Peer& peer = node.peers.at(from);
  if (heartbeat.seq <= peer.heartbeat || heartbeat.acks.size() > kNodesMax) {
    ++node.messages_dropped;
    return;
  }
  const bool was_heard = is_heard(node, from);
  if (from == node.self) {
    on_own_heartbeat(node, heartbeat.seq);
  }
  peer.heartbeat = heartbeat.seq;
  peer.heard_at = node.now;
  if (!was_heard) {
    node.all_dirty = true;
  }
  const auto ack = heartbeat.acks.find(node.self);
  // Of a former process of this node, or nonsense: what was not sent can't have been delivered.
  const bool believable = ack != heartbeat.acks.end() && ack->second <= node.heartbeat_seq;
  if (believable) {
    peer.acked = std::max(peer.acked, ack->second);
  }
  // A ring that has just formed: everybody's lease is running out, and none may wait for the next round.
  if (from != node.self && quorum_holds(node) && node.lease_until - node.now < node.timing.lease_ms / 2) {
    node.heartbeat_due = std::min(node.heartbeat_due, node.now + kHurryMs);
  }
}

TimeMs silence_of(const Node& node, NodeId id) {
  if (node.quorate_since < 0) {
    return -1;
  }
  const Peer* peer = find_peer(node, id);
  const TimeMs heard_at = peer == nullptr ? -1 : peer->heard_at;
  return node.now - std::max(heard_at, node.quorate_since);
}

void check_lapse(Node& node) {
  if (!node.lapsed && node.now >= node.lease_until) {
    node.lapsed = true;
    note(node, Note::Kind::alarm, {}, 0, "the lease has ended: service is held");
    suspend_all(node);
    node.all_dirty = true;
  }
}

void renew_lease(Node& node) {
  const uint64_t seq = enough_acked(node, false);
  const TimeMs at = seq == 0 ? -1 : sent_at(node, seq);
  if (at >= 0 && at + node.timing.lease_ms > node.lease_until) {
    node.lease_until = at + node.timing.lease_ms;
    node.lease_seq = seq;
  }
  if (node.lapsed && node.now < node.lease_until && is_told_everything(node)) {
    node.lapsed = false;
    check_doubts(node);
    node.all_dirty = true;
    note(node, Note::Kind::info, {}, 0, "this node has a lease");
  }
  if (!node.lapsed && node.lease_until > node.lease_told) {
    node.lease_told = node.lease_until;
    node.actions.emplace_back(SetLease{node.lease_until});
  }
}

}  // namespace itgtd::ha
