#include "scsi/lu_snapshot.h"

#include <gtest/gtest.h>

#include <random>

namespace itgtd::scsi {
namespace {

using Value = std::vector<std::byte>;

Value random_bytes(std::mt19937_64& random, size_t count) {
  Value value(count);
  for (std::byte& byte : value) byte = static_cast<std::byte>(random());
  return value;
}

/// Reservations as a restored unit has them: PRGENERATION 0, APTPL on, somebody registered.
PersistentReservations random_reservations(std::mt19937_64& random) {
  PersistentReservations reservations;
  reservations.persist = true;
  const size_t count = 1 + random() % 6;
  for (size_t i = 0; i < count; ++i) {
    Registrant registrant;
    registrant.key = random() | 1;
    registrant.port.name = "iqn.2001-01.com.example:" + std::string(i * 30, 'h') + std::to_string(i);
    for (uint8_t& byte : registrant.port.isid) byte = static_cast<uint8_t>(random());
    registrant.relative_target_port = static_cast<uint16_t>(1 + random() % 3);
    registrant.all_target_ports = random() % 4 == 0;
    reservations.registrants.push_back(registrant);
  }
  if (random() % 4 != 0) {
    constexpr std::array<uint8_t, 6> kTypes = {1, 3, 5, 6, 7, 8};
    reservations.type = reservation_type(kTypes[random() % kTypes.size()]);
    if (!is_all_registrants(*reservations.type))
      reservations.holder = static_cast<uint32_t>(random() % count);
  }
  return reservations;
}

LuState random_state(std::mt19937_64& random) {
  constexpr std::array kConditions = {LuCondition::ready, LuCondition::format_failed,
                                      LuCondition::sanitize_failed};
  LuState state;
  if (random() % 3 != 0) {
    state.reservations = std::make_shared<const PersistentReservations>(random_reservations(random));
  }
  if (random() % 2 == 0) state.identifying_information = random_bytes(random, random() % 64);
  if (random() % 2 == 0) state.identifying_text = random_bytes(random, random() % 64);
  if (random() % 2 == 0) state.saved_mode_pages = random_bytes(random, random() % 64);
  state.condition = kConditions[random() % kConditions.size()];
  state.sanitize_may_be_left = state.condition == LuCondition::sanitize_failed && random() % 2 == 0;
  return state;
}

/// Equal but for where their reservations stand in memory.
::testing::AssertionResult same(LuState a, LuState b) {
  const bool both = (a.reservations == nullptr) == (b.reservations == nullptr);
  if (!both) return ::testing::AssertionFailure() << "only one has reservations";
  if (a.reservations != nullptr && *a.reservations != *b.reservations) {
    return ::testing::AssertionFailure() << "reservations";
  }
  a.reservations = b.reservations;
  if (a == b) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "another field";
}

TEST(LuSnapshot, NothingToKeep) {
  LuState state;
  EXPECT_TRUE(snapshot(state).empty());
  state.block_count = 7;
  state.write_protected = true;
  state.reserved_by = 3;
  state.removal_prevented_by = {4};
  state.condition = LuCondition::stopped;
  EXPECT_TRUE(snapshot(state).empty());
  const LuState before = state;
  EXPECT_TRUE(restore({}, state).ok());
  EXPECT_EQ(state, before);
}

TEST(LuSnapshot, RandomStatesComeBack) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 2000; ++round) {
    const LuState state = random_state(random);
    LuState copy = state;
    if (state.reservations != nullptr) {
      copy.reservations = std::make_shared<const PersistentReservations>(*state.reservations);
    }
    const Value bytes = snapshot(state);
    EXPECT_EQ(snapshot(copy), bytes) << "equal states, equal bytes";
    LuState restored;
    ASSERT_TRUE(restore(bytes, restored).ok());
    EXPECT_TRUE(same(restored, state));
  }
}

