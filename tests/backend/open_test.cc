#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/backend/harness.h"

namespace itgtd::backend {
namespace {

using ::testing::HasSubstr;

std::string error_of(const MediumOptions& options) {
  const auto medium = Medium::open(options);
  return medium.ok() ? "" : medium.error().to_string();
}

TEST(OpenTest, MissingFileSaysWhatToDo) {
  EXPECT_THAT(error_of({.path = "/nonexistent/disk"}), HasSubstr("create ="));
  EXPECT_THAT(error_of({.path = "/dev/no-such-device"}), HasSubstr("no such device"));
}

TEST(OpenTest, CreateMakesASparseFileOnce) {
  TemporaryDirectory directory;
  const std::string path = directory.file("disk");
  {
    const auto medium = open_or_fail({.path = path, .create_bytes = 64 << 20});
    EXPECT_EQ(medium->size_bytes().value(), uint64_t{64} << 20);
  }
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_LT(status.st_blocks, 64);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  // What is there keeps its size.
  const auto medium = open_or_fail({.path = path, .create_bytes = 128 << 20});
  EXPECT_EQ(medium->size_bytes().value(), uint64_t{64} << 20);
}

TEST(OpenTest, CreateWithoutADirectoryNamesIt) {
  const std::string error = error_of({.path = "/nonexistent/sub/disk", .create_bytes = 1 << 20});
  EXPECT_THAT(error, HasSubstr("make the directory \"/nonexistent/sub\""));
}

TEST(OpenTest, CreateLargerThanTheFileSystemTakesLeavesNothing) {
  TemporaryDirectory directory;
  const std::string path = directory.file("disk");
  const std::string error = error_of({.path = path, .create_bytes = INT64_MAX});
  if (error.empty()) GTEST_SKIP() << "this file system takes files of any size";
  EXPECT_THAT(error, HasSubstr("does not take a file"));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(OpenTest, WhatIsNoDiskIsRefusedWithoutBlocking) {
  TemporaryDirectory directory;
  const std::string pipe = directory.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(error_of({.path = pipe}), HasSubstr("want a block device or a file"));
  EXPECT_THAT(error_of({.path = directory.path()}), HasSubstr("want a block device or a file"));
  EXPECT_THAT(error_of({.path = "/dev/null"}), HasSubstr("want a block device or a file"));
}

TEST(OpenTest, TooSmallForABlock) {
  TemporaryDirectory directory;
  const std::string path = directory.file("disk");
  std::ofstream(path) << "short";
  EXPECT_THAT(error_of({.path = path}), HasSubstr("no room for one block"));
  EXPECT_THAT(error_of({.path = "ram:511"}), HasSubstr("no room for one block"));
}

TEST(OpenTest, ServedTwiceIsRefused) {
  TemporaryDirectory directory;
  const MediumOptions options{.path = directory.file("disk"), .create_bytes = 1 << 20};
  auto first = open_or_fail(options);
  EXPECT_THAT(error_of(options), HasSubstr("served already"));
  first.reset();
  EXPECT_EQ(error_of(options), "");
}

TEST(OpenTest, ReadOnlyMayBeSharedByReaders) {
  TemporaryDirectory directory;
  MediumOptions options{.path = directory.file("disk"), .create_bytes = 1 << 20};
  open_or_fail(options).reset();
  options.read_only = true;
  const auto first = open_or_fail(options);
  const auto second = open_or_fail(options);
  EXPECT_FALSE(first->geometry().thin);
  options.read_only = false;
  EXPECT_THAT(error_of(options), HasSubstr("served already"));
}

TEST(OpenTest, NodesShareAFileAndNobodyElse) {
  TemporaryDirectory directory;
  MediumOptions options{.path = directory.file("disk"), .create_bytes = 1 << 20, .shared = true};
  auto first = open_or_fail(options);
  auto second = open_or_fail(options);
  options.shared = false;
  EXPECT_THAT(error_of(options), HasSubstr("served already"));
  first.reset();
  second.reset();
  const auto alone = open_or_fail(options);
  options.shared = true;
  EXPECT_THAT(error_of(options), HasSubstr("served already"));
}

TEST(OpenTest, ReadOnlyMediumTakesNoWrite) {
  TemporaryDirectory directory;
  MediumOptions options{.path = directory.file("disk"), .create_bytes = 1 << 20};
  open_or_fail(options).reset();
  options.read_only = true;
  Harness harness(open_or_fail(options));
  Buffer buffer(4096);
  EXPECT_EQ(harness.read(0, buffer.bytes()).error, 0);
  EXPECT_EQ(harness.write(0, buffer.bytes()).error, EROFS);
  EXPECT_EQ(harness.unmap(0, 4096).error, EROFS);
  EXPECT_EQ(harness.write_zeroes(0, 4096).error, EROFS);
  EXPECT_EQ(harness.flush().error, 0);
}

TEST(OpenTest, MemoryPaths) {
  EXPECT_EQ(open_or_fail({.path = "ram:1M"})->size_bytes().value(), 1U << 20);
  EXPECT_EQ(open_or_fail({.path = "null:1T"})->size_bytes().value(), uint64_t{1} << 40);
  for (const char* bad : {"ram:", "ram:1X", "ram:-1", "null:1.5G", "null:99999999999T", "ram: 1G"}) {
    EXPECT_THAT(error_of({.path = bad}), HasSubstr("want a size")) << bad;
  }
}

TEST(OpenTest, BlockSizes) {
  EXPECT_THAT(error_of({.path = "ram:1M", .block_bytes = 520}), HasSubstr("block size 520"));
  EXPECT_THAT(error_of({.path = "ram:1M", .block_bytes = 0}), HasSubstr("block size 0"));
  EXPECT_THAT(error_of({.path = "ram:1M", .block_bytes = 4096, .physical_block_bytes = 512}),
              HasSubstr("physical block size 512"));
  const auto medium = open_or_fail({.path = "ram:1M", .block_bytes = 512, .physical_block_bytes = 4096});
  EXPECT_EQ(medium->geometry().block_bytes, 512U);
  EXPECT_EQ(medium->geometry().physical_block_exponent, 3);
}

TEST(OpenTest, ThinOffIsNotThin) {
  TemporaryDirectory directory;
  for (const std::string& path : {std::string("ram:1M"), directory.file("disk")}) {
    const auto thick =
        open_or_fail({.path = path, .create_bytes = 1 << 20, .thin = MediumOptions::Thin::off});
    EXPECT_FALSE(thick->geometry().thin);
    EXPECT_FALSE(thick->geometry().unmapped_reads_zero);
  }
}

TEST(OpenTest, FileFactsHoldTogether) {
  TemporaryDirectory directory;
  const auto medium = open_or_fail({.path = directory.file("disk"), .create_bytes = 1 << 20});
  const auto& facts = facts_of(*medium);
  EXPECT_FALSE(facts.block_device);
  EXPECT_EQ(facts.geometry.thin, facts.can_punch);
  EXPECT_EQ(facts.geometry.physical_block_exponent, 3);
  EXPECT_NE(facts.durability, Durability::always);
  if (facts.direct) {
    EXPECT_EQ(512 % facts.transfer_alignment, 0U);
  } else {
    EXPECT_EQ(facts.memory_alignment, 1U);
  }
}

}  // namespace
}  // namespace itgtd::backend
