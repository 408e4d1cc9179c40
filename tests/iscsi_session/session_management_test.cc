// Task management. RFC 7143 §11.5, §11.6; RFC 7144 §4.
#include <gtest/gtest.h>

#include "tests/iscsi_session/harness.h"

namespace itgtd::iscsi::test {
namespace {

using Function = TaskManagementFunction;
using Outcome = TaskManagementOutcome;

void expect_outcome(const Sent& sent, uint32_t tag, Outcome outcome) {
  const auto& bhs = sent.as<TaskManagementResponseBhs>();
  EXPECT_EQ(bhs.initiator_task_tag.get(), tag);
  EXPECT_EQ(bhs.response, static_cast<uint8_t>(outcome));
}

void wait_for_unsolicited(Harness& h, uint32_t tag) {
  ScsiCommandBhs bhs = h.write(tag, 0, 8192);
  bhs.flags = ScsiCommandBhs::kWrite;
  h.deliver(bhs);
}

TEST(SessionManagement, AbortOfWhatDoesNotExecuteIsAnsweredAtOnce) {
  Harness h;
  h.deliver(h.read(1, 0, 512));      // ready
  h.deliver(h.write(2, 0, 100000));  // has an R2T out
  wait_for_unsolicited(h, 3);
  h.take_sent();
  for (const uint32_t tag : {1U, 2U, 3U}) {
    h.deliver(h.management(Function::abort_task, 50 + tag, tag));
    expect_outcome(h.take_one(), 50 + tag, Outcome::function_complete);
  }
  EXPECT_EQ(h.tasks().used(), 0U);
  h.run();
  EXPECT_TRUE(h.take_sent().empty());
}

// RFC 7143 §4.2.3.4: nothing of the task follows the answer.
TEST(SessionManagement, AbortOfAnExecutingTaskWaitsForItsEnd) {
  Harness h;
  h.deliver(h.read(1, 0, 512));
  Task* task = h.start_all().at(0);
  h.deliver(h.management(Function::abort_task, 50, 1));
  EXPECT_TRUE(h.take_sent().empty());
  EXPECT_EQ(h.session().aborted_executing({true, 0}), 1U);
  h.finish(*task);
  expect_outcome(h.take_one(), 50, Outcome::function_complete);
  EXPECT_EQ(h.tasks().used(), 0U);
}

TEST(SessionManagement, AbortBehindTheAnswerFindsNoTask) {
  Harness h;
  ScsiCommandBhs bhs = h.read(1, 0, 512);
  h.deliver(bhs);
  h.run();
  TaskManagementRequestBhs abort = h.management(Function::abort_task, 50, 1);
  abort.ref_cmd_sn = bhs.cmd_sn;
  h.deliver(abort);
  const std::vector<Sent> all = h.take_sent();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].op(), Opcode::scsi_data_in);
  expect_outcome(all[1], 50, Outcome::task_does_not_exist);
}

// RFC 7143 §11.6.1 (b): the number of a command that never arrived counts as received.
TEST(SessionManagement, AbortPlugsAGap) {
  Harness h;
  h.deliver(h.read(1, 0, 512));
  h.deliver(h.read(1, 0, 512));  // rejected: the tag is in use
  h.take_sent();
  TaskManagementRequestBhs abort = h.management(Function::abort_task, 50, 9);
  abort.ref_cmd_sn.set(2);
  h.deliver(abort);
  const Sent sent = h.take_one();
  expect_outcome(sent, 50, Outcome::function_complete);
  EXPECT_EQ(sent.as<TaskManagementResponseBhs>().exp_cmd_sn.get(), 3U);
  h.deliver(h.read(2, 0, 512));
  h.run();
  EXPECT_EQ(h.take_sent().size(), 2U);
}

