// Connections and sessions of the service; what follows from the configuration is in service_apply.cc.
#include "target/service.h"

#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "target/iscsi/login.h"

namespace itgtd::target {

Service::Service(control::EventLoop& loop, Coordinator& coordinator, StateWriter& writer, Registry& registry,
                 LuStore& store)
    : loop_(loop),
      coordinator_(coordinator),
      writer_(writer),
      registry_(registry),
      store_(store),
      connections_(coordinator.worker_count(), 0) {
  watch_media();
}

Service::Target* Service::find_target(std::string_view name) {
  // iSCSI names are compared in lower case (RFC 7143 §4.2.7.2); the configuration holds them so.
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  const auto found = targets_.find(lower);
  return found == targets_.end() ? nullptr : &found->second;
}

void Service::on_accepted(const Accepted& message) {
  uint32_t total = 0;
  for (const uint32_t count : connections_) total += count;
  if (refusing_ || total >= kConnectionsMax || logins_pending_ >= kLoginsPendingMax) {
    if (!refusing_ && !limit_logged_) {
      log::warning(
          "connections are refused: {} are open (at most {}), {} of them are logging in (at most {})", total,
          kConnectionsMax, logins_pending_, kLoginsPendingMax);
      limit_logged_ = true;
    }
    ::close(message.fd);
    return;
  }
  limit_logged_ = false;
  const auto least = std::min_element(connections_.begin(), connections_.end());
  ++*least;
  ++logins_pending_;
  coordinator_.tell(static_cast<WorkerIndex>(least - connections_.begin()),
                    AdoptConnection{message.fd, message.listener});
}

void Service::on_connection_closed(const ConnectionClosed& message) {
  --connections_.at(message.connection.worker);
  if (message.during_login) --logins_pending_;
  forget_parked(message.connection);
}

void Service::refuse(const ConnectionRef& connection, iscsi::LoginStatus status) {
  coordinator_.tell(connection.worker, SessionRefused{connection.slot, static_cast<uint16_t>(status)});
}

void Service::on_open_session(const OpenSession& message) {
  Registry::Session session;
  session.connection = message.connection;
  session.identity = message.identity;
  session.listener = message.listener;
  session.peer = message.peer;
  session.local = message.local;
  if (message.identity.type == iscsi::SessionType::normal) {
    const Target* target = find_target(message.identity.target_name);
    if (target == nullptr || !admits(*target, session)) {
      refuse(session.connection, iscsi::LoginStatus::target_not_found);
      return;
    }
    session.target = target->key;
  }
  if (Group* group = group_of(session); group != nullptr && group->parking && !refusing_) {
    park(*group, session);
    return;
  }
  if (session.target == 0 || !registry_.is_connected(session.target, session.identity.initiator_name)) {
    admit(session);
    return;
  }
  // An initiator that left and comes back by another port expects to find nothing of its old session: the end
  // of a connection that it has closed may still be on its way through another worker.
  SettleConnections settle;
  settle.target = session.target;
  coordinator_.broadcast(settle, [this, session] { admit(session); });
}

void Service::admit(const Registry::Session& session) {
  Group* group = group_of(session);
  if (refusing_) {
    // Where another node may serve the target, a login reject is the one answer that must not come.
    if (group != nullptr) {
      tell_to_leave(session);
    } else {
      refuse(session.connection, iscsi::LoginStatus::service_unavailable);
    }
  } else if (!still_admitted(session)) {
    refuse(session.connection, iscsi::LoginStatus::target_removed);
  } else if (group != nullptr && group->parking) {
    park(*group, session);
  } else {
    act(registry_.open(session));
  }
}

bool Service::reachable_at(const Target& target, Key listener) const {
  return std::any_of(target.config.portals.begin(), target.config.portals.end(),
                     [&](const std::string& portal) {
                       const auto found = listeners_.find(portal);
                       return found != listeners_.end() && found->second.key == listener;
                     });
}

void Service::act(const Registry::Actions& actions) {
  for (const ConnectionRef& connection : actions.close) {
    coordinator_.tell(connection.worker,
                      CloseSession{connection.slot, false, "replaced by a new login (reinstatement)"});
  }
  for (const Registry::Session& session : actions.opened) {
    Group* group = group_of(session);
    const bool admitted = still_admitted(session);
    if (admitted && (group == nullptr || !group->parking)) {
      open(session);
      continue;
    }
    if (admitted) {
      park(*group, session);
    } else {
      // The configuration changed while it waited for the place of an older session.
      refuse(session.connection, iscsi::LoginStatus::target_removed);
    }
    std::optional<Registry::Session> refused;
    act(registry_.on_closed(session.nexus, refused));
  }
}

bool Service::still_admitted(const Registry::Session& session) const {
  if (session.target == 0) return true;
  const auto found = std::find_if(targets_.begin(), targets_.end(),
                                  [&](const auto& target) { return target.second.key == session.target; });
  return found != targets_.end() && admits(found->second, session);
}

void Service::open(const Registry::Session& session) {
  --logins_pending_;
  log::info("{} logged in: {}{}{}, session {}", session.identity.initiator_name, session.peer.to_string(),
            session.target == 0 ? std::string(" discovers") : " -> " + session.identity.target_name,
            session.identity.chap_user.empty() ? std::string() : " as " + session.identity.chap_user,
            session.nexus);
  coordinator_.tell(session.connection.worker,
                    SessionOpened{session.connection.slot, session.target, session.nexus, session.tsih,
                                  writer_.waiting_for(session.target, {session.identity.initiator_name,
                                                                       session.identity.isid})});
  tell_connection(session, true);
}

void Service::on_session_closed(const SessionClosed& message) {
  std::optional<Registry::Session> closed;
  // It was counted out when its session was opened, and again when the connection went.
  if (!message.was_open) ++logins_pending_;
  const Registry::Actions actions = registry_.on_closed(message.nexus, closed);
  if (!closed) return;
  log::info("{} left: {}, session {}", closed->identity.initiator_name, closed->peer.to_string(),
            closed->nexus);
  // Before the next session of this port is told that it is open, so that it meets no reservation of its
  // predecessor.
  if (closed->target != 0) writer_.on_nexus_loss(closed->target, closed->nexus);
  tell_connection(*closed, false);
  act(actions);
  std::erase(leaving_sessions_, message.nexus);
  continue_when_gone();
}

void Service::close_sessions(Key target, const std::string& reason) {
  for (const Registry::Session& session : registry_.all()) {
    if (session.target != target) continue;
    coordinator_.tell(session.connection.worker, CloseSession{session.connection.slot, true, reason});
  }
}

void Service::end_sessions(const std::function<bool(const Registry::Session&)>& which,
                           const std::string& reason, std::function<void()> done) {
  ITGTD_ASSERT(leaving_sessions_.empty() && !when_gone_);  // steps run one after another
  for (const Registry::Session& session : registry_.all()) {
    if (!which(session)) continue;
    leaving_sessions_.push_back(session.nexus);
    coordinator_.tell(session.connection.worker, CloseSession{session.connection.slot, true, reason});
  }
  when_gone_ = std::move(done);
  continue_when_gone();
}

void Service::continue_when_gone() {
  if (!leaving_sessions_.empty() || !when_gone_) return;
  const std::function<void()> next = std::exchange(when_gone_, {});
  next();
}

Service::Summary Service::summary() const {
  Summary summary;
  summary.targets = targets_.size();
  summary.portals = listeners_.size();
  summary.portals_failed = failed_portals_.size();
  for (const auto& [name, target] : targets_) {
    summary.luns += target.luns.size();
    for (const auto& [id, lun] : target.luns) summary.luns_down += lun.medium || lun.key == 0 ? 0U : 1U;
  }
  return summary;
}

}  // namespace itgtd::target
