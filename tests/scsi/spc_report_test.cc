#include <set>

#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {
namespace {

using Wire = std::vector<uint8_t>;

class ReportLuns : public TargetFixture {
 protected:
  Outcome report(uint8_t select, uint64_t lun = kLun0) {
    return run(nexus, lun, {0xA0, 0, select, 0, 0, 0, 0, 0, 0x10, 0, 0, 0});
  }
};

TEST_F(ReportLuns, Selections) {
  luns.units[255] = &disk;
  const Wire units = {0, 0, 0, 24, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0, 0, 0,
                      0, 1, 0, 0,  0, 0, 0, 0, 0, 0xFF, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(report(0).data, units);
  EXPECT_EQ(report(1).data, (Wire{0, 0, 0, 8, 0, 0, 0, 0, 0xC1, 0x01, 0, 0, 0, 0, 0, 0}));
  Wire all = units;
  all[3] = 32;
  all.insert(all.end(), {0xC1, 0x01, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(report(2).data, all);
  for (const uint8_t select : std::to_array<uint8_t>({3, 0x10, 0x11, 0x12, 0xFF})) {
    EXPECT_TRUE(is_check(report(select), sense::invalid_field_in_cdb(2, 7)));
  }
}

TEST_F(ReportLuns, AnyLunAnswers) {
  EXPECT_EQ(report(0, kLunMissing).data, report(0).data);
  EXPECT_EQ(report(0, kLunWellKnown).data, report(0).data);
}

TEST_F(ReportLuns, ATargetWithEveryLun) {
  luns.units.fill(&disk);
  EXPECT_EQ(report(2).data.size(), 8U + 8 * 257);
}

TEST_F(ReportLuns, TakesReportedLunsChangedAway) {
  nexus.raise(0, Asc::reported_luns_data_has_changed);
  nexus.raise(1, Asc::reported_luns_data_has_changed);
  nexus.raise(1, Asc::mode_parameters_changed);
  EXPECT_TRUE(is_good(report(0)));
  EXPECT_FALSE(nexus.pending(0));
  EXPECT_EQ(nexus.take(1), Asc::mode_parameters_changed);
  EXPECT_FALSE(nexus.pending(1));
}

class ReportOpcodes : public TargetFixture {
 protected:
  Outcome report(uint8_t options, uint8_t opcode = 0, uint16_t action = 0) {
    return run({0xA3, 0x0C, options, opcode, static_cast<uint8_t>(action >> 8), static_cast<uint8_t>(action),
                0, 0, 0xFF, 0xFF, 0, 0});
  }
  static Wire one(const CommandEntry& entry, bool timeouts) {
    Wire data = {0, static_cast<uint8_t>(timeouts ? 0x83 : 0x03), 0, entry.cdb_bytes};
    data.insert(data.end(), entry.cdb_usage.begin(), entry.cdb_usage.begin() + entry.cdb_bytes);
    if (timeouts) data.insert(data.end(), {0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
    return data;
  }
};

TEST_F(ReportOpcodes, All) {
  for (const bool timeouts : {false, true}) {
    Wire golden(4);
    for (const CommandEntry* entry : all_commands()) {
      const bool action = entry->service_action != kNoServiceAction;
      const auto flags = static_cast<uint8_t>((timeouts ? 2 : 0) | (action ? 1 : 0));
      const auto low = static_cast<uint8_t>(action ? entry->service_action : 0);
      golden.insert(golden.end(), {entry->opcode, 0, 0, low, 0, flags, 0, entry->cdb_bytes});
      if (timeouts) golden.insert(golden.end(), {0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
    }
    golden[2] = static_cast<uint8_t>((golden.size() - 4) >> 8);
    golden[3] = static_cast<uint8_t>(golden.size() - 4);
    EXPECT_EQ(report(timeouts ? 0x80 : 0x00).data, golden);
  }
}

// Every opcode with every option and every service action: what the table says, and never out of it.
TEST_F(ReportOpcodes, EveryQuestion) {
  std::set<uint8_t> plain;
  std::set<uint8_t> with_actions;
  for (const CommandEntry* entry : all_commands()) {
    (entry->service_action == kNoServiceAction ? plain : with_actions).insert(entry->opcode);
  }
  const Wire not_supported = {0, 1, 0, 0};
  const Sense wrong_option = sense::invalid_field_in_cdb(2, 2);
  for (unsigned number = 0; number < 256; ++number) {
    const auto opcode = static_cast<uint8_t>(number);
    for (uint32_t action = 0; action < 0x10000; action += action < 0x40 ? 1 : 0x7F7) {
      const CommandEntry* entry = find_command(opcode, action);
      const auto sa = static_cast<uint16_t>(action);
      if (plain.contains(opcode)) {
        EXPECT_EQ(report(1, opcode, sa).data, one(*entry, false));
        EXPECT_TRUE(is_check(report(2, opcode, sa), wrong_option));
        EXPECT_EQ(report(3, opcode, sa).data, action == 0 ? one(*entry, false) : not_supported);
      } else if (with_actions.contains(opcode)) {
        EXPECT_TRUE(is_check(report(1, opcode, sa), wrong_option));
        const Wire golden = entry == nullptr ? not_supported : one(*entry, false);
        EXPECT_EQ(report(2, opcode, sa).data, golden);
        EXPECT_EQ(report(3, opcode, sa).data, golden);
      } else {
        for (const uint8_t option : std::to_array<uint8_t>({1, 2, 3})) {
          EXPECT_EQ(report(option, opcode, sa).data, not_supported);
        }
      }
      for (const uint8_t option : std::to_array<uint8_t>({4, 5, 6, 7})) {
        EXPECT_TRUE(is_check(report(option, opcode, sa), wrong_option));
      }
    }
  }
}

TEST_F(ReportOpcodes, TimeoutsOfOne) {
  const CommandEntry* inquiry = find_command(0x12, 0);
  ASSERT_NE(inquiry, nullptr);
  EXPECT_EQ(report(0x81, 0x12).data, one(*inquiry, true));
  EXPECT_EQ(report(0x81, 0xEE).data, (Wire{0, 1, 0, 0})) << "no timeouts of what is not there";
}

TEST_F(ReportOpcodes, Golden) {
  EXPECT_EQ(report(1, 0x1B).data, (Wire{0, 3, 0, 6, 0x1B, 0x01, 0x00, 0x0F, 0xF7, 0x00}));
  EXPECT_EQ(report(2, 0xA3, 0x0C).data,
            (Wire{0, 3, 0, 12, 0xA3, 0x0C, 0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0}));
}

}  // namespace
}  // namespace itgtd::scsi
