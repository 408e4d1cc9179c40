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

TEST(LuDecision, ConditionChange) {
  LuState state;
  EXPECT_FALSE(on_condition_change(state, LuCondition::ready).state);
  const Decision gone = on_condition_change(state, LuCondition::not_ready);
  ASSERT_TRUE(gone.state);
  EXPECT_EQ(gone.state->condition, LuCondition::not_ready);
}

}  // namespace
}  // namespace itgtd::scsi
