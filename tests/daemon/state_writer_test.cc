#include "target/state_writer.h"

#include <gtest/gtest.h>

#include "tests/daemon/fake_workers.h"

namespace itgtd::target {
namespace {

using scsi::UnitAttentionRaise;

constexpr Key kTarget = 100;
constexpr Key kOtherTarget = 200;
constexpr scsi::NexusId kNexus = 7;

/// What RESERVE does: the nexus gets it unless another has it.
scsi::Decision reserve(const scsi::LuState& state, const scsi::Command&, scsi::NexusId nexus) {
  scsi::LuState next = state;
  if (state.reserved_by == 0) next.reserved_by = nexus;
  scsi::Decision decision = scsi::publish(state, next);
  if (!decision.state) decision.done.status = scsi::Status::reservation_conflict;
  return decision;
}

class StateWriterTest : public testing::Test {
 protected:
  StateWriterTest() {
    for (const uint16_t lun : {uint16_t{0}, uint16_t{1}}) add(lun, kTarget, lun);
    add(2, kOtherTarget, 0);
  }
  void add(size_t index, Key target, uint16_t lun) {
    keys_[index] = coordinator_.next_key();
    writer_.add(keys_[index], target, lun, std::make_shared<const scsi::LuState>());
  }
  DecideUpdate update(size_t index, scsi::NexusId nexus, uint32_t task) {
    return {1, {task, 1}, keys_[index], nexus, &command_, &reserve};
  }
  void reserved(size_t index, scsi::NexusId nexus) {
    writer_.on_update(update(index, nexus, 1));
    for (WorkerIndex worker = 0; worker < 2; ++worker) {
      for (const auto& message : workers_.take_all<PublishState>(worker))
        coordinator_.on_taken(message.change);
    }
    static_cast<void>(workers_.take(1));
  }

  FakeWorkers workers_{2};
  Coordinator coordinator_{workers_.mailboxes()};
  StateWriter writer_{coordinator_};
  scsi::Command command_;
  std::array<Key, 3> keys_{};
};

TEST_F(StateWriterTest, TheCommandGoesOnWhenEveryWorkerHasTheNewState) {
  writer_.on_update(update(0, kNexus, 3));
  const auto first = workers_.take_all<PublishState>(0);
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].lun_key, keys_[0]);
  ASSERT_TRUE(first[0].state);
  EXPECT_EQ(first[0].state->reserved_by, kNexus);
  coordinator_.on_taken(first[0].change);
  for (const auto& message : workers_.take(1)) EXPECT_FALSE(std::holds_alternative<CommandDecided>(message));
  coordinator_.on_taken(first[0].change);
  const auto decided = workers_.take_all<CommandDecided>(1);
  ASSERT_EQ(decided.size(), 1u);
  EXPECT_EQ(decided[0].task, (SlotId{3, 1}));
  EXPECT_EQ(decided[0].done.status, scsi::Status::good);
}

TEST_F(StateWriterTest, TheNextDecisionSeesTheOneBeforeThoughNobodyHasTakenItYet) {
  writer_.on_update(update(0, kNexus, 3));
  static_cast<void>(workers_.take(1));
  writer_.on_update(update(0, kNexus + 1, 4));
  const auto decided = workers_.take_all<CommandDecided>(1);
  ASSERT_EQ(decided.size(), 1u) << "nothing was changed, so nobody is waited for";
  EXPECT_EQ(decided[0].task, (SlotId{4, 1}));
  EXPECT_EQ(decided[0].done.status, scsi::Status::reservation_conflict);
  EXPECT_EQ(writer_.state(keys_[0])->reserved_by, kNexus);
}

TEST_F(StateWriterTest, ALogicalUnitThatIsGoneIsSaidToBe) {
  writer_.remove(keys_[0]);
  EXPECT_FALSE(writer_.has_lun(kTarget, 0));
  EXPECT_TRUE(writer_.has_lun(kOtherTarget, 0));
  writer_.on_update(update(0, kNexus, 3));
  const auto decided = workers_.take_all<CommandDecided>(1);
  ASSERT_EQ(decided.size(), 1u);
  EXPECT_EQ(decided[0].done.status, scsi::Status::check_condition);
  EXPECT_EQ(decided[0].done.sense.asc, scsi::Asc::logical_unit_not_supported);
}

TEST_F(StateWriterTest, ALostNexusGivesUpWhatItHeldAndNothingElseIsPublished) {
  reserved(0, kNexus);
  reserved(1, kNexus + 1);
  static_cast<void>(workers_.take(0));
  writer_.on_nexus_loss(kTarget, kNexus);
  const auto published = workers_.take_all<PublishState>(0);
  ASSERT_EQ(published.size(), 1u);
  EXPECT_EQ(published[0].lun_key, keys_[0]);
  EXPECT_EQ(published[0].state->reserved_by, 0u);
  EXPECT_TRUE(published[0].unit_attentions.empty());
  EXPECT_EQ(writer_.state(keys_[1])->reserved_by, kNexus + 1);
}

TEST_F(StateWriterTest, ANexusThatIsResetIsToldOnEveryLun) {
  bool done = false;
  writer_.on_nexus_reset(kTarget, kNexus, [&] { done = true; });
  const auto published = workers_.take_all<PublishState>(0);
  ASSERT_EQ(published.size(), 2u);
  for (const PublishState& message : published) {
    ASSERT_EQ(message.unit_attentions.size(), 1u);
    EXPECT_EQ(message.unit_attentions[0].scope, UnitAttentionRaise::Scope::only);
    EXPECT_EQ(message.unit_attentions[0].nexus, kNexus);
    EXPECT_EQ(message.unit_attentions[0].asc, scsi::Asc::i_t_nexus_loss_occurred);
    EXPECT_FALSE(done);
    coordinator_.on_taken(message.change);
    coordinator_.on_taken(message.change);
  }
  EXPECT_TRUE(done);
}

TEST_F(StateWriterTest, AResetOfAllLunsEndsWithTheLastPublicationInAnyOrder) {
  int done = 0;
  writer_.reset(kTarget, true, 0, kNexus, [&] { ++done; });
  const auto published = workers_.take_all<PublishState>(0);
  ASSERT_EQ(published.size(), 2u) << "and not the LUN of the other target";
  for (const size_t index : {1u, 0u, 0u, 1u}) {
    EXPECT_EQ(done, 0);
    coordinator_.on_taken(published[index].change);
  }
  EXPECT_EQ(done, 1);
}

TEST_F(StateWriterTest, AResetOfOneLunLeavesTheOthersAlone) {
  writer_.reset(kTarget, false, 1, kNexus, {});
  const auto published = workers_.take_all<PublishState>(0);
  ASSERT_EQ(published.size(), 1u);
  EXPECT_EQ(published[0].lun_key, keys_[1]);
}

TEST_F(StateWriterTest, AResetOfNothingIsDoneAtOnce) {
  bool done = false;
  writer_.reset(kTarget, false, 9, kNexus, [&] { done = true; });
  EXPECT_TRUE(done);
  EXPECT_TRUE(workers_.take(0).empty());
}

}  // namespace
}  // namespace itgtd::target
