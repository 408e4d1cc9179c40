// Service actions of PERSISTENT RESERVE OUT one by one: who is told, who is refused, and parameter lists.
#include <random>

#include "scsi/lu_snapshot.h"
#include "tests/scsi/persistent_reserve_fixture.h"

namespace itgtd::scsi {
namespace {

using Ports = std::vector<InitiatorPort>;

class PersistentReserveOut : public PersistentReserveFixture {
 protected:
  Outcome preempt(Nexus& from, uint64_t key, uint64_t action_key, uint8_t type, uint8_t action = kPreempt) {
    return out(from, action, type, basic_list(key, action_key));
  }
  Outcome move(Nexus& from, const Wire& list) { return out(from, kRegisterAndMove, 0, list); }
  Outcome specify(const std::vector<Wire>& ids, uint64_t action_key = kKeyA) {
    return out(nexus, kRegister, 0, basic_list(0, action_key, kSpecIPt, ids));
  }
  std::vector<std::string> registered_names() {
    std::vector<std::string> names;
    if (disk.state->reservations == nullptr) return names;
    for (const Registrant& registrant : reservations().registrants) names.push_back(registrant.port.name);
    return names;
  }

  [[nodiscard]] LuState without_reservations() const {
    LuState state = *disk.state;
    state.reservations = nullptr;
    return state;
  }

