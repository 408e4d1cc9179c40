// How a path becomes a UringFileMedium: what it is, whether direct I/O suits, and how it gets durable.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <filesystem>

#include "base/descriptor.h"
#include "target/backend/block_queue.h"
#include "target/backend/uring_file.h"

namespace itgtd::backend {
namespace {

using Facts = UringFileMedium::Facts;
using Thin = MediumOptions::Thin;

// Where neither the kernel nor the device tells: a page suits everything that has direct I/O at all.
constexpr uint32_t kCautiousAlignment = 4096;
constexpr uint32_t kFilePhysicalBytes = 4096;

std::string parent_of(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

Error cannot(const char* verb, const MediumOptions& options, int error, const std::string& advice) {
  return {error, fmt::format("cannot {} \"{}\"{}{}", verb, options.path, advice.empty() ? "" : "; ", advice)};
}

std::string open_advice(const MediumOptions& options, int error) {
  switch (error) {
    case ENOENT:
      return options.path.starts_with("/dev/")
                 ? "there is no such device: is it set up, and its driver loaded?"
                 : "there is no such file: check the path, or let it be made with create = \"SIZE\"";
    case EPERM:
      return "a mounted device may not be written, nor one that this user has no right to";
    case EACCES:
      return "the daemon's user may not; where the device itself is read-only, set read_only = true";
    case EROFS:
      return "it can only be read: set read_only = true";
    case EBUSY:
      return "it is in use: mounted, a part of LVM or RAID, or opened by another program";
    case EMEDIUMTYPE:
      return "DRBD is Secondary here: promote it (drbdadm primary)";
    case ENXIO:
    case ENODEV:
    case ENOMEDIUM:
      return "the device is there, but has no disk behind it";
    default:
      return {};
  }
}

// Makes the file when it is absent. What is there stays as it is, whatever its size.
Result<void> create_file(const MediumOptions& options) {
  const Descriptor fd(::open(options.path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (fd.get() < 0) {
    const int error = errno;
    if (error == EEXIST) return {};
    const std::string parent = parent_of(options.path);
    if (error == ENOENT)
      return cannot("create", options, error, fmt::format("make the directory \"{}\" first", parent));
    if (error == EACCES)
      return cannot("create", options, error, fmt::format("\"{}\" is not writable", parent));
    return cannot("create", options, error, {});
  }
  if (::ftruncate(fd.get(), static_cast<off_t>(options.create_bytes)) != 0) {
    const int error = errno;
    ::unlink(options.path.c_str());
    return cannot("create", options, error,
                  fmt::format("the file system does not take a file of {} bytes", options.create_bytes));
  }
  return {};
}

// Nobody else is to write what we serve. A file system without locks is taken as it is.
// A lock of a file that nodes share may reach across them, and the owner that has just lost the group may
// hang: it holds what it has until its process ends.
Result<void> claim_file(int fd, const MediumOptions& options) {
  if (::flock(fd, (options.read_only || options.shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 ||
      errno != EWOULDBLOCK)
    return {};
  return cannot("open", options, EBUSY,
                "it is served already, by this itgtd or another program that locks it");
}

struct Alignment {
  uint32_t memory = 0;
  uint32_t transfer = 0;  // 0: no direct I/O
};

Alignment direct_alignment(int fd, bool block_device, uint32_t sector_bytes) {
  struct statx status {};
  // kernel 6.1: STATX_DIOALIGN.
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
      (status.stx_mask & STATX_DIOALIGN) != 0) {
    return {std::max(status.stx_dio_mem_align, 1U), status.stx_dio_offset_align};
  }
  if (block_device) return {std::max(sector_bytes, 512U), sector_bytes};
  return {kCautiousAlignment, kCautiousAlignment};
}

// What the kernel says is tried, too: a read of the first block.
bool direct_read_works(int fd, uint32_t block_bytes) {
  const TransferMemory memory(std::max(block_bytes, kCautiousAlignment), true);
  return ::pread(fd, memory.bytes().data(), block_bytes, 0) == static_cast<ssize_t>(block_bytes);
}

// True when the medium can't be read without blocking (no NOWAIT: DRBD; md and dm of some kernels). io_uring
// hands each transfer of such a medium to a kernel worker.
bool submission_may_block(int fd, uint32_t block_bytes) {
  const TransferMemory memory(std::max(block_bytes, kCautiousAlignment), true);
  const iovec piece{memory.bytes().data(), block_bytes};
  return ::preadv2(fd, &piece, 1, 0, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP;
}

// Turns direct I/O on where it suits logical blocks of this size.
void decide_direct(int fd, uint32_t block_bytes, uint32_t sector_bytes, Facts& facts) {
  const Alignment alignment = direct_alignment(fd, facts.block_device, sector_bytes);
  if (alignment.transfer == 0 || block_bytes % alignment.transfer != 0) return;
  const int flags = ::fcntl(fd, F_GETFL);
  if (::fcntl(fd, F_SETFL, flags | O_DIRECT) != 0) return;  // EINVAL: not on this file system
  if (!direct_read_works(fd, block_bytes)) {
    ::fcntl(fd, F_SETFL, flags);
    return;
  }
  facts.direct = true;
  facts.memory_alignment = alignment.memory;
  facts.transfer_alignment = alignment.transfer;
  facts.may_block = submission_may_block(fd, block_bytes);
}

void set_physical_block(const MediumOptions& options, uint32_t medium_says, scsi::Geometry& geometry) {
  const uint32_t physical = options.physical_block_bytes != 0 ? options.physical_block_bytes : medium_says;
  if (physical <= options.block_bytes || !std::has_single_bit(physical)) return;
  geometry.physical_block_exponent = static_cast<uint8_t>(std::countr_zero(physical / options.block_bytes));
}

void set_thin(const MediumOptions& options, uint64_t granularity_bytes, Facts& facts) {
  if (options.thin == Thin::off || options.read_only) return;
  scsi::Geometry& geometry = facts.geometry;
  geometry.thin = facts.can_punch || options.thin == Thin::on;
  // Holes read as zeros (fallocate(2)), of files and of devices; without them, UNMAP is a hint that we
  // ignore.
  geometry.unmapped_reads_zero = facts.can_punch;
  if (geometry.thin) {
    geometry.unmap_granularity_bytes = static_cast<uint32_t>(std::min<uint64_t>(granularity_bytes, 1U << 30));
  }
}

Result<Facts> look_at_device(int fd, const MediumOptions& options, dev_t device) {
  Facts facts;
  facts.block_device = true;
  facts.read_only = options.read_only;
  facts.geometry.block_bytes = options.block_bytes;
  int sector_bytes = 0;
  unsigned physical_bytes = 0;
  unsigned optimal_bytes = 0;
  int alignment_offset = 0;
  if (::ioctl(fd, BLKSSZGET, &sector_bytes) != 0) {
    return cannot("open", options, errno, "it does not tell its block size");
  }
  ::ioctl(fd, BLKPBSZGET, &physical_bytes);
  ::ioctl(fd, BLKIOOPT, &optimal_bytes);
  ::ioctl(fd, BLKALIGNOFF, &alignment_offset);
  decide_direct(fd, options.block_bytes, static_cast<uint32_t>(sector_bytes), facts);
  set_physical_block(options, physical_bytes, facts.geometry);
  if (alignment_offset > 0) {
    facts.geometry.lowest_aligned_lba =
        static_cast<uint16_t>(static_cast<uint32_t>(alignment_offset) / options.block_bytes);
  }
  facts.geometry.optimal_transfer_bytes = optimal_bytes;
  const BlockQueue queue = read_block_queue(device);
  facts.geometry.rotation_rate = queue.rotational ? 0 : 1;
  // The page cache is volatile whatever the device says.
  if (facts.direct && queue.write_through) {
    facts.durability = Durability::always;
  } else if (facts.direct && queue.fua) {
    facts.durability = Durability::with_write;
  }
  // Punching a hole into a device is WRITE ZEROES that may unmap: without that command the kernel refuses.
  facts.can_punch = !options.read_only && queue.discard_bytes_max > 0 && queue.write_zeroes_bytes_max > 0;
  set_thin(options, std::max<uint64_t>(queue.discard_granularity_bytes, options.block_bytes), facts);
  return facts;
}

Result<Facts> look_at_file(int fd, const MediumOptions& options, const struct stat& status) {
  Facts facts;
  facts.read_only = options.read_only;
  facts.geometry.block_bytes = options.block_bytes;
  decide_direct(fd, options.block_bytes, 0, facts);
  set_physical_block(options, kFilePhysicalBytes, facts.geometry);
  // Through the page cache a file is made durable by fdatasync, which tells of what writeback lost.
  facts.durability = facts.direct ? Durability::with_write : Durability::after_write;
  // A hole behind the end changes nothing, and tells whether the file system has them.
  facts.can_punch = !options.read_only && ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                                      status.st_size, kCautiousAlignment) == 0;
  set_thin(options, std::max<uint64_t>(static_cast<uint64_t>(status.st_blksize), options.block_bytes), facts);
  return facts;
}

}  // namespace

Result<std::shared_ptr<Medium>> UringFileMedium::open(const MediumOptions& options) {
  if (options.create_bytes != 0 && !options.read_only) {
    if (const auto created = create_file(options); !created) return created.error();
  }
  struct stat status {};
  if (::stat(options.path.c_str(), &status) != 0) {
    const int error = errno;
    return cannot("open", options, error, open_advice(options, error));
  }
  const bool block_device = S_ISBLK(status.st_mode);
  // Opening anything else may block for ever, as a pipe does.
  if (!block_device && !S_ISREG(status.st_mode)) {
    return cannot("open", options, 0, "want a block device or a file");
  }
  int flags = O_CLOEXEC | (options.read_only ? O_RDONLY : O_RDWR);
  // On a block device without O_CREAT: refused while it is mounted or a part of something else, open(2).
  if (block_device && !options.read_only) flags |= O_EXCL;
  Descriptor fd(::open(options.path.c_str(), flags));
  if (fd.get() < 0) {
    const int error = errno;
    return cannot("open", options, error, open_advice(options, error));
  }
  if (!block_device) {
    if (const auto claimed = claim_file(fd.get(), options); !claimed) return claimed.error();
  }
  const auto facts = block_device ? look_at_device(fd.get(), options, status.st_rdev)
                                  : look_at_file(fd.get(), options, status);
  if (!facts) return facts.error();
  auto medium = std::make_shared<UringFileMedium>(options.path, fd.release(), *facts.operator->());
  const auto size = medium->size_bytes();
  if (!size) return size.error();
  if (size.value() < options.block_bytes) {
    return cannot("open", options, 0,
                  fmt::format("its {} bytes have no room for one block of {} bytes", size.value(),
                              options.block_bytes));
  }
  return std::shared_ptr<Medium>(std::move(medium));
}

}  // namespace itgtd::backend
