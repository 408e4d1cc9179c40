#include "target/config/plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>
#include <utility>

namespace itgtd::config {
namespace {

const TargetConfig* find(const Config& config, std::string_view name) {
  const auto found = std::find_if(config.targets.begin(), config.targets.end(),
                                  [&](const TargetConfig& target) { return target.name == name; });
  return found == config.targets.end() ? nullptr : &*found;
}

const LunConfig* find(const TargetConfig& target, uint16_t id) {
  const auto found = std::find_if(target.luns.begin(), target.luns.end(),
                                  [&](const LunConfig& lun) { return lun.id == id; });
  return found == target.luns.end() ? nullptr : &*found;
}

/// The target can become the other one under its sessions. Which group it moves with can't change: who serves
/// it does.
bool is_same(const TargetConfig& running, const TargetConfig& wanted) {
  return running.group == wanted.group;
}

/// The disk can become the other one under its sessions: its identity and its medium are fixed for its life.
/// `create` matters only before there is a file.
bool is_same(const LunConfig& running, LunConfig wanted) {
  wanted.write_cache = running.write_cache;
  wanted.create_bytes = running.create_bytes;
  return running == wanted;
}

/// What logins and discovery are judged by.
TargetConfig policy_of(TargetConfig target) {
  target.luns.clear();
  return target;
}

template <typename T>
bool contains_all(const std::vector<T>& whole, const std::vector<T>& part) {
  return std::all_of(part.begin(), part.end(), [&](const T& item) {
    return std::find(whole.begin(), whole.end(), item) != whole.end();
  });
}

/// A list that is empty lets everybody in.
bool lets_in_all(const std::vector<std::string>& wanted, const std::vector<std::string>& running) {
  return wanted.empty() || (!running.empty() && contains_all(wanted, running));
}

/// All addresses to listen at, each once, in the order of the file.
std::vector<std::string> listeners_of(const Config& config) {
  std::vector<std::string> portals;
  std::set<std::string_view> seen;
  for (const TargetConfig& target : config.targets) {
    for (const std::string& portal : target.portals) {
      if (seen.insert(portal).second) portals.push_back(portal);
    }
  }
  return portals;
}

/// The steps by kind, so that they can be found in any order and taken in the right one.
class Planner {
 public:
  Planner(const Config& running, const Config& wanted) : running_(running), wanted_(wanted) {
    plan_.result = wanted;
  }
  Plan run() &&;

 private:
  void plan_daemon();
  void plan_cluster();
  void plan_listeners();
  void plan_targets();
  void remove(const TargetConfig& target);
  void add(const TargetConfig& target);
  void change(const TargetConfig& running, const TargetConfig& wanted);
  void change_luns(const TargetConfig& running, const TargetConfig& wanted);

  template <typename T>
  void keep(std::string_view key, T& result, const T& running) {
    if (result == running) return;
    result = running;
    plan_.ignored.push_back(fmt::format("{} takes effect with the next start of the daemon", key));
  }
  void append(std::vector<Step>& steps) {
    std::move(steps.begin(), steps.end(), std::back_inserter(plan_.steps));
  }

