#include "net/socket.h"

#include <fmt/format.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

namespace itgtd::net {
namespace {

// NOP-In finds dead peers (RFC 7143 §11.19); keep-alive is for those whose ping was turned off.
constexpr int kKeepAliveIdleSeconds = 60;
constexpr int kKeepAliveIntervalSeconds = 10;
constexpr int kKeepAliveProbes = 6;
// Room for a burst of the largest size that we negotiate, so that one send does not wait for its own acks.
constexpr int kSocketBufferBytes = 2 << 20;

bool set(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

std::optional<std::string> prepare_listener(int fd, const Address& address) {
  if (!set(fd, SOL_SOCKET, SO_REUSEADDR, 1)) return "cannot set SO_REUSEADDR";
  if (address.is_ipv6()) {
    // Each portal answers for its own family; 0.0.0.0 and [::] can then both be bound.
    if (!set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)) return "cannot set IPV6_V6ONLY";
    if (!set(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1)) return "cannot set IPV6_FREEBIND";
  } else if (!set(fd, IPPROTO_IP, IP_FREEBIND, 1)) {
    return "cannot set IP_FREEBIND";
  }
  return std::nullopt;
}

const char* advice(int error) {
  switch (error) {
    case EADDRINUSE:
      return " (another program listens there, or another itgtd)";
    case EACCES:
      return " (ports below 1024 need root or CAP_NET_BIND_SERVICE)";
    case EAFNOSUPPORT:
      return " (this kernel has no such address family)";
    default:
      return "";
  }
}

template <typename Ask>
Result<Address> ask_address(int fd, Ask ask, const char* what) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (ask(fd, static_cast<sockaddr*>(static_cast<void*>(&storage)), &size) != 0) {
    return Error{errno, fmt::format("cannot get the {} address of a connection", what)};
  }
  return Address::from_sockaddr(storage);
}

}  // namespace

Result<int> listen_on(const Address& address, int backlog) {
  const int family = address.is_ipv6() ? AF_INET6 : AF_INET;
  const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) {
    const int error = errno;
    return Error{error, fmt::format("cannot make a socket for {}{}", address.to_string(), advice(error))};
  }
  auto failed = [&](const std::string& what) -> Error {
    const int error = errno;
    ::close(fd);
    return {error, fmt::format("{} for {}{}", what, address.to_string(), advice(error))};
  };
  if (const auto why = prepare_listener(fd, address)) return failed(*why);
  if (::bind(fd, address.data(), address.size()) != 0) return failed("cannot bind");
  if (::listen(fd, backlog) != 0) return failed("cannot listen");
  return fd;
}

Result<Address> local_address(int fd) {
  return ask_address(fd, ::getsockname, "local");
}

Result<Address> peer_address(int fd) {
  return ask_address(fd, ::getpeername, "peer's");
}

void tune_connection(int fd) {
  // Each is a wish: a connection without it is slower or notices a dead peer later, and still correct.
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleSeconds);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalSeconds);
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
  // The FORCE forms pass net.core.[rw]mem_max and need CAP_NET_ADMIN. The receive buffer is set only that
  // way: the plain form would fix it at a small maximum, while the kernel's own tuning goes far above.
  if (!set(fd, SOL_SOCKET, SO_SNDBUFFORCE, kSocketBufferBytes)) {
    set(fd, SOL_SOCKET, SO_SNDBUF, kSocketBufferBytes);
  }
  set(fd, SOL_SOCKET, SO_RCVBUFFORCE, kSocketBufferBytes);
}

int unsent_bytes(int fd) {
  int bytes = 0;
  return ::ioctl(fd, SIOCOUTQNSD, &bytes) == 0 ? bytes : 0;
}

void reset_on_close(int fd) {
  const linger at_once{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

}  // namespace itgtd::net
