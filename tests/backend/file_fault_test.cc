// What disks and file systems do to us: shrinking, full, broken.
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cerrno>

#include "tests/backend/harness.h"

namespace itgtd::backend {
namespace {

// Own an operation in slot 0 and feed the backend results that a kernel could give.
class ScriptedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = directory_.file("disk");
    const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_EQ(::ftruncate(fd, 1 << 20), 0);
    ::close(fd);
  }
  TemporaryDirectory directory_;
  std::string path_;
};

TEST_F(ScriptedTest, ShrunkFileReadsAsAnErrorAndNotAsOldMemory) {
  const auto medium = open_or_fail({.path = path_});
  Harness harness(medium);
  ASSERT_EQ(::truncate(path_.c_str(), 8192), 0);
  Buffer buffer(16384);
  buffer.fill(std::byte{0xAA});
  const scsi::IoResult partly = harness.read(4096, buffer.bytes());
  EXPECT_EQ(partly.error, EIO);
  EXPECT_EQ(partly.bytes_done, 4096U);
  EXPECT_TRUE(all_equal(buffer.bytes().first(4096), std::byte{0}));
  const scsi::IoResult behind = harness.read(65536, buffer.bytes());
  EXPECT_EQ(behind.error, EIO);
  EXPECT_EQ(behind.bytes_done, 0U);
  EXPECT_EQ(medium->size_bytes().value(), 8192U);
}

TEST_F(ScriptedTest, ShrunkToTheMiddleOfABlock) {
  Harness harness(open_or_fail({.path = path_}));
  ASSERT_EQ(::truncate(path_.c_str(), 5000), 0);
  Buffer buffer(16384);
  const scsi::IoResult result = harness.read(0, buffer.bytes());
  EXPECT_EQ(result.error, EIO);
  EXPECT_EQ(result.bytes_done, 5000U);
}

TEST_F(ScriptedTest, BrokenDescriptorIsAnErrorOfTheOperation) {
  // A descriptor that can't be written: every write fails, and the backend goes on.
  Harness harness(medium_with(path_, {}, O_RDONLY));
  Buffer buffer(4096);
  EXPECT_EQ(harness.write(0, buffer.bytes()).error, EBADF);
  EXPECT_EQ(harness.write_zeroes(0, 4096).error, EBADF);
  EXPECT_EQ(harness.read(0, buffer.bytes()).error, 0);
}

TEST_F(ScriptedTest, OffsetBeyondWhatAFileCanHave) {
  Harness harness(open_or_fail({.path = path_}));
  Buffer buffer(4096);
  EXPECT_NE(harness.read(UINT64_MAX - 4095, buffer.bytes()).error, 0);
  EXPECT_NE(harness.write(UINT64_MAX - 4095, buffer.bytes()).error, 0);
  EXPECT_NE(harness.unmap(UINT64_MAX - 4095, 4096).error, 0);
}

// A ring's completions are swallowed, so that the test says what the kernel did.
class KernelTest : public ScriptedTest {
 protected:
  void SetUp() override {
    ScriptedTest::SetUp();
    auto made = net::Ring::create({.entries = 16});
    ASSERT_TRUE(made.ok());
    ring_ = std::move(*made);
  }
  void make(const UringFileMedium::Facts& facts) {
    medium_ = medium_with(path_, facts);
    backend_ = std::make_unique<UringFileBackend>(medium_, *ring_, completed_);
  }
  // Lets the real operation end, then tells the backend something else.
  void complete_as(BackendOp& op, int32_t result) {
    std::array<net::Completion, 1> done{};
    while (ring_->submit_and_wait(now() + std::chrono::seconds(5), done) == 0) {
    }
    backend_->on_completion(op, result);
  }
  BackendOp* completed() { return completed_.pop_front(); }

  CompletedList completed_;
  std::unique_ptr<net::Ring> ring_;
  std::shared_ptr<UringFileMedium> medium_;
  std::unique_ptr<UringFileBackend> backend_;
};

