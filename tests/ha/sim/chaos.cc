#include "tests/ha/sim/chaos.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace itgtd::ha::sim {

namespace {

constexpr TimeMs kSettleMs = 60'000;
/// A failback that waited for a failure to decay may be under way at the end of that.
constexpr TimeMs kLastMoveMs = 10'000;

Settings draw_settings(Random& random, const ChaosOptions& options) {
  Settings settings;
  settings.nodes = static_cast<size_t>(random.pick(std::vector<int64_t>{2, 3, 3, 3, 3, 4, 5}));
  for (NodeId node = 1; node <= settings.nodes; ++node) settings.totem.votes[node] = 1;
  if (settings.nodes == 2 && random.chance(70)) settings.totem.votes[1] = 2;
  settings.totem.token_ms = random.between(500, 1500);
  settings.totem.consensus_ms = settings.totem.token_ms * 6 / 5;
  settings.totem.isolated_extra_ms = random.chance(50) ? random.between(0, 5000) : 0;
  settings.totem.latency_max_ms = random.pick(std::vector<int64_t>{2, 5, 40});
  settings.totem.quorum_delay_max_ms = random.pick(std::vector<int64_t>{5, 100, 1500});
  settings.totem.stale_token_max_ms = random.pick(std::vector<int64_t>{5, 50, 2000});
  settings.timing = Timing::of(settings.totem.token_ms, settings.totem.consensus_ms);
  if (options.negative_margin) {
    settings.timing.margin_ms = -settings.timing.lease_ms / 2;
    settings.timing.hung_ms = settings.timing.lease_ms / 2;
  }
  settings.processing_max_ms = random.pick(std::vector<int64_t>{1, 5, 30});
  settings.promote_max_ms = random.pick(std::vector<int64_t>{20, 200, 3000});
  settings.helper_demotes = random.chance(50);
  settings.fault = options.fault;
  const int64_t groups = random.between(1, 2);
  for (int64_t i = 0; i < groups; ++i) {
    GroupSpec spec;
    spec.name = fmt::format("g{}", i);
    spec.storage = random.chance(50) ? StorageKind::drbd : StorageKind::shared;
    for (int64_t vip = random.between(1, 3); vip > 0; --vip)
      spec.vips.push_back(fmt::format("192.0.2.{}", i * 10 + vip));
    for (NodeId node = 1; node <= settings.nodes; ++node)
      if (spec.nodes.size() < 2 || random.chance(60)) spec.nodes.push_back(node);
    random.shuffle(spec.nodes);
    spec.failback = random.chance(20);
    spec.digest = 7;
    settings.groups.push_back(spec);
  }
  return settings;
}

/// The faults of one run.
class Chaos {
 public:
  explicit Chaos(World& world) : world_(world), random_(world.random()) {}

