#include "scsi/registrant_attentions.h"

#include <gtest/gtest.h>

#include "scsi/nexus.h"

namespace itgtd::scsi {
namespace {

using Ascs = std::vector<Asc>;

InitiatorPort port(const std::string& name) {
  return {name, {0, 0, 0, 0, 0, 1}};
}
UnitAttentionRaise raise_for(const std::string& name, Asc asc) {
  return {UnitAttentionRaise::Scope::port, 0, asc, port(name)};
}

TEST(RegistrantAttentions, OnlyThoseOfRegistrants) {
  EXPECT_TRUE(is_registrant_attention(Asc::reservations_preempted));
  EXPECT_TRUE(is_registrant_attention(Asc::reservations_released));
  EXPECT_TRUE(is_registrant_attention(Asc::registrations_preempted));
  EXPECT_FALSE(is_registrant_attention(Asc::capacity_data_has_changed));
  RegistrantAttentions attentions;
  const std::vector<UnitAttentionRaise> others = {
      raise_for("iqn.a", Asc::mode_parameters_changed),
      {UnitAttentionRaise::Scope::all, 0, Asc::reservations_preempted, {}},
      {UnitAttentionRaise::Scope::only, 3, Asc::reservations_preempted, {}}};
  attentions.raise(others, 2);
  EXPECT_TRUE(attentions.empty());
}

TEST(RegistrantAttentions, OneOfAKindForAPort) {
  RegistrantAttentions attentions;
  const std::vector raises = {
      raise_for("iqn.a", Asc::registrations_preempted), raise_for("iqn.a", Asc::reservations_released),
      raise_for("iqn.a", Asc::registrations_preempted), raise_for("iqn.b", Asc::reservations_preempted)};
  attentions.raise(raises, 2);
  EXPECT_EQ(attentions.all().size(), 2u);
  EXPECT_EQ(attentions.waiting_for(port("iqn.a")),
            (Ascs{Asc::reservations_released, Asc::registrations_preempted}));
  EXPECT_EQ(attentions.waiting_for(port("iqn.b")), Ascs{Asc::reservations_preempted});
  EXPECT_EQ(attentions.waiting_for({"iqn.b", {}}), Ascs{}) << "another session's port";
}

TEST(RegistrantAttentions, WhatWasToldSettlesInTime) {
  RegistrantAttentions attentions;
  attentions.raise(std::vector{raise_for("iqn.a", Asc::registrations_preempted)}, 2);
  attentions.on_told(port("iqn.a"), Asc::reservations_released, 2, 1000);
  attentions.on_told(port("iqn.b"), Asc::registrations_preempted, 2, 1000);
  attentions.settle(1'000'000);
  EXPECT_FALSE(attentions.empty()) << "that was something else";
  attentions.on_told(port("iqn.a"), Asc::registrations_preempted, 2, 1'000'000);
  attentions.settle(1'000'000 + RegistrantAttentions::kSettledMs - 1);
  EXPECT_EQ(attentions.waiting_for(port("iqn.a")).size(), 1u) << "the status may have been lost";
  attentions.on_told(port("iqn.a"), Asc::registrations_preempted, 2, 1'050'000);
  attentions.settle(1'000'000 + RegistrantAttentions::kSettledMs);
  EXPECT_TRUE(attentions.empty());
}

TEST(RegistrantAttentions, WhatIsRaisedAgainIsToldAgain) {
  RegistrantAttentions attentions;
  attentions.raise(std::vector{raise_for("iqn.a", Asc::registrations_preempted)}, 2);
  attentions.on_told(port("iqn.a"), Asc::registrations_preempted, 2, 0);
  attentions.raise(std::vector{raise_for("iqn.a", Asc::registrations_preempted)}, 5);
  // The first one is told while the second is on its way to the workers.
  attentions.on_told(port("iqn.a"), Asc::registrations_preempted, 4, 0);
  attentions.settle(10'000'000);
  EXPECT_FALSE(attentions.empty());
  attentions.on_told(port("iqn.a"), Asc::registrations_preempted, 6, 10'000'000);
  attentions.settle(5'000'000);
  EXPECT_FALSE(attentions.empty()) << "a clock that steps back settles nothing at once";
  attentions.settle(5'000'000 + RegistrantAttentions::kSettledMs);
  EXPECT_TRUE(attentions.empty()) << "nor never";
}

TEST(RegistrantAttentions, TheOldestGoesWhenThereAreTooMany) {
  RegistrantAttentions attentions;
  for (size_t i = 0; i <= kRegistrantsMax; ++i) {
    attentions.raise(std::vector{raise_for("iqn." + std::to_string(i), Asc::reservations_released)}, 2);
  }
  EXPECT_EQ(attentions.all().size(), kRegistrantsMax);
  EXPECT_TRUE(attentions.waiting_for(port("iqn.0")).empty());
  EXPECT_FALSE(attentions.waiting_for(port("iqn.1")).empty());
  RegistrantAttentions::Pending one{port("iqn.more"), {}};
  one.kinds[0].waits = true;
  EXPECT_FALSE(attentions.add(one));
}

TEST(RegistrantAttentions, ANexusRemembersThatItToldThem) {
  LogicalUnit lu;
  LuState state;
  state.generation = 9;
  lu.state = std::make_shared<const LuState>(state);
  LunMap luns;
  luns.units[3] = &lu;
  Nexus nexus(1, port("iqn.a"), &luns);
  nexus.raise(3, Asc::registrations_preempted);
  nexus.raise(3, Asc::capacity_data_has_changed);
  EXPECT_EQ(nexus.take(3), Asc::power_on_or_reset_occurred);
  EXPECT_FALSE(nexus.has_told());
  EXPECT_EQ(nexus.take(3), Asc::registrations_preempted);
  EXPECT_EQ(nexus.take(3), Asc::capacity_data_has_changed);
  ASSERT_TRUE(nexus.has_told());
  const auto told = nexus.take_told();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].lun, 3);
  EXPECT_EQ(told[0].asc, Asc::registrations_preempted);
  EXPECT_EQ(told[0].generation, 9u);
  EXPECT_FALSE(nexus.has_told());
}

}  // namespace
}  // namespace itgtd::scsi
