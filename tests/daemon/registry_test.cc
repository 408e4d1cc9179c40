#include "target/registry.h"

#include <gtest/gtest.h>

#include <set>

namespace itgtd::target {
namespace {

Registry::Session login(uint32_t slot, Key target, const char* name, uint8_t isid) {
  Registry::Session session;
  session.connection = {0, {slot, 1}};
  session.identity.initiator_name = name;
  session.identity.isid = {0, 0, 0, 0, 0, isid};
  session.target = target;
  return session;
}

TEST(Registry, GivesEverySessionItsOwnNexusAndTsih) {
  Registry registry;
  std::set<uint64_t> nexuses;
  std::set<uint16_t> tsihs;
  for (uint8_t i = 0; i < 200; ++i) {
    const auto actions = registry.open(login(i, 1, "iqn.2026-01.example:a", i));
    ASSERT_EQ(actions.opened.size(), 1u);
    nexuses.insert(actions.opened[0].nexus);
    tsihs.insert(actions.opened[0].tsih);
  }
  EXPECT_EQ(nexuses.size(), 200u);
  EXPECT_EQ(tsihs.size(), 200u);
  EXPECT_EQ(tsihs.count(0), 0u);  // RFC 7143 §11.12.6: reserved
}

TEST(Registry, AnotherLoginOfTheSamePortTakesThePlaceOfTheFirst) {
  // RFC 7143 §6.3.5: session reinstatement.
  Registry registry;
  const auto first = registry.open(login(1, 1, "iqn.2026-01.example:a", 7));
  const auto second = registry.open(login(2, 1, "iqn.2026-01.example:a", 7));
  EXPECT_TRUE(second.opened.empty());
  ASSERT_EQ(second.close.size(), 1u);
  EXPECT_EQ(second.close[0], first.opened[0].connection);

  std::optional<Registry::Session> closed;
  const auto after = registry.on_closed(first.opened[0].nexus, closed);
  ASSERT_TRUE(closed.has_value());
  EXPECT_EQ(closed->connection.slot.index, 1u);
  ASSERT_EQ(after.opened.size(), 1u);
  EXPECT_EQ(after.opened[0].connection.slot.index, 2u);
  EXPECT_NE(after.opened[0].nexus, first.opened[0].nexus);
  EXPECT_TRUE(after.close.empty());
}

TEST(Registry, KnowsWhoIsConnectedByWhateverPort) {
  Registry registry;
  const auto first = registry.open(login(1, 1, "iqn.2026-01.example:a", 7));
  EXPECT_TRUE(registry.is_connected(1, "iqn.2026-01.example:a"));
  EXPECT_FALSE(registry.is_connected(2, "iqn.2026-01.example:a"));
  EXPECT_FALSE(registry.is_connected(1, "iqn.2026-01.example:b"));
  std::optional<Registry::Session> closed;
  static_cast<void>(registry.on_closed(first.opened[0].nexus, closed));
  EXPECT_FALSE(registry.is_connected(1, "iqn.2026-01.example:a"));
}

TEST(Registry, OnlyTheLastOfSeveralWaitsForThePlace) {
  Registry registry;
  const auto first = registry.open(login(1, 1, "iqn.2026-01.example:a", 7));
  registry.open(login(2, 1, "iqn.2026-01.example:a", 7));
  const auto third = registry.open(login(3, 1, "iqn.2026-01.example:a", 7));
  EXPECT_TRUE(third.opened.empty());
  ASSERT_EQ(third.close.size(), 2u) << "the session, and the login that waited for its place";
  EXPECT_EQ(third.close[0].slot.index, 1u);
  EXPECT_EQ(third.close[1].slot.index, 2u);
  std::optional<Registry::Session> closed;
  const auto after = registry.on_closed(first.opened[0].nexus, closed);
  ASSERT_EQ(after.opened.size(), 1u);
  EXPECT_EQ(after.opened[0].connection.slot.index, 3u);
  EXPECT_TRUE(after.close.empty());
  EXPECT_EQ(registry.size(), 1u);
}

TEST(Registry, OtherPortsAndTargetsAreLeftAlone) {
  Registry registry;
  registry.open(login(1, 1, "iqn.2026-01.example:a", 7));
  EXPECT_EQ(registry.open(login(2, 1, "iqn.2026-01.example:a", 8)).opened.size(), 1u);  // another ISID
  EXPECT_EQ(registry.open(login(3, 1, "iqn.2026-01.example:b", 7)).opened.size(), 1u);  // another name
  EXPECT_EQ(registry.open(login(4, 2, "iqn.2026-01.example:a", 7)).opened.size(), 1u);  // another target
  EXPECT_EQ(registry.size(), 4u);
}

TEST(Registry, DiscoverySessionsStandBesideEachOther) {
  Registry registry;
  EXPECT_EQ(registry.open(login(1, 0, "iqn.2026-01.example:a", 7)).opened.size(), 1u);
  EXPECT_EQ(registry.open(login(2, 0, "iqn.2026-01.example:a", 7)).opened.size(), 1u);
}

TEST(Registry, AnUnknownNexusChangesNothing) {
  Registry registry;
  registry.open(login(1, 1, "iqn.2026-01.example:a", 7));
  std::optional<Registry::Session> closed;
  const auto actions = registry.on_closed(999, closed);
  EXPECT_FALSE(closed.has_value());
  EXPECT_TRUE(actions.opened.empty());
  EXPECT_EQ(registry.size(), 1u);
}

}  // namespace
}  // namespace itgtd::target
