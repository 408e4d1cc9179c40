#include "target/registry.h"

#include <algorithm>

namespace itgtd::target {

Registry::PortKey Registry::port_key(const Session& session) {
  return {session.target, session.identity.initiator_name, session.identity.isid};
}

uint16_t Registry::next_tsih() {
  // RFC 7143 §11.12.6: 0 is reserved. In use by another session: the next one; there are fewer sessions than
  // numbers.
  const auto used = [this](uint16_t tsih) {
    return std::any_of(sessions_.begin(), sessions_.end(),
                       [&](const auto& s) { return s.second.tsih == tsih; });
  };
  do {
    ++last_tsih_;
  } while (last_tsih_ == 0 || used(last_tsih_));
  return last_tsih_;
}

Registry::Session Registry::admit(Session session) {
  session.nexus = ++last_nexus_;
  session.tsih = next_tsih();
  // Discovery sessions share no SCSI port: several of one initiator may be open at once.
  if (session.target != 0) by_port_[port_key(session)] = session.nexus;
  sessions_[session.nexus] = session;
  return session;
}

Registry::Actions Registry::open(Session session) {
  Actions actions;
  const auto existing = session.target == 0 ? by_port_.end() : by_port_.find(port_key(session));
  if (existing == by_port_.end()) {
    actions.opened.push_back(admit(std::move(session)));
    return actions;
  }
  actions.close.push_back(sessions_.at(existing->second).connection);
  const auto [place, first] = waiting_.try_emplace(port_key(session), session);
  if (!first) {
    // It would have to go at once for this one: at most one waits.
    actions.close.push_back(place->second.connection);
    place->second = std::move(session);
  }
  return actions;
}

Registry::Actions Registry::on_closed(scsi::NexusId nexus, std::optional<Session>& closed) {
  Actions actions;
  const auto found = sessions_.find(nexus);
  if (found == sessions_.end()) return actions;
  closed = found->second;
  sessions_.erase(found);
  if (closed->target == 0) return actions;
  const PortKey key = port_key(*closed);
  by_port_.erase(key);
  const auto waiting = waiting_.find(key);
  if (waiting == waiting_.end()) return actions;
  actions.opened.push_back(admit(std::move(waiting->second)));
  waiting_.erase(waiting);
  return actions;
}

bool Registry::is_connected(Key target, const std::string& initiator_name) const {
  return std::any_of(sessions_.begin(), sessions_.end(), [&](const auto& session) {
    return session.second.target == target && session.second.identity.initiator_name == initiator_name;
  });
}

std::vector<scsi::KnownNexus> Registry::nexuses(Key target) const {
  std::vector<scsi::KnownNexus> list;
  for (const auto& [nexus, session] : sessions_) {
    if (session.target != target) continue;
    list.push_back({nexus, {session.identity.initiator_name, session.identity.isid}});
  }
  return list;
}

std::vector<Registry::Session> Registry::all() const {
  std::vector<Session> list;
  list.reserve(sessions_.size());
  for (const auto& [nexus, session] : sessions_) list.push_back(session);
  return list;
}

}  // namespace itgtd::target
