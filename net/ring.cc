#include "net/ring.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <vector>

#include "base/assert.h"

namespace itgtd::net {
namespace {

static_assert(Completion::kSocketNonEmpty == IORING_CQE_F_SOCK_NONEMPTY);

constexpr uint32_t kCompletionsPerSubmission = 4;
constexpr size_t kRegisteredEntryBytesMax = size_t{1}
                                            << 30;  // io_uring_register(2): at most 1 GiB per buffer
constexpr auto kTeardownPatience = std::chrono::seconds(5);
// ext-arg and register calls take addresses as integers.
uint64_t as_integer(const void* pointer) {
  return std::bit_cast<uintptr_t>(pointer);
}

bool wants(Attempt attempt, Attempt what) {
  return (static_cast<uint8_t>(attempt) & static_cast<uint8_t>(what)) != 0;
}

char io_uring_disabled() {
  const int fd = ::open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return '0';
  char value = '0';
  [[maybe_unused]] const ssize_t got = ::read(fd, &value, 1);
  ::close(fd);
  return value;
}

Error setup_error(int error) {
  switch (error) {
    case ENOSYS:
      return {error, "this kernel has no io_uring; itgtd needs Linux 6.1 or later"};
    case EINVAL:
      return {error, "this kernel's io_uring is too old (no DEFER_TASKRUN); itgtd needs Linux 6.1 or later"};
    case EPERM:
    case EACCES:
      if (const char value = io_uring_disabled(); value != '0') {
        return {error, fmt::format("io_uring is off: kernel.io_uring_disabled is {}; set it to 0 (sysctl -w "
                                   "kernel.io_uring_disabled=0), or run as root where it is 1",
                                   value)};
      }
      return {error,
              "io_uring is forbidden here; a container's seccomp profile must allow io_uring_setup, "
              "io_uring_enter and io_uring_register"};
    case ENOMEM:
      return {error,
              "no memory for an io_uring; free some, or raise the limit on locked memory (ulimit -l, "
              "LimitMEMLOCK=)"};
    case EMFILE:
    case ENFILE:
      return {error, "too many open files for an io_uring; raise the limit (ulimit -n, LimitNOFILE=)"};
    default:
      return {error, "cannot make an io_uring"};
  }
}

void raise_memory_lock_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return;
  const rlimit none{RLIM_INFINITY, RLIM_INFINITY};
  if (::setrlimit(RLIMIT_MEMLOCK, &none) == 0) return;  // needs CAP_SYS_RESOURCE
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_MEMLOCK, &limit);
}

}  // namespace

struct Ring::Impl {
  io_uring ring{};
  bool made = false;
  uint32_t enter_flags = 0;
  uint32_t io_workers_max = 0;
  Bytes region;  // empty: not registered
  Counters counters;
};

Ring::Ring() : impl_(std::make_unique<Impl>()) {}

Result<std::unique_ptr<Ring>> Ring::create(const RingOptions& options) {
  std::unique_ptr<Ring> self(new Ring);
  Impl& impl = *self->impl_;
  io_uring_params params{};
  // SUBMIT_ALL: one bad entry completes with its error and does not hold up those behind it.
  params.flags =
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
  params.cq_entries = options.entries * kCompletionsPerSubmission;
  int made = io_uring_queue_init_params(options.entries, &impl.ring, &params);
  if (made == -ENOMEM) {
    // kernel 6.14: the queues count as locked memory.
    raise_memory_lock_limit();
    made = io_uring_queue_init_params(options.entries, &impl.ring, &params);
  }
  if (made < 0) return setup_error(-made);
  impl.made = true;
  impl.io_workers_max = options.io_workers_max;
  if (const auto bounded = self->bound_io_workers(); !bounded) return bounded.error();
  // Saves a descriptor look-up per enter; without it everything works.
  if (io_uring_register_ring_fd(&impl.ring) == 1) impl.enter_flags = IORING_ENTER_REGISTERED_RING;
  return self;
}