TEST(LuSnapshot, ReservationsOnlyWithAptpl) {
  std::mt19937_64 random(6);
  PersistentReservations reservations = random_reservations(random);
  reservations.generation = 9;
  LuState state;
  state.reservations = std::make_shared<const PersistentReservations>(reservations);
  const Value bytes = snapshot(state);
  EXPECT_FALSE(bytes.empty());
  LuState restored;
  ASSERT_TRUE(restore(bytes, restored).ok());
  EXPECT_EQ(restored.reservations->generation, 0U);
  EXPECT_TRUE(restored.reservations->persist);
  reservations.generation = 10;
  state.reservations = std::make_shared<const PersistentReservations>(reservations);
  EXPECT_EQ(snapshot(state), bytes) << "PRGENERATION is none of it";
  reservations.persist = false;
  state.reservations = std::make_shared<const PersistentReservations>(reservations);
  EXPECT_TRUE(snapshot(state).empty());
  reservations = {};
  reservations.persist = true;
  state.reservations = std::make_shared<const PersistentReservations>(reservations);
  EXPECT_TRUE(snapshot(state).empty());
}

TEST(LuSnapshot, WhatWentOnHasFailed) {
  for (const auto& [before, after] : {std::pair{LuCondition::formatting, LuCondition::format_failed},
                                      std::pair{LuCondition::sanitizing, LuCondition::sanitize_failed}}) {
    LuState state;
    state.condition = before;
    const Value going_on = snapshot(state);
    state.progress = 1000;
    EXPECT_EQ(snapshot(state), going_on) << "progress is not worth a write";
    state.condition = after;
    EXPECT_EQ(snapshot(state), going_on) << "nor is that it failed";
    LuState restored;
    ASSERT_TRUE(restore(going_on, restored).ok());
    EXPECT_EQ(restored.condition, after);
    EXPECT_EQ(restored.progress, 0);
  }
}

TEST(LuSnapshot, AllRegistrantsThereCanBe) {
  PersistentReservations reservations;
  reservations.persist = true;
  for (size_t i = 0; i < kRegistrantsMax; ++i) {
    InitiatorPort port = {std::string(223, 'x'),
                          {0, 0, 0, 0, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)}};
    reservations.registrants.push_back({i + 1, port, 1, false});
  }
  LuState state;
  state.reservations = std::make_shared<const PersistentReservations>(reservations);
  const Value bytes = snapshot(state);
  EXPECT_LT(bytes.size(), 256U << 10);
  LuState restored;
  ASSERT_TRUE(restore(bytes, restored).ok());
  EXPECT_TRUE(same(restored, state));
  reservations.registrants.push_back({1, {"iqn.one.more", {}}, 1, false});
  state.reservations = std::make_shared<const PersistentReservations>(reservations);
  EXPECT_FALSE(restore(snapshot(state), restored).ok());
}

// What a failover keeps.

RegistrantAttentions random_attentions(std::mt19937_64& random) {
  RegistrantAttentions attentions;
  for (size_t i = random() % 4; i > 0; --i) {
    const std::vector raises = {UnitAttentionRaise{UnitAttentionRaise::Scope::port,
                                                   0,
                                                   kRegistrantAttentions[random() % 3],
                                                   {"iqn.p" + std::to_string(random() % 3), {1, 2}}}};
    attentions.raise(raises, 4);
  }
  return attentions;
}

std::vector<std::pair<InitiatorPort, std::vector<Asc>>> waiting(const RegistrantAttentions& attentions) {
  std::vector<std::pair<InitiatorPort, std::vector<Asc>>> all;
  for (const auto& pending : attentions.all())
    all.emplace_back(pending.port, attentions.waiting_for(pending.port));
  return all;
}

