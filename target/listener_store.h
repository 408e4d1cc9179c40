// Listening sockets that outlive the daemon: systemd keeps them while it is restarted (FDSTORE,
// sd_notify(3)), so that connections made meanwhile wait in the backlog instead of being refused. An
// initiator that is refused waits 3 s before it tries again; one that waits for its login waits as long as
// the restart takes.
//
// Without a service manager that keeps descriptors, all of this does nothing. Control thread.
#pragma once

#include <map>
#include <string>

#include "base/descriptor.h"

namespace itgtd::target {

class ListenerStore {
 public:
  /// Takes what the service manager passed (sd_listen_fds(3)), and the environment that tells of it: no child
  /// sees either. Sockets that do not listen are closed.
  void inherit();
  /// The socket that an earlier daemon left for the portal "address:port", or -1; the caller's from now on.
  [[nodiscard]] int take(const std::string& portal);
  /// Has the service manager keep a copy of it.
  void keep(const std::string& portal, int fd) const;
  void forget(const std::string& portal) const;
  /// Those that nobody took: the configuration has changed since.
  void close_rest();
  [[nodiscard]] size_t size() const { return sockets_.size(); }

 private:
  std::map<std::string, Descriptor> sockets_;  ///< by the address that they are bound to
};

}  // namespace itgtd::target
