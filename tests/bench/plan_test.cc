#include "bench/plan.h"

#include <gtest/gtest.h>

#include <deque>
#include <set>

namespace itgtd::bench {
namespace {

TEST(Plan, GivesExactlyTheCount) {
  Plan plan({.units = 10});
  plan.start(Phase::measure, 3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(plan.next());
  EXPECT_FALSE(plan.next());
}

TEST(Plan, StaysWithinItsPart) {
  Plan plan({.first_unit = 100, .units = 7});
  plan.start(Phase::measure, 0);
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(plan.next()->unit);
  EXPECT_EQ(seen.size(), 7U);
  EXPECT_EQ(*seen.begin(), 100U);
  EXPECT_EQ(*seen.rbegin(), 106U);
}

TEST(Plan, SequentialGoesRound) {
  Plan plan({.first_unit = 5, .units = 3, .random = false});
  plan.start(Phase::measure, 0);
  for (const uint64_t unit : {5U, 6U, 7U, 5U, 6U}) EXPECT_EQ(plan.next()->unit, unit);
}

TEST(Plan, MixesByPercent) {
  Plan plan({.units = 1000, .read_percent = 70});
  plan.start(Phase::measure, 0);
  int reads = 0;
  for (int i = 0; i < 10000; ++i) reads += plan.next()->write ? 0 : 1;
  EXPECT_NEAR(reads, 7000, 200);
}

TEST(Plan, ReadsOnlyAndWritesOnly) {
  for (const uint32_t percent : {0U, 100U}) {
    Plan plan({.units = 10, .read_percent = percent});
    plan.start(Phase::measure, 0);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(plan.next()->write, percent == 0);
  }
}

TEST(Plan, IsTheSameForTheSameSeed) {
  Plan a({.units = 1000, .seed = 9});
  Plan b({.units = 1000, .seed = 9});
  Plan c({.units = 1000, .seed = 10});
  int differences = 0;
  for (Plan* plan : {&a, &b, &c}) plan->start(Phase::measure, 0);
  for (int i = 0; i < 100; ++i) {
    const uint64_t unit = a.next()->unit;
    EXPECT_EQ(unit, b.next()->unit);
    differences += unit == c.next()->unit ? 0 : 1;
  }
  EXPECT_GT(differences, 50);
}

TEST(Plan, NeverHasTwoIosOnOneUnit) {
  Plan plan({.units = 9, .read_percent = 50, .verify = true});
  plan.start(Phase::measure, 2000);
  std::deque<PlannedIo> under_way;
  std::set<uint64_t> units;
  while (auto io = plan.next()) {
    EXPECT_TRUE(units.insert(io->unit).second);
    under_way.push_back(*io);
    if (under_way.size() < 8) continue;
    plan.done(under_way.front(), true);
    units.erase(under_way.front().unit);
    under_way.pop_front();
  }
}

TEST(Plan, ExpectsTheLastGenerationThatWasWritten) {
  Plan plan({.units = 2, .read_percent = 0, .random = false, .verify = true});
  plan.start(Phase::fill, 0);
  for (int i = 0; i < 2; ++i) {
    const PlannedIo io = plan.next().value();
    EXPECT_TRUE(io.write);
    EXPECT_EQ(io.generation, 1U);
    plan.done(io, true);
  }
  EXPECT_FALSE(plan.next());
  plan.start(Phase::measure, 1);
  const PlannedIo again = plan.next().value();
  EXPECT_EQ(again.generation, 2U);
  plan.done(again, true);
  plan.start(Phase::read_back, 0);
  const PlannedIo first = plan.next().value();
  EXPECT_FALSE(first.write);
  EXPECT_EQ(first.generation, 2U);
  plan.done(first, true);
  const PlannedIo second = plan.next().value();
  EXPECT_EQ(second.generation, 1U);
  plan.done(second, true);
  EXPECT_FALSE(plan.next());
}

TEST(Plan, ExpectsNothingAfterAFailedWrite) {
  Plan plan({.units = 2, .read_percent = 0, .random = false, .verify = true});
  plan.start(Phase::measure, 1);
  const PlannedIo io = plan.next().value();
  plan.done(io, false);
  plan.start(Phase::read_back, 0);
  EXPECT_FALSE(plan.next());
}

}  // namespace
}  // namespace itgtd::bench