TEST_F(KernelTest, ShortTransfersGoOnAndEagainIsTriedAgain) {
  make({});
  Buffer buffer(16384);
  BackendOp op;
  op.io = {scsi::IoKind::read, false, 0, 16384, buffer.data()};
  backend_->submit(op);
  complete_as(op, 4096);
  complete_as(op, -EAGAIN);
  complete_as(op, -EINTR);
  complete_as(op, 512);
  EXPECT_EQ(completed(), nullptr);
  EXPECT_EQ(op.bytes_done, 4608U);
  complete_as(op, 16384 - 4608);
  ASSERT_EQ(completed(), &op);
  EXPECT_EQ(op.result.error, 0);
  EXPECT_EQ(op.result.bytes_done, 16384U);
  EXPECT_EQ(backend_->counters().retries, 2U);
  EXPECT_EQ(ring_->in_flight(), 0U);
}

TEST_F(KernelTest, EagainWithoutEndIsAnError) {
  make({});
  Buffer buffer(512);
  BackendOp op;
  op.io = {scsi::IoKind::write, false, 0, 512, buffer.data()};
  backend_->submit(op);
  BackendOp* done = nullptr;
  for (int i = 0; i < 100 && done == nullptr; ++i) {
    complete_as(op, -EAGAIN);
    done = completed();
  }
  ASSERT_EQ(done, &op);
  EXPECT_EQ(op.result.error, EAGAIN);
}

TEST_F(KernelTest, ErrorAfterAPartTellsHowMuchWasDone) {
  make({});
  Buffer buffer(8192);
  BackendOp op;
  op.io = {scsi::IoKind::write, true, 0, 8192, buffer.data()};
  for (const int error : {ENOSPC, EIO}) {
    backend_->submit(op);
    complete_as(op, 4096);
    complete_as(op, -error);
    ASSERT_EQ(completed(), &op);
    EXPECT_EQ(op.result.error, error);
    EXPECT_EQ(op.result.bytes_done, 4096U);
  }
}

TEST_F(KernelTest, FallocateThatTheMediumLacksIsReplacedOnceAndForAll) {
  make({.geometry = {.unmapped_reads_zero = true}, .can_punch = true});
  BackendOp op;
  op.io = {scsi::IoKind::write_zeroes, false, 0, 1024, nullptr};
  backend_->submit(op);
  complete_as(op, -EOPNOTSUPP);  // zero range
  complete_as(op, -EOPNOTSUPP);  // punch
  complete_as(op, 1024);         // zeros
  ASSERT_EQ(completed(), &op);
  EXPECT_EQ(op.result.error, 0);
  op.io.kind = scsi::IoKind::unmap;
  backend_->submit(op);
  complete_as(op, 1024);  // zeros at once: what is unmapped must read as zeros
  ASSERT_EQ(completed(), &op);
  EXPECT_EQ(op.result.error, 0);
}

TEST_F(KernelTest, RangeThatFallocateDoesNotTakeIsZeroedByHandThatOnce) {
  make({.geometry = {.unmapped_reads_zero = true}, .can_punch = true});
  BackendOp op;
  op.io = {scsi::IoKind::unmap, false, 512, 300 << 10, nullptr};
  backend_->submit(op);
  complete_as(op, -EINVAL);
  complete_as(op, 256 << 10);
  EXPECT_EQ(completed(), nullptr);
  complete_as(op, 44 << 10);
  ASSERT_EQ(completed(), &op);
  EXPECT_EQ(op.result.bytes_done, uint64_t{300} << 10);
  backend_->submit(op);
  complete_as(op, 0);  // punched again
  ASSERT_EQ(completed(), &op);
}

TEST_F(KernelTest, UnmapIsAHintWhereNothingIsPromised) {
  make({.geometry = {.thin = true}});
  BackendOp op;
  op.io = {scsi::IoKind::unmap, false, 0, 1 << 20, nullptr};
  backend_->submit(op);
  ASSERT_EQ(completed(), &op);
  EXPECT_EQ(op.result.error, 0);
  EXPECT_EQ(ring_->in_flight(), 0U);
}

