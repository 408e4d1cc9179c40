#include "ha/runtime.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/log.h"
#include "ha/adapters/preflight.h"
#include "version.h"

namespace itgtd::ha {
namespace {

/// How often corosync is looked for while it does not run.
constexpr std::chrono::milliseconds kSettingsRetry{1000};
/// After which corosync is said to hang. The start waits for so long.
constexpr std::chrono::milliseconds kSettingsWait{2000};
/// The lifetime of addresses has whole seconds: renewing it more often than this changes nothing.
constexpr TimeMs kAddressRenewal = 500;

/// Milliseconds since 1970-01-01 UTC.
int64_t wall_clock_ms() {
  timespec time{};
  clock_gettime(CLOCK_REALTIME, &time);
  return int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

}  // namespace

TimeMs Runtime::now_ms() {
  timespec time{};
  clock_gettime(CLOCK_BOOTTIME, &time);
  return TimeMs{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

Runtime::Runtime(control::EventLoop& loop, GroupService& service, const std::string& state_dir)
    : loop_(loop),
      service_(service),
      addresses_(
          loop,
          [this](const Vip& vip, const VipFacts& facts) {
            for (const auto& [name, group] : groups_) {
              const auto& vips = group.setup.vips;
              const auto found = std::ranges::find(vips, vip);
              if (found == vips.end()) continue;
              // Other nodes may have one; the group is served without this path.
              if (facts.interface.empty())
                log::warning("group {}: VIP {} has no place on this node: {}", name, vip.address,
                             facts.detail);
              post(VipChanged{name, static_cast<size_t>(found - vips.begin()), facts});
            }
          },
          [this](const VipPlace& place) { announcer_.announce(place); }),
      announcer_(loop,
                 [this](const std::string& address, const std::string& hardware_address) {
                   addresses_.on_conflict(address, hardware_address);
                 }),
      gate_(loop),
      syn_relay_(loop),
      drbd_(loop,
            [this](const std::string& resource, const StorageFacts& facts) {
              for (auto& [name, group] : groups_) {
                if (group.setup.drbd != resource) continue;
                group.storage = facts;
                guard_.on_storage(name, facts);
                on_storage(name);
              }
            }),
      guard_(loop, {.hold =
                        [this](const std::string& group) {
                          log::warning(
                              "group {}: its replica is lost: nothing is answered until the other "
                              "nodes know",
                              group);
                          service_.suspend(group);
                        },
                    .go_on =
                        [this](const std::string& group) {
                          const auto found = groups_.find(group);
                          if (found == groups_.end() || !found->second.suspended) service_.resume(group);
                        },
                    .judged = [this](const std::string& group) { on_storage(group); },
                    .name_of = [this](NodeId node) { return name_of(node); }}),
      shared_(loop,
              [this](const std::string& group, const StorageFacts& facts) {
                post(StorageChanged{group, facts});
              }),
      corosync_(loop, [this](const Event& event) { on_corosync(event); }),
      history_file_(loop, history_, state_dir + "/history.json",
                    [this] { history_.observe(now_ms(), wall_clock_ms(), status()); }),
      epoch_file_(state_dir + "/epoch") {
  (void)gate_.prepare();
}

Runtime::~Runtime() = default;

// --- Start, reload, stop
// ---------------------------------------------------------------------------------------------

Result<void> Runtime::start(const std::string& cluster, std::vector<GroupSetup> groups) {
  process_group_ = "itgtd/" + cluster;
  auto floor = epoch_file_.load();
  if (!floor) return floor.error();
  epoch_floor_ = *floor;
  if (const auto loaded = history_file_.load(); !loaded) log::warning("{}", loaded.error().to_string());
  service_.set_on_sessions([this](const std::string& group, uint32_t sessions, std::vector<TcpPair> opened,
                                  std::vector<TcpPair> closed) {
    post(SessionsChanged{group, sessions, std::move(opened), std::move(closed)});
  });
  if (auto started = addresses_.start(); !started) return started;
  configure(std::move(groups));
  if (!gate_error_.empty()) return Error{0, gate_error_};
  on_settings(corosync_.read_settings(kSettingsWait));
  // Later, with corosync started again with other settings, it is only said: sessions of other targets go on.
  if (unsafe_) return Error{0, settings_error_};
  return {};
}

void Runtime::configure(std::vector<GroupSetup> groups) {
  std::map<std::string, Group> wanted;
  std::vector<Vip> vips;
  for (GroupSetup& setup : groups) {
    const auto before = groups_.find(setup.name);
    leaving_.erase(setup.name);
    vips.insert(vips.end(), setup.vips.begin(), setup.vips.end());
    const std::string name = setup.name;
    wanted[name] = {std::move(setup), before == groups_.end() || before->second.inherited};
  }
  const std::map<std::string, Group> old = std::exchange(groups_, std::move(wanted));
  for (const auto& [name, group] : old) {
    if (groups_.contains(name)) continue;
    shared_.follow(name, {});
    leaving_[name] = group.setup;
  }
  guard_portals();
  configure_state();
  // Facts come while these run: the groups they belong to are known by now.
  for (const auto& [name, group] : groups_) {
    if (group.setup.drbd.empty()) shared_.follow(name, group.setup.disks);
  }
  addresses_.follow(vips);
}

std::vector<std::string> Runtime::drbd_resources(std::string_view node) const {
  std::vector<std::string> resources;
  for (const auto& [name, group] : groups_) {
    const GroupSetup& setup = group.setup;
    const bool may_own = setup.nodes.empty() || std::ranges::find(setup.nodes, node) != setup.nodes.end();
    if (may_own && !setup.drbd.empty()) resources.push_back(setup.drbd);
  }
  return resources;
}

void Runtime::guard_portals() {
  std::vector<std::string> portals;
  for (const auto& [name, group] : groups_)
    portals.insert(portals.end(), group.setup.portals.begin(), group.setup.portals.end());
  for (const auto& [name, setup] : leaving_)
    portals.insert(portals.end(), setup.portals.begin(), setup.portals.end());
  if (const auto guarded = gate_.guard(portals); !guarded) {
    gate_error_ = fmt::format("the portals of groups can't be guarded: {}", guarded.error().to_string());
    log::error("{}", gate_error_);
  }
}

Result<void> Runtime::check_safety(const CorosyncSettings& settings) const {
  std::vector<PreflightGroup> groups;
  for (const auto& [name, group] : groups_) {
    const GroupSetup& setup = group.setup;
    PreflightGroup& checked = groups.emplace_back();
    checked.name = name;
    checked.nodes = setup.nodes;
  }
  std::vector<Finding> findings = preflight(settings, groups);
  for (Finding& finding : Drbd::preflight(drbd_resources(settings.self_name)))
    findings.push_back(std::move(finding));
  std::string refused;
  for (const Finding& finding : findings) {
    if (finding.severity == Finding::Severity::warn) {
      log::warning("{}", finding.text);
    } else {
      refused += (refused.empty() ? "" : "; ") + finding.text;
    }
  }
  if (!refused.empty()) return Error{0, refused};
  return {};
}

void Runtime::ask_settings() {
  settings_timer_ =
      loop_.timer(kSettingsWait, [this] { lack_settings(Corosync::no_answer(kSettingsWait).to_string()); });
  corosync_.read_settings([this](const Result<CorosyncSettings>& settings) { on_settings(settings); });
}

void Runtime::on_settings(const Result<CorosyncSettings>& settings) {
  Result<void> usable;
  if (!settings) usable = settings.error();
  unsafe_ = false;
  if (settings) {
    usable = check_safety(settings.value());
    unsafe_ = !usable;
  }
  if (usable) {
    settings_timer_.reset();
    if (!settings_error_.empty()) log::info("corosync is there now");
    settings_error_.clear();
    begin(settings.value());
    return;
  }
  lack_settings(usable.error().to_string());
  settings_timer_ = loop_.timer(kSettingsRetry, [this] { ask_settings(); });
}

void Runtime::lack_settings(const std::string& why) {
  if (settings_error_ == why) return;
  settings_error_ = why;
  log::warning("{}; nothing of a group is served until then", why);
}

void Runtime::begin(const CorosyncSettings& settings) {
  self_ = settings.self;
  self_name_ = settings.self_name;
  guard_.set_self(self_);
  nodes_ = settings.nodes;
  if (listener_) listener_(NodesKnown{nodes_});
  state_.emplace(settings.self, settings.self_name, corosync_.pid(),
                 Timing::of(settings.token_ms, settings.consensus_ms), Origin{ITGTD_VERSION, epoch_floor_});
  log::info("cluster: this node is {} ({}), {} nodes, token {} ms", settings.self_name, settings.self,
            settings.nodes.size(), settings.token_ms);
  events_.push_front(NodesKnown{nodes_});
  configure_state();
  if (const auto started = corosync_.start(process_group_); !started)
    log::error("{}", started.error().to_string());
}

/// Facts that came before the state was there waited in `events_`; the specs go in front of them.
void Runtime::configure_state() {
  if (!state_) return;
  Configured configured;
  for (const auto& [name, group] : groups_) {
    const GroupSetup& setup = group.setup;
    GroupSpec spec;
    spec.name = name;
    spec.storage = setup.drbd.empty() ? StorageKind::shared : StorageKind::drbd;
    for (const Vip& vip : setup.vips) spec.vips.push_back(vip.address);
    for (const NodeName& node : nodes_) {
      if (setup.nodes.empty()) spec.nodes.push_back(node.id);
    }
    for (const std::string& wanted : setup.nodes) {
      if (const NodeId id = node_named(wanted); id != 0) spec.nodes.push_back(id);
    }
    spec.failback = setup.failback;
    spec.digest = setup.digest;
    configured.groups.push_back(std::move(spec));
  }
  const auto behind_nodes = !events_.empty() && std::holds_alternative<NodesKnown>(events_.front()) ? 1 : 0;
  events_.insert(events_.begin() + behind_nodes, std::move(configured));
  run_events();
  // Its facts come while this runs.
  drbd_.follow(drbd_resources(self_name_));
}

void Runtime::stop(std::function<void()> done) {
  on_stopped_ = std::move(done);
  if (!state_) {
    on_stopped_();
    return;
  }
  post(StopAsked{});
}

// --- Events in, actions out
// ------------------------------------------------------------------------------------------

void Runtime::post(Event event) {
  events_.push_back(std::move(event));
  run_events();
}

void Runtime::run_events() {
  // An action may cause an event at once: that one is handled behind those that are there, not within.
  if (running_events_ || !state_) return;
  running_events_ = true;
  while (!events_.empty()) {
    const Event event = std::move(events_.front());
    events_.pop_front();
    const TimeMs now = now_ms();
    const Actions actions = state_->step(now, event);
    for (const Action& action : actions)
      std::visit([this](const auto& content) { carry_out(content); }, action);
    remember(now, actions);
    const auto* delivered = std::get_if<Delivered>(&event);
    if (delivered == nullptr) continue;
    if (const auto* outcome = std::get_if<Outcome>(&delivered->message))
      on_outcome(delivered->from, *outcome);
  }
  running_events_ = false;
  arm();
}

void Runtime::arm() {
  const TimeMs delay = std::clamp<TimeMs>(state_->wake_at() - now_ms(), 0, 60'000);
  wake_up_ = loop_.timer(std::chrono::milliseconds(delay), [this] { post(Tick{}); });
}

void Runtime::on_corosync(const Event& event) {
  if (listener_) listener_(event);
  if (const auto* known = std::get_if<NodesKnown>(&event)) {
    nodes_ = known->nodes;
    post(event);
    configure_state();
    return;
  }
  if (const auto* lost = std::get_if<CorosyncLost>(&event)) {
    log::warning("corosync: {}; service goes on until the lease ends, in {} ms", lost->reason, lease_left());
  }
  if (const auto* delivered = std::get_if<Delivered>(&event)) hear_claim(delivered->message);
  post(event);
}

void Runtime::hear_claim(const Message& message) {
  const auto* record = std::get_if<UnitRecord>(&message);
  if (record == nullptr || record->unit != claim_unit(record->group)) return;
  if (const auto claim = DataClaim::parse(as_text(record->bytes)))
    guard_.on_claim(record->group, {record->epoch, record->version}, *claim);
}

std::string Runtime::name_of(NodeId id) const {
  const auto found = std::ranges::find_if(nodes_, [&](const NodeName& node) { return node.id == id; });
  return found == nodes_.end() ? fmt::format("node {}", id) : found->name;
}

/// What DRBD says, and what is known of the data beyond that.
void Runtime::on_storage(const std::string& group) {
  const auto found = groups_.find(group);
  if (found != groups_.end()) post(StorageChanged{group, guard_.judge(group, found->second.storage)});
}

NodeId Runtime::node_named(std::string_view name) const {
  const auto found = std::ranges::find_if(nodes_, [&](const NodeName& node) { return node.name == name; });
  return found == nodes_.end() ? 0 : found->id;
}

TimeMs Runtime::lease_left() const {
  return std::max<TimeMs>(0, lease_until_ - now_ms());
}

const GroupSetup* Runtime::setup_of(const std::string& group) const {
  if (const auto found = groups_.find(group); found != groups_.end()) return &found->second.setup;
  const auto leaving = leaving_.find(group);
  return leaving == leaving_.end() ? nullptr : &leaving->second;
}

void Runtime::answer(const GroupAction& action, bool ok, bool retry_here, std::string text) {
  post(ActionDone{action.id, action.group, action.epoch, ok, retry_here, std::move(text)});
}

GroupService::Done Runtime::answer(const GroupAction& action) {
  return [this, action](const Result<void>& result) {
    answer(action, result.ok(), true, result ? std::string() : result.error().to_string());
  };
}

/// What an earlier daemon left here of groups that are others' goes.
void Runtime::release_inherited() {
  std::vector<std::string> undecided;
  for (const auto& [name, group] : groups_) {
    if (group.inherited) undecided.push_back(name);
  }
  if (undecided.empty()) return;
  const ClusterStatus now = status();
  const auto self = std::ranges::find_if(now.nodes, [](const NodeStatus& node) { return node.self; });
  for (const std::string& name : undecided) {
    const auto of = std::ranges::find_if(now.groups, [&](const GroupStatus& g) { return g.name == name; });
    if (of == now.groups.end() || of->ownership.epoch == 0) continue;  // nobody has said yet
    Group& group = groups_.at(name);
    group.inherited = false;
    if (self != now.nodes.end() && of->ownership.owner == self->id) continue;  // adopted
    if (const auto closed = gate_.close(group.setup.portals); !closed)
      log::error("{}", closed.error().to_string());
    for (const Vip& vip : group.setup.vips) addresses_.remove(vip);
  }
}

void Runtime::on_outcome(const Member& from, const Outcome& outcome) {
  if (outcome.active && from.node != self_) syn_relay_.release(outcome.group);
  history_.observe(now_ms(), wall_clock_ms(), status_of(*state_, outcome.group, now_ms()));
}

void Runtime::remember(TimeMs now, const Actions& actions) {
  for (const Action& action : actions) {
    const Note* note = std::get_if<Note>(&action);
    if (note != nullptr) history_.note(now, wall_clock_ms(), *note, status_of(*state_, note->group, now));
  }
}

// --- Actions
// --------------------------------------------------------------------------------------------------------

void Runtime::carry_out(const Send& action) {
  corosync_.send(action.message);
}

void Runtime::carry_out(const SetLease& action) {
  lease_until_ = action.until;
  service_.set_lease(action.until);
  const TimeMs left = action.until - now_ms();
  if (const auto renewed = gate_.lease(left); !renewed) log::error("{}", renewed.error().to_string());
  if (left <= 0) return;
  if (action.until >= addresses_until_ + kAddressRenewal) {
    addresses_.renew(left);
    addresses_until_ = action.until;
  }
  release_inherited();
}

void Runtime::carry_out(const Promote& action) {
  const GroupSetup* setup = setup_of(action.group);
  if (setup == nullptr) {
    answer(action, false, false, "the group is not in the configuration any more");
  } else if (setup->drbd.empty()) {
    const StorageFacts facts = SharedStorage::look_at(setup->disks);
    answer(action, facts.fitness == StorageFitness::usable, true, facts.detail);
  } else {
    promote(action, setup->drbd);
  }
}

void Runtime::promote(const Promote& action, const std::string& resource) {
  guard_.take_over(action.group, action.epoch, [this, action, resource](const DataGuard::Outcome& allowed) {
    if (!allowed.ok) return answer(action, false, allowed.retry_here, allowed.text);
    drbd_.promote(resource, [this, action](const Drbd::Outcome& outcome) {
      answer(action, outcome.ok, outcome.retry_here, outcome.text);
    });
  });
}

void Runtime::carry_out(const AddAddresses& action) {
  const GroupSetup* setup = setup_of(action.group);
  if (setup == nullptr) {
    answer(action, false, false, "the group is not in the configuration any more");
    return;
  }
  if (const auto found = groups_.find(action.group); found != groups_.end()) found->second.inherited = false;
  syn_relay_.drop(action.group);
  // First the gate: an initiator that hears of the address at once must not meet a closed one.
  const auto opened = gate_.open(setup->portals);
  for (const Vip& vip : setup->vips) addresses_.add(vip, std::max<TimeMs>(lease_left(), 1));
  answer(action, opened.ok(), true, opened ? std::string() : opened.error().to_string());
}

void Runtime::carry_out(const StartService& action) {
  announcer_.tickle(action.connections);
  service_.start(action.group, action.epoch, answer(action));
  if (const auto found = groups_.find(action.group); found != groups_.end()) found->second.suspended = false;
  if (guard_.holds(action.group)) service_.suspend(action.group);
}

void Runtime::carry_out(const Quiesce& action) {
  // Who is told that its session ends comes back before another node is there: see SynRelay.
  if (const GroupSetup* setup = setup_of(action.group)) {
    syn_relay_.hold(action.group, setup->portals);
    if (const auto held = gate_.hold_new(setup->portals); !held) log::error("{}", held.error().to_string());
  }
  service_.quiesce(action.group, action.drain_ms, answer(action));
}

void Runtime::carry_out(const StopService& action) {
  if (const GroupSetup* setup = setup_of(action.group)) {
    if (const auto closed = gate_.close(setup->portals); !closed)
      log::error("{}", closed.error().to_string());
  }
  guard_.give_up(action.group);
  service_.stop(action.group, answer(action));
}

void Runtime::carry_out(const RemoveAddresses& action) {
  if (const GroupSetup* setup = setup_of(action.group)) {
    for (const Vip& vip : setup->vips) {
      announcer_.withdraw(vip.address);
      addresses_.remove(vip);
    }
  }
  if (leaving_.erase(action.group) != 0) guard_portals();
  answer(action, true, true, {});
}

void Runtime::carry_out(const Demote& action) {
  const GroupSetup* setup = setup_of(action.group);
  if (setup == nullptr || setup->drbd.empty()) {
    answer(action, true, true, {});
    return;
  }
  drbd_.demote(setup->drbd, action.force, [this, action](const Drbd::Outcome& outcome) {
    answer(action, outcome.ok, outcome.retry_here, outcome.text);
  });
}

void Runtime::carry_out(const SuspendService& action) {
  if (const auto found = groups_.find(action.group); found != groups_.end()) found->second.suspended = true;
  service_.suspend(action.group);
}

void Runtime::carry_out(const ResumeService& action) {
  if (const auto found = groups_.find(action.group); found != groups_.end()) found->second.suspended = false;
  if (!guard_.holds(action.group)) service_.resume(action.group);
}

void Runtime::carry_out(const ResetConnections& action) {
  announcer_.tickle(action.connections);
}

void Runtime::carry_out(const Note& action) {
  if (action.kind == Note::Kind::decision) {
    // Before anything is done about it: the notes of a step come first.
    if (const auto kept = epoch_file_.note(action.epoch); !kept)
      log::error("{}; should all nodes be restarted now, their epochs would come again",
                 kept.error().to_string());
  }
  const std::string where = action.group.empty() ? std::string("cluster") : "group " + action.group;
  if (action.kind == Note::Kind::alarm) {
    log::warning("{}: {}", where, action.text);
  } else {
    log::info("{}: {}", where, action.text);
  }
}

void Runtime::carry_out(const Stopped&) {
  corosync_.stop();
  if (on_stopped_) on_stopped_();
}

// --- Asked
// -----------------------------------------------------------------------------------------------------------

ClusterStatus Runtime::status() const {
  if (state_) return ha::status(*state_, now_ms());
  return {};
}

std::vector<Candidate> Runtime::why(const std::string& group) const {
  if (!state_) return {};
  return candidates(*state_, group, now_ms());
}

std::map<std::string, GroupShown> Runtime::shown() const {
  std::map<std::string, GroupShown> shown;
  for (const auto& [name, group] : groups_) {
    const GroupSetup& setup = group.setup;
    GroupShown& one = shown[name];
    one.storage = setup.drbd.empty() ? fmt::format("{}", fmt::join(setup.disks, " ")) : setup.drbd;
    for (const Vip& vip : setup.vips) one.vips.push_back(vip.address);
    one.nodes = setup.nodes;
  }
  return shown;
}

void Runtime::ask(const Wish& wish, std::function<void(Result<void>)> done) {
  if (!state_) {
    done(Error{0, settings_error_.empty() ? "the cluster is not joined yet" : settings_error_});
    return;
  }
  if (const auto refusal = check_wish(*state_, wish, now_ms())) {
    done(Error{0, *refusal});
    return;
  }
  post(Asked{wish});
  done({});
}

}  // namespace itgtd::ha
