#include "target/backend/block_queue.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <fstream>

namespace itgtd::backend {
namespace {

namespace fs = std::filesystem;

class BlockQueueTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "itgtd-sys-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }
  void put(const std::string& path, const std::string& text) {
    const fs::path full = root_ / path;
    fs::create_directories(full.parent_path());
    std::ofstream(full) << text << '\n';
  }
  fs::path root_;
};

TEST_F(BlockQueueTest, AbsentIsCautious) {
  const BlockQueue queue = read_block_queue(makedev(7, 0), root_.string());
  EXPECT_FALSE(queue.write_through);
  EXPECT_FALSE(queue.fua);
  EXPECT_EQ(queue.discard_bytes_max, 0U);
}

TEST_F(BlockQueueTest, DiskAndItsPartition) {
  put("devices/sda/queue/write_cache", "write through");
  put("devices/sda/queue/fua", "1");
  put("devices/sda/queue/rotational", "1");
  put("devices/sda/queue/discard_granularity", "4096");
  put("devices/sda/queue/discard_max_bytes", "2147450880");
  put("devices/sda/queue/write_zeroes_max_bytes", "33553920");
  put("devices/sda/sda1/partition", "1");
  fs::create_directories(root_ / "dev/block");
  fs::create_directory_symlink("../../devices/sda", root_ / "dev/block/8:0");
  fs::create_directory_symlink("../../devices/sda/sda1", root_ / "dev/block/8:1");
  for (const unsigned minor : {0U, 1U}) {
    const BlockQueue queue = read_block_queue(makedev(8, minor), root_.string());
    EXPECT_TRUE(queue.write_through);
    EXPECT_TRUE(queue.fua);
    EXPECT_TRUE(queue.rotational);
    EXPECT_EQ(queue.discard_granularity_bytes, 4096U);
    EXPECT_EQ(queue.discard_bytes_max, 2147450880U);
    EXPECT_EQ(queue.write_zeroes_bytes_max, 33553920U);
  }
}

TEST_F(BlockQueueTest, WriteBackAndJunk) {
  put("dev/block/8:0/queue/write_cache", "write back");
  put("dev/block/8:0/queue/fua", "yes");
  put("dev/block/8:0/queue/discard_max_bytes", "-1");
  const BlockQueue queue = read_block_queue(makedev(8, 0), root_.string());
  EXPECT_FALSE(queue.write_through);
  EXPECT_FALSE(queue.fua);
  EXPECT_EQ(queue.discard_bytes_max, 0U);
}

}  // namespace
}  // namespace itgtd::backend
