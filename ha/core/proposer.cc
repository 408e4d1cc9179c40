// When a group needs another owner, which, and whose turn it is to say so.
#include <algorithm>
#include <cmath>

#include "ha/core/node.h"

namespace itgtd::ha {

namespace {

const Candidate* find_candidate(const std::vector<Candidate>& ranked, NodeId id) {
  const auto found =
      std::find_if(ranked.begin(), ranked.end(), [&](const Candidate& c) { return c.node == id; });
  return found == ranked.end() ? nullptr : &*found;
}

/// The best one that is eligible, is not `except`, and has not failed in this round.
NodeId best_other(const Group& group, const std::vector<Candidate>& ranked, NodeId except) {
  for (const Candidate& candidate : ranked) {
    if (candidate.eligible && candidate.node != except && !group.failed_round.contains(candidate.node)) {
      return candidate.node;
    }
  }
  return 0;
}

/// Every configured node has told what it knows, its storage of this group too.
bool is_everybody_here(const Node& node, const Group& group) {
  for (const auto& [id, peer] : node.peers) {
    if (peer.configured && id != node.self && (!is_heard(node, id) || !peer.has_report)) {
      return false;
    }
  }
  const std::vector<Candidate> ranked = rank(node, group, node.now);
  return std::none_of(ranked.begin(), ranked.end(),
                      [](const Candidate& c) { return c.member && c.fitness == StorageFitness::unknown; });
}

std::optional<Cause> cause_unowned(const Node& node, const Group& group, const Ownership& ownership,
                                   const std::vector<Candidate>& ranked) {
  if (!digest_disagreement(node, group).empty()) {
    return std::nullopt;
  }
  const NodeId best = best_other(group, ranked, 0);
  if (best == 0) {
    return std::nullopt;
  }
  if (ownership.epoch == 0) {
    // Who is not the most preferred one may just have been the first to look at its disks and links.
    const bool is_first = ranked.front().preference == 0;
    const TimeMs facts_ms = is_first ? 0 : std::min(kFactsMs, node.timing.first_start_ms);
    const TimeMs hold_ms = is_everybody_here(node, group) ? facts_ms : node.timing.first_start_ms;
    return Cause{Reason::first_start, best, hold_ms, false};
  }
  return Cause{ownership.reason, best, 0, false};
}

/// The owner is not there.
std::optional<Cause> cause_absent(const Node& node, NodeId owner, NodeId best) {
  if (owner == node.self || best == 0) {
    return std::nullopt;
  }
  const Peer* peer = find_peer(node, owner);
  if (peer == nullptr || !is_in_ring(node, owner)) {
    return Cause{Reason::node_lost, best, 0, false};
  }
  if (peer->pid == 0) {
    return Cause{Reason::daemon_lost, best, node.timing.restart_grace_ms, false};
  }
  const TimeMs heard_at = std::max(peer->heard_at, peer->pid_since);
  if (node.now - heard_at > node.timing.hung_ms) {
    return Cause{Reason::hung, best, 0, false};
  }
  return std::nullopt;
}

/// How many VIPs of a group have a link on a node.
uint32_t links_of(const Node& node, const Group& group, NodeId id) {
  const Peer* peer = find_peer(node, id);
  const std::vector<VipFacts>* vips = id == node.self ? &group.vips : nullptr;
  if (vips == nullptr && peer != nullptr) {
    const auto report = peer->report.groups.find(group.spec.name);
    vips = report == peer->report.groups.end() ? nullptr : &report->second.vips;
  }
  if (vips == nullptr) {
    return 0;
  }
  return static_cast<uint32_t>(
      std::count_if(vips->begin(), vips->end(), [](const VipFacts& vip) { return vip.link; }));
}

/// Another node would be better, by enough for a move.
std::optional<Cause> cause_better(const Node& node, const Group& group, const Candidate& owner,
                                  const std::vector<Candidate>& ranked) {
  const TimeMs hold = node.timing.hold_down_ms;
  // One that could not be added here can hardly be expected to go better where nobody has tried: only links
  // count.
  const uint32_t owner_paths = links_of(node, group, owner.node);
  const Candidate* paths = nullptr;
  const Candidate* preferred = nullptr;
  for (const Candidate& other : ranked) {
    if (!other.eligible || other.node == owner.node || other.fitness != StorageFitness::usable) {
      continue;
    }
    if (owner.fitness < StorageFitness::usable && owner.fitness != StorageFitness::unknown) {
      return Cause{Reason::failed, other.node, hold, false};
    }
    const bool has_failed = std::lround(other.failures) != 0;
    if (other.live_vips > owner_paths && (paths == nullptr || other.live_vips > paths->live_vips)) {
      paths = &other;
    }
    // Never for fewer paths: it would come back for them.
    if (group.spec.failback && other.preference < owner.preference && other.live_vips >= owner.live_vips &&
        !has_failed && (preferred == nullptr || other.preference < preferred->preference)) {
      preferred = &other;
    }
  }
  if (paths != nullptr &&
      (group.more_paths_at < 0 || node.now >= group.more_paths_at + group.more_paths_pause_ms)) {
    return Cause{Reason::more_paths, paths->node, hold, false};
  }
  if (preferred != nullptr) {
    return Cause{Reason::failback, preferred->node, hold, false};
  }
  return std::nullopt;
}

/// This node owns it and is not to start it, or to go on, under the epoch that it has: see docs/adr/0010.
bool needs_new_epoch(const Node& node, const Group& group) {
  const Run& run = group.run;
  if (ownership_of(node, group.spec.name).owner != node.self) {
    return false;
  }
  return run.doubtful || (run.phase == Phase::waiting && run.epoch < forgotten_below(node));
}

/// The lease is trusted, the quorum's word is of this ring, and everybody who is heard has told its table.
bool may_decide(const Node& node) {
  bool may = has_lease(node) && quorum_holds(node) && is_heard(node, node.self) && !node.stopped;
  for (const auto& [id, peer] : node.peers) {
    may = may && (id == node.self || peer.has_report || !is_heard(node, id));
  }
  return may;
}

/// How long this node waits for those before it.
TimeMs turn(const Node& node) {
  TimeMs before = 0;
  for (const auto& [id, peer] : node.peers) {
    before += id < node.self && is_heard(node, id) ? 1 : 0;
  }
  return before * node.timing.propose_step_ms;
}

/// Grows, and is this node's alone: two that propose at the same time, in a ring that breaks in two, must not
/// give one epoch two owners.
Epoch next_epoch(const Node& node, Epoch old) {
  uint64_t index = 0;
  const Epoch least = std::max({old + 1, node.ring.seq << 16, forgotten_below(node)});
  for (const auto& [id, peer] : node.peers) {
    index += peer.configured && id < node.self ? 1 : 0;
  }
  return least + ((index - least) & (kNodesMax - 1));
}

void send_assign(Node& node, Group& group, const Cause& cause) {
  const Ownership old = ownership_of(node, group.spec.name);
  Assign assign{group.spec.name, old.epoch, {}};
  assign.ownership.epoch = next_epoch(node, old.epoch);
  assign.ownership.owner = cause.target;
  assign.ownership.previous = old.owner != 0 ? old.owner : old.previous;
  assign.ownership.reason = cause.reason;
  send(node, std::move(assign));
  group.proposed_on = old.epoch;
  group.proposed_at = node.now;
}

TimeMs retry_pause(const Group& group) {
  const uint32_t doublings = std::min<uint32_t>(group.failed_rounds == 0 ? 0 : group.failed_rounds - 1, 6);
  return std::min(kRetryMinMs << doublings, kRetryMaxMs);
}

}  // namespace

std::optional<Cause> cause_of(const Node& node, const Group& group) {
  const Ownership ownership = ownership_of(node, group.spec.name);
  const std::vector<Candidate> ranked = rank(node, group, node.now);
  if (ownership.owner == 0) {
    return cause_unowned(node, group, ownership, ranked);
  }
  const NodeId best = best_other(group, ranked, ownership.owner);
  if (const std::optional<Cause> absent = cause_absent(node, ownership.owner, best)) {
    return absent;
  }
  if (group.outcome_epoch == ownership.epoch && !group.outcome_active) {
    return Cause{Reason::failed, best, 0, ownership.owner == node.self};
  }
  const Candidate* owner = find_candidate(ranked, ownership.owner);
  const bool leaves = owner == nullptr || owner->drained;
  if (leaves && best != 0) {
    return Cause{Reason::drained, best, 0, ownership.owner == node.self};
  }
  if (group.wish) {
    const NodeId target = *group.wish == 0 ? best : *group.wish;
    const Candidate* wished = find_candidate(ranked, target);
    if (wished != nullptr && wished->eligible && target != ownership.owner) {
      return Cause{Reason::moved, target, 0, ownership.owner == node.self};
    }
  }
  if (needs_new_epoch(node, group)) {
    return Cause{Reason::renewed, node.self, 0, true};
  }
  if (owner == nullptr || !is_heard(node, ownership.owner)) {
    return std::nullopt;
  }
  return cause_better(node, group, *owner, ranked);
}

void update_may_propose(Node& node) {
  if (!may_decide(node) || node.table.standing.maintenance) {
    node.may_propose_since = -1;
  } else if (node.may_propose_since < 0) {
    node.may_propose_since = node.now;
    node.all_dirty = true;
  }
}

TimeMs propose(Node& node, Group& group) {
  if (!group.configured || node.stopped) {
    return kNever;
  }
  if (group.wish && node.now - group.wish_at > kWishMs) {
    group.wish.reset();
  }
  const Ownership ownership = ownership_of(node, group.spec.name);
  if (ownership.owner == 0 && !group.failed_round.empty()) {
    if (node.now < group.retry_at) {
      return group.retry_at;
    }
    group.failed_round.clear();
  }
  const std::optional<Cause> cause = cause_of(node, group);
  TimeMs look_at = kNever;
  if (const Peer* owner = find_peer(node, ownership.owner);
      owner != nullptr && ownership.owner != node.self) {
    // A silent owner: nothing comes that tells.
    const TimeMs hung_at = std::max(owner->heard_at, owner->pid_since) + node.timing.hung_ms + 1;
    look_at = hung_at > node.now ? hung_at : look_at;
  }
  if (group.more_paths_at >= 0 && node.now < group.more_paths_at + group.more_paths_pause_ms) {
    look_at = std::min(look_at, group.more_paths_at + group.more_paths_pause_ms);
  }
  for (const auto& [id, hopeless] : group.hopeless) {
    const TimeMs over_at = hopeless.at + kRetryMaxMs;
    look_at = over_at > node.now ? std::min(look_at, over_at) : look_at;
  }
  if (!cause) {
    group.cause.reset();
    return look_at;
  }
  if (!group.cause || group.cause->reason != cause->reason || group.cause_epoch != ownership.epoch) {
    group.cause_since = node.now;
    group.cause_epoch = ownership.epoch;
  }
  group.cause = cause;
  // Maintenance keeps every group where it is, but the owner itself may go on.
  const bool may = cause->reason == Reason::renewed ? may_decide(node) : node.may_propose_since >= 0;
  if (!may) {
    return std::min(look_at, node.now + kLookAgainMs);
  }
  TimeMs since = group.cause_since;
  if (cause->reason == Reason::first_start) {
    since = std::max(since, cause->hold_ms == 0 ? since : node.may_propose_since);
  }
  TimeMs due = since + cause->hold_ms + (cause->urgent ? 0 : turn(node));
  if (group.proposed_at >= 0 && group.proposed_on == ownership.epoch) {
    due = std::max(due, group.proposed_at + kProposeAgainMs);
  }
  if (node.now < due) {
    return std::min(look_at, due);
  }
  send_assign(node, group, *cause);
  return std::min(look_at, node.now + kProposeAgainMs);
}

void on_outcome(Node& node, NodeId from, const Outcome& outcome) {
  const auto found = node.groups.find(outcome.group);
  if (found == node.groups.end()) {
    return;
  }
  const Ownership ownership = ownership_of(node, outcome.group);
  if (ownership.epoch != outcome.epoch || ownership.owner != from || outcome.text.size() > kTextBytesMax) {
    return;  // overtaken
  }
  Group& group = found->second;
  const bool news = group.outcome_epoch != outcome.epoch || group.outcome_active != outcome.active;
  if (!news) {
    return;
  }
  group.outcome_epoch = outcome.epoch;
  group.outcome_active = outcome.active;
  mark_dirty(node, outcome.group);
  if (outcome.active) {
    group.failed_round.clear();
    group.failed_rounds = 0;
    return;
  }
  Failures& failures = group.failures[from];
  const TimeMs half = std::max<TimeMs>(node.timing.failure_decay_ms, 1);
  failures.count = 1 + failures.count * std::exp2(-static_cast<double>(node.now - failures.at) /
                                                  static_cast<double>(half));
  failures.at = node.now;
  if (group.failed_round.empty()) {
    ++group.failed_rounds;
  }
  group.failed_round.insert(from);
  group.retry_at = node.now + retry_pause(group);
  if (outcome.retry_here) {
    return;
  }
  if (from == node.self) {
    group.hopeless[from] = {group.storage, node.now};
  } else if (const Peer* peer = find_peer(node, from); peer != nullptr) {
    const auto report = peer->report.groups.find(outcome.group);
    if (report != peer->report.groups.end()) {
      group.hopeless[from] = {report->second.storage, node.now};
    }
  }
}

}  // namespace itgtd::ha
