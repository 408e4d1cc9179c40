#include "target/cluster_methods.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "ha/history.h"
#include "ha/status.h"
#include "version.h"

namespace itgtd::target {
namespace {

using control::Parameter;
using control::Params;
using control::Reply;

constexpr size_t kHistoryShownDefault = 20;

std::string group_names(const ha::ClusterStatus& status) {
  std::string names;
  for (const ha::GroupStatus& group : status.groups) names += (names.empty() ? "" : ", ") + group.name;
  return names.empty() ? "none" : names;
}

std::string no_such_group(const ha::Operator& cluster, const std::string& group) {
  const ha::ClusterStatus status = cluster.status();
  if (!cluster.shown().contains(group)) {
    return fmt::format("there is no group {}; the groups are: {}", group, group_names(status));
  }
  const std::string trouble = cluster.trouble();
  return "this node is not in the cluster yet" + (trouble.empty() ? "" : ": " + trouble);
}

/// True when it is so already: to say it again is no error, so that scripts may.
bool is_so(const ha::ClusterStatus& status, const ha::Wish& wish) {
  const bool drain = wish.kind == ha::Wish::Kind::drain;
  if (drain || wish.kind == ha::Wish::Kind::undrain) {
    const auto so = [&wish, drain](const ha::NodeStatus& node) {
      return node.id == wish.node && node.drained == drain;
    };
    return std::any_of(status.nodes.begin(), status.nodes.end(), so);
  }
  if (wish.kind == ha::Wish::Kind::move) return false;
  return status.maintenance == (wish.kind == ha::Wish::Kind::maintenance_on);
}

/// On its way to every node; what comes of it is seen in `status`.
void ask(ha::Operator& cluster, const Result<ha::Wish>& wish, const Reply& reply) {
  if (!wish) return reply.refuse(wish.error().to_string());
  if (is_so(cluster.status(), wish.value())) return reply.result("{\"taken\":true}");
  cluster.ask(wish.value(), [reply](const Result<void>& taken) {
    if (!taken) return reply.refuse(taken.error().to_string());
    reply.result("{\"taken\":true}");
  });
}

std::string self_name(const ha::ClusterStatus& status) {
  for (const ha::NodeStatus& node : status.nodes) {
    if (node.self) return node.name;
  }
  return "";
}

void add_questions(control::ControlServer& server, ha::Operator& cluster,
                   std::function<std::string()> summary) {
  server.add("status", {}, [&cluster, summary = std::move(summary)](const Params&, const Reply& reply) {
    const ha::StatusSource source{ITGTD_VERSION, cluster.trouble(), summary ? summary() : "",
                                  cluster.shown()};
    reply.result(ha::status_json(cluster.status(), source));
  });
  server.add("why", {{"group", Parameter::Type::text, true}},
             [&cluster](const Params& params, const Reply& reply) {
               const std::string group = params.text("group");
               const ha::ClusterStatus status = cluster.status();
               if (!ha::has_group(status, group)) return reply.refuse(no_such_group(cluster, group));
               reply.result(ha::why_json(status, group, cluster.why(group)));
             });
  server.add("history",
             {{"group", Parameter::Type::text},
              {"count", Parameter::Type::number},
              {"notes", Parameter::Type::flag}},
             [&cluster](const Params& params, const Reply& reply) {
               const std::string group = params.text("group");
               const ha::ClusterStatus status = cluster.status();
               if (!group.empty() && !cluster.shown().contains(group)) {
                 return reply.refuse(no_such_group(cluster, group));
               }
               const uint64_t count = std::min<uint64_t>(
                   params.number("count").value_or(kHistoryShownDefault), ha::kHistoryNotesMax);
               reply.result(cluster.history().shown(group, count, params.flag("notes").value_or(false),
                                                    self_name(status)));
             });
}

void add_wishes(control::ControlServer& server, ha::Operator& cluster) {
  server.add("move", {{"group", Parameter::Type::text, true}, {"node", Parameter::Type::text}},
             [&cluster](const Params& params, const Reply& reply) {
               const std::string group = params.text("group");
               ask(cluster,
                   ha::wish_to_move(cluster.status(), cluster.why(group), group, params.text("node")), reply);
             });
  for (const bool drained : {true, false}) {
    server.add(drained ? "drain" : "undrain", {{"node", Parameter::Type::text, true}},
               [&cluster, drained](const Params& params, const Reply& reply) {
                 ask(cluster, ha::wish_to_drain(cluster.status(), params.text("node"), drained), reply);
               });
  }
  server.add("maintenance", {{"on", Parameter::Type::flag, true}},
             [&cluster](const Params& params, const Reply& reply) {
               const bool on = params.flag("on").value_or(false);
               ask(cluster, ha::wish_for_maintenance(cluster.status(), on), reply);
             });
}

void add_refusals(control::ControlServer& server) {
  const std::vector<Parameter> any = {{"group", Parameter::Type::text},
                                      {"node", Parameter::Type::text},
                                      {"count", Parameter::Type::number},
                                      {"notes", Parameter::Type::flag},
                                      {"on", Parameter::Type::flag}};
  for (const char* name : {"why", "history", "move", "drain", "undrain", "maintenance"}) {
    server.add(name, any, [](const Params&, const Reply& reply) {
      reply.refuse("the configuration has no [cluster]: this node is on its own");
    });
  }
}

}  // namespace

void register_cluster_methods(control::ControlServer& server, ha::Operator* cluster,
                              std::function<std::string()> summary) {
  if (cluster != nullptr) {
    add_questions(server, *cluster, std::move(summary));
    add_wishes(server, *cluster);
    return;
  }
  server.add("status", {}, [summary = std::move(summary)](const Params&, const Reply& reply) {
    reply.result(ha::status_json_without_cluster(ITGTD_VERSION, summary ? summary() : ""));
  });
  add_refusals(server);
}

}  // namespace itgtd::target
