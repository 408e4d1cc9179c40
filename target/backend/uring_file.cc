#include "target/backend/uring_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace itgtd::backend {
namespace {

using net::Attempt;
using scsi::Io;
using scsi::IoKind;

// Zeros and the aligned buffer: large enough that their count hardly matters, small enough to be had per LUN.
constexpr size_t kTransferMemoryBytes = 256 << 10;
// One fallocate: long ones keep a kernel worker, and nothing can cancel them.
constexpr uint64_t kRangeBytesMax = 64 << 20;
// A medium that may block brings the kernel workers that it can keep: an operation has one at most, and there
// is one fdatasync at a time.
constexpr int32_t kBlockingWorkers = UringFileBackend::kBlockingOpsMax + 1;
// -EAGAIN is a matter of moments; what does not end is an error.
constexpr uint8_t kRetriesMax = 32;

bool is_write(const Io& io) {
  return io.kind == IoKind::write || io.kind == IoKind::write_zeroes;
}

struct Extent {
  uint64_t end = 0;
  bool mapped = true;
};

/// The stretch that begins at `begin`, a multiple of `block_bytes`, and ends at `end` at the latest. A block
/// is mapped when any byte of it is.
Result<Extent> find_extent(int fd, uint64_t begin, uint64_t end, uint32_t block_bytes) {
  const auto seek = [fd](uint64_t from, int what) { return ::lseek(fd, static_cast<off_t>(from), what); };
  const off_t data = seek(begin, SEEK_DATA);
  if (data < 0 && errno == ENXIO) return Extent{end, false};  // none up to the end of the file
  if (data < 0 && errno == EINVAL) return Extent{end, true};  // a file system that does not tell
  if (data < 0) return Error{errno, "lseek"};
  const uint64_t hole_end = static_cast<uint64_t>(data) / block_bytes * block_bytes;
  if (hole_end > begin) return Extent{std::min(hole_end, end), false};
  const off_t hole = seek(static_cast<uint64_t>(data), SEEK_HOLE);
  if (hole < 0) return Error{errno, "lseek"};
  const uint64_t blocks = (static_cast<uint64_t>(hole) + block_bytes - 1) / block_bytes;
  return Extent{std::min(blocks * block_bytes, end), true};
}

}  // namespace

enum class UringFileBackend::Stage : uint8_t {
  queued,      ///< waiting, of a medium that may block, until the kernel has fewer
  transfer,    ///< straight between the medium and the command's memory
  bounce,      ///< through the aligned buffer, or waiting for it
  punch,       ///< fallocate, punching a hole
  zero_range,  ///< fallocate, zeroing
  zeros,       ///< writing zeros
  sync,        ///< in one of the two lists of the group
};

