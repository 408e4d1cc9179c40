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

// On the heap, no longer than it is: a read behind the end is found by AddressSanitizer.
void expect_refused_or_valid(const Value& bytes) {
  LuState before;
  before.identifying_text = {std::byte{1}};
  LuState state = before;
  if (!restore(bytes, state).ok()) {
    EXPECT_EQ(state, before) << "an error changes nothing";
    return;
  }
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
    const Value bytes = snapshot(random_state(random));
    for (size_t length = 0; length < bytes.size(); ++length) {
      expect_refused_or_valid({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)});
    }
  }
}

TEST(LuSnapshot, EveryChangedByte) {
  std::mt19937_64 random(8);
  for (int round = 0; round < 12; ++round) {
    const Value bytes = snapshot(random_state(random));
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
  EXPECT_NE(refused({0, 1, 0, 6, 0, 0, 0, 1, 9}).find("section 6"), std::string::npos);
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
