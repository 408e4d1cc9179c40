// The answers for people.
#include <fmt/format.h>

#include <algorithm>

#include "ha/core/node.h"

namespace itgtd::ha {

std::string problem_of(const Node& node, const Group& group) {
  const Ownership ownership = ownership_of(node, group.spec.name);
  const std::string differing = digest_disagreement(node, group);
  if (ownership.owner == 0) {
    if (!has_lease(node)) {
      return "not started: this node has no lease";
    }
    if (!differing.empty()) {
      return fmt::format("not started: its configuration differs on {}", differing);
    }
    const std::vector<Candidate> ranked = rank(node, group, node.now);
    if (ranked.empty() || !ranked.front().eligible) {
      return ranked.empty() ? "not started: its list of nodes is empty"
                            : fmt::format("not started: no node can; {}: {}", ranked.front().name,
                                          ranked.front().reason);
    }
    return ownership.epoch == 0 ? "not started yet: not all nodes are there"
                                : "it failed on each node that could have it; tried again soon";
  }
  if (ownership.owner == node.self) {
    if (group.run.phase == Phase::waiting) {
      std::string names;
      for (const NodeId id : awaited(node, group, group.run.epoch).nodes) {
        names += (names.empty() ? "" : ", ") + name_of(node, id);
      }
      return names.empty() ? "starting: it waits for a lease"
                           : fmt::format("starting: {} must give it up first, or be gone long enough", names);
    }
    if (group.run.phase == Phase::suspended) {
      return "held: this node has no lease";
    }
  } else if (!is_heard(node, ownership.owner)) {
    return fmt::format("its owner {} is not heard", name_of(node, ownership.owner));
  }
  if (!group.run.failure.empty()) {
    return fmt::format("failed here: {}", group.run.failure);
  }
  return differing.empty() ? std::string() : fmt::format("its configuration differs on {}", differing);
}

namespace {

ClusterStatus without_groups(const State& state, TimeMs now) {
  const Node& node = state.node();
  ClusterStatus result;
  const Peer* self = find_peer(node, node.self);
  result.connected = node.ring_known && self != nullptr && self->pid == node.pid;
  result.quorate = quorum_holds(node);
  result.maintenance = node.table.standing.maintenance;
  result.ring = node.ring;
  result.lease_left_ms = node.lapsed ? 0 : std::max<TimeMs>(0, node.lease_until - now);
  result.messages_dropped = node.messages_dropped;
  for (const auto& [id, peer] : node.peers) {
    NodeStatus entry;
    entry.id = id;
    entry.name = name_of(node, id);
    entry.self = id == node.self;
    entry.member = peer.pid != 0 && is_in_ring(node, id);
    entry.in_quorum = std::binary_search(node.quorum.nodes.begin(), node.quorum.nodes.end(), id);
    entry.drained = node.table.standing.drained.contains(id);
    entry.silence_ms = entry.self || peer.heard_at < 0 ? 0 : now - peer.heard_at;
    entry.version = entry.self ? node.version : peer.report.version;
    result.nodes.push_back(std::move(entry));
  }
  return result;
}

GroupStatus group_status(const Node& node, const std::string& name, const Group& group, TimeMs now) {
  GroupStatus entry;
  entry.name = name;
  entry.ownership = ownership_of(node, name);
  entry.problem = problem_of(node, group);
  entry.reports[node.self] = own_report(node, group, now);
  for (const auto& [id, peer] : node.peers) {
    const auto report = peer.report.groups.find(name);
    if (id != node.self && is_heard(node, id) && report != peer.report.groups.end()) {
      GroupReport& known = entry.reports[id] = report->second;
      known.since_ms += now - peer.report_at;  // nothing is sent while nothing changes
    }
  }
  return entry;
}

}  // namespace

ClusterStatus status(const State& state, TimeMs now) {
  const Node& node = state.node();
  ClusterStatus result = without_groups(state, now);
  for (const auto& [name, group] : node.groups) {
    result.groups.push_back(group_status(node, name, group, now));
  }
  return result;
}

ClusterStatus status_of(const State& state, const std::string& group, TimeMs now) {
  const Node& node = state.node();
  ClusterStatus result = without_groups(state, now);
  const auto found = node.groups.find(group);
  if (found != node.groups.end()) {
    result.groups.push_back(group_status(node, group, found->second, now));
  }
  return result;
}

bool may_serve(const State& state, const std::string& group, TimeMs now) {
  const Node& node = state.node();
  const auto found = node.groups.find(group);
  return found != node.groups.end() && found->second.run.phase == Phase::active && !node.lapsed &&
         now < node.lease_until;
}

}  // namespace itgtd::ha
