// What nodes tell each other about themselves, and of the connections of their initiators.
#include <algorithm>

#include "ha/core/node.h"

namespace itgtd::ha {

namespace {

bool is_sane(const Report& report) {
  if (report.groups.size() > kTableEntriesMax || report.table.groups.size() > kTableEntriesMax ||
      report.node_name.size() > kTextBytesMax || report.version.size() > kTextBytesMax) {
    return false;
  }
  return std::all_of(report.groups.begin(), report.groups.end(), [](const auto& entry) {
    return entry.first.size() <= kGroupNameBytesMax && entry.second.vips.size() <= kVipsMax &&
           entry.second.failure.size() <= kTextBytesMax;
  });
}

void resize(std::set<TcpPair>& pairs) {
  while (pairs.size() > kConnectionsMax) {
    pairs.erase(std::prev(pairs.end()));
  }
}

// --- Strays: connections to a node that does not serve the group, told with epoch 0.

void send_strays(Node& node, Group& group) {
  Connections message{group.spec.name, 0, false, {}, {}};
  for (const TcpPair& pair : group.opened) {
    message.opened.push_back(pair);
    if (message.opened.size() == kConnectionsPerMessage) {
      send(node, message);
      message.opened.clear();
    }
  }
  if (!message.opened.empty()) {
    send(node, std::move(message));
  }
  group.opened.clear();
}

void on_strays(Node& node, Group& group, const Connections& connections) {
  const Run& run = group.run;
  const bool starts = run.phase == Phase::starting && run.service != 0;  // with those that were known by then
  if (starts || run.phase == Phase::active || run.phase == Phase::suspended) {
    node.actions.emplace_back(ResetConnections{group.spec.name, connections.opened});
    return;
  }
  // For whoever serves it next.
  group.connections.insert(connections.opened.begin(), connections.opened.end());
  resize(group.connections);
}

}  // namespace

GroupReport own_report(const Node&, const Group& group, TimeMs now) {
  GroupReport report;
  report.digest = group.spec.digest;
  report.storage = group.storage;
  report.vips = group.vips;
  report.phase = group.run.phase;
  report.epoch = group.run.epoch;
  report.sessions = group.sessions;
  report.failure = group.run.failure;
  report.since_ms = now - group.run.since;
  return report;
}

void send_report(Node& node) {
  node.report_due = kNever;
  node.report_sent = node.now;
  Report report;
  report.node_name = node.self_name;
  report.version = node.version;
  report.epoch_floor = node.epoch_floor;
  report.ring = node.ring;
  // The last word, of whichever ring: that of the newest may be on its way.
  report.quorate = node.reported_quorate = node.quorum.quorate;
  const TimeMs settled_at = node.born_at + node.timing.lease_ms + node.timing.margin_ms;
  report.settled = node.now >= settled_at;
  if (!report.settled) {
    node.report_due = settled_at;
  }
  report.table = node.table;
  for (const auto& [name, group] : node.groups) {
    if (group.configured) {
      report.groups.emplace(name, own_report(node, group, node.now));
    }
  }
  send(node, std::move(report));
  // Who was not there when it failed does not know; who was pays no heed.
  for (const auto& [name, group] : node.groups) {
    const Ownership ownership = ownership_of(node, name);
    if (ownership.owner == node.self && ownership.epoch != 0 && group.run.failed_epoch == ownership.epoch) {
      send(node, Outcome{name, ownership.epoch, false, group.run.retry_here, group.run.failure});
    }
  }
}

void on_report(Node& node, const Member& from, const Report& report) {
  if (!is_sane(report)) {
    ++node.messages_dropped;
    return;
  }
  if (from.node == node.self) {
    return;
  }
  Peer& peer = node.peers.at(from.node);
  peer.report = report;
  peer.report_at = node.now;
  peer.has_report = true;
  merge_table(node, from.node, report.table);
  node.all_dirty = true;
}

void on_sessions(Node& node, const SessionsChanged& changed) {
  const auto found = node.groups.find(changed.group);
  if (found == node.groups.end()) {
    return;
  }
  Group& group = found->second;
  if (group.sessions != changed.sessions) {
    group.sessions = changed.sessions;
    mark_report(node, kSessionsPauseMs);
  }
  const Phase phase = group.run.phase;
  if (phase == Phase::starting) {
    // The list still has those of the previous owner.
    group.opened.insert(changed.opened.begin(), changed.opened.end());
    for (const TcpPair& pair : changed.closed) {
      group.opened.erase(pair);
    }
    return;
  }
  if (phase != Phase::active && phase != Phase::suspended) {
    // Those that a stop ends are to be reset by the next owner. It does not know of one that was made since:
    // while the daemon was started again, say, as its sockets go on listening.
    group.opened.insert(changed.opened.begin(), changed.opened.end());
    for (const TcpPair& pair : changed.closed) {
      if (phase != Phase::stopping) group.opened.erase(pair);
    }
    resize(group.opened);
    node.connections_due = node.now;
    return;
  }
  for (const TcpPair& pair : changed.opened) {
    if (group.connections.size() < kConnectionsMax && group.connections.insert(pair).second) {
      group.opened.insert(pair);
      group.closed.erase(pair);
    }
  }
  for (const TcpPair& pair : changed.closed) {
    if (group.connections.erase(pair) != 0) {
      group.closed.insert(pair);
      group.opened.erase(pair);
    }
  }
  if (!group.opened.empty() || !group.closed.empty()) {
    node.connections_due = std::min(node.connections_due, node.now + node.timing.connections_ms);
  }
}

void on_connections(Node& node, NodeId from, const Connections& connections) {
  const auto found = node.groups.find(connections.group);
  if (from == node.self || found == node.groups.end()) {
    return;
  }
  Group& group = found->second;
  const Ownership ownership = ownership_of(node, connections.group);
  if (connections.epoch == 0 && !connections.whole && connections.opened.size() <= kConnectionsPerMessage) {
    on_strays(node, group, connections);
    return;
  }
  if (ownership.epoch != connections.epoch || ownership.owner != from ||
      connections.opened.size() + connections.closed.size() > kConnectionsMax) {
    ++node.messages_dropped;
    return;
  }
  if (connections.whole || group.connections_epoch < connections.epoch) {
    group.connections.clear();
    group.connections_epoch = connections.epoch;
  }
  group.connections.insert(connections.opened.begin(), connections.opened.end());
  for (const TcpPair& pair : connections.closed) {
    group.connections.erase(pair);
  }
  resize(group.connections);
}

void send_connections(Node& node) {
  const bool whole = node.connections_whole;
  node.connections_whole = false;
  node.connections_due = kNever;
  for (auto& [name, group] : node.groups) {
    const bool serves = group.run.phase == Phase::active || group.run.phase == Phase::suspended;
    if (!serves && group.run.phase != Phase::starting && !group.opened.empty() && is_in_group(node)) {
      send_strays(node, group);
    }
    if (!serves || (!whole && group.opened.empty() && group.closed.empty())) {
      continue;
    }
    const std::set<TcpPair>& opened = whole ? group.connections : group.opened;
    Connections message{name, group.run.epoch, whole, {}, {}};
    const auto make_room = [&] {
      if (message.opened.size() + message.closed.size() < kConnectionsPerMessage) {
        return;
      }
      send(node, message);
      message.whole = false;
      message.opened.clear();
      message.closed.clear();
    };
    for (const TcpPair& pair : opened) {
      make_room();
      message.opened.push_back(pair);
    }
    if (!whole) {
      for (const TcpPair& pair : group.closed) {
        make_room();
        message.closed.push_back(pair);
      }
    }
    send(node, std::move(message));
    group.opened.clear();
    group.closed.clear();
  }
}

}  // namespace itgtd::ha
