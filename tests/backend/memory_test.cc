#include "target/backend/memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "tests/backend/harness.h"

namespace itgtd::backend {
namespace {

TEST(NullTest, ReadsDefinedDataWhateverTheBufferHeld) {
  Harness harness(open_or_fail({.path = "null:1G"}));
  Buffer buffer(65536);
  EXPECT_EQ(harness.write(0, buffer.bytes()).error, 0);
  const scsi::IoResult result = harness.read(4096, buffer.bytes());
  EXPECT_EQ(result.error, 0);
  EXPECT_EQ(result.bytes_done, 65536U);
  EXPECT_TRUE(all_equal(buffer.bytes(), std::byte{0}));
  EXPECT_EQ(harness.flush().error, 0);
  EXPECT_EQ(harness.unmap(0, 1 << 30).error, 0);
  EXPECT_EQ(harness.ring().counters().submitted, 0U) << "null must not touch the ring";
}

// What is lent must be what a copy would have been; what is too long to be lent is a copy.
TEST(NullTest, LendsZerosToWhoMayBorrow) {
  Harness harness(open_or_fail({.path = "null:1G"}));
  Buffer buffer(1 << 20);
  std::ranges::fill(buffer.bytes(), std::byte{0xA5});
  scsi::Io io{scsi::IoKind::read, false, 4096, 65536, buffer.bytes().data(), true};
  const scsi::IoResult lent = harness.run(io);
  EXPECT_EQ(lent.error, 0);
  EXPECT_EQ(lent.bytes_done, 65536U);
  ASSERT_NE(lent.borrowed, nullptr);
  EXPECT_TRUE(all_equal({lent.borrowed, 65536}, std::byte{0}));
  EXPECT_TRUE(all_equal(buffer.bytes(), std::byte{0xA5})) << "lent, and written all the same";

  io.length_bytes = buffer.bytes().size();
  const scsi::IoResult copied = harness.run(io);
  EXPECT_EQ(copied.error, 0);
  EXPECT_EQ(copied.borrowed, nullptr);
  EXPECT_TRUE(all_equal(buffer.bytes(), std::byte{0}));

  io.may_borrow = false;
  io.length_bytes = 4096;
  std::ranges::fill(buffer.bytes(), std::byte{0xA5});
  EXPECT_EQ(harness.run(io).borrowed, nullptr);
  EXPECT_TRUE(all_equal(buffer.bytes().first(4096), std::byte{0}));
  io.may_borrow = true;
  io.offset_bytes = uint64_t{1} << 30;
  EXPECT_EQ(harness.run(io).error, EIO);
  EXPECT_EQ(harness.run(io).borrowed, nullptr);
}

TEST(RamTest, UntouchedReadsZeroAndCostsNothing) {
  Harness harness(open_or_fail({.path = "ram:1T"}));
  Buffer buffer(4096);
  EXPECT_EQ(harness.read((uint64_t{1} << 40) - 4096, buffer.bytes()).error, 0);
  EXPECT_TRUE(all_equal(buffer.bytes(), std::byte{0}));
}

TEST(RamTest, BeyondTheEndIsAnErrorAndTouchesNothing) {
  Harness harness(open_or_fail({.path = "ram:1M"}));
  Harness null_harness(open_or_fail({.path = "null:1M"}));
  Buffer buffer(4096);
  for (Harness* it : {&harness, &null_harness}) {
    for (const uint64_t offset :
         {uint64_t{(1 << 20) - 512}, uint64_t{1} << 20, UINT64_MAX - 512, UINT64_MAX}) {
      EXPECT_EQ(it->read(offset, buffer.bytes()).error, EIO);
      EXPECT_EQ(it->write(offset, buffer.bytes()).error, EIO);
      EXPECT_EQ(it->unmap(offset, 4096).error, EIO);
    }
    EXPECT_TRUE(all_equal(buffer.bytes(), Buffer::kOld));
  }
}

TEST(RamTest, UnmapGivesMemoryBackAndClearsTheEdges) {
  const auto medium = open_or_fail({.path = "ram:64M"});
  Harness harness(medium);
  Buffer ones(1 << 20);
  ones.fill(std::byte{1});
  for (uint64_t at = 0; at < (64U << 20); at += 1 << 20) ASSERT_EQ(harness.write(at, ones.bytes()).error, 0);
  // Larger than one turn clears.
  ASSERT_EQ(harness.unmap(512, (48U << 20) - 1024).error, 0);
  EXPECT_GT(harness.ring().counters().submitted, 1U) << "a long range must leave turns to others";
  Buffer back(4096);
  ASSERT_EQ(harness.read(0, back.bytes()).error, 0);
  EXPECT_TRUE(all_equal(back.bytes().first(512), std::byte{1}));
  EXPECT_TRUE(all_equal(back.bytes().subspan(512), std::byte{0}));
  ASSERT_EQ(harness.read((48U << 20) - 4096, back.bytes()).error, 0);
  EXPECT_TRUE(all_equal(back.bytes().first(4096 - 512), std::byte{0}));
  EXPECT_TRUE(all_equal(back.bytes().subspan(4096 - 512), std::byte{1}));
  // mincore() tells what is there: the hole's first whole pages are not.
  std::array<unsigned char, 16> there{};
  auto& ram = dynamic_cast<RamMedium&>(*medium);
  ASSERT_EQ(::mincore(ram.memory().data() + (4 << 20), there.size() * 4096, there.data()), 0);
  for (const unsigned char page : there) EXPECT_EQ(page & 1U, 0U);
}

TEST(RamTest, ExtentsAreMappedAndStayAsTheyAre) {
  Harness harness(open_or_fail({.path = "ram:1M"}));
  Buffer ones(4096);
  ones.fill(std::byte{1});
  ASSERT_EQ(harness.write(0, ones.bytes()).error, 0);
  const scsi::IoResult result = harness.extent(0, 1 << 20);
  EXPECT_EQ(result.error, 0);
  EXPECT_EQ(result.bytes_done, 1U << 20);
  EXPECT_TRUE(result.mapped);
  EXPECT_EQ(harness.extent(1 << 20, 512).error, EIO);
  Buffer back(4096);
  ASSERT_EQ(harness.read(0, back.bytes()).error, 0);
  EXPECT_TRUE(all_equal(back.bytes(), std::byte{1}));
}

TEST(NullTest, HoldsNothing) {
  Harness harness(open_or_fail({.path = "null:1M"}));
  const scsi::IoResult result = harness.extent(0, 1 << 20);
  EXPECT_EQ(result.error, 0);
  EXPECT_EQ(result.bytes_done, 1U << 20);
  EXPECT_FALSE(result.mapped);
  Buffer buffer(512);
  EXPECT_TRUE(harness.read(0, buffer.bytes()).mapped);
}

TEST(RamTest, TwoBackendsOfOneMediumSeeTheSame) {
  const auto medium = open_or_fail({.path = "ram:1M"});
  Harness one(medium);
  Harness two(medium);
  Buffer buffer(4096);
  buffer.fill(std::byte{7});
  ASSERT_EQ(one.write(8192, buffer.bytes()).error, 0);
  buffer.fill(Buffer::kOld);
  ASSERT_EQ(two.read(8192, buffer.bytes()).error, 0);
  EXPECT_TRUE(all_equal(buffer.bytes(), std::byte{7}));
}

}  // namespace
}  // namespace itgtd::backend
