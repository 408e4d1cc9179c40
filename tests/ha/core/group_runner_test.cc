#include <gtest/gtest.h>

#include "tests/ha/core/cluster.h"

namespace itgtd::ha {
namespace {

TEST(GroupRunner, ThreeNodesElectTheMostPreferred) {
  Cluster cluster(3);
  cluster.start({make_group("g", 3)});
  ASSERT_TRUE(cluster.run_until([&] { return cluster.server("g") == 1; }, 2000));
  for (NodeId id = 1; id <= 3; ++id) {
    EXPECT_EQ(cluster.owner(id, "g").owner, 1U);
    EXPECT_EQ(cluster.owner(id, "g").reason, Reason::first_start);
  }
  cluster.run_for(20000);
  EXPECT_EQ(cluster.server("g"), 1U);
  EXPECT_EQ(cluster.owner(1, "g").epoch, cluster.owner(3, "g").epoch);
}

TEST(GroupRunner, AMoveIsPlanned) {
  Cluster cluster(3);
  cluster.start({make_group("g", 3)});
  ASSERT_TRUE(cluster.run_until([&] { return cluster.server("g") == 1; }, 2000));
  cluster.run_for(500);
  cluster.event(3, Asked{Wish{Wish::Kind::move, "g", 2}});
  const TimeMs before = cluster.now;
  ASSERT_TRUE(cluster.run_until([&] { return cluster.server("g") == 2; }, 2000));
  EXPECT_LT(cluster.now - before, 100);
  EXPECT_EQ(count_actions<Quiesce>(cluster.daemons[1]), 1U);
  EXPECT_EQ(count_actions<Demote>(cluster.daemons[1]), 1U);
  EXPECT_EQ(cluster.owner(3, "g").previous, 1U);
  EXPECT_EQ(cluster.owner(3, "g").reason, Reason::moved);
}

TEST(GroupRunner, ANodeThatDiesIsReplacedWhenItsLeaseIsOver) {
  Cluster cluster(3);
  cluster.start({make_group("g", 3)});
  ASSERT_TRUE(cluster.run_until([&] { return cluster.server("g") == 1; }, 2000));
  const TimeMs lease = cluster.daemons[1].lease;
  cluster.crash(1);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.server("g") != 0; }, 10000));
  EXPECT_GT(cluster.now, lease);
  EXPECT_LT(cluster.now, lease + cluster.timing.margin_ms + 300);
  EXPECT_EQ(cluster.server("g"), 2U);
  EXPECT_EQ(cluster.owner(3, "g").reason, Reason::node_lost);
}

}  // namespace
}  // namespace itgtd::ha
