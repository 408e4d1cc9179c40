// Files and how they become durable.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/backend/harness.h"

namespace itgtd::backend {
namespace {

class FileTest : public ::testing::Test {
 protected:
  std::string make_file(uint64_t bytes) {
    const std::string path = directory_.file("disk");
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    EXPECT_EQ(::ftruncate(fd, static_cast<off_t>(bytes)), 0);
    ::close(fd);
    return path;
  }
  TemporaryDirectory directory_;
};

TEST_F(FileTest, ConcurrentFlushesShareOneAndLaterOnesWaitForTheNext) {
  Harness harness(medium_with(make_file(1 << 20), {}));
  const scsi::Io flush{scsi::IoKind::flush, false, 0, 0, nullptr};
  harness.start(0, flush);  // starts the first fdatasync
  for (uint32_t slot = 1; slot < 20; ++slot) harness.start(slot, flush);
  for (const BackendOp* op : harness.wait_for(20)) EXPECT_EQ(op->result.error, 0);
  EXPECT_EQ(harness.file_counters().syncs, 2U) << "the 19 that came while one ran share the next one";
  EXPECT_EQ(harness.flush().error, 0);
  EXPECT_EQ(harness.file_counters().syncs, 3U);
}

TEST_F(FileTest, AFlushThatCameLaterIsNotDoneByAnEarlierOne) {
  Harness harness(medium_with(make_file(1 << 20), {}));
  const scsi::Io flush{scsi::IoKind::flush, false, 0, 0, nullptr};
  const BackendOp& first = harness.start(0, flush);
  const BackendOp& second = harness.start(1, flush);
  std::vector<BackendOp*> done;
  while (done.empty()) done = harness.turn();
  ASSERT_EQ(done.size(), 1U);
  EXPECT_EQ(done[0], &first);
  harness.wait_for(1);
  EXPECT_EQ(second.result.error, 0);
}

TEST_F(FileTest, DurableWritesShareFlushesWhereTheMediumNeedsThem) {
  UringFileMedium::Facts facts;
  facts.durability = Durability::after_write;
  Harness harness(medium_with(make_file(1 << 20), facts));
  Buffer buffer(4096 * 16);
  for (uint32_t slot = 0; slot < 16; ++slot) {
    harness.start(slot, {scsi::IoKind::write, true, slot * 4096, 4096, buffer.data() + slot * 4096});
  }
  for (const BackendOp* op : harness.wait_for(16)) {
    EXPECT_EQ(op->result.error, 0);
    EXPECT_EQ(op->result.bytes_done, 4096U);
  }
  EXPECT_GE(harness.file_counters().syncs, 1U);
  EXPECT_LE(harness.file_counters().syncs, 16U);
}

TEST_F(FileTest, HowAWriteGetsDurable) {
  Buffer buffer(4096);
  struct Case {
    Durability durability;
    bool durable;
    uint64_t syncs_after_write;
    uint64_t syncs_after_zeroes;
    uint64_t syncs_after_flush;
  };
  for (const Case& it :
       {Case{Durability::always, true, 0, 0, 0}, Case{Durability::with_write, true, 0, 1, 2},
        Case{Durability::after_write, true, 1, 2, 3}, Case{Durability::with_write, false, 0, 0, 1},
        Case{Durability::after_write, false, 0, 0, 1}}) {
    UringFileMedium::Facts facts;
    facts.durability = it.durability;
    Harness harness(medium_with(make_file(1 << 20), facts));
    ASSERT_EQ(harness.write(0, buffer.bytes(), it.durable).error, 0);
    EXPECT_EQ(harness.file_counters().syncs, it.syncs_after_write);
    // fallocate takes no RWF_DSYNC: what it changed is durable only after fdatasync.
    ASSERT_EQ(harness.write_zeroes(4096, 4096, it.durable).error, 0);
    EXPECT_EQ(harness.file_counters().syncs, it.syncs_after_zeroes);
    ASSERT_EQ(harness.flush().error, 0);
    EXPECT_EQ(harness.file_counters().syncs, it.syncs_after_flush);
  }
}

TEST_F(FileTest, MisalignedMemoryGoesThroughTheAlignedBufferOneAtATime) {
  const auto medium = open_or_fail({.path = make_file(4 << 20)});
  if (!facts_of(*medium).direct) GTEST_SKIP() << "no direct I/O on this file system";
  Harness harness(medium);
  constexpr uint32_t kCount = 8;
  constexpr size_t kEach = 300 << 10;  // two parts each
  Buffer memory(kCount * (kEach + 512) + 512);
  for (uint32_t slot = 0; slot < kCount; ++slot) {
    std::byte* at = memory.data() + 1 + slot * kEach;
    std::fill(at, at + kEach, std::byte{static_cast<unsigned char>(slot + 1)});
    harness.start(slot, {scsi::IoKind::write, slot % 2 == 0, slot * kEach, kEach, at});
  }
  for (const BackendOp* op : harness.wait_for(kCount)) EXPECT_EQ(op->result.error, 0);
  EXPECT_EQ(harness.file_counters().bounces, kCount * 2);
  memory.fill(Buffer::kOld);
  for (uint32_t slot = 0; slot < kCount; ++slot) {
    harness.start(slot, {scsi::IoKind::read, false, slot * kEach, kEach, memory.data() + 3 + slot * kEach});
  }
  harness.wait_for(kCount);
  for (uint32_t slot = 0; slot < kCount; ++slot) {
    EXPECT_TRUE(all_equal(memory.bytes().subspan(3 + slot * kEach, kEach),
                          std::byte{static_cast<unsigned char>(slot + 1)}));
  }
}

TEST_F(FileTest, AlignedMemoryDoesNot) {
  Harness harness(open_or_fail({.path = make_file(1 << 20)}));
  Buffer memory(8192);
  EXPECT_EQ(harness.write(512, memory.bytes()).error, 0);
  EXPECT_EQ(harness.file_counters().bounces, 0U);
}

TEST_F(FileTest, UnmapGivesRoomBack) {
  const std::string path = make_file(4 << 20);
  const auto medium = open_or_fail({.path = path});
  if (!medium->geometry().thin) GTEST_SKIP() << "this file system has no holes";
  Harness harness(medium);
  Buffer memory(4 << 20);
  ASSERT_EQ(harness.write(0, memory.bytes()).error, 0);
  ASSERT_EQ(harness.flush().error, 0);
  struct stat before {};
  ASSERT_EQ(::stat(path.c_str(), &before), 0);
  ASSERT_EQ(harness.unmap(0, 4 << 20).error, 0);
  struct stat after {};
  ASSERT_EQ(::stat(path.c_str(), &after), 0);
  EXPECT_LT(after.st_blocks, before.st_blocks / 2);
  EXPECT_EQ(after.st_size, 4 << 20);
}

TEST_F(FileTest, ExtentsAreThoseOfTheFile) {
  constexpr uint64_t kMedium = 4 << 20;
  const auto medium = open_or_fail({.path = make_file(kMedium)});
  if (!medium->geometry().thin) GTEST_SKIP() << "this file system has no holes";
  Harness harness(medium);
  const auto expect = [&](uint64_t at, uint64_t length, uint64_t stretch, bool mapped) {
    const scsi::IoResult result = harness.extent(at, length);
    EXPECT_EQ(result.error, 0);
    EXPECT_EQ(result.bytes_done, stretch) << "at " << at;
    EXPECT_EQ(result.mapped, mapped) << "at " << at;
  };
  expect(0, kMedium, kMedium, false);
  Buffer memory(1 << 20);
  ASSERT_EQ(harness.write(1 << 20, memory.bytes()).error, 0);
  expect(0, kMedium, 1 << 20, false);
  expect(4096, 512, 512, false);
  expect(1 << 20, kMedium - (1 << 20), 1 << 20, true);
  expect((1 << 20) + 512, 4096, 4096, true);
  expect(2 << 20, 2 << 20, 2 << 20, false);
  ASSERT_EQ(harness.unmap((1 << 20) + (64 << 10), 64 << 10).error, 0);
  expect(1 << 20, 1 << 20, 64 << 10, true);
  expect((1 << 20) + (64 << 10), 1 << 20, 64 << 10, false);
  // Nothing was read, written or cut by asking.
  Buffer back(1 << 20);
  ASSERT_EQ(harness.read(1 << 20, back.bytes()).error, 0);
  EXPECT_TRUE(all_equal(back.bytes().first(64 << 10), Buffer::kOld));
}

TEST_F(FileTest, ABlockIsMappedWhenAnyByteOfItIs) {
  // Blocks larger than what the file system allots, with a file that holds a part of one.
  const std::string path = make_file(1 << 20);
  UringFileMedium::Facts facts;
  facts.geometry.block_bytes = 64 << 10;
  Harness harness(medium_with(path, facts));
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  const char byte = 1;
  ASSERT_EQ(::pwrite(fd, &byte, 1, (3 * 64 << 10) + 40'000), 1);
  ::close(fd);
  const scsi::IoResult before = harness.extent(0, 1 << 20);
  EXPECT_EQ(before.bytes_done, 3U * (64 << 10));
  EXPECT_FALSE(before.mapped);
  const scsi::IoResult block = harness.extent(3 * (64 << 10), 1 << 20);
  EXPECT_EQ(block.bytes_done, 64U << 10);
  EXPECT_TRUE(block.mapped);
}

TEST_F(FileTest, LongRangesGoInParts) {
  Harness harness(open_or_fail({.path = make_file(uint64_t{1} << 30)}));
  const uint64_t before = harness.ring().counters().submitted;
  const scsi::IoResult result = harness.unmap(512, (uint64_t{1} << 30) - 1024);
  EXPECT_EQ(result.error, 0);
  EXPECT_EQ(result.bytes_done, (uint64_t{1} << 30) - 1024);
  EXPECT_EQ(harness.ring().counters().submitted - before, 16U);  // of 64 MiB
}

TEST_F(FileTest, GrowthIsSeen) {
  const std::string path = make_file(1 << 20);
  const auto medium = open_or_fail({.path = path});
  ASSERT_EQ(::truncate(path.c_str(), 2 << 20), 0);
  EXPECT_EQ(medium->size_bytes().value(), 2U << 20);
}

TEST_F(FileTest, AThinFileTellsHowFullItIs) {
  const auto thin =
      open_or_fail({.path = directory_.file("thin"), .block_bytes = 4096, .create_bytes = 8 << 20});
  if (!thin->geometry().thin) GTEST_SKIP() << "this file system has no holes";
  const scsi::ThinUsage before = thin->thin_usage();
  EXPECT_TRUE(before.known);
  EXPECT_GT(before.available_blocks, 0U);
  ASSERT_LT(before.used_blocks, 100U);
  const std::string megabyte(1 << 20, 'x');
  const int fd = ::open(directory_.file("thin").c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_EQ(::pwrite(fd, megabyte.data(), megabyte.size(), 0), static_cast<ssize_t>(megabyte.size()));
  ASSERT_EQ(::fsync(fd), 0);  // not before are blocks allocated
  ::close(fd);
  const uint64_t grown = thin->thin_usage().used_blocks - before.used_blocks;
  EXPECT_GE(grown, 256U);
  EXPECT_LT(grown, 300U);
}

TEST_F(FileTest, AThickFileDoesNotTellHowFullItIs) {
  const auto thick = open_or_fail({.path = make_file(1 << 20), .thin = MediumOptions::Thin::off});
  EXPECT_FALSE(thick->thin_usage().known);
}

TEST_F(FileTest, BlocksSmallerThanTheFileSystemTransfersGoThroughTheCache) {
  const auto direct = open_or_fail({.path = make_file(1 << 20), .block_bytes = 4096});
  UringFileMedium::Facts facts = facts_of(*direct);
  if (!facts.direct || facts.transfer_alignment <= 512)
    GTEST_SKIP() << "this file system transfers 512 bytes";
  const auto cached =
      open_or_fail({.path = directory_.file("other"), .block_bytes = 512, .create_bytes = 1 << 20});
  EXPECT_FALSE(facts_of(*cached).direct);
}

TEST_F(FileTest, NothingToTransferIsDoneAtOnce) {
  Harness harness(open_or_fail({.path = make_file(1 << 20)}));
  EXPECT_EQ(harness.read(0, {}).error, 0);
  EXPECT_EQ(harness.unmap(0, 0).error, 0);
  EXPECT_EQ(harness.ring().counters().submitted, 0U);
}

}  // namespace
}  // namespace itgtd::backend
