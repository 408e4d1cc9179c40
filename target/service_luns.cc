// Logical units of the service: as the configuration says, from the store, with their disks.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/log.h"
#include "scsi/lu_snapshot.h"
#include "scsi/mode_pages.h"
#include "scsi/thin_provisioning.h"
#include "target/service.h"

namespace itgtd::target {
namespace {

/// What an initiator that used LIO has seen; multipath's hardware table knows it.
constexpr const char* kRevision = "4.0";

/// `group`: that of its target; empty: this node alone serves it.
backend::MediumOptions medium_options(const config::LunConfig& lun, const std::string& group) {
  backend::MediumOptions options;
  options.shared = !group.empty();
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

/// Whole blocks of the medium; 0 when its size can't be had.
uint64_t block_count(const backend::Medium& medium, uint32_t block_bytes) {
  const auto size = medium.size_bytes();
  return size ? size.value() / block_bytes : 0;
}

}  // namespace

void Service::carry_out(const config::AddLun& step, Done done) {
  const config::LunConfig& wanted = step.lun;
  Target& target = ensure_target(step.target);
  Lun& lun = target.luns[wanted.id];
  lun.config = wanted;
  lun.identity.vendor = wanted.vendor;
  lun.identity.product = wanted.product;
  lun.identity.revision = kRevision;
  lun.identity.serial = wanted.serial;
  lun.identity.naa = scsi::make_naa(wanted.serial);
  lun.identity.target_name = step.target;
  if (const Group* group = group_of(target); group != nullptr && !group->open) {
    done();  // another node may have it: open_group() opens it
    return;
  }
  scsi::LuState state = configured_state(wanted);
  const Result<void> restored = restore(target, lun, state);
  Result<std::shared_ptr<backend::Medium>> medium =
      restored ? backend::Medium::open(medium_options(wanted, target.config.group))
               : Result<std::shared_ptr<backend::Medium>>(restored.error());
  if (medium) {
    lun.medium = *medium;
  } else {
    log::error("{} LUN {}: {}; it is NOT READY until this works, tried again every {} s", step.target,
               wanted.id, medium.error().to_string(), kMediumRetryTime.count());
  }
  publish(target, lun, std::move(state), std::move(done));
  retry_media();
}

/// Puts a unit, with its medium if it has one, into its target.
void Service::publish(const Target& target, Lun& lun, scsi::LuState state, Done done) {
  lun.key = coordinator_.next_key();
  AddLun message;
  message.target = target.key;
  message.lun_key = lun.key;
  message.lun = lun.config.id;
  message.identity = lun.identity;
  message.removable = lun.config.removable;
  message.read_only = lun.config.read_only;
  message.statistics = std::make_shared<scsi::LuStatistics>(coordinator_.worker_count());
  message.geometry.block_bytes = lun.config.block_size;
  message.announce = target.visible;
  if (lun.medium) {
    message.medium = lun.medium;
    message.geometry = lun.medium->geometry();
    state.condition = lun.condition;
    state.block_count = block_count(*lun.medium, lun.config.block_size);
    state.thin_usage = lun.medium->thin_usage();
  }
  message.state = std::make_shared<const scsi::LuState>(std::move(state));
  std::optional<scsi::RegistrantAttentions> attentions;
  if (group_of(target) != nullptr) attentions = std::exchange(lun.attentions, {});
  writer_.add(lun.key, {target.key, lun.config.id, stored_name(lun.identity.naa)}, message.state,
              std::move(attentions));
  writer_.set_unreadable(lun.key, !lun.restored);
  coordinator_.broadcast(std::move(message), std::move(done));
}

/// What was stored of the unit, into `state`. What can't be read is not taken for nothing: initiators would
/// find their reservations gone without a word.
Result<void> Service::restore(const Target& target, Lun& lun, scsi::LuState& state) {
  const bool of_group = group_of(target) != nullptr;
  scsi::RegistrantAttentions attentions;
  const std::string name = stored_name(lun.identity.naa);
  const auto stored = store_.load(name);
  if (!stored) return stored.error();
  const scsi::LuState configured = state;
  if (stored.value()) {
    if (const auto taken = scsi::restore(*stored.value(), state, of_group ? &attentions : nullptr); !taken) {
      state = configured;
      return Error{
          taken.error().code,
          fmt::format("the state kept of it as {} is not usable ({}); restore that file, or remove it if its "
                      "reservations and settings may be lost",
                      name, taken.error().to_string())};
    }
  }
  lun.restored = true;
  lun.attentions = std::move(attentions);
  scsi::apply_saved_mode_pages(state);
  if (state.condition != configured.condition)
    lun.condition = std::exchange(state.condition, configured.condition);
  return {};
}

void Service::carry_out(const config::ChangeLun& step, Done done) {
  Lun& lun = targets_.at(step.target).luns.at(step.wanted.id);
  lun.config = step.wanted;
  if (lun.key == 0) {
    done();
    return;
  }
  const auto decide = [write_cache = step.wanted.write_cache](const scsi::LuState& state) {
    return scsi::on_write_cache_configured(state, write_cache);
  };
  writer_.change(lun.key, decide, std::move(done));
}

void Service::carry_out(const config::RemoveLun& step, Done done) {
  Target& target = targets_.at(step.target);
  take_out(target, target.luns.at(step.id), [this, name = step.target, id = step.id, done = std::move(done)] {
    targets_.at(name).luns.erase(id);
    drop_if_empty(name);
    done();
  });
}

/// Takes the unit out of its target; it stays configured. `done` when no command uses it any more.
void Service::take_out(const Target& target, Lun& lun, Done done) {
  if (lun.key == 0) {
    done();
    return;
  }
  lun.when_out.push_back(std::move(done));
  if (std::exchange(lun.leaving, true)) return;
  RemoveLun message;
  message.lun_key = lun.key;
  // The medium is closed when the workers' shares and this one are gone.
  coordinator_.broadcast(message, [this, name = target.config.name, id = lun.config.id] {
    Target& owner = targets_.at(name);
    Lun& out = owner.luns.at(id);
    writer_.remove(out.key);
    Group* group = group_of(owner);
    if (group != nullptr && group->closing && out.medium) group->closed.push_back(out.medium);
    const std::vector<Done> waiting = std::move(out.when_out);
    Lun configured;
    configured.config = std::move(out.config);
    configured.identity = std::move(out.identity);
    out = std::move(configured);
    // They may erase it, and its target.
    for (const Done& next : waiting) next();
  });
}

// --- The disks of groups
// -------------------------------------------------------------------------------------------------------

std::vector<Service::OpenedMedium> Service::closed_media(const std::string& group) const {
  std::vector<OpenedMedium> closed;
  for (const auto& [name, target] : targets_) {
    if (target.config.group != group) continue;
    for (const auto& [id, lun] : target.luns) {
      if (lun.key == 0) closed.push_back({name, group, lun.config});
    }
  }
  return closed;
}

void Service::open_medium(OpenedMedium& medium) {
  medium.medium = backend::Medium::open(medium_options(medium.lun, medium.group));
}

std::vector<std::string> Service::units_of(const std::string& group) const {
  std::vector<std::string> units;
  for (const auto& [name, target] : targets_) {
    if (target.config.group != group) continue;
    for (const auto& [id, lun] : target.luns) units.push_back(stored_name(lun.identity.naa));
  }
  return units;
}

Result<void> Service::open_group(const std::string& name, const std::vector<OpenedMedium>& media, Done done) {
  // All of them before the first is shown to anybody: it serves as a whole or not at all.
  std::vector<scsi::LuState> states;
  for (const OpenedMedium& opened : media) {
    Target& target = targets_.at(opened.target);
    Lun& lun = target.luns.at(opened.lun.id);
    scsi::LuState state = configured_state(lun.config);
    if (const auto restored = restore(target, lun, state); !restored) {
      return Error{restored.error().code,
                   fmt::format("{} LUN {}: {}", opened.target, opened.lun.id, restored.error().message)};
    }
    states.push_back(std::move(state));
  }
  Group& group = groups_[name];
  group.open = true;
  // One more than there are: until the last message has been sent, none of them ends it.
  auto left = std::make_shared<size_t>(media.size() + 1);
  const Done one_less = [this, name, left, done = std::move(done)] {
    if (--*left != 0) return;
    if (groups_[name].open) unpark(name);  // or it is being closed again
    done();
  };
  for (size_t i = 0; i < media.size(); ++i) {
    const Target& target = targets_.at(media[i].target);
    Lun& lun = targets_.at(media[i].target).luns.at(media[i].lun.id);
    lun.medium = media[i].medium.value();
    publish(target, lun, std::move(states[i]), one_less);
  }
  one_less();
  return {};
}

void Service::close_group(const std::string& name, std::function<void(Media)> done) {
  Group& group = groups_[name];
  group.parking = true;
  group.open = false;
  group.closing = true;
  const std::vector<Key> targets = targets_of(name);
  auto left = std::make_shared<size_t>(targets.size() + 1);
  const Done one_less = [this, name, left, done = std::move(done)] {
    if (--*left == 0) close_luns(name, done);
  };
  for (const Key target : targets) coordinator_.broadcast(EndTarget{0, target}, one_less);
  one_less();
}

void Service::close_luns(const std::string& name, std::function<void(Media)> done) {
  auto left = std::make_shared<size_t>(1);
  const Done one_less = [this, name, left, done = std::move(done)] {
    if (--*left != 0) return;
    Group& group = groups_[name];
    group.closing = false;
    done(std::exchange(group.closed, {}));
  };
  for (auto& [target_name, target] : targets_) {
    if (target.config.group != name) continue;
    for (auto& [id, lun] : target.luns) {
      if (lun.key == 0) continue;
      ++*left;
      take_out(target, lun, one_less);
    }
  }
  one_less();
}

// --- Devices that come late, and change
// ---------------------------------------------------------------------------------------------

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
        if (lun.medium || lun.leaving || lun.key == 0) continue;
        if (!lun.restored) {
          scsi::LuState state = *writer_.state(lun.key);
          if (!restore(target, lun, state)) continue;
          writer_.set_unreadable(lun.key, false);
          writer_.set_attentions(lun.key, std::exchange(lun.attentions, {}));
          // Nothing else that is kept can have changed meanwhile: it could not have been saved.
          writer_.change(lun.key, [state](const scsi::LuState& now) { return scsi::publish(now, state); });
        }
        if (auto medium = backend::Medium::open(medium_options(lun.config, target.config.group)))
          attach(target, lun, *medium);
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

}  // namespace itgtd::target
