#include "tools/itgtctl/commands.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tools/itgtctl/render.h"

namespace itgtd::ctl {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::chrono::milliseconds kPoll{100};
/// Who proposes may have to wait for its turn, and a node that fails gives way to the next: a group is stuck
/// only after that long without a change.
constexpr int64_t kStuckMs = 5000;

Printed failed(std::string text) {
  return {kExitFailed, "", text + '\n'};
}

Printed shown(const Json& result) {
  return {0, result.dump(2, ' ', false, Json::error_handler_t::replace) + '\n', ""};
}

Json with_group(const Options& options) {
  Json params = Json::object();
  if (!options.group.empty()) params["group"] = options.group;
  return params;
}

const Json* group_of(const Json& status, const std::string& name) {
  for (const Json& group : list_at(status, "groups")) {
    if (text_at(group, "name") == name) return &group;
  }
  return nullptr;
}

std::string problems_of(const Json& holder) {
  std::string text;
  for (const Json& problem : list_at(holder, "problems")) {
    text += "\n  " + text_at(problem, "what");
    if (!text_at(problem, "advice").empty()) text += "\n    do: " + text_at(problem, "advice");
  }
  return text;
}

std::string where_it_is(const Json& group) {
  const std::string owner = text_at(group, "owner");
  if (owner.empty()) return text_at(group, "state");
  return text_at(group, "state") + " on " + owner;
}

Printed ask(const std::string& method, const Json& params, Daemon& daemon, const Options& options,
            std::string (*render)(const Json&, const Style&), const Style& style) {
  const Result<Json> result = daemon.call(method, params);
  if (!result) return failed(result.error().to_string());
  if (options.json) return shown(result.value());
  return {0, render(result.value(), style), ""};
}

// --- move

/// The change of this group with that epoch, as this node saw it; null when it has not.
Json change_of(Daemon& daemon, const std::string& group, int64_t epoch) {
  const Result<Json> history = daemon.call("history", {{"group", group}, {"count", 20}});
  if (!history) return nullptr;
  for (const Json& change : list_at(history.value(), "changes")) {
    if (number_at(change, "epoch") == epoch) return change;
  }
  return nullptr;
}

Printed moved(const Options& options, Daemon& daemon, const std::string& from, const Json& group) {
  const std::string to = text_at(group, "owner");
  const int64_t epoch = number_at(group, "epoch");
  Json change = change_of(daemon, options.group, epoch);
  // It is noted within a second; the pause is worth the wait.
  for (int tries = 0; tries < 15 && number_at(change, "pause_ms") == 0; ++tries) {
    daemon.wait(kPoll);
    change = change_of(daemon, options.group, epoch);
  }
  Printed printed;
  if (to == from || (!options.node.empty() && to != options.node)) {
    printed = failed(fmt::format(
        "{} is served by {}, and not by {}{}; see itgtctl history -v {}, itgtctl why {}", options.group, to,
        options.node.empty() ? "another node" : options.node,
        text_at(change, "text").empty() ? "" : ": " + text_at(change, "text"), options.group, options.group));
  } else if (!options.json) {
    const bool known = change.is_object() && change.contains("pause_ms") && change["pause_ms"].is_number();
    printed.out = fmt::format("{}: {} -> {}, {}\n", options.group, from.empty() ? "nobody" : from, to,
                              known ? fmt::format("pause {} ms", number_at(change, "pause_ms")) : "served");
  }
  if (options.json && change.is_object()) printed.out = shown(change).out;
  return printed;
}

Printed move(const Options& options, Daemon& daemon) {
  const Result<Json> before = daemon.call("status", Json::object());
  if (!before) return failed(before.error().to_string());
  Json params = with_group(options);
  if (!options.node.empty()) params["node"] = options.node;
  const Result<Json> taken = daemon.call("move", params);
  if (!taken) return failed(taken.error().to_string());
  const Json* old = group_of(before.value(), options.group);
  if (!options.wait || old == nullptr) {
    if (options.json) return shown(taken.value());
    return {0, fmt::format("{}: asked; see itgtctl status\n", options.group), ""};
  }
  const int64_t old_epoch = number_at(*old, "epoch");
  const int64_t begin = daemon.now_ms();
  for (;;) {
    const Result<Json> status = daemon.call("status", Json::object());
    if (!status) return failed(status.error().to_string());
    const Json* group = group_of(status.value(), options.group);
    if (group == nullptr) return failed(options.group + " is gone from the configuration");
    if (number_at(*group, "epoch") > old_epoch && text_at(*group, "state") == "active") {
      return moved(options, daemon, text_at(*old, "owner"), *group);
    }
    if (daemon.now_ms() - begin >= static_cast<int64_t>(options.timeout_s) * 1000) {
      return failed(fmt::format("{} is not served by another node after {} s: {}{}", options.group,
                                options.timeout_s, where_it_is(*group), problems_of(*group)));
    }
    daemon.wait(kPoll);
  }
}

// --- drain

struct Remaining {
  std::vector<std::string> groups;
  bool maintenance = false;
  std::string signature;  ///< what it looks like: as long as it stays the same, nothing happens
};

Remaining owned_by(const Json& status, const std::string& node) {
  Remaining remaining;
  remaining.maintenance = flag_at(status, "maintenance");
  for (const Json& group : list_at(status, "groups")) {
    // A group is away when another node has it, and what is left of it here has stopped.
    bool here = text_at(group, "owner") == node;
    for (const Json& member : list_at(group, "nodes")) {
      const std::string phase = text_at(member, "phase");
      here = here || (text_at(member, "node") == node && !phase.empty() && phase != "idle");
    }
    if (!here) continue;
    remaining.groups.push_back(text_at(group, "name"));
    remaining.signature += text_at(group, "name") + ' ' + where_it_is(group) + '\n';
  }
  return remaining;
}

/// Why each of them stays, by what the rank says.
std::string reasons(Daemon& daemon, const std::vector<std::string>& groups) {
  std::string text;
  for (const std::string& group : groups) {
    const Result<Json> why = daemon.call("why", {{"group", group}});
    text += "\n  " + group + ": " + (why ? text_at(why.value(), "sentence") : why.error().to_string());
  }
  return text;
}

Printed drain(const Options& options, Daemon& daemon) {
  const Result<Json> taken = daemon.call("drain", {{"node", options.node}});
  if (!taken) return failed(taken.error().to_string());
  if (!options.wait) {
    if (options.json) return shown(taken.value());
    return {0, fmt::format("{}: asked; see itgtctl status\n", options.node), ""};
  }
  const int64_t begin = daemon.now_ms();
  int64_t changed = begin;
  std::string signature;
  for (;;) {
    const Result<Json> status = daemon.call("status", Json::object());
    if (!status) return failed(status.error().to_string());
    const Remaining remaining = owned_by(status.value(), options.node);
    if (remaining.groups.empty()) {
      if (options.json) return shown(taken.value());
      return {0, fmt::format("{} is drained: it owns no group\n", options.node), ""};
    }
    if (remaining.maintenance) {
      return failed(
          fmt::format("{} is drained, and keeps {} group(s) as maintenance is on; then: itgtctl "
                      "maintenance off",
                      options.node, remaining.groups.size()));
    }
    const int64_t now = daemon.now_ms();
    if (remaining.signature != signature) changed = now;
    signature = remaining.signature;
    const bool late = now - begin >= static_cast<int64_t>(options.timeout_s) * 1000;
    if (late || now - changed >= kStuckMs) {
      return failed(
          fmt::format("{} still owns {} group(s) after {}:{}\nit stays drained; groups leave it as soon as "
                      "another node can take them",
                      options.node, remaining.groups.size(), duration_text(now - begin),
                      reasons(daemon, remaining.groups)));
    }
    daemon.wait(kPoll);
  }
}

Printed history(const Options& options, Daemon& daemon, const Style& style) {
  Json params = with_group(options);
  params["count"] = options.count;
  params["notes"] = options.verbose;
  const Result<Json> result = daemon.call("history", params);
  if (!result) return failed(result.error().to_string());
  if (options.json) return shown(result.value());
  return {0, render_history(result.value(), options.verbose, style), ""};
}

Printed told(const std::string& method, const Json& params, const std::string& done, Daemon& daemon,
             const Options& options) {
  const Result<Json> result = daemon.call(method, params);
  if (!result) return failed(result.error().to_string());
  return options.json ? shown(result.value()) : Printed{0, done + '\n', ""};
}

}  // namespace

Printed run(Command command, const Options& options, Daemon& daemon, const Style& style) {
  switch (command) {
    case Command::status:
      return ask("status", Json::object(), daemon, options, render_status, style);
    case Command::why:
      return ask("why", with_group(options), daemon, options, render_why, style);
    case Command::history:
      return history(options, daemon, style);
    case Command::move:
      return move(options, daemon);
    case Command::drain:
      return drain(options, daemon);
    case Command::undrain:
      return told("undrain", {{"node", options.node}}, options.node + " may own groups again", daemon,
                  options);
    case Command::maintenance:
      return told("maintenance", {{"on", options.on}},
                  options.on ? "maintenance is on: no group moves by itself" : "maintenance is off", daemon,
                  options);
  }
  return failed("no such command");
}

}  // namespace itgtd::ctl
