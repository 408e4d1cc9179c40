// What a daemon's actions do to its machine, and how long they take.
#include <fmt/format.h>

#include <algorithm>

#include "tests/ha/sim/host.h"

namespace itgtd::ha::sim {

namespace {
template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;
}  // namespace

void Host::perform(const Action& action) {
  std::visit(Overloaded{
                 [&](const Send& it) { perform_send(it.message); },
                 [&](const SetLease& it) { perform_set_lease(it); },
                 [&](const Promote& it) { perform_promote(it); },
                 [&](const AddAddresses& it) { perform_add_addresses(it); },
                 [&](const StartService& it) { perform_start_service(it); },
                 [&](const Quiesce& it) {
                   later(random_.between(1, 30), [this, it, pid = pid_] { done(it, pid); });
                 },
                 [&](const StopService& it) { perform_stop_service(it); },
                 [&](const RemoveAddresses& it) { perform_remove_addresses(it); },
                 [&](const Demote& it) { perform_demote(it); },
                 [&](const SuspendService& it) { perform_suspend(it); },
                 [&](const ResumeService& it) { perform_resume(it); },
                 [](const ResetConnections&) {},
                 [&](const Note& it) {
                   if (it.kind == Note::Kind::decision)
                     epoch_floor_ = std::max(epoch_floor_, ((it.epoch >> 16) + 1) << 16);
                   if (it.kind == Note::Kind::decision || it.kind == Note::Kind::alarm)
                     world_.log(id_, fmt::format("  {}{}{}{}", it.kind == Note::Kind::alarm ? "ALARM " : "",
                                                 it.group, it.group.empty() ? "" : ": ", it.text));
                 },
                 [&](const Stopped&) { perform_stopped(); },
             },
             action);
}

void Host::done(const GroupAction& action, uint32_t pid, bool ok, bool retry_here, std::string text) {
  if (pid == pid_)
    post(kLocal, ActionDone{action.id, action.group, action.epoch, ok, retry_here, std::move(text)});
}

void Host::perform_send(const Message& message) {
  if (const auto* ack = std::get_if<Ack>(&message)) {
    Work& work = work_[ack->group];
    const auto service = services_.find(ack->group);
    if (service != services_.end() && service->second.running && service->second.epoch < ack->epoch)
      world_.violation(fmt::format("{} says Ack of {} epoch {} while its service of epoch {} runs", name_,
                                   ack->group, ack->epoch, service->second.epoch));
    work.acked = std::max(work.acked, ack->epoch);
  }
  if (const auto* heartbeat = std::get_if<Heartbeat>(&message))
    if (settings_.fault.lease_by_self_delivery) heartbeats_[heartbeat->seq] = clock();
  if (connected_) totem_.send(id_, pid_, message);
}

/// Nothing may be begun for an epoch after a newer one has been acknowledged.
void Host::check_epoch(const GroupAction& action, const char* what) {
  if (action.epoch < work_[action.group].acked)
    world_.violation(fmt::format("{}: {} of {} for epoch {} after Ack of {}", name_, what, action.group,
                                 action.epoch, work_[action.group].acked));
}

void Host::perform_set_lease(const SetLease& action) {
  const bool renewed = action.until > lease_until_;
  lease_until_ = action.until;
  if (action.until <= clock()) return;
  // valid_lft is in whole seconds, rounded up, and the kernel looks once in a while.
  for (auto& [group, list] : addresses_)
    for (Address& address : list)
      if (address.present && clock() < address.valid_until)
        address.valid_until = std::max(address.valid_until, action.until + random_.between(0, 2000));
  if (!renewed) return;
  for (auto& [group, service] : services_)
    if (service.lapsed) {
      service.lapsed = false;
      world_.log(id_,
                 fmt::format("has a lease again, {} {}", group, service.suspended ? "suspended" : "served"));
    }
  watch_lease();
}

void Host::perform_promote(const Promote& action) {
  check_epoch(action, "Promote");
  Work& work = work_[action.group];
  TimeMs takes = random_.between(2, settings_.promote_max_ms);
  if (work.promote_takes_ms > 0) takes = work.promote_takes_ms;
  // One after another: drbdsetup has a lock per resource.
  work.role_free_at = std::max(work.role_free_at, schedule_.now()) + takes;
  later(work.role_free_at - schedule_.now(), [this, action, pid = pid_] {
    Work& now = work_[action.group];
    if (pid != pid_ || !state_) return;
    Disks::Result result;
    if (now.promote_fails > 0) {
      --now.promote_fails;
      result = {false, now.promote_retry_here, "injected failure"};
    } else {
      result = disks_.promote(action.group, id_);
    }
    if (!result.ok) world_.log(id_, fmt::format("{} can't be promoted: {}", action.group, result.text));
    world_.on_storage_touched(action.group);
    done(action, pid, result.ok, result.retry_here, result.text);
  });
}

void Host::perform_demote(const Demote& action) {
  Work& work = work_[action.group];
  work.role_free_at = std::max(work.role_free_at, schedule_.now()) + random_.between(1, 30);
  later(work.role_free_at - schedule_.now(), [this, action, pid = pid_] {
    if (pid != pid_ || !state_) return;
    Work& now = work_[action.group];
    const bool refused = now.demote_fails > 0 && now.demote_fails-- > 0;
    if ((refused || running(action.group)) && !action.force) {
      done(action, pid, false, true, "device is held open");
      return;
    }
    disks_.demote(action.group, id_);
    world_.on_storage_touched(action.group);
    done(action, pid);
  });
}

void Host::perform_add_addresses(const AddAddresses& action) {
  check_epoch(action, "AddAddresses");
  const uint64_t turn = ++work_[action.group].addresses;
  later(random_.between(1, 20), [this, action, turn, pid = pid_] {
    if (pid != pid_ || !state_ || work_[action.group].addresses != turn) return;
    std::vector<Address>& list = addresses_.at(action.group);
    for (size_t vip = 0; vip < list.size(); ++vip) {
      Address& address = list[vip];
      address.failed = address.fails;
      if (address.fails) {
        // The adapter forgets it after a while.
        later(10'000, [this, group = action.group, vip] {
          addresses_.at(group)[vip].failed = false;
          tell_vip(group, vip);
        });
      } else if (clock() < lease_until_) {
        address.present = true;
        address.valid_until = std::max(address.valid_until, lease_until_ + random_.between(0, 2000));
      }
      tell_vip(action.group, vip);
    }
    done(action, pid);
  });
}

