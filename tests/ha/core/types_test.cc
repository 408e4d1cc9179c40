#include "ha/core/types.h"

#include <gtest/gtest.h>

namespace itgtd::ha {
namespace {

TEST(Timing, LeaseOutlivesTheFormingOfARing) {
  const Timing timing = Timing::of(1000, 1200);
  EXPECT_GT(timing.lease_ms, 2200);
  // Three renewals may be lost before it ends.
  EXPECT_GE(timing.lease_ms, 4 * timing.heartbeat_ms);
  EXPECT_GE(timing.margin_ms, timing.lease_ms / 100);
  EXPECT_GT(timing.hung_ms, timing.lease_ms + timing.margin_ms);
}

}  // namespace
}  // namespace itgtd::ha
