#include "scsi/dispatch.h"

#include <map>
#include <set>

#include "scsi/cdb.h"
#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {
namespace {

class Dispatch : public TargetFixture {
 protected:
  /// A CDB of `entry` with every bit off that may be off.
  static Command plain(const CommandEntry& entry) {
    Command command;
    command.cdb[0] = entry.opcode;
    if (entry.service_action != kNoServiceAction) {
      command.cdb[1] = static_cast<uint8_t>(entry.service_action);
    }
    return command;
  }
};

TEST(Lun, Decode) {
  EXPECT_EQ(decode_lun(0), 0);
  EXPECT_EQ(decode_lun(0x0001'0000'0000'0000), 1);
  EXPECT_EQ(decode_lun(0x00FF'0000'0000'0000), 255);
  EXPECT_EQ(decode_lun(0x4000'0000'0000'0000), 0);
  EXPECT_EQ(decode_lun(0x4001'0000'0000'0000), 1);
  EXPECT_EQ(decode_lun(0x7FFF'0000'0000'0000), 16383);
  EXPECT_EQ(decode_lun(0xC101'0000'0000'0000), kReportLunsWellKnown);
  // Another bus, logical unit addressing, extended ones, lower levels.
  EXPECT_EQ(decode_lun(0x0100'0000'0000'0000), kNoLun);
  EXPECT_EQ(decode_lun(0x3F00'0000'0000'0000), kNoLun);
  EXPECT_EQ(decode_lun(0x8001'0000'0000'0000), kNoLun);
  EXPECT_EQ(decode_lun(0xC102'0000'0000'0000), kNoLun);
  EXPECT_EQ(decode_lun(0xD200'0001'0000'0000), kNoLun);
  EXPECT_EQ(decode_lun(0x0001'0001'0000'0000), kNoLun);
  EXPECT_EQ(decode_lun(0x4001'0000'0000'0001), kNoLun);
  EXPECT_EQ(decode_lun(0xFFFF'FFFF'FFFF'FFFF), kNoLun);
}

TEST(Lun, EncodeIsTheInverse) {
  for (uint16_t lun = 0; lun < 0x4000; ++lun) EXPECT_EQ(decode_lun(encode_lun(lun)), lun);
  EXPECT_EQ(decode_lun(encode_lun(kReportLunsWellKnown)), kReportLunsWellKnown);
  EXPECT_EQ(encode_lun(255), 0x00FF'0000'0000'0000U);
  EXPECT_EQ(encode_lun(256), 0x4100'0000'0000'0000U);
}

TEST(Table, RowsAreInOrderAndFound) {
  const auto rows = all_commands();
  ASSERT_FALSE(rows.empty());
  uint64_t before = 0;
  for (const CommandEntry* entry : rows) {
    const uint64_t place = (uint64_t{entry->opcode} << 32 | entry->service_action) + 1;
    EXPECT_GT(place, before) << entry->name;
    before = place;
    EXPECT_EQ(find_command(entry->opcode, entry->service_action), entry) << entry->name;
  }
}

TEST(Table, LooksUpAnything) {
  std::set<uint8_t> known;
  for (const CommandEntry* entry : all_commands()) known.insert(entry->opcode);
  for (unsigned opcode = 0; opcode < 256; ++opcode) {
    for (const uint32_t action : {0U, 1U, 0x1FU, 0xFFFFU, kNoServiceAction}) {
      const CommandEntry* entry = find_command(static_cast<uint8_t>(opcode), action);
      EXPECT_TRUE(entry == nullptr || entry->opcode == opcode);
      EXPECT_TRUE(entry == nullptr || known.contains(static_cast<uint8_t>(opcode)));
    }
  }
}

TEST(Table, GroupsHaveTheLengthThatTheirOpcodeSays) {
  // SPC-4 §4.2.5.1.
  const std::map<unsigned, unsigned> lengths = {{0, 6}, {1, 10}, {2, 10}, {4, 16}, {5, 12}};
  for (const CommandEntry* entry : all_commands()) {
    EXPECT_EQ(entry->cdb_bytes, lengths.at(entry->opcode >> 5)) << entry->name;
  }
}

TEST_F(Dispatch, UnknownOpcodes) {
  std::set<uint8_t> known;
  for (const CommandEntry* entry : all_commands()) known.insert(entry->opcode);
  for (unsigned opcode = 0; opcode < 256; ++opcode) {
    if (known.contains(static_cast<uint8_t>(opcode))) continue;
    Command command;
    command.cdb[0] = static_cast<uint8_t>(opcode);
    EXPECT_TRUE(is_check(run(nexus, kLun0, command, {}), sense::invalid_opcode())) << opcode;
  }
}

TEST_F(Dispatch, UnknownServiceActionsPointAtTheField) {
  for (const CommandEntry* entry : all_commands()) {
    if (entry->service_action == kNoServiceAction) continue;
    for (uint8_t action = 0; action < 0x20; ++action) {
      if (find_command(entry->opcode, action) != nullptr) continue;
      Command command;
      command.cdb[0] = entry->opcode;
      command.cdb[1] = action;
      EXPECT_TRUE(is_check(run(nexus, kLun0, command, {}), sense::invalid_field_in_cdb(1, 4)));
    }
  }
}

// The pointer of every reserved bit of every row, the CONTROL byte with NACA among them.
TEST_F(Dispatch, ReservedBitsAreRefusedWithTheirPlace) {
  for (const CommandEntry* entry : all_commands()) {
    for (uint16_t byte = 1; byte < entry->cdb_bytes; ++byte) {
      for (uint8_t bit = 0; bit < 8; ++bit) {
        const bool action = entry->service_action != kNoServiceAction && byte == 1 && bit < 5;
        if (action || ((entry->cdb_usage[byte] >> bit) & 1) != 0) continue;
        Command command = plain(*entry);
        command.cdb[byte] = static_cast<uint8_t>(command.cdb[byte] | (1U << bit));
        EXPECT_TRUE(is_check(run(nexus, kLun0, command, {}), sense::invalid_field_in_cdb(byte, bit)))
            << entry->name << " byte " << byte << " bit " << int{bit};
      }
    }
  }
}

TEST_F(Dispatch, TheFirstOfSeveralReservedBitsIsNamed) {
  EXPECT_TRUE(is_check(run({0x00, 0, 0x12, 0xFF, 0, 0x04}), sense::invalid_field_in_cdb(2, 4)));
  EXPECT_TRUE(is_check(run({0x00, 0, 0, 0, 0, 0x04}), sense::invalid_field_in_cdb(5, 2)));  // NACA
}

TEST_F(Dispatch, BytesBehindTheCdbAreNotJudged) {
  EXPECT_TRUE(is_good(run({0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF})));
}

TEST_F(Dispatch, AMissingLunIsRefusedForAllButThree) {
  for (const CommandEntry* entry : all_commands()) {
    for (const uint64_t lun : {kLunMissing, kLunWellKnown, uint64_t{0x7FFF'0000'0000'0000}, ~uint64_t{0}}) {
      Command command = plain(*entry);
      const Outcome outcome = run(nexus, lun, command, {});
      const bool answers = entry->opcode == 0x12 || entry->opcode == 0xA0 || entry->opcode == 0x03;
      EXPECT_EQ((entry->flags & kRunsWithoutLun) != 0, answers);
      if (answers) {
        EXPECT_TRUE(is_good(outcome)) << entry->name;
      } else {
        EXPECT_TRUE(is_check(outcome, sense::logical_unit_not_supported())) << entry->name;
      }
    }
  }
}

TEST_F(Dispatch, UnitAttentionGoesToTheFirstCommandThatIsNotExempt) {
  for (const CommandEntry* entry : all_commands()) {
    forget_unit_attentions();
    nexus.raise(0, Asc::mode_parameters_changed);
    Command command = plain(*entry);
    const Outcome outcome = run(nexus, kLun0, command, {});
    const bool exempt = entry->opcode == 0x12 || entry->opcode == 0xA0 || entry->opcode == 0x03;
    if (exempt) {
      EXPECT_TRUE(is_good(outcome)) << entry->name;
    } else {
      EXPECT_TRUE(is_check(outcome, sense::unit_attention(Asc::mode_parameters_changed))) << entry->name;
      EXPECT_FALSE(nexus.pending(0));
    }
  }
}

// SAM-5 §5.14, SPC-4 §6.33: one a command, in their order; REPORT LUNS takes only its own away, INQUIRY none.
TEST_F(Dispatch, UnitAttentionsOneByOne) {
  nexus.raise(0, Asc::reported_luns_data_has_changed);
  nexus.raise(0, Asc::capacity_data_has_changed);
  nexus.raise(0, Asc::asymmetric_access_state_changed);
  nexus.raise(0, Asc::bus_device_reset_occurred);
  EXPECT_TRUE(is_good(run({0x12, 0, 0, 0, 96, 0})));
  EXPECT_TRUE(is_good(run({0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0})));
  EXPECT_TRUE(is_check(run({0, 0, 0, 0, 0, 0}), sense::unit_attention(Asc::bus_device_reset_occurred)));
  EXPECT_TRUE(is_good(run({0x12, 0, 0, 0, 96, 0})));
  EXPECT_EQ(run({0x03, 1, 0, 0, 252, 0}).data, (std::vector<uint8_t>{0x72, 6, 0x2A, 0x09, 0, 0, 0, 0}));
  EXPECT_TRUE(is_check(run({0, 0, 0, 0, 0, 0}), sense::unit_attention(Asc::asymmetric_access_state_changed)));
  EXPECT_TRUE(is_good(run({0, 0, 0, 0, 0, 0})));
}

// An opcode that is not there is refused as such, and says nothing of what waits. SAM-5 §5.14.
TEST_F(Dispatch, ACommandThatIsNoneTakesNoUnitAttention) {
  nexus.raise(0, Asc::mode_parameters_changed);
  EXPECT_TRUE(is_check(run({0xFF, 0, 0, 0, 0, 0}), sense::invalid_opcode()));
  EXPECT_TRUE(is_check(run({0xA3, 0x1F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}), sense::invalid_field_in_cdb(1, 4)));
  EXPECT_TRUE(nexus.pending(0));
}

TEST_F(Dispatch, UnitAttentionOfAnotherLunOrNexusWaits) {
  nexus.raise(1, Asc::mode_parameters_changed);
  other.raise(0, Asc::mode_parameters_changed);
  EXPECT_TRUE(is_good(run({0, 0, 0, 0, 0, 0})));
  EXPECT_TRUE(nexus.pending(1));
  EXPECT_TRUE(other.pending(0));
}

TEST_F(Dispatch, ReservedBitsComeBeforeUnitAttention) {
  nexus.raise(0, Asc::mode_parameters_changed);
  EXPECT_TRUE(is_check(run({0x00, 0x80, 0, 0, 0, 0}), sense::invalid_field_in_cdb(1, 7)));
  EXPECT_TRUE(nexus.pending(0));
}

TEST_F(Dispatch, ReservationKeepsOthersOut) {
  LuState state = *disk.state;
  state.reserved_by = other.id();
  set_state(disk, state);
  for (const CommandEntry* entry : all_commands()) {
    Command command = plain(*entry);
    const Outcome outcome = run(nexus, kLun0, command, {});
    if (entry->reservation == ReservationClass::allowed) {
      EXPECT_NE(outcome.status, Status::reservation_conflict) << entry->name;
    } else {
      EXPECT_EQ(outcome.status, Status::reservation_conflict) << entry->name;
    }
    Command own = plain(*entry);
    own.nexus = &other;
    const Admission admission = admit(own, kLun0);
    const Done* done = std::get_if<Done>(&admission);
    EXPECT_TRUE(done == nullptr || done->status != Status::reservation_conflict) << entry->name;
  }
}

TEST_F(Dispatch, UnitAttentionComesBeforeReservation) {
  LuState state = *disk.state;
  state.reserved_by = other.id();
  set_state(disk, state);
  nexus.raise(0, Asc::bus_device_reset_occurred);
  EXPECT_TRUE(is_check(run({0, 0, 0, 0, 0, 0}), sense::unit_attention(Asc::bus_device_reset_occurred)));
  EXPECT_EQ(run({0, 0, 0, 0, 0, 0}).status, Status::reservation_conflict);
}

TEST_F(Dispatch, Readiness) {
  const std::map<LuCondition, Sense> senses = {
      {LuCondition::not_ready, sense::not_ready(Asc::manual_intervention_required)},
      {LuCondition::stopped, sense::not_ready(Asc::initializing_command_required)},
      {LuCondition::ejected, sense::medium_not_present()},
  };
  for (const auto& [condition, sense] : senses) {
    LuState state = *disk.state;
    state.condition = condition;
    state.write_protected = true;  // readiness is said first
    for (const CommandEntry* entry : all_commands()) {
      set_state(disk, state);
      Command command = plain(*entry);
      if ((entry->flags & kRunsWhenNotReady) != 0) continue;
      EXPECT_TRUE(is_check(run(nexus, kLun0, command, {}), sense)) << entry->name;
    }
  }
}

TEST_F(Dispatch, WriteProtection) {
  for (const bool by_configuration : {false, true}) {
    LuState state = *disk.state;
    state.write_protected = !by_configuration;
    disk.read_only = by_configuration;
    set_state(disk, state);
    for (const CommandEntry* entry : all_commands()) {
      if ((entry->flags & kWritesMedium) == 0) continue;
      Command command = plain(*entry);
      EXPECT_TRUE(is_check(run(nexus, kLun0, command, {}), sense::write_protected())) << entry->name;
    }
  }
}

// However large the allocation length: no more memory than can be filled, no byte sent that was not written.
TEST_F(Dispatch, AnyAllocationLengthIsKept) {
  struct Field {
    size_t at;
    size_t bytes;
  };
  const std::map<uint8_t, Field> fields = {{0x03, {4, 1}}, {0x12, {3, 2}}, {0x1A, {4, 1}},
                                           {0x5A, {7, 2}}, {0xA0, {6, 4}}, {0xA3, {6, 4}}};
  for (const CommandEntry* entry : all_commands()) {
    if (!fields.contains(entry->opcode)) continue;
    const Field field = fields.at(entry->opcode);
    std::vector<uint8_t> whole;
    for (const uint64_t length : {0xFFFF'FFFFU, 0xFFFFU, 0x1001U}) {
      Command command = plain(*entry);
      if (entry->opcode == 0x1A || entry->opcode == 0x5A) command.cdb[2] = 0x3F;
      for (size_t i = 0; i < field.bytes; ++i) {
        command.cdb[field.at + i] = static_cast<uint8_t>(length >> (8 * (field.bytes - 1 - i)));
      }
      const Outcome outcome = run(nexus, kLun0, command, {});
      ASSERT_TRUE(is_good(outcome)) << entry->name;
      EXPECT_LE(outcome.phase.transfer_bytes, kParameterDataBytesMax);
      if (length == 0xFFFF'FFFF) whole = outcome.data;
    }
    // SPC-4 §6.36: REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS wants room for four bytes.
    const unsigned least = entry->opcode == 0xA3 && entry->service_action == 0x0D ? 4 : 0;
    for (unsigned length = least; length < 256; ++length) {
      Command command = plain(*entry);
      if (entry->opcode == 0x1A || entry->opcode == 0x5A) command.cdb[2] = 0x3F;
      command.cdb[field.at + field.bytes - 1] = static_cast<uint8_t>(length);
      const Outcome outcome = run(nexus, kLun0, command, {});
      ASSERT_TRUE(is_good(outcome)) << entry->name;
      EXPECT_EQ(outcome.data.size(), std::min<size_t>(length, whole.size())) << entry->name;
      EXPECT_TRUE(std::equal(outcome.data.begin(), outcome.data.end(), whole.begin())) << entry->name;
    }
  }
}

}  // namespace
}  // namespace itgtd::scsi
