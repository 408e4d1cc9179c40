// Which sessions there are, for the whole daemon: TSIH, nexus, and the rule that a new session takes the
// place of an old one.
//
// Pure: it is told what happened and returns what to do. The control thread owns it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "target/messages.h"

namespace itgtd::target {

class Registry {
 public:
  struct Session {
    ConnectionRef connection;
    iscsi::SessionIdentity identity;
    Key target = 0;  ///< 0: a discovery session
    Key listener = 0;
    Address peer;
    Address local;
    scsi::NexusId nexus = 0;
    uint16_t tsih = 0;
  };
  /// What to do after a call: sessions to end, and logins that may go on.
  struct Actions {
    std::vector<ConnectionRef> close;
    std::vector<Session> opened;
  };

  /// A login is complete. With a session of the same initiator port on the same target, that one is closed
  /// first and the login waits for it (session reinstatement, RFC 7143 §6.3.5); otherwise it is opened at
  /// once.
  Actions open(Session session);
  /// A session is gone (its commands too): those who waited for its place go on. Returns what it was, too.
  Actions on_closed(scsi::NexusId nexus, std::optional<Session>& closed);

  [[nodiscard]] std::vector<Session> all() const;
  /// Whether the initiator has a session with the target, by whatever port of its.
  [[nodiscard]] bool is_connected(Key target, const std::string& initiator_name) const;
  /// The nexuses with a target.
  [[nodiscard]] std::vector<scsi::KnownNexus> nexuses(Key target) const;
  [[nodiscard]] size_t size() const { return sessions_.size(); }

 private:
  /// The SCSI initiator port and the target: what there is at most one session of. The ISID rule, RFC 7143
  /// §4.4.3.
  using PortKey = std::tuple<Key, std::string, std::array<uint8_t, 6>>;
  static PortKey port_key(const Session& session);
  Session admit(Session session);
  [[nodiscard]] uint16_t next_tsih();

  std::map<scsi::NexusId, Session> sessions_;
  std::map<PortKey, scsi::NexusId> by_port_;
  std::map<PortKey, Session> waiting_;
  scsi::NexusId last_nexus_ = 0;
  uint16_t last_tsih_ = 0;
};

}  // namespace itgtd::target
