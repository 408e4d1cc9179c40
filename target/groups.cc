#include "target/groups.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"

namespace itgtd::target {
namespace {

std::chrono::milliseconds milliseconds(ha::TimeMs time) {
  return std::chrono::milliseconds(std::max<ha::TimeMs>(time, 0));
}

/// What is written must be on the medium before another node reads it, and nothing may be written later.
void flush_all(const Service::Media& media) {
  for (const auto& medium : media) {
    if (const auto flushed = medium->flush(); !flushed) log::error("{}", flushed.error().to_string());
  }
}

bool is_same(const Service::OpenedMedium& a, const Service::OpenedMedium& b) {
  return a.target == b.target && a.lun == b.lun;
}

}  // namespace

struct Groups::Quiesce {
  enum class Stage : uint8_t { draining, flushing, announcing };
  std::string group;
  Stage stage = Stage::draining;
  Instant deadline;
  Done done;
  size_t targets_left = 0;
  control::Subscription timer;
};

Groups::Groups(control::EventLoop& loop, Coordinator& coordinator, Service& service)
    : loop_(loop),
      coordinator_(coordinator),
      service_(service),
      calls_(loop),
      lease_(std::make_shared<Lease>(0)) {
  service_.set_on_group_connection([this](const std::string& group, const ha::TcpPair& pair, bool opened) {
    on_connection(group, pair, opened);
  });
  coordinator_.tell_all(SetLease{lease_});
}

Groups::~Groups() {
  service_.set_on_group_connection({});
  for (auto& [name, group] : groups_) {
    if (group.quiesce) group.quiesce->timer.reset();  // which has a share of it
  }
}

void Groups::call(const std::string& name, std::function<void()> work, std::function<void()> next) {
  ++groups_[name].calls;
  calls_.run(std::move(work), [this, name, next = std::move(next)] {
    --groups_[name].calls;
    next();
    end_stop(name);
  });
}

void Groups::govern(const std::string& name) {
  const Group& group = groups_[name];
  service_.govern(name, group.phase == Phase::quiesced, group.suspended);
}

// --- Start
// ---------------------------------------------------------------------------------------------------------------

void Groups::start(const std::string& name, ha::Epoch epoch, Done done) {
  Group& group = groups_[name];
  switch (group.phase) {
    case Phase::open:
      done({});
      return;
    case Phase::opening:
      group.when_done.push_back(std::move(done));
      return;
    case Phase::quiesced:
      serve_again(name);
      done({});
      return;
    case Phase::closing:
      done(
          Error{EBUSY, fmt::format("group {} is still being stopped: its disks have not been closed", name)});
      return;
    case Phase::closed:
      break;
  }
  group.phase = Phase::opening;
  group.suspended = false;
  const uint64_t turn = ++group.turn;
  group.when_done = {std::move(done)};
  if (!prepare_) {
    open_media(name);
    return;
  }
  prepare_(name, epoch, service_.units_of(name), [this, name, turn](const Result<void>& prepared) {
    const Group& now = groups_[name];
    if (now.turn != turn || now.phase != Phase::opening) return;
    if (prepared) {
      open_media(name);
    } else {
      end_start(name, prepared);
    }
  });
}

/// Its initiators were told that their sessions end, and it stays after all.
void Groups::serve_again(const std::string& name) {
  end_quiesce(name, Error{ECANCELED, "the group stays here"});
  groups_[name].phase = Phase::open;
  service_.end_told_sessions(name);
  govern(name);
  service_.unpark(name);
}

void Groups::open_media(const std::string& name) {
  // Shared by the two halves of the call.
  auto media = std::make_shared<std::vector<Service::OpenedMedium>>(service_.closed_media(name));
  call(
      name,
      [media] {
        for (Service::OpenedMedium& medium : *media) {
          Service::open_medium(medium);
          if (!medium.medium) return;
        }
      },
      [this, name, media] { on_opened(name, std::move(*media)); });
}

void Groups::on_opened(const std::string& name, std::vector<Service::OpenedMedium> media) {
  Group& group = groups_[name];
  Service::Media opened;
  Result<void> result;
  for (const Service::OpenedMedium& medium : media) {
    if (medium.medium) {
      opened.push_back(medium.medium.value());
    } else if (result) {
      const Error& error = medium.medium.error();
      result = Error{error.code, fmt::format("{} LUN {}: {}", medium.target, medium.lun.id, error.message)};
    }
  }
  // Closing a device may block as opening it may.
  auto let_go = [&](std::function<void()> next) {
    media.clear();
    call(
        name, [opened = std::move(opened)]() mutable { opened.clear(); }, std::move(next));
  };
  if (group.phase != Phase::opening) {
    let_go([] {});
    return;
  }
  if (!result) {
    let_go([this, name, result] { end_start(name, result); });
    return;
  }
  if (!std::ranges::equal(media, service_.closed_media(name), is_same)) {
    // The configuration was reloaded meanwhile.
    let_go([this, name, turn = group.turn] {
      if (groups_[name].turn == turn) open_media(name);
    });
    return;
  }
  govern(name);
  const Result<void> restored = service_.open_group(name, media, [this, name, turn = group.turn] {
    if (groups_[name].turn == turn) end_start(name, {});
  });
  if (!restored) let_go([this, name, restored] { end_start(name, restored); });
}

void Groups::end_start(const std::string& name, const Result<void>& result) {
  Group& group = groups_[name];
  if (group.phase != Phase::opening) return;
  if (result) {
    group.phase = Phase::open;
    mark_changed(group);
    for (const Done& done : std::exchange(group.when_done, {})) done(result);
    return;
  }
  group.phase = Phase::closing;
  ++group.turn;
  group.releasing = true;
  release(name, [this, name, result, starting = std::exchange(group.when_done, {})] {
    Group& now = groups_[name];
    now.releasing = false;
    now.phase = Phase::closed;
    mark_changed(now);
    for (const Done& done : starting) done(result);
    for (const Done& done : std::exchange(now.when_done, {})) done({});
  });
}

void Groups::release(const std::string& name, std::function<void()> done) {
  if (release_) {
    release_(name, std::move(done));
  } else {
    done();
  }
}

// --- Quiesce
// -------------------------------------------------------------------------------------------------------------

void Groups::quiesce(const std::string& name, ha::TimeMs drain_ms, Done done) {
  Group& group = groups_[name];
  const bool told = group.phase == Phase::quiesced && !group.quiesce;
  if (group.phase == Phase::closed || told) {
    done({});
    return;
  }
  if (group.phase != Phase::open) {
    done(Error{EBUSY, fmt::format("group {} is on its way already", name)});
    return;
  }
  group.phase = Phase::quiesced;
  service_.park(name);
  govern(name);
  auto quiesce = std::make_shared<Quiesce>();
  quiesce->group = name;
  quiesce->deadline = now() + milliseconds(drain_ms);
  quiesce->done = std::move(done);
  group.quiesce = quiesce;
  const std::vector<Key> targets = service_.targets_of(name);
  quiesce->timer = loop_.timer(milliseconds(drain_ms), [this, quiesce, drain_ms] {
    if (quiesce->stage != Quiesce::Stage::draining) return;
    log::warning("group {}: commands in flight did not end within {} ms; it is handed over without them",
                 quiesce->group, drain_ms);
    flush(quiesce);
  });
  quiesce->targets_left = targets.size();
  if (targets.empty()) flush(quiesce);
  for (const Key target : targets) {
    coordinator_.broadcast(DrainTarget{0, target}, [this, quiesce] {
      if (--quiesce->targets_left == 0) flush(quiesce);
    });
  }
}

void Groups::flush(const std::shared_ptr<Quiesce>& quiesce) {
  if (groups_[quiesce->group].quiesce != quiesce || quiesce->stage != Quiesce::Stage::draining) return;
  quiesce->stage = Quiesce::Stage::flushing;
  call(
      quiesce->group, [media = service_.media_of(quiesce->group)] { flush_all(media); },
      [this, quiesce] { announce(quiesce); });
}

void Groups::announce(const std::shared_ptr<Quiesce>& quiesce) {
  if (groups_[quiesce->group].quiesce != quiesce) return;
  quiesce->stage = Quiesce::Stage::announcing;
  const std::vector<Key> targets = service_.targets_of(quiesce->group);
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(quiesce->deadline - now());
  quiesce->timer = loop_.timer(std::max(left, kAnnounceTime), [this, quiesce] {
    log::warning("group {}: not every initiator could be told that its session ends", quiesce->group);
    end_quiesce(quiesce->group, {});
  });
  quiesce->targets_left = targets.size();
  if (targets.empty()) end_quiesce(quiesce->group, {});
  for (const Key target : targets) {
    coordinator_.broadcast(AnnounceTarget{0, target}, [this, quiesce] {
      if (--quiesce->targets_left == 0 && groups_[quiesce->group].quiesce == quiesce)
        end_quiesce(quiesce->group, {});
    });
  }
}

void Groups::end_quiesce(const std::string& name, const Result<void>& result) {
  const std::shared_ptr<Quiesce> quiesce = std::exchange(groups_[name].quiesce, nullptr);
  if (!quiesce) return;
  quiesce->timer.reset();
  quiesce->done(result);
}

// --- Stop
// ----------------------------------------------------------------------------------------------------------------

void Groups::stop(const std::string& name, Done done) {
  Group& group = groups_[name];
  switch (group.phase) {
    case Phase::closed:
      done({});
      return;
    case Phase::closing:
      group.when_done.push_back(std::move(done));
      return;
    case Phase::opening:
    case Phase::open:
    case Phase::quiesced:
      break;
  }
  const std::vector<Done> starting = std::exchange(group.when_done, {});
  group.phase = Phase::closing;
  ++group.turn;
  group.out = false;
  group.when_done = {std::move(done)};
  for (const Done& start : starting) start(Error{ECANCELED, "the group was stopped while it started"});
  end_quiesce(name, Error{ECANCELED, "the group was stopped"});
  close_media(name);
}

void Groups::close_media(const std::string& name) {
  service_.close_group(name, [this, name](Service::Media media) {
    groups_[name].out = true;
    call(
        name,
        [media = std::move(media)]() mutable {
          flush_all(media);
          media.clear();
        },
        [] {});
  });
}

void Groups::end_stop(const std::string& name) {
  Group& group = groups_[name];
  if (group.phase != Phase::closing || !group.out || group.calls != 0 || group.releasing) return;
  group.releasing = true;
  release(name, [this, name] { on_released(name); });
}

void Groups::on_released(const std::string& name) {
  Group& group = groups_[name];
  group.releasing = false;
  group.phase = Phase::closed;
  group.suspended = false;
  group.pairs.clear();
  group.closed.clear();
  govern(name);
  mark_changed(group);
  for (const Done& done : std::exchange(group.when_done, {})) done({});
}

// --- Suspend, lease, sessions
// --------------------------------------------------------------------------------------------

void Groups::suspend(const std::string& name) {
  groups_[name].suspended = true;
  govern(name);
}

void Groups::resume(const std::string& name) {
  groups_[name].suspended = false;
  govern(name);
}

void Groups::set_lease(ha::TimeMs until) {
  const ha::TimeMs before = lease_->exchange(until);
  // The clock is read after the exchange: a worker that saw the old lease as ended had read its own before.
  if (before <= boot_time_ms()) coordinator_.tell_all(LeaseRenewed{});
}

void Groups::set_on_sessions(OnSessions on_sessions) {
  on_sessions_ = std::move(on_sessions);
}

void Groups::on_connection(const std::string& name, const ha::TcpPair& pair, bool opened) {
  Group& group = groups_[name];
  if (opened) {
    if (group.pairs.insert(pair).second) group.opened.push_back(pair);
  } else if (group.phase != Phase::closing && group.pairs.erase(pair) != 0) {
    // While it is closing nothing reaches the initiator: to it the connection is there until it is reset.
    group.closed.push_back(pair);
  }
  mark_changed(group);
}

void Groups::mark_changed(Group& group) {
  group.changed = true;
  if (report_timer_) return;
  report_timer_ = loop_.timer(std::chrono::milliseconds(0), [this] {
    report_timer_.reset();
    report();
  });
}

void Groups::report() {
  for (auto& [name, group] : groups_) {
    if (!std::exchange(group.changed, false) || !on_sessions_) continue;
    on_sessions_(name, service_.session_count(name), std::exchange(group.opened, {}),
                 std::exchange(group.closed, {}));
  }
}

}  // namespace itgtd::target
