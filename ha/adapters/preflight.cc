#include "ha/adapters/preflight.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <set>
#include <string_view>
#include <utility>

namespace itgtd::ha {

namespace {

using Severity = Finding::Severity;

/// corosync's default is 3000. Below, a busy machine loses the ring; above, a takeover takes longer than
/// initiators like to wait.
constexpr TimeMs kTokenMinMs = 300;
constexpr TimeMs kTokenMaxMs = 10000;

/// No host name is longer (RFC 1035 §2.3.4); what is has no near one.
constexpr size_t kNameMax = 255;

/// How many characters one name is away from the other.
size_t distance(std::string_view a, std::string_view b) {
  a = a.substr(0, kNameMax);
  b = b.substr(0, kNameMax);
  std::array<size_t, kNameMax + 1> row{};
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string known_names(const CorosyncSettings& corosync) {
  std::vector<std::string> names;
  for (const NodeName& node : corosync.nodes) names.push_back(node.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

/// The known name that is nearest, when it is near; empty: none is.
std::string nearest_name(const CorosyncSettings& corosync, std::string_view name) {
  std::string nearest;
  size_t least = std::max<size_t>(name.size() / 2, 1) + 1;
  for (const NodeName& node : corosync.nodes) {
    const size_t away = distance(name, node.name);
    if (away < least) {
      least = away;
      nearest = node.name;
    }
  }
  return nearest;
}

void check_quorum(const CorosyncSettings& corosync, std::vector<Finding>& findings) {
  if (!corosync.quorum_provider)
    findings.push_back(
        {Severity::refuse,
         "corosync counts no votes, so both halves of a cut cluster would serve: set provider: "
         "corosync_votequorum in the section quorum of corosync.conf"});
  if (corosync.two_node && !corosync.quorum_device)
    findings.push_back(
        {Severity::refuse,
         corosync.auto_tie_breaker
             ? "corosync has two_node: 1 besides auto_tie_breaker, which gives each of two nodes the "
               "quorum by itself: remove two_node, and add a quorum device (corosync-qdevice) or a "
               "third node"
             : "corosync has two_node: 1, which gives each of two nodes the quorum by itself: add a "
               "quorum device (corosync-qdevice) or a third node, and remove two_node"});
}

void check_nodes(const CorosyncSettings& corosync, const std::vector<PreflightGroup>& groups,
                 std::vector<Finding>& findings) {
  const auto knows = [&](std::string_view name) {
    return std::any_of(corosync.nodes.begin(), corosync.nodes.end(),
                       [&](const NodeName& node) { return node.name == name; });
  };
  const bool self_known = std::any_of(corosync.nodes.begin(), corosync.nodes.end(),
                                      [&](const NodeName& node) { return node.id == corosync.self; });
  if (!self_known)
    findings.push_back({Severity::refuse,
                        fmt::format("this node ({}, nodeid {}) is not in corosync's nodelist ({}): add it to "
                                    "corosync.conf on every node, then corosync-cfgtool -R",
                                    corosync.self_name.empty() ? "without a name" : corosync.self_name,
                                    corosync.self, known_names(corosync))});
  std::set<std::string> seen;
  for (const NodeName& node : corosync.nodes) {
    if (!seen.insert(node.name).second)
      findings.push_back(
          {Severity::refuse, fmt::format("corosync's nodelist has two nodes named {}: give each a "
                                         "name of its own",
                                         node.name)});
  }
  for (const PreflightGroup& group : groups) {
    for (const std::string& name : group.nodes) {
      if (knows(name)) continue;
      const std::string nearest = nearest_name(corosync, name);
      findings.push_back(
          {Severity::refuse,
           nearest.empty()
               ? fmt::format("group {}: corosync does not know the node {}: its nodelist has {}", group.name,
                             name, known_names(corosync))
               : fmt::format("group {}: corosync does not know the node {}: is {} meant? Its nodelist "
                             "has {}",
                             group.name, name, nearest, known_names(corosync))});
    }
  }
}

void check_token(const CorosyncSettings& corosync, std::vector<Finding>& findings) {
  if (corosync.token_ms > kTokenMaxMs)
    findings.push_back(
        {Severity::warn, fmt::format("corosync's token is {} ms, and no takeover is faster than that: "
                                     "set token to 1000 to 3000 in the section totem",
                                     corosync.token_ms)});
  if (corosync.token_ms < kTokenMinMs)
    findings.push_back(
        {Severity::warn, fmt::format("corosync's token is {} ms: a busy moment of one node ends the "
                                     "ring; set token to 1000 or more in the section totem",
                                     corosync.token_ms)});
}

}  // namespace

std::vector<Finding> preflight(const CorosyncSettings& corosync, const std::vector<PreflightGroup>& groups) {
  std::vector<Finding> findings;
  check_quorum(corosync, findings);
  check_nodes(corosync, groups, findings);
  check_token(corosync, findings);
  std::stable_partition(findings.begin(), findings.end(),
                        [](const Finding& finding) { return finding.severity == Severity::refuse; });
  return findings;
}

}  // namespace itgtd::ha
