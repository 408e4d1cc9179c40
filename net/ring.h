// One io_uring, owned by one thread: SINGLE_ISSUER | DEFER_TASKRUN, one submit-and-wait per turn.
//
// Each method queues one operation; nothing reaches the kernel before submit_and_wait(). Memory and message
// headers that an operation names are frozen until its last completion. When the submission queue is full it
// is flushed, so queueing never fails.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <span>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "net/op_id.h"

struct io_uring;
struct io_uring_sqe;

namespace itgtd::net {

/// One finished operation.
struct Completion {
  OpId op;
  int32_t result = 0;  ///< as the system call would return: a count, or -errno
  uint32_t flags = 0;

  /// After a receive: the socket holds more, so that the next one will not have to wait.
  [[nodiscard]] bool more_to_receive() const { return (flags & kSocketNonEmpty) != 0; }
  static constexpr uint32_t kSocketNonEmpty = 1U << 2;  ///< IORING_CQE_F_SOCK_NONEMPTY, since 5.19
};

/// How an operation is to be tried; a mask.
enum class Attempt : uint8_t {
  at_once = 0,     ///< during the submit, then when the descriptor is ready
  poll_first = 1,  ///< receive: not before the socket is readable; saves a try that is known to be in vain
  by_worker = 2,   ///< read and write: by a kernel worker; what to do after -EAGAIN (liburing issue 766)
};

struct RingOptions {
  uint32_t entries = 1024;  ///< submission queue; the completion queue has four times as many
  /// Kernel workers for what can't be done without blocking; who may keep many brings more (add_io_workers).
  uint32_t io_workers_max = 32;
};

class Ring {
 public:
  /// Must be called on the thread that will own the ring. Errors say what the kernel lacks
  /// (io_uring_disabled, seccomp, MEMLOCK).
  static Result<std::unique_ptr<Ring>> create(const RingOptions& options);
  /// Cancels what is still in flight and waits for its end, some seconds at the most: the memory that
  /// operations name, and the region, must outlive the ring. What was queued and not submitted is dropped.
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  /// Registers the data region as fixed buffers of 1 GiB each (the kernel's limit), so that read and write
  /// may use any part of it that does not cross a multiple of 1 GiB. Once. Raises RLIMIT_MEMLOCK where it
  /// may; refused all the same: returns the error, and reads and writes go on without it.
  Result<void> register_region(Bytes region);
  [[nodiscard]] bool region_registered() const;
  /// True when `buffer` lies in the registered region.
  [[nodiscard]] bool in_region(const std::byte* data, size_t bytes) const;

  /// The result is the connection's descriptor: close-on-exec, blocking (see net/socket.h).
  void accept(OpId op, int listener_fd);
  /// recvmsg
  void receive(OpId op, int fd, msghdr* message, int message_flags = 0, Attempt attempt = Attempt::at_once);
  void send(OpId op, int fd, msghdr* message);  ///< sendmsg with MSG_NOSIGNAL | MSG_WAITALL
  void shutdown(OpId op, int fd);               ///< both directions
  void close(OpId op, int fd);
  void poll_readable(OpId op, int fd);  ///< single shot
  /// Fixed when the buffer is in the region. May be short: never more than kTransferBytesMax at once.
  void read(OpId op, int fd, Bytes to, uint64_t offset, Attempt attempt = Attempt::at_once);
  /// Likewise; rw_flags: RWF_DSYNC
  void write(OpId op, int fd, ConstBytes from, uint64_t offset, int rw_flags,
             Attempt attempt = Attempt::at_once);
  void sync_data(OpId op, int fd);                                             ///< fdatasync
  void allocate(OpId op, int fd, int mode, uint64_t offset, uint64_t length);  ///< fallocate
  void nothing(OpId op);                                                       ///< completes with 0
  /// Changes the bound on kernel workers by `change`. They are shared by all that this ring does: whose
  /// operations may block for long brings as many as it may keep, and takes them away when it goes.
  void add_io_workers(int32_t change);
  /// Asks the kernel to end the operations with this id early; they complete with -ECANCELED (or as if
  /// nothing had been asked). The cancellation itself completes with kind cancel and op's slot.
  void cancel(OpId op);

  /// Operations that were queued and have not come back from submit_and_wait().
  [[nodiscard]] uint64_t in_flight() const;

  /// Submits what is queued, waits until something is finished or `deadline` has passed (Instant::max(): no
  /// deadline; one in the past: does not wait), and copies finished operations into `to`. Returns how many;
  /// the rest waits for the next call. May return 0 early (a signal came).
  size_t submit_and_wait(Instant deadline, std::span<Completion> to);

  /// Counters since start, for metrics and tests.
  struct Counters {
    uint64_t enters = 0;
    uint64_t submitted = 0;
    uint64_t completed = 0;
    uint64_t overflows = 0;  ///< turns on which the completion queue had been full; must stay 0
  };
  static constexpr size_t kTransferBytesMax = 0x7FFF'F000;  // MAX_RW_COUNT of Linux
  [[nodiscard]] const Counters& counters() const;

 private:
  Ring();
  io_uring_sqe* prepare(OpId op);
  void transfer(int opcode, io_uring_sqe* sqe, int fd, ConstBytes memory, uint64_t offset, Attempt attempt);
  Result<void> bound_io_workers();
  void enter(uint32_t completions_min, Instant deadline);
  size_t reap(std::span<Completion> to);

  struct Impl;  // keeps liburing out of everyone else's includes
  std::unique_ptr<Impl> impl_;
};

}  // namespace itgtd::net
