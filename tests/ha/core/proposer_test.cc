#include <gtest/gtest.h>

#include "tests/ha/core/cluster.h"

namespace itgtd::ha {
namespace {

class Proposer : public ::testing::Test {
 protected:
  void start(size_t nodes, std::vector<GroupSpec> groups = {}) {
    cluster.emplace(nodes);
    if (groups.empty()) {
      groups.push_back(make_group("g", nodes));
    }
    cluster->start(groups);
    ASSERT_TRUE(cluster->run_until([&] { return cluster->server("g") == 1; }, 4000));
    cluster->run_for(3000);
  }
  bool moves_to(NodeId id, TimeMs within) {
    return cluster->run_until([&] { return cluster->server("g") == id; }, within);
  }
  Ownership owner() { return cluster->owner(3, "g"); }
  StorageFacts facts(NodeId id) { return cluster->daemons.at(id).storage.at("g"); }
  std::optional<Cluster> cluster;
};

TEST_F(Proposer, TheFirstOwnerWaitsForNodesThatAreNotThereYet) {
  cluster.emplace(3);
  cluster->absent = {3};
  cluster->start({make_group("g", 3)});
  const TimeMs start = cluster->now;
  ASSERT_TRUE(moves_to(1, 20000));
  EXPECT_GE(cluster->now - start, cluster->timing.first_start_ms);
  EXPECT_LT(cluster->now - start, cluster->timing.first_start_ms + 2 * cluster->timing.lease_ms);
}

TEST_F(Proposer, ADaemonThatIsBackInTimeKeepsItsGroups) {
  start(3);
  const Epoch epoch = owner().epoch;
  cluster->kill_daemon(1);
  cluster->run_for(cluster->timing.restart_grace_ms - 500);
  cluster->start_node(1);
  ASSERT_TRUE(moves_to(1, 3000));
  EXPECT_GT(owner().epoch, epoch) << "it may have forgotten a newer one";
  EXPECT_EQ(owner().reason, Reason::renewed);
}

TEST_F(Proposer, ADaemonThatStaysAwayLosesThem) {
  start(3);
  cluster->kill_daemon(1);
  const TimeMs since = cluster->now;
  // Its lease must be over as well, whatever is known of its process.
  ASSERT_TRUE(moves_to(2, 6000));
  EXPECT_GE(cluster->now - since, cluster->timing.restart_grace_ms);
  EXPECT_EQ(owner().reason, Reason::daemon_lost);
}

TEST_F(Proposer, AFailedStartGoesToTheNextCandidate) {
  cluster.emplace(3);
  cluster->fate = [](NodeId id, const Action& action) {
    return Cluster::Fate{5, !(id == 1 && std::holds_alternative<Promote>(action)), true};
  };
  cluster->start({make_group("g", 3)});
  ASSERT_TRUE(moves_to(2, 5000));
  EXPECT_EQ(owner().reason, Reason::failed);
  EXPECT_EQ(owner().previous, 1U);
  EXPECT_EQ(count_actions<Promote>(cluster->daemons[1]), 1U);
  EXPECT_EQ(cluster->count_notes(1, Note::Kind::alarm, "did not start here"), 1U);
}

TEST_F(Proposer, WhenAllFailNobodyHasItAndItIsTriedAgainEverLater) {
  cluster.emplace(3);
  bool broken = true;
  cluster->fate = [&](NodeId, const Action& action) {
    return Cluster::Fate{5, !(broken && std::holds_alternative<StartService>(action)), true};
  };
  cluster->start({make_group("g", 3)});
  cluster->run_for(1000);
  EXPECT_EQ(owner().owner, 0U);
  EXPECT_EQ(owner().reason, Reason::failed);
  const auto tries = [&] {
    size_t count = 0;
    for (const auto& [id, daemon] : cluster->daemons) {
      count += count_actions<StartService>(daemon);
    }
    return count;
  };
  EXPECT_EQ(tries(), 3U) << "each node once";
  cluster->run_for(60000);  // 1 + 2 + 4 + 8 + 16 + 32 s
  EXPECT_GE(tries(), 5 * 3U);
  EXPECT_LE(tries(), 7 * 3U);
  broken = false;
  EXPECT_TRUE(cluster->run_until([&] { return cluster->server("g") != 0; }, 61000));
}

TEST_F(Proposer, WhatCanNotBeHelpedIsNotTriedUntilTheStorageChanges) {
  cluster.emplace(3);
  cluster->fate = [](NodeId id, const Action& action) {
    return Cluster::Fate{5, !(id == 1 && std::holds_alternative<Promote>(action)), false};
  };
  cluster->start({make_group("g", 3)});
  ASSERT_TRUE(moves_to(2, 5000));
  cluster->run_for(300);
  const State& state = *cluster->daemons[2].state;
  const auto find = [&] {
    for (const Candidate& candidate : candidates(state, "g", cluster->now)) {
      if (candidate.node == 1) {
        return candidate;
      }
    }
    return Candidate{};
  };
  EXPECT_FALSE(find().eligible);
  StorageFacts changed = facts(1);
  changed.detail = "repaired";
  cluster->storage(1, "g", changed);
  cluster->run_for(300);
  EXPECT_TRUE(find().eligible) << find().reason;
}

TEST_F(Proposer, StorageThatIsLostMovesTheGroupAfterAWhile) {
  start(3);
  StorageFacts lost = facts(1);
  lost.fitness = StorageFitness::diskless;
  cluster->storage(1, "g", lost);
  cluster->run_for(cluster->timing.hold_down_ms - 500);
  EXPECT_EQ(cluster->server("g"), 1U);
  ASSERT_TRUE(moves_to(2, 2000));
  EXPECT_EQ(owner().reason, Reason::failed);
}

TEST_F(Proposer, StorageThatComesBackInTimeDoesNot) {
  start(3);
  const StorageFacts good = facts(1);
  StorageFacts lost = good;
  lost.fitness = StorageFitness::diskless;
  for (int i = 0; i < 5; ++i) {
    cluster->storage(1, "g", lost);
    cluster->run_for(cluster->timing.hold_down_ms - 1000);
    cluster->storage(1, "g", good);
    cluster->run_for(500);
  }
  EXPECT_EQ(cluster->server("g"), 1U);
}

TEST_F(Proposer, StrictlyMorePathsMoveAGroupAndNotOftenTwice) {
  start(3);
  cluster->vip(1, "g", 0, false);
  cluster->vip(2, "g", 1, false);
  cluster->vip(3, "g", 1, false);
  cluster->run_for(10000);
  EXPECT_EQ(cluster->server("g"), 1U) << "as many are not more";
  cluster->vip(3, "g", 1, true);
  ASSERT_TRUE(moves_to(3, cluster->timing.hold_down_ms + 1000));
  EXPECT_EQ(owner().reason, Reason::more_paths);
  // Now the other way round: it is not done again for a minute, then for two.
  cluster->vip(1, "g", 0, true);
  cluster->vip(3, "g", 1, false);
  cluster->run_for(50000);
  EXPECT_EQ(cluster->server("g"), 3U);
  ASSERT_TRUE(moves_to(1, 20000));
  cluster->vip(3, "g", 1, true);
  cluster->vip(1, "g", 0, false);
  cluster->run_for(110000);
  EXPECT_EQ(cluster->server("g"), 1U);
  EXPECT_TRUE(moves_to(3, 20000));
}

TEST_F(Proposer, FailbackOnlyWhereItIsWanted) {
  GroupSpec sticky = make_group("g", 3);
  GroupSpec back = make_group("back", 3);
  back.failback = true;
  start(3, {sticky, back});
  cluster->crash(1);
  ASSERT_TRUE(moves_to(2, 10000));
  ASSERT_TRUE(cluster->run_until([&] { return cluster->server("back") == 2; }, 1000));
  cluster->rings = {{1, 2, 3}};
  cluster->partition({{1, 2, 3}});
  cluster->start_node(1);
  cluster->run_for(cluster->timing.hold_down_ms - 500);
  EXPECT_EQ(cluster->server("back"), 2U);
  cluster->run_for(2000);
  EXPECT_EQ(cluster->server("back"), 1U);
  EXPECT_EQ(cluster->owner(3, "back").reason, Reason::failback);
  EXPECT_EQ(cluster->server("g"), 2U);
}

TEST_F(Proposer, ADrainedNodeGivesAwayWhatItHasAndGetsNothing) {
  start(3);
  cluster->event(2, Asked{Wish{Wish::Kind::drain, {}, 1}});
  ASSERT_TRUE(moves_to(2, 500));
  EXPECT_EQ(owner().reason, Reason::drained);
  cluster->event(2, Asked{Wish{Wish::Kind::drain, {}, 3}});
  cluster->run_for(500);
  cluster->event(1, Asked{Wish{Wish::Kind::move, "g", 0}});
  cluster->run_for(2000);
  EXPECT_EQ(cluster->server("g"), 2U);
  // With nobody else left it stays where it is.
  cluster->event(2, Asked{Wish{Wish::Kind::drain, {}, 2}});
  cluster->run_for(2000);
  EXPECT_EQ(cluster->server("g"), 2U);
  cluster->event(1, Asked{Wish{Wish::Kind::undrain, {}, 1}});
  EXPECT_TRUE(moves_to(1, 500));
}

TEST_F(Proposer, MaintenanceMovesNothing) {
  start(3);
  const Epoch epoch = owner().epoch;
  cluster->event(2, Asked{Wish{Wish::Kind::maintenance_on, {}, 0}});
  cluster->run_for(100);
  cluster->crash(1);
  cluster->run_for(20000);
  EXPECT_EQ(cluster->server("g"), 0U);
  EXPECT_EQ(owner().epoch, epoch);
  // It comes back and goes on: that moves nothing.
  cluster->partition({{1, 2, 3}});
  cluster->start_node(1);
  ASSERT_TRUE(moves_to(1, 5000));
  EXPECT_EQ(owner().reason, Reason::renewed);
  cluster->event(2, Asked{Wish{Wish::Kind::maintenance_off, {}, 0}});
  cluster->run_for(100);
  cluster->crash(1);
  EXPECT_TRUE(moves_to(2, 10000));
}

TEST_F(Proposer, AGroupThatDiffersIsNotStartedAndNotMovedThere) {
  cluster.emplace(3);
  GroupSpec other = make_group("g", 3);
  other.digest = 7;
  cluster->differing[2] = {other};
  cluster->start({make_group("g", 3)});
  cluster->run_for(10000);
  EXPECT_EQ(cluster->server("g"), 0U);
  const ClusterStatus seen = status(*cluster->daemons[1].state, cluster->now);
  EXPECT_NE(seen.groups[0].problem.find("node-2"), std::string::npos) << seen.groups[0].problem;
  cluster->event(2, Configured{{make_group("g", 3)}});
  ASSERT_TRUE(moves_to(1, 5000));
  // An owned one stays; the node that differs is no candidate.
  cluster->event(2, Configured{{other}});
  cluster->run_for(1000);
  EXPECT_EQ(cluster->server("g"), 1U);
  cluster->crash(1);
  EXPECT_TRUE(moves_to(3, 10000));
}

TEST_F(Proposer, EpochsOfTwoProposersAreNeverTheSame) {
  start(3);
  std::set<Epoch> epochs;
  for (const auto& [id, daemon] : cluster->daemons) {
    EXPECT_EQ(daemon.state->node().peers.size(), 3U);
  }
  // All three propose at once: whoever comes first wins, and all agree.
  for (auto& [id, daemon] : cluster->daemons) {
    const Epoch before = cluster->owner(id, "g").epoch;
    Assign assign{"g", before, {before + 64 + id, id == 3 ? 1U : id + 1, 1, Reason::moved}};
    for (auto& [to, ignored] : cluster->daemons) {
      cluster->event(to, Delivered{{id, daemon.pid}, assign});
    }
  }
  cluster->run_for(2000);
  EXPECT_EQ(cluster->owner(1, "g").epoch, cluster->owner(2, "g").epoch);
  EXPECT_EQ(cluster->owner(1, "g").epoch, cluster->owner(3, "g").epoch);
  EXPECT_NE(cluster->server("g"), 0U);
}

TEST_F(Proposer, WhatEveryoneElseForgotIsNotServedUnderAnOlderEpoch) {
  start(3);
  const Epoch old = owner().epoch;
  cluster->crash(2);
  // Node 1 is replaced, too, and both that know of it forget; node 2 alone has the table of before.
  cluster->partition({{1}, {2}, {3}});
  cluster->start_node(2);
  cluster->partition({{1, 2}, {3}});
  cluster->run_for(500);
  cluster->kill_daemon(1);
  cluster->partition({{1, 3}, {2}});
  cluster->start_node(1);
  ASSERT_TRUE(moves_to(1, 20000));
  const Epoch served = owner().epoch;
  ASSERT_GT(served, old);
  EXPECT_LT(cluster->owner(2, "g").epoch, served);
  cluster->kill_daemon(1);
  cluster->kill_daemon(3);
  cluster->partition({{2}, {1, 3}});
  cluster->start_node(1);
  cluster->partition({{1, 2}, {3}});
  ASSERT_TRUE(cluster->run_until([&] { return cluster->server("g") != 0; }, 20000));
  EXPECT_GT(cluster->owner(cluster->server("g"), "g").epoch, served);
}

TEST_F(Proposer, AGroupWithoutAnyVipIsServedWithAnAlarm) {
  start(3);
  EXPECT_EQ(cluster->count_notes(1, Note::Kind::alarm, "none of its VIPs"), 0U);
  for (NodeId id = 1; id <= 3; ++id) {
    cluster->vip(id, "g", 0, false);
    cluster->vip(id, "g", 1, false);
  }
  cluster->run_for(300);
  cluster->crash(1);
  ASSERT_TRUE(moves_to(2, 10000));
  EXPECT_EQ(cluster->count_notes(2, Note::Kind::alarm, "none of its VIPs"), 1U);
}

TEST_F(Proposer, AGhostInTheMembersListHoldsUpNothing) {
  start(3);
  cluster->crash(1);
  MembersChanged ghost{{{1, 9999}, {2, cluster->daemons[2].pid}, {3, cluster->daemons[3].pid}}, {}};
  cluster->event(2, ghost);
  cluster->event(3, ghost);
  ASSERT_TRUE(moves_to(2, 10000));
}

}  // namespace
}  // namespace itgtd::ha