  void strike() {
    const size_t kind = random_.below(20);
    const NodeId node = any_node();
    Host& host = world_.host(node);
    const TimeMs lasts = random_.chance(50) ? random_.between(20, 2500) : random_.between(1000, 12'000);
    switch (kind) {
      case 0:
      case 1:
      case 2:
        cut(lasts, true, random_.chance(70));
        break;
      case 3:
        cut(lasts, false, true);
        break;
      case 4:
      case 5:
        host.stall();
        until(lasts, [&host] { host.go_on(); });
        break;
      case 6:
        host.pause();
        until(lasts, [&host] { host.resume(); });
        break;
      case 7:
      case 8:
        stall_corosync(node, lasts);
        break;
      case 9:
        world_.totem().end(node);
        until(lasts, [this, node] { start_corosync(node); });
        break;
      case 10:
      case 11:
        host.kill_daemon();
        until(lasts, [&host] { host.start_daemon(); });
        break;
      case 12:
      case 13:
        host.crash();
        until(lasts, [&host] { host.boot(); });
        break;
      case 14:
        host.stop_daemon();
        until(lasts + 3000, [&host] {
          host.kill_daemon();
          host.start_daemon();
        });
        break;
      default:
        strike_gently(kind, host, lasts);
    }
  }

 private:
  void strike_gently(size_t kind, Host& host, TimeMs lasts) {
    const GroupSpec& spec = random_.pick(world_.settings().groups);
    const size_t vip = random_.below(spec.vips.size());
    switch (kind) {
      case 15:
        host.set_promote_fails(spec.name, static_cast<int>(random_.between(1, 3)), random_.chance(50));
        break;
      case 16:
        if (random_.chance(50)) {
          host.set_vip_fails(spec.name, vip, true);
          until(lasts, [&host, name = spec.name, vip] { host.set_vip_fails(name, vip, false); });
        } else {
          host.remove_address(spec.name, vip);
        }
        break;
      case 17:
        host.set_link(spec.name, vip, false);
        until(lasts, [&host, name = spec.name, vip] { host.set_link(name, vip, true); });
        break;
      case 18:
        world_.ask(draw_wish(spec));
        break;
      default:
        if (spec.storage == StorageKind::drbd && !spec.nodes.empty()) {
          const NodeId node = random_.pick(spec.nodes);
          world_.set_fitness(spec.name, node,
                             random_.chance(50) ? StorageFitness::diskless : StorageFitness::unusable);
          until(lasts,
                [this, name = spec.name, node] { world_.set_fitness(name, node, StorageFitness::usable); });
        } else {
          host.set_promote_takes(spec.name, random_.between(1000, 6000));
          until(lasts, [&host, name = spec.name] { host.set_promote_takes(name, 0); });
        }
    }
  }

  Wish draw_wish(const GroupSpec& spec) {
    Wish wish;
    wish.kind = random_.pick(std::vector<Wish::Kind>{Wish::Kind::move, Wish::Kind::move, Wish::Kind::drain,
                                                     Wish::Kind::undrain, Wish::Kind::maintenance_on,
                                                     Wish::Kind::maintenance_off});
    wish.group = wish.kind == Wish::Kind::move ? spec.name : "";
    wish.node = random_.chance(30) && wish.kind == Wish::Kind::move ? 0 : any_node();
    return wish;
  }

  void cut(TimeMs lasts, bool cluster, bool disks) {
    std::map<NodeId, int> component;
    const int parts = random_.chance(20) ? 3 : 2;
    for (const auto& [node, host] : world_.hosts())
      component[node] = static_cast<int>(random_.below(static_cast<size_t>(parts)));
    std::string text = "network";
    for (const auto& [node, part] : component) text += fmt::format(" {}:{}", world_.host(node).name(), part);
    world_.say(text + (cluster ? "" : " (disks only)") + (disks ? "" : " (cluster only)"));
    if (cluster) world_.cut_cluster(component);
    if (disks) world_.cut_disks(component);
    until(lasts, [this] {
      world_.say("network whole");
      world_.heal();
    });
  }

  void stall_corosync(NodeId node, TimeMs lasts) {
    world_.say(fmt::format("{} corosync hangs", world_.host(node).name()));
    world_.totem().stall(node);
    until(lasts, [this, node] {
      if (world_.host(node).paused()) return;
      world_.say(fmt::format("{} corosync goes on", world_.host(node).name()));
      world_.totem().resume(node);
    });
  }

  void start_corosync(NodeId node) {
    if (world_.host(node).up()) world_.totem().start(node);
  }

  NodeId any_node() {
    return static_cast<NodeId>(random_.between(1, static_cast<int64_t>(world_.hosts().size())));
  }
  void until(TimeMs lasts, std::function<void()> what) { world_.schedule().after(lasts, std::move(what)); }

  World& world_;
  Random& random_;
};

void heal_all(World& world) {
  world.say("everything is healed");
  world.heal();
  for (const auto& [node, host] : world.hosts()) {
    host->resume();
    host->boot();
    world.totem().start(node);
    world.totem().resume(node);
    host->go_on();
    host->start_daemon();
    for (const GroupSpec& spec : world.settings().groups) {
      host->set_promote_fails(spec.name, 0, true);
      host->set_promote_takes(spec.name, 0);
      for (size_t vip = 0; vip < spec.vips.size(); ++vip) {
        host->set_vip_fails(spec.name, vip, false);
        host->set_link(spec.name, vip, true);
      }
    }
  }
  for (const GroupSpec& spec : world.settings().groups)
    for (NodeId node : spec.nodes) world.set_fitness(spec.name, node, StorageFitness::usable);
}

/// A daemon that was asked to stop may still do so; then it is started again, and nobody stays drained.
void tidy(World& world) {
  for (const auto& [node, host] : world.hosts()) {
    host->start_daemon();
    world.ask({Wish::Kind::undrain, {}, node});
  }
  world.ask({Wish::Kind::maintenance_off, {}, 0});
}

}  // namespace

std::unique_ptr<World> run_chaos(uint64_t seed, const ChaosOptions& options) {
  Random random(seed * 7919 + 1);
  const Settings settings = draw_settings(random, options);
  auto world = std::make_unique<World>(settings, random.next());
  for (const auto& [node, host] : world->hosts())
    world->schedule().after(random.between(0, 3000), [&machine = *host] { machine.boot(); });
  if (random.chance(10))
    world->totem().add_ghost(
        {static_cast<NodeId>(random.between(1, static_cast<int64_t>(settings.nodes))), 9});
  Chaos chaos(*world);
  const int64_t strikes = random.between(1, 14);
  const TimeMs busy_ms = random.between(8'000, 30'000);
  const TimeMs begin_ms = random.chance(80) ? 6000 : 0;
  for (int64_t i = 0; i < strikes; ++i)
    world->schedule().at(begin_ms + random.between(0, busy_ms), [&chaos] { chaos.strike(); });
  if (!world->run(begin_ms + busy_ms + 500)) return world;
  // What still lasts ends by itself while the cluster is already whole.
  if (!world->run(15'500)) return world;
  heal_all(*world);
  if (!world->run(5000)) return world;
  tidy(*world);
  if (!world->run(kSettleMs)) return world;
  if (!world->unsettled().empty() && !world->run(kLastMoveMs)) return world;
  if (const std::string problem = world->unsettled(); !problem.empty())
    world->fail("not settled: " + problem);
  return world;
}

}  // namespace itgtd::ha::sim