  static constexpr const char* kPortC = "iqn.c,i,0x0102030405a6";
  const InitiatorPort port_c = {"iqn.c", {1, 2, 3, 4, 5, 0xA6}};
};

// --- PREEMPT

TEST_F(PersistentReserveOut, PreemptOfTheHolder) {
  register_both();
  EXPECT_TRUE(is_good(reserve(nexus, kKeyA, kWe)));
  const Outcome outcome = preempt(other, kKeyB, kKeyA, kEaRo);
  EXPECT_TRUE(is_good(outcome));
  EXPECT_TRUE(outcome.abort.empty()) << "PREEMPT aborts nothing";
  EXPECT_EQ(registered_names(), std::vector<std::string>{"iqn.b"});
  EXPECT_EQ(reservations().type, ReservationType::exclusive_access_registrants_only);
  EXPECT_EQ(nexus.take(0), Asc::registrations_preempted);
  EXPECT_FALSE(nexus.pending(0)) << "once";
  EXPECT_FALSE(other.pending(0));
}

TEST_F(PersistentReserveOut, PreemptAndAbortNamesWhoseCommandsEnd) {
  register_both();
  LuState state = *disk.state;
  state.removal_prevented_by = {nexus.id(), other.id(), 77};
  set_state(disk, state);
  EXPECT_TRUE(is_good(reserve(nexus, kKeyA, kWe)));
  const Outcome outcome = preempt(other, kKeyB, kKeyA, kWe, kPreemptAndAbort);
  EXPECT_TRUE(is_good(outcome));
  EXPECT_EQ(outcome.abort, Ports{nexus.port()});
  EXPECT_EQ(disk.state->removal_prevented_by, (std::vector<NexusId>{other.id(), 77}))
      << "as if it had allowed medium removal";
}

TEST_F(PersistentReserveOut, PreemptOfARegistration) {
  register_both();
  EXPECT_TRUE(is_good(reserve(nexus, kKeyA, kWeRo)));
  EXPECT_TRUE(is_good(preempt(nexus, kKeyA, kKeyB, 0xFF))) << "SCOPE and TYPE are ignored";
  EXPECT_EQ(registered_names(), std::vector<std::string>{"iqn.a"});
  EXPECT_TRUE(reservations().type);
  EXPECT_EQ(other.take(0), Asc::registrations_preempted);
  EXPECT_TRUE(conflicts(preempt(nexus, kKeyA, kKeyB, kWeRo))) << "nobody has it any more";
  EXPECT_EQ(reservations().generation, 3U);
}

TEST_F(PersistentReserveOut, PreemptOfOneself) {
  register_both();
  // Nothing is reserved: its own registration goes, and nobody is told.
  EXPECT_TRUE(is_good(preempt(nexus, kKeyA, kKeyA, kWe)));
  EXPECT_EQ(registered_names(), std::vector<std::string>{"iqn.b"});
  EXPECT_FALSE(nexus.pending(0));
  // The holder changes the type, stays registered, and the others are told.
  EXPECT_TRUE(is_good(reserve(other, kKeyB, kWe)));
  EXPECT_TRUE(is_good(register_key(nexus, kKeyA)));
  const Outcome outcome = preempt(other, kKeyB, kKeyB, kEaRo, kPreemptAndAbort);
  EXPECT_TRUE(is_good(outcome));
  EXPECT_TRUE(outcome.abort.empty());
  EXPECT_EQ(registered_names(), (std::vector<std::string>{"iqn.b", "iqn.a"}));
  EXPECT_EQ(reservations().type, ReservationType::exclusive_access_registrants_only);
  EXPECT_EQ(nexus.take(0), Asc::reservations_released);
  EXPECT_FALSE(other.pending(0));
}

TEST_F(PersistentReserveOut, PreemptOfAllRegistrants) {
  register_both();
  EXPECT_TRUE(is_check(preempt(nexus, kKeyA, 0, kWe), sense::invalid_field_in_parameter_list(8)));
  EXPECT_TRUE(is_good(reserve(nexus, kKeyA, kEa)));
  EXPECT_TRUE(is_check(preempt(nexus, kKeyA, 0, kWe), sense::invalid_field_in_parameter_list(8)));
  EXPECT_TRUE(is_good(out(nexus, kRelease, kEa, basic_list(kKeyA, 0))));
  EXPECT_TRUE(is_good(reserve(nexus, kKeyA, kEaAr)));
  EXPECT_TRUE(is_check(preempt(other, kKeyB, 0, 0), sense::invalid_field_in_cdb(2, uint8_t{3})));
  EXPECT_TRUE(is_check(preempt(other, kKeyB, 0, 0x21), sense::invalid_field_in_cdb(2, uint8_t{7})));
  const Outcome outcome = preempt(other, kKeyB, 0, kWe, kPreemptAndAbort);
  EXPECT_TRUE(is_good(outcome));
  EXPECT_EQ(outcome.abort, Ports{nexus.port()});
  EXPECT_EQ(registered_names(), std::vector<std::string>{"iqn.b"});
  EXPECT_EQ(reservations().type, ReservationType::write_exclusive);
  EXPECT_EQ(nexus.take(0), Asc::registrations_preempted);
}

TEST_F(PersistentReserveOut, AllRegistrantsEndsWithTheLastOne) {
  for (const uint8_t type : {kWeAr, kEaAr}) {
    register_both();
    EXPECT_TRUE(is_good(reserve(nexus, kKeyA, type)));
    EXPECT_TRUE(is_good(out(nexus, kRegister, 0, basic_list(kKeyA, 0))));
    EXPECT_TRUE(reservations().type) << "the other one holds it too";
    EXPECT_FALSE(other.pending(0));
    EXPECT_TRUE(is_good(preempt(other, kKeyB, kKeyB, type))) << "its own registration, the last";
    EXPECT_FALSE(reservations().type);
    EXPECT_TRUE(reservations().registrants.empty());
  }
}

TEST_F(PersistentReserveOut, TheHolderUnregisters) {
  for (const uint8_t type : {kWe, kEa, kWeRo, kEaRo}) {
    register_both();
    EXPECT_TRUE(is_good(reserve(nexus, kKeyA, type)));
    EXPECT_TRUE(is_good(out(other, kRegister, 0, basic_list(kKeyB, 0)))) << "not the holder: it stays";
    EXPECT_TRUE(reservations().type);
    EXPECT_TRUE(is_good(register_key(other, kKeyB)));
    EXPECT_TRUE(is_good(register_key(nexus, 0)));
    EXPECT_FALSE(reservations().type);
    const bool tells = type == kWeRo || type == kEaRo;
    EXPECT_EQ(other.take(0), tells ? std::optional(Asc::reservations_released) : std::nullopt);
    EXPECT_FALSE(nexus.pending(0));
  }
}

// --- REGISTER AND MOVE

TEST_F(PersistentReserveOut, Move) {
  const Wire id = transport_id(1, kPortC);
  EXPECT_TRUE(conflicts(move(nexus, move_list(0, 5, 0, 1, id)))) << "not registered";
  register_both();
  EXPECT_TRUE(conflicts(move(nexus, move_list(kKeyB, 5, 0, 1, id)))) << "not its key";
  EXPECT_TRUE(
      is_check(move(nexus, move_list(kKeyA, 5, 0, 1, id)), sense::invalid_field_in_cdb(1, uint8_t{4})))
      << "nothing to move";
  EXPECT_TRUE(is_good(reserve(nexus, kKeyA, kEaRo)));
  EXPECT_TRUE(conflicts(move(other, move_list(kKeyB, 5, 0, 1, id)))) << "not the holder";
  EXPECT_TRUE(
      is_check(move(nexus, move_list(kKeyA, 0, 0, 1, id)), sense::invalid_field_in_parameter_list(8)));
  EXPECT_TRUE(
      is_check(move(nexus, move_list(kKeyA, 5, 0, 2, id)), sense::invalid_field_in_parameter_list(18)));
  EXPECT_TRUE(is_check(move(nexus, move_list(kKeyA, 5, 0, 1, transport_id(1, "iqn.a,i,0x000000000000"))),
                       sense::invalid_field_in_parameter_list(24)))
      << "to itself";
  EXPECT_TRUE(is_good(move(nexus, move_list(kKeyA, 5, 0, 1, id))));
  EXPECT_EQ(registered_names(), (std::vector<std::string>{"iqn.a", "iqn.b", "iqn.c"}));
  EXPECT_EQ(reservations().registrants[2], (Registrant{5, port_c, 1, false}));
  EXPECT_EQ(reservations().holder, 2U);
  EXPECT_EQ(reservations().type, ReservationType::exclusive_access_registrants_only);
  EXPECT_EQ(reservations().generation, 3U);
  EXPECT_FALSE(other.pending(0)) << "nobody is told";
}

TEST_F(PersistentReserveOut, MoveToARegisteredOneAndUnregister) {
  register_both();
  EXPECT_TRUE(is_good(reserve(nexus, kKeyA, kWeRo)));
  constexpr uint8_t kUnregAndAptpl = 3;
  EXPECT_TRUE(is_good(
      move(nexus, move_list(kKeyA, 9, kUnregAndAptpl, 1, transport_id(1, "iqn.b,i,0x000000000000")))));
  EXPECT_EQ(registered_names(), std::vector<std::string>{"iqn.b"});
  EXPECT_EQ(reservations().registrants[0].key, 9U);
  EXPECT_EQ(reservations().holder, 0U);
  EXPECT_TRUE(reservations().persist);
  EXPECT_FALSE(other.pending(0));
}

TEST_F(PersistentReserveOut, NoMoveOfAllRegistrants) {
  register_both();
  for (const uint8_t type : {kWeAr, kEaAr}) {
    EXPECT_TRUE(is_good(reserve(nexus, kKeyA, type)));
    EXPECT_TRUE(conflicts(move(nexus, move_list(kKeyA, 5, 0, 1, transport_id(1, kPortC)))));
    EXPECT_TRUE(is_good(out(nexus, kRelease, type, basic_list(kKeyA, 0))));
  }
}

TEST_F(PersistentReserveOut, MoveByNameAlone) {
  register_both();
  EXPECT_TRUE(is_good(reserve(nexus, kKeyA, kWe)));
  EXPECT_TRUE(is_check(move(nexus, move_list(kKeyA, 5, 0, 1, transport_id(0, "iqn.c"))),
                       sense::invalid_field_in_parameter_list(24)))
      << "nobody by that name is known";
  EXPECT_TRUE(is_good(move(nexus, move_list(kKeyA, 5, 0, 1, transport_id(0, "iqn.b")))));
  EXPECT_EQ(reservations().registrants[reservations().holder].port, other.port());
}

TEST_F(PersistentReserveOut, MoveToAnotherTargetPort) {
  PortGroups groups;
  groups.groups = {{1, AccessState::active_optimized, AccessStatus::none, false, {1}},
                   {2, AccessState::standby, AccessStatus::none, false, {2, 0x103}}};
  LuState state = *disk.state;
  state.port_groups = std::make_shared<const PortGroups>(groups);
  set_state(disk, state);
  register_both();
  EXPECT_TRUE(is_good(reserve(nexus, kKeyA, kWe)));
  const Wire id = transport_id(1, "iqn.b,i,0x000000000000");
  EXPECT_TRUE(
      is_check(move(nexus, move_list(kKeyA, 5, 0, 3, id)), sense::invalid_field_in_parameter_list(18)));
  EXPECT_TRUE(is_good(move(nexus, move_list(kKeyA, 5, 0, 0x103, id))));
  ASSERT_EQ(reservations().registrants.size(), 3U) << "another nexus of the same port";
  EXPECT_EQ(reservations().registrants[2].relative_target_port, 0x103);
  EXPECT_EQ(reservation_access(reservations(), other.port(), 1), ReservationAccess::read);
  EXPECT_EQ(reservation_access(reservations(), other.port(), 0x103), ReservationAccess::all);
}

TEST_F(PersistentReserveOut, MoveListsThatLie) {
  register_both();
  EXPECT_TRUE(is_good(reserve(nexus, kKeyA, kWe)));
  const LuState before = *disk.state;
  const Wire good = move_list(kKeyA, 5, 0, 1, transport_id(1, kPortC));
  const Sense length_error = sense::parameter_list_length_error();
  for (uint32_t length = 0; length < good.size(); ++length) {
    EXPECT_TRUE(is_check(out(nexus, kRegisterAndMove, 0, good, length), length_error)) << length;
  }
  Wire longer = good;
  longer.resize(good.size() + 4);
  EXPECT_TRUE(is_check(move(nexus, longer), length_error)) << "more than it says";
  for (const uint32_t lie :
       {0U, 20U, 23U, static_cast<uint32_t>(good.size() - 24 + 4), 0xFFFFU, 0xFFFF'FFFFU}) {
    Wire list = good;
    for (size_t i = 0; i < 4; ++i) list[20 + i] = static_cast<uint8_t>(lie >> (24 - 8 * i));
    EXPECT_TRUE(is_check(move(nexus, list), length_error)) << lie;
  }
  // The TransportID is shorter than TRANSPORTID LENGTH says, or longer.
  Wire list = move_list(kKeyA, 5, 0, 1, transport_id(0, "iqn.b"));
  list.resize(list.size() + 4);
  list[23] = static_cast<uint8_t>(list.size() - 24);
  EXPECT_TRUE(is_check(move(nexus, list), length_error));
  list = good;
  list[24 + 3] = static_cast<uint8_t>(list[24 + 3] + 4);
  EXPECT_TRUE(is_check(move(nexus, list), length_error));
  list = good;
  list[24] = 0x81;
  EXPECT_TRUE(is_check(move(nexus, list), sense::invalid_field_in_parameter_list(24, uint8_t{7})));
  EXPECT_EQ(*disk.state, before);
}

// --- SPEC_I_PT, ALL_TG_PT, APTPL

TEST_F(PersistentReserveOut, SpecifiedPorts) {
  EXPECT_TRUE(is_good(specify({transport_id(1, kPortC), transport_id(0, "iqn.b"), transport_id(1, kPortC)})));
  EXPECT_EQ(registered_names(), (std::vector<std::string>{"iqn.a", "iqn.c", "iqn.b"}))
      << "named twice is once";
  for (const Registrant& registrant : reservations().registrants) EXPECT_EQ(registrant.key, kKeyA);
  EXPECT_EQ(reservations().registrants[1].port, port_c);
  EXPECT_EQ(reservations().registrants[2].port, other.port()) << "by name, as it is logged in";
  EXPECT_EQ(reservations().generation, 1U);
  EXPECT_TRUE(is_good(reserve(other, kKeyA, kWe))) << "registered, it may reserve";
}

TEST_F(PersistentReserveOut, SpecifiedNobody) {
  EXPECT_TRUE(is_good(specify({})));
  EXPECT_EQ(registered_names(), std::vector<std::string>{"iqn.a"});
}

TEST_F(PersistentReserveOut, SpecifiedOneself) {
  EXPECT_TRUE(is_good(specify({transport_id(0, "iqn.a"), transport_id(1, "iqn.a,i,0x000000000000")})));
  EXPECT_EQ(registered_names(), std::vector<std::string>{"iqn.a"});
}

TEST_F(PersistentReserveOut, SpecifiedPortsThatAreRefused) {
  EXPECT_TRUE(is_good(register_key(other, kKeyB)));
  const LuState before = *disk.state;
  const Wire c = transport_id(1, kPortC);
  const auto second_at = static_cast<uint16_t>(28 + c.size());
  EXPECT_TRUE(is_check(specify({c, transport_id(1, "iqn.b,i,0x000000000000")}),
                       sense::invalid_field_in_parameter_list(second_at)))
      << "registered already";
  EXPECT_TRUE(
      is_check(specify({c, transport_id(0, "iqn.b")}), sense::invalid_field_in_parameter_list(second_at)));
  EXPECT_TRUE(
      is_check(specify({c, transport_id(0, "iqn.none")}), sense::invalid_field_in_parameter_list(second_at)));
  EXPECT_TRUE(is_check(specify({c, transport_id(1, "iqn.none")}),
                       sense::invalid_field_in_parameter_list(static_cast<uint16_t>(second_at + 4))));
  EXPECT_EQ(*disk.state, before) << "all of them or none";
  // Of a nexus that is registered, and with any other action.
  EXPECT_TRUE(is_check(out(other, kRegister, 0, basic_list(kKeyB, kKeyB, kSpecIPt, {c})),
                       sense::invalid_field_in_parameter_list(20, uint8_t{3})));
  EXPECT_TRUE(conflicts(out(other, kRegister, 0, basic_list(1, kKeyB, kSpecIPt, {c}))));
  Wire list = basic_list(kKeyB, kKeyB);
  list[20] = kSpecIPt;
  for (const uint8_t action : {kReserve, kRelease, kClear, kPreempt, kPreemptAndAbort, kRegisterAndIgnore}) {
    EXPECT_TRUE(
        is_check(out(other, action, kWe, list), sense::invalid_field_in_parameter_list(20, uint8_t{3})));
  }
  EXPECT_TRUE(is_good(specify({c}, 0))) << "not registered, both keys 0: nothing is done";
  EXPECT_EQ(*disk.state, before);
}

TEST_F(PersistentReserveOut, SpecifiedListsThatLie) {
  const Wire good = basic_list(0, kKeyA, kSpecIPt, {transport_id(1, kPortC), transport_id(0, "iqn.b")});
  const LuState before = *disk.state;
  const Sense length_error = sense::parameter_list_length_error();
  for (uint32_t length = 0; length < good.size(); ++length) {
    EXPECT_TRUE(is_check(out(nexus, kRegister, 0, good, length), length_error)) << length;
  }
  const auto ports_bytes = static_cast<uint32_t>(good.size() - 28);
  for (const uint32_t lie :
       {0U, 1U, 24U, ports_bytes - 4, ports_bytes + 4, 0xFFFFU, 0x8000'0000U, 0xFFFF'FFFFU}) {
    Wire list = good;
    for (size_t i = 0; i < 4; ++i) list[24 + i] = static_cast<uint8_t>(lie >> (24 - 8 * i));
    EXPECT_TRUE(is_check(out(nexus, kRegister, 0, list), length_error)) << lie;
  }
  // A TransportID that says it is longer than the list.
  for (const uint16_t lie : std::to_array<uint16_t>({28, 60, 0xFFFC})) {
    Wire list = basic_list(0, kKeyA, kSpecIPt, {transport_id(0, "iqn.b")});
    list[30] = static_cast<uint8_t>(lie >> 8);
    list[31] = static_cast<uint8_t>(lie);
    EXPECT_TRUE(is_check(out(nexus, kRegister, 0, list), length_error)) << lie;
  }
  Wire list = good;
  list[30] = list[31] = 0;
  EXPECT_TRUE(is_check(out(nexus, kRegister, 0, list), sense::invalid_field_in_parameter_list(30)));
  EXPECT_EQ(*disk.state, before);
}

// CVE-2024-39281 and CVE-2026-72083 of other targets: a length taken at its word.
TEST_F(PersistentReserveOut, LongLists) {
  for (const uint32_t length : {65537U, 0x0010'0000U, 0x7FFF'FFFFU, 0xFFFF'FFFFU}) {
    for (uint8_t action = 0; action < 8; ++action) {
      const Outcome outcome = out(nexus, action, kWe, basic_list(0, kKeyA), length);
      EXPECT_TRUE(is_check(outcome, sense::parameter_list_length_error()));
      EXPECT_EQ(outcome.phase.transfer_bytes, 0U) << "no memory is asked for";
    }
  }
  std::vector<Wire> ids;
  size_t bytes = 28;
  for (int i = 0; bytes < 65536 - 300; ++i) {
    ids.push_back(transport_id(1, std::string(200, 'n') + std::to_string(i) + ",i,0x000000000001"));
    bytes += ids.back().size();
  }
  EXPECT_TRUE(is_good(specify(ids)));
  EXPECT_EQ(reservations().registrants.size(), ids.size() + 1);
}

// Every action, every length: refused, and nothing changes, but for the one that is right.
TEST_F(PersistentReserveOut, EveryLength) {
  for (uint8_t action = 0; action < 8; ++action) {
    for (uint32_t length = 0; length <= 64; ++length) {
      if (length == 24 && action != kRegisterAndMove) continue;
      const LuState before = *disk.state;
      Wire list = basic_list(0, kKeyA);
      list.resize(length, 0xFF);
      EXPECT_TRUE(is_check(out(nexus, action, kWe, list), sense::parameter_list_length_error()))
          << int{action} << " " << length;
      // The initiator announces less than the CDB says.
      if (length < 24) {
        EXPECT_TRUE(is_check(out(nexus, action, kWe, list, action == kRegisterAndMove ? 48 : 24),
                             sense::parameter_list_length_error()));
      }
      EXPECT_EQ(*disk.state, before);
    }
  }
}

// Lists as they should be but for a few bytes: whatever comes of them, the state is one that can be.
TEST_F(PersistentReserveOut, MangledLists) {
  std::mt19937_64 random(11);
  const std::vector<Wire> ids = {transport_id(1, kPortC), transport_id(0, "iqn.b"),
                                 transport_id(1, "iqn.d,i,0x000000000001")};
  int good = 0;
  for (int round = 0; round < 6000; ++round) {
    const auto action = static_cast<uint8_t>(random() % 8);
    Nexus& from = random() % 2 == 0 ? nexus : other;
    const uint64_t key = random() % 3;
    Wire list =
        basic_list(key, random() % 3, static_cast<uint8_t>(random() % (random() % 4 == 0 ? 16 : 8)), ids);
    if (action == kRegisterAndMove) {
      list = move_list(key, random() % 3, static_cast<uint8_t>(random() % 4), 1, ids[random() % ids.size()]);
    }
    for (uint64_t i = random() % 4; i > 0; --i) list[random() % list.size()] = static_cast<uint8_t>(random());
    if (random() % 4 == 0) list.resize(random() % (list.size() + 8));
    if (is_good(out(from, action, static_cast<uint8_t>(random() % 9), list))) ++good;
    forget_unit_attentions();
    if (disk.state->reservations == nullptr) continue;
    // Saved and restored, every rule is checked.
    PersistentReservations now = reservations();
    now.persist = true;
    now.generation = 0;
    LuState state;
    state.reservations = std::make_shared<const PersistentReservations>(now);
    LuState restored;
    ASSERT_TRUE(restore(snapshot(state), restored).ok()) << round;
    if (!now.registrants.empty()) {
      ASSERT_EQ(*restored.reservations, now) << round;
    } else {
      ASSERT_FALSE(now.type) << round;
    }
    if (now.registrants.size() > 20) set_state(disk, without_reservations());
  }
  EXPECT_GT(good, 500);
}

TEST_F(PersistentReserveOut, AllTargetPorts) {
  EXPECT_TRUE(is_good(register_key(nexus, kKeyA, kAllTgPt)));
  ASSERT_EQ(reservations().registrants.size(), 1U);
  EXPECT_TRUE(reservations().registrants[0].all_target_ports);
  EXPECT_TRUE(is_good(reserve(nexus, kKeyA, kEa)));
  EXPECT_EQ(reservation_access(reservations(), nexus.port(), 9), ReservationAccess::all);
  EXPECT_EQ(reservation_access(reservations(), other.port(), 9), ReservationAccess::none);
  // What the port had registered through other target ports becomes one with it, and a reservation moves
  // along.
  PersistentReservations before;
  before.registrants = {
      {1, other.port(), 1, false}, {2, nexus.port(), 7, false}, {3, nexus.port(), 1, false}};
  before.type = ReservationType::write_exclusive;
  before.holder = 1;
  RegisterRequest request;
  request.key = 3;
  request.action_key = 4;
  request.all_target_ports = true;
  const ReservationChange change = register_nexus(before, {nexus.port(), 1}, request);
  ASSERT_EQ(change.next.registrants.size(), 2U);
  EXPECT_EQ(change.next.registrants[1], (Registrant{4, nexus.port(), 1, true}));
  EXPECT_EQ(change.next.holder, 1U);
  EXPECT_EQ(change.next.type, ReservationType::write_exclusive);
}

TEST_F(PersistentReserveOut, AnotherPortOfTheSameInitiatorIsAnother) {
  Nexus second(3, {"iqn.a", {0, 0, 0, 0, 0, 1}}, &luns);
  second.clear(0);
  EXPECT_TRUE(is_good(register_key(nexus, kKeyA)));
  EXPECT_TRUE(is_good(reserve(nexus, kKeyA, kWeRo)));
  EXPECT_TRUE(conflicts(reserve(second, kKeyA, kWeRo)));
  EXPECT_TRUE(is_good(register_key(second, kKeyA)));
  EXPECT_EQ(reservations().registrants.size(), 2U);
}

TEST_F(PersistentReserveOut, AptplIsThatOfTheLastRegistration) {
  EXPECT_TRUE(is_good(register_key(nexus, kKeyA, kAptpl)));
  EXPECT_TRUE(reservations().persist);
  EXPECT_TRUE(is_good(out(nexus, kReserve, kWe, basic_list(kKeyA, 0))));
  EXPECT_TRUE(reservations().persist) << "ignored in all others";
  EXPECT_TRUE(is_good(out(other, kRegister, 0, basic_list(0, kKeyB))));
  EXPECT_FALSE(reservations().persist);
  disk.keeps_reservations = false;
  EXPECT_TRUE(
      is_check(register_key(nexus, kKeyA, kAptpl), sense::invalid_field_in_parameter_list(20, uint8_t{0})));
  EXPECT_TRUE(is_check(move(nexus, move_list(kKeyA, 5, 1, 1, transport_id(1, kPortC))),
                       sense::invalid_field_in_parameter_list(17, uint8_t{0})));
}

// --- How many

TEST_F(PersistentReserveOut, NoMoreThanThereIsRoomFor) {
  PersistentReservations full;
  for (size_t i = 0; i < kRegistrantsMax - 1; ++i) {
    full.registrants.push_back({i + 1, {"iqn.host" + std::to_string(i), {}}, 1, false});
  }
  LuState state = *disk.state;
  state.reservations = std::make_shared<const PersistentReservations>(full);
  set_state(disk, state);
  const Sense no_room = sense::insufficient_registration_resources();
  EXPECT_TRUE(is_check(specify({transport_id(1, kPortC)}), no_room));
  EXPECT_EQ(reservations(), full) << "all of them or none";
  EXPECT_TRUE(is_good(register_key(nexus, kKeyA)));
  EXPECT_TRUE(is_check(register_key(other, kKeyB), no_room));
  EXPECT_TRUE(is_good(register_key(nexus, kKeyB))) << "another key takes no room";
  EXPECT_TRUE(is_good(reserve(nexus, kKeyB, kWe)));
  const Wire id = transport_id(1, kPortC);
  EXPECT_TRUE(is_check(move(nexus, move_list(kKeyB, 5, 0, 1, id)), no_room));
  EXPECT_TRUE(is_good(move(nexus, move_list(kKeyB, 5, 2, 1, id)))) << "with UNREG there is room";
  EXPECT_EQ(reservations().registrants.size(), kRegistrantsMax);
}

TEST_F(PersistentReserveOut, AllRegistrantsAreReported) {
  PersistentReservations full;
  for (size_t i = 0; i < kRegistrantsMax; ++i) {
    full.registrants.push_back({i + 1, {"iqn.h" + std::to_string(i), {}}, 1, i == 5});
  }
  full.type = ReservationType::exclusive_access_registrants_only;
  full.holder = 1000;
  LuState state = *disk.state;
  state.reservations = std::make_shared<const PersistentReservations>(full);
  set_state(disk, state);
  const Wire keys = in(nexus, kReadKeys).data;
  ASSERT_EQ(keys.size(), 8 + 8 * kRegistrantsMax);
  EXPECT_EQ(number_at(keys, keys.size() - 8, 8), kRegistrantsMax);

  const Wire status = in(nexus, kReadFullStatus).data;
  ASSERT_EQ(number_at(status, 4, 4), status.size() - 8) << "all of it";
  size_t at = 8;
  for (size_t i = 0; i < kRegistrantsMax; ++i) {
    EXPECT_EQ(number_at(status, at, 8), i + 1);
    EXPECT_EQ(number_at(status, at + 8, 4), 0U);
    EXPECT_EQ(status[at + 12], i == 5 ? 2 : i == 1000 ? 1 : 0);
    EXPECT_EQ(status[at + 13], i == 1000 ? 6 : 0);
    EXPECT_EQ(number_at(status, at + 14, 4), 0U);
    EXPECT_EQ(number_at(status, at + 18, 2), i == 5 ? 0U : 1U);
    const Wire id = transport_id(1, "iqn.h" + std::to_string(i) + ",i,0x000000000000");
    ASSERT_EQ(number_at(status, at + 20, 4), id.size());
    at += 24;
    EXPECT_TRUE(std::equal(id.begin(), id.end(), status.begin() + static_cast<std::ptrdiff_t>(at)));
    at += id.size();
  }
  EXPECT_EQ(at, status.size());
  // Cut anywhere, what is sent is the beginning, and tells the whole length.
  for (uint16_t allocation = 0; allocation < 300; ++allocation) {
    const Wire cut = in(nexus, kReadFullStatus, allocation).data;
    ASSERT_EQ(cut.size(), allocation);
    EXPECT_TRUE(std::equal(cut.begin(), cut.end(), status.begin()));
  }
}

}  // namespace
}  // namespace itgtd::scsi
