#include "target/claims.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>

namespace itgtd::target {
namespace {

constexpr uint64_t kUnit = 5;
constexpr uint64_t kOtherUnit = 6;

scsi::Claim blocks(uint64_t lba, uint64_t count, uint64_t unit = kUnit) {
  return {{scsi::ClaimedRange{unit, lba, count}}, 1};
}
ClaimTable::Owner owner(uint32_t worker, uint32_t task) {
  return {worker, {task, 1}};
}
ClaimId turn_of(const ClaimTable::Actions& actions) {
  return actions.hold.size() == 1 ? actions.hold[0].claim : 0;
}

TEST(ClaimedRange, OverlapsWhatItHasABlockInCommonWith) {
  const scsi::ClaimedRange range{kUnit, 10, 5};
  EXPECT_TRUE(range.overlaps({kUnit, 14, 1}));
  EXPECT_TRUE(range.overlaps({kUnit, 0, UINT64_MAX}));
  EXPECT_FALSE(range.overlaps({kUnit, 15, 1}));
  EXPECT_FALSE(range.overlaps({kUnit, 5, 5}));
  EXPECT_FALSE(range.overlaps({kOtherUnit, 10, 5}));
  EXPECT_FALSE(range.overlaps({kUnit, 12, 0})) << "of no blocks none is in common";
}

TEST(ClaimTable, IsGrantedWhenEveryWorkerIsQuiet) {
  ClaimTable table(3);
  const auto asked = table.request(owner(1, 7), blocks(0, 8));
  const ClaimId claim = turn_of(asked);
  ASSERT_NE(claim, 0U);
  EXPECT_TRUE(asked.granted.empty());
  EXPECT_TRUE(table.on_quiet(claim).granted.empty());
  EXPECT_TRUE(table.on_quiet(claim).granted.empty());
  const auto last = table.on_quiet(claim);
  ASSERT_EQ(last.granted.size(), 1U);
  EXPECT_EQ(last.granted[0].owner, owner(1, 7));
  EXPECT_EQ(last.granted[0].claim, claim);
  const auto released = table.release(claim);
  ASSERT_EQ(released.lift.size(), 1U);
  EXPECT_EQ(released.lift[0], claim);
  EXPECT_EQ(table.size(), 0U);
}

TEST(ClaimTable, WaitsForTheEarlierOneAndNotForOthers) {
  ClaimTable table(1);
  const ClaimId first = turn_of(table.request(owner(0, 1), blocks(0, 8)));
  EXPECT_TRUE(table.request(owner(0, 2), blocks(4, 8)).hold.empty());
  EXPECT_NE(turn_of(table.request(owner(0, 3), blocks(12, 8))), 0U) << "no block in common with either";
  EXPECT_NE(turn_of(table.request(owner(0, 4), blocks(4, 8, kOtherUnit))), 0U);
  static_cast<void>(table.on_quiet(first));
  const auto released = table.release(first);
  ASSERT_EQ(released.hold.size(), 1U);
  EXPECT_EQ(released.hold[0].ranges.ranges[0].lba, 4U);
}

TEST(ClaimTable, KeepsTheOrderOfAskingAmongThoseThatOverlap) {
  ClaimTable table(1);
  const ClaimId first = turn_of(table.request(owner(0, 1), blocks(0, 4)));
  // The third one is free of the first, but not of the second, which was earlier.
  EXPECT_TRUE(table.request(owner(0, 2), blocks(0, 8)).hold.empty());
  EXPECT_TRUE(table.request(owner(0, 3), blocks(6, 2)).hold.empty());
  static_cast<void>(table.on_quiet(first));
  const auto second = table.release(first);
  ASSERT_EQ(second.hold.size(), 1U);
  EXPECT_EQ(second.hold[0].ranges.ranges[0].blocks, 8U);
}

TEST(ClaimTable, TwoRangesAreHadTogether) {
  ClaimTable table(1);
  const scsi::Claim copy{{scsi::ClaimedRange{kUnit, 0, 8}, scsi::ClaimedRange{kOtherUnit, 0, 8}}, 2};
  const ClaimId first = turn_of(table.request(owner(0, 1), blocks(7, 1, kOtherUnit)));
  EXPECT_TRUE(table.request(owner(0, 2), copy).hold.empty());
  // The other way round: both orders at once must not wait for each other for ever.
  const scsi::Claim back{{scsi::ClaimedRange{kOtherUnit, 0, 8}, scsi::ClaimedRange{kUnit, 0, 8}}, 2};
  EXPECT_TRUE(table.request(owner(0, 3), back).hold.empty());
  static_cast<void>(table.on_quiet(first));
  const ClaimId second = turn_of(table.release(first));
  ASSERT_NE(second, 0U);
  static_cast<void>(table.on_quiet(second));
  EXPECT_NE(turn_of(table.release(second)), 0U);
}

// Whatever comes in whatever order: those that are granted never overlap, and in the end everyone had a turn.
TEST(ClaimTable, PropertyExclusiveAndComplete) {
  std::mt19937_64 random(20261123);
  for (int round = 0; round < 200; ++round) {
    constexpr size_t kWorkers = 3;
    constexpr int kClaims = 40;
    ClaimTable table(kWorkers);
    std::map<ClaimId, scsi::Claim> held;
    std::map<ClaimId, scsi::Claim> granted;
    std::deque<ClaimId> quiet;  // to be said
    int asked = 0;
    int served = 0;
    const auto carry_out = [&](const ClaimTable::Actions& actions) {
      for (const auto& turn : actions.hold) {
        held[turn.claim] = turn.ranges;
        quiet.insert(quiet.end(), kWorkers, turn.claim);
      }
      for (const auto& grant : actions.granted) {
        for (const auto& [other, ranges] : granted) ASSERT_FALSE(overlap(ranges, held.at(grant.claim)));
        granted[grant.claim] = held.at(grant.claim);
        ++served;
      }
    };
    while (served < kClaims || !granted.empty()) {
      const uint64_t what = random() % 3;
      if (what == 0 && asked < kClaims) {
        carry_out(
            table.request(owner(0, static_cast<uint32_t>(asked++)), blocks(random() % 32, 1 + random() % 8)));
      } else if (what == 1 && !quiet.empty()) {
        std::swap(quiet[random() % quiet.size()], quiet.front());
        const ClaimId claim = quiet.front();
        quiet.pop_front();
        carry_out(table.on_quiet(claim));
      } else if (what == 2 && !granted.empty()) {
        const ClaimId claim = granted.begin()->first;
        granted.erase(claim);
        carry_out(table.release(claim));
      } else if (asked == kClaims && quiet.empty() && granted.empty()) {
        ASSERT_EQ(served, kClaims) << "somebody waits for ever";
      }
    }
    EXPECT_EQ(table.size(), 0U);
  }
}

}  // namespace
}  // namespace itgtd::target
