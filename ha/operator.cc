#include "ha/operator.h"

#include <fmt/format.h>

#include <algorithm>

#include "ha/status.h"

namespace itgtd::ha {
namespace {

template <typename Items, typename Name>
std::string names_of(const Items& items, Name name) {
  std::string names;
  for (const auto& item : items) names += (names.empty() ? "" : ", ") + name(item);
  return names.empty() ? "none" : names;
}

const NodeStatus* node_named(const ClusterStatus& status, const std::string& name) {
  const auto same = [&name](const NodeStatus& node) { return node.name == name; };
  const auto found = std::find_if(status.nodes.begin(), status.nodes.end(), same);
  return found == status.nodes.end() ? nullptr : &*found;
}

Error no_such_node(const ClusterStatus& status, const std::string& name) {
  const std::string names = names_of(status.nodes, [](const NodeStatus& node) { return node.name; });
  return {0, fmt::format("corosync knows no node {}; its nodes are: {}", name, names)};
}

Result<void> check_quorum(const ClusterStatus& status) {
  if (!status.connected) {
    return Error{0, "this node has no connection to corosync: ask at another node, or start corosync here"};
  }
  if (!status.quorate) return Error{0, "no quorum: nothing can be decided here; ask at a node that has it"};
  return {};
}

/// What keeps everybody else from taking the group.
std::string refusals(const std::vector<Candidate>& candidates, NodeId owner) {
  std::string text;
  for (const Candidate& candidate : candidates) {
    if (candidate.node == owner) continue;
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", candidate.name,
                        candidate.reason.empty() ? "not eligible" : candidate.reason);
  }
  return text.empty() ? "it has no other node" : text;
}

}  // namespace

Result<Wish> wish_to_move(const ClusterStatus& status, const std::vector<Candidate>& candidates,
                          const std::string& group, const std::string& node) {
  if (Result<void> quorum = check_quorum(status); !quorum) return quorum.error();
  const auto same = [&group](const GroupStatus& known) { return known.name == group; };
  const auto found = std::find_if(status.groups.begin(), status.groups.end(), same);
  if (found == status.groups.end()) {
    const std::string names = names_of(status.groups, [](const GroupStatus& known) { return known.name; });
    return Error{0, fmt::format("there is no group {}; the groups are: {}", group, names)};
  }
  if (status.maintenance) {
    return Error{0, "maintenance is on: nothing is moved; first: itgtctl maintenance off"};
  }
  const NodeId owner = found->ownership.owner;
  Wish wish{Wish::Kind::move, group, 0};
  if (node.empty()) {
    const auto can = [owner](const Candidate& candidate) {
      return candidate.eligible && candidate.node != owner;
    };
    if (std::none_of(candidates.begin(), candidates.end(), can)) {
      return Error{0, fmt::format("no other node can take {}: {}", group, refusals(candidates, owner))};
    }
    return wish;
  }
  const NodeStatus* to = node_named(status, node);
  if (to == nullptr) return no_such_node(status, node);
  if (to->id == owner) return Error{0, fmt::format("{} is the owner of {} already", node, group)};
  const auto is_it = [to](const Candidate& candidate) { return candidate.node == to->id; };
  const auto candidate = std::find_if(candidates.begin(), candidates.end(), is_it);
  if (candidate == candidates.end()) {
    return Error{0, fmt::format("{} is no node of {}; its nodes are: {}", node, group,
                                names_of(candidates, [](const Candidate& known) { return known.name; }))};
  }
  if (!candidate->eligible) {
    return Error{0, fmt::format("{} can't take {}: {}", node, group,
                                candidate->reason.empty() ? "see itgtctl why " + group : candidate->reason)};
  }
  wish.node = to->id;
  return wish;
}

Result<Wish> wish_to_drain(const ClusterStatus& status, const std::string& node, bool drained) {
  if (Result<void> quorum = check_quorum(status); !quorum) return quorum.error();
  const NodeStatus* known = node_named(status, node);
  if (known == nullptr) return no_such_node(status, node);
  return Wish{drained ? Wish::Kind::drain : Wish::Kind::undrain, "", known->id};
}

Result<Wish> wish_for_maintenance(const ClusterStatus& status, bool on) {
  if (Result<void> quorum = check_quorum(status); !quorum) return quorum.error();
  return Wish{on ? Wish::Kind::maintenance_on : Wish::Kind::maintenance_off, "", 0};
}

}  // namespace itgtd::ha
