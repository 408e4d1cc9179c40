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
  ReportOpcodes() { disk.geometry.thin = true; }  // it knows every command

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

// What the answers say of a command, and not what its row does: the table against itself.
class ReportedCommands : public ReportOpcodes {
 protected:
  struct Reported {
    uint8_t opcode = 0;
    bool has_action = false;
    uint16_t action = 0;
    uint16_t cdb_bytes = 0;
    Wire usage;
  };

  /// The descriptors of the answer for all commands.
  std::vector<Reported> all(bool timeouts) {
    const Wire data = report(timeouts ? 0x80 : 0).data;
    const size_t descriptor_bytes = timeouts ? 20 : 8;
    const size_t length = number(data, 0, 4);
    EXPECT_EQ(length + 4, data.size());
    EXPECT_EQ(length % descriptor_bytes, 0U);
    std::vector<Reported> reported;
    for (size_t at = 4; at < data.size(); at += descriptor_bytes) {
      EXPECT_EQ((data[at + 5] & 2) != 0, timeouts);
      reported.push_back({data[at],
                          (data[at + 5] & 1) != 0,
                          static_cast<uint16_t>(number(data, at + 2, 2)),
                          static_cast<uint16_t>(number(data, at + 6, 2)),
                          {}});
    }
    return reported;
  }
  /// With CDB usage data, asked for one by one.
  std::vector<Reported> all_with_usage() {
    std::vector<Reported> reported = all(false);
    for (Reported& one : reported) {
      const Wire data = report(one.has_action ? 2 : 1, one.opcode, one.action).data;
      EXPECT_EQ(data.size(), 4U + one.cdb_bytes);
      EXPECT_EQ(data[1], 0x03) << "supported as a standard says";
      EXPECT_EQ(number(data, 2, 2), one.cdb_bytes);
      one.usage.assign(data.begin() + 4, data.end());
    }
    return reported;
  }
  static size_t number(const Wire& data, size_t at, size_t bytes) {
    size_t value = 0;
    for (size_t i = at; i < at + bytes; ++i) value = value * 256 + data.at(i);
    return value;
  }
  Command cdb_of(const Reported& reported) {
    Command command;
    command.cdb[0] = reported.opcode;
    if (reported.has_action) command.cdb[1] = static_cast<uint8_t>(reported.action);
    command.nexus = &nexus;
    return command;
  }
  /// How dispatch refuses it; NO SENSE when it does not.
  static Sense refusal(Command& command) {
    const Admission admission = admit(command, kLun0);
    const Done* done = std::get_if<Done>(&admission);
    return done == nullptr ? Sense{} : done->sense;
  }
};

TEST_F(ReportedCommands, TimeoutsChangeNothingElse) {
  const auto plain = all(false);
  const auto with_timeouts = all(true);
  ASSERT_EQ(plain.size(), with_timeouts.size());
  for (size_t i = 0; i < plain.size(); ++i) {
    EXPECT_EQ(plain[i].opcode, with_timeouts[i].opcode);
    EXPECT_EQ(plain[i].action, with_timeouts[i].action);
    const Wire one = report(plain[i].has_action ? 0x82 : 0x81, plain[i].opcode, plain[i].action).data;
    ASSERT_EQ(one.size(), 4U + plain[i].cdb_bytes + 12);
    EXPECT_EQ(one[1], 0x83);
    EXPECT_EQ(number(one, 4U + plain[i].cdb_bytes, 2), 10U);
  }
}

TEST_F(ReportedCommands, EachIsDispatched) {
  ASSERT_EQ(all_with_usage().size(), all_commands().size());
  for (const Reported& reported : all_with_usage()) {
    Command command = cdb_of(reported);
    const Sense sense = refusal(command);
    ASSERT_NE(command.entry, nullptr);
    EXPECT_NE(sense.asc, Asc::invalid_command_operation_code) << command.entry->name;
    // What is refused so is a service action, or the MODE of READ BUFFER and WRITE BUFFER, which stands
    // there.
    const bool has_mode = command.entry->name.ends_with(" BUFFER");
    EXPECT_TRUE(has_mode || sense != sense::invalid_field_in_cdb(1, 4)) << command.entry->name;
    EXPECT_EQ(reported.usage[0], reported.opcode);
    if (reported.has_action) {
      EXPECT_EQ(reported.usage[1] & 0x1F, reported.action);
    }
  }
}

