#include "ha/status.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace itgtd::ha {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json to_json(const std::vector<Problem>& problems) {
  Json list = Json::array();
  for (const Problem& problem : problems)
    list.push_back({{"what", problem.what}, {"advice", problem.advice}});
  return list;
}

/// "up" exactly when initiators can use it.
const char* state_of(const VipFacts& vip, bool active) {
  if (vip.failed) return "failed";
  if (vip.interface.empty()) return "no interface";
  if (!vip.link) return "no carrier";
  if (vip.present) return "up";
  return active ? "missing" : "ready";
}

Json to_json(const VipFacts& vip, const std::string& address, bool active) {
  return {{"address", address},  {"interface", vip.interface}, {"state", state_of(vip, active)},
          {"link", vip.link},    {"present", vip.present},     {"failed", vip.failed},
          {"detail", vip.detail}};
}

Json to_json(const StorageFacts& storage) {
  return {{"fitness", to_string(storage.fitness)},
          {"role", storage.role},
          {"disk", storage.disk},
          {"quorate", storage.quorate},
          {"peers_connected", storage.peers_connected},
          {"detail", storage.detail}};
}

/// One word for what people ask first: is it served?
const char* state_of(const ClusterStatus& status, const GroupStatus& group) {
  if (group.ownership.owner == 0 && group.ownership.epoch == 0)
    return status.quorate ? "never started" : "unknown";
  if (group.ownership.owner == 0) return "not served";
  const auto report = group.reports.find(group.ownership.owner);
  // Without quorum nobody here can tell what the other side does.
  if (report == group.reports.end()) return status.quorate ? "owner lost" : "unknown";
  // What the owner says of an older epoch is over.
  if (report->second.epoch != group.ownership.epoch) return "waiting";
  return report->second.phase == Phase::idle ? "waiting" : to_string(report->second.phase);
}

std::vector<NodeId> nodes_of(const ClusterStatus& status, const GroupStatus& group, const GroupShown& shown) {
  std::vector<NodeId> nodes;
  for (const std::string& name : shown.nodes) {
    for (const NodeStatus& node : status.nodes) {
      if (node.name == name) nodes.push_back(node.id);
    }
  }
  for (const auto& [node, report] : group.reports) {
    if (std::find(nodes.begin(), nodes.end(), node) == nodes.end()) nodes.push_back(node);
  }
  return nodes;
}

Json node_of_group(const ClusterStatus& status, const GroupStatus& group, const GroupShown& shown,
                   NodeId node) {
  Json json = {{"node", name_of(status, node)}};
  const auto found = group.reports.find(node);
  json["reported"] = found != group.reports.end();
  if (found == group.reports.end()) return json;
  const GroupReport& report = found->second;
  json["phase"] = to_string(report.phase);
  json["epoch"] = report.epoch;
  json["since_ms"] = report.since_ms;
  json["sessions"] = report.sessions;
  json["failure"] = report.failure;
  json["storage"] = to_json(report.storage);
  const bool active = node == group.ownership.owner && report.phase == Phase::active;
  json["vips"] = Json::array();
  for (size_t at = 0; at < report.vips.size(); ++at) {
    json["vips"].push_back(
        to_json(report.vips[at], at < shown.vips.size() ? shown.vips[at] : std::to_string(at + 1), active));
  }
  return json;
}

Json to_json(const ClusterStatus& status, const GroupStatus& group, const GroupShown& shown) {
  Json json = {{"name", group.name},
               {"state", state_of(status, group)},
               {"owner", nullptr},
               {"previous", nullptr},
               {"reason", to_string(group.ownership.reason)},
               {"epoch", group.ownership.epoch},
               {"since_ms", 0},
               {"sessions", 0},
               {"storage", shown.storage}};
  if (group.ownership.owner != 0) json["owner"] = name_of(status, group.ownership.owner);
  if (group.ownership.previous != 0) json["previous"] = name_of(status, group.ownership.previous);
  if (const auto owner = group.reports.find(group.ownership.owner); owner != group.reports.end()) {
    json["since_ms"] = owner->second.since_ms;
    json["sessions"] = owner->second.sessions;
  }
  json["problems"] = to_json(group_problems(status, group, shown));
  json["nodes"] = Json::array();
  for (const NodeId node : nodes_of(status, group, shown)) {
    json["nodes"].push_back(node_of_group(status, group, shown, node));
  }
  return json;
}

Json to_json(const NodeStatus& node) {
  return {{"id", node.id},
          {"name", node.name},
          {"self", node.self},
          {"member", node.member},
          {"in_quorum", node.in_quorum},
          {"drained", node.drained},
          {"silence_ms", node.silence_ms},
          {"version", node.version}};
}

std::string self_of(const ClusterStatus& status) {
  for (const NodeStatus& node : status.nodes) {
    if (node.self) return node.name;
  }
  return "";
}