TEST_F(KernelTest, FailedFlushIsToldToAllThatWaitedAndToAllThatCome) {
  make({});
  BackendOp one;
  BackendOp two;
  one.io = two.io = {scsi::IoKind::flush, false, 0, 0, nullptr};
  backend_->submit(one);
  backend_->submit(two);
  EXPECT_FALSE(medium_->has_lost_writes());
  complete_as(one, -EIO);
  ASSERT_EQ(completed(), &one);
  EXPECT_EQ(one.result.error, EIO);
  EXPECT_TRUE(medium_->has_lost_writes());
  // The kernel says so once per open file and then forgets; what was lost stays lost.
  complete_as(two, 0);
  ASSERT_EQ(completed(), &two);
  EXPECT_EQ(two.result.error, EIO);
  // Another worker of the same medium.
  UringFileBackend other(medium_, *ring_, completed_);
  Buffer buffer(512);
  BackendOp write;
  write.io = {scsi::IoKind::write, true, 0, 512, buffer.data()};
  other.submit(write);
  std::array<net::Completion, 1> done{};
  while (completed_.empty()) {
    if (ring_->submit_and_wait(now() + std::chrono::seconds(5), done) == 1)
      other.on_completion(write, done[0].result);
  }
  ASSERT_EQ(completed(), &write);
  EXPECT_EQ(write.result.error, EIO);
}

TEST_F(KernelTest, FailedFlushOfADeviceIsOfThatFlushAlone) {
  make({.block_device = true, .direct = true});
  BackendOp op;
  op.io = {scsi::IoKind::flush, false, 0, 0, nullptr};
  backend_->submit(op);
  complete_as(op, -EIO);
  ASSERT_EQ(completed(), &op);
  EXPECT_EQ(op.result.error, EIO);
  backend_->submit(op);
  complete_as(op, 0);
  ASSERT_EQ(completed(), &op);
  EXPECT_EQ(op.result.error, 0);
}

TEST_F(KernelTest, CancelledFlushTakesOnlyItsOwnWithIt) {
  make({});
  std::array<BackendOp, 4> ops;
  for (BackendOp& op : ops) {
    op.io = {scsi::IoKind::flush, false, 0, 0, nullptr};
    backend_->submit(op);
  }
  complete_as(ops[0], 0);
  ASSERT_EQ(completed(), &ops[0]);
  complete_as(ops[1], -ECANCELED);  // leads 2 and 3
  ASSERT_EQ(completed(), &ops[1]);
  EXPECT_EQ(ops[1].result.error, ECANCELED);
  EXPECT_EQ(completed(), nullptr);
  complete_as(ops[2], 0);
  EXPECT_EQ(completed(), &ops[2]);
  EXPECT_EQ(completed(), &ops[3]);
  EXPECT_EQ(ops[3].result.error, 0);
}

TEST(SmallFileSystemTest, FullIsEnospcAndGivesRoomBack) {
  TemporaryDirectory directory;
  if (::mount("none", directory.path().c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "can't mount a tmpfs: " << std::strerror(errno);
  }
  {
    const auto medium = open_or_fail({.path = directory.path() + "/disk", .create_bytes = 4 << 20});
    Harness harness(medium);
    Buffer buffer(512 << 10);
    scsi::IoResult result;
    uint64_t offset = 0;
    for (; offset < (4U << 20) && result.error == 0; offset += buffer.bytes().size()) {
      result = harness.write(offset, buffer.bytes(), true);
    }
    EXPECT_EQ(result.error, ENOSPC);
    EXPECT_LT(offset, 4U << 20);
    EXPECT_EQ(harness.unmap(0, 4 << 20).error, 0);
    EXPECT_EQ(harness.write(0, buffer.bytes(), true).error, 0);
    EXPECT_EQ(harness.read(0, buffer.bytes()).error, 0);
    EXPECT_TRUE(all_equal(buffer.bytes(), Buffer::kOld));
    EXPECT_FALSE(medium->has_lost_writes());
    // tmpfs can't zero a range: the way round it must be taken.
    EXPECT_EQ(harness.write_zeroes(0, 512 << 10).error, 0);
    EXPECT_EQ(harness.read(0, buffer.bytes()).error, 0);
    EXPECT_TRUE(all_equal(buffer.bytes(), std::byte{0}));
  }
  ::umount(directory.path().c_str());
}

}  // namespace
}  // namespace itgtd::backend
