#include "target/task_management.h"

#include <gtest/gtest.h>

#include "tests/daemon/fake_workers.h"

namespace itgtd::target {
namespace {

using Function = iscsi::TaskManagementFunction;
using Outcome = iscsi::TaskManagementOutcome;

constexpr Key kTarget = 100;
constexpr scsi::NexusId kNexus = 7;
constexpr std::chrono::milliseconds kTimeMax{150};

class TaskManagementTest : public testing::Test {
 protected:
  TaskManagementTest() {
    for (const uint16_t lun : {uint16_t{0}, uint16_t{1}}) {
      writer_.add(coordinator_.next_key(), {kTarget, lun, ""}, std::make_shared<const scsi::LuState>());
    }
  }
  static Manage request(Function function, uint16_t lun = 0) {
    return {{1, {5, 1}}, kTarget, kNexus, {function, lun, 0x1234}};
  }
  /// The barrier that both workers were told to put up.
  Hold held() {
    const auto first = workers_.take_all<Hold>(0);
    const auto second = workers_.take_all<Hold>(1);
    EXPECT_EQ(first.size(), 1u);
    EXPECT_EQ(second.size(), 1u);
    if (first.empty() || second.empty()) return {};
    EXPECT_EQ(first[0].change, second[0].change);
    EXPECT_EQ(first[0].barrier, second[0].barrier);
    return first[0];
  }
  void taken(Key change) {
    coordinator_.on_taken(change);
    coordinator_.on_taken(change);
  }
  /// Takes what was published; nothing may have been lifted or answered before that.
  void take_publications(size_t count) {
    for (auto& message : workers_.take(1)) ASSERT_TRUE(std::holds_alternative<PublishState>(message));
    const auto published = workers_.take_all<PublishState>(0);
    ASSERT_EQ(published.size(), count);
    for (const PublishState& message : published) taken(message.change);
  }
  /// Both workers go on, and worker 1, whose session asked, is answered behind that.
  void expect_end(Key barrier, Outcome outcome) {
    const auto lifted = workers_.take_all<Lift>(0);
    ASSERT_EQ(lifted.size(), 1u);
    EXPECT_EQ(lifted[0].barrier, barrier);
    const auto messages = workers_.take(1);
    ASSERT_EQ(messages.size(), 2u);
    ASSERT_TRUE(std::holds_alternative<Lift>(messages[0]));
    const auto* done = std::get_if<ManagementDone>(&messages[1]);
    ASSERT_NE(done, nullptr);
    EXPECT_EQ(done->connection, (ConnectionRef{1, {5, 1}}));
    EXPECT_EQ(done->request.initiator_task_tag, 0x1234u);
    EXPECT_EQ(done->outcome, outcome);
  }
  void expect_silence() {
    EXPECT_TRUE(workers_.take(0).empty());
    EXPECT_TRUE(workers_.take(1).empty());
  }

