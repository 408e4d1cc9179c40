// What this node does about one group: the ladder of a start and the ladder of a stop, one step after
// another.
#include <fmt/format.h>

#include <algorithm>

#include "ha/core/node.h"

namespace itgtd::ha {

namespace {

void enter(Node& node, Group& group, Phase phase) {
  group.run.phase = phase;
  group.run.since = node.now;
  group.run.step_since = node.now;
  group.run.stuck = false;
  mark_report(node);
}

void step_note(Node& node, const Group& group, std::string text) {
  note(node, Note::Kind::step, group.spec.name, group.run.epoch, std::move(text));
}

void alarm(Node& node, const Group& group, std::string text) {
  note(node, Note::Kind::alarm, group.spec.name, group.run.epoch, std::move(text));
}

template <typename T>
ActionId act(Node& node, const Group& group, T action) {
  action.id = node.next_action++;
  action.group = group.spec.name;
  action.epoch = group.run.epoch;
  const ActionId id = action.id;
  node.actions.emplace_back(std::move(action));
  return id;
}

/// The table wants this node to serve the group, and nothing here speaks against it.
bool is_wanted(const Node& node, const Group& group) {
  const Ownership ownership = ownership_of(node, group.spec.name);
  return group.configured && ownership.owner == node.self && group.run.failed_epoch != ownership.epoch &&
         group.run.stopped_epoch != ownership.epoch && !node.stopped;
}

void acknowledge(Node& node, Group& group) {
  const Ownership ownership = ownership_of(node, group.spec.name);
  if (ownership.owner != node.self && group.run.acked < ownership.epoch) {
    group.run.acked = ownership.epoch;
    send_ack(node, group.spec.name, ownership.epoch);
  }
}

// --- stop

/// Nothing of the group can be served or written from here any more: others may go on.
void release(Node& node, Group& group) {
  Run& run = group.run;
  run.released = true;
  acknowledge(node, group);
  if (run.failed) {
    run.failed = false;
    const Ownership ownership = ownership_of(node, group.spec.name);
    if (ownership.owner == node.self && ownership.epoch == run.epoch) {
      run.failed_epoch = run.epoch;
      send(node, Outcome{group.spec.name, run.epoch, false, run.retry_here, run.failure});
    }
  }
}

void finish_stop(Node& node, Group& group) {
  group.run.step = StopStep::none;
  group.run.stop = 0;
  enter(node, group, Phase::idle);
  release(node, group);
}

void stop_step(Node& node, Group& group, StopStep step) {
  Run& run = group.run;
  run.step = step;
  run.step_since = node.now;
  run.stuck = false;
  run.again_at = 0;
  run.forced = false;
  switch (step) {
    case StopStep::quiesce: {
      Quiesce quiesce;
      quiesce.drain_ms = node.timing.drain_ms;
      run.stop = act(node, group, quiesce);
      return;
    }
    case StopStep::service:
      run.stop = act(node, group, StopService{});
      return;
    case StopStep::addresses:
      run.stop = act(node, group, RemoveAddresses{});
      return;
    case StopStep::demote:
      if (group.spec.storage == StorageKind::shared) {
        // Nothing is written any more, and the addresses are gone: that is all that the next owner needs.
        release(node, group);
      }
      run.stop = act(node, group, Demote{});
      return;
    case StopStep::none:
      finish_stop(node, group);
      return;
  }
}

void begin_stop(Node& node, Group& group) {
  Run& run = group.run;
  const bool planned = run.phase == Phase::active && has_lease(node);
  run.promote = run.addresses = run.service = 0;
  run.released = false;
  run.doubtful = false;
  enter(node, group, Phase::stopping);
  stop_step(node, group, planned ? StopStep::quiesce : StopStep::service);
}

void next_stop_step(Node& node, Group& group) {
  static constexpr const char* kDone[] = {"", "quiesced", "service stopped", "addresses removed", "demoted"};
  const StopStep step = group.run.step;
  step_note(node, group, kDone[static_cast<size_t>(step)]);
  stop_step(node, group,
            step == StopStep::demote ? StopStep::none : static_cast<StopStep>(static_cast<int>(step) + 1));
}

void demote_again(Node& node, Group& group) {
  Run& run = group.run;
  if (run.forced && !run.stuck) {
    run.stuck = true;
    alarm(node, group,
          "it can't be demoted, not by force either: no other node can take it over. Look for who "
          "has the device open");
  }
  run.forced = true;
  run.again_at = 0;
  run.step_since = node.now;
  Demote demote;
  demote.force = true;
  run.stop = act(node, group, demote);
}

void stop_done(Node& node, Group& group, const ActionDone& done) {
  Run& run = group.run;
  run.stop = 0;
  if (run.step == StopStep::demote && !done.ok) {
    if (run.forced) {
      run.again_at = run.step_since + kDemoteMs;
      if (run.again_at > node.now) {
        return;
      }
    }
    demote_again(node, group);
    return;
  }
  if (run.step == StopStep::service && !done.ok) {
    // Whether I/O is still in the kernel is not known: nobody may have it.
    run.again_at = node.now + kDemoteMs;
    if (!run.stuck) {
      run.stuck = true;
      alarm(node, group, fmt::format("its service can't be stopped: {}", done.text));
    }
    return;
  }
  if (run.step == StopStep::addresses && !done.ok) {
    alarm(node, group, fmt::format("not all of its addresses could be removed: {}", done.text));
  }
  next_stop_step(node, group);
}

TimeMs run_stop(Node& node, Group& group) {
  Run& run = group.run;
  const TimeMs waited = node.now - run.step_since;
  switch (run.step) {
    case StopStep::quiesce:
      if (!has_lease(node) || waited >= node.timing.drain_ms + kQuiesceSlackMs) {
        stop_step(node, group, StopStep::service);
        return run_stop(node, group);
      }
      return run.step_since + node.timing.drain_ms + kQuiesceSlackMs;
    case StopStep::service:
      if (run.stop == 0) {
        if (node.now < run.again_at) {
          return run.again_at;
        }
        run.again_at = 0;
        run.step_since = node.now;
        run.stop = act(node, group, StopService{});
        return kNever;
      }
      if (run.stuck) {
        return kNever;
      }
      if (waited < node.timing.step_ms) {
        return run.step_since + node.timing.step_ms;
      }
      run.stuck = true;
      alarm(node, group,
            "its disks still have I/O in flight: until that ends no other node can take it over");
      return kNever;
    case StopStep::addresses:
      if (waited < kAddressesMs) {
        return run.step_since + kAddressesMs;
      }
      alarm(node, group, "removing its addresses takes too long");
      stop_step(node, group, StopStep::demote);
      return run_stop(node, group);
    case StopStep::demote:
      if (run.again_at != 0 ? node.now >= run.again_at : waited >= kDemoteMs) {
        demote_again(node, group);
      }
      return run.again_at != 0 ? run.again_at : run.step_since + kDemoteMs;
    case StopStep::none:
      return kNever;
  }
  return kNever;
}

// --- start

void fail_start(Node& node, Group& group, bool retry_here, std::string text) {
  Run& run = group.run;
  run.failed = true;
  run.retry_here = retry_here;
  run.failure = std::move(text);
  alarm(node, group, fmt::format("it did not start here: {}", run.failure));
  begin_stop(node, group);
}

void begin_start(Node& node, Group& group) {
  Run& run = group.run;
  enter(node, group, Phase::starting);
  run.released = false;
  run.doubtful = false;
  run.promoted = false;
  group.opened.clear();
  group.closed.clear();
  run.promote = act(node, group, Promote{});
  run.addresses = act(node, group, AddAddresses{});
}

void activate(Node& node, Group& group) {
  Run& run = group.run;
  run.failure.clear();
  run.failed = false;
  // Those of the previous owner have been reset; its own come with SessionsChanged.
  if (group.connections_epoch < run.epoch) {
    group.connections = group.opened;
    group.connections_epoch = run.epoch;
  }
  enter(node, group, Phase::active);
  step_note(node, group, "service started");
  if (!group.spec.vips.empty() &&
      std::none_of(group.vips.begin(), group.vips.end(), [](const VipFacts& vip) { return vip.usable(); })) {
    alarm(node, group, "none of its VIPs is reachable here, nor on another node that could have it");
  }
  send(node, Outcome{group.spec.name, run.epoch, true, true, {}});
  if (!has_lease(node) || run.doubtful) {
    SuspendService suspend;
    suspend.group = group.spec.name;
    suspend.epoch = run.epoch;
    node.actions.emplace_back(std::move(suspend));
    enter(node, group, Phase::suspended);
  }
}

TimeMs run_start(Node& node, Group& group) {
  Run& run = group.run;
  const TimeMs waited = node.now - run.step_since;
  if (run.promote != 0 && waited >= node.timing.step_ms) {
    fail_start(node, group, true, "the storage could not be promoted in time");
    return run_stop(node, group);
  }
  if (run.addresses != 0 && waited >= kAddressesMs) {
    run.addresses = 0;
    alarm(node, group, "adding its addresses takes too long");
  }
  if (run.service != 0) {
    if (waited >= node.timing.step_ms) {
      fail_start(node, group, true, "the service could not be started in time");
      return run_stop(node, group);
    }
    return run.step_since + node.timing.step_ms;
  }
  if (run.promoted && run.addresses == 0) {
    if (!has_lease(node) || run.doubtful) {
      return kNever;  // a lease makes every group looked at, a new epoch this one
    }
    StartService start;
    start.connections.assign(group.connections.begin(), group.connections.end());
    run.step_since = node.now;
    run.service = act(node, group, std::move(start));
    return run.step_since + node.timing.step_ms;
  }
  return run.step_since +
         (run.addresses != 0 ? std::min(kAddressesMs, node.timing.step_ms) : node.timing.step_ms);
}

void start_done(Node& node, Group& group, const ActionDone& done) {
  Run& run = group.run;
  if (done.id == run.promote) {
    run.promote = 0;
    if (!done.ok) {
      fail_start(node, group, done.retry_here, fmt::format("promote: {}", done.text));
      return;
    }
    run.promoted = true;
    step_note(node, group, "promoted");
  } else if (done.id == run.addresses) {
    run.addresses = 0;
    step_note(node, group, "addresses added");
    if (!done.ok) {
      alarm(node, group, fmt::format("addresses: {}", done.text));
    }
  } else if (done.id == run.service) {
    run.service = 0;
    if (!done.ok) {
      fail_start(node, group, done.retry_here, fmt::format("start: {}", done.text));
      return;
    }
    activate(node, group);
  }
}

void resume(Node& node, Group& group) {
  static_cast<void>(act(node, group, AddAddresses{}));
  ResumeService resume_service;
  resume_service.group = group.spec.name;
  resume_service.epoch = group.run.epoch;
  node.actions.emplace_back(std::move(resume_service));
  enter(node, group, Phase::active);
  step_note(node, group, "resumed");
}

// --- phases

/// Something of the group is here that nobody runs: of a former daemon, mostly.
bool has_leftovers(const Group& group) {
  const bool present =
      std::any_of(group.vips.begin(), group.vips.end(), [](const VipFacts& vip) { return vip.present; });
  return present || group.storage.primary;
}

/// What is not known may be left over.
bool may_have_leftovers(const Group& group) {
  const bool unknown =
      group.spec.storage == StorageKind::drbd && !group.storage_known && group.run.acked == 0;
  return !group.run.released || unknown || has_leftovers(group);
}

TimeMs run_idle(Node& node, Group& group) {
  Run& run = group.run;
  const Ownership ownership = ownership_of(node, group.spec.name);
  if (is_wanted(node, group)) {
    run.epoch = ownership.epoch;
    run.ask_at = std::max(run.ask_at, node.now);
    enter(node, group, Phase::waiting);
    return run_group(node, group);
  }
  if (ownership.epoch == 0 || ownership.owner == node.self) {
    return kNever;
  }
  if (run.acked < ownership.epoch && !may_have_leftovers(group)) {
    acknowledge(node, group);
    return kNever;
  }
  // After a stop, the facts take a moment to tell.
  const TimeMs clean_at = run.since == 0 ? node.now : run.since + kDemoteMs;
  if (run.acked < ownership.epoch || (has_leftovers(group) && node.now >= clean_at)) {
    run.epoch = ownership.epoch;
    begin_stop(node, group);
    return run_stop(node, group);
  }
  return has_leftovers(group) ? clean_at : kNever;
}

TimeMs run_waiting(Node& node, Group& group) {
  Run& run = group.run;
  if (run.epoch < forgotten_below(node)) {
    return kNever;  // the proposer gives it a new one
  }
  const Awaited others = awaited(node, group, run.epoch);
  if (others.nodes.empty()) {
    if (!has_lease(node)) {
      return kNever;
    }
    begin_start(node, group);
    return run_start(node, group);
  }
  if (node.now >= run.ask_at) {
    run.ask_at = node.now + kAskAgainMs;
    send(node, Assign{group.spec.name, run.epoch, ownership_of(node, group.spec.name)});
  }
  if (!run.stuck && node.now - run.since >= node.timing.step_ms) {
    run.stuck = true;
    alarm(node, group,
          fmt::format("it waits for {}, which has not given it up", name_of(node, others.nodes.front())));
  }
  return std::min(others.look_at, run.ask_at);
}

TimeMs run_suspended(Node& node, Group& group) {
  if (has_lease(node)) {
    if (!group.run.doubtful) {
      resume(node, group);
    }
    return kNever;  // otherwise the proposer gives it a new epoch
  }
  if (group.spec.storage != StorageKind::drbd) {
    return kNever;  // it writes nothing, and others ask before they do
  }
  const TimeMs at = group.run.since + node.timing.stop_grace_ms;
  if (node.now < at) {
    return at;
  }
  if (group.storage.peers_connected || group.storage.quorate) {
    begin_stop(node, group);
    return run_stop(node, group);
  }
  return kNever;  // its I/O is frozen: nobody else has it, and initiators go on without a new login
}

}  // namespace

TimeMs run_group(Node& node, Group& group) {
  Run& run = group.run;
  const Ownership ownership = ownership_of(node, group.spec.name);
  if (run.phase == Phase::idle) {
    return run_idle(node, group);
  }
  if (run.phase == Phase::stopping) {
    if (run.released) {
      acknowledge(node, group);  // the table went on while the rest of the stop is still under way
    }
    return run_stop(node, group);
  }
  if (!is_wanted(node, group) || ownership.epoch != run.epoch) {
    if (run.phase == Phase::waiting) {
      enter(node, group, Phase::idle);
      return run_idle(node, group);
    }
    // A new epoch with the same owner: without a lapse nobody can have had it in between.
    if (run.phase == Phase::active && is_wanted(node, group) && has_lease(node)) {
      run.epoch = ownership.epoch;
      send(node, Outcome{group.spec.name, run.epoch, true, true, {}});
      mark_report(node);
      return kNever;
    }
    begin_stop(node, group);
    return run_stop(node, group);
  }
  switch (run.phase) {
    case Phase::waiting:
      return run_waiting(node, group);
    case Phase::starting:
      return run_start(node, group);
    case Phase::suspended:
      return run_suspended(node, group);
    default:
      return kNever;
  }
}

void on_action_done(Node& node, const ActionDone& done) {
  const auto found = node.groups.find(done.group);
  if (found == node.groups.end() || done.id == 0) {
    return;
  }
  Group& group = found->second;
  if (group.run.phase == Phase::starting) {
    start_done(node, group, done);
  } else if (group.run.phase == Phase::stopping && done.id == group.run.stop) {
    stop_done(node, group, done);
  }
  mark_dirty(node, done.group);
}

void suspend_all(Node& node) {
  for (auto& [name, group] : node.groups) {
    if (group.run.phase != Phase::active) {
      continue;
    }
    SuspendService suspend;
    suspend.group = name;
    suspend.epoch = group.run.epoch;
    node.actions.emplace_back(std::move(suspend));
    enter(node, group, Phase::suspended);
    step_note(node, group, "suspended");
  }
}

}  // namespace itgtd::ha
