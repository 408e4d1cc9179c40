// From the configuration to what is served: the steps of a start, a reload and a stop.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/log.h"
#include "net/socket.h"
#include "scsi/lu_snapshot.h"
#include "scsi/mode_pages.h"
#include "scsi/thin_provisioning.h"
#include "target/service.h"

namespace itgtd::target {
namespace {

/// What an initiator that used LIO has seen; multipath's hardware table knows it.
constexpr const char* kRevision = "4.0";

backend::MediumOptions medium_options(const config::LunConfig& lun) {
  backend::MediumOptions options;
  options.path = lun.path;
  options.block_bytes = lun.block_size;
  options.physical_block_bytes = lun.physical_block_size;
  options.create_bytes = lun.create_bytes;
  options.read_only = lun.read_only;
  switch (lun.thin) {
    case config::ThinPolicy::automatic:
      options.thin = backend::MediumOptions::Thin::automatic;
      break;
    case config::ThinPolicy::on:
      options.thin = backend::MediumOptions::Thin::on;
      break;
    case config::ThinPolicy::off:
      options.thin = backend::MediumOptions::Thin::off;
      break;
  }
  return options;
}

/// The state that a logical unit starts with, as far as the configuration says.
scsi::LuState configured_state(const config::LunConfig& config) {
  scsi::LuState state;
  state.condition = scsi::LuCondition::not_ready;
  state.write_cache_default = config.write_cache;
  scsi::apply_saved_mode_pages(state);
  return state;
}

/// The name of its state in the store: WWIDs are unique in a configuration, and equal on every node.
std::string stored_as(const scsi::LuIdentity& identity) {
  return fmt::format("{:02x}", fmt::join(identity.naa, ""));
}

/// Whole blocks of the medium; 0 when its size can't be had.
uint64_t block_count(const backend::Medium& medium, uint32_t block_bytes) {
  const auto size = medium.size_bytes();
  return size ? size.value() / block_bytes : 0;
}

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
    AddTarget message;
    message.target = target.key;
    message.name = name;
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

// --- Logical units
// -----------------------------------------------------------------------------------------------------

void Service::carry_out(const config::AddLun& step, Done done) {
  const config::LunConfig& wanted = step.lun;
  Target& target = ensure_target(step.target);
  Lun lun;
  lun.key = coordinator_.next_key();
  lun.config = wanted;
  lun.identity.vendor = wanted.vendor;
  lun.identity.product = wanted.product;
  lun.identity.revision = kRevision;
  lun.identity.serial = wanted.serial;
  lun.identity.naa = scsi::make_naa(wanted.serial);
  lun.identity.target_name = step.target;

  AddLun message;
  message.target = target.key;
  message.lun_key = lun.key;
  message.lun = wanted.id;
  message.identity = lun.identity;
  message.removable = wanted.removable;
  message.read_only = wanted.read_only;
  message.statistics = std::make_shared<scsi::LuStatistics>(coordinator_.worker_count());
  message.geometry.block_bytes = wanted.block_size;
  message.announce = target.visible;

  scsi::LuState state = configured_state(wanted);
  const Result<void> restored = restore(lun, state);
  Result<std::shared_ptr<backend::Medium>> medium =
      restored ? backend::Medium::open(medium_options(wanted))
               : Result<std::shared_ptr<backend::Medium>>(restored.error());
  if (medium) {
    lun.medium = *medium;
    message.medium = lun.medium;
    message.geometry = lun.medium->geometry();
    state.condition = lun.condition;
    state.block_count = block_count(*lun.medium, wanted.block_size);
    state.thin_usage = lun.medium->thin_usage();
  } else {
    log::error("{} LUN {}: {}; it is NOT READY until this works, tried again every {} s", step.target,
               wanted.id, medium.error().to_string(), kMediumRetryTime.count());
  }
  message.state = std::make_shared<const scsi::LuState>(std::move(state));
  writer_.add(lun.key, {target.key, wanted.id, stored_as(lun.identity)}, message.state);
  writer_.set_unreadable(lun.key, !lun.restored);
  target.luns[wanted.id] = std::move(lun);
  retry_media();
  coordinator_.broadcast(std::move(message), std::move(done));
}

/// What was stored of the unit, into `state`. What can't be read is not taken for nothing: initiators would
/// find their reservations gone without a word.
Result<void> Service::restore(Lun& lun, scsi::LuState& state) {
  const std::string name = stored_as(lun.identity);
  const auto stored = store_.load(name);
  if (!stored) return stored.error();
  const scsi::LuState configured = state;
  if (stored.value()) {
    if (const auto taken = scsi::restore(*stored.value(), state); !taken) {
      state = configured;
      return Error{
          taken.error().code,
          fmt::format("the state kept of it as {} is not usable ({}); restore that file, or remove it if its "
                      "reservations and settings may be lost",
                      name, taken.error().to_string())};
    }
  }
  lun.restored = true;
  scsi::apply_saved_mode_pages(state);
  if (state.condition != configured.condition)
    lun.condition = std::exchange(state.condition, configured.condition);
  return {};
}

void Service::carry_out(const config::ChangeLun& step, Done done) {
  Lun& lun = targets_.at(step.target).luns.at(step.wanted.id);
  lun.config = step.wanted;
  const auto decide = [write_cache = step.wanted.write_cache](const scsi::LuState& state) {
    return scsi::on_write_cache_configured(state, write_cache);
  };
  writer_.change(lun.key, decide, std::move(done));
}

void Service::carry_out(const config::RemoveLun& step, Done done) {
  RemoveLun message;
  Lun& leaving = targets_.at(step.target).luns.at(step.id);
  leaving.leaving = true;
  message.lun_key = leaving.key;
  // The medium is closed when the workers' shares and this one are gone.
  coordinator_.broadcast(message, [this, name = step.target, id = step.id, done = std::move(done)] {
    Target& owner = targets_.at(name);
    writer_.remove(owner.luns.at(id).key);
    owner.luns.erase(id);
    drop_if_empty(name);
    done();
  });
}

void Service::attach(Target& target, Lun& lun, std::shared_ptr<backend::Medium> medium) {
  lun.medium = std::move(medium);
  const uint64_t blocks = block_count(*lun.medium, lun.config.block_size);
  AttachMedium message;
  message.lun_key = lun.key;
  message.geometry = lun.medium->geometry();
  message.medium = lun.medium;
  coordinator_.broadcast(std::move(message), {});
  const auto decide = [blocks, condition = lun.condition,
                       usage = lun.medium->thin_usage()](const scsi::LuState& state) {
    return scsi::on_medium_attached(state, condition, blocks, usage);
  };
  writer_.change(lun.key, decide);
  log::info("{} LUN {}: {} is there, {} blocks of {} bytes", target.config.name, lun.config.id,
            lun.config.path, blocks, lun.config.block_size);
}

void Service::retry_media() {
  if (retrying_ || (summary().luns_down == 0 && failed_portals_.empty())) return;
  retrying_ = true;
  loop_.after(std::chrono::duration_cast<std::chrono::milliseconds>(kMediumRetryTime), [this] {
    retrying_ = false;
    for (auto& [name, target] : targets_) {
      for (auto& [id, lun] : target.luns) {
        if (lun.medium || lun.leaving) continue;
        if (!lun.restored) {
          scsi::LuState state = *writer_.state(lun.key);
          if (!restore(lun, state)) continue;
          writer_.set_unreadable(lun.key, false);
          // Nothing else that is kept can have changed meanwhile: it could not have been saved.
          writer_.change(lun.key, [state](const scsi::LuState& now) { return scsi::publish(now, state); });
        }
        if (auto medium = backend::Medium::open(medium_options(lun.config))) attach(target, lun, *medium);
      }
    }
    for (const std::string& portal : std::exchange(failed_portals_, {})) open_listener(portal);
    retry_media();
  });
}

void Service::watch_media() {
  loop_.after(std::chrono::duration_cast<std::chrono::milliseconds>(kMediumWatchTime), [this] {
    look_at_media();
    watch_media();
  });
}

void Service::look_at_media() {
  for (auto& [name, target] : targets_) {
    for (auto& [id, lun] : target.luns) {
      if (!lun.medium || lun.leaving) continue;
      const auto on_usage = [usage = lun.medium->thin_usage()](const scsi::LuState& state) {
        return scsi::on_thin_usage(state, usage);
      };
      writer_.change(lun.key, on_usage);
      if (lun.loss_logged || !lun.medium->has_lost_writes()) continue;
      lun.loss_logged = true;
      log::error(
          "{} LUN {}: the kernel could not write to {} what it had accepted; every flush fails from now "
          "on, so that initiators "
          "know. Check the disk, then remove the LUN from the configuration, reload, and add it again",
          name, id, lun.config.path);
    }
  }
  check_sizes();
}

void Service::check_sizes() {
  for (const auto& [name, target] : targets_) {
    for (const auto& [id, lun] : target.luns) {
      if (!lun.medium || lun.leaving) continue;
      // A size that can't be had just now is no reason to take the blocks away.
      const auto size_bytes = lun.medium->size_bytes();
      if (!size_bytes) continue;
      const uint64_t blocks = size_bytes.value() / lun.config.block_size;
      const uint64_t known = writer_.state(lun.key)->block_count;
      if (blocks == known) continue;
      log::info("{} LUN {}: the size changed from {} to {} blocks", name, id, known, blocks);
      writer_.change(
          lun.key, [blocks](const scsi::LuState& state) { return scsi::on_capacity_change(state, blocks); });
    }
  }
}

// --- Listeners
// -------------------------------------------------------------------------------------------------------

void Service::open_listener(const std::string& portal) {
  const auto fd = net::listen_on(Address::parse(portal, 0).value(), kListenBacklog);
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
    coordinator_.tell(found->second.worker, RemoveListener{found->second.key});
    listeners_.erase(found);
  }
  done();
}

}  // namespace itgtd::target