  FakeWorkers workers_{2};
  control::EventLoop loop_;
  Coordinator coordinator_{workers_.mailboxes()};
  StateWriter writer_{coordinator_};
  std::vector<Key> closed_;
  TaskManagement management_{loop_, coordinator_, writer_, [this](Key target) { closed_.push_back(target); },
                             kTimeMax};
};

TEST_F(TaskManagementTest, AResetHoldsThenPublishesThenLiftsAndAnswers) {
  management_.start(request(Function::logical_unit_reset, 1));
  const Hold hold = held();
  EXPECT_EQ(hold.target, kTarget);
  EXPECT_FALSE(hold.all_luns);
  EXPECT_EQ(hold.lun, 1);
  EXPECT_FALSE(hold.only_nexus);
  EXPECT_EQ(hold.tell_others, scsi::Asc::none) << "the unit attention of the reset tells them";
  coordinator_.on_taken(hold.change);
  expect_silence();  // commands are still in flight in one worker
  coordinator_.on_taken(hold.change);
  take_publications(1);
  expect_end(hold.barrier, Outcome::function_complete);
  EXPECT_TRUE(closed_.empty());
}

TEST_F(TaskManagementTest, ClearTaskSetChangesNoState) {
  management_.start(request(Function::clear_task_set));
  const Hold hold = held();
  EXPECT_EQ(hold.tell_others, scsi::Asc::commands_cleared_by_another_initiator);
  taken(hold.change);
  expect_end(hold.barrier, Outcome::function_complete);
}

TEST_F(TaskManagementTest, AWarmResetIsOfAllLuns) {
  management_.start(request(Function::target_warm_reset));
  const Hold hold = held();
  EXPECT_TRUE(hold.all_luns);
  taken(hold.change);
  take_publications(2);
  expect_end(hold.barrier, Outcome::function_complete);
  EXPECT_TRUE(closed_.empty());
}

TEST_F(TaskManagementTest, AColdResetEndsTheSessionsBehindItsAnswer) {
  management_.start(request(Function::target_cold_reset));
  const Hold hold = held();
  taken(hold.change);
  EXPECT_TRUE(closed_.empty());
  take_publications(2);
  expect_end(hold.barrier, Outcome::function_complete);
  EXPECT_EQ(closed_, std::vector<Key>{kTarget});
}

TEST_F(TaskManagementTest, AnItNexusResetHoldsNobodyElse) {
  management_.start(request(Function::i_t_nexus_reset));
  const Hold hold = held();
  EXPECT_TRUE(hold.only_nexus);
  EXPECT_EQ(hold.nexus, kNexus);
  taken(hold.change);
  take_publications(2);
  expect_end(hold.barrier, Outcome::function_complete);
}

TEST_F(TaskManagementTest, PreemptAndAbortEndsCommandsOfPortsAndHoldsNobody) {
  const scsi::InitiatorPort port{"iqn.preempted", {1}};
  std::optional<bool> all;
  management_.abort(kTarget, 1, {port}, kNexus, [&](bool in_time) { all = in_time; });
  const Hold hold = held();
  EXPECT_EQ(hold.lun, 1);
  EXPECT_EQ(hold.nexus, kNexus) << "whose own command it is";
  EXPECT_EQ(hold.only_ports, std::vector{port});
  coordinator_.on_taken(hold.change);
  EXPECT_FALSE(all);
  coordinator_.on_taken(hold.change);
  EXPECT_EQ(all, true);
  EXPECT_EQ(workers_.take_all<Lift>(0).size(), 1u);
}

TEST_F(TaskManagementTest, PreemptAndAbortSaysWhenCommandsAreStuck) {
  std::optional<bool> all;
  management_.abort(kTarget, 0, {{"iqn.preempted", {}}}, kNexus, [&](bool in_time) { all = in_time; });
  ASSERT_TRUE(run_until(loop_, [&] { return all.has_value(); }));
  EXPECT_EQ(all, false);
}

TEST_F(TaskManagementTest, ALunThatDoesNotExistIsSaidSoAndNothingIsHeld) {
  management_.start(request(Function::logical_unit_reset, 9));
  EXPECT_TRUE(workers_.take(0).empty());
  const auto done = workers_.take_all<ManagementDone>(1);
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].outcome, Outcome::lun_does_not_exist);
}

TEST_F(TaskManagementTest, StuckCommandsEndItAtItsDeadlineAndALateWorkerChangesNothing) {
  management_.start(request(Function::target_cold_reset));
  const Hold hold = held();
  coordinator_.on_taken(hold.change);
  const Instant started = now();
  ASSERT_TRUE(run_until(loop_, [&] { return now() > started + 2 * kTimeMax; }));
  expect_end(hold.barrier, Outcome::function_rejected);
  EXPECT_TRUE(closed_.empty());
  coordinator_.on_taken(hold.change);
  expect_silence();
}

TEST_F(TaskManagementTest, EachHasItsOwnDeadline) {
  management_.start(request(Function::clear_task_set));
  const Hold first = held();
  const Instant started = now();
  ASSERT_TRUE(run_until(loop_, [&] { return now() > started + kTimeMax / 2; }));
  management_.start(request(Function::clear_task_set, 1));
  const Hold second = held();
  taken(first.change);
  expect_end(first.barrier, Outcome::function_complete);
  ASSERT_TRUE(run_until(loop_, [&] { return now() > started + 3 * kTimeMax; }));
  expect_end(second.barrier, Outcome::function_rejected);
}

}  // namespace
}  // namespace itgtd::target
