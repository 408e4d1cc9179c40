#include "base/buddy_pool.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>

namespace itgtd {
namespace {

constexpr size_t kMin = BuddyPool::kBlockBytesMin;
constexpr size_t kMax = BuddyPool::kBlockBytesMax;

class BuddyPoolTest : public ::testing::Test {
 protected:
  static constexpr size_t kRegionBytes = 4 * kMax;
  BuddyPoolTest() : memory_(static_cast<std::byte*>(std::aligned_alloc(kMin, kRegionBytes)), &std::free) {}
  Bytes region() { return {memory_.get(), kRegionBytes}; }

  std::unique_ptr<std::byte, decltype(&std::free)> memory_;
};

TEST_F(BuddyPoolTest, GivesExactlyTheSizeAskedFor) {
  BuddyPool pool(region());
  for (const size_t size : {size_t{1}, size_t{511}, kMin - 1, kMin, kMin + 1, 3 * kMin, kMax - 1, kMax}) {
    const Bytes buffer = pool.allocate(size);
    EXPECT_EQ(buffer.size(), size);
    const size_t rounded = std::max(kMin, std::bit_ceil(size));
    EXPECT_EQ(static_cast<size_t>(buffer.data() - region().data()) % rounded, 0U);
    EXPECT_EQ(pool.free_bytes(), kRegionBytes - rounded);
    pool.release(buffer);
    EXPECT_EQ(pool.free_bytes(), kRegionBytes);
  }
}

TEST_F(BuddyPoolTest, EmptyWhenExhaustedAndWholeAgainAfterwards) {
  BuddyPool pool(region());
  std::vector<Bytes> all;
  for (Bytes buffer = pool.allocate(kMin); !buffer.empty(); buffer = pool.allocate(kMin))
    all.push_back(buffer);
  EXPECT_EQ(all.size(), kRegionBytes / kMin);
  EXPECT_EQ(pool.free_bytes(), 0U);
  EXPECT_TRUE(pool.allocate(1).empty());
  for (const Bytes buffer : all) pool.release(buffer);
  // All neighbours were merged: the largest can be had again, four times.
  for (int i = 0; i < 4; ++i) EXPECT_EQ(pool.allocate(kMax).size(), kMax);
  EXPECT_TRUE(pool.allocate(1).empty());
}

TEST_F(BuddyPoolTest, OneSmallBufferKeepsOnlyItsOwnBlockFromMerging) {
  BuddyPool pool(region());
  const Bytes small = pool.allocate(1);
  EXPECT_EQ(pool.allocate(kMax).size(), kMax);
  EXPECT_EQ(pool.allocate(kMax).size(), kMax);
  EXPECT_EQ(pool.allocate(kMax).size(), kMax);
  EXPECT_TRUE(pool.allocate(kMax).empty());
  EXPECT_EQ(pool.allocate(kMax / 2).size(), kMax / 2);
  pool.release(small);
}

TEST_F(BuddyPoolTest, ReleasedByASpanOfAnotherLength) {
  BuddyPool pool(region());
  const Bytes buffer = pool.allocate(100'000);
  pool.release(buffer.first(1));
  EXPECT_EQ(pool.free_bytes(), kRegionBytes);
}

TEST(BuddyPoolEmptyTest, AnEmptyRegionHasNothing) {
  BuddyPool pool(Bytes{});
  EXPECT_TRUE(pool.allocate(1).empty());
}

// Random requests against a map of what is out: no two overlap, sums agree, and room that a model of aligned
// blocks finds is found.
TEST_F(BuddyPoolTest, AgreesWithAModel) {
  BuddyPool pool(region());
  std::map<size_t, size_t> out;  // offset -> rounded size
  std::vector<Bytes> buffers;
  std::mt19937_64 random(3);
  const auto has_room = [&](size_t rounded) {
    for (size_t at = 0; at < kRegionBytes; at += rounded) {
      auto next = out.lower_bound(at);
      const bool next_free = next == out.end() || next->first >= at + rounded;
      const bool previous_free =
          next == out.begin() || std::prev(next)->first + std::prev(next)->second <= at;
      if (next_free && previous_free) return true;
    }
    return false;
  };
  size_t used = 0;
  size_t refused = 0;
  for (int step = 0; step < 30'000; ++step) {
    // Phases of growth and of shrinking, so that both full and empty are visited.
    const bool growing = (step / 500) % 2 == 0;
    if (buffers.empty() || random() % 10 < (growing ? 7U : 3U)) {
      const size_t size = 1 + random() % (size_t{1} << (10 + random() % 13));
      const size_t rounded = std::max(kMin, std::bit_ceil(size));
      const bool room = has_room(rounded);
      const Bytes buffer = pool.allocate(size);
      ASSERT_EQ(!buffer.empty(), room) << "step " << step;
      if (buffer.empty()) {
        ++refused;
        continue;
      }
      const auto offset = static_cast<size_t>(buffer.data() - region().data());
      ASSERT_EQ(offset % rounded, 0U);
      ASSERT_LE(offset + rounded, kRegionBytes);
      const auto [place, fresh] = out.emplace(offset, rounded);
      ASSERT_TRUE(fresh);
      if (place != out.begin()) {
        ASSERT_LE(std::prev(place)->first + std::prev(place)->second, offset);
      }
      if (std::next(place) != out.end()) {
        ASSERT_GE(std::next(place)->first, offset + rounded);
      }
      buffers.push_back(buffer);
      used += rounded;
    } else {
      const size_t index = random() % buffers.size();
      const auto offset = static_cast<size_t>(buffers[index].data() - region().data());
      used -= out.at(offset);
      out.erase(offset);
      pool.release(buffers[index]);
      buffers[index] = buffers.back();
      buffers.pop_back();
    }
    ASSERT_EQ(pool.free_bytes(), kRegionBytes - used);
  }
  EXPECT_GT(refused, 0U) << "the test never filled the pool";
}

using BuddyPoolDeathTest = BuddyPoolTest;

TEST_F(BuddyPoolDeathTest, MisuseIsABug) {
  BuddyPool pool(region());
  const Bytes buffer = pool.allocate(3 * kMin);
  EXPECT_DEATH(static_cast<void>(pool.allocate(0)), "assertion failed");
  EXPECT_DEATH(static_cast<void>(pool.allocate(kMax + 1)), "assertion failed");
  EXPECT_DEATH(pool.release(buffer.subspan(1)), "assertion failed");
  EXPECT_DEATH(pool.release(buffer.subspan(kMin)), "assertion failed");
  EXPECT_DEATH(pool.release({region().data() + kRegionBytes, 1}), "assertion failed");
  pool.release(buffer);
  EXPECT_DEATH(pool.release(buffer), "assertion failed");
  EXPECT_DEATH(BuddyPool(region().first(kMax + kMin)), "assertion failed");
}

}  // namespace
}  // namespace itgtd
