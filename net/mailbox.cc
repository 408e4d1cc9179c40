#include "net/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

namespace itgtd::net {

Result<WakeUp> WakeUp::create() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return Error{errno, "cannot make an eventfd"};
  return WakeUp(fd);
}

WakeUp::WakeUp(WakeUp&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

WakeUp& WakeUp::operator=(WakeUp&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

WakeUp::~WakeUp() {
  if (fd_ >= 0) ::close(fd_);
}

void WakeUp::signal() const {
  const eventfd_t one = 1;
  // EAGAIN: the counter is full, so the descriptor is readable as it should be.
  [[maybe_unused]] const ssize_t written = ::write(fd_, &one, sizeof one);
}

void WakeUp::clear() const {
  eventfd_t count = 0;
  // EAGAIN: it was not readable.
  [[maybe_unused]] const ssize_t got = ::read(fd_, &count, sizeof count);
}

}  // namespace itgtd::net