TEST(SessionManagement, AbortOfUnknownTagsAndOtherLuns) {
  Harness h;
  h.deliver(h.read(1, 0, 512));
  h.deliver(h.management(Function::abort_task, 50, 99));
  expect_outcome(h.take_one(), 50, Outcome::task_does_not_exist);
  h.deliver(h.management(Function::abort_task, 51, 51));
  expect_outcome(h.take_one(), 51, Outcome::task_does_not_exist);
  TaskManagementRequestBhs abort = h.management(Function::abort_task, 52, 1);
  abort.lun.set(uint64_t{1} << 48);
  h.deliver(abort);
  expect_outcome(h.take_one(), 52, Outcome::task_does_not_exist);
  h.run();
  EXPECT_EQ(h.take_one().op(), Opcode::scsi_data_in);
}

TEST(SessionManagement, AbortTaskSetEndsThoseOfItsLun) {
  Harness h;
  h.deliver(h.read(1, 0, 512));
  h.deliver(h.read(2, 0, 512));
  Task* first = h.start_all().at(0);
  h.deliver(h.read(3, 0, 512));
  ScsiCommandBhs other = h.read(4, 0, 512);
  other.lun.set(uint64_t{1} << 48);
  h.deliver(other);
  h.deliver(h.management(Function::abort_task_set, 50));
  EXPECT_TRUE(h.take_sent().empty());
  EXPECT_EQ(h.session().executing(), 2U);
  h.finish(*first);
  EXPECT_TRUE(h.take_sent().empty());
  for (uint32_t i = 0; i < h.tasks().capacity(); ++i) {
    if (Task* task = h.tasks().find({i, 1}); task != nullptr && task->state == TaskState::executing)
      h.finish(*task);
  }
  expect_outcome(h.take_one(), 50, Outcome::function_complete);
  h.run();
  EXPECT_EQ(h.take_one().as<ScsiDataInBhs>().initiator_task_tag.get(), 4U);
}

TEST(SessionManagement, WiderFunctionsGoToTheWorker) {
  for (const Function function :
       {Function::clear_task_set, Function::logical_unit_reset, Function::target_warm_reset}) {
    Harness h;
    h.deliver(h.read(1, 0, 512));
    Task* executing = h.start_all().at(0);
    h.deliver(h.read(2, 0, 512));
    h.deliver(h.management(function, 50));
    const auto request = h.session().next_management();
    ASSERT_TRUE(request.has_value());
    EXPECT_EQ(request->function, function);
    EXPECT_EQ(request->lun, 0);
    EXPECT_FALSE(h.session().next_management().has_value());
    h.deliver(h.read(3, 0, 512));  // behind the function: none of its business
    const AbortScope scope{function == Function::target_warm_reset, 0};
    h.session().abort_tasks(scope);
    EXPECT_EQ(h.session().aborted_executing(scope), 1U);
    h.finish(*executing);
    EXPECT_EQ(h.session().aborted_executing(scope), 0U);
    EXPECT_TRUE(h.take_sent().empty());
    h.session().on_management_done(*request, Outcome::function_complete);
    expect_outcome(h.take_one(), 50, Outcome::function_complete);
    h.run();
    EXPECT_EQ(h.take_one().as<ScsiDataInBhs>().initiator_task_tag.get(), 3U);
    EXPECT_EQ(h.session().ending(), Ending::open);
  }
}

TEST(SessionManagement, ColdResetEndsTheConnection) {
  Harness h;
  h.deliver(h.management(Function::target_cold_reset, 50));
  const auto request = h.session().next_management();
  ASSERT_TRUE(request.has_value());
  h.session().on_management_done(*request, Outcome::function_complete);
  expect_outcome(h.take_one(), 50, Outcome::function_complete);
  EXPECT_EQ(h.session().ending(), Ending::after_send);
}

TEST(SessionManagement, WorkerRequestsComeInOrder) {
  Harness h;
  h.deliver(h.management(Function::logical_unit_reset, 50));
  h.deliver(h.management(Function::target_warm_reset, 51));
  EXPECT_EQ(h.session().next_management()->initiator_task_tag, 50U);
  EXPECT_EQ(h.session().next_management()->initiator_task_tag, 51U);
}

