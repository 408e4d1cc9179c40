#include "bench/stream.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <memory>

#include "base/crc32c.h"
#include "bench/pdu.h"

namespace itgtd::bench {
namespace {

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

/// Milliseconds until `deadline`, rounded up, within what poll() takes.
int milliseconds_until(Instant deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 3'600'000));
}

Result<void> poll_for(int fd, short events, Instant deadline) {
  for (;;) {
    pollfd entry{fd, events, 0};
    const int ready = poll(&entry, 1, milliseconds_until(deadline));
    if (ready > 0) return {};
    if (ready == 0) return Error{ETIMEDOUT, "no answer from the target"};
    if (errno != EINTR) return Error{errno, "poll"};
  }
}

int connect_one(const addrinfo& address, Instant deadline, int& error) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    error = errno;
    return -1;
  }
  error = ::connect(fd, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    const Result<void> writable = poll_for(fd, POLLOUT, deadline);
    socklen_t size = sizeof(error);
    if (!writable) {
      error = writable.error().code;
    } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
      error = errno;
    }
  }
  if (error == 0) return fd;
  close(fd);
  return -1;
}

}  // namespace

Result<Stream> Stream::connect(const std::string& host, const std::string& port, Instant deadline) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int status = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (status != 0) return Error{0, fmt::format("cannot resolve {}: {}", host, gai_strerror(status))};
  const AddressList list(found, &freeaddrinfo);
  int error = 0;
  for (const addrinfo* entry = list.get(); entry != nullptr; entry = entry->ai_next) {
    const int fd = connect_one(*entry, deadline, error);
    if (fd < 0) continue;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return Stream(fd);
  }
  return Error{error, fmt::format("cannot connect to {} port {}", host, port)};
}

Stream::Stream(Stream&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      header_digest_(other.header_digest_),
      data_digest_(other.data_digest_) {}

Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(fd_, other.fd_);
  header_digest_ = other.header_digest_;
  data_digest_ = other.data_digest_;
  return *this;
}

Stream::~Stream() {
  if (fd_ >= 0) close(fd_);
}

void Stream::set_digests(bool header, bool data) {
  header_digest_ = header;
  data_digest_ = data;
}

Result<void> Stream::wait(short events, Instant deadline) const {
  return poll_for(fd_, events, deadline);
}

Result<void> Stream::send_all(ConstBytes bytes, Instant deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes = bytes.subspan(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      if (Result<void> ready = wait(POLLOUT, deadline); !ready) return ready;
    } else if (errno != EINTR) {
      return Error{errno, "cannot send to the target"};
    }
  }
  return {};
}

Result<void> Stream::receive_exact(Bytes bytes, Instant deadline) {
  while (!bytes.empty()) {
    const ssize_t received = recv(fd_, bytes.data(), bytes.size(), 0);
    if (received > 0) {
      bytes = bytes.subspan(static_cast<size_t>(received));
    } else if (received == 0) {
      return Error{0, "the target closed the connection"};
    } else if (errno == EAGAIN) {
      if (Result<void> ready = wait(POLLIN, deadline); !ready) return ready;
    } else if (errno != EINTR) {
      return Error{errno, "cannot receive from the target"};
    }
  }
  return {};
}

Result<void> Stream::send(iscsi::Bhs bhs, ConstBytes data, Instant deadline) {
  bhs.data_segment_length.set(static_cast<uint32_t>(data.size()));
  std::vector<std::byte> wire(iscsi::kBhsBytes);
  store(wire, bhs);
  std::array<std::byte, iscsi::kDigestBytes> digest;
  if (header_digest_) {
    put_digest(digest, crc32c(wire));
    wire.insert(wire.end(), digest.begin(), digest.end());
  }
  if (!data.empty()) {
    const auto start = wire.size();
    wire.insert(wire.end(), data.begin(), data.end());
    wire.resize(wire.size() + iscsi::padding_of(static_cast<uint32_t>(data.size())));
    if (data_digest_) {
      put_digest(digest, crc32c(ConstBytes(wire).subspan(start)));
      wire.insert(wire.end(), digest.begin(), digest.end());
    }
  }
  return send_all(wire, deadline);
}

Result<Pdu> Stream::receive(Instant deadline) {
  Pdu pdu;
  std::array<std::byte, iscsi::kDigestBytes> digest;
  if (Result<void> got = receive_exact(bytes_of(pdu.bhs), deadline); !got) return got.error();
  if (pdu.bhs.total_ahs_length != 0) return Error{0, "the target sent a header with an AHS"};
  if (header_digest_) {
    if (Result<void> got = receive_exact(digest, deadline); !got) return got.error();
    if (get_digest(digest) != crc32c(bytes_of(pdu.bhs))) return Error{0, "header digest of a PDU is wrong"};
  }
  const uint32_t length = pdu.bhs.data_segment_length.get();
  if (length == 0) return pdu;
  pdu.data.resize(length + iscsi::padding_of(length));
  if (Result<void> got = receive_exact(pdu.data, deadline); !got) return got.error();
  if (data_digest_) {
    if (Result<void> got = receive_exact(digest, deadline); !got) return got.error();
    if (get_digest(digest) != crc32c(pdu.data)) return Error{0, "data digest of a PDU is wrong"};
  }
  pdu.data.resize(length);
  return pdu;
}

}  // namespace itgtd::bench