void Host::perform_remove_addresses(const RemoveAddresses& action) {
  const uint64_t turn = ++work_[action.group].addresses;
  later(random_.between(1, 10), [this, action, turn, pid = pid_] {
    if (pid != pid_ || !state_ || work_[action.group].addresses != turn) return;
    for (size_t vip = 0; vip < addresses_.at(action.group).size(); ++vip) {
      addresses_.at(action.group)[vip].present = false;
      tell_vip(action.group, vip);
    }
    done(action, pid);
  });
}

void Host::perform_start_service(const StartService& action) {
  check_epoch(action, "StartService");
  const uint64_t turn = ++work_[action.group].service;
  later(random_.between(2, 30), [this, action, turn, pid = pid_] {
    if (pid != pid_ || !state_ || work_[action.group].service != turn) return;
    if (!disks_.writable(action.group, id_)) {
      done(action, pid, false, true, "the disk can't be opened for writing");
      return;
    }
    services_[action.group] = {true, false, false, action.epoch};
    world_.log(id_, fmt::format("{} SERVED", action.group));
    world_.on_serve(id_, action.group, action.epoch);
    done(action, pid);
  });
}

void Host::perform_stop_service(const StopService& action) {
  const uint64_t turn = ++work_[action.group].service;
  if (settings_.fault.ack_before_stop) {
    // Says that it has stopped, and does so later.
    done(action, pid_);
    services_[action.group].epoch = UINT64_MAX;
    later(400, [this, group = action.group, turn] {
      if (work_[group].service == turn) services_.erase(group);
    });
    return;
  }
  // Nothing leaves from here on; what is in the kernel ends by and by.
  services_[action.group].suspended = true;
  later(random_.between(1, 30), [this, action, turn, pid = pid_] {
    if (pid != pid_ || !state_ || work_[action.group].service != turn) return;
    if (services_[action.group].running) world_.log(id_, fmt::format("{} stopped", action.group));
    services_.erase(action.group);
    done(action, pid);
  });
}

void Host::perform_suspend(const SuspendService& action) {
  Service& service = services_[action.group];
  if (service.running && !service.suspended) world_.log(id_, fmt::format("{} suspended", action.group));
  service.suspended = true;
}

void Host::perform_resume(const ResumeService& action) {
  check_epoch(action, "ResumeService");
  Service& service = services_[action.group];
  if (service.running && service.suspended) world_.log(id_, fmt::format("{} resumed", action.group));
  service.suspended = false;
  service.epoch = std::max(service.epoch, action.epoch);
  if (service.running) world_.on_serve(id_, action.group, service.epoch);
}

void Host::perform_stopped() {
  end_process("daemon has stopped");
}

}  // namespace itgtd::ha::sim