TEST(LuSnapshot, AFailoverKeepsAllOfTheReservations) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 2000; ++round) {
    LuState state = random_state(random);
    if (state.reservations != nullptr) {
      PersistentReservations reservations = *state.reservations;
      reservations.generation = static_cast<uint32_t>(random() % 3);
      reservations.persist = random() % 2 == 0;
      if (random() % 4 == 0) {
        reservations.registrants.clear();
        reservations.type.reset();
        reservations.holder = 0;
      }
      if (reservations == PersistentReservations{}) reservations.generation = 1;
      state.reservations = std::make_shared<const PersistentReservations>(reservations);
    }
    const RegistrantAttentions attentions = random_attentions(random);
    const Value bytes = snapshot(state, &attentions);
    LuState restored;
    RegistrantAttentions told;
    ASSERT_TRUE(restore(bytes, restored, &told).ok());
    EXPECT_TRUE(same(restored, state));
    EXPECT_EQ(waiting(told), waiting(attentions));
    EXPECT_EQ(snapshot(restored, &told), bytes);
    // As a unit that is not of a group any more.
    LuState alone;
    ASSERT_TRUE(restore(bytes, alone).ok());
    EXPECT_EQ(snapshot(alone), snapshot(state));
    EXPECT_TRUE(alone.reservations == nullptr || alone.reservations->generation == 0);
  }
}

TEST(LuSnapshot, AFailoverOfWhatAnEarlierVersionKept) {
  std::mt19937_64 random(12);
  LuState state;
  state.reservations = std::make_shared<const PersistentReservations>(random_reservations(random));
  LuState restored;
  RegistrantAttentions attentions;
  ASSERT_TRUE(restore(snapshot(state), restored, &attentions).ok());
  EXPECT_TRUE(same(restored, state));
  EXPECT_TRUE(restored.reservations->persist);
  EXPECT_TRUE(attentions.empty());
}

TEST(LuSnapshot, NothingToKeepForAFailover) {
  const RegistrantAttentions none;
  LuState state;
  EXPECT_TRUE(snapshot(state, &none).empty());
  state.reservations = std::make_shared<const PersistentReservations>();
  EXPECT_TRUE(snapshot(state, &none).empty());
}

TEST(LuSnapshot, AllThatAFailoverCanKeepFits) {
  LuState state;
  PersistentReservations reservations;
  RegistrantAttentions attentions;
  std::vector<UnitAttentionRaise> raises;
  for (size_t i = 0; i < kRegistrantsMax; ++i) {
    InitiatorPort port = {std::string(223, 'x'),
                          {0, 0, 0, 0, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)}};
    reservations.registrants.push_back({i + 1, port, 1, false});
    raises.push_back({UnitAttentionRaise::Scope::port, 0, Asc::registrations_preempted, port});
  }
  attentions.raise(raises, 2);
  state.reservations = std::make_shared<const PersistentReservations>(reservations);
  for (auto* text : {&state.identifying_information, &state.identifying_text, &state.saved_mode_pages})
    text->resize(kSnapshotTextBytesMax);
  const Value bytes = snapshot(state, &attentions);
  EXPECT_LT(bytes.size(), kSnapshotBytesMax);
  EXPECT_GT(bytes.size() + 1024, kSnapshotBytesMax) << "the bound is that of the largest there can be";
  LuState restored;
  RegistrantAttentions told;
  ASSERT_TRUE(restore(bytes, restored, &told).ok());
  EXPECT_EQ(told.all().size(), kRegistrantsMax);
}

