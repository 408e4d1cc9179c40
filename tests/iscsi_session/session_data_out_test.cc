// Immediate, unsolicited and solicited data, and what a hostile initiator makes of them. RFC 7143 §11.7,
// §11.8.
#include <gtest/gtest.h>

#include "tests/iscsi_session/harness.h"

namespace itgtd::iscsi::test {
namespace {

constexpr uint32_t kUnexpectedData = 0x0B0C0C;
constexpr uint32_t kIncorrectAmount = 0x0B0C0D;
constexpr uint32_t kCrcError = 0x0B4705;

Data part(const Data& data, size_t offset, size_t length) {
  return {data.begin() + static_cast<std::ptrdiff_t>(offset),
          data.begin() + static_cast<std::ptrdiff_t>(offset + length)};
}

bool disk_has(Harness& h, size_t offset, const Data& data) {
  return std::equal(data.begin(), data.end(), h.disk().begin() + static_cast<std::ptrdiff_t>(offset));
}

bool disk_untouched(Harness& h) {
  return h.disk() == pattern(h.disk().size(), 1);
}

ScsiCommandBhs not_final(ScsiCommandBhs bhs) {
  bhs.flags = static_cast<uint8_t>(bhs.flags & ~ScsiCommandBhs::kFinal);
  return bhs;
}

uint8_t reason_of(const Sent& sent) {
  return sent.as<RejectBhs>().reason;
}

HarnessOptions small_bursts() {
  HarnessOptions options;
  options.parameters.first_burst_length = 4096;
  options.parameters.max_burst_length = 4096;
  return options;
}

/// A write of 10000 bytes without immediate data; returns the R2Ts that it got.
std::vector<R2tBhs> solicit(Harness& h, uint32_t tag, uint32_t length) {
  h.deliver(h.write(tag, 0, length));
  std::vector<R2tBhs> r2ts;
  for (const Sent& sent : h.take_sent()) r2ts.push_back(sent.as<R2tBhs>());
  return r2ts;
}

TEST(SessionDataOut, ImmediateDataIsWritten) {
  Harness h;
  const Data data = pattern(8192, 9);
  h.deliver(h.write(1, 512, 8192), data);
  h.run();
  EXPECT_EQ(h.take_one().as<ScsiResponseBhs>().status, 0);
  EXPECT_TRUE(disk_has(h, 512, data));
}

TEST(SessionDataOut, UnsolicitedDataFollowsImmediate) {
  Harness h;
  const Data data = pattern(12000, 9);
  h.deliver(not_final(h.write(1, 0, 12000)), part(data, 0, 4000));
  h.deliver(h.data_out(1, kReservedTag, 0, 4000, false), part(data, 4000, 4000));
  EXPECT_TRUE(h.ready().empty());
  h.deliver(h.data_out(1, kReservedTag, 1, 8000, true), part(data, 8000, 4000));
  h.run();
  EXPECT_EQ(h.take_one().as<ScsiResponseBhs>().status, 0);
  EXPECT_TRUE(disk_has(h, 0, data));
}

TEST(SessionDataOut, R2tAsksForTheRestInBursts) {
  Harness h(small_bursts());
  const Data data = pattern(10000, 9);
  h.deliver(h.write(1, 0, 10000), part(data, 0, 1000));
  uint32_t offset = 1000;
  for (uint32_t sn = 0; sn < 3; ++sn) {
    const auto r2t = h.take_one().as<R2tBhs>();
    EXPECT_EQ(r2t.flags, 0x80);
    EXPECT_EQ(r2t.r2t_sn.get(), sn);
    EXPECT_EQ(r2t.buffer_offset.get(), offset);
    EXPECT_EQ(r2t.stat_sn.get(), 100U);
    EXPECT_NE(r2t.target_transfer_tag.get(), kReservedTag);
    const uint32_t length = r2t.desired_data_transfer_length.get();
    EXPECT_EQ(length, std::min(4096U, 10000 - offset));
    const uint32_t tag = r2t.target_transfer_tag.get();
    h.deliver(h.data_out(1, tag, 0, offset, false), part(data, offset, 100));
    h.deliver(h.data_out(1, tag, 1, offset + 100, true), part(data, offset + 100, length - 100));
    offset += length;
  }
  h.run();
  EXPECT_EQ(h.take_one().as<ScsiResponseBhs>().status, 0);
  EXPECT_TRUE(disk_has(h, 0, data));
}

TEST(SessionDataOut, SeveralR2tsAreOutstanding) {
  HarnessOptions options = small_bursts();
  options.parameters.max_outstanding_r2t = 3;
  Harness h(options);
  const Data data = pattern(40000, 9);
  std::vector<R2tBhs> r2ts = solicit(h, 1, 40000);
  ASSERT_EQ(r2ts.size(), 3U);
  for (size_t i = 0; i < r2ts.size(); ++i) {
    const uint32_t offset = r2ts[i].buffer_offset.get();
    const uint32_t length = r2ts[i].desired_data_transfer_length.get();
    EXPECT_EQ(r2ts[i].r2t_sn.get(), i);
    h.deliver(h.data_out(1, r2ts[i].target_transfer_tag.get(), 0, offset, true), part(data, offset, length));
    for (const Sent& sent : h.take_sent()) r2ts.push_back(sent.as<R2tBhs>());
    EXPECT_LE(r2ts.size() - i - 1, 3U);
  }
  EXPECT_EQ(r2ts.size(), 10U);
  h.run();
  EXPECT_EQ(h.take_one().as<ScsiResponseBhs>().status, 0);
  EXPECT_TRUE(disk_has(h, 0, data));
}

// RFC 7143 §11.7.2: with several R2Ts outstanding the tag tells which one is answered.
TEST(SessionDataOut, BurstsOutOfOrderAreRejected) {
  HarnessOptions options = small_bursts();
  options.parameters.max_outstanding_r2t = 2;
  Harness h(options);
  const auto r2ts = solicit(h, 1, 8192);
  ASSERT_EQ(r2ts.size(), 2U);
  h.deliver(h.data_out(1, r2ts[1].target_transfer_tag.get(), 0, 4096, true), pattern(4096, 2));
  EXPECT_EQ(reason_of(h.take_one()), static_cast<uint8_t>(RejectReason::invalid_pdu_field));
  EXPECT_TRUE(h.ready().empty());
}

TEST(SessionDataOut, InitialR2tForbidsUnsolicitedData) {
  HarnessOptions options;
  options.parameters.initial_r2t = true;
  Harness h(options);
  h.deliver(not_final(h.write(1, 0, 8192)), pattern(4096, 2));
  EXPECT_TRUE(h.take_sent().empty()) << "RFC 7143 §11.17.1: the rest of the data is waited for";
  h.deliver(h.data_out(1, kReservedTag, 0, 4096, true), pattern(4096, 2));
  EXPECT_EQ(Harness::sense_of(h.take_one()), kUnexpectedData);
  EXPECT_TRUE(disk_untouched(h));
}

TEST(SessionDataOut, ImmediateDataMayBeForbidden) {
  HarnessOptions options;
  options.parameters.immediate_data = false;
  Harness h(options);
  h.deliver(h.write(1, 0, 512), pattern(512, 2));
  EXPECT_EQ(Harness::sense_of(h.take_one()), kUnexpectedData);
}

TEST(SessionDataOut, ImmediateDataWithAReadIsRefused) {
  Harness h;
  h.deliver(h.read(1, 0, 512), pattern(512, 2));
  EXPECT_EQ(Harness::sense_of(h.take_one()), kUnexpectedData);
}

TEST(SessionDataOut, FirstBurstIsALimit) {
  Harness h(small_bursts());
  h.deliver(h.write(1, 0, 8192), pattern(4097, 2));
  EXPECT_EQ(Harness::sense_of(h.take_one()), kIncorrectAmount);
  h.deliver(h.write(2, 0, 512), pattern(513, 2));
  EXPECT_EQ(Harness::sense_of(h.take_one()), kIncorrectAmount);
  h.deliver(not_final(h.write(3, 0, 8192)), pattern(4000, 2));
  h.deliver(h.data_out(3, kReservedTag, 0, 4000, true), pattern(97, 2));
  EXPECT_EQ(Harness::sense_of(h.take_one()), kIncorrectAmount);
  EXPECT_TRUE(disk_untouched(h));
}

// RFC 7143 §11.4.7.2.
TEST(SessionDataOut, UnsolicitedDataFillsTheFirstBurst) {
  Harness h(small_bursts());
  h.deliver(not_final(h.write(1, 0, 8192)));
  h.deliver(h.data_out(1, kReservedTag, 0, 0, true), pattern(4000, 2));
  EXPECT_EQ(Harness::sense_of(h.take_one()), kIncorrectAmount);
}

struct WrongUnsolicited {
  uint32_t data_sn;
  uint32_t offset;
  uint32_t length;
  uint32_t sense;
};
class SessionWrongUnsolicited : public ::testing::TestWithParam<WrongUnsolicited> {};

TEST_P(SessionWrongUnsolicited, EndsTheCommandAlone) {
  const auto& p = GetParam();
  Harness h;
  h.deliver(not_final(h.write(1, 0, 8192)), pattern(4096, 2));
  h.deliver(h.data_out(1, kReservedTag, p.data_sn, p.offset, false), pattern(p.length, 3));
  EXPECT_TRUE(h.take_sent().empty());
  h.deliver(h.data_out(1, kReservedTag, 1, 4096, true), pattern(16, 3));
  EXPECT_EQ(Harness::sense_of(h.take_one()), p.sense);
  EXPECT_TRUE(disk_untouched(h));
  h.deliver(h.read(2, 0, 512));
  h.run();
  EXPECT_EQ(h.take_one().op(), Opcode::scsi_data_in);
}

INSTANTIATE_TEST_SUITE_P(All, SessionWrongUnsolicited,
                         ::testing::Values(WrongUnsolicited{1, 4096, 512, kCrcError},            //
                                           WrongUnsolicited{27, 4096, 512, kCrcError},           //
                                           WrongUnsolicited{0xFFFF'FFFF, 4096, 512, kCrcError},  //
                                           WrongUnsolicited{0, 0, 512, kIncorrectAmount},        //
                                           WrongUnsolicited{0, 4097, 512, kIncorrectAmount},     //
                                           WrongUnsolicited{0, 0xFFFF'FF00, 512, kIncorrectAmount},
                                           WrongUnsolicited{0, 4096, 4097, kIncorrectAmount},  //
                                           WrongUnsolicited{0, 8192, 1, kIncorrectAmount}));

struct WrongSolicited {
  uint32_t data_sn;
  uint32_t offset;
  uint32_t length;
  bool final;
  uint32_t sense;
};
class SessionWrongSolicited : public ::testing::TestWithParam<WrongSolicited> {};

TEST_P(SessionWrongSolicited, EndsTheCommandAlone) {
  const auto& p = GetParam();
  Harness h(small_bursts());
  const auto r2t = solicit(h, 1, 10000).at(0);
  const uint32_t tag = r2t.target_transfer_tag.get();
  h.deliver(h.data_out(1, tag, p.data_sn, p.offset, p.final), pattern(p.length, 3));
  if (!p.final) {
    EXPECT_TRUE(h.take_sent().empty());
    h.deliver(h.data_out(1, tag, 1, 512, true), pattern(16, 3));
  }
  EXPECT_EQ(Harness::sense_of(h.take_one()), p.sense);
  EXPECT_TRUE(disk_untouched(h));
}

INSTANTIATE_TEST_SUITE_P(All, SessionWrongSolicited,
                         ::testing::Values(WrongSolicited{1, 0, 4096, true, kCrcError},           //
                                           WrongSolicited{7, 0, 512, false, kCrcError},           //
                                           WrongSolicited{0, 512, 512, false, kIncorrectAmount},  //
                                           WrongSolicited{0, 0, 4097, true, kIncorrectAmount},    //
                                           WrongSolicited{0, 4096, 512, true, kIncorrectAmount},  //
                                           WrongSolicited{0, 0xFFFF'F000, 4096, true, kIncorrectAmount},
                                           WrongSolicited{0, 0, 4000, true, kIncorrectAmount},  // F early
                                           WrongSolicited{0, 0, 0, true, kIncorrectAmount}));

TEST(SessionDataOut, FinalBitMayComeInAnEmptyPdu) {
  Harness h(small_bursts());
  const auto r2t = solicit(h, 1, 4096).at(0);
  h.deliver(h.data_out(1, r2t.target_transfer_tag.get(), 0, 0, false), pattern(4096, 3));
  EXPECT_TRUE(h.ready().empty());
  h.deliver(h.data_out(1, r2t.target_transfer_tag.get(), 1, 4096, true));
  h.run();
  EXPECT_EQ(h.take_one().as<ScsiResponseBhs>().status, 0);
}

TEST(SessionDataOut, WrongTagsAreRejectedAndTouchNothing) {
  Harness h(small_bursts());
  const auto r2t = solicit(h, 1, 4096).at(0);
  const uint32_t tag = r2t.target_transfer_tag.get();
  for (const uint32_t wrong :
       {tag ^ 1U, tag ^ 0x10000U, tag ^ 0x1000'0000U, tag | 0x8000'0000U, 0xFFFF'FFFEU}) {
    h.deliver(h.data_out(1, wrong, 0, 0, true), pattern(4096, 3));
    EXPECT_EQ(reason_of(h.take_one()), static_cast<uint8_t>(RejectReason::invalid_pdu_field)) << wrong;
  }
  ScsiDataOutBhs other_lun = h.data_out(1, tag, 0, 0, true);
  other_lun.lun.set(uint64_t{1} << 48);
  h.deliver(other_lun, pattern(4096, 3));
  EXPECT_EQ(reason_of(h.take_one()), static_cast<uint8_t>(RejectReason::invalid_pdu_field));
  EXPECT_TRUE(h.ready().empty());
  // The right one still works.
  h.deliver(h.data_out(1, tag, 0, 0, true), pattern(4096, 3));
  h.run();
  EXPECT_EQ(h.take_one().as<ScsiResponseBhs>().status, 0);
}

TEST(SessionDataOut, StaleDataIsDroppedSilently) {
  Harness h(small_bursts());
  const auto r2t = solicit(h, 1, 4096).at(0);
  const uint32_t tag = r2t.target_transfer_tag.get();
  h.deliver(h.data_out(1, tag, 0, 0, true), pattern(4096, 3));
  // Executing: the task expects nothing any more.
  h.deliver(h.data_out(1, tag, 0, 0, true), pattern(4096, 4));
  EXPECT_EQ(h.take_one().op(), Opcode::reject);
  h.run();
  h.take_sent();
  // Over: the tag is unknown, as it is for data that crossed an abort.
  h.deliver(h.data_out(1, tag, 0, 0, true), pattern(4096, 4));
  h.deliver(h.data_out(1, kReservedTag, 0, 0, true), pattern(4096, 4));
  EXPECT_TRUE(h.take_sent().empty());
  EXPECT_TRUE(disk_has(h, 0, pattern(4096, 3)));
  // The tag of an earlier tenant, with the initiator task tag in use again.
  const auto second = solicit(h, 1, 4096).at(0);
  EXPECT_NE(second.target_transfer_tag.get(), tag);
  h.deliver(h.data_out(1, tag, 0, 0, true), pattern(4096, 4));
  EXPECT_EQ(h.take_one().op(), Opcode::reject);
  EXPECT_TRUE(h.ready().empty());
}

TEST(SessionDataOut, UnknownTaskWithImpossibleTagIsRejected) {
  Harness h;
  h.deliver(h.data_out(77, 0x8000'0000, 0, 0, true), pattern(512, 3));
  EXPECT_EQ(reason_of(h.take_one()), static_cast<uint8_t>(RejectReason::invalid_pdu_field));
  h.deliver(h.data_out(77, 60000, 0, 0, true), pattern(512, 3));
  EXPECT_EQ(reason_of(h.take_one()), static_cast<uint8_t>(RejectReason::invalid_pdu_field));
}

TEST(SessionDataOut, DataForAReadIsRejected) {
  Harness h;
  h.deliver(h.read(1, 0, 4096));
  h.deliver(h.data_out(1, kReservedTag, 0, 0, true), pattern(512, 3));
  EXPECT_EQ(reason_of(h.take_one()), static_cast<uint8_t>(RejectReason::protocol_error));
  h.run();
}

TEST(SessionDataOut, UnsolicitedDataBehindTheFinalOneEndsTheCommand) {
  Harness h(small_bursts());
  const uint32_t tag = solicit(h, 1, 8192).at(0).target_transfer_tag.get();
  h.deliver(h.data_out(1, kReservedTag, 0, 0, true), pattern(512, 3));
  EXPECT_EQ(reason_of(h.take_one()), static_cast<uint8_t>(RejectReason::protocol_error));
  h.deliver(h.data_out(1, tag, 0, 0, true), pattern(4096, 3));
  EXPECT_EQ(Harness::sense_of(h.take_one()), kUnexpectedData);
  EXPECT_TRUE(disk_untouched(h));
}

// RFC 7143 §7.8.
TEST(SessionDataOut, DigestErrorInImmediateData) {
  Harness h;
  h.deliver(h.write(1, 0, 512), pattern(512, 3), false);
  const std::vector<Sent> all = h.take_sent();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(reason_of(all[0]), static_cast<uint8_t>(RejectReason::data_digest_error));
  EXPECT_EQ(Harness::sense_of(all[1]), kCrcError);
  EXPECT_TRUE(disk_untouched(h));
}

TEST(SessionDataOut, DigestErrorWaitsForTheRest) {
  HarnessOptions options = small_bursts();
  options.parameters.max_outstanding_r2t = 2;
  Harness h(options);
  const auto r2ts = solicit(h, 1, 12000);
  ASSERT_EQ(r2ts.size(), 2U);
  h.deliver(h.data_out(1, r2ts[0].target_transfer_tag.get(), 0, 0, false), pattern(100, 3), false);
  EXPECT_EQ(reason_of(h.take_one()), static_cast<uint8_t>(RejectReason::data_digest_error));
  h.deliver(h.data_out(1, r2ts[0].target_transfer_tag.get(), 1, 100, true), pattern(3996, 3));
  EXPECT_TRUE(h.take_sent().empty());
  h.deliver(h.data_out(1, r2ts[1].target_transfer_tag.get(), 0, 4096, true), pattern(4096, 3));
  EXPECT_EQ(Harness::sense_of(h.take_one()), kCrcError);
  EXPECT_TRUE(disk_untouched(h));
}

// libiscsi's iSCSIDataSnInvalid: DataSN (1, 0) in place of (0, 1).
TEST(SessionDataOut, SwappedDataSnDoesNotSucceed) {
  Harness h;
  h.deliver(not_final(h.write(1, 0, 1024)));
  h.deliver(h.data_out(1, kReservedTag, 1, 0, false), pattern(512, 3));
  h.deliver(h.data_out(1, kReservedTag, 0, 512, true), pattern(512, 3));
  EXPECT_EQ(Harness::sense_of(h.take_one()), kCrcError);
}

TEST(SessionDataOut, RefusedCommandIsAnsweredBehindItsData) {
  Harness h;
  ScsiCommandBhs bhs = not_final(h.write(1, 0, 4096));
  bhs.cdb[0] = 0xEE;
  h.deliver(bhs, pattern(1024, 2));
  EXPECT_TRUE(h.take_sent().empty());
  h.deliver(h.data_out(1, kReservedTag, 0, 1024, true), pattern(3072, 2));
  EXPECT_EQ(Harness::sense_of(h.take_one()), 0x052000U);
}

TEST(SessionDataOut, SurplusOfTheInitiatorIsDropped) {
  Harness h;
  ScsiCommandBhs bhs = not_final(h.write(1, 0, 512));
  bhs.expected_data_transfer_length.set(10000);
  h.deliver(bhs, pattern(4000, 2));
  h.deliver(h.data_out(1, kReservedTag, 0, 4000, true), pattern(6000, 2));
  h.run();
  const auto response = h.take_one().as<ScsiResponseBhs>();
  EXPECT_EQ(response.flags, ScsiResponseBhs::kFinal | ScsiResponseBhs::kUnderflow);
  EXPECT_EQ(response.residual_count.get(), 9488U);
  EXPECT_TRUE(disk_has(h, 0, pattern(512, 2)));
  const Data before = pattern(h.disk().size(), 1);
  EXPECT_TRUE(std::equal(h.disk().begin() + 512, h.disk().end(), before.begin() + 512));
}

TEST(SessionDataOut, ScratchIsThere) {
  Harness h;
  ScsiCommandBhs bhs = h.write(1, 0, 4096);
  bhs.cdb[0] = kFakeScratch;
  h.deliver(bhs, pattern(4096, 2));
  h.run();
  EXPECT_EQ(h.take_one().as<ScsiResponseBhs>().status, 0);
}

}  // namespace
}  // namespace itgtd::iscsi::test
