// From the configuration to what is served: the steps of a start, a reload and a stop.
#include <algorithm>

#include "base/log.h"
#include "net/socket.h"
#include "target/service.h"

namespace itgtd::target {
namespace {

iscsi::DigestPolicy digest_policy(config::DigestPolicy policy) {
  switch (policy) {
    case config::DigestPolicy::off:
      return iscsi::DigestPolicy::off;
    case config::DigestPolicy::optional:
      return iscsi::DigestPolicy::optional;
    case config::DigestPolicy::required:
      return iscsi::DigestPolicy::required;
  }
  return iscsi::DigestPolicy::optional;
}

iscsi::DirectoryTarget directory_entry(const config::TargetConfig& config) {
  iscsi::DirectoryTarget entry;
  entry.name = config.name;
  entry.alias = config.alias;
  entry.initiators = config.initiators;
  entry.header_digest = digest_policy(config.header_digest);
  entry.data_digest = digest_policy(config.data_digest);
  // The configuration has been validated: what does not parse here is a bug.
  for (const std::string& portal : config.portals) entry.portals.push_back(Address::parse(portal, 0).value());
  for (const std::string& network : config.networks)
    entry.networks.push_back(Network::parse(network).value());
  if (config.chap) {
    entry.chap = iscsi::ChapCredentials{config.chap->user, config.chap->secret, config.chap->mutual_user,
                                        config.chap->mutual_secret};
  }
  return entry;
}

}  // namespace

bool Service::admits(const Target& target, const Registry::Session& session) const {
  return target.visible && reachable_at(target, session.listener) &&
         iscsi::may_access(directory_entry(target.config), session.identity.initiator_name, session.peer);
}

// --- The queue of steps
// ----------------------------------------------------------------------------------------------

void Service::apply(const config::Config& wanted, std::function<void()> done) {
  // What differs is only known when the steps before have run: planning is a step, too, and puts its own in
  // front of those that wait.
  enqueue([this, wanted](const Done& next) {
    std::deque<Step> later = std::exchange(steps_, {});
    const config::Plan plan = started_ ? config::plan(running_, wanted) : config::plan_start(wanted);
    started_ = true;
    for (const std::string& sentence : plan.ignored) log::warning("{}", sentence);
    for (const config::Step& step : plan.steps) {
      log::debug("{}", config::describe(step));
      steps_.push_back([this, step](const Done& step_done) {
        std::visit([this, &step_done](const auto& content) { carry_out(content, step_done); }, step);
      });
    }
    running_ = plan.result;
    for (Step& step : later) steps_.push_back(std::move(step));
    next();
  });
  enqueue([this, done = std::move(done)](const Done& next) {
    check_sizes();
    listener_store_.close_rest();
    done();
    next();
  });
}

void Service::enqueue(Step step) {
  steps_.push_back(std::move(step));
  run_next_step();
}

void Service::run_next_step() {
  if (step_running_ || steps_.empty()) return;
  step_running_ = true;
  const Step step = std::move(steps_.front());
  steps_.pop_front();
  step([this] {
    step_running_ = false;
    // Through the loop, not from here: a long plan must not grow the stack.
    loop_.after(std::chrono::milliseconds(0), [this] { run_next_step(); });
  });
}

void Service::carry_out(const config::ChangeDaemon&, const Done& done) {
  // The log level is the daemon's to set, at start and at reload.
  done();
}

// --- Targets
// ---------------------------------------------------------------------------------------------------------

Service::Target& Service::ensure_target(const std::string& name) {
  Target& target = targets_[name];
  if (target.key == 0) {
    target.key = coordinator_.next_key();
    target.config.name = name;
    const auto configured = std::ranges::find(running_.targets, name, &config::TargetConfig::name);
    if (configured != running_.targets.end()) target.config.group = configured->group;
    AddTarget message;
    message.target = target.key;
    message.name = name;
    if (const Group* group = group_of(target)) {
      message.grouped = true;
      message.hold = group->held;
      message.mute = group->muted;
    }
    coordinator_.broadcast(message, {});
  }
  return target;
}

void Service::drop_if_empty(const std::string& name) {
  const auto found = targets_.find(name);
  if (found == targets_.end() || found->second.visible || !found->second.luns.empty()) return;
  RemoveTarget message;
  message.target = found->second.key;
  targets_.erase(found);
  coordinator_.broadcast(message, {});
}

void Service::publish_directory(Done done) {
  auto directory = std::make_shared<iscsi::Directory>();
  // In the order of the configuration, which is that of the keys: discovery lists them so.
  std::vector<const Target*> visible;
  for (const auto& [name, target] : targets_) {
    if (target.visible) visible.push_back(&target);
  }
  std::sort(visible.begin(), visible.end(), [](const Target* a, const Target* b) { return a->key < b->key; });
  for (const Target* target : visible) directory->targets.push_back(directory_entry(target->config));
  SetDirectory message;
  message.directory = std::move(directory);
  coordinator_.broadcast(std::move(message), std::move(done));
}

void Service::carry_out(const config::AddTarget& step, Done done) {
  Target& target = ensure_target(step.target.name);
  target.config = step.target;
  target.visible = true;
  publish_directory(std::move(done));
}

void Service::carry_out(const config::ChangeTarget& step, Done done) {
  targets_.at(step.wanted.name).config = step.wanted;
  publish_directory(std::move(done));
}

void Service::carry_out(const config::RemoveTarget& step, Done done) {
  targets_.at(step.target).visible = false;
  publish_directory(std::move(done));
}

void Service::carry_out(const config::EndSessions& step, Done done) {
  const Target& target = targets_.at(step.target);
  const auto concerned = [&](const Registry::Session& session) {
    if (session.target != target.key) return false;
    switch (step.which) {
      case config::EndSessions::Which::all:
        return true;
      case config::EndSessions::Which::portal_gone:
        return !reachable_at(target, session.listener);
      case config::EndSessions::Which::not_allowed:
        return !iscsi::may_access(directory_entry(step.wanted), session.identity.initiator_name,
                                  session.peer);
    }
    return false;
  };
  const bool all = step.which == config::EndSessions::Which::all;
  const std::string reason = all ? "the target was removed" : "the configuration no longer admits it here";
  end_sessions(concerned, reason, [this, name = step.target, done = std::move(done)] {
    drop_if_empty(name);
    done();
  });
}

// --- Listeners
// -------------------------------------------------------------------------------------------------------

void Service::open_listener(const std::string& portal) {
  const int kept = listener_store_.take(portal);
  const auto fd =
      kept >= 0 ? Result<int>(kept) : net::listen_on(Address::parse(portal, 0).value(), kListenBacklog);
  if (!fd) {
    if (listen_errors_.insert(portal).second) {
      log::error("portal {}: {}; tried again every {} s", portal, fd.error().to_string(),
                 kMediumRetryTime.count());
    }
    failed_portals_.push_back(portal);
    retry_media();
    return;
  }
  if (listen_errors_.erase(portal) != 0) log::info("portal {}: listening now", portal);
  const auto worker = static_cast<WorkerIndex>(listeners_.size() % coordinator_.worker_count());
  const Listener listener{coordinator_.next_key(), worker};
  if (kept < 0) listener_store_.keep(portal, fd.value());
  coordinator_.tell(listener.worker, AddListener{listener.key, fd.value()});
  listeners_[portal] = listener;
}

void Service::carry_out(const config::OpenListener& step, Done done) {
  open_listener(step.portal);
  done();
}

void Service::carry_out(const config::CloseListener& step, Done done) {
  std::erase(failed_portals_, step.portal);
  listen_errors_.erase(step.portal);
  if (const auto found = listeners_.find(step.portal); found != listeners_.end()) {
    listener_store_.forget(step.portal);
    coordinator_.tell(found->second.worker, RemoveListener{found->second.key});
    listeners_.erase(found);
  }
  done();
}

}  // namespace itgtd::target
