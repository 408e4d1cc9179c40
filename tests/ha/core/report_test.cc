#include <gtest/gtest.h>

#include "tests/ha/core/cluster.h"

namespace itgtd::ha {
namespace {

class Reports : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster.emplace(3);
    cluster->start({make_group("g", 3)});
    ASSERT_TRUE(cluster->run_until([&] { return cluster->server("g") == 1; }, 4000));
    cluster->run_for(5000);
  }
  const GroupReport& seen(NodeId at, NodeId of) {
    return cluster->daemons.at(at).state->node().peers.at(of).report.groups.at("g");
  }
  SessionsChanged opened(std::vector<TcpPair> pairs) { return {"g", 1, std::move(pairs), {}}; }
  size_t connections_sent(NodeId id) {
    size_t count = 0;
    for (const Action& action : cluster->daemons.at(id).log) {
      const auto* send = std::get_if<Send>(&action);
      count += send != nullptr && std::holds_alternative<Connections>(send->message) ? 1U : 0U;
    }
    return count;
  }
  std::optional<Cluster> cluster;
};

TEST_F(Reports, AreQuietWhenNothingChanges) {
  const size_t before = cluster->sent_reports;
  cluster->run_for(60000);
  EXPECT_EQ(cluster->sent_reports, before);
}

TEST_F(Reports, TellWhatChangedSoonButNotForEachChange) {
  const size_t before = cluster->sent_reports;
  for (int i = 0; i < 200; ++i) {
    cluster->vip(1, "g", 0, i % 2 != 0);
    cluster->run_for(5);
  }
  EXPECT_LE(cluster->sent_reports - before, 12U);
  cluster->vip(1, "g", 0, false);
  cluster->run_for(kReportPauseMs + 5);
  EXPECT_FALSE(seen(2, 1).vips[0].link);
}

TEST_F(Reports, WhoIsNewHearsAll) {
  cluster->kill_daemon(3);
  cluster->run_for(100);
  cluster->start_node(3);
  cluster->run_for(50);
  EXPECT_EQ(seen(3, 1).phase, Phase::active);
  EXPECT_EQ(cluster->owner(3, "g").owner, 1U);
}

TEST_F(Reports, TooLargeOnesAreDropped) {
  const Node& node = cluster->daemons[1].state->node();
  const uint64_t before = node.messages_dropped;
  const uint32_t pid = cluster->daemons[2].pid;
  Report report;
  report.groups["g"].vips.resize(kVipsMax + 1);
  cluster->event(1, Delivered{{2, pid}, report});
  report = {};
  report.groups[std::string(kGroupNameBytesMax + 1, 'x')];
  cluster->event(1, Delivered{{2, pid}, report});
  report = {};
  report.node_name.assign(kTextBytesMax + 1, 'x');
  cluster->event(1, Delivered{{2, pid}, report});
  EXPECT_EQ(node.messages_dropped, before + 3);
}

TEST_F(Reports, ConnectionsFollowTheOwnerAndAreGivenToTheNext) {
  const TcpPair a{"192.168.222.35:3260", "192.168.222.1:40000"};
  const TcpPair b{"192.168.222.35:3260", "192.168.222.1:40001"};
  cluster->event(1, opened({a}));
  cluster->event(1, opened({b}));
  cluster->run_for(cluster->timing.connections_ms + 10);
  EXPECT_EQ(connections_sent(1), 1U);
  EXPECT_EQ(cluster->daemons[2].state->node().groups.at("g").connections.size(), 2U);
  cluster->event(1, SessionsChanged{"g", 1, {}, {b}});
  cluster->run_for(cluster->timing.connections_ms + 10);
  EXPECT_EQ(connections_sent(1), 2U);
  cluster->run_for(5000);
  EXPECT_EQ(connections_sent(1), 2U) << "nothing to tell";
  // Who comes later hears of them as well.
  cluster->kill_daemon(2);
  cluster->start_node(2);
  cluster->run_for(50);
  cluster->crash(1);
  ASSERT_TRUE(cluster->run_until([&] { return cluster->server("g") == 2; }, 10000));
  for (const Action& action : cluster->daemons[2].log) {
    if (const auto* start = std::get_if<StartService>(&action)) {
      EXPECT_EQ(start->connections, std::vector<TcpPair>{a});
    }
  }
  // Those of its own begin anew.
  EXPECT_TRUE(cluster->daemons[2].state->node().groups.at("g").connections.empty());
}

