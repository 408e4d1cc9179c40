#include "target/backend/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

namespace itgtd::backend {
namespace {

constexpr size_t kPageBytes = 4096;
// What one turn may clear: a few milliseconds at the most, in which the worker serves nobody else.
constexpr uint64_t kClearBytesMax = 16 << 20;

// What reads of a null medium are answered with. Reads beyond this are cleared in their own memory.
constexpr std::array<std::byte, size_t{256} << 10> kZeros{};

scsi::Geometry memory_geometry(const MediumOptions& options) {
  scsi::Geometry geometry;
  geometry.block_bytes = options.block_bytes;
  const uint32_t physical = std::max(options.physical_block_bytes, options.block_bytes);
  geometry.physical_block_exponent = static_cast<uint8_t>(std::countr_zero(physical / options.block_bytes));
  geometry.thin = options.thin != MediumOptions::Thin::off && !options.read_only;
  geometry.unmapped_reads_zero = geometry.thin;
  geometry.unmap_granularity_bytes = geometry.thin ? static_cast<uint32_t>(kPageBytes) : 0;
  return geometry;
}

bool in_range(const scsi::Io& io, uint64_t size_bytes) {
  return io.offset_bytes <= size_bytes && io.length_bytes <= size_bytes - io.offset_bytes;
}

void complete(BackendOp& op, int error, CompletedList& completed) {
  op.result = {error, op.bytes_done};
  completed.push_back(op);
}

// Zeroes `bytes`; whole pages within go back to the system.
void clear(Bytes bytes) {
  const auto start = std::bit_cast<uintptr_t>(bytes.data());
  const size_t head = std::min((kPageBytes - start % kPageBytes) % kPageBytes, bytes.size());
  std::memset(bytes.data(), 0, head);
  bytes = bytes.subspan(head);
  const size_t pages = bytes.size() - bytes.size() % kPageBytes;
  // Private and anonymous: what is given back reads as zeros. Refused (locked memory): cleared by hand.
  if (pages > 0 && ::madvise(bytes.data(), pages, MADV_DONTNEED) != 0) std::memset(bytes.data(), 0, pages);
  bytes = bytes.subspan(pages);
  if (!bytes.empty()) std::memset(bytes.data(), 0, bytes.size());
}

class RamBackend final : public Backend {
 public:
  RamBackend(std::shared_ptr<RamMedium> medium, net::Ring& ring, CompletedList& completed)
      : medium_(std::move(medium)), ring_(ring), completed_(completed) {}

  void submit(BackendOp& op) override {
    op.bytes_done = 0;
    const scsi::Io& io = op.io;
    if (io.kind == scsi::IoKind::flush) return complete(op, 0, completed_);
    if (!in_range(io, medium_->memory().size())) return complete(op, EIO, completed_);
    if (io.length_bytes == 0) return complete(op, 0, completed_);
    if (io.kind == scsi::IoKind::extent) {
      // Which pages were ever written is only known to the kernel, and what it tells counts pages that were
      // just read: mapped, which also stands for "not known".
      op.bytes_done = io.length_bytes;
      return complete(op, 0, completed_);
    }
    const Bytes there = medium_->memory().subspan(io.offset_bytes, io.length_bytes);
    // Commands that overlap may be copied at once on two workers; which bytes win is theirs to order, as on
    // any disk.
    if (io.kind == scsi::IoKind::read) {
      std::memcpy(io.data, there.data(), there.size());
    } else if (io.kind == scsi::IoKind::write) {
      std::memcpy(there.data(), io.data, there.size());
    } else {
      return clear_part(op);
    }
    op.bytes_done = io.length_bytes;
    complete(op, 0, completed_);
  }

  void on_completion(BackendOp& op, int32_t result) override {
    if (result < 0) return complete(op, -result, completed_);  // cancelled between two parts
    clear_part(op);
  }
  void cancel(BackendOp& op) override { ring_.cancel(op.op); }

 private:
  void clear_part(BackendOp& op) {
    const uint64_t part = std::min(op.io.length_bytes - op.bytes_done, kClearBytesMax);
    clear(medium_->memory().subspan(op.io.offset_bytes + op.bytes_done, part));
    op.bytes_done += part;
    if (op.bytes_done == op.io.length_bytes) return complete(op, 0, completed_);
    ring_.nothing(op.op);  // the rest on the next turn
  }

  std::shared_ptr<RamMedium> medium_;  // shared with the control thread, which opened it
  net::Ring& ring_;
  CompletedList& completed_;
};

class NullBackend final : public Backend {
 public:
  NullBackend(uint64_t size_bytes, CompletedList& completed)
      : size_bytes_(size_bytes), completed_(completed) {}

  void submit(BackendOp& op) override {
    op.bytes_done = 0;
    if (op.io.kind != scsi::IoKind::flush && !in_range(op.io, size_bytes_))
      return complete(op, EIO, completed_);
    op.bytes_done = op.io.length_bytes;
    complete(op, 0, completed_);
    if (op.io.kind == scsi::IoKind::read) read(op);
    op.result.mapped = op.io.kind != scsi::IoKind::extent;  // it holds nothing, and reads as zeros
  }
  void on_completion(BackendOp& op, int32_t /*result*/) override { complete(op, 0, completed_); }
  void cancel(BackendOp& /*op*/) override {}

 private:
  static void read(BackendOp& op) {
    if (op.io.may_borrow && op.io.length_bytes <= kZeros.size()) {
      op.result.borrowed = kZeros.data();
    } else if (op.io.length_bytes > 0) {
      std::memset(op.io.data, 0, op.io.length_bytes);
    }
  }

  uint64_t size_bytes_;
  CompletedList& completed_;
};

}  // namespace

Result<std::shared_ptr<Medium>> RamMedium::open(uint64_t size_bytes, const MediumOptions& options) {
  // NORESERVE: a disk of memory may be larger than what is free now; only what is written takes memory.
  void* memory =
      ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return Error{errno,
                 fmt::format("cannot get {} bytes of memory for \"{}\"; make it smaller, or allow more "
                             "(vm.overcommit_memory, the service's memory limit)",
                             size_bytes, options.path)};
  }
  ::madvise(memory, size_bytes, MADV_HUGEPAGE);  // fewer faults; a wish
  ::madvise(memory, size_bytes, MADV_DONTFORK);  // a child must not make our pages copy-on-write
  return std::shared_ptr<Medium>(
      new RamMedium({static_cast<std::byte*>(memory), size_bytes}, memory_geometry(options)));
}

RamMedium::~RamMedium() {
  ::munmap(memory_.data(), memory_.size());
}

std::unique_ptr<Backend> RamMedium::make_backend(net::Ring& ring, CompletedList& completed) {
  return std::make_unique<RamBackend>(shared_from_this(), ring, completed);
}

NullMedium::NullMedium(uint64_t size_bytes, const MediumOptions& options)
    : size_bytes_(size_bytes), geometry_(memory_geometry(options)) {}

std::unique_ptr<Backend> NullMedium::make_backend(net::Ring& /*ring*/, CompletedList& completed) {
  return std::make_unique<NullBackend>(size_bytes_, completed);
}

}  // namespace itgtd::backend