TEST_F(ReportedCommands, EveryBitThatIsNotUsedIsRefusedWithItsPlace) {
  for (const Reported& reported : all_with_usage()) {
    for (uint16_t byte = 1; byte < reported.cdb_bytes; ++byte) {
      for (uint8_t bit = 0; bit < 8; ++bit) {
        if (reported.has_action && byte == 1 && bit < 5) continue;
        Command command = cdb_of(reported);
        command.cdb[byte] = static_cast<uint8_t>(command.cdb[byte] | (1U << bit));
        const bool used = ((reported.usage[byte] >> bit) & 1) != 0;
        const Sense sense = refusal(command);
        if (!used) {
          EXPECT_EQ(sense, sense::invalid_field_in_cdb(byte, bit)) << command.entry->name << byte << int{bit};
        }
      }
    }
  }
}

TEST_F(ReportedCommands, WhatIsNotListedIsNotThere) {
  std::set<uint8_t> opcodes;
  std::set<std::pair<uint8_t, uint16_t>> actions;
  for (const Reported& reported : all(false)) {
    opcodes.insert(reported.opcode);
    if (reported.has_action) actions.insert({reported.opcode, reported.action});
  }
  for (unsigned number = 0; number < 256; ++number) {
    const auto opcode = static_cast<uint8_t>(number);
    if (!opcodes.contains(opcode)) {
      Command command = cdb_of({opcode, false, 0, 0, {}});
      EXPECT_EQ(refusal(command), sense::invalid_opcode()) << number;
      continue;
    }
    const auto first = actions.lower_bound({opcode, 0});
    if (first == actions.end() || first->first != opcode) continue;  // it has none
    for (uint16_t action = 0; action < 0x20; ++action) {
      if (actions.contains({opcode, action})) continue;
      Command command = cdb_of({opcode, true, action, 0, {}});
      EXPECT_EQ(refusal(command), sense::invalid_field_in_cdb(1, 4)) << number << " " << action;
    }
  }
}

// The same of a unit that does not know every command.
TEST_F(ReportedCommands, OfAThickUnit) {
  const size_t of_a_thin_one = all(false).size();
  disk.geometry.thin = false;
  EXPECT_LT(all(false).size(), of_a_thin_one);
  for (const CommandEntry* entry : all_commands()) {
    const bool thin_only = (entry->flags & kThinOnly) != 0;
    Command command = cdb_of({entry->opcode,
                              entry->service_action != kNoServiceAction,
                              static_cast<uint16_t>(entry->service_action),
                              0,
                              {}});
    EXPECT_EQ(refusal(command) == sense::invalid_opcode(), thin_only) << entry->name;
    if (!thin_only) continue;
    EXPECT_TRUE(std::ranges::none_of(
        all(true), [&](const Reported& reported) { return reported.opcode == entry->opcode; }));
    for (const uint8_t option : std::to_array<uint8_t>({1, 2, 3, 0x81})) {
      EXPECT_EQ(report(option, entry->opcode).data, (Wire{0, 1, 0, 0})) << entry->name;
    }
  }
}

TEST_F(ReportOpcodes, AnswersWithoutALunThatIsReady) {
  LuState state = *disk.state;
  state.condition = LuCondition::not_ready;
  set_state(disk, state);
  EXPECT_TRUE(is_good(report(0)));
  EXPECT_TRUE(is_check(run(nexus, kLunMissing, {0xA3, 0x0C, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0}),
                       sense::logical_unit_not_supported()));
}

class ReportFunctions : public TargetFixture {
 protected:
  Outcome report(uint8_t byte2, uint8_t allocation_length) {
    return run({0xA3, 0x0D, byte2, 0, 0, 0, 0, 0, 0, allocation_length, 0, 0});
  }
};

TEST_F(ReportFunctions, BasicAndExtended) {
  EXPECT_EQ(report(0, 255).data, (Wire{0xDE, 0x07, 0, 0}));
  EXPECT_EQ(report(0x80, 255).data, (Wire{0xDE, 0x07, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(report(0x80, 5).data, (Wire{0xDE, 0x07, 0, 12, 0}));
}

TEST_F(ReportFunctions, WantsRoomForTheBasicData) {
  for (uint8_t length = 0; length < 4; ++length) {
    EXPECT_TRUE(is_check(report(0, length), sense::invalid_field_in_cdb(6, 7)));
  }
  EXPECT_EQ(report(0, 4).data.size(), 4U);
}

}  // namespace
}  // namespace itgtd::scsi