Json to_json(const Candidate& candidate) {
  return {{"node", candidate.name},
          {"eligible", candidate.eligible},
          {"member", candidate.member},
          {"drained", candidate.drained},
          {"storage", to_string(candidate.fitness)},
          {"failures", candidate.failures},
          {"live_vips", candidate.live_vips},
          {"preference", candidate.preference},
          {"last_owner", candidate.last_owner},
          {"reason", candidate.reason}};
}

std::string served_by(const ClusterStatus& status, const GroupStatus& group) {
  const std::string state = state_of(status, group);
  const std::string owner = name_of(status, group.ownership.owner);
  const auto report = group.reports.find(group.ownership.owner);
  if (state == "active") {
    return fmt::format("{} has served it for {} ({})", owner, duration_text(report->second.since_ms),
                       to_string(group.ownership.reason));
  }
  if (state == "never started") return "It was never started";
  if (group.ownership.owner == 0 && state == "unknown") return "This node does not know who serves it";
  if (group.ownership.owner == 0) return "Nobody serves it";
  if (state == "owner lost") return fmt::format("Its owner {} is gone", owner);
  if (state == "unknown")
    return fmt::format("{} had it last, and may serve it where this node does not see", owner);
  return fmt::format("{} is its owner and does not serve it: {}", owner, state);
}

std::string next_after(const ClusterStatus& status, const GroupStatus& group,
                       const std::vector<Candidate>& candidates) {
  if (status.maintenance) return "maintenance is on: it stays where it is.";
  if (!status.quorate) return "without quorum nobody takes over on this side.";
  for (const Candidate& candidate : candidates) {
    if (candidate.node == group.ownership.owner || !candidate.eligible) continue;
    return fmt::format("{} would take over next.", candidate.name);
  }
  return "no other node could take over.";
}

}  // namespace

std::string status_json(const ClusterStatus& status, const StatusSource& source) {
  Json json = {{"configured", true},
               {"node", self_of(status)},
               {"version", source.version},
               {"connected", status.connected},
               {"quorate", status.quorate},
               {"maintenance", status.maintenance},
               {"ring", {{"representative", status.ring.representative}, {"seq", status.ring.seq}}},
               {"lease_left_ms", status.lease_left_ms},
               {"messages_dropped", status.messages_dropped},
               {"summary", source.summary}};
  json["problems"] = to_json(cluster_problems(status, source.trouble));
  json["nodes"] = Json::array();
  for (const NodeStatus& node : status.nodes) json["nodes"].push_back(to_json(node));
  json["groups"] = Json::array();
  const GroupShown nothing;
  for (const GroupStatus& group : status.groups) {
    const auto shown = source.shown.find(group.name);
    json["groups"].push_back(to_json(status, group, shown == source.shown.end() ? nothing : shown->second));
  }
  // Before the cluster is joined there is no more than the configuration.
  for (const auto& [name, shown] : source.shown) {
    if (has_group(status, name)) continue;
    GroupStatus group;
    group.name = name;
    json["groups"].push_back(to_json(status, group, shown));
  }
  return dump(json);
}

std::string status_json_without_cluster(const std::string& version, const std::string& summary) {
  return dump(Json{{"configured", false}, {"version", version}, {"summary", summary}});
}

std::string why_json(const ClusterStatus& status, const std::string& group,
                     const std::vector<Candidate>& candidates) {
  Json json = {{"group", group}, {"owner", nullptr}, {"sentence", ""}, {"candidates", Json::array()}};
  for (const Candidate& candidate : candidates) json["candidates"].push_back(to_json(candidate));
  for (const GroupStatus& known : status.groups) {
    if (known.name != group) continue;
    if (known.ownership.owner != 0) json["owner"] = name_of(status, known.ownership.owner);
    json["sentence"] = fmt::format("{}; {}", served_by(status, known), next_after(status, known, candidates));
  }
  return dump(json);
}

std::string duration_text(TimeMs ms) {
  if (ms < 0) ms = 0;
  if (ms < 10'000) return fmt::format("{}.{} s", ms / 1000, ms % 1000 / 100);
  const TimeMs seconds = ms / 1000;
  if (seconds < 60) return fmt::format("{} s", seconds);
  const TimeMs minutes = seconds / 60;
  if (minutes < 60) return fmt::format("{} min {} s", minutes, seconds % 60);
  const TimeMs hours = minutes / 60;
  if (hours < 24) return fmt::format("{} h {} min", hours, minutes % 60);
  return fmt::format("{} d {} h", hours / 24, hours % 24);
}

bool has_group(const ClusterStatus& status, const std::string& name) {
  const auto same = [&name](const GroupStatus& group) { return group.name == name; };
  return std::any_of(status.groups.begin(), status.groups.end(), same);
}

std::string name_of(const ClusterStatus& status, NodeId node) {
  if (node == 0) return "nobody";
  for (const NodeStatus& known : status.nodes) {
    if (known.id == node && !known.name.empty()) return known.name;
  }
  return fmt::format("node {}", node);
}

}  // namespace itgtd::ha
