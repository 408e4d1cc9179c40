// What operators want: whether it can be, and what every node does when it hears of it.
#include <fmt/format.h>

#include <algorithm>

#include "ha/core/node.h"

namespace itgtd::ha {

namespace {

std::optional<std::string> why_not_move(const Node& node, const Wish& wish) {
  const auto found = node.groups.find(wish.group);
  if (found == node.groups.end() || !found->second.configured) {
    return fmt::format("there is no group \"{}\"", wish.group);
  }
  if (node.table.standing.maintenance) {
    return "maintenance is on: nothing moves. Turn it off first";
  }
  const Group& group = found->second;
  const Ownership ownership = ownership_of(node, wish.group);
  if (ownership.owner == 0) {
    return fmt::format("nobody owns group \"{}\" now: {}", wish.group, problem_of(node, group));
  }
  if (wish.node != 0 && wish.node == ownership.owner) {
    return fmt::format("group \"{}\" is on {} already", wish.group, name_of(node, wish.node));
  }
  const std::vector<Candidate> ranked = rank(node, group, node.now);
  if (wish.node != 0) {
    const auto wished =
        std::find_if(ranked.begin(), ranked.end(), [&](const Candidate& c) { return c.node == wish.node; });
    if (wished == ranked.end()) {
      return fmt::format("{} may not own group \"{}\": it is not in its list of nodes",
                         name_of(node, wish.node), wish.group);
    }
    if (!wished->eligible) {
      return fmt::format("{} can't take group \"{}\": {}", name_of(node, wish.node), wish.group,
                         wished->reason);
    }
    return std::nullopt;
  }
  std::string reasons;
  for (const Candidate& candidate : ranked) {
    if (candidate.node == ownership.owner) {
      continue;
    }
    if (candidate.eligible) {
      return std::nullopt;
    }
    reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", candidate.name, candidate.reason);
  }
  return fmt::format("no other node can take group \"{}\" ({})", wish.group,
                     reasons.empty() ? "there is none in its list" : reasons);
}

}  // namespace

std::optional<std::string> why_not(const Node& node, const Wish& wish) {
  const Peer* wished = find_peer(node, wish.node);
  const bool needs_node = wish.kind == Wish::Kind::drain || wish.kind == Wish::Kind::undrain;
  if ((needs_node || wish.node != 0) && (wished == nullptr || !wished->configured)) {
    return fmt::format("corosync does not know node {}", wish.node);
  }
  if (!is_heard(node, node.self)) {
    return "this node has no connection to the cluster; see corosync's state";
  }
  if (!has_lease(node)) {
    return "this node has no lease: it is without quorum, or has not heard the others yet";
  }
  const Table::Standing& standing = node.table.standing;
  switch (wish.kind) {
    case Wish::Kind::move:
      return why_not_move(node, wish);
    case Wish::Kind::drain:
      return standing.drained.contains(wish.node)
                 ? std::optional(fmt::format("{} is drained already", name_of(node, wish.node)))
                 : std::nullopt;
    case Wish::Kind::undrain:
      return standing.drained.contains(wish.node)
                 ? std::nullopt
                 : std::optional(fmt::format("{} is not drained", name_of(node, wish.node)));
    case Wish::Kind::maintenance_on:
      return standing.maintenance ? std::optional<std::string>("maintenance is on already") : std::nullopt;
    case Wish::Kind::maintenance_off:
      return standing.maintenance ? std::nullopt : std::optional<std::string>("maintenance is off already");
  }
  return "there is no such wish";
}

std::optional<std::string> check_wish(const State& state, const Wish& wish, TimeMs) {
  return why_not(state.node(), wish);
}

void on_asked(Node& node, const Wish& wish) {
  if (const std::optional<std::string> reason = why_not(node, wish)) {
    note(node, Note::Kind::info, wish.group, 0, fmt::format("not done: {}", *reason));
    return;
  }
  send(node, wish);
}

void on_wish(Node& node, const Wish& wish) {
  Table::Standing& standing = node.table.standing;
  const Peer* wished = find_peer(node, wish.node);
  if (wish.node != 0 && (wished == nullptr || !wished->configured)) {
    ++node.messages_dropped;
    return;
  }
  const Table::Standing before = standing;
  switch (wish.kind) {
    case Wish::Kind::move: {
      const auto found = node.groups.find(wish.group);
      if (found != node.groups.end() && ownership_of(node, wish.group).owner != 0) {
        found->second.wish = wish.node;
        found->second.wish_at = node.now;
        mark_dirty(node, wish.group);
      }
      return;
    }
    case Wish::Kind::drain:
      if (wish.node != 0) {
        standing.drained.insert(wish.node);
      }
      break;
    case Wish::Kind::undrain:
      standing.drained.erase(wish.node);
      break;
    case Wish::Kind::maintenance_on:
      standing.maintenance = true;
      break;
    case Wish::Kind::maintenance_off:
      standing.maintenance = false;
      break;
  }
  if (standing != before) {
    ++standing.version;
    node.all_dirty = true;
    note(node, Note::Kind::info, {}, 0,
         standing.maintenance != before.maintenance
             ? fmt::format("maintenance is {}", standing.maintenance ? "on" : "off")
             : fmt::format("{} is {}", name_of(node, wish.node),
                           standing.drained.contains(wish.node) ? "drained" : "no longer drained"));
  }
}

}  // namespace itgtd::ha
