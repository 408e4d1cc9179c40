#include "target/backend/faulty.h"

#include <gtest/gtest.h>

#include "tests/backend/harness.h"

namespace itgtd::backend {
namespace {

using namespace std::chrono_literals;

std::shared_ptr<FaultyMedium> faulty() {
  auto made = FaultyMedium::wrap(open_or_fail({.path = "ram:1M"}));
  EXPECT_TRUE(made.ok());
  return made.value();
}

TEST(FaultyTest, FailsTheNthOfItsKind) {
  const auto medium = faulty();
  Harness harness(medium);
  Buffer buffer(512);
  medium->fail(scsi::IoKind::write, 2, ENOSPC);
  EXPECT_EQ(harness.write(0, buffer.bytes()).error, 0);
  EXPECT_EQ(harness.read(0, buffer.bytes()).error, 0);
  const scsi::IoResult second = harness.write(0, buffer.bytes());
  EXPECT_EQ(second.error, ENOSPC);
  EXPECT_EQ(second.bytes_done, 0U);
  EXPECT_EQ(harness.write(0, buffer.bytes()).error, 0);
  EXPECT_EQ(medium->started(scsi::IoKind::write), 3U);
}

TEST(FaultyTest, PassesExtentsThrough) {
  const auto medium = FaultyMedium::wrap(open_or_fail({.path = "null:1M"})).value();
  Harness harness(medium);
  medium->fail(scsi::IoKind::extent, 2, EIO);
  EXPECT_FALSE(harness.extent(0, 4096).mapped);
  EXPECT_EQ(harness.extent(0, 4096).error, EIO);
  EXPECT_EQ(harness.extent(0, 4096).bytes_done, 4096U);
}

TEST(FaultyTest, HoldsUntilReleased) {
  const auto medium = faulty();
  Harness harness(medium);
  Buffer buffer(512);
  medium->hold(scsi::IoKind::read);
  harness.start(0, {scsi::IoKind::read, false, 0, 512, buffer.data()});
  harness.start(1, {scsi::IoKind::read, false, 0, 512, buffer.data()});
  harness.start(2, {scsi::IoKind::flush, false, 0, 0, nullptr});
  EXPECT_EQ(harness.wait_for(1).size(), 1U);
  EXPECT_TRUE(harness.turn(5ms).empty());
  EXPECT_EQ(medium->held(), 2U);
  EXPECT_TRUE(all_equal(buffer.bytes(), Buffer::kOld));
  medium->release();
  harness.wait_for(2);
  EXPECT_EQ(medium->held(), 0U);
  EXPECT_TRUE(all_equal(buffer.bytes(), std::byte{0}));
  EXPECT_EQ(harness.read(0, buffer.bytes()).error, 0);
}

TEST(FaultyTest, AHeldOneCanBeCancelled) {
  const auto medium = faulty();
  Harness harness(medium);
  Buffer buffer(512);
  medium->hold(scsi::IoKind::write);
  const BackendOp& op = harness.start(3, {scsi::IoKind::write, false, 0, 512, buffer.data()});
  harness.ring().cancel(op.op);
  harness.wait_for(1);
  EXPECT_EQ(op.result.error, ECANCELED);
}

}  // namespace
}  // namespace itgtd::backend
