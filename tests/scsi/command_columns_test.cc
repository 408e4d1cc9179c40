// The columns of the command table that say what a command conflicts with, row by row: SPC-4 tables 65 and 66
// and SBC-3 table 13 (commands allowed in the presence of various reservations), SPC-2 table 10 for RESERVE,
// SPC-4 §5.15.2 for asymmetric access states.
//
// A row that is in the command table has to be here. What is here need not be in the command table.
#include <map>
#include <set>
#include <string_view>
#include <tuple>

#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {
namespace {

constexpr auto kAllowed = ReservationClass::allowed;
constexpr auto kRead = ReservationClass::read;
constexpr auto kWrite = ReservationClass::write;
constexpr auto kQuery = ReservationClass::query;

constexpr uint16_t kNowhere = 0;  ///< only where the port is active
constexpr uint16_t kStandby = kRunsInStandby;
constexpr uint16_t kAway = kRunsInStandby | kRunsInUnavailable;
constexpr uint16_t kEverywhere = kRunsInEveryAccessState;
constexpr uint32_t kNone = kNoServiceAction;

struct Columns {
  std::string_view name;
  uint8_t opcode;
  uint32_t service_action;
  ReservationClass reservation;
  uint16_t runs_in;
};

// clang-format off
constexpr Columns kColumns[] = {
    // SPC.
    {"TEST UNIT READY",                            0x00, kNone, kQuery,   kNowhere},
    {"REQUEST SENSE",                              0x03, kNone, kAllowed, kEverywhere},
    {"INQUIRY",                                    0x12, kNone, kAllowed, kEverywhere},
    {"MODE SELECT(6)",                             0x15, kNone, kWrite,   kStandby},
    {"RESERVE(6)",                                 0x16, kNone, kQuery,   kNowhere},
    {"RELEASE(6)",                                 0x17, kNone, kAllowed, kNowhere},
    {"MODE SENSE(6)",                              0x1A, kNone, kRead,    kStandby},
    {"RECEIVE DIAGNOSTIC RESULTS",                 0x1C, kNone, kRead,    kStandby},
    {"SEND DIAGNOSTIC",                            0x1D, kNone, kWrite,   kStandby},
    {"WRITE BUFFER",                               0x3B, kNone, kWrite,   kEverywhere},
    {"READ BUFFER",                                0x3C, kNone, kRead,    kEverywhere},
    {"LOG SELECT",                                 0x4C, kNone, kWrite,   kStandby},
    {"LOG SENSE",                                  0x4D, kNone, kAllowed, kStandby},
    {"MODE SELECT(10)",                            0x55, kNone, kWrite,   kStandby},
    {"RESERVE(10)",                                0x56, kNone, kQuery,   kNowhere},
    {"RELEASE(10)",                                0x57, kNone, kAllowed, kNowhere},
    {"MODE SENSE(10)",                             0x5A, kNone, kRead,    kStandby},
    // Their own conflicts are decided with the newest state, not here.
    {"PERSISTENT RESERVE IN, READ KEYS",           0x5E, 0x00,  kQuery,   kStandby},
    {"PERSISTENT RESERVE IN, READ RESERVATION",    0x5E, 0x01,  kQuery,   kStandby},
    {"PERSISTENT RESERVE IN, REPORT CAPABILITIES", 0x5E, 0x02,  kQuery,   kStandby},
    {"PERSISTENT RESERVE IN, READ FULL STATUS",    0x5E, 0x03,  kQuery,   kStandby},
    {"PERSISTENT RESERVE OUT, REGISTER",           0x5F, 0x00,  kQuery,   kStandby},
    {"PERSISTENT RESERVE OUT, RESERVE",            0x5F, 0x01,  kQuery,   kStandby},
    {"PERSISTENT RESERVE OUT, RELEASE",            0x5F, 0x02,  kQuery,   kStandby},
    {"PERSISTENT RESERVE OUT, CLEAR",              0x5F, 0x03,  kQuery,   kStandby},
    {"PERSISTENT RESERVE OUT, PREEMPT",            0x5F, 0x04,  kQuery,   kStandby},
    {"PERSISTENT RESERVE OUT, PREEMPT AND ABORT",  0x5F, 0x05,  kQuery,   kStandby},
    {"PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", 0x5F, 0x06, kQuery, kStandby},
    {"PERSISTENT RESERVE OUT, REGISTER AND MOVE",  0x5F, 0x07,  kQuery,   kStandby},
    {"EXTENDED COPY(LID1)",                        0x83, 0x00,  kWrite,   kNowhere},
    {"POPULATE TOKEN",                             0x83, 0x10,  kRead,    kNowhere},
    {"WRITE USING TOKEN",                          0x83, 0x11,  kWrite,   kNowhere},
    {"COPY OPERATION ABORT",                       0x83, 0x1C,  kWrite,   kNowhere},
    {"RECEIVE COPY STATUS(LID1)",                  0x84, 0x00,  kWrite,   kNowhere},
    {"RECEIVE COPY DATA(LID1)",                    0x84, 0x01,  kWrite,   kNowhere},
    {"RECEIVE COPY OPERATING PARAMETERS",          0x84, 0x03,  kWrite,   kNowhere},
    {"RECEIVE COPY FAILURE DETAILS(LID1)",         0x84, 0x04,  kWrite,   kNowhere},
    // POPULATE TOKEN, which a write exclusive reservation lets through, is of no use without it.
    {"RECEIVE ROD TOKEN INFORMATION",              0x84, 0x07,  kRead,    kNowhere},
    {"REPORT LUNS",                                0xA0, kNone, kAllowed, kEverywhere},
    {"REPORT IDENTIFYING INFORMATION",             0xA3, 0x05,  kAllowed, kNowhere},
    {"REPORT TARGET PORT GROUPS",                  0xA3, 0x0A,  kAllowed, kEverywhere},
    {"REPORT SUPPORTED OPERATION CODES",           0xA3, 0x0C,  kRead,    kStandby},
    {"REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 0xA3, 0x0D,  kRead,    kStandby},
    {"REPORT TIMESTAMP",                           0xA3, 0x0F,  kAllowed, kNowhere},
    {"SET IDENTIFYING INFORMATION",                0xA4, 0x06,  kWrite,   kNowhere},
    {"SET TARGET PORT GROUPS",                     0xA4, 0x0A,  kWrite,   kAway},
    {"SET TIMESTAMP",                              0xA4, 0x0F,  kWrite,   kNowhere},
    // SBC.
    {"FORMAT UNIT",                                0x04, kNone, kWrite,   kNowhere},
    {"READ(6)",                                    0x08, kNone, kRead,    kNowhere},
    {"WRITE(6)",                                   0x0A, kNone, kWrite,   kNowhere},
    // START runs always; admit() refuses the rest of it.
    {"START STOP UNIT",                            0x1B, kNone, kQuery,   kNowhere},
    // Allowing runs always, likewise.
    {"PREVENT ALLOW MEDIUM REMOVAL",               0x1E, kNone, kAllowed, kNowhere},
    // A port in standby "may support other commands": what a disk is like when it is found there.
    {"READ CAPACITY(10)",                          0x25, kNone, kQuery,   kStandby},
    {"READ(10)",                                   0x28, kNone, kRead,    kNowhere},
    {"WRITE(10)",                                  0x2A, kNone, kWrite,   kNowhere},
    {"WRITE AND VERIFY(10)",                       0x2E, kNone, kWrite,   kNowhere},
    {"VERIFY(10)",                                 0x2F, kNone, kRead,    kNowhere},
    {"PRE-FETCH(10)",                              0x34, kNone, kRead,    kNowhere},
    {"SYNCHRONIZE CACHE(10)",                      0x35, kNone, kWrite,   kNowhere},
    {"READ DEFECT DATA(10)",                       0x37, kNone, kRead,    kNowhere},
    {"WRITE SAME(10)",                             0x41, kNone, kWrite,   kNowhere},
    {"UNMAP",                                      0x42, kNone, kWrite,   kNowhere},
    {"SANITIZE, OVERWRITE",                        0x48, 0x01,  kWrite,   kNowhere},
    {"SANITIZE, BLOCK ERASE",                      0x48, 0x02,  kWrite,   kNowhere},
    {"SANITIZE, EXIT FAILURE MODE",                0x48, 0x1F,  kWrite,   kNowhere},
    {"READ(16)",                                   0x88, kNone, kRead,    kNowhere},
    {"COMPARE AND WRITE",                          0x89, kNone, kWrite,   kNowhere},
    {"WRITE(16)",                                  0x8A, kNone, kWrite,   kNowhere},
    {"ORWRITE(16)",                                0x8B, kNone, kWrite,   kNowhere},
    {"WRITE AND VERIFY(16)",                       0x8E, kNone, kWrite,   kNowhere},
    {"VERIFY(16)",                                 0x8F, kNone, kRead,    kNowhere},
    {"PRE-FETCH(16)",                              0x90, kNone, kRead,    kNowhere},
    {"SYNCHRONIZE CACHE(16)",                      0x91, kNone, kWrite,   kNowhere},
    {"WRITE SAME(16)",                             0x93, kNone, kWrite,   kNowhere},
    {"WRITE ATOMIC(16)",                           0x9C, kNone, kWrite,   kNowhere},
    {"READ CAPACITY(16)",                          0x9E, 0x10,  kQuery,   kStandby},
    {"GET LBA STATUS",                             0x9E, 0x12,  kRead,    kNowhere},
    {"READ(12)",                                   0xA8, kNone, kRead,    kNowhere},
    {"WRITE(12)",                                  0xAA, kNone, kWrite,   kNowhere},
    {"WRITE AND VERIFY(12)",                       0xAE, kNone, kWrite,   kNowhere},
    {"VERIFY(12)",                                 0xAF, kNone, kRead,    kNowhere},
    {"READ DEFECT DATA(12)",                       0xB7, kNone, kRead,    kNowhere},
};
// clang-format on

const Columns* find_columns(const CommandEntry& entry) {
  const auto found = std::ranges::find_if(kColumns, [&](const Columns& columns) {
    return columns.opcode == entry.opcode && columns.service_action == entry.service_action;
  });
  return found == std::end(kColumns) ? nullptr : found;
}

TEST(CommandColumns, EveryRow) {
  for (const CommandEntry* entry : all_commands()) {
    const Columns* columns = find_columns(*entry);
    ASSERT_NE(columns, nullptr) << entry->name << " is not in this test";
    EXPECT_EQ(entry->reservation, columns->reservation) << entry->name;
    EXPECT_EQ(entry->flags & kRunsInEveryAccessState, columns->runs_in) << entry->name;
  }
}

TEST(CommandColumns, EachIsHereOnce) {
  std::set<std::pair<uint8_t, uint32_t>> seen;
  std::set<std::string_view> names;
  for (const Columns& columns : kColumns) {
    EXPECT_TRUE(seen.insert({columns.opcode, columns.service_action}).second) << columns.name;
    EXPECT_TRUE(names.insert(columns.name).second) << columns.name;
  }
}

TEST(CommandColumns, WhatWritesTheMediumConflictsAsAWrite) {
  for (const CommandEntry* entry : all_commands()) {
    if ((entry->flags & kWritesMedium) != 0) {
      EXPECT_EQ(entry->reservation, kWrite) << entry->name;
    }
  }
}

class AccessStates : public TargetFixture {
 protected:
  void have(AccessState access) {
    LuState state = *disk.state;
    state.port_groups = std::make_shared<const PortGroups>(PortGroups{{{1, access, {}, false, {1}}}, 0});
    set_state(disk, state);
  }
  /// How the command is refused before it begins; GOOD when it is not.
  Outcome admission(const CommandEntry& entry) {
    Command command;
    command.cdb[0] = entry.opcode;
    if (entry.service_action != kNoServiceAction) {
      command.cdb[1] = static_cast<uint8_t>(entry.service_action);
    }
    command.nexus = &nexus;
    const Admission admission = admit(command, kLun0);
    const Done* done = std::get_if<Done>(&admission);
    return outcome_of(done == nullptr ? good() : *done, command, {}, {});
  }
};

// What the columns say is what happens, in every state.
TEST_F(AccessStates, EveryRowInEveryState) {
  const std::tuple<AccessState, uint16_t, Asc> states[] = {
      {AccessState::standby, kRunsInStandby, Asc::target_port_in_standby_state},
      {AccessState::unavailable, kRunsInUnavailable, Asc::target_port_in_unavailable_state},
      {AccessState::offline, kRunsInUnavailable, Asc::target_port_in_unavailable_state},
      {AccessState::transitioning, kRunsInTransition, Asc::asymmetric_access_state_transition}};
  for (const auto& [access, flag, asc] : states) {
    have(access);
    for (const CommandEntry* entry : all_commands()) {
      const Outcome outcome = admission(*entry);
      if ((entry->flags & flag) == 0) {
        EXPECT_TRUE(is_check(outcome, sense::not_ready(asc))) << entry->name;
      } else {
        EXPECT_FALSE(is_check(outcome, sense::not_ready(asc))) << entry->name;
      }
    }
  }
}

TEST_F(AccessStates, ActivePortsServeEverything) {
  for (const AccessState access : {AccessState::active_optimized, AccessState::active_non_optimized}) {
    have(access);
    for (const CommandEntry* entry : all_commands()) {
      EXPECT_NE(admission(*entry).sense.key, SenseKey::not_ready) << entry->name;
    }
  }
}

}  // namespace
}  // namespace itgtd::scsi
