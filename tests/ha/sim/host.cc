#include "tests/ha/sim/host.h"

#include <fmt/format.h>

#include <algorithm>

namespace itgtd::ha::sim {

Host::Host(NodeId id, std::string name, const Settings& settings, Schedule& schedule, Random& random,
           Totem& totem, Disks& disks, Surroundings& world)
    : id_(id),
      name_(std::move(name)),
      settings_(settings),
      schedule_(schedule),
      random_(random),
      totem_(totem),
      disks_(disks),
      world_(world) {
  if (settings.clocks_differ) clock_ppm_ = random_.between(-5000, 5000);
  for (const GroupSpec& spec : settings.groups) addresses_[spec.name].resize(spec.vips.size());
}

TimeMs Host::clock() const {
  return clock_offset_ms_ + schedule_.now() + schedule_.now() * clock_ppm_ / 1'000'000;
}

TimeMs Host::world_time(TimeMs clock_ms) const {
  return (clock_ms - clock_offset_ms_) * 1'000'000 / (1'000'000 + clock_ppm_) + 1;
}

void Host::boot() {
  if (up_) return;
  up_ = true;
  clock_offset_ms_ = settings_.clocks_differ ? random_.between(1000, 100'000'000) : 0;
  disks_.node_up(id_);
  totem_.start(id_);
  start_daemon();
}

void Host::crash() {
  if (!up_) return;
  world_.log(id_, "crashes");
  ++boot_;
  up_ = false;
  paused_ = false;
  deferred_.clear();
  state_.reset();
  stalled_ = false;
  connected_ = false;
  for (auto& queue : queues_) queue.clear();
  services_.clear();
  lease_until_ = 0;
  lease_watched_ = false;
  for (auto& [group, list] : addresses_)
    for (Address& address : list) {
      address.present = false;
      address.valid_until = 0;  // the clock begins anew
      address.failed = false;
    }
  totem_.end(id_);
  disks_.node_down(id_);
  for (const GroupSpec& spec : settings_.groups) world_.on_storage_touched(spec.name);
}

void Host::start_daemon() {
  if (!up_ || state_) return;
  // Pids are unique in a run, so that nothing hides behind a reused one.
  pid_ = ++last_pid_ + id_ * 1000;
  stalled_ = false;
  tick_armed_ = -1;
  const Epoch none = 0;
  for (auto& [group, work] : work_) {
    work.acked = none;
    work.table_epoch = none;
    work.told = {};
    work.role_free_at = 0;
    ++work.service;
    ++work.addresses;
  }
  state_.emplace(id_, name_, pid_, settings_.timing, Origin{{}, epoch_floor_});
  world_.log(id_, "daemon starts");
  std::vector<NodeName> nodes;
  for (const auto& [node, votes] : settings_.totem.votes)
    nodes.push_back({node, std::string(1, static_cast<char>('a' + node - 1))});
  post(kLocal, NodesKnown{nodes});
  post(kLocal, Configured{settings_.groups});
  for (const GroupSpec& spec : settings_.groups) {
    work_[spec.name];
    look_at_storage(spec.name);
    for (size_t vip = 0; vip < spec.vips.size(); ++vip) {
      addresses_[spec.name][vip].told = {};
      addresses_[spec.name][vip].failed = false;
      tell_vip(spec.name, vip);
    }
  }
  // The configuration is known before there is a connection, as event.h asks.
  later(settings_.processing_max_ms + 1, [this, pid = pid_] {
    if (pid == pid_) connect_soon();
  });
}

void Host::end_process(const char* how) {
  if (!state_) return;
  world_.log(id_, how);
  totem_.leave(id_, pid_);
  state_.reset();
  stalled_ = false;
  connected_ = false;
  services_.clear();
  for (auto& queue : queues_) queue.clear();
  if (settings_.helper_demotes)
    later(random_.between(20, 200), [this] {
      for (const GroupSpec& spec : settings_.groups)
        if (!state_) {
          disks_.demote(spec.name, id_);
          world_.on_storage_touched(spec.name);
        }
    });
}

void Host::kill_daemon() {
  end_process("daemon dies");
}

void Host::pause() {
  if (!up_ || paused_) return;
  world_.log(id_, "machine pauses");
  paused_ = true;
  totem_.stall(id_);
}

void Host::resume() {
  if (!up_ || !paused_) return;
  world_.log(id_, "machine goes on");
  paused_ = false;
  expire_addresses();
  std::vector<std::function<void()>> deferred;
  deferred.swap(deferred_);
  for (const auto& what : deferred) what();
  totem_.resume(id_);
  pump(pid_);
  arm_tick();
}

void Host::stall() {
  if (state_ && !stalled_) world_.log(id_, "daemon hangs");
  stalled_ = state_.has_value();
}

void Host::go_on() {
  if (stalled_) world_.log(id_, "daemon goes on");
  stalled_ = false;
  pump(pid_);
  arm_tick();
}

void Host::later(TimeMs delay_ms, std::function<void()> what) {
  schedule_.after(delay_ms, [this, boot = boot_, what = std::move(what)] {
    if (boot != boot_) return;
    if (paused_)
      deferred_.push_back(what);
    else
      what();
  });
}

void Host::on_cpg(uint32_t pid, const Event& event) {
  if (pid == pid_ && connected_) post(kCpg, event);
}

void Host::on_quorum(uint32_t pid, const Event& event) {
  if (pid == pid_ && connected_) post(kQuorum, event);
}

void Host::on_corosync_lost(uint32_t pid) {
  if (!up_ || !state_ || pid != pid_) return;
  world_.log(id_, "corosync is gone");
  connected_ = false;
  post(kCpg, CorosyncLost{"library error"});
}

/// The adapter tries until there is a corosync.
void Host::connect_soon() {
  if (!state_ || connected_) return;
  if (!totem_.running(id_)) {
    later(300, [this, pid = pid_] {
      if (pid == pid_) connect_soon();
    });
    return;
  }
  connected_ = true;
  totem_.join(id_, pid_);
}

void Host::post(QueueId queue, Event event) {
  if (!state_) return;
  TimeMs ready_at = schedule_.now() + random_.between(0, settings_.processing_max_ms);
  if (!queues_[queue].empty()) ready_at = std::max(ready_at, queues_[queue].back().ready_at);
  queues_[queue].push_back({ready_at, std::move(event)});
  schedule_.at(ready_at, [this, pid = pid_] { pump(pid); });
}

/// Handles what is ready; after a hang that is much, and the queues compete.
void Host::pump(uint32_t pid) {
  while (state_ && pid == pid_ && !stalled_ && !paused_) {
    std::array<size_t, kQueues> ready{};
    size_t count = 0;
    for (size_t i = 0; i < kQueues; ++i)
      if (!queues_[i].empty() && queues_[i].front().ready_at <= schedule_.now()) ready[count++] = i;
    if (count == 0) return;
    auto& queue = queues_[ready[count == 1 ? 0 : random_.below(count)]];
    const Event event = std::move(queue.front().event);
    queue.pop_front();
    mutate(event);
    handle(event);
  }
}

/// The faults of a core that does not keep the rules, as far as they can be put in from outside.
void Host::mutate(const Event& event) {
  const auto* delivered = std::get_if<Delivered>(&event);
  if (delivered == nullptr || delivered->from != Member{id_, pid_} || !settings_.fault.lease_by_self_delivery)
    return;
  if (const auto* heartbeat = std::get_if<Heartbeat>(&delivered->message)) {
    lease_until_ = std::max(lease_until_, heartbeats_[heartbeat->seq] + settings_.timing.lease_ms);
    for (auto& [group, service] : services_) service.suspended = false;
  }
}

void Host::handle(const Event& event) {
  const Actions actions = state_->step(clock(), event);
  world_.mix(static_cast<uint64_t>(schedule_.now()) << 20 ^ uint64_t{id_} << 16 ^ event.index() << 8 ^
             actions.size());
  check_after_step(event);
  const uint32_t pid = pid_;
  for (const Action& action : actions)
    if (state_ && pid == pid_) perform(action);
  // The adapter connects anew when the loss has been told: nothing of the next connection comes before that.
  if (std::holds_alternative<CorosyncLost>(event)) connect_soon();
  arm_tick();
}

void Host::check_after_step(const Event& event) {
  for (const std::string& broken : broken_invariants(*state_, clock()))
    world_.violation(fmt::format("{}: {}", name_, broken));
  // The table comes with messages; heartbeats, which are most of them, have none.
  const auto* delivered = std::get_if<Delivered>(&event);
  if (delivered == nullptr || std::holds_alternative<Heartbeat>(delivered->message)) return;
  for (const GroupStatus& group : status(*state_, clock()).groups) {
    Work& work = work_[group.name];
    if (group.ownership.epoch < work.table_epoch)
      world_.violation(fmt::format("{}: epoch of {} went back from {} to {}", name_, group.name,
                                   work.table_epoch, group.ownership.epoch));
    work.table_epoch = group.ownership.epoch;
  }
}

void Host::arm_tick() {
  if (!state_ || stalled_ || paused_) return;
  const TimeMs at = std::max(world_time(state_->wake_at()), schedule_.now() + 1);
  if (tick_armed_ >= 0 && tick_armed_ <= at) return;
  tick_armed_ = at;
  schedule_.at(at, [this, pid = pid_, at] {
    if (pid != pid_ || tick_armed_ != at) return;
    tick_armed_ = -1;
    if (!state_ || stalled_ || paused_) return;
    if (state_->wake_at() <= clock())
      post(kLocal, Tick{});
    else
      arm_tick();
  });
}

void Host::set_link(const std::string& group, size_t vip, bool up) {
  addresses_.at(group).at(vip).link = up;
  tell_vip(group, vip);
}

void Host::set_vip_fails(const std::string& group, size_t vip, bool fails) {
  addresses_.at(group).at(vip).fails = fails;
}

void Host::remove_address(const std::string& group, size_t vip) {
  addresses_.at(group).at(vip).present = false;
  tell_vip(group, vip);
}

void Host::set_promote_fails(const std::string& group, int count, bool retry_here) {
  work_[group].promote_fails = count;
  work_[group].promote_retry_here = retry_here;
}

void Host::set_promote_takes(const std::string& group, TimeMs takes_ms) {
  work_[group].promote_takes_ms = takes_ms;
}

void Host::look_at_storage(const std::string& group) {
  if (!up_ || !state_) return;
  const StorageFacts facts = disks_.facts(group, id_);
  if (facts == work_[group].told) return;
  work_[group].told = facts;
  post(kLocal, StorageChanged{group, facts});
}

void Host::tell_vip(const std::string& group, size_t vip) {
  if (!up_ || !state_) return;
  Address& address = addresses_.at(group).at(vip);
  VipFacts facts;
  facts.interface = fmt::format("eth{}", vip + 1);
  facts.link = address.link;
  facts.present = address.present && clock() < address.valid_until;
  facts.failed = address.failed;
  if (facts == address.told) return;
  address.told = facts;
  post(kLocal, VipChanged{group, vip, facts});
}

/// The kernel removes what nobody renewed.
void Host::expire_addresses() {
  for (auto& [group, list] : addresses_)
    for (size_t vip = 0; vip < list.size(); ++vip)
      if (list[vip].present && clock() >= list[vip].valid_until) {
        list[vip].present = false;
        world_.log(id_, fmt::format("{} address {} expires", group, vip));
        tell_vip(group, vip);
      }
}

void Host::watch_lease() {
  if (lease_watched_) return;
  lease_watched_ = true;
  schedule_.at(world_time(lease_until_), [this, boot = boot_] {
    if (boot != boot_) return;
    lease_watched_ = false;
    if (clock() < lease_until_) {
      watch_lease();
      return;
    }
    for (auto& [group, service] : services_)
      if (service.running && !service.lapsed) {
        service.lapsed = true;
        world_.log(id_, fmt::format("{} lapses: no lease", group));
      }
    for (TimeMs delay : {500, 1000, 1500, 2000, 2500}) later(delay, [this] { expire_addresses(); });
  });
}

bool Host::running(const std::string& group) const {
  const auto found = services_.find(group);
  return found != services_.end() && found->second.running;
}

bool Host::suspended(const std::string& group) const {
  const auto found = services_.find(group);
  return found != services_.end() && found->second.running && found->second.suspended;
}

bool Host::serves(const std::string& group) const {
  return up_ && !paused_ && state_ && running(group) && !suspended(group) && clock() < lease_until_;
}

bool Host::vip_present(const std::string& group, size_t vip) const {
  const Address& address = addresses_.at(group).at(vip);
  return up_ && address.present && clock() < address.valid_until;
}

bool Host::vip_reachable(const std::string& group, size_t vip) const {
  return vip_present(group, vip) && addresses_.at(group).at(vip).link && !paused_;
}

}  // namespace itgtd::ha::sim
