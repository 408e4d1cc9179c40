// What is wrong, and what to do about it.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "ha/status.h"

namespace itgtd::ha {
namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

void add_nodes(const ClusterStatus& status, std::vector<Problem>& problems) {
  std::set<std::string> versions;
  for (const NodeStatus& node : status.nodes) {
    if (node.member && !node.version.empty()) versions.insert(node.version);
    if (node.member || !status.connected) continue;
    if (node.in_quorum) {
      problems.push_back({fmt::format("{}: corosync is there, itgtd is not", node.name),
                          fmt::format("on {}: systemctl start itgtd", node.name)});
    } else {
      problems.push_back({fmt::format("{} is not in the cluster", node.name),
                          "see its power and network; there: systemctl status corosync itgtd"});
    }
  }
  if (versions.size() > 1) {
    problems.push_back({"the nodes run different versions of itgtd",
                        "fine while they are updated one after another; then update the rest"});
  }
}

void add_configuration(const ClusterStatus& status, const GroupStatus& group,
                       std::vector<Problem>& problems) {
  // Which nodes say the same: by digest, in the order of the nodes.
  std::map<uint64_t, std::vector<std::string>> by_digest;
  for (const auto& [node, report] : group.reports) by_digest[report.digest].push_back(name_of(status, node));
  if (by_digest.size() < 2) return;
  std::string sides;
  for (const auto& [digest, names] : by_digest) sides += (sides.empty() ? "" : " | ") + joined(names);
  problems.push_back(
      {"the configuration of the group differs between nodes: " + sides,
       "make its [[group]] and [[target]] equal in itgtd.toml on all, then: systemctl reload itgtd"});
}

void add_vips(const ClusterStatus& status, const GroupStatus& group, const GroupShown& shown,
              std::vector<Problem>& problems) {
  const auto report = group.reports.find(group.ownership.owner);
  if (report == group.reports.end() || report->second.phase != Phase::active) return;
  const std::string owner = name_of(status, group.ownership.owner);
  for (size_t at = 0; at < report->second.vips.size(); ++at) {
    const VipFacts& vip = report->second.vips[at];
    const std::string address = at < shown.vips.size() ? shown.vips[at] : fmt::format("number {}", at + 1);
    if (vip.usable() && vip.present) continue;
    Problem problem;
    if (vip.failed) {
      problem = {fmt::format("VIP {} could not be brought up", address),
                 "see ip address on " + owner + ", and whether another machine has it"};
    } else if (vip.interface.empty()) {
      problem = {fmt::format("VIP {}: {} has no interface in its network", address, owner),
                 "give an interface an address of that network, or set interface in the group's vips"};
    } else if (!vip.link) {
      problem = {fmt::format("VIP {} is down: {} on {} has no link; a lost path, no outage", address,
                             vip.interface, owner),
                 "look at its cable, switch port and bond"};
    } else {
      problem = {fmt::format("VIP {} is missing on {}", address, vip.interface),
                 "it is put back at once; if it stays so: journalctl -u itgtd"};
    }
    if (!vip.detail.empty()) problem.what += " (" + vip.detail + ")";
    problems.push_back(std::move(problem));
  }
}

/// Nodes that would have paths fewer, or none, if they took over. Of the one that serves, add_vips() says
/// more.
void add_places(const ClusterStatus& status, const GroupStatus& group, const GroupShown& shown,
                std::vector<Problem>& problems) {
  for (const auto& [node, report] : group.reports) {
    const std::string name = name_of(status, node);
    const bool may_own = shown.nodes.empty() || std::ranges::find(shown.nodes, name) != shown.nodes.end();
    if (!may_own || (node == group.ownership.owner && report.phase == Phase::active)) continue;
    std::vector<std::string> missing;
    for (size_t at = 0; at < report.vips.size() && at < shown.vips.size(); ++at) {
      if (report.vips[at].interface.empty()) missing.push_back(shown.vips[at]);
    }
    if (missing.empty()) continue;
    const std::string advice = fmt::format(
        "on {}: give an interface an address of that network, or set interface in the group's vips", name);
    if (missing.size() == report.vips.size()) {
      problems.push_back(
          {fmt::format("{} has no interface in the network of any VIP: initiators could not reach "
                       "the group there",
                       name),
           advice});
    } else {
      problems.push_back(
          {fmt::format("{} has no interface in the network of VIP {}", name, joined(missing)), advice});
    }
  }
}

void add_storage(const ClusterStatus& status, const GroupStatus& group, const GroupShown& shown,
                 std::vector<Problem>& problems) {
  for (const auto& [node, report] : group.reports) {
    if (!report.storage.detail.empty()) {
      const bool drbd = report.storage.role != "-";
      problems.push_back(
          {fmt::format("storage on {}: {}", name_of(status, node), report.storage.detail),
           drbd ? fmt::format("on {}: drbdadm status {}", name_of(status, node), shown.storage) : ""});
    }
    if (!report.failure.empty() && node != group.ownership.owner) {
      problems.push_back({fmt::format("{} failed last time: {}", name_of(status, node), report.failure),
                          "it is tried again by itself as the failure is forgotten"});
    }
  }
}

/// What the core says and the lists below say better.
bool is_told_below(const GroupStatus& group) {
  return group.problem.starts_with("failed here: ") ||
         group.problem.find("configuration differs on") != std::string::npos;
}

std::string advice_where_nobody_serves(const ClusterStatus& status, const GroupStatus& group,
                                       const GroupShown& shown) {
  if (!status.connected) return "start corosync here: systemctl start corosync";
  if (!status.quorate) return "nothing is served without quorum: bring the missing nodes back";
  const auto member = [](const NodeStatus& node) { return node.member && !node.drained; };
  if (std::none_of(status.nodes.begin(), status.nodes.end(), member)) {
    return "every node is drained: itgtctl undrain NODE";
  }
  if (group.ownership.owner != 0) return "it goes on by itself; see itgtctl why " + group.name;
  const auto usable = [](const auto& entry) {
    return entry.second.storage.fitness >= StorageFitness::diskless;
  };
  if (std::none_of(group.reports.begin(), group.reports.end(), usable)) {
    return fmt::format("no node has a usable disk; see drbdadm status {} on the nodes, itgtctl why {}",
                       shown.storage.empty() ? "all" : shown.storage, group.name);
  }
  return "see itgtctl why " + group.name;
}

}  // namespace

