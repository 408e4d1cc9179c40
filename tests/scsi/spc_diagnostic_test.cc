#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {
namespace {

using Wire = std::vector<uint8_t>;

class Diagnostic : public TargetFixture {
 protected:
  Outcome send(uint8_t flags, const Wire& list = {}) {
    return run({0x1D, flags, 0, static_cast<uint8_t>(list.size() >> 8), static_cast<uint8_t>(list.size()), 0},
               list);
  }
};

TEST_F(Diagnostic, TheDefaultSelfTestReads) {
  io_result.bytes_done = 512;
  const Outcome outcome = send(0x04);
  EXPECT_TRUE(is_good(outcome));
  ASSERT_EQ(outcome.ios.size(), 1U);
  EXPECT_EQ(outcome.ios[0].kind, IoKind::read);
  EXPECT_EQ(outcome.ios[0].length_bytes, 512U);
  EXPECT_TRUE(is_good(send(0x07))) << "DEVOFFL and UNITOFFL";
  io_result = {5, 0};
  EXPECT_TRUE(is_check(send(0x04), sense::failed_self_test()));
}

TEST_F(Diagnostic, NoSelfTestOfWhatIsNotReady) {
  LuState state = *disk.state;
  state.condition = LuCondition::stopped;
  set_state(disk, state);
  EXPECT_TRUE(is_check(send(0x04), condition_sense(state)));
  EXPECT_TRUE(is_good(send(0x10)));
}

TEST_F(Diagnostic, OtherSelfTestsAreRefused) {
  for (unsigned code = 1; code < 8; ++code) {
    EXPECT_TRUE(is_check(send(static_cast<uint8_t>(code << 5)), sense::invalid_field_in_cdb(1, 7)));
    EXPECT_TRUE(is_check(send(static_cast<uint8_t>((code << 5) | 4)), sense::invalid_field_in_cdb(1, 7)));
  }
  EXPECT_TRUE(is_check(send(0x04, {0}), sense::invalid_field_in_cdb(3, 7))) << "a self-test with parameters";
}

TEST_F(Diagnostic, Pages) {
  EXPECT_TRUE(is_good(send(0)));
  EXPECT_TRUE(is_good(send(0x10, {0, 0, 0, 0})));
  EXPECT_TRUE(is_check(send(0, {0, 0, 0, 0}), sense::invalid_field_in_cdb(1, 4)));
  EXPECT_TRUE(is_check(send(0x10, {0x40, 0, 0, 0}), sense::invalid_field_in_parameter_list(0, 7)));
  EXPECT_TRUE(is_check(send(0x10, {0, 1, 0, 0}), sense::invalid_field_in_parameter_list(1, 7)));
  EXPECT_TRUE(is_check(send(0x10, {0, 0, 0, 1, 0}), sense::invalid_field_in_parameter_list(2, 7)));
  EXPECT_TRUE(is_check(send(0x10, {0, 0, 0}), sense::parameter_list_length_error()));
  EXPECT_TRUE(is_check(send(0x10, {0, 0, 0, 0, 0}), sense::parameter_list_length_error()));
  EXPECT_TRUE(is_check(run({0x1D, 0x10, 0, 0, 8, 0}, {0, 0, 0, 0}), sense::parameter_list_length_error()));
  EXPECT_TRUE(is_check(run({0x1D, 0x10, 0, 0xFF, 0xFF, 0}, {0}), sense::invalid_field_in_cdb(3, 7)));
}

TEST_F(Diagnostic, Results) {
  const Wire list = {0, 0, 0, 1, 0};
  EXPECT_EQ(run({0x1C, 0, 0, 0, 252, 0}).data, list);
  EXPECT_EQ(run({0x1C, 1, 0, 0, 252, 0}).data, list);
  EXPECT_EQ(run({0x1C, 1, 0, 0, 3, 0}).data, (Wire{0, 0, 0}));
  EXPECT_TRUE(is_check(run({0x1C, 1, 0x40, 0, 252, 0}), sense::invalid_field_in_cdb(2, 7)));
  EXPECT_TRUE(is_check(run({0x1C, 0, 1, 0, 252, 0}), sense::invalid_field_in_cdb(2, 7)));
}

class EchoBuffer : public TargetFixture {
 protected:
  Outcome write(Nexus& from, const Wire& data, uint64_t lun = kLun0) {
    return run(from, lun,
               {0x3B, 0x0A, 0, 0, 0, 0, 0, static_cast<uint8_t>(data.size() >> 8),
                static_cast<uint8_t>(data.size()), 0},
               data);
  }
  Outcome read(Nexus& from, uint16_t length = 4096, uint64_t lun = kLun0) {
    return run(
        from, lun,
        {0x3C, 0x0A, 0, 0, 0, 0, 0, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length), 0});
  }
};

