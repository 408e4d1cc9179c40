#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class MediumRemoval : public TargetFixture {
 protected:
  Outcome prevent(Nexus& from, uint64_t lun = kLun1) { return run(from, lun, {0x1E, 0, 0, 0, 1, 0}); }
  Outcome allow(Nexus& from, uint64_t lun = kLun1) { return run(from, lun, {0x1E, 0, 0, 0, 0, 0}); }
  Outcome eject(Nexus& from) { return run(from, kLun1, {0x1B, 0, 0, 0, 2, 0}); }
  Outcome load(Nexus& from) { return run(from, kLun1, {0x1B, 0, 0, 0, 3, 0}); }
  void apply(const Decision& decision) {
    if (decision.state) cartridge.state = decision.state;
  }
};

TEST_F(MediumRemoval, IsPreventedAndAllowedAgain) {
  EXPECT_TRUE(is_good(prevent(nexus)));
  EXPECT_TRUE(is_check(eject(nexus), sense::medium_removal_prevented()));
  EXPECT_EQ(cartridge.state->condition, LuCondition::ready);
  EXPECT_TRUE(is_good(run(nexus, kLun1, {0x1B, 0, 0, 0, 0, 0}))) << "a stop removes nothing";
  EXPECT_TRUE(is_good(allow(nexus)));
  EXPECT_TRUE(is_good(eject(nexus)));
  EXPECT_EQ(cartridge.state->condition, LuCondition::ejected);
}

TEST_F(MediumRemoval, AskedTwiceIsOnce) {
  EXPECT_TRUE(is_good(prevent(nexus)));
  const uint64_t generation = cartridge.state->generation;
  EXPECT_TRUE(is_good(prevent(nexus)));
  EXPECT_EQ(cartridge.state->generation, generation);
  EXPECT_TRUE(is_good(allow(nexus)));
  EXPECT_TRUE(is_good(eject(nexus)));
}

TEST_F(MediumRemoval, IsAllowedWhenNobodyPreventsIt) {
  EXPECT_TRUE(is_good(prevent(nexus)));
  EXPECT_TRUE(is_good(prevent(other)));
  EXPECT_TRUE(is_good(allow(nexus)));
  EXPECT_TRUE(is_check(eject(nexus), sense::medium_removal_prevented()));
  EXPECT_TRUE(is_check(eject(other), sense::medium_removal_prevented()));
  EXPECT_THAT(cartridge.state->removal_prevented_by, ElementsAre(other.id()));
  EXPECT_TRUE(is_good(allow(other)));
  EXPECT_TRUE(is_good(eject(nexus)));
}

TEST_F(MediumRemoval, PreventedWithoutAMediumNoneIsLoaded) {
  EXPECT_TRUE(is_good(eject(nexus)));
  EXPECT_TRUE(is_good(prevent(nexus)));
  EXPECT_TRUE(is_check(load(nexus), sense::medium_removal_prevented()));
  EXPECT_TRUE(is_good(allow(nexus)));
  EXPECT_TRUE(is_good(load(nexus)));
}

TEST_F(MediumRemoval, ALostNexusPreventsNothing) {
  EXPECT_TRUE(is_good(prevent(nexus)));
  EXPECT_TRUE(is_good(prevent(other)));
  apply(on_nexus_loss(*cartridge.state, nexus.id()));
  EXPECT_THAT(cartridge.state->removal_prevented_by, ElementsAre(other.id()));
  EXPECT_TRUE(is_check(eject(nexus), sense::medium_removal_prevented()));
  apply(on_nexus_loss(*cartridge.state, other.id()));
  EXPECT_TRUE(is_good(eject(nexus)));
}

TEST_F(MediumRemoval, AResetAllowsItForAll) {
  EXPECT_TRUE(is_good(prevent(nexus)));
  EXPECT_TRUE(is_good(prevent(other)));
  apply(on_logical_unit_reset(*cartridge.state, nexus.id()));
  EXPECT_THAT(cartridge.state->removal_prevented_by, IsEmpty());
  EXPECT_TRUE(is_good(eject(nexus)));
}

// Two workers see a medium that nobody keeps; the writer decides who was first.
TEST_F(MediumRemoval, AnEjectThatRacesLoses) {
  Command command;
  command.cdb = {0x1B, 0, 0, 0, 6, 0};  // LOEJ, NO_FLUSH
  command.nexus = &other;
  ASSERT_TRUE(std::holds_alternative<DataPhase>(admit(command, kLun1)));
  const Step step = start(command);
  const Update* update = std::get_if<Update>(&step);
  ASSERT_NE(update, nullptr);
  EXPECT_TRUE(is_good(prevent(nexus)));
  const Decision decision = update->decide(*cartridge.state, command, {other.id(), 0});
  EXPECT_EQ(decision.done.sense, sense::medium_removal_prevented());
  EXPECT_FALSE(decision.state);
}

TEST_F(MediumRemoval, OfWhatCanNotBeRemovedIsNoError) {
  EXPECT_TRUE(is_good(prevent(nexus, kLun0)));
  EXPECT_TRUE(is_good(run({0x1B, 0, 0, 0, 0, 0})));
  EXPECT_EQ(disk.state->condition, LuCondition::stopped);
  EXPECT_TRUE(is_good(allow(nexus, kLun0)));
  EXPECT_TRUE(is_check(run(nexus, kLunMissing, {0x1E, 0, 0, 0, 1, 0}), sense::logical_unit_not_supported()));
}

TEST_F(MediumRemoval, ObsoleteAndReservedBits) {
  EXPECT_TRUE(is_check(run(nexus, kLun1, {0x1E, 0, 0, 0, 2, 0}), sense::invalid_field_in_cdb(4, 1)));
  EXPECT_TRUE(is_check(run(nexus, kLun1, {0x1E, 0, 0, 0, 3, 0}), sense::invalid_field_in_cdb(4, 1)));
  EXPECT_TRUE(is_check(run(nexus, kLun1, {0x1E, 1, 0, 0, 0, 0}), sense::invalid_field_in_cdb(1, 0)));
  EXPECT_THAT(cartridge.state->removal_prevented_by, IsEmpty());
}

// SPC-4 table 65: PREVENT = 0 runs under any reservation, the other does not.
TEST_F(MediumRemoval, UnderAReservation) {
  EXPECT_TRUE(is_good(prevent(nexus)));
  EXPECT_TRUE(is_good(run(other, kLun1, {0x16, 0, 0, 0, 0, 0})));
  EXPECT_TRUE(is_good(allow(nexus)));
  EXPECT_EQ(prevent(nexus).status, Status::reservation_conflict);
  EXPECT_TRUE(is_good(prevent(other)));
}

}  // namespace
}  // namespace itgtd::scsi