std::vector<Problem> cluster_problems(const ClusterStatus& status, const std::string& trouble) {
  std::vector<Problem> problems;
  if (!trouble.empty()) {
    problems.push_back({trouble, "systemctl status corosync; itgtd goes on by itself when it is there"});
  } else if (!status.connected) {
    problems.push_back({"no connection to corosync: this node serves no group",
                        "systemctl start corosync; itgtd goes on by itself when it is there"});
  } else if (!status.quorate) {
    const auto there = std::count_if(status.nodes.begin(), status.nodes.end(),
                                     [](const NodeStatus& node) { return node.in_quorum; });
    problems.push_back({fmt::format("no quorum: only {} of {} nodes here; this side serves nothing", there,
                                    status.nodes.size()),
                        "bring the missing nodes back; corosync-quorumtool says who is there"});
  }
  add_nodes(status, problems);
  if (status.messages_dropped > 0) {
    problems.push_back(
        {fmt::format("{} messages of other nodes made no sense and were dropped", status.messages_dropped),
         "another version, or another cluster on the ring: journalctl -u itgtd"});
  }
  return problems;
}

std::vector<Problem> group_problems(const ClusterStatus& status, const GroupStatus& group,
                                    const GroupShown& shown) {
  std::vector<Problem> problems;
  const auto owner = group.reports.find(group.ownership.owner);
  const bool active = owner != group.reports.end() && owner->second.phase == Phase::active &&
                      owner->second.epoch == group.ownership.epoch;
  if (!active && owner != group.reports.end() && owner->second.phase == Phase::suspended) {
    problems.push_back({group.problem.empty() ? fmt::format("{} holds all commands: its lease has ended",
                                                            name_of(status, group.ownership.owner))
                                              : group.problem,
                        "it goes on by itself when the node has quorum again"});
  } else if (!group.problem.empty() && !is_told_below(group)) {
    problems.push_back({group.problem, active ? "" : advice_where_nobody_serves(status, group, shown)});
  } else if (group.ownership.owner == 0 && !is_told_below(group) && status.quorate) {
    problems.push_back({group.ownership.epoch == 0 ? "it was never started" : "nobody serves it",
                        advice_where_nobody_serves(status, group, shown)});
  }
  if (!active && owner != group.reports.end() && !owner->second.failure.empty()) {
    problems.push_back(
        {fmt::format("{}: {}", name_of(status, group.ownership.owner), owner->second.failure), ""});
  }
  add_configuration(status, group, problems);
  add_vips(status, group, shown, problems);
  add_places(status, group, shown, problems);
  add_storage(status, group, shown, problems);
  return problems;
}

}  // namespace itgtd::ha
