#include "target/slot_format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace itgtd::target {
namespace {

using Value = std::vector<std::byte>;

Value random_value(std::mt19937_64& random, size_t bytes) {
  Value value(bytes);
  for (std::byte& byte : value) byte = static_cast<std::byte>(random());
  return value;
}

/// A disk: both slots as they stand on it. Never written: zeros.
class Disk {
 public:
  Disk() : slots_{Value(kRoom), Value(kRoom)} {}
  static constexpr size_t kRoom = 16384;

  Value& slot(const SlotWrite& write) { return slots_.at(write.offset_bytes / kSlotStrideBytes); }
  void apply(const SlotWrite& write) { std::ranges::copy(write.bytes, slot(write).begin()); }
  [[nodiscard]] Result<Slot> newest() const { return newest_slot({slots_[0], slots_[1]}); }

  /// Saves as FileLuStore does: a write that depends on what is there.
  SlotWrite save(const Value& value, bool first = false) {
    const auto before = newest();
    const SlotWrite write = next_slot_write(first ? nullptr : &before.value(), value);
    apply(write);
    return write;
  }

 private:
  std::array<Value, kSlotCount> slots_;
};

TEST(SlotFormat, WhatIsSavedIsLoaded) {
  std::mt19937_64 random(1);
  Disk disk;
  EXPECT_FALSE(disk.newest().ok()) << "nothing there";
  for (uint64_t round = 1; round <= 20; ++round) {
    const Value value = random_value(random, random() % 3000);
    const SlotWrite write = disk.save(value, round == 1);
    const auto newest = disk.newest();
    ASSERT_TRUE(newest.ok());
    EXPECT_EQ(newest->payload, value);
    EXPECT_EQ(newest->generation, round);
    EXPECT_EQ(newest->index, (round - 1) % 2);
    EXPECT_EQ(write.offset_bytes, (round - 1) % 2 * kSlotStrideBytes);
  }
}

// The offsets are what keeps a slot that grows from reaching into the other.
TEST(SlotFormat, TheLargestValueStaysInItsSlot) {
  const SlotWrite write = next_slot_write(nullptr, Value(kSlotPayloadBytesMax));
  EXPECT_EQ(write.offset_bytes, 0U);
  EXPECT_EQ(write.bytes.size(), kSlotStrideBytes);
  const Slot newest = {0, 1, {}};
  EXPECT_EQ(next_slot_write(&newest, Value(1)).offset_bytes, kSlotStrideBytes);
}

/// The old value or the new one, and the whole write gives the new one.
::testing::AssertionResult is_either(const Disk& disk, const Value& old_value, const Value& new_value) {
  const auto newest = disk.newest();
  if (!newest.ok()) return ::testing::AssertionFailure() << newest.error().to_string();
  if (newest->payload == old_value || newest->payload == new_value) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "a mix";
}

TEST(SlotFormat, ACrashAfterEveryByte) {
  std::mt19937_64 random(2);
  // The sizes of the first value, the second and the third: growing, shrinking, empty.
  for (const auto& sizes : std::vector<std::array<size_t, 3>>{
           {700, 700, 700}, {10, 1500, 3000}, {3000, 1500, 10}, {0, 600, 0}, {1200, 0, 1200}}) {
    Disk disk;
    Value current = random_value(random, sizes[0]);
    disk.save(current, true);
    for (const size_t bytes : {sizes[1], sizes[2]}) {
      const Value next = random_value(random, bytes);
      const auto before = disk.newest();
      const SlotWrite write = next_slot_write(&before.value(), next);
      for (size_t i = 0; i < write.bytes.size(); ++i) {
        ASSERT_TRUE(is_either(disk, current, next)) << i;
        disk.slot(write)[i] = write.bytes[i];
      }
      ASSERT_EQ(disk.newest()->payload, next);
      current = next;
    }
  }
}

// The disk writes sectors in any order, and each as a whole.
TEST(SlotFormat, ACrashBetweenSectorsInAnyOrder) {
  constexpr size_t kSector = 512;
  std::mt19937_64 random(3);
  for (int round = 0; round < 300; ++round) {
    Disk disk;
    Value current = random_value(random, random() % 8000);
    disk.save(current, true);
    for (int save = 0; save < 3; ++save) {
      // Often much like the one before, as a snapshot is.
      Value next = current;
      next.resize(random() % 3 == 0 ? random() % 8000 : next.size());
      if (!next.empty()) next[random() % next.size()] ^= std::byte{1};
      const auto before = disk.newest();
      const SlotWrite write = next_slot_write(&before.value(), next);
      std::vector<size_t> sectors((write.bytes.size() + kSector - 1) / kSector);
      for (size_t i = 0; i < sectors.size(); ++i) sectors[i] = i * kSector;
      std::shuffle(sectors.begin(), sectors.end(), random);
      for (const size_t at : sectors) {
        ASSERT_TRUE(is_either(disk, current, next)) << round;
        const size_t count = std::min(kSector, write.bytes.size() - at);
        std::copy_n(write.bytes.begin() + static_cast<std::ptrdiff_t>(at), count,
                    disk.slot(write).begin() + static_cast<std::ptrdiff_t>(at));
      }
      ASSERT_EQ(disk.newest()->payload, next);
      current = next;
    }
  }
}

TEST(SlotFormat, EveryChangedBitIsNoticed) {
  std::mt19937_64 random(4);
  const Value value = random_value(random, 200);
  const SlotWrite write = next_slot_write(nullptr, value);
  for (size_t i = 0; i < write.bytes.size() * 8; ++i) {
    Value changed = write.bytes;
    changed[i / 8] ^= static_cast<std::byte>(1 << i % 8);
    EXPECT_FALSE(newest_slot({changed, {}}).ok()) << i;
    EXPECT_FALSE(newest_slot({ConstBytes(), changed}).ok()) << i;
  }
  for (size_t length = 0; length < write.bytes.size(); ++length) {
    EXPECT_FALSE(newest_slot({ConstBytes(write.bytes).first(length), {}}).ok()) << length;
  }
  EXPECT_TRUE(newest_slot({write.bytes, {}}).ok());
}

TEST(SlotFormat, LengthsThatLie) {
  SlotWrite write = next_slot_write(nullptr, Value(100));
  EXPECT_EQ(slot_bytes(write.bytes), 132U);
  EXPECT_EQ(slot_bytes(ConstBytes(write.bytes).first(kSlotHeaderBytes)), 132U);
  EXPECT_EQ(slot_bytes(ConstBytes(write.bytes).first(kSlotHeaderBytes - 1)), 0U);
  for (size_t i = 24; i < 28; ++i) {
    Value changed = write.bytes;
    changed[i] = std::byte{0xFF};
    EXPECT_EQ(slot_bytes(changed), 0U);
  }
}

}  // namespace
}  // namespace itgtd::target