TEST(LuSnapshot, FailoverSectionsThatCanNotBe) {
  const auto accepted = [](std::initializer_list<int> section) {
    Value bytes = {std::byte{0}, std::byte{1}};
    for (const int number : section) bytes.push_back(static_cast<std::byte>(number));
    LuState state;
    RegistrantAttentions attentions;
    return restore(bytes, state, &attentions).ok();
  };
  EXPECT_TRUE(accepted({0, 6, 0, 0, 0, 5, 0, 0, 0, 9, 1}));
  EXPECT_FALSE(accepted({0, 6, 0, 0, 0, 5, 0, 0, 0, 9, 2}));
  EXPECT_FALSE(accepted({0, 6, 0, 0, 0, 4, 0, 0, 0, 9}));
  EXPECT_FALSE(accepted({0, 6, 0, 0, 0, 6, 0, 0, 0, 9, 1, 0}));
  EXPECT_TRUE(accepted({0, 7, 0, 0, 0, 13, 1, 0, 0, 0, 0, 0, 0, 5, 'i', 'q', 'n', '.', 'a'}));
  EXPECT_FALSE(accepted({0, 7, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 5, 'i', 'q', 'n', '.', 'a'}))
      << "of no kind";
  EXPECT_FALSE(accepted({0, 7, 0, 0, 0, 13, 8, 0, 0, 0, 0, 0, 0, 5, 'i', 'q', 'n', '.', 'a'})) << "a fourth";
  EXPECT_FALSE(accepted({0, 7, 0, 0, 0, 13, 1, 0, 0, 0, 0, 0, 0, 5, 'i', 'q', 'n', ',', 'a'}));
  EXPECT_FALSE(accepted({0, 7, 0, 0, 0, 13, 1, 0, 0, 0, 0, 0, 0, 6, 'i', 'q', 'n', '.', 'a'}));
  EXPECT_FALSE(accepted({0, 7, 0, 0, 0, 26,                                 //
                         1, 0, 0, 0, 0, 0,  0, 5, 'i', 'q', 'n', '.', 'a',  //
                         2, 0, 0, 0, 0, 0,  0, 5, 'i', 'q', 'n', '.', 'a'}))
      << "a port twice";
}

// On the heap, no longer than it is: a read behind the end is found by AddressSanitizer.
void expect_refused_or_valid(const Value& bytes) {
  LuState before;
  before.identifying_text = {std::byte{1}};
  LuState state = before;
  if (!restore(bytes, state).ok()) {
    EXPECT_EQ(state, before) << "an error changes nothing";
    return;
  }
  RegistrantAttentions attentions;
  LuState in_group = before;
  ASSERT_TRUE(restore(bytes, in_group, &attentions).ok());
  const Value kept = snapshot(in_group, &attentions);
  RegistrantAttentions attentions_again;
  LuState in_group_again;
  ASSERT_TRUE(restore(kept, in_group_again, &attentions_again).ok());
  EXPECT_EQ(snapshot(in_group_again, &attentions_again), kept);
  const Value again = snapshot(state);
  LuState restored;
  ASSERT_TRUE(restore(again, restored).ok());
  EXPECT_EQ(snapshot(restored), again);
  if (state.reservations == nullptr) return;
  EXPECT_LE(state.reservations->registrants.size(), kRegistrantsMax);
  EXPECT_LT(state.reservations->holder, state.reservations->registrants.size());
}

TEST(LuSnapshot, EveryTruncation) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 30; ++round) {
    const RegistrantAttentions attentions = random_attentions(random);
    const Value bytes = snapshot(random_state(random), &attentions);
    for (size_t length = 0; length < bytes.size(); ++length) {
      expect_refused_or_valid({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)});
    }
  }
}

TEST(LuSnapshot, EveryChangedByte) {
  std::mt19937_64 random(8);
  for (int round = 0; round < 12; ++round) {
    const RegistrantAttentions attentions = random_attentions(random);
    const Value bytes = snapshot(random_state(random), &attentions);
    for (size_t at = 0; at < bytes.size(); ++at) {
      for (const int change : {1, 2, 4, 8, 16, 32, 64, 128, 0xFF}) {
        Value changed = bytes;
        changed[at] ^= static_cast<std::byte>(change);
        expect_refused_or_valid(changed);
      }
    }
  }
}

TEST(LuSnapshot, Rubbish) {
  std::mt19937_64 random(9);
  for (int round = 0; round < 20000; ++round) {
    Value bytes = random_bytes(random, random() % 40);
    // Past the version, and into a section.
    if (bytes.size() > 4) bytes[0] = bytes[2] = bytes[4] = std::byte{0};
    if (bytes.size() > 4) bytes[1] = std::byte{1};
    expect_refused_or_valid(bytes);
  }
}

