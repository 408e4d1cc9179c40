#include <gtest/gtest.h>

#include "tests/ha/core/cluster.h"

namespace itgtd::ha {
namespace {

/// Four nodes that hear one another, fed by hand; this one is node 1.
class Rank : public ::testing::Test {
 protected:
  Rank() : state(1, "a", 11, test_timing()) {
    spec = make_group("g", 4);
    step(NodesKnown{{{1, "a"}, {2, "b"}, {3, "c"}, {4, "d"}}});
    step(Configured{{spec}});
    step(RingChanged{{1, 4}, {1, 2, 3, 4}});
    step(QuorumChanged{{1, 4}, true, {1, 2, 3, 4}});
    step(MembersChanged{{{1, 11}, {2, 12}, {3, 13}, {4, 14}}, {}});
    for (NodeId id = 1; id <= 4; ++id) {
      if (id != 1) {
        from(id, Heartbeat{1, {}});
      }
      facts[id].digest = spec.digest;
      facts[id].storage.fitness = StorageFitness::usable;
      facts[id].vips.assign(2, VipFacts{"eth0", true, false, false, {}});
      tell(id);
    }
  }
  void step(const Event& event) { static_cast<void>(state.step(now, event)); }
  void from(NodeId id, Message message) { step(Delivered{{id, id + 10}, std::move(message)}); }
  void tell(NodeId id) {
    if (id == 1) {
      step(StorageChanged{"g", facts[1].storage});
      for (size_t i = 0; i < 2; ++i) {
        step(VipChanged{"g", i, facts[1].vips[i]});
      }
      return;
    }
    Report report;
    report.ring = {1, 4};
    report.quorate = true;
    report.groups["g"] = facts[id];
    from(id, report);
  }
  [[nodiscard]] std::vector<NodeId> order() const {
    std::vector<NodeId> ids;
    for (const Candidate& candidate : candidates(state, "g", now)) {
      ids.push_back(candidate.eligible ? candidate.node : candidate.node + 100);
    }
    return ids;
  }
  [[nodiscard]] Candidate candidate(NodeId id) const {
    for (const Candidate& each : candidates(state, "g", now)) {
      if (each.node == id) {
        return each;
      }
    }
    return {};
  }
  using Ids = std::vector<NodeId>;
  TimeMs now = 1000;
  GroupSpec spec;
  State state;
  std::map<NodeId, GroupReport> facts;
};

TEST_F(Rank, PreferenceDecidesBetweenEquals) {
  EXPECT_EQ(order(), (Ids{1, 2, 3, 4}));
  EXPECT_EQ(candidate(2).reason, "it is less preferred");
}

TEST_F(Rank, LiveVipsComeBeforePreference) {
  facts[1].vips[0].link = false;
  facts[2].vips[1].failed = true;
  tell(1);
  tell(2);
  EXPECT_EQ(order(), (Ids{3, 4, 1, 2}));
  EXPECT_EQ(candidate(1).reason, "it has fewer live VIPs");
}

TEST_F(Rank, FailuresComeBeforeVipsAndAreForgotten) {
  facts[2].vips[0].link = false;
  tell(2);
  from(2, Assign{"g", 0, {Epoch{4} << 16, 1, 0, Reason::first_start}});
  step(Delivered{{1, 11}, Outcome{"g", Epoch{4} << 16, false, true, "no"}});
  EXPECT_EQ(order(), (Ids{3, 4, 2, 1}));
  EXPECT_EQ(candidate(1).reason, "it has failed more often");
  now += 2 * test_timing().failure_decay_ms;
  for (NodeId id = 2; id <= 4; ++id) {
    from(id, Heartbeat{2, {}});
  }
  EXPECT_EQ(order(), (Ids{1, 3, 4, 2}));
}

TEST_F(Rank, StorageComesBeforeFailures) {
  facts[1].storage.fitness = StorageFitness::diskless;
  facts[2].storage.fitness = StorageFitness::inconsistent;
  facts[3].storage.fitness = StorageFitness::unknown;
  for (NodeId id = 1; id <= 3; ++id) {
    tell(id);
  }
  EXPECT_EQ(order(), (Ids{4, 101, 102, 103})) << "a diskless one only where nobody has a disk";
  facts[4].storage.fitness = StorageFitness::unusable;
  facts[4].storage.detail = "split brain";
  tell(4);
  EXPECT_EQ(order().front(), 1U);
  EXPECT_NE(candidate(4).reason.find("split brain"), std::string::npos);
}

TEST_F(Rank, OneVipIsEnoughAndNoneIsEnoughWhereNobodyHasOne) {
  for (VipFacts& vip : facts[1].vips) {
    vip.link = false;
  }
  tell(1);
  EXPECT_EQ(order(), (Ids{2, 3, 4, 101}));
  for (NodeId id = 2; id <= 4; ++id) {
    facts[id].vips = facts[1].vips;
    tell(id);
  }
  EXPECT_EQ(order(), (Ids{1, 2, 3, 4}));
}

TEST_F(Rank, WhoIsNotThereIsNotEligible) {
  step(MembersChanged{{{1, 11}, {3, 13}, {4, 14}}, {2}});
  EXPECT_EQ(candidate(2).reason, "its daemon does not run");
  step(RingChanged{{1, 8}, {1, 3}});
  EXPECT_EQ(candidate(4).reason, "it is not in the ring");
  now += test_timing().hung_ms + 1;
  step(Tick{});
  EXPECT_EQ(candidate(3).reason, "its daemon is silent");
  EXPECT_EQ(order(), (Ids{1, 102, 103, 104}));
}

TEST_F(Rank, AnotherConfigurationIsNotEligible) {
  facts[2].digest = 1;
  tell(2);
  from(3, [] {
    Report report;
    report.ring = {1, 4};
    report.quorate = true;
    return report;
  }());
  EXPECT_EQ(candidate(2).reason, "its configuration of this group differs");
  EXPECT_EQ(candidate(3).reason, "its configuration does not have this group");
}

TEST_F(Rank, ADrainedNodeIsNotEligible) {
  from(2, Wish{Wish::Kind::drain, {}, 3});
  EXPECT_EQ(order(), (Ids{1, 2, 4, 103}));
  EXPECT_EQ(candidate(3).reason, "it is drained");
}

TEST_F(Rank, AnUnknownGroupHasNone) {
  EXPECT_TRUE(candidates(state, "x", now).empty());
}

}  // namespace
}  // namespace itgtd::ha
