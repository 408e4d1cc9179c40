#include "bench/pdu.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "base/crc32c.h"
#include "bench/send_queue.h"

namespace itgtd::bench {
namespace {

using iscsi::ScsiCommandBhs;

TEST(Pdu, PutsTheLunInItsField) {
  EXPECT_EQ(lun_field(0), 0U);
  EXPECT_EQ(lun_field(1), 0x0001'0000'0000'0000U);
  EXPECT_EQ(lun_field(255), 0x00FF'0000'0000'0000U);
  EXPECT_EQ(lun_field(256), 0x4100'0000'0000'0000U);
  EXPECT_EQ(lun_field(16383), 0x7FFF'0000'0000'0000U);
}

TEST(Pdu, BuildsARead16) {
  ScsiCommandBhs bhs = io_template({.lun = 2, .length_bytes = 4096, .length_blocks = 8});
  patch(bhs, {.initiator_task_tag = 0x11, .cmd_sn = 0x22, .exp_stat_sn = 0x33, .lba = 0x0102'0304'0506'0708});
  EXPECT_EQ(bhs.opcode, 0x01);
  EXPECT_EQ(bhs.flags, 0x80 | 0x40 | 0x01);  // final, read, SIMPLE
  EXPECT_EQ(bhs.data_segment_length.get(), 0U);
  EXPECT_EQ(bhs.expected_data_transfer_length.get(), 4096U);
  EXPECT_EQ(bhs.initiator_task_tag.get(), 0x11U);
  EXPECT_EQ(bhs.cmd_sn.get(), 0x22U);
  EXPECT_EQ(bhs.exp_stat_sn.get(), 0x33U);
  const std::array<uint8_t, 16> cdb{0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 8, 0, 0};
  EXPECT_EQ(bhs.cdb, cdb);
}

TEST(Pdu, BuildsAWrite16WithImmediateData) {
  const ScsiCommandBhs bhs = io_template(
      {.write = true, .length_bytes = 65536, .length_blocks = 128, .immediate_bytes = 8192, .final = false});
  EXPECT_EQ(bhs.flags, 0x20 | 0x01);  // write, SIMPLE; data follows unasked
  EXPECT_EQ(bhs.data_segment_length.get(), 8192U);
  EXPECT_EQ(bhs.cdb[0], 0x8A);
}

TEST(Pdu, BuildsADataOut) {
  const iscsi::ScsiDataOutBhs bhs = data_out({.lun = 1,
                                              .initiator_task_tag = 5,
                                              .target_transfer_tag = 6,
                                              .exp_stat_sn = 7,
                                              .data_sn = 8,
                                              .buffer_offset = 9,
                                              .length_bytes = 10,
                                              .final = true});
  EXPECT_EQ(bhs.opcode, 0x05);
  EXPECT_EQ(bhs.flags, 0x80);
  EXPECT_EQ(bhs.data_segment_length.get(), 10U);
  EXPECT_EQ(bhs.target_transfer_tag.get(), 6U);
  EXPECT_EQ(bhs.lun.get(), lun_field(1));
  EXPECT_EQ(data_out({.lun = 1}).lun.get(), 0U);
  EXPECT_EQ(bhs.data_sn.get(), 8U);
  EXPECT_EQ(bhs.buffer_offset.get(), 9U);
}

// RFC 7143 §11.18: the answer to a ping is immediate, with the reserved task tag and the target's own tag.
TEST(Pdu, AnswersAPing) {
  iscsi::NopInBhs ping{};
  ping.lun.set(42);
  ping.target_transfer_tag.set(43);
  const iscsi::NopOutBhs answer = nop_out_answer(ping, 1, 2);
  EXPECT_EQ(answer.opcode, 0x40);
  EXPECT_EQ(answer.initiator_task_tag.get(), iscsi::kReservedTag);
  EXPECT_EQ(answer.target_transfer_tag.get(), 43U);
  EXPECT_EQ(answer.lun.get(), 42U);
}

TEST(Pdu, ComparesSerialNumbersAcrossTheWrap) {
  EXPECT_TRUE(serial_greater_or_equal(5, 5));
  EXPECT_TRUE(serial_greater_or_equal(0, 0xFFFF'FFFF));
  EXPECT_FALSE(serial_greater_or_equal(0xFFFF'FFFF, 0));
}

class SendQueueTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair_), 0); }
  void TearDown() override {
    close(pair_[0]);
    close(pair_[1]);
  }
  std::vector<std::byte> sent(SendQueue& queue) {
    EXPECT_EQ(queue.flush(pair_[0]), 0);
    std::vector<std::byte> bytes(65536);
    const ssize_t got = recv(pair_[1], bytes.data(), bytes.size(), MSG_DONTWAIT);
    bytes.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return bytes;
  }
  int pair_[2] = {-1, -1};
  iscsi::Bhs bhs_{.opcode = 0x01};
};

TEST_F(SendQueueTest, SendsHeadersBackToBack) {
  SendQueue queue(false, false);
  for (int i = 0; i < 3; ++i) queue.push(bytes_of(bhs_), {});
  EXPECT_FALSE(queue.empty());
  EXPECT_EQ(sent(queue).size(), 3 * iscsi::kBhsBytes);
  EXPECT_TRUE(queue.empty());
}

// RFC 7143 §11.2.3: header digest, data, padding with zeros, data digest over data and padding.
TEST_F(SendQueueTest, PadsAndDigests) {
  SendQueue queue(true, true);
  const std::vector<std::byte> payload(5, std::byte{0x5A});
  queue.push(bytes_of(bhs_), payload);
  const std::vector<std::byte> bytes = sent(queue);
  ASSERT_EQ(bytes.size(), 48U + 4 + 8 + 4);
  const ConstBytes all = bytes;
  EXPECT_EQ(get_digest(all.subspan(48)), crc32c(all.first(48)));
  EXPECT_EQ(all[57], std::byte{0});
  EXPECT_EQ(get_digest(all.subspan(60)), crc32c(all.subspan(52, 8)));
}

TEST_F(SendQueueTest, KeepsWhatTheSocketDoesNotTake) {
  SendQueue queue(false, false);
  const std::vector<std::byte> payload(size_t{1} << 20, std::byte{1});
  queue.push(bytes_of(bhs_), payload);
  queue.push(bytes_of(bhs_), {});
  size_t total = 0;
  for (int i = 0; i < 1000 && total < payload.size() + 96; ++i) total += sent(queue).size();
  EXPECT_EQ(total, payload.size() + 96);
  EXPECT_TRUE(queue.empty());
}

TEST_F(SendQueueTest, HasRoomForItsLimit) {
  SendQueue queue(true, true);
  const std::vector<std::byte> payload(5, std::byte{1});
  for (size_t i = 0; i < SendQueue::kPdusMax; ++i) {
    ASSERT_TRUE(queue.has_room());
    queue.push(bytes_of(bhs_), payload);
  }
  EXPECT_FALSE(queue.has_room());
}

TEST_F(SendQueueTest, TellsThatThePeerIsGone) {
  SendQueue queue(false, false);
  close(pair_[1]);
  queue.push(bytes_of(bhs_), {});
  EXPECT_EQ(queue.flush(pair_[0]), EPIPE);
  pair_[1] = dup(pair_[0]);
}

}  // namespace
}  // namespace itgtd::bench
