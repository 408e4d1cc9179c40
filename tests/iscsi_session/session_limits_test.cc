// The command window, running out of everything, and the end. RFC 7143 §4.2.2.1.
#include <gtest/gtest.h>

#include "tests/iscsi_session/harness.h"

namespace itgtd::iscsi::test {
namespace {

constexpr auto kTaskSetFull = static_cast<uint8_t>(scsi::Status::task_set_full);
constexpr auto kBusy = static_cast<uint8_t>(scsi::Status::busy);

TEST(SessionWindow, ClosesWithCommandsInFlightAndOpensAgain) {
  HarnessOptions options;
  options.tasks = 512;
  options.pdus = 1024;
  Harness h(options);
  for (uint32_t i = 0; i < 2 * kCommandWindow; ++i) h.deliver(h.read(i, 0, 512));
  const std::vector<Task*> tasks = h.start_all();
  EXPECT_EQ(tasks.size(), kCommandWindow);
  uint32_t max_before = kCommandWindow;
  for (size_t i = 0; i < tasks.size(); ++i) {
    h.finish(*tasks[i]);
    const auto bhs = h.take_one().as<ScsiDataInBhs>();
    EXPECT_EQ(bhs.exp_cmd_sn.get(), 1 + kCommandWindow);
    EXPECT_EQ(bhs.max_cmd_sn.get(), max_before + 1);
    max_before = bhs.max_cmd_sn.get();
  }
}

TEST(SessionWindow, GrantsNoMoreThanThereAreTasks) {
  HarnessOptions options;
  options.tasks = 8;
  Harness h(options);
  h.deliver(h.read(1, 0, 512));
  h.run();
  const auto bhs = h.take_one().as<ScsiDataInBhs>();
  EXPECT_LE(bhs.max_cmd_sn.get() - bhs.exp_cmd_sn.get() + 1, 8U);
}

// Another session has all tasks: one command may come all the same, and is told to try later.
TEST(SessionWindow, NeverStaysClosedWithNothingInFlight) {
  HarnessOptions options;
  options.tasks = 4;
  Harness h(options);
  std::vector<Task*> taken;
  while (Task* task = h.tasks().acquire()) taken.push_back(task);
  for (uint32_t i = 0; i < 10; ++i) {
    h.deliver(h.read(i, 0, 512));
    const auto bhs = h.take_one().as<ScsiResponseBhs>();
    EXPECT_EQ(bhs.status, kBusy);
    EXPECT_EQ(bhs.residual_count.get(), 512U);
    EXPECT_GE(bhs.max_cmd_sn.get(), bhs.exp_cmd_sn.get());
  }
  for (Task* task : taken) h.tasks().release(*task);
}

TEST(SessionLimits, NoTaskForAWriteDropsItsData) {
  HarnessOptions options;
  options.tasks = 1;
  Harness h(options);
  h.deliver(h.read(1, 0, 512));
  ScsiCommandBhs bhs = h.write(2, 0, 8192);
  bhs.opcode |= kImmediateBit;
  bhs.flags = ScsiCommandBhs::kWrite;
  h.deliver(bhs, pattern(4096, 1));
  EXPECT_EQ(h.take_one().as<ScsiResponseBhs>().status, kTaskSetFull);
  h.deliver(h.data_out(2, kReservedTag, 0, 4096, true), pattern(4096, 1));
  EXPECT_TRUE(h.take_sent().empty());
  h.run();
}

TEST(SessionLimits, NoPduForAnAnswerRefusesTheCommand) {
  HarnessOptions options;
  options.pdus = 2;
  Harness h(options);
  h.deliver(h.read(1, 0, 512));
  OutPdu* last = h.pdus().acquire();
  h.deliver(h.read(2, 0, 512));
  EXPECT_EQ(h.session().ending(), Ending::at_once) << "not even a refusal can be sent";
  h.pdus().release(*last);
  h.run();  // what was accepted has its PDU
  EXPECT_EQ(h.take_one().op(), Opcode::scsi_data_in);
}

TEST(SessionLimits, DataInGoesOnWithOnePdu) {
  HarnessOptions options;
  options.pdus = 1;
  options.parameters.max_recv_data_segment_length_initiator = 512;
  Harness h(options);
  h.deliver(h.read(1, 0, 5000));
  h.run();
  const std::vector<Sent> all = h.take_sent();
  ASSERT_EQ(all.size(), 10U);
  EXPECT_EQ(all.back().data.size(), 5000 - 9 * 512U);
  EXPECT_NE(all.back().as<ScsiDataInBhs>().flags & ScsiDataInBhs::kStatus, 0);
  EXPECT_EQ(all.back().as<ScsiDataInBhs>().data_sn.get(), 9U);
}

TEST(SessionLimits, ImmediateDataWithoutMemoryIsThrownAway) {
  HarnessOptions options;
  options.memory_bytes = BuddyPool::kBlockBytesMax;
  Harness h(options);
  const Bytes all = h.memory().allocate(BuddyPool::kBlockBytesMax);
  h.deliver(h.write(1, 0, 512), pattern(512, 1));
  EXPECT_EQ(h.take_one().as<ScsiResponseBhs>().status, kBusy);
  ScsiCommandBhs bhs = h.write(2, 0, 8192);
  bhs.flags = ScsiCommandBhs::kWrite;
  h.deliver(bhs, pattern(4096, 1));
  EXPECT_TRUE(h.take_sent().empty());
  h.deliver(h.data_out(2, kReservedTag, 0, 4096, false), pattern(2048, 1));
  h.deliver(h.data_out(2, kReservedTag, 1, 6144, true), pattern(2048, 1));
  EXPECT_EQ(h.take_one().as<ScsiResponseBhs>().status, kBusy);
  // A ping is still answered, without its data.
  h.deliver(h.nop_out(3), pattern(100, 1));
  const Sent nop = h.take_one();
  EXPECT_EQ(nop.op(), Opcode::nop_in);
  EXPECT_TRUE(nop.data.empty());
  h.memory().release(all);
}

TEST(SessionLimits, ReadsAndSolicitedWritesWaitForMemory) {
  HarnessOptions options;
  options.memory_bytes = BuddyPool::kBlockBytesMax;
  Harness h(options);
  const Bytes all = h.memory().allocate(BuddyPool::kBlockBytesMax);
  h.deliver(h.read(1, 0, 512));
  h.deliver(h.write(2, 0, 8192));
  h.deliver(h.command(kTestUnitReady, 3, 0, 0));  // needs none
  h.run();
  EXPECT_EQ(h.take_one().as<ScsiResponseBhs>().initiator_task_tag.get(), 3U);
  EXPECT_EQ(h.waiting().size(), 2U);
  EXPECT_FALSE(h.session().retry_memory(*h.waiting().front()));
  h.memory().release(all);
  while (Task* task = h.waiting().front()) EXPECT_TRUE(h.session().retry_memory(*task));
  h.run();
  const std::vector<Sent> sent = h.take_sent();
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_EQ(sent[0].op(), Opcode::r2t);
  EXPECT_EQ(sent[1].op(), Opcode::scsi_data_in);
}

TEST(SessionLimits, ScratchAndDataAreHadTogether) {
  HarnessOptions options;
  options.memory_bytes = BuddyPool::kBlockBytesMax;
  Harness h(options);
  const Bytes half = h.memory().allocate(BuddyPool::kBlockBytesMax / 2);
  const Bytes quarter = h.memory().allocate(BuddyPool::kBlockBytesMax / 4);
  const size_t free_before = h.memory().free_bytes();
  ScsiCommandBhs bhs = h.write(1, 0, BuddyPool::kBlockBytesMax / 4);
  bhs.cdb[0] = kFakeScratch;
  h.deliver(bhs);
  EXPECT_EQ(h.waiting().size(), 1U);
  EXPECT_EQ(h.memory().free_bytes(), free_before);
  h.memory().release(half);
  h.memory().release(quarter);
}

TEST(SessionLimits, R2tWithoutAPduIsSentLater) {
  HarnessOptions options;
  options.pdus = 2;
  Harness h(options);
  OutPdu* other = h.pdus().acquire();
  h.deliver(h.write(1, 0, 4096));
  EXPECT_TRUE(h.take_sent().empty());
  ASSERT_EQ(h.waiting().size(), 1U);
  EXPECT_FALSE(h.session().retry_memory(*h.waiting().front()));
  EXPECT_EQ(h.waiting().size(), 1U);
  h.pdus().release(*other);
  EXPECT_TRUE(h.session().retry_memory(*h.waiting().front()));
  EXPECT_TRUE(h.waiting().empty());
  const auto r2t = h.take_one().as<R2tBhs>();
  h.deliver(h.data_out(1, r2t.target_transfer_tag.get(), 0, 0, true), pattern(4096, 1));
  h.run();
  EXPECT_EQ(h.take_one().as<ScsiResponseBhs>().status, 0);
}

TEST(SessionLimits, PeerThatNeverReadsIsCut) {
  HarnessOptions options;
  options.pdus = 4 * kSendQueueMax;
  Harness h(options);
  for (uint32_t i = 0; i < kSendQueueMax + 10; ++i) {
    EXPECT_EQ(h.session().congested(), i >= kSendQueuePause);
    NopOutBhs bhs = h.nop_out(i);
    bhs.opcode |= kImmediateBit;
    h.deliver(bhs);
  }
  EXPECT_EQ(h.session().ending(), Ending::at_once);
  EXPECT_EQ(h.pdus().used(), kSendQueueMax);
}

TEST(SessionLimits, TransfersBeyondTheLargestBufferAreNotAttempted) {
  Harness h;
  ScsiCommandBhs write = h.write(1, 0, scsi::kTransferBytesMax + 1);
  h.deliver(write);
  EXPECT_EQ(Harness::sense_of(h.take_one()), 0x044400U);
  ScsiCommandBhs read = h.read(2, 0, 0xFFFF'FFFF);  // an allocation length
  h.deliver(read);
  Task* task = h.start_all().at(0);
  EXPECT_EQ(task->command.data.size(), scsi::kTransferBytesMax);
  h.session().on_done(*task, scsi::good(0));
  EXPECT_EQ(h.take_one().as<ScsiResponseBhs>().residual_count.get(), 0xFFFF'FFFFU);
}

// One task in every state; the harness checks that all came back.
TEST(SessionEnd, ShutDownInEveryState) {
  HarnessOptions options;
  options.memory_bytes = BuddyPool::kBlockBytesMax;
  options.parameters.max_recv_data_segment_length_initiator = 512;
  Harness h(options);
  h.deliver(h.read(1, 0, 4096));
  Task* executing = h.start_all().at(0);
  h.deliver(h.read(2, 0, 4096));
  h.run();                         // responding, all PDUs unsent
  h.deliver(h.write(3, 0, 8192));  // R2T out
  h.deliver(h.read(4, 0, 4096));   // ready
  ScsiCommandBhs refused = h.command(0xEE, 5, 0, 4096);
  refused.flags = ScsiCommandBhs::kWrite;
  h.deliver(refused);  // discarding
  const Bytes rest = h.memory().allocate(BuddyPool::kBlockBytesMax / 2);
  h.deliver(h.read(6, 0, 3U << 20));  // waiting for memory
  EXPECT_EQ(h.waiting().size(), 1U);
  h.deliver(h.management(TaskManagementFunction::logical_unit_reset, 50));
  const Bytes to = h.deliver_header(h.write(7, 0, 4096), 4096);  // its segment never comes
  EXPECT_EQ(to.size(), 4096U);

  h.session().shut_down();
  EXPECT_EQ(h.session().executing(), 1U);
  EXPECT_FALSE(h.session().next_management().has_value());
  h.finish(*executing);
  EXPECT_EQ(h.session().executing(), 0U);
  h.memory().release(rest);
}

TEST(SessionEnd, ControlSegmentOnItsWay) {
  Harness h;
  EXPECT_EQ(h.deliver_header(h.nop_out(1), 4096).size(), 4096U);
}

}  // namespace
}  // namespace itgtd::iscsi::test
