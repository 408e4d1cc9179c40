#include "target/group_stores.h"

#include <algorithm>

#include "scsi/logical_unit.h"

namespace itgtd::target {

GroupStores::GroupStores(control::EventLoop& loop, LuStore& others, const std::string& state_dir)
    : loop_(loop),
      member_files_(state_dir + "/members"),
      members_(member_files_),
      router_(others),
      replication_(loop, members_,
                   [this](const ha::Message& message) {
                     if (runtime_ != nullptr) runtime_->send(message);
                   },
                   ha::Runtime::now_ms, {}) {}

GroupStores::~GroupStores() {
  if (runtime_ != nullptr) runtime_->set_listener({});
}

void GroupStores::connect(ha::Runtime& runtime) {
  runtime_ = &runtime;
  runtime.set_listener([this](const ha::Event& event) { on_event(event); });
  runtime.set_claims(*this);
}

void GroupStores::on_event(const ha::Event& event) {
  if (const auto* delivered = std::get_if<ha::Delivered>(&event)) {
    replication_.on_delivered(delivered->from, delivered->message);
  } else if (const auto* changed = std::get_if<ha::MembersChanged>(&event)) {
    replication_.on_members(changed->members);
  } else if (std::holds_alternative<ha::CorosyncLost>(event)) {
    replication_.on_members({});
  } else if (const auto* known = std::get_if<ha::NodesKnown>(&event)) {
    ha::UnitsOptions options;
    options.self = runtime_->member();
    options.nodes = known->nodes.size();
    replication_.set_options(options);
  }
}

void GroupStores::configure(const config::Config& config) {
  for (const config::GroupConfig& group : config.groups) groups_[group.name].device = group.state;
  // Units that come to a group that is served: what they keep goes where that of the others goes.
  for (const config::TargetConfig& target : config.targets) {
    const auto found = groups_.find(target.group);
    if (found == groups_.end() || found->second.store == nullptr) continue;
    Group& group = found->second;
    for (const config::LunConfig& lun : target.luns) {
      const std::string unit = stored_name(scsi::make_naa(lun.serial));
      if (std::ranges::find(group.units, unit) != group.units.end()) continue;
      group.units.push_back(unit);
      router_.assign(unit, group.store);
    }
  }
}

void GroupStores::open(const std::string& name, ha::Epoch epoch, const std::vector<std::string>& units,
                       Done done) {
  Group& group = groups_[name];
  for (const std::string& unit : group.units) router_.assign(unit, nullptr);
  group.units = units;
  if (!group.device.empty()) {
    if (!group.on_device) group.on_device = std::make_unique<DeviceLuStore>(loop_);
    group.store = group.on_device.get();
    for (const std::string& unit : units) router_.assign(unit, group.store);
    group.on_device->open({group.device, name, epoch, units}, std::move(done));
    return;
  }
  if (!group.replicated) group.replicated = std::make_unique<ReplicatedLuStore>(name, members_, replication_);
  group.store = group.replicated.get();
  for (const std::string& unit : units) router_.assign(unit, group.store);
  group.replicated->start(epoch, units, std::move(done));
}

void GroupStores::close(const std::string& name, std::function<void()> done) {
  Group& group = groups_[name];
  group.store = nullptr;
  if (group.replicated) group.replicated->stop();
  replication_.abandon(name);
  if (group.on_device) {
    group.on_device->close(std::move(done));
  } else {
    done();
  }
}

// --- Claims
// ------------------------------------------------------------------------------------------------------------

void GroupStores::start(const std::string& name, ha::Epoch epoch,
                        std::function<void(Result<ha::DataClaim>)> done) {
  std::unique_ptr<ReplicatedLuStore>& store = claims_[name];
  if (!store) store = std::make_unique<ReplicatedLuStore>(name, members_, replication_);
  const std::string unit = ha::claim_unit(name);
  store->start(epoch, {unit}, [this, name, unit, done = std::move(done)](const Result<void>& started) {
    if (!started) return done(started.error());
    const auto value = claims_[name]->load(unit);
    if (!value) return done(value.error());
    const auto claim = ha::DataClaim::parse(as_text(value->value_or(LuStore::Value{})));
    if (!claim) return done(Error{0, "what is kept of who has all of its data makes no sense"});
    done(*claim);
  });
}

void GroupStores::save(const std::string& name, const ha::DataClaim& claim, Done done) {
  claims_[name]->save(ha::claim_unit(name), as_bytes(claim.to_text()), std::move(done));
}

void GroupStores::stop(const std::string& name) {
  if (const auto found = claims_.find(name); found != claims_.end()) found->second->stop();
}

std::pair<ha::ClaimStore::Version, ha::DataClaim> GroupStores::known(const std::string& name) {
  const auto stored = members_.load(ha::claim_unit(name));
  if (!stored || !stored.value()) return {};
  const ha::UnitStore::Value& value = *stored.value();
  return {{value.version.epoch, value.version.version},
          ha::DataClaim::parse(as_text(value.bytes)).value_or(ha::DataClaim{})};
}

}  // namespace itgtd::target
