#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {
namespace {

// Both lengths of either command.
struct Form {
  uint8_t reserve;
  uint8_t release;
};

class Reserve : public TargetFixture, public ::testing::WithParamInterface<Form> {
 protected:
  Outcome reserve(Nexus& from) { return run(from, kLun0, {GetParam().reserve, 0, 0, 0, 0, 0}); }
  Outcome release(Nexus& from) { return run(from, kLun0, {GetParam().release, 0, 0, 0, 0, 0}); }
  Outcome mode_sense(Nexus& from) { return run(from, kLun0, {0x1A, 0, 0x3F, 0, 255, 0}); }
};

TEST_P(Reserve, KeepsTheOtherOutUntilReleased) {
  EXPECT_TRUE(is_good(reserve(nexus)));
  EXPECT_EQ(disk.state->reserved_by, nexus.id());
  EXPECT_EQ(disk.state->generation, 2U);
  EXPECT_TRUE(is_good(reserve(nexus)));
  EXPECT_EQ(disk.state->generation, 2U) << "nothing changed";
  EXPECT_EQ(reserve(other).status, Status::reservation_conflict);
  EXPECT_TRUE(is_good(release(other)));
  EXPECT_EQ(disk.state->reserved_by, nexus.id());
  EXPECT_TRUE(is_good(mode_sense(nexus)));
  EXPECT_EQ(mode_sense(other).status, Status::reservation_conflict);
  EXPECT_EQ(run(other, kLun0, {0, 0, 0, 0, 0, 0}).status, Status::reservation_conflict);
  EXPECT_TRUE(is_good(run(other, kLun0, {0x12, 0, 0, 0, 96, 0})));
  EXPECT_TRUE(is_good(run(other, kLun1, {0, 0, 0, 0, 0, 0}))) << "another logical unit";

  EXPECT_TRUE(is_good(release(nexus)));
  EXPECT_EQ(disk.state->reserved_by, 0U);
  EXPECT_TRUE(is_good(reserve(other)));
  EXPECT_TRUE(is_good(release(other)));
}

TEST_P(Reserve, ReleaseOfNothingIsGood) {
  EXPECT_TRUE(is_good(release(nexus)));
  EXPECT_EQ(disk.state->generation, 1U);
}

// Two workers see no reservation; the writer decides who was first.
TEST_P(Reserve, TheSecondOfTwoThatRaceLoses) {
  Command command;
  command.cdb[0] = GetParam().reserve;
  command.nexus = &other;
  const Admission admission = admit(command, kLun0);
  ASSERT_TRUE(std::holds_alternative<DataPhase>(admission));
  const Step step = start(command);
  const Update* update = std::get_if<Update>(&step);
  ASSERT_NE(update, nullptr);
  EXPECT_TRUE(is_good(reserve(nexus)));
  const Decision decision = update->decide(*disk.state, command, {other.id(), 0});
  EXPECT_EQ(decision.done.status, Status::reservation_conflict);
  EXPECT_FALSE(decision.state);
}

TEST_P(Reserve, ThirdPartyAndExtentsAreRefused) {
  EXPECT_TRUE(is_check(run({GetParam().reserve, 0x10, 0, 0, 0, 0}), sense::invalid_field_in_cdb(1, 4)));
  EXPECT_TRUE(is_check(run({GetParam().reserve, 0x01, 0, 0, 0, 0}), sense::invalid_field_in_cdb(1, 0)));
  EXPECT_TRUE(is_check(run({GetParam().release, 0x10, 0, 0, 0, 0}), sense::invalid_field_in_cdb(1, 4)));
  EXPECT_EQ(disk.state->reserved_by, 0U);
}

TEST_P(Reserve, NexusLossAndResetRelease) {
  EXPECT_TRUE(is_good(reserve(nexus)));
  EXPECT_EQ(on_nexus_loss(*disk.state, nexus.id()).state->reserved_by, 0U);
  EXPECT_EQ(on_logical_unit_reset(*disk.state, other.id()).state->reserved_by, 0U);
}

INSTANTIATE_TEST_SUITE_P(BothLengths, Reserve, ::testing::Values(Form{0x16, 0x17}, Form{0x56, 0x57}),
                         [](const auto& form) { return form.param.reserve == 0x16 ? "Six" : "Ten"; });

}  // namespace
}  // namespace itgtd::scsi
