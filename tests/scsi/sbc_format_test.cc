#include <algorithm>
#include <cerrno>

#include "scsi/dispatch.h"
#include "tests/scsi/model_disk.h"

namespace itgtd::scsi::testing {
namespace {

constexpr uint8_t kFormatData = 0x10;
constexpr uint8_t kLongList = 0x20;
constexpr uint8_t kCompleteList = 0x08;
constexpr std::byte kFov{0x80};
constexpr std::byte kFovPattern{0x88};
constexpr std::byte kImmed{0x02};

std::vector<uint8_t> format_unit(uint8_t byte1 = 0) {
  std::vector<uint8_t> cdb(6);
  cdb[0] = 0x04;
  cdb[1] = byte1;
  return cdb;
}

Data list(std::initializer_list<unsigned> bytes) {
  Data data;
  for (const unsigned byte : bytes) data.push_back(static_cast<std::byte>(byte));
  return data;
}

Sense invalid(uint16_t byte, std::optional<uint8_t> bit = {}) {
  return sense::invalid_field_in_parameter_list(byte, bit);
}

class FormatUnit : public ::testing::Test {
 protected:
  FormatUnit() : disk(2000), nexus(1, {"iqn.a", {}}, &luns) {
    luns.units[0] = &disk.lu;
    nexus.clear(0);
    disk.nexus = &nexus;
    disk.fill(1);
  }
  void set_condition(LuCondition condition) {
    LuState state = disk.state();
    state.condition = condition;
    ++state.generation;
    disk.set_state(state);
  }