Ring::~Ring() {
  if (!impl_->made) return;
  io_uring_sq& sq = impl_->ring.sq;
  sq.sqe_tail = sq.sqe_head = *sq.ktail;
  if (in_flight() > 0) {
    io_uring_prep_cancel64(prepare({OpKind::cancel, {}}), 0,
                           IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    std::array<Completion, 64> dropped;
    const Instant deadline = now() + kTeardownPatience;
    while (in_flight() > 0 && now() < deadline) submit_and_wait(deadline, dropped);
  }
  io_uring_queue_exit(&impl_->ring);
}

Result<void> Ring::register_region(Bytes region) {
  ITGTD_ASSERT(!region_registered());
  std::vector<iovec> entries;
  for (size_t at = 0; at < region.size(); at += kRegisteredEntryBytesMax) {
    entries.push_back({region.data() + at, std::min(kRegisteredEntryBytesMax, region.size() - at)});
  }
  const auto count = static_cast<unsigned>(entries.size());
  int error = io_uring_register_buffers(&impl_->ring, entries.data(), count);
  if (error == -ENOMEM) {
    raise_memory_lock_limit();
    error = io_uring_register_buffers(&impl_->ring, entries.data(), count);
  }
  if (error < 0) {
    return Error{-error,
                 fmt::format("cannot register {} MiB with io_uring, so disk transfers cost more; raise the "
                             "limit on locked memory (ulimit -l, LimitMEMLOCK=infinity)",
                             region.size() >> 20)};
  }
  impl_->region = region;
  return {};
}

// What blocks goes to kernel workers; unbounded, a slow disk makes thousands of them (liburing issues 1466,
// 1568).
Result<void> Ring::bound_io_workers() {
  std::array<unsigned, 2> workers_max = {impl_->io_workers_max, impl_->io_workers_max};
  const int error = io_uring_register_iowq_max_workers(&impl_->ring, workers_max.data());
  if (error < 0) return Error{-error, "cannot bound the kernel workers of an io_uring"};
  return {};
}

void Ring::add_io_workers(int32_t change) {
  impl_->io_workers_max += static_cast<uint32_t>(change);
  // It worked when the ring was made, and nothing in it can fail since.
  ITGTD_ASSERT(bound_io_workers().ok());
}

bool Ring::region_registered() const {
  return !impl_->region.empty();
}

bool Ring::in_region(const std::byte* data, size_t bytes) const {
  const Bytes& region = impl_->region;
  const uint64_t offset = as_integer(data) - as_integer(region.data());  // below the start: wraps to huge
  return offset < region.size() && bytes <= region.size() - offset;
}

void Ring::accept(OpId op, int listener_fd) {
  io_uring_prep_accept(prepare(op), listener_fd, nullptr, nullptr, SOCK_CLOEXEC);
}

void Ring::receive(OpId op, int fd, msghdr* message, int message_flags, Attempt attempt) {
  io_uring_sqe* sqe = prepare(op);
  io_uring_prep_recvmsg(sqe, fd, message, static_cast<unsigned>(message_flags));
  if (wants(attempt, Attempt::poll_first)) sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
}

void Ring::send(OpId op, int fd, msghdr* message) {
  // WAITALL: the kernel goes on after a short send. Still, a short result must be handled (liburing issue
  // 1337).
  io_uring_prep_sendmsg(prepare(op), fd, message, MSG_NOSIGNAL | MSG_WAITALL);
}

void Ring::shutdown(OpId op, int fd) {
  io_uring_prep_shutdown(prepare(op), fd, SHUT_RDWR);
}

void Ring::close(OpId op, int fd) {
  io_uring_prep_close(prepare(op), fd);
}

void Ring::poll_readable(OpId op, int fd) {
  io_uring_prep_poll_add(prepare(op), fd, POLLIN);
}

void Ring::transfer(int opcode, io_uring_sqe* sqe, int fd, ConstBytes memory, uint64_t offset,
                    Attempt attempt) {
  const bool is_read = opcode == IORING_OP_READ;
  const size_t bytes = std::min(memory.size(), kTransferBytesMax);
  bool fixed = false;
  uint64_t entry = 0;
  if (in_region(memory.data(), bytes)) {
    const uint64_t at = as_integer(memory.data()) - as_integer(impl_->region.data());
    entry = at / kRegisteredEntryBytesMax;
    fixed = (at + bytes - 1) / kRegisteredEntryBytesMax == entry;
  }
  if (fixed) opcode = is_read ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
  io_uring_prep_rw(opcode, sqe, fd, memory.data(), static_cast<unsigned>(bytes), offset);
  if (fixed) sqe->buf_index = static_cast<uint16_t>(entry);
  if (wants(attempt, Attempt::by_worker)) sqe->flags |= IOSQE_ASYNC;
}

void Ring::read(OpId op, int fd, Bytes to, uint64_t offset, Attempt attempt) {
  transfer(IORING_OP_READ, prepare(op), fd, to, offset, attempt);
}

void Ring::write(OpId op, int fd, ConstBytes from, uint64_t offset, int rw_flags, Attempt attempt) {
  io_uring_sqe* sqe = prepare(op);
  transfer(IORING_OP_WRITE, sqe, fd, from, offset, attempt);
  sqe->rw_flags = rw_flags;
}

void Ring::sync_data(OpId op, int fd) {
  io_uring_prep_fsync(prepare(op), fd, IORING_FSYNC_DATASYNC);
}

void Ring::allocate(OpId op, int fd, int mode, uint64_t offset, uint64_t length) {
  io_uring_prep_fallocate(prepare(op), fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length));
}

