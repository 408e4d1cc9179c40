#include "tests/ha/sim/world.h"

#include <fmt/format.h>

#include <algorithm>

namespace itgtd::ha::sim {

namespace {

constexpr uint32_t kBlocks = 2;  ///< few, so that a late write of an old owner meets a newer one
constexpr TimeMs kWriteEveryMs = 60;

std::vector<NodeId> ids(const Settings& settings) {
  std::vector<NodeId> nodes;
  for (const auto& [node, votes] : settings.totem.votes) nodes.push_back(node);
  return nodes;
}

}  // namespace

World::World(Settings settings, uint64_t seed)
    : settings_(std::move(settings)),
      random_(seed),
      totem_(schedule_, random_, *this, settings_.totem),
      disks_(schedule_, random_, ids(settings_), settings_.nodes > 2) {
  std::map<NodeId, int> together;
  for (NodeId node : ids(settings_)) together[node] = 0;
  disks_.connect(together);
  for (const GroupSpec& spec : settings_.groups) {
    disks_.add(spec);
    Watched& watched = watched_[spec.name];
    watched.overlap_since.assign(spec.vips.size(), -1);
    watched.initiators.resize(2);
    for (size_t i = 0; i < watched.initiators.size(); ++i)
      schedule_.after(random_.between(0, kWriteEveryMs),
                      [this, name = spec.name, i] { initiator_turn(name, i); });
  }
  Surroundings& self = *this;
  for (NodeId node : ids(settings_))
    hosts_[node] = std::make_unique<Host>(node, std::string(1, static_cast<char>('a' + node - 1)), settings_,
                                          schedule_, random_, totem_, disks_, self);
}

bool World::run(TimeMs duration_ms) {
  const TimeMs until = now() + duration_ms;
  while (!violation_ && schedule_.step(until)) check();
  return !violation_;
}

void World::violation(const std::string& text) {
  if (violation_) return;
  violation_ = text;
  say("VIOLATION " + text);
}

void World::cut_disks(const std::map<NodeId, int>& component) {
  disks_.connect(component);
  for (const GroupSpec& spec : settings_.groups) on_storage_touched(spec.name);
}

void World::heal() {
  std::map<NodeId, int> together;
  for (const auto& [node, host] : hosts_) together[node] = 0;
  cut_cluster(together);
  cut_disks(together);
}

void World::set_fitness(const std::string& group, NodeId node, StorageFitness fitness) {
  disks_.set_fitness(group, node, fitness);
  on_storage_touched(group);
}

void World::ask(const Wish& wish) {
  std::vector<NodeId> able;
  for (const auto& [node, host] : hosts_)
    if (host->daemon_runs() && !host->stalled() && !host->paused()) able.push_back(node);
  if (!able.empty()) host(random_.pick(able)).ask(wish);
}

/// The tools' events: every node that is up hears of it, after a while.
void World::on_storage_touched(const std::string& group) {
  for (const auto& [node, host] : hosts_)
    for (TimeMs delay : {random_.between(1, 20), TimeMs{1600}})
      schedule_.after(delay, [&machine = *host, group] { machine.look_at_storage(group); });
}

void World::on_serve(NodeId node, const std::string& group, Epoch epoch) {
  Watched& watched = watched_.at(group);
  if (epoch < watched.served_epoch || (epoch == watched.served_epoch && node != watched.served_by))
    violation(fmt::format("{} serves {} for epoch {:#x}, but {} had served epoch {:#x}", host(node).name(),
                          group, epoch, host(watched.served_by).name(), watched.served_epoch));
  watched.served_epoch = epoch;
  watched.served_by = node;
}

NodeId World::server(const std::string& group) const {
  for (const auto& [node, host] : hosts_)
    if (host->serves(group)) return node;
  return 0;
}

void World::check() {
  for (auto& [group, watched] : watched_) {
    NodeId first = 0;
    for (const auto& [node, host] : hosts_) {
      if (!host->serves(group)) continue;
      if (first != 0)
        violation(fmt::format("{} is served by {} and {}", group, hosts_.at(first)->name(), host->name()));
      first = node;
    }
  }
  if (now() < vips_checked_at_ + 50) return;
  vips_checked_at_ = now();
  for (const GroupSpec& spec : settings_.groups) check_vips(spec, watched_.at(spec.name));
}

void World::check_vips(const GroupSpec& spec, Watched& watched) {
  const TimeMs allowed = settings_.timing.lease_ms + settings_.timing.lease_ms / 100 + 2100;
  for (size_t vip = 0; vip < spec.vips.size(); ++vip) {
    int present = 0;
    for (const auto& [node, host] : hosts_)
      if (!host->paused() && host->vip_present(spec.name, vip)) ++present;
    TimeMs& since = watched.overlap_since[vip];
    if (present < 2)
      since = -1;
    else if (since < 0)
      since = now();
    else if (now() - since > allowed)
      violation(
          fmt::format("address {} of {} is on {} nodes since {} ms", vip, spec.name, present, now() - since));
  }
}

void World::initiator_turn(const std::string& group, size_t initiator) {
  Watched& watched = watched_.at(group);
  std::vector<NodeId> answering;
  for (const GroupSpec& spec : settings_.groups)
    for (size_t vip = 0; spec.name == group && vip < spec.vips.size(); ++vip)
      for (const auto& [node, host] : hosts_)
        if (host->vip_reachable(group, vip) && host->serves(group)) answering.push_back(node);
  if (!answering.empty()) {
    const NodeId node = random_.pick(answering);
    const Initiator& it = watched.initiators[initiator];
    // Some I/O takes long, and lands when its node may be no owner any more.
    const TimeMs takes = random_.chance(5) ? random_.between(15, 90) : random_.between(1, 15);
    schedule_.after(takes, [this, group, initiator, node, version = it.next_version] {
      write_ends(group, initiator, node, version);
    });
  }
  schedule_.after(kWriteEveryMs, [this, group, initiator] { initiator_turn(group, initiator); });
}

/// What was in the kernel lands, whatever became of the lease meanwhile; it is acknowledged only within it.
void World::write_ends(const std::string& group, size_t initiator, NodeId node, uint64_t version) {
  Watched& watched = watched_.at(group);
  Initiator& it = watched.initiators[initiator];
  const auto block = static_cast<uint32_t>(initiator * 100 + version % kBlocks);
  if (!host(node).up() || !disks_.write(group, node, block, version)) return;
  if (watched.acknowledged[block] > version)
    violation(fmt::format("{}: a late write of {} replaced an acknowledged one", group, host(node).name()));
  if (!host(node).serves(group) || version != it.next_version) return;
  watched.acknowledged[block] = version;
  ++it.next_version;
  watched.longest_pause_ms = std::max(watched.longest_pause_ms, now() - watched.last_ack_at);
  watched.last_ack_at = now();
}

void World::mark_pause(const std::string& group) {
  watched_.at(group).longest_pause_ms = 0;
  watched_.at(group).last_ack_at = now();
}

TimeMs World::pause(const std::string& group) const {
  const Watched& watched = watched_.at(group);
  return std::max(watched.longest_pause_ms, now() - watched.last_ack_at);
}

std::string World::lost_write(const std::string& group) const {
  const NodeId node = server(group);
  if (node == 0) return {};
  for (const auto& [block, version] : watched_.at(group).acknowledged)
    if (disks_.read(group, node, block) < version)
      return fmt::format("{}: block {} has version {} on {}, but {} was acknowledged", group, block,
                         disks_.read(group, node, block), hosts_.at(node)->name(), version);
  return {};
}

std::optional<Ownership> World::ownership(const std::string& group, NodeId node) const {
  const Host& machine = *hosts_.at(node);
  if (machine.state() == nullptr) return std::nullopt;
  for (const GroupStatus& it : status(*machine.state(), machine.clock()).groups)
    if (it.name == group) return it.ownership;
  return std::nullopt;
}

std::vector<std::string> World::describe() const {
  std::vector<std::string> lines;
  for (const auto& [node, host] : hosts_) {
    if (host->state() == nullptr) {
      lines.push_back(host->name() + ": no daemon");
      continue;
    }
    const TimeMs clock = host->clock();
    const ClusterStatus cluster = status(*host->state(), clock);
    lines.push_back(
        fmt::format("{}: ring {}/{}{}, lease {} ms, kernel {}{}", host->name(), cluster.ring.representative,
                    cluster.ring.seq, cluster.quorate ? " quorate" : "", cluster.lease_left_ms,
                    host->lease_valid() ? "open" : "closed", cluster.maintenance ? ", maintenance" : ""));
    for (const GroupStatus& group : cluster.groups) {
      const auto own = group.reports.find(node);
      lines.push_back(fmt::format("   {} owner {} epoch {:#x} here {} since {} ms; {}", group.name,
                                  group.ownership.owner, group.ownership.epoch,
                                  own == group.reports.end() ? "?" : to_string(own->second.phase),
                                  own == group.reports.end() ? 0 : own->second.since_ms, group.problem));
      for (const Candidate& it : candidates(*host->state(), group.name, clock))
        lines.push_back(fmt::format("      {} {} storage {} failures {:.2f} vips {} preference {}: {}",
                                    it.name, it.eligible ? "can" : "can't", to_string(it.fitness),
                                    it.failures, it.live_vips, it.preference, it.reason));
    }
  }
  return lines;
}

std::string World::unsettled() const {
  for (const GroupSpec& spec : settings_.groups) {
    const NodeId node = server(spec.name);
    if (node == 0) return spec.name + " is served by nobody";
    const std::optional<Ownership> mine = ownership(spec.name, node);
    for (const auto& [other, host] : hosts_) {
      if (host->suspended(spec.name) || (other != node && host->running(spec.name)))
        return fmt::format("{} has a leftover of {}", host->name(), spec.name);
      const std::optional<Ownership> theirs = ownership(spec.name, other);
      if (!theirs || !mine || theirs->epoch != mine->epoch || theirs->owner != mine->owner)
        return fmt::format("{} and {} do not agree on {}", hosts_.at(node)->name(), host->name(), spec.name);
    }
    if (mine->owner != node)
      return fmt::format("{} serves {} and does not own it", hosts_.at(node)->name(), spec.name);
    if (std::string lost = lost_write(spec.name); !lost.empty()) return lost;
  }
  return {};
}

}  // namespace itgtd::ha::sim