  LunMap luns;
  ModelDisk disk;
  Nexus nexus;
};

TEST_F(FormatUnit, ByDefaultAllIsZero) {
  const Outcome outcome = run(disk, format_unit());
  EXPECT_TRUE(is_good(outcome));
  EXPECT_TRUE(disk.bytes == Data(disk.bytes.size()));
  EXPECT_EQ(disk.done.front().kind, IoKind::write_zeroes);
  EXPECT_EQ(disk.done.back().kind, IoKind::flush);
  EXPECT_EQ(outcome.states.front().condition, LuCondition::formatting);
  EXPECT_EQ(disk.state().condition, LuCondition::ready);
  EXPECT_EQ(outcome.claims.size(), 1U);
}

TEST_F(FormatUnit, AThinOneIsUnmapped) {
  disk.lu.geometry.thin = true;
  disk.lu.geometry.unmapped_reads_zero = true;
  EXPECT_TRUE(is_good(run(disk, format_unit(kFormatData), Data(4))));
  EXPECT_TRUE(disk.bytes == Data(disk.bytes.size()));
  EXPECT_EQ(disk.done.front().kind, IoKind::unmap);
}

TEST_F(FormatUnit, InitializationPattern) {
  for (const bool long_list : {false, true}) {
    Data data(long_list ? 8 : 4);
    data[1] = kFovPattern;
    const Data descriptor = list({0, 1, 0, 3, 0xAB, 0xCD, 0xEF});
    data.insert(data.end(), descriptor.begin(), descriptor.end());
    disk.fill(1);
    const Outcome outcome =
        run(disk, format_unit(static_cast<uint8_t>(kFormatData | (long_list ? kLongList : 0))), data);
    EXPECT_TRUE(is_good(outcome));
    EXPECT_EQ(outcome.transfer_bytes_at_end, data.size()) << "no residual";
    const Data block = disk.slice(1999, 1);
    for (size_t i = 0; i < block.size(); ++i) ASSERT_EQ(block[i], descriptor[4 + i % 3]) << i;
    EXPECT_EQ(disk.slice(0, 1), block);
  }
}

TEST_F(FormatUnit, TheDefaultPatternByDescriptor) {
  EXPECT_TRUE(is_good(run(disk, format_unit(kFormatData), list({0, 0x88, 0, 0, 0, 0, 0, 0}))));
  EXPECT_TRUE(disk.bytes == Data(disk.bytes.size()));
}

TEST_F(FormatUnit, OptionsWithoutEffect) {
  // CMPLST, a format of defect lists, DPRY, DCRT, STPF.
  EXPECT_TRUE(is_good(run(disk, format_unit(kFormatData | kCompleteList | 5), list({0, 0xF0, 0, 0}))));
}

TEST_F(FormatUnit, Immediate) {
  Data data(4);
  data[1] = kFov | kImmed;
  const Outcome outcome = run(disk, format_unit(kFormatData), data);
  EXPECT_TRUE(is_good(outcome));
  EXPECT_TRUE(outcome.detached_end);
  EXPECT_FALSE(run(disk, format_unit(kFormatData), Data(4)).detached_end);
}

TEST_F(FormatUnit, ListsThatAreTooShort) {
  for (size_t bytes = 0; bytes < 4; ++bytes) {
    EXPECT_TRUE(
        is_sense(run(disk, format_unit(kFormatData), Data(bytes)), sense::parameter_list_length_error()));
  }
  for (size_t bytes = 0; bytes < 8; ++bytes) {
    EXPECT_TRUE(is_sense(run(disk, format_unit(kFormatData | kLongList), Data(bytes)),
                         sense::parameter_list_length_error()));
  }
  const Data whole = list({0, 0x88, 0, 0, 0, 1, 0, 3, 1, 2, 3});
  for (size_t bytes = 4; bytes < whole.size(); ++bytes) {
    const Outcome outcome = run(disk, format_unit(kFormatData), std::span(whole).first(bytes));
    EXPECT_TRUE(is_sense(outcome, sense::parameter_list_length_error())) << bytes;
    EXPECT_TRUE(outcome.claims.empty());
  }
  EXPECT_TRUE(disk.done.empty());
}

TEST_F(FormatUnit, FieldsOfTheList) {
  struct Case {
    Data data;
    Sense sense;
  };
  const Case cases[] = {
      {list({1, 0, 0, 0}), invalid(0)},                             // PROTECTION FIELD USAGE
      {list({0, 0x40, 0, 0}), invalid(1, uint8_t{7})},              // DPRY without FOV
      {list({0, 0x08, 0, 0, 0, 0, 0, 0}), invalid(1, uint8_t{7})},  // IP without FOV
      {list({0, 0x84, 0, 0}), invalid(1, uint8_t{2})},              //
      {list({0, 0x81, 0, 0}), invalid(1, uint8_t{0})},              //
      {list({0, 0x80, 0, 4, 0, 0, 0, 1}), invalid(2)},              // a defect list
      {list({0, 0x88, 0, 0, 0x20, 1, 0, 1, 0}), invalid(4)},        // SI
      {list({0, 0x88, 0, 0, 0, 2, 0, 1, 0}), invalid(5)},           //
      {list({0, 0x88, 0, 0, 0, 0, 0, 1, 0}), invalid(6)},           // a default one that is given
      {list({0, 0x88, 0, 0, 0, 1, 0, 0}), invalid(6)},              // a pattern of nothing
      {list({0, 0x88, 0, 0, 0, 1, 2, 1, 0}), invalid(6)},           // longer than a block
  };
  for (const Case& c : cases) {
    EXPECT_TRUE(is_sense(run(disk, format_unit(kFormatData), c.data), c.sense));
  }
  const Case long_cases[] = {
      {list({0, 0x80, 1, 0, 0, 0, 0, 0}), invalid(2)},
      {list({0, 0x80, 0, 1, 0, 0, 0, 0}), invalid(3)},
      {list({0, 0x80, 0, 0, 0, 0, 0, 8}), invalid(4)},
      {list({0, 0x88, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0}), invalid(9)},
  };
  for (const Case& c : long_cases) {
    EXPECT_TRUE(is_sense(run(disk, format_unit(kFormatData | kLongList), c.data), c.sense));
  }
  EXPECT_TRUE(disk.done.empty());
}

TEST_F(FormatUnit, FieldsOfTheCdb) {
  EXPECT_TRUE(is_invalid_field(run(disk, format_unit(0x40)), 1, uint8_t{6})) << "FMTPINFO";
  EXPECT_TRUE(is_invalid_field(run(disk, format_unit(0x80)), 1, uint8_t{7}));
  EXPECT_TRUE(is_invalid_field(run(disk, format_unit(0x04)), 1, uint8_t{2})) << "of a list that is not there";
  std::vector<uint8_t> cdb = format_unit();
  cdb[4] = 1;
  EXPECT_TRUE(is_invalid_field(run(disk, cdb), 4, uint8_t{0})) << "FFMT";
  EXPECT_TRUE(disk.done.empty());
}

TEST_F(FormatUnit, AFailureStaysUntilAFormatEnds) {
  disk.fail_at = 0;
  disk.failure = {EIO, 0};
  EXPECT_TRUE(is_sense(run(disk, format_unit()), sense::format_command_failed()));
  EXPECT_EQ(disk.state().condition, LuCondition::format_failed);
  disk.fail_at.reset();
  EXPECT_TRUE(is_sense(run(disk, cdb10(0x28, 0, 1)), sense::format_corrupted()));
  EXPECT_TRUE(is_sense(run(disk, cdb6(0x1B, 0, 1)), sense::format_corrupted())) << "START";
  EXPECT_TRUE(is_good(run(disk, format_unit())));
  EXPECT_TRUE(is_good(run(disk, cdb10(0x28, 0, 1))));
  // SANITIZE writes it all, too.
  set_condition(LuCondition::format_failed);
  EXPECT_TRUE(is_good(run(disk, cdb10(0x48, 0, 0, 2))));
  EXPECT_EQ(disk.state().condition, LuCondition::ready);
}

TEST_F(FormatUnit, WhenItMayBegin) {
  set_condition(LuCondition::sanitize_failed);
  EXPECT_TRUE(is_sense(run(disk, format_unit()), sense::sanitize_failed()));
  set_condition(LuCondition::sanitizing);
  EXPECT_TRUE(is_sense(run(disk, format_unit()), sense::in_progress(Asc::sanitize_in_progress, 0)));
  set_condition(LuCondition::formatting);
  EXPECT_TRUE(is_sense(run(disk, format_unit()), sense::in_progress(Asc::format_in_progress, 0)));
  EXPECT_TRUE(is_sense(run(disk, cdb10(0x48, 0, 0, 2)), sense::in_progress(Asc::format_in_progress, 0)));
  set_condition(LuCondition::stopped);
  EXPECT_TRUE(is_sense(run(disk, format_unit()), sense::not_ready(Asc::initializing_command_required)));
  set_condition(LuCondition::ready);
  LuState state = disk.state();
  state.write_protected = true;
  ++state.generation;
  disk.set_state(state);
  EXPECT_TRUE(is_sense(run(disk, format_unit()), sense::write_protected()));
  EXPECT_TRUE(disk.done.empty());
}

}  // namespace
}  // namespace itgtd::scsi::testing
