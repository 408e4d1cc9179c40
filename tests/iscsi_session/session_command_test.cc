// SCSI Command, Data-In, status, residuals. RFC 7143 §11.3, §11.4, §11.7.
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "tests/iscsi_session/harness.h"

namespace itgtd::iscsi::test {
namespace {

TEST(SessionCommand, ReadIsOneDataInWithStatus) {
  Harness h;
  h.deliver(h.read(1, 4096, 4096));
  h.run();
  const Sent sent = h.take_one();
  const auto& bhs = sent.as<ScsiDataInBhs>();
  EXPECT_EQ(bhs.flags, ScsiDataInBhs::kFinal | ScsiDataInBhs::kStatus);
  EXPECT_EQ(bhs.status, 0);
  EXPECT_EQ(bhs.stat_sn.get(), 100U);
  EXPECT_EQ(bhs.exp_cmd_sn.get(), 2U);
  EXPECT_EQ(bhs.target_transfer_tag.get(), kReservedTag);
  EXPECT_EQ(bhs.residual_count.get(), 0U);
  EXPECT_TRUE(std::equal(sent.data.begin(), sent.data.end(), h.disk().begin() + 4096));
  EXPECT_EQ(sent.data.size(), 4096U);
}

TEST(SessionCommand, NoDataIsAResponse) {
  Harness h;
  h.deliver(h.command(kTestUnitReady, 9, 0, 0));
  h.run();
  const auto bhs = h.take_one().as<ScsiResponseBhs>();
  EXPECT_EQ(bhs.flags, ScsiResponseBhs::kFinal);
  EXPECT_EQ(bhs.initiator_task_tag.get(), 9U);
  EXPECT_EQ(bhs.residual_count.get(), 0U);
}

// RFC 7143 §11.7.1: F at the end of every sequence, no longer than MaxBurstLength, in PDUs no longer than the
// initiator takes.
TEST(SessionCommand, DataInIsSplitBySegmentAndBurst) {
  HarnessOptions options;
  options.parameters.max_recv_data_segment_length_initiator = 8192;
  options.parameters.max_burst_length = 20000;
  Harness h(options);
  h.deliver(h.read(1, 0, 50000));
  h.run();
  const std::vector<Sent> all = h.take_sent();
  const std::vector<uint32_t> lengths = {8192, 8192, 3616, 8192, 8192, 3616, 8192, 1808};
  ASSERT_EQ(all.size(), lengths.size());
  uint32_t offset = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto& bhs = all[i].as<ScsiDataInBhs>();
    EXPECT_EQ(all[i].data.size(), lengths[i]);
    EXPECT_EQ(bhs.data_sn.get(), i);
    EXPECT_EQ(bhs.buffer_offset.get(), offset);
    const bool ends = i == 2 || i == 5 || i == 7;
    EXPECT_EQ((bhs.flags & ScsiDataInBhs::kFinal) != 0, ends) << i;
    EXPECT_EQ((bhs.flags & ScsiDataInBhs::kStatus) != 0, i == 7) << i;
    EXPECT_EQ(bhs.stat_sn.get(), i == 7 ? 100U : 0U);
    EXPECT_TRUE(std::equal(all[i].data.begin(), all[i].data.end(), h.disk().begin() + offset));
    offset += lengths[i];
  }
}

TEST(SessionCommand, BorrowedDataIsSentInPlaceOfTheBuffer) {
  HarnessOptions options;
  options.parameters.max_recv_data_segment_length_initiator = 8192;
  Harness h(options);
  const Data lent(12000, std::byte{0x5A});
  h.deliver(h.read(1, 0, 12000));
  h.start_all().front()->command.borrowed = lent.data();
  scsi::Done done;
  done.data_in_bytes = 12000;
  h.session().on_done(*h.tasks().tenant(0), done);
  const std::vector<Sent> all = h.take_sent();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_TRUE(std::equal(all[0].data.begin(), all[0].data.end(), lent.begin()));
  EXPECT_EQ(all[0].data.size() + all[1].data.size(), lent.size());
  // The next tenant of the task borrows nothing.
  h.deliver(h.read(2, 4096, 4096));
  h.run();
  const Sent own = h.take_one();
  EXPECT_TRUE(std::equal(own.data.begin(), own.data.end(), h.disk().begin() + 4096));
}

TEST(SessionCommand, CheckConditionHasSenseBehindItsLength) {
  Harness h;
  h.deliver(h.command(0xEE, 1, 0, 0));
  const Sent sent = h.take_one();
  EXPECT_EQ(Harness::sense_of(sent), 0x052000U);
  EXPECT_EQ(sent.data.size(), 2 + scsi::kFixedSenseBytes);
}

struct Residual {
  bool write;
  uint32_t expected;
  uint32_t cdb;
  uint8_t flags;  ///< R or W as sent
  uint8_t flag;   ///< O, U or none
  uint32_t count;
};

class SessionResidual : public ::testing::TestWithParam<Residual> {};

// RFC 7143 §11.4.5.
TEST_P(SessionResidual, IsTold) {
  const Residual& p = GetParam();
  Harness h;
  ScsiCommandBhs bhs = p.write ? h.write(1, 0, p.cdb) : h.read(1, 0, p.cdb);
  bhs.flags = static_cast<uint8_t>(ScsiCommandBhs::kFinal | p.flags);
  bhs.expected_data_transfer_length.set(p.expected);
  const bool sends = (p.flags & ScsiCommandBhs::kWrite) != 0;
  h.deliver(bhs, sends ? pattern(p.expected, 5) : Data{});
  h.run();
  const Sent sent = h.take_one();
  const uint32_t moved = std::min(p.expected, p.cdb);
  if (sent.op() == Opcode::scsi_data_in) {
    EXPECT_EQ(sent.data.size(), moved);
    const auto& data_in = sent.as<ScsiDataInBhs>();
    EXPECT_EQ(data_in.flags, ScsiDataInBhs::kFinal | ScsiDataInBhs::kStatus | p.flag);
    EXPECT_EQ(data_in.residual_count.get(), p.count);
  } else {
    const auto& response = sent.as<ScsiResponseBhs>();
    EXPECT_EQ(response.flags, ScsiResponseBhs::kFinal | p.flag);
    EXPECT_EQ(response.status, 0);
    EXPECT_EQ(response.residual_count.get(), p.count);
  }
  if (p.write && sends) {
    const Data data = pattern(p.expected, 5);
    EXPECT_TRUE(std::equal(data.begin(), data.begin() + moved, h.disk().begin()));
    // Nothing beyond what both sides agree on was touched.
    const Data before = pattern(h.disk().size(), 1);
    EXPECT_TRUE(std::equal(h.disk().begin() + moved, h.disk().end(), before.begin() + moved));
  }
}

constexpr uint8_t kR = ScsiCommandBhs::kRead, kW = ScsiCommandBhs::kWrite;
constexpr uint8_t kO = ScsiResponseBhs::kOverflow, kU = ScsiResponseBhs::kUnderflow;
INSTANTIATE_TEST_SUITE_P(All, SessionResidual,
                         ::testing::Values(Residual{false, 512, 512, kR, 0, 0},        //
                                           Residual{false, 0, 512, kR, kO, 512},       //
                                           Residual{false, 10000, 512, kR, kU, 9488},  //
                                           Residual{false, 200, 512, kR, kO, 312},     //
                                           Residual{false, 512, 1024, kR, kO, 512},    //
                                           Residual{false, 512, 0, kR, kU, 512},       //
                                           Residual{false, 512, 512, 0, kO, 512},      //
                                           Residual{false, 0, 0, 0, 0, 0},             //
                                           Residual{true, 512, 512, kW, 0, 0},         //
                                           Residual{true, 0, 512, kW, kO, 512},        //
                                           Residual{true, 10000, 512, kW, kU, 9488},   //
                                           Residual{true, 200, 512, kW, kO, 312},      //
                                           Residual{true, 512, 1024, kW, kO, 512},     //
                                           Residual{true, 512, 0, kW, kU, 512},        //
                                           Residual{true, 512, 512, kR, kO, 512},      //
                                           Residual{true, 0, 512, 0, kO, 512}));

TEST(SessionCommand, ResidualOfAShortAnswer) {
  Harness h;
  ScsiCommandBhs bhs = h.read(1, 0, 1600);
  bhs.cdb[10] = 2;  // 200 bytes are there
  h.deliver(bhs);
  h.run();
  const Sent sent = h.take_one();
  EXPECT_EQ(sent.data.size(), 200U);
  EXPECT_EQ(sent.as<ScsiDataInBhs>().flags & ScsiDataInBhs::kUnderflow, ScsiDataInBhs::kUnderflow);
  EXPECT_EQ(sent.as<ScsiDataInBhs>().residual_count.get(), 1400U);
}

// A write command's data may not come for a read: the read sends none either.
TEST(SessionCommand, ReadAnnouncedAsWriteSendsNothing) {
  Harness h;
  ScsiCommandBhs bhs = h.read(1, 0, 512);
  bhs.flags = ScsiCommandBhs::kFinal | ScsiCommandBhs::kWrite;
  h.deliver(bhs, pattern(512, 2));
  h.run();
  const Sent sent = h.take_one();
  EXPECT_EQ(sent.as<ScsiResponseBhs>().flags, ScsiResponseBhs::kFinal | ScsiResponseBhs::kOverflow);
  EXPECT_EQ(h.disk(), pattern(h.disk().size(), 1));
}

// RFC 7143 §4.2.2.1.
TEST(SessionCommand, WrongCmdSnIsIgnoredSilently) {
  Harness h;
  for (const uint32_t wrong : {0U, 2U, 0x8000'0001U, 0xFFFF'FFFFU, 1 + kCommandWindow, 5000U}) {
    ScsiCommandBhs bhs = h.read(1, 0, 512);
    bhs.cmd_sn.set(wrong);
    h.deliver(bhs);
    h.run();
    EXPECT_TRUE(h.take_sent().empty()) << wrong;
    ScsiCommandBhs write = h.write(1, 0, 512);
    write.cmd_sn.set(wrong);
    h.deliver(write, pattern(512, 3));
  }
  EXPECT_EQ(h.tasks().used(), 0U);
  ScsiCommandBhs bhs = h.read(1, 0, 512);
  bhs.cmd_sn.set(1);
  h.deliver(bhs);
  h.run();
  EXPECT_EQ(h.take_one().op(), Opcode::scsi_data_in);
}

TEST(SessionCommand, ImmediateCommandTakesNoCmdSn) {
  Harness h;
  ScsiCommandBhs bhs = h.read(1, 0, 512);
  bhs.opcode |= kImmediateBit;
  h.deliver(bhs);
  h.run();
  EXPECT_EQ(h.take_one().as<ScsiDataInBhs>().exp_cmd_sn.get(), 1U);
}

TEST(SessionCommand, NumbersWrap) {
  Harness h({.exp_cmd_sn = 0xFFFF'FFFE});
  for (uint32_t i = 0; i < 5; ++i) {
    h.deliver(h.read(i, 0, 512));
    h.run();
    const auto bhs = h.take_one().as<ScsiDataInBhs>();
    EXPECT_EQ(bhs.exp_cmd_sn.get(), 0xFFFF'FFFF + i);
    EXPECT_EQ(bhs.stat_sn.get(), 100 + i);
  }
}

TEST(SessionCommand, TagMayBeUsedAgainBeforeTheSendIsReported) {
  Harness h;
  h.deliver(h.read(1, 0, 512));
  h.run();
  h.deliver(h.read(1, 512, 512));  // the first Data-In is still in the send list
  h.run();
  const std::vector<Sent> all = h.take_sent();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[1].op(), Opcode::scsi_data_in);
}

TEST(SessionCommand, TagInUseIsRejected) {
  Harness h;
  h.deliver(h.read(1, 0, 512));
  const ScsiCommandBhs again = h.read(1, 0, 512);
  h.deliver(again);
  const Sent sent = h.take_one();
  EXPECT_EQ(sent.as<RejectBhs>().reason, static_cast<uint8_t>(RejectReason::task_in_progress));
  EXPECT_EQ(sent.data.size(), kBhsBytes);
  EXPECT_TRUE(std::equal(sent.data.begin(), sent.data.end(), bytes_of(again).begin()));
  // RFC 7143 §11.17.1: its CmdSN counts as not received.
  EXPECT_EQ(sent.as<RejectBhs>().exp_cmd_sn.get(), 2U);
  h.run();
}

TEST(SessionCommand, ReservedTagIsRejected) {
  Harness h;
  h.deliver(h.read(kReservedTag, 0, 512));
  EXPECT_EQ(h.take_one().as<RejectBhs>().reason, static_cast<uint8_t>(RejectReason::invalid_pdu_field));
}

TEST(SessionCommand, MoreToComeWithoutWriteIsRejected) {
  Harness h;
  ScsiCommandBhs bhs = h.read(1, 0, 512);
  bhs.flags = ScsiCommandBhs::kRead;
  h.deliver(bhs);
  EXPECT_EQ(h.take_one().as<RejectBhs>().reason, static_cast<uint8_t>(RejectReason::invalid_pdu_field));
}

TEST(SessionCommand, BothDirectionsAreRefused) {
  Harness h;
  ScsiCommandBhs bhs = h.read(1, 0, 512);
  bhs.flags |= ScsiCommandBhs::kWrite;
  h.deliver(bhs);
  EXPECT_EQ(Harness::sense_of(h.take_one()), 0x052000U);
}

TEST(SessionCommand, ExtendedCdbIsRefusedNotMisread) {
  Harness h;
  Data ahs(20);
  store(Bytes(ahs), be16(17));
  ahs[2] = std::byte{1};
  h.deliver(h.read(1, 0, 512), {}, true, ahs);
  EXPECT_EQ(Harness::sense_of(h.take_one()), 0x052000U);
  EXPECT_TRUE(h.ready().empty());
}

TEST(SessionCommand, MalformedAhsIsRejected) {
  Harness h;
  for (const auto& [length, type] : {std::pair<uint16_t, uint8_t>{18, 1}, {0xFFFF, 1}, {17, 9}, {13, 2}}) {
    Data ahs(20);
    store(Bytes(ahs), be16(length));
    ahs[2] = static_cast<std::byte>(type);
    if (type == 2) ahs[18] = std::byte{7};  // what is left over is no segment
    h.deliver(h.read(1, 0, 512), {}, true, ahs);
    --h.cmd_sn;
    EXPECT_EQ(h.take_one().as<RejectBhs>().reason, static_cast<uint8_t>(RejectReason::invalid_pdu_field));
  }
  EXPECT_TRUE(h.ready().empty());
}

TEST(SessionCommand, UnknownLunIsAnswered) {
  Harness h;
  ScsiCommandBhs bhs = h.read(1, 0, 512);
  bhs.lun.set(uint64_t{5} << 48);
  h.deliver(bhs);
  const Sent sent = h.take_one();
  EXPECT_EQ(Harness::sense_of(sent), 0x052500U);
  EXPECT_EQ(sent.as<ScsiResponseBhs>().residual_count.get(), 512U);
}

TEST(SessionCommand, DigestsCoverHeaderDataAndPadding) {
  HarnessOptions options;
  options.parameters.header_digest = options.parameters.data_digest = true;
  Harness h(options);
  h.deliver(h.read(1, 10, 513));
  h.run();
  const Sent sent = h.take_one();
  Bhs bhs = sent.bhs;
  const auto wire = [](uint32_t crc) {
    Data bytes;
    for (unsigned i = 0; i < 4; ++i) bytes.push_back(static_cast<std::byte>(crc >> (8 * i)));
    return bytes;
  };
  EXPECT_EQ(sent.header_digest, wire(crc32c(bytes_of(bhs))));
  Data padded = sent.data;
  padded.resize(516);
  Data trailer(3);
  const Data digest = wire(crc32c(padded));
  trailer.insert(trailer.end(), digest.begin(), digest.end());
  EXPECT_EQ(sent.trailer, trailer);
}

TEST(SessionCommand, StatusIsNotCollapsedWithSense) {
  Harness h;
  h.deliver(h.read(1, 0, 512));
  Task* task = h.start_all().at(0);
  scsi::Done done = scsi::check_condition({.key = scsi::SenseKey::medium_error, .asc = scsi::Asc{0x1100}});
  done.data_in_bytes = 256;
  std::fill(task->command.data.begin(), task->command.data.end(), std::byte{1});
  h.session().on_done(*task, done);
  const std::vector<Sent> all = h.take_sent();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].as<ScsiDataInBhs>().flags, ScsiDataInBhs::kFinal);
  EXPECT_EQ(Harness::sense_of(all[1]), 0x031100U);
  EXPECT_EQ(all[1].as<ScsiResponseBhs>().exp_data_sn.get(), 1U);
  EXPECT_EQ(all[1].as<ScsiResponseBhs>().flags, ScsiResponseBhs::kFinal | ScsiResponseBhs::kUnderflow);
}

}  // namespace
}  // namespace itgtd::iscsi::test
