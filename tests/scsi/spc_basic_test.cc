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

TEST_F(SpcBasic, RequestSenseTellsHowFarItIs) {
  LuState state = *disk.state;
  state.progress = 0x1234;
  state.condition = LuCondition::formatting;
  set_state(disk, state);
  EXPECT_EQ(run({0x03, 0, 0, 0, 252, 0}).data,
            (Wire{0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x04, 0x04, 0, 0x80, 0x12, 0x34}));
  state.condition = LuCondition::sanitizing;
  set_state(disk, state);
  EXPECT_EQ(run({0x03, 1, 0, 0, 252, 0}).data,
            (Wire{0x72, 2, 0x04, 0x1B, 0, 0, 0, 8, 0x02, 0x06, 0, 0, 0x80, 0x12, 0x34, 0}));
  // Each condition: what TEST UNIT READY would be told, with GOOD, and as often as it is asked.
  for (uint8_t condition = 0; condition <= static_cast<uint8_t>(LuCondition::sanitize_failed); ++condition) {
    state.condition = static_cast<LuCondition>(condition);
    set_state(disk, state);
    const Sense sense = condition_sense(state);
    for (int i = 0; i < 2; ++i) {
      const Outcome outcome = run({0x03, 1, 0, 0, 252, 0});
      ASSERT_TRUE(is_good(outcome));
      EXPECT_EQ(outcome.data[1], static_cast<uint8_t>(sense.key)) << int{condition};
      EXPECT_EQ(outcome.data[2] * 256 + outcome.data[3], static_cast<int>(sense.asc)) << int{condition};
    }
  }
}

// SPC-4 §5.15.2, and in the order of dispatch: unit attention, access state, condition.
TEST_F(SpcBasic, RequestSenseTellsTheAccessState) {
  const std::pair<AccessState, uint8_t> qualifiers[] = {{AccessState::standby, 0x0B},
                                                        {AccessState::unavailable, 0x0C},
                                                        {AccessState::offline, 0x0C},
                                                        {AccessState::transitioning, 0x0A}};
  for (const auto& [access, qualifier] : qualifiers) {
    LuState state = *disk.state;
    state.condition = LuCondition::stopped;
    state.port_groups = std::make_shared<const PortGroups>(PortGroups{{{1, access, {}, false, {1}}}, 0});
    set_state(disk, state);
    nexus.raise(0, Asc::asymmetric_access_state_changed);
    EXPECT_EQ(run({0x03, 1, 0, 0, 252, 0}).data, (Wire{0x72, 6, 0x2A, 0x06, 0, 0, 0, 0}));
    EXPECT_EQ(run({0x03, 1, 0, 0, 252, 0}).data, (Wire{0x72, 2, 0x04, qualifier, 0, 0, 0, 0}));
  }
}

// What is told with REQUEST SENSE is told, however little of it the initiator has room for.
TEST_F(SpcBasic, RequestSenseCutShort) {
  nexus.raise(0, Asc::mode_parameters_changed);
  EXPECT_EQ(run({0x03, 0, 0, 0, 3, 0}).data, (Wire{0x70, 0, 6}));
  EXPECT_FALSE(nexus.pending(0));
  nexus.raise(0, Asc::mode_parameters_changed);
  EXPECT_TRUE(run({0x03, 0, 0, 0, 0, 0}).data.empty());
  EXPECT_FALSE(nexus.pending(0));
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
  EXPECT_EQ(disk.state->generation, 2U);
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

// SBC-3 table 13: START conflicts with no persistent reservation, STOP and power conditions do.
TEST_F(SpcBasic, OnlyStartRunsDespiteAReservation) {
  PersistentReservations reservations;
  reservations.registrants.push_back({0xABC, other.port(), 1, false});
  for (const ReservationType type : {ReservationType::write_exclusive, ReservationType::exclusive_access}) {
    reservations.type = type;
    LuState state = *disk.state;
    state.reservations = std::make_shared<const PersistentReservations>(reservations);
    set_state(disk, state);
    ASSERT_NE(nexus.persistent_access(disk), ReservationAccess::all);
    EXPECT_TRUE(is_good(start_stop(kLun0, kStart)));
    EXPECT_EQ(start_stop(kLun0, 0).status, Status::reservation_conflict);
    EXPECT_EQ(start_stop(kLun0, 0x10 | kStart).status, Status::reservation_conflict);
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
