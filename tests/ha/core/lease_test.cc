#include <gtest/gtest.h>

#include "tests/ha/core/cluster.h"

namespace itgtd::ha {
namespace {

class Lease : public ::testing::Test {
 protected:
  void start(size_t nodes, StorageKind kind = StorageKind::drbd) {
    cluster.emplace(nodes);
    cluster->start({make_group("g", nodes, kind)});
    ASSERT_TRUE(cluster->run_until([&] { return cluster->server("g") == 1; }, 4000));
    cluster->run_for(3000);
  }
  [[nodiscard]] TimeMs left(NodeId id) const {
    return status(*cluster->daemons.at(id).state, cluster->now).lease_left_ms;
  }
  std::optional<Cluster> cluster;
};

TEST_F(Lease, IsRenewedAsLongAsOthersAnswer) {
  start(3);
  for (int i = 0; i < 50; ++i) {
    cluster->run_for(100);
    EXPECT_GT(left(1), cluster->timing.lease_ms - 2 * cluster->timing.heartbeat_ms - 50);
    EXPECT_LE(left(1), cluster->timing.lease_ms);
    EXPECT_EQ(cluster->server("g"), 1U);
  }
}

TEST_F(Lease, EndsInTheMinorityAndServiceIsHeldAtOnce) {
  start(3, StorageKind::shared);
  const TimeMs until = cluster->daemons[1].lease;
  cluster->partition({{1}, {2, 3}});
  ASSERT_TRUE(cluster->run_until([&] { return cluster->phase(1, "g") != Phase::active; }, 5000));
  EXPECT_EQ(cluster->phase(1, "g"), Phase::suspended);
  EXPECT_GE(cluster->now, until);
  EXPECT_LE(cluster->now, until + cluster->timing.heartbeat_ms);
  EXPECT_EQ(count_actions<SuspendService>(cluster->daemons[1]), 1U);
  ASSERT_TRUE(cluster->run_until([&] { return cluster->server("g") == 2; }, 5000));
}

TEST_F(Lease, NobodyHasOneWithoutAQuorum) {
  start(3);
  cluster->partition({{1}, {2}, {3}});
  cluster->run_for(cluster->timing.lease_ms + 10);
  for (NodeId id = 1; id <= 3; ++id) {
    EXPECT_EQ(left(id), 0) << id;
  }
  cluster->run_for(20000);
  EXPECT_EQ(cluster->server("g"), 0U);
  EXPECT_EQ(cluster->owner(2, "g").owner, 1U) << "nobody may propose without a lease";
  cluster->partition({{1, 2, 3}});
  EXPECT_TRUE(cluster->run_until([&] { return cluster->server("g") == 1; }, 3000));
}

TEST_F(Lease, AcknowledgementsOfSomeFormerProcessAreNotBelieved) {
  const Timing timing = test_timing();
  State state(1, "a", 7, timing);
  static_cast<void>(state.step(0, NodesKnown{{{1, "a"}, {2, "b"}, {3, "c"}}}));
  static_cast<void>(state.step(0, RingChanged{{1, 4}, {1, 2, 3}}));
  static_cast<void>(state.step(0, QuorumChanged{{1, 4}, true, {1, 2, 3}}));
  static_cast<void>(state.step(0, MembersChanged{{{1, 7}, {2, 8}, {3, 9}}, {}}));
  const uint64_t first = (uint64_t{7} << 32) + 1;
  static_cast<void>(state.step(1, Delivered{{1, 7}, Heartbeat{first, {}}}));
  const auto lease_until = [&] { return state.node().lease_until; };
  // What was never sent was never delivered; what another process sent is not this one's.
  static_cast<void>(state.step(2, Delivered{{2, 8}, Heartbeat{1, {{1, first + 1000}}}}));
  EXPECT_EQ(lease_until(), 0);
  static_cast<void>(state.step(2, Delivered{{2, 8}, Heartbeat{2, {{1, 5}}}}));
  EXPECT_EQ(lease_until(), 0);
  static_cast<void>(state.step(2, Delivered{{2, 8}, Heartbeat{3, {{1, first}}}}));
  EXPECT_GT(lease_until(), 0);
}

TEST_F(Lease, NeedsTheQuorumsWordAboutTheNewestRing) {
  State state(1, "a", 7, test_timing());
  static_cast<void>(state.step(0, NodesKnown{{{1, "a"}, {2, "b"}, {3, "c"}}}));
  static_cast<void>(state.step(0, RingChanged{{1, 8}, {1, 2, 3}}));
  static_cast<void>(state.step(0, QuorumChanged{{1, 4}, true, {1, 2, 3}}));  // of the ring before
  static_cast<void>(state.step(0, MembersChanged{{{1, 7}, {2, 8}, {3, 9}}, {}}));
  const uint64_t first = (uint64_t{7} << 32) + 1;
  static_cast<void>(state.step(1, Delivered{{1, 7}, Heartbeat{first, {}}}));
  static_cast<void>(state.step(2, Delivered{{2, 8}, Heartbeat{1, {{1, first}}}}));
  EXPECT_EQ(state.node().lease_until, 0);
  static_cast<void>(state.step(3, QuorumChanged{{1, 8}, true, {1, 2, 3}}));
  EXPECT_GT(state.node().lease_until, 0);
}

TEST_F(Lease, IsCountedFromTheSendingOfTheHeartbeat) {
  const Timing timing = test_timing();
  State state(1, "a", 7, timing);
  static_cast<void>(state.step(0, NodesKnown{{{1, "a"}, {2, "b"}, {3, "c"}}}));
  static_cast<void>(state.step(0, RingChanged{{1, 4}, {1, 2, 3}}));
  static_cast<void>(state.step(0, QuorumChanged{{1, 4}, true, {1, 2, 3}}));
  static_cast<void>(state.step(100, MembersChanged{{{1, 7}, {2, 8}, {3, 9}}, {}}));
  const uint64_t first = (uint64_t{7} << 32) + 1;
  static_cast<void>(state.step(1000, Delivered{{1, 7}, Heartbeat{first, {}}}));
  static_cast<void>(state.step(1000, Delivered{{2, 8}, Heartbeat{1, {{1, first}}}}));
  EXPECT_EQ(state.node().lease_until, 100 + timing.lease_ms);
}

TEST_F(Lease, AfterALapseServiceWaitsForTheReportsOfThisRing) {
  start(3, StorageKind::shared);
  // The owner's daemon hangs for longer than its lease, the others do not notice in time.
  cluster->freeze(1);
  cluster->run_for(cluster->timing.lease_ms + 200);
  cluster->thaw(1);
  // It suspends first, whatever is in the queue, and goes on only with a lease that was made since.
  EXPECT_EQ(count_actions<SuspendService>(cluster->daemons[1]), 1U);
  ASSERT_TRUE(cluster->run_until([&] { return cluster->server("g") == 1; }, 2000));
  EXPECT_EQ(count_actions<ResumeService>(cluster->daemons[1]), 1U);
  EXPECT_EQ(count_actions<StopService>(cluster->daemons[1]), 0U);
}

TEST_F(Lease, WhoWasReplacedMeanwhileDoesNotGoOn) {
  start(3, StorageKind::shared);
  cluster->freeze(1);
  ASSERT_TRUE(cluster->run_until([&] { return cluster->serves(2, "g"); }, 10000));
  EXPECT_EQ(cluster->owner(2, "g").reason, Reason::hung);
  EXPECT_FALSE(cluster->serves(1, "g"));
  cluster->thaw(1);
  cluster->run_for(5000);
  EXPECT_EQ(cluster->server("g"), 2U);
  EXPECT_EQ(count_actions<ResumeService>(cluster->daemons[1]), 0U);
  EXPECT_EQ(count_actions<StopService>(cluster->daemons[1]), 1U);
  EXPECT_EQ(cluster->phase(1, "g"), Phase::idle);
}

TEST_F(Lease, WhoWasReplacedByNodesThatForgotItDoesNotGoOn) {
  start(3, StorageKind::shared);
  const Epoch old = cluster->owner(1, "g").epoch;
  cluster->partition({{1}, {2, 3}});
  ASSERT_TRUE(cluster->run_until([&] { return cluster->serves(2, "g"); }, 10000));
  const Epoch served = cluster->owner(2, "g").epoch;
  cluster->kill_daemon(2);
  cluster->kill_daemon(3);
  ASSERT_EQ(cluster->phase(1, "g"), Phase::suspended);
  EXPECT_EQ(cluster->owner(1, "g").epoch, old);
  cluster->partition({{1, 2, 3}});
  cluster->start_node(2);
  cluster->start_node(3);
  ASSERT_TRUE(cluster->run_until([&] { return cluster->server("g") != 0; }, 20000));
  EXPECT_EQ(count_actions<ResumeService>(cluster->daemons[1]), 0U);
  EXPECT_GT(cluster->owner(1, "g").epoch, served);
}

TEST_F(Lease, AfterALapseAPeersDaemonThatWasStartedBeforeIsNoReasonForARestart) {
  start(3, StorageKind::shared);
  cluster->kill_daemon(2);
  cluster->start_node(2);
  cluster->run_for(6000);
  ASSERT_EQ(cluster->server("g"), 1U);
  const Epoch epoch = cluster->owner(1, "g").epoch;
  cluster->freeze(1);
  cluster->run_for(cluster->timing.lease_ms + 200);
  cluster->thaw(1);
  ASSERT_TRUE(cluster->run_until([&] { return cluster->server("g") == 1; }, 2000));
  EXPECT_EQ(count_actions<ResumeService>(cluster->daemons[1]), 1U);
  EXPECT_EQ(count_actions<StopService>(cluster->daemons[1]), 0U);
  EXPECT_EQ(cluster->owner(1, "g").epoch, epoch);
}

TEST_F(Lease, ASuspendedDrbdGroupIsStoppedWhenOthersCouldUseItsStorage) {
  start(3, StorageKind::drbd);
  cluster->partition({{1}, {2}, {3}});
  cluster->run_for(cluster->timing.lease_ms + cluster->timing.stop_grace_ms + 500);
  EXPECT_EQ(cluster->phase(1, "g"), Phase::waiting);
  EXPECT_EQ(count_actions<Demote>(cluster->daemons[1]), 1U);
  EXPECT_EQ(count_actions<Quiesce>(cluster->daemons[1]), 0U);
  // It is the owner by the table all the same.
  cluster->partition({{1, 2, 3}});
  EXPECT_TRUE(cluster->run_until([&] { return cluster->server("g") == 1; }, 3000));
}

TEST_F(Lease, ASuspendedGroupWhoseIoIsFrozenIsKept) {
  start(3, StorageKind::drbd);
  StorageFacts frozen = cluster->daemons[1].storage["g"];
  frozen.peers_connected = false;
  frozen.quorate = false;
  cluster->storage(1, "g", frozen);
  cluster->partition({{1}, {2}, {3}});
  cluster->run_for(cluster->timing.lease_ms + cluster->timing.stop_grace_ms + 5000);
  EXPECT_EQ(cluster->phase(1, "g"), Phase::suspended);
}

TEST_F(Lease, ADaemonThatStartsDoesNotVouchForWhatItForgot) {
  start(3);
  cluster->crash(3);
  cluster->run_for(8000);
  cluster->kill_daemon(2);
  cluster->run_for(100);
  cluster->start_node(2);
  const TimeMs started = cluster->now;
  // Without node 3, what node 2 knew is lost: it must be sure that no lease is left of what it acknowledged.
  EXPECT_TRUE(cluster->run_until([&] { return left(2) > 0; }, 5000));
  EXPECT_GE(cluster->now - started, cluster->timing.lease_ms + cluster->timing.margin_ms);
  EXPECT_EQ(cluster->server("g"), 1U);
}

}  // namespace
}  // namespace itgtd::ha