TEST(SessionManagement, AbortFromElsewhereIsSilent) {
  Harness h;
  h.deliver(h.read(1, 0, 512));
  Task* task = h.start_all().at(0);
  h.deliver(h.read(2, 0, 512));
  h.session().abort_tasks({false, 0});
  h.session().abort_tasks({false, 0});
  h.finish(*task);
  EXPECT_TRUE(h.take_sent().empty());
  EXPECT_EQ(h.tasks().used(), 0U);
}

// The kernel may be writing into the buffer: it goes only when the segment has come.
TEST(SessionManagement, AbortWhileASegmentIsOnItsWay) {
  Harness h;
  const Bytes to = h.deliver_header(h.write(1, 0, 4096), 4096);
  ASSERT_EQ(to.size(), 4096U);
  h.session().abort_tasks({true, 0});
  EXPECT_EQ(h.tasks().used(), 1U);
  EXPECT_EQ(h.session().aborted_executing({true, 0}), 0U);
  h.deliver_rest(to);
  EXPECT_EQ(h.tasks().used(), 0U);
  EXPECT_TRUE(h.ready().empty());
}

TEST(SessionManagement, AbortWhileDataInIsBeingSent) {
  HarnessOptions options;
  options.pdus = 4;
  options.parameters.max_recv_data_segment_length_initiator = 512;
  Harness h(options);
  h.deliver(h.read(1, 0, 8192));
  h.run();
  OutPdu* first = h.session().out().pop_front();
  ASSERT_NE(first, nullptr);
  h.session().on_sent(*first);  // makes room for one more
  h.session().abort_tasks({true, 0});
  const std::vector<Sent> rest = h.take_sent();
  EXPECT_LE(rest.size(), 4U);
  for (const Sent& sent : rest) {
    EXPECT_EQ(sent.as<ScsiDataInBhs>().flags & ScsiDataInBhs::kStatus, 0);
  }
  EXPECT_EQ(h.tasks().used(), 0U);
}

TEST(SessionManagement, UnsupportedAndUnknownFunctions) {
  Harness h;
  h.deliver(h.management(Function::task_reassign, 50, 1));
  expect_outcome(h.take_one(), 50, Outcome::task_allegiance_reassignment_not_supported);
  h.deliver(h.management(Function::clear_aca, 51));
  expect_outcome(h.take_one(), 51, Outcome::function_not_supported);
  for (const int function : {0, 9, 10, 11, 12, 13, 127}) {
    h.deliver(h.management(static_cast<Function>(function), 52));
    expect_outcome(h.take_one(), 52, Outcome::function_not_supported);
  }
  TaskManagementRequestBhs reset = h.management(Function::logical_unit_reset, 53);
  reset.lun.set(uint64_t{9} << 48);
  h.deliver(reset);
  expect_outcome(h.take_one(), 53, Outcome::lun_does_not_exist);
  h.deliver(h.management(Function::abort_task, kReservedTag, 1));
  EXPECT_EQ(h.take_one().op(), Opcode::reject);
}

TEST(SessionManagement, QueriesOfProtocolLevelTwo) {
  HarnessOptions options;
  options.parameters.protocol_level = 2;
  Harness h(options);
  h.deliver(h.management(Function::query_task_set, 50));
  expect_outcome(h.take_one(), 50, Outcome::function_complete);
  h.deliver(h.read(1, 0, 512));
  h.deliver(h.management(Function::query_task, 51, 1));
  expect_outcome(h.take_one(), 51, Outcome::function_succeeded);
  h.deliver(h.management(Function::query_task, 52, 2));
  expect_outcome(h.take_one(), 52, Outcome::function_complete);
  h.deliver(h.management(Function::query_task_set, 53));
  expect_outcome(h.take_one(), 53, Outcome::function_succeeded);
  h.deliver(h.management(Function::query_asynchronous_event, 54));
  expect_outcome(h.take_one(), 54, Outcome::function_complete);
  h.session().nexus()->raise(0, scsi::Asc::power_on_occurred);
  h.deliver(h.management(Function::query_asynchronous_event, 55));
  expect_outcome(h.take_one(), 55, Outcome::function_succeeded);
  h.deliver(h.management(Function::i_t_nexus_reset, 56));
  EXPECT_EQ(h.session().next_management()->function, Function::i_t_nexus_reset);
  h.run();
}