  const Config& running_;
  const Config& wanted_;
  Plan plan_;
  std::vector<Step> daemon_, close_, policy_, end_, remove_luns_, change_luns_, add_luns_, add_targets_,
      open_;
};

Plan Planner::run() && {
  plan_daemon();
  plan_cluster();
  plan_listeners();
  plan_targets();
  for (auto* steps : {&daemon_, &close_, &policy_, &end_, &remove_luns_, &change_luns_, &add_luns_,
                      &add_targets_, &open_}) {
    append(*steps);
  }
  return std::move(plan_);
}

void Planner::plan_daemon() {
  DaemonConfig& result = plan_.result.daemon;
  const DaemonConfig& running = running_.daemon;
  keep("daemon.workers", result.workers, running.workers);
  keep("daemon.polling", result.polling, running.polling);
  keep("daemon.control_socket", result.control_socket, running.control_socket);
  keep("daemon.state_dir", result.state_dir, running.state_dir);
  if (result != running) daemon_.emplace_back(ChangeDaemon{result});
}

void Planner::plan_cluster() {
  keep("[cluster]", plan_.result.cluster, running_.cluster);
}

void Planner::plan_listeners() {
  const auto running = listeners_of(running_);
  const auto wanted = listeners_of(wanted_);
  for (const std::string& portal : running) {
    if (!contains_all(wanted, {portal})) close_.emplace_back(CloseListener{portal});
  }
  for (const std::string& portal : wanted) {
    if (!contains_all(running, {portal})) open_.emplace_back(OpenListener{portal});
  }
}

void Planner::plan_targets() {
  for (const TargetConfig& running : running_.targets) {
    const TargetConfig* wanted = find(wanted_, running.name);
    if (wanted == nullptr || !is_same(running, *wanted)) {
      remove(running);
    } else {
      change(running, *wanted);
    }
  }
  for (const TargetConfig& wanted : wanted_.targets) {
    const TargetConfig* running = find(running_, wanted.name);
    if (running == nullptr || !is_same(*running, wanted)) add(wanted);
  }
}

void Planner::remove(const TargetConfig& target) {
  policy_.emplace_back(RemoveTarget{target.name});
  end_.emplace_back(EndSessions{target.name, EndSessions::Which::all, {}});
  for (const LunConfig& lun : target.luns) remove_luns_.emplace_back(RemoveLun{target.name, lun.id});
}

void Planner::add(const TargetConfig& target) {
  for (const LunConfig& lun : target.luns) add_luns_.emplace_back(AddLun{target.name, lun});
  add_targets_.emplace_back(AddTarget{target});
}

void Planner::change(const TargetConfig& running, const TargetConfig& wanted) {
  const TargetConfig policy = policy_of(wanted);
  if (policy_of(running) != policy) policy_.emplace_back(ChangeTarget{policy});
  if (!contains_all(wanted.portals, running.portals)) {
    end_.emplace_back(EndSessions{wanted.name, EndSessions::Which::portal_gone, policy});
  }
  const bool stricter =
      !lets_in_all(wanted.initiators, running.initiators) || !lets_in_all(wanted.networks, running.networks);
  if (stricter) end_.emplace_back(EndSessions{wanted.name, EndSessions::Which::not_allowed, policy});
  change_luns(running, wanted);
}

void Planner::change_luns(const TargetConfig& running, const TargetConfig& wanted) {
  for (const LunConfig& lun : running.luns) {
    const LunConfig* other = find(wanted, lun.id);
    if (other == nullptr || !is_same(lun, *other)) {
      remove_luns_.emplace_back(RemoveLun{running.name, lun.id});
    } else if (other->write_cache != lun.write_cache) {
      change_luns_.emplace_back(ChangeLun{running.name, *other});
    }
  }
  for (const LunConfig& lun : wanted.luns) {
    const LunConfig* other = find(running, lun.id);
    if (other == nullptr || !is_same(*other, lun)) add_luns_.emplace_back(AddLun{wanted.name, lun});
  }
}

struct Describe {
  std::string operator()(const ChangeDaemon&) const { return "change settings of the daemon"; }
  std::string operator()(const CloseListener& step) const {
    return fmt::format("stop listening at {}", step.portal);
  }
  std::string operator()(const RemoveTarget& step) const {
    return fmt::format("remove target {}", step.target);
  }
  std::string operator()(const ChangeTarget& step) const {
    return fmt::format("change target {}", step.wanted.name);
  }
  std::string operator()(const EndSessions& step) const {
    switch (step.which) {
      case EndSessions::Which::all:
        return fmt::format("end all sessions of {}", step.target);
      case EndSessions::Which::portal_gone:
        return fmt::format("end sessions of {} on portals that it has no more", step.target);
      case EndSessions::Which::not_allowed:
        return fmt::format("end sessions of {} that are not allowed any more", step.target);
    }
    return {};
  }
  std::string operator()(const RemoveLun& step) const {
    return fmt::format("remove LUN {} of {}", step.id, step.target);
  }
  std::string operator()(const ChangeLun& step) const {
    return fmt::format("switch the write cache of LUN {} of {} {}", step.wanted.id, step.target,
                       step.wanted.write_cache ? "on" : "off");
  }
  std::string operator()(const AddLun& step) const {
    return fmt::format("add LUN {} of {}: {}", step.lun.id, step.target, step.lun.path);
  }
  std::string operator()(const AddTarget& step) const {
    return fmt::format("add target {}", step.target.name);
  }
  std::string operator()(const OpenListener& step) const { return fmt::format("listen at {}", step.portal); }
};

}  // namespace

Plan plan(const Config& running, const Config& wanted) {
  return Planner(running, wanted).run();
}

Plan plan_start(const Config& wanted) {
  Config nothing = wanted;
  nothing.targets.clear();
  return plan(nothing, wanted);
}

Plan plan_stop(const Config& running) {
  Config nothing = running;
  nothing.targets.clear();
  return plan(running, nothing);
}

std::string describe(const Step& step) {
  return std::visit(Describe(), step);
}

}  // namespace itgtd::config
