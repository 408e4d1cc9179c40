#include "ha/core/step.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/ha/core/cluster.h"

namespace itgtd::ha {
namespace {

class Leaving : public ::testing::Test {
 protected:
  void start(size_t nodes) {
    cluster.emplace(nodes);
    cluster->start({make_group("g", nodes)});
    ASSERT_TRUE(cluster->run_until([&] { return cluster->server("g") == 1; }, 4000));
    cluster->run_for(3000);
  }
  bool stops_within(TimeMs ms) {
    return cluster->run_until([&] { return cluster->daemons[1].stopped; }, ms);
  }
  std::optional<Cluster> cluster;
};

TEST_F(Leaving, HandsOverFirst) {
  start(3);
  cluster->event(1, StopAsked{});
  ASSERT_TRUE(stops_within(500));
  EXPECT_EQ(count_actions<Quiesce>(cluster->daemons[1]), 1U);
  EXPECT_TRUE(cluster->run_until([&] { return cluster->server("g") == 2; }, 100));
  EXPECT_EQ(cluster->owner(2, "g").reason, Reason::drained);
}

TEST_F(Leaving, StopsByItselfWhereNobodyCanTakeIt) {
  start(3);
  for (NodeId id = 2; id <= 3; ++id) {
    StorageFacts bad = cluster->daemons[id].storage["g"];
    bad.fitness = StorageFitness::inconsistent;
    cluster->storage(id, "g", bad);
  }
  cluster->run_for(300);
  cluster->event(1, StopAsked{});
  ASSERT_TRUE(stops_within(100));
  EXPECT_EQ(count_actions<Demote>(cluster->daemons[1]), 1U);
  EXPECT_EQ(cluster->owner(2, "g").owner, 1U) << "nobody else was there to be given it";
}

TEST_F(Leaving, StopsByItselfInMaintenance) {
  start(3);
  cluster->event(1, Asked{Wish{Wish::Kind::maintenance_on, {}, 0}});
  cluster->run_for(100);
  cluster->event(1, StopAsked{});
  ASSERT_TRUE(stops_within(100));
  cluster->run_for(5000);
  EXPECT_EQ(cluster->owner(2, "g").owner, 1U);
}

TEST_F(Leaving, StopsByItselfWithoutALease) {
  start(3);
  cluster->partition({{1}, {2, 3}});
  cluster->run_for(cluster->timing.lease_ms + 10);
  cluster->event(1, StopAsked{});
  EXPECT_TRUE(stops_within(100));
}

TEST_F(Leaving, DoesNotWaitForEver) {
  start(3);
  cluster->freeze(2);
  cluster->freeze(3);
  cluster->event(1, StopAsked{});
  // Nobody answers, but what is left is stopped after the drain time.
  EXPECT_TRUE(stops_within(2 * cluster->timing.drain_ms + 1000));
}

TEST_F(Leaving, SaysNothingAfterwards) {
  start(3);
  cluster->event(1, StopAsked{});
  ASSERT_TRUE(stops_within(500));
  State& state = *cluster->daemons[1].state;
  EXPECT_TRUE(state.step(cluster->now + 1000, Tick{}).empty());
  EXPECT_EQ(state.wake_at(), kNever);
}

TEST(Step, AGroupThatIsNotConfiguredAnyMoreIsStopped) {
  Cluster cluster(3);
  cluster.start({make_group("g", 3), make_group("h", 3)});
  ASSERT_TRUE(cluster.run_until([&] { return cluster.server("g") == 1 && cluster.server("h") == 1; }, 4000));
  for (NodeId id = 1; id <= 3; ++id) {
    cluster.event(id, Configured{{make_group("g", 3)}});
  }
  cluster.run_for(200);
  EXPECT_EQ(cluster.server("g"), 1U);
  EXPECT_FALSE(cluster.daemons[1].state->node().groups.contains("h"));
  EXPECT_EQ(count_actions<StopService>(cluster.daemons[1]), 1U);
}

TEST(Step, AStateIsAValue) {
  Cluster cluster(3);
  cluster.start({make_group("g", 3)});
  cluster.run_for(1000);
  State copy = *cluster.daemons[1].state;
  const Actions mine = cluster.daemons[1].state->step(cluster.now + 5000, Tick{});
  const Actions its = copy.step(cluster.now + 5000, Tick{});
  ASSERT_EQ(mine.size(), its.size());
  EXPECT_FALSE(mine.empty());
  EXPECT_EQ(copy.wake_at(), cluster.daemons[1].state->wake_at());
}

TEST(Step, AnythingBeforeCorosyncAnswersIsHarmless) {
  State state(1, "a", 7, test_timing());
  for (const Event& event : std::vector<Event>{
           Tick{}, StorageChanged{"g", {}}, VipChanged{"g", 5, {}}, SessionsChanged{"g", 3, {}, {}},
           ActionDone{5, "g", 3, false, false, "x"}, Asked{Wish{Wish::Kind::move, "g", 3}},
           Delivered{{2, 3}, Heartbeat{1, {}}}, QuorumChanged{{1, 4}, true, {1, 2}}, CorosyncLost{"no"},
           MembersChanged{{{2, 3}}, {4}}}) {
    static_cast<void>(state.step(10, event));
    EXPECT_TRUE(broken_invariants(state, 10).empty());
  }
  const Actions actions = state.step(20, StopAsked{});
  ASSERT_FALSE(actions.empty());
  EXPECT_TRUE(std::holds_alternative<Stopped>(actions.back()));
}

TEST(Step, LateAnswersOfActionsChangeNothing) {
  Cluster cluster(3);
  cluster.start({make_group("g", 3)});
  ASSERT_TRUE(cluster.run_until([&] { return cluster.server("g") == 1; }, 4000));
  const Epoch epoch = cluster.owner(1, "g").epoch;
  for (ActionId id = 0; id < 20; ++id) {
    cluster.event(1, ActionDone{id, "g", epoch, false, false, "late"});
  }
  cluster.run_for(2000);
  EXPECT_EQ(cluster.server("g"), 1U);
  EXPECT_EQ(cluster.owner(1, "g").epoch, epoch);
}

TEST(Step, ManyGroupsDoNotMakeAHeartbeatDear) {
  Cluster cluster(3);
  std::vector<GroupSpec> groups;
  for (int i = 0; i < 200; ++i) {
    GroupSpec spec = make_group("group" + std::to_string(i), 3);
    spec.vips.assign(8, "192.0.2.1");
    groups.push_back(spec);
  }
  cluster.start(groups);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.server("group199") == 1; }, 5000));
  cluster.run_for(4000);
  State& state = *cluster.daemons[1].state;
  const Node& node = state.node();
  uint64_t seq = node.peers.at(2).heartbeat;
  const auto before = std::chrono::steady_clock::now();
  constexpr int kCount = 10000;
  size_t sent = 0;
  for (int i = 0; i < kCount; ++i) {
    const Heartbeat heartbeat{++seq, {{1, node.heartbeat_seq}}};
    sent += state.step(cluster.now, Delivered{{2, cluster.daemons[2].pid}, heartbeat}).size();
  }
  const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - before;
  EXPECT_LT(sent, 10U);
  // Looking at 200 groups takes more than a hundred times as long as looking at three nodes.
  EXPECT_LT(taken.count() / kCount, 100) << "us";
  EXPECT_TRUE(node.dirty.empty());
}

}  // namespace
}  // namespace itgtd::ha