TEST(LuSnapshot, WhatIsUnknownIsSaidSo) {
  LuState state;
  const auto refused = [&](std::initializer_list<int> numbers) {
    Value bytes;
    for (const int number : numbers) bytes.push_back(static_cast<std::byte>(number));
    const auto result = restore(bytes, state);
    return result.ok() ? std::string("accepted") : result.error().message;
  };
  EXPECT_NE(refused({0, 1, 0, 8, 0, 0, 0, 1, 9}).find("section 8"), std::string::npos);
  EXPECT_NE(refused({0, 2, 0, 5, 0, 0, 0, 1, 1}).find("version 2"), std::string::npos);
  EXPECT_EQ(refused({0, 1, 0, 5, 0, 0, 0, 1, 1}), "accepted");
  EXPECT_NE(refused({0, 1}), "accepted") << "a version and nothing else";
  EXPECT_NE(refused({0, 1, 0, 5, 0, 0, 0, 1, 4}), "accepted");
  EXPECT_NE(refused({0, 1, 0, 5, 0, 0, 0, 1, 0}), "accepted");
  EXPECT_NE(refused({0, 1, 0, 5, 0, 0, 0, 0}), "accepted") << "an empty section";
  EXPECT_NE(refused({0, 1, 0, 5, 0, 0, 0, 1, 1, 0, 5, 0, 0, 0, 1, 1}), "accepted") << "twice";
  EXPECT_NE(refused({0, 1, 0, 3, 0, 0, 0, 1, 1, 0, 2, 0, 0, 0, 1, 1}), "accepted") << "out of order";
  EXPECT_NE(refused({0, 1, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF, 1}), "accepted") << "a length that lies";
  Value longest = {std::byte{0}, std::byte{1}, std::byte{0},    std::byte{2},
                   std::byte{0}, std::byte{0}, std::byte{0x10}, std::byte{0}};
  longest.resize(8 + 4096);
  EXPECT_TRUE(restore(longest, state).ok());
  longest[7] = std::byte{1};
  longest.resize(8 + 4097);
  EXPECT_FALSE(restore(longest, state).ok());
}

TEST(LuSnapshot, RegistrantsThatCanNotBe) {
  std::mt19937_64 random(10);
  const auto accepted = [](const PersistentReservations& reservations) {
    LuState state;
    state.reservations = std::make_shared<const PersistentReservations>(reservations);
    return restore(snapshot(state), state).ok();
  };
  PersistentReservations good;
  good.persist = true;
  good.registrants = {{1, {"iqn.a", {}}, 1, false}, {1, {"iqn.a", {}}, 2, false}};
  good.type = ReservationType::write_exclusive;
  good.holder = 1;
  EXPECT_TRUE(accepted(good));
  auto bad = good;
  bad.holder = 2;
  EXPECT_FALSE(accepted(bad));
  bad = good;
  bad.type.reset();
  EXPECT_FALSE(accepted(bad)) << "a holder of nothing";
  bad = good;
  bad.registrants[1].relative_target_port = 1;
  EXPECT_FALSE(accepted(bad)) << "twice the same nexus";
  bad = good;
  bad.registrants[1].all_target_ports = true;
  EXPECT_FALSE(accepted(bad)) << "all ports, and one of them";
  bad = good;
  bad.registrants[0].key = 0;
  EXPECT_FALSE(accepted(bad));
  for (const std::string& name :
       {std::string(), std::string("iqn,a"), std::string("iqn a"), std::string(224, 'a')}) {
    bad = good;
    bad.registrants[0].port.name = name;
    EXPECT_FALSE(accepted(bad)) << name;
  }
}

}  // namespace
}  // namespace itgtd::scsi