TransferMemory::TransferMemory(size_t size_bytes, bool writable) {
  void* memory = ::mmap(nullptr, size_bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();  // at start only
  bytes_ = {static_cast<std::byte*>(memory), size_bytes};
}

TransferMemory::~TransferMemory() {
  ::munmap(bytes_.data(), bytes_.size());
}

UringFileMedium::UringFileMedium(std::string path, int fd, const Facts& facts)
    : path_(std::move(path)), fd_(fd), facts_(facts), zeros_(kTransferMemoryBytes, false) {}

UringFileMedium::~UringFileMedium() {
  ::close(fd_);
}

Result<uint64_t> UringFileMedium::size_bytes() const {
  uint64_t size = 0;
  if (facts_.block_device) {
    if (::ioctl(fd_, BLKGETSIZE64, &size) != 0)
      return Error{errno, fmt::format("cannot get the size of \"{}\"", path_)};
    return size;
  }
  struct stat status {};
  if (::fstat(fd_, &status) != 0) return Error{errno, fmt::format("cannot get the size of \"{}\"", path_)};
  return static_cast<uint64_t>(status.st_size);
}

scsi::ThinUsage UringFileMedium::thin_usage() const {
  constexpr uint64_t kStatBlockBytes = 512;  // stat(2), st_blocks
  if (facts_.block_device || !facts_.geometry.thin) return {};
  struct stat status {};
  struct statvfs file_system {};
  if (::fstat(fd_, &status) != 0 || ::fstatvfs(fd_, &file_system) != 0) return {};
  const uint64_t block_bytes = facts_.geometry.block_bytes;
  return {.known = true,
          .used_blocks = static_cast<uint64_t>(status.st_blocks) * kStatBlockBytes / block_bytes,
          .available_blocks = uint64_t{file_system.f_bavail} * file_system.f_frsize / block_bytes};
}

Result<void> UringFileMedium::flush() {
  if (facts_.read_only || ::fdatasync(fd_) == 0) return {};
  const int error = errno;
  on_lost_writes();
  return Error{error, fmt::format("{} could not be flushed: what was written last may be lost", path_)};
}

std::unique_ptr<Backend> UringFileMedium::make_backend(net::Ring& ring, CompletedList& completed) {
  return std::make_unique<UringFileBackend>(shared_from_this(), ring, completed);
}

UringFileBackend::UringFileBackend(std::shared_ptr<UringFileMedium> medium, net::Ring& ring,
                                   CompletedList& completed)
    : medium_(std::move(medium)),
      ring_(ring),
      completed_(completed),
      bounce_memory_(kTransferMemoryBytes, true),
      can_punch_(medium_->facts().can_punch) {
  if (medium_->facts().may_block) ring_.add_io_workers(kBlockingWorkers);
}

UringFileBackend::~UringFileBackend() {
  if (medium_->facts().may_block) ring_.add_io_workers(-kBlockingWorkers);
}

void UringFileBackend::submit(BackendOp& op) {
  op.bytes_done = 0;
  op.retries = 0;
  const UringFileMedium::Facts& facts = medium_->facts();
  if (op.io.kind == IoKind::flush) {
    if (facts.durability == Durability::always) return complete(op, 0);
    return sync(op);
  }
  if (op.io.length_bytes == 0) return complete(op, 0);
  if (op.io.kind == IoKind::extent) return look_up_extent(op);
  if (facts.read_only && op.io.kind != IoKind::read) return complete(op, EROFS);
  if (facts.may_block) return admit(op);
  start(op);
}

void UringFileBackend::start(BackendOp& op) {
  if (op.io.kind == IoKind::unmap || op.io.kind == IoKind::write_zeroes) return change_range(op);
  transfer(op);
}

void UringFileBackend::on_completion(BackendOp& op, int32_t result) {
  if (result == -EAGAIN || result == -EINTR) return reissue(op, -result);
  switch (static_cast<Stage>(op.stage)) {
    case Stage::queued:
      return;  // the kernel does not have it
    case Stage::transfer:
    case Stage::bounce:
    case Stage::zeros:
      return result < 0 ? complete(op, -result) : on_transferred(op, static_cast<uint32_t>(result));
    case Stage::punch:
    case Stage::zero_range:
      return on_range_changed(op, result < 0 ? -result : 0);
    case Stage::sync:
      return on_synced(op, result < 0 ? -result : 0);
  }
}

void UringFileBackend::admit(BackendOp& op) {
  if (blocking_ops_ == kBlockingOpsMax) {
    op.stage = static_cast<uint8_t>(Stage::queued);
    queued_.push_back(op);
    return;
  }
  op.may_block = true;
  ++blocking_ops_;
  start(op);
}

// `op`, which had been admitted, is over: others may have its place.
void UringFileBackend::leave(BackendOp& op) {
  op.may_block = false;
  --blocking_ops_;
  if (std::exchange(starting_queued_, true)) return;
  while (blocking_ops_ < kBlockingOpsMax && !queued_.empty()) admit(*queued_.pop_front());
  starting_queued_ = false;
}

void UringFileBackend::cancel(BackendOp& op) {
  if (static_cast<Stage>(op.stage) != Stage::queued || !static_cast<ListLink<WaitingTag>&>(op).linked())
    return ring_.cancel(op.op);
  queued_.remove(op);
  complete(op, ECANCELED);
}

bool UringFileBackend::is_aligned(const BackendOp& op) const {
  return std::bit_cast<uintptr_t>(op.io.data) % medium_->facts().memory_alignment == 0;
}

// At once and on this thread: io_uring has no lseek. The kernel answers from the extents of the inode, in
// memory but for the first time, and a command asks for a few of them at a time, so that the worker does not
// stay here. The file offset that it moves is nobody's: all transfers name theirs.
void UringFileBackend::look_up_extent(BackendOp& op) {
  const uint64_t begin = op.io.offset_bytes;
  const uint64_t end = begin + op.io.length_bytes;
  op.bytes_done = op.io.length_bytes;
  // Of a block device only itself knows.
  if (medium_->facts().block_device) return complete(op, 0);
  const Result<Extent> extent = find_extent(medium_->fd(), begin, end, medium_->facts().geometry.block_bytes);
  if (!extent) {
    op.bytes_done = 0;
    return complete(op, extent.error().code);
  }
  op.bytes_done = extent->end - begin;
  complete(op, 0);
  op.result.mapped = extent->mapped;
}

// Reads or writes what is left.
void UringFileBackend::transfer(BackendOp& op) {
  if (!is_aligned(op)) return bounce(op);
  op.stage = static_cast<uint8_t>(Stage::transfer);
  reissue_with(op, Attempt::at_once);
}

void UringFileBackend::bounce(BackendOp& op) {
  op.stage = static_cast<uint8_t>(Stage::bounce);
  if (bounce_user_ != nullptr && bounce_user_ != &op) {
    bounce_waiting_.push_back(op);
    return;
  }
  bounce_user_ = &op;
  ++counters_.bounces;
  if (op.io.kind == IoKind::write) {
    const size_t part = std::min(op.io.length_bytes - op.bytes_done, bounce_memory_.bytes().size());
    std::memcpy(bounce_memory_.bytes().data(), op.io.data + op.bytes_done, part);
  }
  reissue_with(op, Attempt::at_once);
}

// Hands the present part of `op` to the ring, for the first time or again.
void UringFileBackend::reissue_with(BackendOp& op, Attempt attempt) {
  const Io& io = op.io;
  const uint64_t offset = io.offset_bytes + op.bytes_done;
  const uint64_t left = io.length_bytes - op.bytes_done;
  const bool durable = io.force_unit_access && medium_->facts().durability == Durability::with_write;
  const int flags = durable ? RWF_DSYNC : 0;
  const int fd = medium_->fd();
  switch (static_cast<Stage>(op.stage)) {
    case Stage::queued:
      return;
    case Stage::transfer:
    case Stage::bounce: {
      const bool bouncing = op.stage == static_cast<uint8_t>(Stage::bounce);
      const Bytes memory = bouncing
                               ? bounce_memory_.bytes().first(std::min(left, bounce_memory_.bytes().size()))
                               : Bytes(io.data + op.bytes_done, left);
      if (io.kind == IoKind::read) return ring_.read(op.op, fd, memory, offset, attempt);
      return ring_.write(op.op, fd, memory, offset, flags, attempt);
    }
    case Stage::zeros: {
      const ConstBytes zeros = medium_->zeros();
      return ring_.write(op.op, fd, zeros.first(std::min(left, zeros.size())), offset, flags, attempt);
    }
    case Stage::punch:
    case Stage::zero_range: {
      const bool punching = op.stage == static_cast<uint8_t>(Stage::punch);
      const int mode = (punching ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
      return ring_.allocate(op.op, fd, mode, offset, range_part(op));
    }
    case Stage::sync:
      return ring_.sync_data(op.op, fd);
  }
}

// Parts end at multiples of the maximum, so that the granularity of the medium is not cut.
uint64_t UringFileBackend::range_part(const BackendOp& op) {
  const uint64_t offset = op.io.offset_bytes + op.bytes_done;
  return std::min(op.io.length_bytes - op.bytes_done, kRangeBytesMax - offset % kRangeBytesMax);
}

void UringFileBackend::reissue(BackendOp& op, int error) {
  if (op.retries == kRetriesMax) {
    if (op.stage == static_cast<uint8_t>(Stage::sync)) return on_synced(op, error);
    return complete(op, error);
  }
  ++op.retries;
  ++counters_.retries;
  // Direct I/O that the kernel had to split may answer -EAGAIN for good to a try that must not block
  // (liburing issue 766): a kernel worker may block.
  reissue_with(op, error == EAGAIN ? Attempt::by_worker : Attempt::at_once);
}

void UringFileBackend::on_transferred(BackendOp& op, uint32_t bytes) {
  // Nothing: the medium ends here, before the capacity that we announced. The rest of the buffer is not data.
  if (bytes == 0) return complete(op, EIO);
  if (op.stage == static_cast<uint8_t>(Stage::bounce) && op.io.kind == IoKind::read) {
    std::memcpy(op.io.data + op.bytes_done, bounce_memory_.bytes().data(), bytes);
  }
  op.bytes_done += bytes;
  op.retries = 0;
  if (op.bytes_done == op.io.length_bytes) return after_last_byte(op);
  // Direct I/O is short of a whole block only where the medium ends.
  if (op.bytes_done % medium_->facts().transfer_alignment != 0) return complete(op, EIO);
  switch (static_cast<Stage>(op.stage)) {
    case Stage::transfer:
      return transfer(op);
    case Stage::bounce:
      return bounce(op);
    default:
      return reissue_with(op, Attempt::at_once);
  }
}

// Unmaps or zeroes what is left, in the best way that is still believed to work.
void UringFileBackend::change_range(BackendOp& op) {
  if (op.io.kind == IoKind::write_zeroes && can_zero_range_) {
    op.stage = static_cast<uint8_t>(Stage::zero_range);
  } else if (can_punch_) {
    op.stage = static_cast<uint8_t>(Stage::punch);
  } else {
    return change_range_by_hand(op);
  }
  reissue_with(op, Attempt::at_once);
}

void UringFileBackend::change_range_by_hand(BackendOp& op) {
  if (op.io.kind == IoKind::unmap && !medium_->facts().geometry.unmapped_reads_zero) {
    // A hint that this medium has no use for: what is there stays.
    op.bytes_done = op.io.length_bytes;
    return complete(op, 0);
  }
  op.stage = static_cast<uint8_t>(Stage::zeros);
  reissue_with(op, Attempt::at_once);
}

void UringFileBackend::on_range_changed(BackendOp& op, int error) {
  if (error == 0) {
    op.bytes_done += range_part(op);
    op.retries = 0;
    if (op.bytes_done == op.io.length_bytes) return after_last_byte(op);
    return reissue_with(op, Attempt::at_once);
  }
  if (error == EOPNOTSUPP || error == ENODEV) {
    (op.stage == static_cast<uint8_t>(Stage::punch) ? can_punch_ : can_zero_range_) = false;
    return change_range(op);
  }
  // This range does not suit the device, as with logical blocks smaller than its own.
  if (error == EINVAL) return change_range_by_hand(op);
  complete(op, error);
}

// All of it has been transferred or changed: what is left is to make it durable.
void UringFileBackend::after_last_byte(BackendOp& op) {
  const Durability durability = medium_->facts().durability;
  if (!is_write(op.io) || !op.io.force_unit_access || durability == Durability::always)
    return complete(op, 0);
  const bool by_fallocate =
      op.stage == static_cast<uint8_t>(Stage::punch) || op.stage == static_cast<uint8_t>(Stage::zero_range);
  if (durability == Durability::with_write && !by_fallocate) {
    return complete(op, medium_->has_lost_writes() ? EIO : 0);
  }
  release_bounce(op);
  sync(op);
}

void UringFileBackend::sync(BackendOp& op) {
  op.stage = static_cast<uint8_t>(Stage::sync);
  sync_next_.push_back(op);
  if (sync_running_.empty()) start_sync();
}

void UringFileBackend::start_sync() {
  while (BackendOp* op = sync_next_.pop_front()) sync_running_.push_back(*op);
  ++counters_.syncs;
  reissue_with(*sync_running_.front(), Attempt::at_once);
}

void UringFileBackend::on_synced(BackendOp& leader, int error) {
  ITGTD_ASSERT(sync_running_.front() == &leader);
  if (error == ECANCELED) {
    // Only the leader was meant; the others are flushed with those that came since.
    sync_running_.remove(leader);
    complete(leader, error);
    while (BackendOp* op = sync_running_.pop_front()) sync_next_.push_back(*op);
  } else {
    const UringFileMedium::Facts& facts = medium_->facts();
    if (error != 0 && !(facts.block_device && facts.direct)) medium_->on_lost_writes();
    if (error == 0 && medium_->has_lost_writes()) error = EIO;
    while (BackendOp* op = sync_running_.pop_front()) complete(*op, error);
  }
  if (!sync_next_.empty()) start_sync();
}

void UringFileBackend::release_bounce(BackendOp& op) {
  if (bounce_user_ != &op) return;
  bounce_user_ = nullptr;
  if (BackendOp* next = bounce_waiting_.pop_front()) bounce(*next);
}

void UringFileBackend::complete(BackendOp& op, int error) {
  release_bounce(op);
  op.result = {error, op.bytes_done};
  completed_.push_back(op);
  if (op.may_block) [[unlikely]]
    leave(op);
}

}  // namespace itgtd::backend