TEST(SessionManagement, FloodIsBounded) {
  Harness h;
  for (uint32_t i = 0; i < 1000; ++i) h.deliver(h.management(Function::logical_unit_reset, i));
  size_t rejected = 0;
  for (const Sent& sent : h.take_sent()) {
    rejected +=
        sent.as<TaskManagementResponseBhs>().response == static_cast<uint8_t>(Outcome::function_rejected);
  }
  EXPECT_GT(rejected, 0U);
  uint32_t requests = 0;
  while (h.session().next_management().has_value()) ++requests;
  EXPECT_EQ(requests, kManagementPendingMax);
}

// CVE-2024-26845: a function that was answered at once must not keep a later one waiting.
TEST(SessionManagement, UnknownAbortThenReset) {
  Harness h;
  h.deliver(h.management(Function::abort_task, 50, 99));
  h.deliver(h.management(Function::logical_unit_reset, 51));
  const auto request = h.session().next_management();
  ASSERT_TRUE(request.has_value());
  h.session().abort_tasks({false, 0});
  EXPECT_EQ(h.session().aborted_executing({false, 0}), 0U);
  h.session().on_management_done(*request, Outcome::function_complete);
  EXPECT_EQ(h.take_sent().size(), 2U);
}

const scsi::Done kGone = scsi::check_condition(scsi::sense::logical_unit_not_supported());
constexpr uint32_t kGoneSense = 0x05'25'00;

TEST(SessionManagement, OnlyExecutingTasksKeepALogicalUnitThatIsRemoved) {
  Harness h;
  h.deliver(h.read(1, 0, 512));
  Task* executing = h.start_all().at(0);
  h.deliver(h.read(2, 0, 512));      // ready
  h.deliver(h.write(3, 0, 100000));  // has an R2T out
  wait_for_unsolicited(h, 4);
  uint32_t target_tag = 0;
  for (const Sent& sent : h.take_sent()) target_tag = sent.as<R2tBhs>().target_transfer_tag.get();
  h.session().end_tasks_of(h.lu(), kGone);
  const Sent ended = h.take_one();
  EXPECT_EQ(ended.as<ScsiResponseBhs>().initiator_task_tag.get(), 2U);
  EXPECT_EQ(Harness::sense_of(ended), kGoneSense);
  for (uint32_t i = 0; i < h.tasks().capacity(); ++i) {
    const Task* task = h.tasks().tenant(i);
    EXPECT_TRUE(task == nullptr || task == executing || task->command.lu == nullptr);
  }
  EXPECT_TRUE(h.ready().empty());

  // RFC 7143 §7.8: the others are answered behind the last of their data.
  h.deliver(h.data_out(3, target_tag, 0, 0, true), Data(100000));
  EXPECT_EQ(Harness::sense_of(h.take_one()), kGoneSense);
  h.deliver(h.data_out(4, kReservedTag, 0, 0, true), Data(8192));
  EXPECT_EQ(Harness::sense_of(h.take_one()), kGoneSense);
  h.finish(*executing);
  EXPECT_EQ(h.take_one().op(), Opcode::scsi_data_in);
  EXPECT_EQ(h.tasks().used(), 0U);
}

TEST(SessionManagement, MemoryThatIsReceivedIntoOutlivesTheLogicalUnit) {
  Harness h;
  const Bytes to = h.deliver_header(h.write(1, 0, 4096), 4096);
  ASSERT_EQ(to.size(), 4096U);
  h.session().end_tasks_of(h.lu(), kGone);
  EXPECT_TRUE(h.take_sent().empty());
  Task* task = h.tasks().tenant(0);
  ASSERT_NE(task, nullptr);
  EXPECT_EQ(task->buffer.data(), to.data());
  h.deliver_rest(to);
  EXPECT_EQ(Harness::sense_of(h.take_one()), kGoneSense);
  EXPECT_EQ(h.tasks().used(), 0U);
}

}  // namespace
}  // namespace itgtd::iscsi::test
