// Targets that move between nodes: their logins, while no node or another one serves them, and their disks.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "target/service.h"

namespace itgtd::target {

Service::Group* Service::group_of(const Target& target) {
  // Also for a group that nobody has ever asked to be opened.
  return target.config.group.empty() ? nullptr : &groups_[target.config.group];
}

Service::Group* Service::group_of(const Registry::Session& session) {
  if (session.target == 0) return nullptr;
  const auto found = std::find_if(targets_.begin(), targets_.end(),
                                  [&](const auto& target) { return target.second.key == session.target; });
  return found == targets_.end() ? nullptr : group_of(found->second);
}

std::vector<Key> Service::targets_of(const std::string& group) const {
  std::vector<Key> keys;
  for (const auto& [name, target] : targets_) {
    if (target.config.group == group) keys.push_back(target.key);
  }
  return keys;
}

uint32_t Service::session_count(const std::string& group) const {
  const std::vector<Key> targets = targets_of(group);
  uint32_t count = 0;
  for (const Registry::Session& session : registry_.all()) {
    if (session.target != 0 && std::ranges::find(targets, session.target) != targets.end()) ++count;
  }
  return count;
}

// --- Parked logins
// -------------------------------------------------------------------------------------------------------

void Service::park(Group& group, const Registry::Session& session) {
  if (parked_ >= kParkedLoginsMax) {
    tell_to_leave(session);
    return;
  }
  log::info("{} waits for {} until a node serves it", session.identity.initiator_name,
            session.identity.target_name);
  // What the registry gave it when it waited for the place of another session is void.
  Registry::Session parked = session;
  parked.nexus = 0;
  parked.tsih = 0;
  group.parked.push_back({std::move(parked), now()});
  ++parked_;
  tell_connection(session, true);
  const auto found =
      std::ranges::find_if(targets_, [&](const auto& target) { return target.second.key == session.target; });
  loop_.after(std::chrono::duration_cast<std::chrono::milliseconds>(kParkedLoginTime),
              [this, name = found->second.config.group] { expire_parked(name); });
}

void Service::expire_parked(const std::string& name) {
  Group& group = groups_[name];
  while (!group.parked.empty() && now() >= group.parked.front().since + kParkedLoginTime) {
    const Registry::Session session = group.parked.front().session;
    group.parked.pop_front();
    --parked_;
    log::info("{} waited {} s for {}, which no node serves; its connection is closed so that it tries again",
              session.identity.initiator_name, kParkedLoginTime.count(), session.identity.target_name);
    tell_to_leave(session);
    tell_connection(session, false);
  }
}

void Service::tell_to_leave(const Registry::Session& session) {
  coordinator_.tell(session.connection.worker, CloseSession{session.connection.slot, false, ""});
}

void Service::forget_parked(const ConnectionRef& connection) {
  if (parked_ == 0) return;
  for (auto& [name, group] : groups_) {
    const auto found = std::ranges::find_if(
        group.parked, [&](const Parked& parked) { return parked.session.connection == connection; });
    if (found == group.parked.end()) continue;
    const Registry::Session session = found->session;
    group.parked.erase(found);
    --parked_;
    tell_connection(session, false);
    return;
  }
}

void Service::release_parked(Group& group) {
  std::deque<Parked> waiting = std::exchange(group.parked, {});
  parked_ -= waiting.size();
  for (const Parked& parked : waiting) admit(parked.session);
}

void Service::park(const std::string& group) {
  groups_[group].parking = true;
}

void Service::unpark(const std::string& name) {
  Group& group = groups_[name];
  group.parking = false;
  release_parked(group);
}

// --- What the workers do with it
// -----------------------------------------------------------------------------------------------------------

Service::Media Service::media_of(const std::string& group) const {
  Media media;
  for (const auto& [name, target] : targets_) {
    if (target.config.group != group) continue;
    for (const auto& [id, lun] : target.luns) {
      if (lun.medium) media.push_back(lun.medium);
    }
  }
  return media;
}

void Service::govern(const std::string& name, bool hold, bool mute) {
  Group& group = groups_[name];
  group.held = hold;
  group.muted = mute;
  for (const Key target : targets_of(name)) coordinator_.tell_all(GovernTarget{target, hold, mute});
}

void Service::end_told_sessions(const std::string& group) {
  for (const Key target : targets_of(group)) {
    for (const Registry::Session& session : registry_.all()) {
      if (session.target == target) tell_to_leave(session);
    }
  }
}

void Service::tell_connection(const Registry::Session& session, bool opened) {
  if (!on_group_connection_ || session.target == 0) return;
  const auto found =
      std::ranges::find_if(targets_, [&](const auto& target) { return target.second.key == session.target; });
  if (found == targets_.end() || found->second.config.group.empty()) return;
  on_group_connection_(found->second.config.group, {session.local.to_string(), session.peer.to_string()},
                       opened);
}

}  // namespace itgtd::target
