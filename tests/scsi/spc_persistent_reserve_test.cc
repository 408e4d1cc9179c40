#include "tests/scsi/persistent_reserve_fixture.h"

namespace itgtd::scsi {
namespace {

class PersistentReserve : public PersistentReserveFixture {};

TEST_F(PersistentReserve, NobodyIsRegistered) {
  EXPECT_EQ(in(nexus, kReadKeys).data, Wire(8));
  EXPECT_EQ(in(nexus, kReadReservation).data, Wire(8));
  EXPECT_EQ(in(nexus, kReadFullStatus).data, Wire(8));
}

TEST_F(PersistentReserve, ReportCapabilities) {
  const Wire data = in(nexus, kReportCapabilities).data;
  ASSERT_EQ(data.size(), 8U);
  EXPECT_EQ(data[1], 8U);
  EXPECT_EQ(data[2], 0x1DU) << "CRH, SIP_C, ATP_C, PTPL_C";
  EXPECT_EQ(data[3] & 0x8FU, 0x80U) << "TMV, not PTPL_A";
  EXPECT_EQ(data[4], 0xEAU);
  EXPECT_EQ(data[5], 0x01U);
  disk.keeps_reservations = false;
  EXPECT_EQ(in(nexus, kReportCapabilities).data[2], 0x1CU);
  disk.keeps_reservations = true;
  EXPECT_TRUE(is_good(register_key(nexus, kKeyA, kAptpl)));
  EXPECT_EQ(in(nexus, kReportCapabilities).data[3] & 0x8FU, 0x81U);
}

// ALLOW COMMANDS says what is true: the commands that it is about, sent under either reservation.
TEST_F(PersistentReserve, AllowCommands) {
  const std::vector<Wire> readers_of_state = {
      {0x1A, 0, 0x3F, 0, 255},                 // MODE SENSE(6)
      {0x5A, 0, 0x3F, 0, 0, 0, 0, 0, 255},     // MODE SENSE(10)
      {0x3C, 0x0B, 0, 0, 0, 0, 0, 0, 4},       // READ BUFFER
      {0x1C, 1, 0, 0, 255},                    // RECEIVE DIAGNOSTIC RESULTS
      {0xA3, 0x0C, 0, 0, 0, 0, 0, 0, 0, 255},  // REPORT SUPPORTED OPERATION CODES
      {0xA3, 0x0D, 0, 0, 0, 0, 0, 0, 0, 255},  // REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS
      {0x37, 0, 8, 0, 0, 0, 0, 0, 8},          // READ DEFECT DATA(10)
      {0xB7, 8, 0, 0, 0, 0, 0, 0, 0, 8},       // READ DEFECT DATA(12)
  };
  const Wire receive_copy_results = {0x84, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255};
  const auto conflicts_now = [&](const Wire& cdb) {
    Command command;
    std::copy(cdb.begin(), cdb.end(), command.cdb.begin());
    command.nexus = &nexus;
    const Admission admission = admit(command, kLun0);
    const Done* done = std::get_if<Done>(&admission);
    return done != nullptr && done->status == Status::reservation_conflict;
  };
  const int code = in(nexus, kReportCapabilities).data.at(3) >> 4 & 7;
  ASSERT_GE(code, 1);
  EXPECT_TRUE(is_good(register_key(other, kKeyB)));
  EXPECT_TRUE(is_good(reserve(other, kKeyB, kWe)));
  EXPECT_FALSE(conflicts_now({0x00}));
  if (code >= 3) {
    for (const Wire& cdb : readers_of_state) EXPECT_FALSE(conflicts_now(cdb)) << std::hex << int{cdb[0]};
  }
  EXPECT_EQ(conflicts_now(receive_copy_results), code != 4);
  EXPECT_TRUE(is_good(out(other, kRelease, kWe, basic_list(kKeyB, 0))));
  EXPECT_TRUE(is_good(reserve(other, kKeyB, kEa)));
  EXPECT_FALSE(conflicts_now({0x00}));
  EXPECT_EQ(conflicts_now(receive_copy_results), code != 4);
}

TEST_F(PersistentReserve, RegisterAndReadKeys) {
  EXPECT_TRUE(is_good(out(nexus, kRegister, 0, basic_list(0, kKeyA))));
  Wire due;
  append_u32(due, 1);
  append_u32(due, 8);
  append_u64(due, kKeyA);
  EXPECT_EQ(in(other, kReadKeys).data, due);
  // A short answer tells the whole length.
  for (uint16_t allocation = 0; allocation < 20; ++allocation) {
    const Wire cut(due.begin(), due.begin() + std::min<std::ptrdiff_t>(allocation, 16));
    EXPECT_EQ(in(nexus, kReadKeys, allocation).data, cut);
  }
}

TEST_F(PersistentReserve, RegisterTable) {
  EXPECT_TRUE(conflicts(out(nexus, kRegister, 0, basic_list(1, kKeyA)))) << "not registered, with a key";
  EXPECT_TRUE(is_good(out(nexus, kRegister, 0, basic_list(0, 0))));
  EXPECT_TRUE(is_good(out(nexus, kRegisterAndIgnore, 0, basic_list(7, 0))));
  EXPECT_EQ(disk.state->generation, 1U) << "nothing was done";
  EXPECT_TRUE(is_good(out(nexus, kRegister, 0, basic_list(0, kKeyA))));
  EXPECT_TRUE(conflicts(out(nexus, kRegister, 0, basic_list(0, kKeyB))));
  EXPECT_TRUE(conflicts(out(nexus, kRegister, 0, basic_list(kKeyB, 0))));
  EXPECT_TRUE(is_good(out(nexus, kRegister, 0, basic_list(kKeyA, kKeyB))));
  EXPECT_EQ(reservations().registrants.at(0).key, kKeyB);
  EXPECT_TRUE(is_good(out(nexus, kRegister, 0xFF, basic_list(kKeyB, 0)))) << "SCOPE and TYPE are ignored";
  EXPECT_TRUE(reservations().registrants.empty());
  EXPECT_EQ(reservations().generation, 3U);
}

TEST_F(PersistentReserve, EveryOtherActionNeedsARegistrationAndItsKey) {
  for (const uint8_t action : {kReserve, kRelease, kClear, kPreempt, kPreemptAndAbort}) {
    EXPECT_TRUE(conflicts(out(nexus, action, 0xF0, basic_list(0, 0)))) << int{action};
  }
  register_both();
  const LuState before = *disk.state;
  for (const uint8_t action : {kReserve, kRelease, kClear, kPreempt, kPreemptAndAbort}) {
    EXPECT_TRUE(conflicts(out(nexus, action, 1, basic_list(kKeyB, kKeyB)))) << int{action};
  }
  EXPECT_EQ(*disk.state, before);
}

TEST_F(PersistentReserve, ReserveAndRelease) {
  register_both();
  EXPECT_TRUE(is_check(reserve(nexus, kKeyA, 0x11), sense::invalid_field_in_cdb(2, uint8_t{7})));
  for (const uint8_t type : std::to_array<uint8_t>({0, 2, 4, 9, 15})) {
    EXPECT_TRUE(is_check(reserve(nexus, kKeyA, type), sense::invalid_field_in_cdb(2, uint8_t{3})));
  }
  for (const uint8_t type : kPrTypes) {
    const bool all = type == kWeAr || type == kEaAr;
    ASSERT_TRUE(is_good(reserve(nexus, kKeyA, type)));
    ASSERT_TRUE(is_good(reserve(nexus, kKeyA, type))) << "again";
    EXPECT_TRUE(conflicts(reserve(nexus, kKeyA, type == kWe ? kEa : kWe))) << "the type can't be changed";
    EXPECT_EQ(reserve(other, kKeyB, type).status, all ? Status::good : Status::reservation_conflict);
    const Wire data = in(other, kReadReservation).data;
    ASSERT_EQ(data.size(), 24U);
    EXPECT_EQ(number_at(data, 0, 4), 2U) << "RESERVE does not count";
    EXPECT_EQ(number_at(data, 4, 4), 16U);
    EXPECT_EQ(number_at(data, 8, 8), all ? 0 : kKeyA);
    EXPECT_EQ(number_at(data, 16, 8), uint64_t{type} << 16);
    if (!all) {
      EXPECT_TRUE(is_good(out(other, kRelease, type, basic_list(kKeyB, 0)))) << "not its own: nothing";
    }
    EXPECT_TRUE(is_check(out(nexus, kRelease, type == kWe ? kEa : kWe, basic_list(kKeyA, 0)),
                         sense::invalid_release_of_persistent_reservation()));
    EXPECT_EQ(reservations().type, reservation_type(type));
    const Outcome released = out(nexus, kRelease, type, basic_list(kKeyA, 0));
    EXPECT_TRUE(is_good(released));
    EXPECT_FALSE(reservations().type);
    const bool tells = type != kWe && type != kEa;
    ASSERT_EQ(released.unit_attentions.size(), tells ? 1U : 0U);
    EXPECT_EQ(other.take(0), tells ? std::optional(Asc::reservations_released) : std::nullopt);
    EXPECT_FALSE(nexus.pending(0));
  }
  EXPECT_TRUE(is_good(out(nexus, kRelease, kWe, basic_list(kKeyA, 0)))) << "nothing is reserved";
}

TEST_F(PersistentReserve, Clear) {
  register_both();
  EXPECT_TRUE(is_good(reserve(nexus, kKeyA, kEa)));
  EXPECT_TRUE(is_good(out(other, kClear, 0xFF, basic_list(kKeyB, 0))));
  EXPECT_FALSE(reservations().type);
  EXPECT_TRUE(reservations().registrants.empty());
  EXPECT_EQ(reservations().generation, 3U);
  EXPECT_EQ(nexus.take(0), Asc::reservations_preempted);
  EXPECT_FALSE(other.pending(0));
}

TEST_F(PersistentReserve, ReservedByASpc2Reserve) {
  EXPECT_TRUE(is_good(run(nexus, kLun0, {0x16, 0, 0, 0, 0, 0})));
  for (Nexus* from : {&nexus, &other}) {
    EXPECT_TRUE(conflicts(in(*from, kReadKeys)));
    EXPECT_TRUE(conflicts(register_key(*from, kKeyA)));
  }
  EXPECT_TRUE(is_good(run(nexus, kLun0, {0x17, 0, 0, 0, 0, 0})));
  EXPECT_TRUE(is_good(register_key(nexus, kKeyA)));
  // Somebody is registered: RESERVE and RELEASE conflict, but for those whom the reservation covers.
  for (const uint8_t opcode : std::to_array<uint8_t>({0x16, 0x17, 0x56, 0x57})) {
    EXPECT_TRUE(conflicts(run(nexus, kLun0, {opcode, 0, 0, 0, 0, 0})));
    EXPECT_TRUE(conflicts(run(other, kLun0, {opcode, 0, 0, 0, 0, 0})));
  }
  EXPECT_TRUE(is_good(register_key(other, kKeyB)));
  for (const uint8_t type : kPrTypes) {
    EXPECT_TRUE(is_good(reserve(nexus, kKeyA, type)));
    const LuState before = *disk.state;
    for (const uint8_t opcode : std::to_array<uint8_t>({0x16, 0x17, 0x56, 0x57})) {
      EXPECT_TRUE(is_good(run(nexus, kLun0, {opcode, 0, 0, 0, 0, 0})));
      const Outcome outcome = run(other, kLun0, {opcode, 0, 0, 0, 0, 0});
      EXPECT_EQ(outcome.status, type == kWe || type == kEa ? Status::reservation_conflict : Status::good);
    }
    EXPECT_EQ(*disk.state, before);
    EXPECT_TRUE(is_good(out(nexus, kRelease, type, basic_list(kKeyA, 0))));
    other.clear(0);
  }
}

}  // namespace
}  // namespace itgtd::scsi
