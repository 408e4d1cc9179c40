// A library to preload under valgrind, whose io_uring_enter(2) holds the one lock that lets any thread run: a
// worker that waits in it stops all others for good (valgrind 3.19).
//
// Here a worker waits in poll(2) instead, which valgrind knows to block, on an eventfd that its ring signals.
// (Polling the ring itself does not tell of deferred work.) What is submitted and reaped per turn stays the
// same, and bench/instructions takes this library's own instructions off the result.

#include <linux/io_uring.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

int enter(unsigned fd, unsigned to_submit, unsigned flags) {
  const long result = syscall(SYS_io_uring_enter, fd, to_submit, 0U, flags, nullptr, size_t{_NSIG / 8});
  return result < 0 ? -errno : static_cast<int>(result);
}

/// The eventfd of the ring that this thread uses; a worker has one.
struct Signal {
  unsigned ring_fd = UINT32_MAX;
  int event_fd = -1;
};
thread_local Signal ring_signal;

int signal_of(unsigned fd) {
  if (ring_signal.ring_fd != fd) {
    ring_signal = {fd, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    syscall(SYS_io_uring_register, fd, IORING_REGISTER_EVENTFD, &ring_signal.event_fd, 1U);
  }
  return ring_signal.event_fd;
}

// A worker that misses a signal still goes on after this.
constexpr timespec kWaitMax{0, 100'000'000};

/// Waits until the ring has something to reap or deferred work to run, or the deadline has come.
void wait_for(int event_fd, unsigned flags, const void* argument) {
  pollfd entry{event_fd, POLLIN, 0};
  timespec timeout = kWaitMax;
  if ((flags & IORING_ENTER_EXT_ARG) != 0 && argument != nullptr) {
    io_uring_getevents_arg events;
    std::memcpy(&events, argument, sizeof events);
    static_assert(sizeof(timespec) == 16, "the kernel's timespec of two 64-bit numbers");
    const void* from = nullptr;
    std::memcpy(&from, &events.ts, sizeof from);
    if (from != nullptr) std::memcpy(&timeout, from, sizeof timeout);
    if (timeout.tv_sec > 0 || timeout.tv_nsec > kWaitMax.tv_nsec) timeout = kWaitMax;
  }
  ppoll(&entry, 1, &timeout, nullptr);
  uint64_t signals = 0;
  [[maybe_unused]] const ssize_t taken = read(event_fd, &signals, sizeof signals);
}

}  // namespace

extern "C" {

struct io_uring;

/// Not to be had: its number would stand for the ring in place of the descriptor. Callers go on without.
int io_uring_register_ring_fd(io_uring* /*ring*/) {
  return -EINVAL;
}

int io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
                    sigset_t* argument, size_t /*argument_bytes*/) {
  const unsigned plain = flags & ~IORING_ENTER_EXT_ARG;
  const int event_fd = signal_of(fd);
  const int submitted = enter(fd, to_submit, plain);
  if (min_complete == 0 || submitted < 0) return submitted;
  wait_for(event_fd, flags, argument);
  const int reaped = enter(fd, 0, plain);
  return reaped < 0 ? reaped : submitted;
}

}  // extern "C"
