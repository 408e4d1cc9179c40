#include "target/listener_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <cstdlib>

#include "net/socket.h"

namespace itgtd::target {
namespace {

/// select(2) can't wait for these.
constexpr int kAboveLibraries = 1024;

/// A name for systemd, which allows no colon in it. Only the store needs it: what a socket is bound to is
/// asked of the socket.
std::string name_of(const std::string& portal) {
  std::string name = portal;
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
}

}  // namespace

void ListenerStore::inherit() {
  const int count = sd_listen_fds(1);
  for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + count; ++fd) {
    Descriptor socket(fd);
    const bool listens = sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) > 0;
    const auto bound = net::local_address(fd);
    if (!listens || !bound) continue;
    // Out of the way of those that libraries want to be low (ha/adapters/gate.h).
    const int high = ::fcntl(fd, F_DUPFD_CLOEXEC, kAboveLibraries);
    sockets_.emplace(bound.value().to_string(), high >= 0 ? high : socket.release());
  }
}

int ListenerStore::take(const std::string& portal) {
  const auto found = sockets_.find(portal);
  if (found == sockets_.end()) return -1;
  const int fd = found->second.release();
  sockets_.erase(found);
  return fd;
}

void ListenerStore::keep(const std::string& portal, int fd) const {
  const std::string state = fmt::format("FDSTORE=1\nFDNAME={}", name_of(portal));
  sd_pid_notify_with_fds(0, 0, state.c_str(), &fd, 1);
}

void ListenerStore::forget(const std::string& portal) const {
  sd_notify(0, fmt::format("FDSTOREREMOVE=1\nFDNAME={}", name_of(portal)).c_str());
}

void ListenerStore::close_rest() {
  for (const auto& [portal, socket] : sockets_) forget(portal);
  sockets_.clear();
}

}  // namespace itgtd::target
