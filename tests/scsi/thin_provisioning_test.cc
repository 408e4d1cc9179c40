#include "scsi/thin_provisioning.h"

#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {
namespace {

constexpr uint64_t kSet = kThresholdSetBlocks;

ThinUsage usage(uint64_t used_sets, uint64_t available_sets) {
  return {true, used_sets * kSet, available_sets * kSet};
}

class ThinUsageTest : public ::testing::Test {
 protected:
  /// How many were told.
  size_t look(const ThinUsage& now) {
    const Decision decision = on_thin_usage(state, now);
    if (decision.state) state = *decision.state;
    if (!decision.unit_attentions.empty()) last = decision.unit_attentions.back();
    return decision.unit_attentions.size();
  }
  LuState state;
  UnitAttentionRaise last;
};

TEST_F(ThinUsageTest, IsPublishedWhenItMovedASet) {
  EXPECT_EQ(look(usage(10, 100)), 0U);
  EXPECT_EQ(state.generation, 2U);
  ThinUsage now = usage(10, 100);
  now.used_blocks += kSet - 1;
  now.available_blocks -= kSet - 1;
  EXPECT_EQ(look(now), 0U);
  EXPECT_EQ(state.generation, 2U) << "not worth telling";
  ++now.used_blocks;
  EXPECT_EQ(look(now), 0U);
  EXPECT_EQ(state.generation, 3U);
  EXPECT_EQ(state.thin_usage, now);
  EXPECT_EQ(look({}), 0U);
  EXPECT_EQ(state.thin_usage, now) << "not known now, but it was";
}

TEST_F(ThinUsageTest, NothingIsToldUnasked) {
  EXPECT_EQ(look(usage(10, 0)), 0U);
}

TEST_F(ThinUsageTest, LittleLeftIsToldOnceUntilItIsBack) {
  state.thresholds.available = {true, 50};
  EXPECT_EQ(look(usage(10, 51)), 0U);
  EXPECT_EQ(look(usage(11, 50)), 1U);
  EXPECT_EQ(last.asc, Asc::thin_provisioning_soft_threshold_reached);
  EXPECT_EQ(last.scope, UnitAttentionRaise::Scope::all);
  EXPECT_EQ(look(usage(30, 31)), 0U);
  EXPECT_EQ(look(usage(11, 60)), 0U);
  EXPECT_EQ(look(usage(30, 31)), 1U);
}

TEST_F(ThinUsageTest, MuchUsedIsTold) {
  state.thresholds.used = {true, 20};
  EXPECT_EQ(look(usage(19, 51)), 0U);
  ThinUsage now = usage(19, 51);
  ++now.used_blocks;  // a part of the twentieth
  EXPECT_EQ(look(now), 1U) << "although it moved less than a set";
  EXPECT_EQ(look(usage(20, 51)), 0U);
}

TEST_F(ThinUsageTest, WithoutLbpereNothingIsTold) {
  state.thresholds.available = {true, 50};
  state.thresholds.reported = false;
  EXPECT_EQ(look(usage(11, 1)), 0U);
  state.thresholds.reported = true;
  EXPECT_EQ(look(usage(11, 1)), 1U) << "turned on, it is told of what is";
}

TEST_F(ThinUsageTest, ASingleInitiator) {
  state.thresholds.available = {true, 50};
  state.thresholds.single_initiator = true;
  state.thresholds.initiator = 7;
  EXPECT_EQ(look(usage(11, 1)), 1U);
  EXPECT_EQ(last.scope, UnitAttentionRaise::Scope::only);
  EXPECT_EQ(last.nexus, 7U);
  state.thresholds.initiator = 0;
  EXPECT_EQ(look(usage(11, 60)), 0U);
  EXPECT_EQ(look(usage(11, 1)), 1U);
  EXPECT_EQ(last.scope, UnitAttentionRaise::Scope::all) << "the one has gone";
}

TEST_F(ThinUsageTest, SetsSaturate) {
  EXPECT_EQ(available_sets({true, 0, kSet - 1}), 0U);
  EXPECT_EQ(used_sets({true, 1, 0}), 1U);
  EXPECT_EQ(used_sets({true, UINT64_MAX, UINT64_MAX}), UINT32_MAX);
  EXPECT_EQ(available_sets({true, UINT64_MAX, UINT64_MAX}), UINT32_MAX);
}

class ThresholdExponent : public TargetFixture {};

TEST_F(ThresholdExponent, IsToldWhereThereAreThresholds) {
  disk.geometry.thin = true;
  EXPECT_EQ(run({0x12, 1, 0xB2, 0, 255, 0}).data.at(4), 0);
  LuState state = *disk.state;
  state.thin_usage.known = true;
  set_state(disk, state);
  EXPECT_EQ(run({0x12, 1, 0xB2, 0, 255, 0}).data.at(4), kThresholdExponent);
  disk.geometry.thin = false;
  EXPECT_EQ(run({0x12, 1, 0xB2, 0, 255, 0}).data.at(4), 0);
}

}  // namespace
}  // namespace itgtd::scsi
