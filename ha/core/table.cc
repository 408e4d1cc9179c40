// Who owns what: how an entry is taken, acknowledged, and when all have done so.
#include "ha/core/node.h"

#include <fmt/format.h>

#include <algorithm>

namespace itgtd::ha {

bool is_believable(const Node& node, Epoch epoch) {
  return (epoch >> 16) <= node.ring.seq + kRingsAhead;
}

namespace {

bool is_believable(const Node& node, const std::string& group, const Ownership& ownership) {
  if (group.empty() || group.size() > kGroupNameBytesMax || ownership.epoch == 0 ||
      !is_believable(node, ownership.epoch)) {
    return false;
  }
  const Peer* owner = find_peer(node, ownership.owner);
  return ownership.owner == 0 || (owner != nullptr && owner->configured);
}

void take(Node& node, const std::string& name, const Ownership& ownership, bool in_order) {
  node.table.groups[name] = ownership;
  const auto found = node.groups.find(name);
  if (found == node.groups.end()) {
    // Not configured here: there is nothing that could be served.
    if (ownership.owner != node.self) {
      send_ack(node, name, ownership.epoch);
    }
    return;
  }
  Group& group = found->second;
  std::erase_if(group.acks, [&](const auto& entry) { return entry.second.epoch < ownership.epoch; });
  if (ownership.reason != Reason::renewed) {
    group.wish.reset();
  }
  group.cause.reset();
  if (ownership.reason == Reason::more_paths) {
    group.more_paths_pause_ms = std::clamp(group.more_paths_pause_ms * 2, kMorePathsMs, kMorePathsMaxMs);
    group.more_paths_at = node.now;
  }
  // Who was asked in agreed order answers by itself; otherwise the owner has to ask.
  group.run.ask_at = in_order ? node.now + kAskAgainMs : node.now;
  note(node, Note::Kind::decision, name, ownership.epoch,
       fmt::format("owner: {} ({}; before: {})", name_of(node, ownership.owner), to_string(ownership.reason),
                   name_of(node, ownership.previous)));
  mark_dirty(node, name);
}

}  // namespace

void send_ack(Node& node, const std::string& group, Epoch epoch) {
  Ack ack{group, epoch, {}};
  for (const auto& [id, peer] : node.peers) {
    const TimeMs silence = silence_of(node, id);
    if (peer.configured && id != node.self && silence >= 0) {
      ack.silence[id] = silence;
    }
  }
  send(node, std::move(ack));
}

void on_assign(Node& node, NodeId, const Assign& assign) {
  const Ownership& ownership = assign.ownership;
  if (!is_believable(node, assign.group, ownership) || assign.expected > ownership.epoch) {
    ++node.messages_dropped;
    return;
  }
  const Ownership present = ownership_of(node, assign.group);
  if (present.epoch == ownership.epoch && present.owner == ownership.owner) {
    if (ownership.owner == node.self) {
      return;
    }
    const auto found = node.groups.find(assign.group);
    if (found == node.groups.end() || found->second.run.acked >= ownership.epoch) {
      send_ack(node, assign.group, ownership.epoch);
    }
    return;
  }
  if (present.epoch > assign.expected || present.epoch >= ownership.epoch) {
    if (assign.expected == ownership.epoch) {
      mark_report(node);  // who says so does not know better
    }
    return;
  }
  if (!node.table.groups.contains(assign.group) && node.table.groups.size() >= kTableEntriesMax) {
    ++node.messages_dropped;
    return;
  }
  take(node, assign.group, ownership, true);
}

void merge_table(Node& node, NodeId, const Table& table) {
  for (const auto& [name, ownership] : table.groups) {
    const bool known = node.table.groups.contains(name);
    if (!is_believable(node, name, ownership) || (!known && node.table.groups.size() >= kTableEntriesMax)) {
      node.messages_dropped += ownership.epoch == 0 ? 0 : 1;
      continue;
    }
    if (ownership.epoch > ownership_of(node, name).epoch) {
      take(node, name, ownership, false);
    }
  }
  const Table::Standing& theirs = table.standing;
  Table::Standing& ours = node.table.standing;
  if (theirs.drained.size() > kNodesMax || theirs.version < ours.version || theirs == ours) {
    return;
  }
  if (theirs.version > ours.version) {
    ours = theirs;
  } else {
    // Two halves changed it at the same time: keep the wishes of both.
    ours.drained.insert(theirs.drained.begin(), theirs.drained.end());
    ours.maintenance = ours.maintenance || theirs.maintenance;
  }
  node.all_dirty = true;
}

void on_ack(Node& node, NodeId from, const Ack& ack) {
  const auto found = node.groups.find(ack.group);
  if (found == node.groups.end()) {
    return;  // for groups of others
  }
  if (ack.epoch > ownership_of(node, ack.group).epoch || ack.silence.size() > kNodesMax) {
    ++node.messages_dropped;
    return;
  }
  const Group& group = found->second;
  const uint32_t pid = node.peers.at(from).pid;
  Acked& acked = found->second.acks[from];
  if (ack.epoch >= acked.epoch) {
    const bool runs = group.run.phase == Phase::starting || group.run.phase == Phase::active;
    const bool sure = runs && has_lease(node) && !group.run.doubtful && group.run.epoch == ack.epoch;
    const bool before = acked.vouches && acked.pid == pid && acked.epoch == ack.epoch;
    acked = {ack.epoch, node.now, ack.silence, pid, sure || before};
    mark_dirty(node, ack.group);
  }
}

Epoch forgotten_below(const Node& node) {
  Epoch bound = node.epoch_floor;
  for (const auto& [id, peer] : node.peers) {
    if (peer.configured && peer.has_report && is_believable(node, peer.report.epoch_floor)) {
      bound = std::max(bound, peer.report.epoch_floor);
    }
  }
  return bound;
}

void check_doubts(Node& node) {
  for (auto& [name, group] : node.groups) {
    Run& run = group.run;
    if (run.phase != Phase::starting && run.phase != Phase::suspended) {
      continue;
    }
    for (const auto& [id, peer] : node.peers) {
      const auto acked = group.acks.find(id);
      const bool vouches = acked != group.acks.end() && acked->second.vouches &&
                           acked->second.epoch == run.epoch && acked->second.pid == peer.last_pid;
      run.doubtful = run.doubtful ||
                     (peer.configured && peer.has_report && !vouches &&
                      is_believable(node, peer.report.epoch_floor) && peer.report.epoch_floor > run.epoch);
    }
  }
}

Awaited awaited(const Node& node, const Group& group, Epoch epoch) {
  Awaited result;
  const TimeMs out_ms = node.timing.lease_ms + node.timing.margin_ms;
  for (const auto& [id, peer] : node.peers) {
    const auto acked = group.acks.find(id);
    const bool has_acked = acked != group.acks.end() && acked->second.epoch >= epoch;
    if (!peer.configured || id == node.self || has_acked) {
      continue;
    }
    // Out: everyone who acknowledged has counted so much silence that its lease has ended.
    TimeMs counted = silence_of(node, id);
    for (const auto& [other, ack] : group.acks) {
      if (ack.epoch >= epoch) {
        const auto silence = ack.silence.find(id);
        // Who did not count then, for want of a quorum, is not known to count now.
        const bool counts = silence != ack.silence.end() && silence->second >= 0;
        counted = std::min(counted, counts ? std::min(silence->second, out_ms) + (node.now - ack.at) : -1);
      }
    }
    if (counted >= out_ms) {
      continue;
    }
    result.nodes.push_back(id);
    const TimeMs left = counted < 0 ? kLookAgainMs : out_ms - counted;
    result.look_at = std::min(result.look_at, node.now + left);
  }
  return result;
}

}  // namespace itgtd::ha