void Ring::nothing(OpId op) {
  io_uring_prep_nop(prepare(op));
}

void Ring::cancel(OpId op) {
  io_uring_prep_cancel64(prepare({OpKind::cancel, op.slot}), op.pack(), IORING_ASYNC_CANCEL_ALL);
}

io_uring_sqe* Ring::prepare(OpId op) {
  io_uring_sqe* sqe = io_uring_get_sqe(&impl_->ring);
  while (sqe == nullptr) [[unlikely]] {
      enter(0, Instant::min());
      sqe = io_uring_get_sqe(&impl_->ring);
    }
  // The prep functions of liburing leave user_data alone, so it may be set before them.
  sqe->user_data = op.pack();
  return sqe;
}

uint64_t Ring::in_flight() const {
  const io_uring_sq& sq = impl_->ring.sq;
  return impl_->counters.submitted - impl_->counters.completed + (sq.sqe_tail - *sq.khead);
}

void Ring::enter(uint32_t completions_min, Instant deadline) {
  io_uring_sq& sq = impl_->ring.sq;
  // What io_uring_submit() does with these, without its second look at the completion queue.
  sq.sqe_head = sq.sqe_tail;
  io_uring_smp_store_release(sq.ktail, sq.sqe_tail);
  const uint32_t to_submit = sq.sqe_tail - *sq.khead;
  // GETEVENTS always: deferred task work runs in no other place.
  uint32_t flags = IORING_ENTER_GETEVENTS | impl_->enter_flags;
  __kernel_timespec timeout{};
  io_uring_getevents_arg argument{};
  void* argument_pointer = nullptr;
  size_t argument_bytes = _NSIG / 8;
  if (completions_min > 0 && deadline != Instant::max()) {
    const Instant present = now();
    if (deadline <= present) {
      completions_min = 0;
    } else {
      const Duration left = deadline - present;
      timeout.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(left).count();
      timeout.tv_nsec = (left % std::chrono::seconds(1)).count();
      argument.ts = as_integer(&timeout);
      argument_pointer = &argument;
      argument_bytes = sizeof argument;
      flags |= IORING_ENTER_EXT_ARG;
    }
  }
  const auto fd = static_cast<unsigned>(impl_->ring.enter_ring_fd);
  const int result = io_uring_enter2(fd, to_submit, completions_min, flags,
                                     static_cast<sigset_t*>(argument_pointer), argument_bytes);
  ++impl_->counters.enters;
  if (result > 0) impl_->counters.submitted += static_cast<uint32_t>(result);
  // ETIME: the deadline. EINTR: a signal. EAGAIN, EBUSY: short of memory or of room for completions. EBADR:
  // it lost one for lack of memory, and says so by koverflow. In all of them the next turn goes on.
  ITGTD_ASSERT(result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN || result == -EBUSY ||
               result == -EBADR);
}

size_t Ring::reap(std::span<Completion> to) {
  io_uring_cq& cq = impl_->ring.cq;
  const uint32_t head = *cq.khead;
  const uint32_t ready = io_uring_smp_load_acquire(cq.ktail) - head;
  const auto count = static_cast<uint32_t>(std::min<size_t>(ready, to.size()));
  for (uint32_t i = 0; i < count; ++i) {
    const io_uring_cqe& cqe = cq.cqes[(head + i) & cq.ring_mask];
    to[i] = {OpId::unpack(cqe.user_data), cqe.res, cqe.flags};
  }
  io_uring_smp_store_release(cq.khead, head + count);
  impl_->counters.completed += count;
  return count;
}

size_t Ring::submit_and_wait(Instant deadline, std::span<Completion> to) {
  const io_uring_cq& cq = impl_->ring.cq;
  const uint32_t ready = io_uring_smp_load_acquire(cq.ktail) - *cq.khead;
  const bool nothing_to_submit = impl_->ring.sq.sqe_tail == *impl_->ring.sq.khead;
  if (ready < to.size() || !nothing_to_submit) {
    if ((IO_URING_READ_ONCE(*impl_->ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW) != 0)
      ++impl_->counters.overflows;
    enter(ready == 0 ? 1 : 0, deadline);
  }
  return reap(to);
}

const Ring::Counters& Ring::counters() const {
  return impl_->counters;
}

}  // namespace itgtd::net
