// Random operations, compared with a plain array after each.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/backend/harness.h"

namespace itgtd::backend {
namespace {

constexpr uint64_t kMediumBytes = 2 << 20;
constexpr uint32_t kBlock = 512;
constexpr uint64_t kTransferMax = 600 << 10;  // above the aligned buffer's size, so that it is used in parts

struct Setting {
  const char* name;
  const char* path;  // null: a file
  bool misaligned;
  uint32_t block_bytes;
};

class ModelTest : public ::testing::TestWithParam<Setting> {};

TEST_P(ModelTest, AgreesWithAnArray) {
  TemporaryDirectory directory;
  const Setting& setting = GetParam();
  const std::string path = setting.path == nullptr ? directory.file("disk") : setting.path;
  const auto medium =
      open_or_fail({.path = path, .block_bytes = setting.block_bytes, .create_bytes = kMediumBytes});
  Harness harness(medium);
  Buffer region(1 << 20);
  if (!setting.misaligned) {
    const auto registered = harness.ring().register_region(region.bytes());
    if (!registered) std::printf("without registered buffers: %s\n", registered.error().to_string().c_str());
  }
  std::vector<std::byte> model(kMediumBytes, std::byte{0});
  std::mt19937_64 random(7);
  const uint64_t blocks = kMediumBytes / setting.block_bytes;
  for (int step = 0; step < 400; ++step) {
    const uint64_t first = random() % blocks;
    const uint64_t longest = std::min(blocks - first, kTransferMax / setting.block_bytes);
    const uint64_t count =
        1 + (random() % 2 == 0 ? random() % longest : random() % std::min<uint64_t>(longest, 16));
    const uint64_t offset = first * setting.block_bytes;
    const uint64_t bytes = count * setting.block_bytes;
    const size_t shift = setting.misaligned ? 1 + random() % 500 : (random() % 4) * kBlock;
    const Bytes memory = region.bytes().subspan(shift, bytes);
    const bool durable = random() % 4 == 0;
    scsi::IoResult result;
    switch (random() % 5) {
      case 0:
      case 1:
        std::memset(memory.data(), static_cast<int>(1 + random() % 255), memory.size());
        result = harness.write(offset, memory, durable);
        std::memcpy(model.data() + offset, memory.data(), bytes);
        break;
      case 2:
        result = harness.unmap(offset, bytes);
        ASSERT_TRUE(medium->geometry().unmapped_reads_zero);
        std::memset(model.data() + offset, 0, bytes);
        break;
      case 3:
        result = harness.write_zeroes(offset, bytes, durable);
        std::memset(model.data() + offset, 0, bytes);
        break;
      default:
        std::memset(memory.data(), 0xEE, memory.size());
        result = harness.read(offset, memory);
        ASSERT_EQ(std::memcmp(memory.data(), model.data() + offset, bytes), 0) << "step " << step;
    }
    ASSERT_EQ(result.error, 0) << "step " << step;
    ASSERT_EQ(result.bytes_done, bytes);
    if (random() % 16 == 0) {
      ASSERT_EQ(harness.flush().error, 0);
    }
  }
  for (uint64_t at = 0; at < kMediumBytes; at += 512 << 10) {
    ASSERT_EQ(harness.read(at, region.bytes().first(512 << 10)).error, 0);
    ASSERT_EQ(std::memcmp(region.data(), model.data() + at, 512 << 10), 0);
  }
  EXPECT_EQ(harness.ring().in_flight(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Media, ModelTest,
                         ::testing::Values(Setting{"ram", "ram:2M", false, 512},
                                           Setting{"ram_misaligned", "ram:2M", true, 512},
                                           Setting{"file", nullptr, false, 512},
                                           Setting{"file_misaligned", nullptr, true, 512},
                                           Setting{"file_4k", nullptr, false, 4096}),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

}  // namespace
}  // namespace itgtd::backend
