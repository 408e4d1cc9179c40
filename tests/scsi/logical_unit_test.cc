#include "scsi/logical_unit.h"

#include <gtest/gtest.h>

#include <string>

namespace itgtd::scsi {
namespace {

std::string hex(const std::array<uint8_t, 16>& naa) {
  std::string text;
  for (const uint8_t byte : naa) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

TEST(Naa, OfTheSeed) {
  EXPECT_EQ(hex(make_naa("aaaaaaa0")), "6001405aaaaaaa000000000000000000");
}

TEST(Naa, SkipsWhatIsNoDigitAndStopsWhenFull) {
  EXPECT_EQ(hex(make_naa("")), "60014050000000000000000000000000");
  EXPECT_EQ(hex(make_naa("zzz-1-G-2F")), "600140512f0000000000000000000000");
  EXPECT_EQ(hex(make_naa("0123456789abcdef0123456789abcdef")), "60014050123456789abcdef012345678");
}

TEST(LuDecision, ResetReleasesTheReservationAndTellsAll) {
  LuState state;
  state.generation = 4;
  state.reserved_by = 9;
  const Decision decision = on_logical_unit_reset(state, 1);
  ASSERT_TRUE(decision.state);
  EXPECT_EQ(decision.state->reserved_by, 0U);
  EXPECT_EQ(decision.state->generation, 5U);
  ASSERT_EQ(decision.unit_attentions.size(), 1U);
  EXPECT_EQ(decision.unit_attentions[0].scope, UnitAttentionRaise::Scope::all);
  EXPECT_EQ(decision.unit_attentions[0].asc, Asc::bus_device_reset_occurred);
}

TEST(LuDecision, ResetOfAnUnreservedOneOnlyTells) {
  LuState state;
  state.condition = LuCondition::stopped;
  const Decision decision = on_logical_unit_reset(state, 1);
  EXPECT_FALSE(decision.state);
  EXPECT_EQ(decision.unit_attentions.size(), 1U);
}

TEST(LuDecision, NexusLossTakesOnlyItsOwnReservation) {
  LuState state;
  state.reserved_by = 9;
  EXPECT_FALSE(on_nexus_loss(state, 8).state);
  const Decision decision = on_nexus_loss(state, 9);
  ASSERT_TRUE(decision.state);
  EXPECT_EQ(decision.state->reserved_by, 0U);
  EXPECT_TRUE(decision.unit_attentions.empty());
}

TEST(LuDecision, CapacityChangeTellsAll) {
  LuState state;
  state.block_count = 10;
  const Decision same = on_capacity_change(state, 10);
  EXPECT_FALSE(same.state);
  EXPECT_TRUE(same.unit_attentions.empty());
  const Decision grown = on_capacity_change(state, 20);
  ASSERT_TRUE(grown.state);
  EXPECT_EQ(grown.state->block_count, 20U);
  ASSERT_EQ(grown.unit_attentions.size(), 1U);
  EXPECT_EQ(grown.unit_attentions[0].asc, Asc::capacity_data_has_changed);
}

TEST(LuDecision, AMediumThatIsAttachedIsAnotherOneForAll) {
  LuState state;
  state.condition = LuCondition::not_ready;
  ThinUsage usage;
  usage.known = true;
  const Decision decision = on_medium_attached(state, LuCondition::sanitize_failed, 77, usage);
  ASSERT_TRUE(decision.state);
  EXPECT_EQ(decision.state->condition, LuCondition::sanitize_failed);
  EXPECT_EQ(decision.state->block_count, 77U);
  EXPECT_EQ(decision.state->thin_usage, usage);
  ASSERT_EQ(decision.unit_attentions.size(), 1U);
  EXPECT_EQ(decision.unit_attentions[0].scope, UnitAttentionRaise::Scope::all);
  EXPECT_EQ(decision.unit_attentions[0].asc, Asc::not_ready_to_ready_medium_may_have_changed);
}

TEST(LuDecision, AWriteCacheThatIsConfiguredAnewIsTold) {
  const LuState state;
  const Decision off = on_write_cache_configured(state, false);
  ASSERT_TRUE(off.state);
  EXPECT_FALSE(off.state->write_cache);
  EXPECT_FALSE(off.state->write_cache_default);
  ASSERT_EQ(off.unit_attentions.size(), 1U);
  EXPECT_EQ(off.unit_attentions[0].asc, Asc::mode_parameters_changed);
  const Decision same = on_write_cache_configured(*off.state, false);
  EXPECT_FALSE(same.state);
  EXPECT_TRUE(same.unit_attentions.empty());
}

}  // namespace
}  // namespace itgtd::scsi