TEST_F(EchoBuffer, SendsBackWhatWasWrittenAndNoMore) {
  EXPECT_TRUE(is_check(read(nexus), sense::command_sequence_error()));
  EXPECT_TRUE(is_good(write(nexus, {1, 2, 3, 4, 5})));
  EXPECT_EQ(read(nexus).data, (Wire{1, 2, 3, 4, 5}));
  EXPECT_EQ(read(nexus, 2).data, (Wire{1, 2}));
  EXPECT_TRUE(is_good(write(nexus, {9})));
  EXPECT_EQ(read(nexus).data, (Wire{9})) << "nothing of what was there before";
  EXPECT_TRUE(is_good(write(nexus, {})));
  EXPECT_TRUE(read(nexus).data.empty());
}

TEST_F(EchoBuffer, IsTheNexusesOwn) {
  EXPECT_TRUE(is_good(write(nexus, {1, 2, 3})));
  EXPECT_TRUE(is_check(read(other), sense::command_sequence_error()));
  EXPECT_TRUE(is_good(write(other, {4})));
  EXPECT_EQ(read(nexus).data, (Wire{1, 2, 3}));
  EXPECT_TRUE(is_check(read(nexus, 10, kLun1), sense::command_sequence_error())) << "of another logical unit";
}

TEST_F(EchoBuffer, Capacity) {
  EXPECT_EQ(run({0x3C, 0x0B, 0, 0, 0, 0, 0, 0, 4, 0}).data, (Wire{1, 0, 0x10, 0x00}));
  Wire all(4096);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint8_t>(i * 7);
  EXPECT_TRUE(is_good(write(nexus, all)));
  EXPECT_EQ(read(nexus).data, all);
  EXPECT_TRUE(is_check(write(nexus, Wire(4097)), sense::invalid_field_in_cdb(6, 7)));
  EXPECT_EQ(read(nexus, 0xFFFF).data, all);
}

TEST_F(EchoBuffer, DataThatDidNotComeIsAnError) {
  EXPECT_TRUE(
      is_check(run({0x3B, 0x0A, 0, 0, 0, 0, 0, 0, 8, 0}, {1, 2}), sense::parameter_list_length_error()));
  EXPECT_TRUE(is_check(read(nexus), sense::command_sequence_error()));
}

TEST_F(EchoBuffer, OtherModesAreRefused) {
  for (uint8_t mode = 0; mode < 32; ++mode) {
    const Outcome reading = run({0x3C, mode, 0, 0, 0, 0, 0, 0, 4, 0});
    const Outcome writing = run({0x3B, mode, 0, 0, 0, 0, 0, 0, 0, 0});
    if (mode == 0x03) {
      EXPECT_EQ(reading.data, Wire(4)) << "no buffer with this or any ID";
    } else if (mode != 0x0A && mode != 0x0B) {
      EXPECT_TRUE(is_check(reading, sense::invalid_field_in_cdb(1, 4)));
    }
    if (mode != 0x0A) {
      EXPECT_TRUE(is_check(writing, sense::invalid_field_in_cdb(1, 4)));
    }
  }
}

}  // namespace
}  // namespace itgtd::scsi
