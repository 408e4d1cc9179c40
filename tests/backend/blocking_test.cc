// A medium whose transfers may block while they are submitted (DRBD): how many it keeps, and what others
// keep.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "base/descriptor.h"
#include "tests/backend/harness.h"

namespace itgtd::backend {
namespace {

constexpr uint32_t kMax = UringFileBackend::kBlockingOpsMax;
constexpr size_t kBlock = 4096;

UringFileMedium::Facts facts_that_may_block() {
  UringFileMedium::Facts facts;
  facts.may_block = true;
  return facts;
}

/// Memory that nobody can write before release(): a transfer into it blocks, as with a device whose I/O is
/// suspended.
class FrozenMemory {
 public:
  explicit FrozenMemory(size_t bytes) : fault_(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC))) {
    if (fault_.get() < 0) return;
    uffdio_api api{};
    api.api = UFFD_API;
    if (::ioctl(fault_.get(), UFFDIO_API, &api) != 0) return;
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return;
    bytes_ = {static_cast<std::byte*>(memory), bytes};
    range_ = {.start = std::bit_cast<uintptr_t>(memory), .len = bytes};
    uffdio_register registration{};
    registration.range = range_;
    registration.mode = UFFDIO_REGISTER_MODE_MISSING;
    usable_ = ::ioctl(fault_.get(), UFFDIO_REGISTER, &registration) == 0;
  }
  ~FrozenMemory() {
    release();
    if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
  }
  FrozenMemory(const FrozenMemory&) = delete;
  FrozenMemory& operator=(const FrozenMemory&) = delete;

  [[nodiscard]] bool usable() const { return usable_; }
  [[nodiscard]] std::byte* block(size_t index) const { return bytes_.data() + index * kBlock; }
  void release() {
    if (std::exchange(usable_, false)) ::ioctl(fault_.get(), UFFDIO_UNREGISTER, &range_);
  }

 private:
  Descriptor fault_;
  Bytes bytes_;
  uffdio_range range_{};
  bool usable_ = false;
};

class BlockingTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kOps = 2 * kMax + 10;

  void SetUp() override {
    auto made = net::Ring::create({.entries = 256});
    ASSERT_TRUE(made.ok());
    ring_ = std::move(*made);
    for (uint32_t i = 0; i < kOps; ++i) ops_[i].op = {net::OpKind::backend, {i, 1}};
  }
  std::shared_ptr<UringFileMedium> make_medium(const std::string& name) {
    const std::string path = directory_.file(name);
    const Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    EXPECT_EQ(::ftruncate(fd.get(), kOps * kBlock), 0);
    return medium_with(path, facts_that_may_block());
  }
  BackendOp& start(Backend& backend, uint32_t index, scsi::IoKind kind, std::byte* data) {
    return start_at(backend, index, kind, index * kBlock, data);
  }
  BackendOp& start_at(Backend& backend, uint32_t index, scsi::IoKind kind, uint64_t offset, std::byte* data) {
    BackendOp& op = ops_[index];
    op.io = {kind, false, offset, kind == scsi::IoKind::flush ? 0 : kBlock, data};
    owners_[index] = &backend;
    backend.submit(op);
    return op;
  }
  /// Turns the crank until `count` more have completed or `patience` is over; returns those that have.
  std::vector<BackendOp*> wait_for(size_t count, Duration patience = std::chrono::seconds(20)) {
    std::vector<BackendOp*> all;
    std::array<net::Completion, 64> done{};
    const Instant deadline = now() + patience;
    for (;;) {
      while (BackendOp* op = completed_.pop_front()) all.push_back(op);
      if (all.size() >= count || now() >= deadline) return all;
      const size_t got = ring_->submit_and_wait(deadline, done);
      for (size_t i = 0; i < got; ++i) {
        const net::OpId id = done[i].op;
        if (id.kind == net::OpKind::backend)
          owners_[id.slot.index]->on_completion(ops_[id.slot.index], done[i].result);
      }
    }
  }

  TemporaryDirectory directory_;
  CompletedList completed_;
  std::array<BackendOp, kOps> ops_;
  std::array<Backend*, kOps> owners_{};
  std::unique_ptr<net::Ring> ring_;
};