TEST_F(Reports, ManyConnectionsAreToldInSeveralMessages) {
  std::vector<TcpPair> pairs;
  for (int i = 0; i < 20000; ++i)
    pairs.push_back({"192.168.222.35:3260", "192.168.222.1:" + std::to_string(i)});
  cluster->event(1, opened(pairs));
  cluster->run_for(cluster->timing.connections_ms + 10);
  const auto& known = cluster->daemons[2].state->node().groups.at("g").connections;
  EXPECT_EQ(known.size(), pairs.size());
  cluster->event(1, SessionsChanged{"g", 0, {{"a", "b"}}, pairs});
  cluster->run_for(cluster->timing.connections_ms + 10);
  EXPECT_EQ(known, (std::set<TcpPair>{{"a", "b"}}));
  EXPECT_EQ(connections_sent(1), 10U);
  for (const Action& action : cluster->daemons.at(1).log) {
    const auto* send = std::get_if<Send>(&action);
    const auto* told = send == nullptr ? nullptr : std::get_if<Connections>(&send->message);
    if (told == nullptr) continue;
    EXPECT_LE(told->opened.size() + told->closed.size(), kConnectionsPerMessage);
  }
}

TEST_F(Reports, WhatAStopClosesIsStillToBeReset) {
  const TcpPair a{"192.168.222.35:3260", "192.168.222.1:40000"};
  cluster->event(1, opened({a}));
  cluster->run_for(cluster->timing.connections_ms + 10);
  cluster->fate = [&](NodeId id, const Action& action) {
    return Cluster::Fate{id == 1 && std::holds_alternative<StopService>(action) ? 50 : 5, true, true};
  };
  cluster->event(1, Asked{Wish{Wish::Kind::move, "g", 2}});
  cluster->run_for(20);
  ASSERT_EQ(cluster->phase(1, "g"), Phase::stopping);
  cluster->event(1, SessionsChanged{"g", 0, {}, {a}});
  ASSERT_TRUE(cluster->run_until([&] { return cluster->server("g") == 2; }, 1000));
  for (const Action& action : cluster->daemons[2].log) {
    if (const auto* start = std::get_if<StartService>(&action)) {
      EXPECT_EQ(start->connections, std::vector<TcpPair>{a});
    }
  }
}

TEST_F(Reports, ConnectionsOfWhoIsNotTheOwnerAreNotBelieved) {
  const Epoch epoch = cluster->owner(2, "g").epoch;
  const uint32_t pid = cluster->daemons[3].pid;
  cluster->event(2, Delivered{{3, pid}, Connections{"g", epoch, true, {{"a", "b"}}, {}}});
  EXPECT_TRUE(cluster->daemons[2].state->node().groups.at("g").connections.empty());
}

TEST_F(Reports, AConnectionToANodeThatDoesNotServeIsResetByTheOwner) {
  const TcpPair stray{"192.168.222.35:3260", "192.168.222.1:40002"};
  cluster->event(2, opened({stray}));
  cluster->run_for(50);
  size_t resets = 0;
  for (const Action& action : cluster->daemons[1].log) {
    if (const auto* reset = std::get_if<ResetConnections>(&action)) {
      ++resets;
      EXPECT_EQ(reset->connections, std::vector<TcpPair>{stray});
    }
  }
  EXPECT_EQ(resets, 1U);
}

TEST_F(Reports, AConnectionToADaemonThatIsStartedAgainIsResetByTheNextOwner) {
  const TcpPair stray{"192.168.222.35:3260", "192.168.222.1:40002"};
  cluster->fate = [&](NodeId id, const Action& action) {
    return Cluster::Fate{id == 2 && std::holds_alternative<Promote>(action) ? 500 : 5, true, true};
  };
  cluster->kill_daemon(1);
  ASSERT_TRUE(cluster->run_until([&] { return cluster->phase(2, "g") == Phase::starting; }, 3000));
  cluster->start_node(1);
  cluster->run_for(50);
  ASSERT_EQ(cluster->phase(2, "g"), Phase::starting);
  cluster->event(1, opened({stray}));
  ASSERT_TRUE(cluster->run_until([&] { return cluster->server("g") == 2; }, 3000));
  for (const Action& action : cluster->daemons[2].log) {
    if (const auto* start = std::get_if<StartService>(&action)) {
      EXPECT_EQ(start->connections, std::vector<TcpPair>{stray});
    }
  }
}

}  // namespace
}  // namespace itgtd::ha
