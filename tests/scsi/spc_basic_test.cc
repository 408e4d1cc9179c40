#include <array>

#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {
namespace {

using Wire = std::vector<uint8_t>;

class SpcBasic : public TargetFixture {
 protected:
  static constexpr uint8_t kStart = 1;
  static constexpr uint8_t kLoadEject = 2;
  static constexpr uint8_t kNoFlush = 4;

  Outcome start_stop(uint64_t lun, uint8_t action, uint8_t immed = 0) {
    return run(nexus, lun, {0x1B, immed, 0, 0, action, 0});
  }
  Outcome test_unit_ready(uint64_t lun) { return run(nexus, lun, {0, 0, 0, 0, 0, 0}); }
};

TEST_F(SpcBasic, TestUnitReady) {
  const Outcome outcome = test_unit_ready(kLun0);
  EXPECT_TRUE(is_good(outcome));
  EXPECT_EQ(outcome.phase.direction, DataDirection::none);
  EXPECT_EQ(outcome.phase.transfer_bytes, 0U);
}

TEST_F(SpcBasic, RequestSenseSaysNoSense) {
  EXPECT_EQ(run({0x03, 0, 0, 0, 252, 0}).data,
            (Wire{0x70, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(run({0x03, 1, 0, 0, 252, 0}).data, (Wire{0x72, 0, 0, 0, 0, 0, 0, 0}));
}

TEST_F(SpcBasic, RequestSenseTellsAUnitAttentionOnce) {
  nexus.raise(0, Asc::mode_parameters_changed);
  nexus.raise(0, Asc::capacity_data_has_changed);
  EXPECT_EQ(run({0x03, 1, 0, 0, 252, 0}).data, (Wire{0x72, 6, 0x2A, 0x01, 0, 0, 0, 0}));
  EXPECT_EQ(run({0x03, 1, 0, 0, 252, 0}).data, (Wire{0x72, 6, 0x2A, 0x09, 0, 0, 0, 0}));
  EXPECT_EQ(run({0x03, 1, 0, 0, 252, 0}).data, (Wire{0x72, 0, 0, 0, 0, 0, 0, 0}));
}

TEST_F(SpcBasic, RequestSenseTellsWhyItIsNotReady) {
  LuState state = *disk.state;
  state.condition = LuCondition::not_ready;
  set_state(disk, state);
  EXPECT_EQ(run({0x03, 1, 0, 0, 252, 0}).data, (Wire{0x72, 2, 0x04, 0x03, 0, 0, 0, 0}));
}

TEST_F(SpcBasic, RequestSenseOfNoLogicalUnit) {
  EXPECT_EQ(run(nexus, kLunMissing, {0x03, 1, 0, 0, 252, 0}).data, (Wire{0x72, 5, 0x25, 0x00, 0, 0, 0, 0}));
  EXPECT_EQ(run(nexus, ~uint64_t{0}, {0x03, 1, 0, 0, 252, 0}).data, (Wire{0x72, 5, 0x25, 0x00, 0, 0, 0, 0}));
  EXPECT_EQ(run(nexus, kLunWellKnown, {0x03, 1, 0, 0, 252, 0}).data, (Wire{0x72, 0, 0, 0, 0, 0, 0, 0}));
}

TEST_F(SpcBasic, StopFlushesThenStops) {
  const Outcome stop = start_stop(kLun0, 0);
  EXPECT_TRUE(is_good(stop));
  ASSERT_EQ(stop.ios.size(), 1U);
  EXPECT_EQ(stop.ios[0].kind, IoKind::flush);
  EXPECT_EQ(disk.state->condition, LuCondition::stopped);
  EXPECT_EQ(disk.state->generation, 1U);
  EXPECT_TRUE(is_check(test_unit_ready(kLun0), sense::not_ready(Asc::initializing_command_required)));

  EXPECT_TRUE(start_stop(kLun0, kStart).ios.empty());
  EXPECT_TRUE(is_good(test_unit_ready(kLun0)));
}

TEST_F(SpcBasic, StopWithNoFlush) {
  EXPECT_TRUE(start_stop(kLun0, kNoFlush).ios.empty());
  EXPECT_EQ(disk.state->condition, LuCondition::stopped);
}

TEST_F(SpcBasic, StopThatCanNotFlushDoesNotStop) {
  io_result.error = 5;
  EXPECT_EQ(start_stop(kLun0, 0).sense.asc, Asc::write_error);
  EXPECT_EQ(disk.state->condition, LuCondition::ready);
}

TEST_F(SpcBasic, OnlyARemovableMediumIsEjected) {
  EXPECT_TRUE(is_check(start_stop(kLun0, kLoadEject), sense::invalid_field_in_cdb(4, 1)));
  EXPECT_TRUE(is_check(start_stop(kLun0, kLoadEject | kStart), sense::invalid_field_in_cdb(4, 1)));
  EXPECT_TRUE(is_good(test_unit_ready(kLun0)));
}

TEST_F(SpcBasic, EjectAndLoad) {
  for (const uint8_t immed : std::to_array<uint8_t>({0, 1})) {
    EXPECT_TRUE(is_good(start_stop(kLun1, kLoadEject, immed)));
    EXPECT_TRUE(is_check(test_unit_ready(kLun1), sense::medium_not_present()));
    // There is nothing to start.
    EXPECT_TRUE(is_check(start_stop(kLun1, kStart), sense::medium_not_present()));
    EXPECT_TRUE(is_good(start_stop(kLun1, 0)));
    EXPECT_EQ(cartridge.state->condition, LuCondition::ejected);

    EXPECT_TRUE(is_good(start_stop(kLun1, kLoadEject | kStart, immed)));
    EXPECT_TRUE(is_good(test_unit_ready(kLun1)));
    EXPECT_EQ(other.take(1), Asc::not_ready_to_ready_medium_may_have_changed);
    EXPECT_FALSE(nexus.pending(1));
  }
}

// As hosts of removable disks (and iscsi-test-cu) expect: not ejected means there.
TEST_F(SpcBasic, StoppingARemovableOneLeavesItReady) {
  EXPECT_TRUE(is_good(start_stop(kLun1, 0)));
  EXPECT_TRUE(is_good(test_unit_ready(kLun1)));
}

TEST_F(SpcBasic, PowerConditionsMakeStartAndLoejVoid) {
  for (uint8_t condition = 1; condition < 16; ++condition) {
    const auto action = static_cast<uint8_t>((condition << 4) | kLoadEject);
    EXPECT_TRUE(is_good(start_stop(kLun1, action)));
    EXPECT_TRUE(is_good(test_unit_ready(kLun1)));
    EXPECT_TRUE(is_good(start_stop(kLun0, action)));
    EXPECT_TRUE(is_good(test_unit_ready(kLun0)));
  }
}

TEST_F(SpcBasic, StartDoesNotBringABackendThatIsGone) {
  LuState state = *disk.state;
  state.condition = LuCondition::not_ready;
  set_state(disk, state);
  EXPECT_TRUE(is_check(start_stop(kLun0, kStart), sense::not_ready(Asc::manual_intervention_required)));
  EXPECT_EQ(disk.state->condition, LuCondition::not_ready);
}

}  // namespace
}  // namespace itgtd::scsi