TEST_F(BlockingTest, TheKernelHasABoundedNumberAndAllAreDone) {
  const auto medium = make_medium("disk");
  UringFileBackend backend(medium, *ring_, completed_);
  std::vector<std::unique_ptr<Buffer>> buffers;
  for (uint32_t i = 0; i < kOps; ++i) {
    buffers.push_back(std::make_unique<Buffer>(kBlock));
    buffers.back()->fill(std::byte{static_cast<unsigned char>(i)});
    start(backend, i, scsi::IoKind::write, buffers.back()->data());
  }
  EXPECT_EQ(ring_->in_flight(), kMax);
  const auto written = wait_for(kOps);
  ASSERT_EQ(written.size(), kOps);
  for (const BackendOp* op : written) {
    EXPECT_EQ(op->result.error, 0);
    EXPECT_EQ(op->result.bytes_done, kBlock);
  }
  for (uint32_t i = 0; i < kOps; ++i) {
    std::array<std::byte, kBlock> there{};
    ASSERT_EQ(::pread(medium->fd(), there.data(), kBlock, static_cast<off_t>(i * kBlock)),
              static_cast<ssize_t>(kBlock));
    EXPECT_TRUE(all_equal(there, std::byte{static_cast<unsigned char>(i)})) << i;
  }
}

TEST_F(BlockingTest, OnesThatWaitAreCancelledAtOnce) {
  UringFileBackend backend(make_medium("disk"), *ring_, completed_);
  const Buffer buffer(kBlock);
  for (uint32_t i = 0; i < kMax + 3; ++i) start(backend, i, scsi::IoKind::read, buffer.data());
  backend.cancel(ops_[kMax + 1]);
  ASSERT_EQ(completed_.pop_front(), &ops_[kMax + 1]);
  EXPECT_EQ(ops_[kMax + 1].result.error, ECANCELED);
  EXPECT_EQ(ops_[kMax + 1].result.bytes_done, 0U);
  EXPECT_EQ(wait_for(kMax + 2).size(), kMax + 2);
  EXPECT_EQ(ops_[kMax].result.error, 0);
  EXPECT_EQ(ops_[kMax + 2].result.error, 0);
  // It is over: to cancel it again changes nothing, and its slot may be used again.
  backend.cancel(ops_[kMax + 1]);
  start(backend, kMax + 1, scsi::IoKind::read, buffer.data());
  ASSERT_EQ(wait_for(1).size(), 1U);
  EXPECT_EQ(ops_[kMax + 1].result.error, 0);
}

TEST_F(BlockingTest, WhatIsDoneWithoutTheKernelMakesRoomWithoutRecursion) {
  UringFileMedium::Facts facts = facts_that_may_block();
  facts.geometry.thin = true;  // and nothing promised: UNMAP is a hint
  make_medium("disk");
  UringFileBackend backend(medium_with(directory_.path() + "/disk", facts), *ring_, completed_);
  const Buffer buffer(kBlock);
  for (uint32_t i = 0; i < kMax; ++i) start(backend, i, scsi::IoKind::read, buffer.data());
  for (uint32_t i = kMax; i < kOps; ++i) start(backend, i, scsi::IoKind::unmap, nullptr);
  EXPECT_TRUE(completed_.empty());
  EXPECT_EQ(wait_for(kOps).size(), kOps);
  EXPECT_EQ(ring_->in_flight(), 0U);
}

TEST_F(BlockingTest, OneThatIsFrozenLeavesTheOthersTheirWorkers) {
  FrozenMemory frozen(kOps * kBlock);
  if (!frozen.usable())
    GTEST_SKIP() << "can't make memory that blocks (userfaultfd): " << std::strerror(errno);
  // Files of /proc have no NOWAIT, and neither has fdatasync: kernel workers do both.
  const char* path = "/proc/self/maps";
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  UringFileMedium::Facts facts = facts_that_may_block();
  facts.read_only = true;
  UringFileBackend stuck(std::make_shared<UringFileMedium>(path, fd, facts), *ring_, completed_);
  UringFileBackend other(make_medium("other"), *ring_, completed_);
  constexpr uint32_t kStuck = kOps - 8;
  for (uint32_t i = 0; i < kStuck; ++i) start_at(stuck, i, scsi::IoKind::read, 0, frozen.block(i));
  EXPECT_TRUE(wait_for(1, std::chrono::milliseconds(100)).empty());
  EXPECT_EQ(ring_->in_flight(), kMax);
  for (uint32_t i = kStuck; i < kOps; ++i) {
    start(other, i, scsi::IoKind::flush, nullptr);
    const auto done = wait_for(1, std::chrono::seconds(5));
    EXPECT_EQ(done.size(), 1U) << "no kernel worker was left";
    if (done.empty()) break;
    EXPECT_EQ(done[0], &ops_[i]);
    EXPECT_EQ(done[0]->result.error, 0);
  }
  frozen.release();
  EXPECT_GE(wait_for(kStuck).size(), kStuck);
}

}  // namespace
}  // namespace itgtd::backend
