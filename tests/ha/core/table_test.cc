#include <gtest/gtest.h>

#include "tests/ha/core/cluster.h"

namespace itgtd::ha {
namespace {

constexpr Epoch kRing = Epoch{4} << 16;

/// One node of three, fed by hand.
class Table1 : public ::testing::Test {
 protected:
  Table1() : state(1, "a", 7, test_timing()) {
    step(NodesKnown{{{1, "a"}, {2, "b"}, {3, "c"}}});
    step(Configured{{make_group("g", 3)}});
    StorageFacts facts;
    facts.fitness = StorageFitness::usable;
    step(StorageChanged{"g", facts});
    step(RingChanged{{1, 4}, {1, 2, 3}});
    step(QuorumChanged{{1, 4}, true, {1, 2, 3}});
    step(MembersChanged{{{1, 7}, {2, 8}, {3, 9}}, {}});
  }
  Actions step(const Event& event) {
    Actions actions = state.step(now, event);
    EXPECT_TRUE(broken_invariants(state, now).empty());
    return actions;
  }
  Actions from(NodeId node, Message message) { return step(Delivered{{node, node + 6}, std::move(message)}); }
  [[nodiscard]] Ownership entry() const { return ownership_of(state.node(), "g"); }
  static std::vector<Ack> acks(const Actions& actions) {
    std::vector<Ack> found;
    for (const Action& action : actions) {
      if (const auto* send = std::get_if<Send>(&action); send && std::holds_alternative<Ack>(send->message)) {
        found.push_back(std::get<Ack>(send->message));
      }
    }
    return found;
  }
  TimeMs now = 100;
  State state;
};

TEST_F(Table1, AnAssignIsTakenOnceAndAcknowledged) {
  const Actions actions = from(2, Assign{"g", 0, {kRing, 2, 0, Reason::first_start}});
  EXPECT_EQ(entry().owner, 2U);
  ASSERT_EQ(acks(actions).size(), 1U);
  EXPECT_EQ(acks(actions)[0].epoch, kRing);
  // The second of two that were sent at the same time loses, though its epoch is higher.
  EXPECT_TRUE(acks(from(3, Assign{"g", 0, {kRing + 2, 3, 0, Reason::first_start}})).empty());
  EXPECT_EQ(entry().owner, 2U);
}

TEST_F(Table1, TheOwnersQuestionIsAnsweredAgain) {
  from(2, Assign{"g", 0, {kRing, 2, 0, Reason::first_start}});
  EXPECT_EQ(acks(from(2, Assign{"g", kRing, {kRing, 2, 0, Reason::first_start}})).size(), 1U);
  // Under the same epoch nobody else is acknowledged.
  EXPECT_TRUE(acks(from(3, Assign{"g", kRing, {kRing, 3, 0, Reason::first_start}})).empty());
}

TEST_F(Table1, AnOlderEntryOfAReportChangesNothing) {
  from(2, Assign{"g", 0, {kRing + 64, 2, 0, Reason::first_start}});
  Report report;
  report.table.groups["g"] = {kRing, 3, 0, Reason::first_start};
  from(3, report);
  EXPECT_EQ(entry().owner, 2U);
  report.table.groups["g"] = {kRing + 128, 3, 2, Reason::moved};
  EXPECT_EQ(acks(from(3, report)).size(), 1U);
  EXPECT_EQ(entry().owner, 3U);
}

TEST_F(Table1, NonsenseIsDroppedAndCounted) {
  const uint64_t before = state.node().messages_dropped;
  from(2, Assign{"g", 0, {kRing, 77, 0, Reason::first_start}});                              // no such node
  from(2, Assign{"g", 0, {(Epoch{4} + kRingsAhead + 1) << 16, 2, 0, Reason::first_start}});  // far ahead
  from(2, Assign{"g", 0, {0, 2, 0, Reason::first_start}});                                   // never
  from(2, Assign{"g", kRing + 9, {kRing, 2, 0, Reason::first_start}});                       // backwards
  from(2, Assign{std::string(1000, 'x'), 0, {kRing, 2, 0, Reason::first_start}});            // a long name
  step(Delivered{{9, 1}, Assign{"g", 0, {kRing, 2, 0, Reason::first_start}}});               // a stranger
  step(Delivered{{2, 1234}, Assign{"g", 0, {kRing, 2, 0, Reason::first_start}}});            // not a member
  from(2, Ack{"g", kRing, {}});                                                              // of what?
  EXPECT_EQ(state.node().messages_dropped, before + 8);
  EXPECT_EQ(entry().epoch, 0U);
}

TEST_F(Table1, TheTableHasALimit) {
  for (size_t i = 0; i < kTableEntriesMax + 10; ++i) {
    from(2, Assign{"other" + std::to_string(i), 0, {kRing, 2, 0, Reason::first_start}});
  }
  EXPECT_EQ(state.node().table.groups.size(), kTableEntriesMax);
}

TEST_F(Table1, AGroupThatIsNotConfiguredHereIsAcknowledgedAllTheSame) {
  EXPECT_EQ(acks(from(2, Assign{"theirs", 0, {kRing, 2, 0, Reason::first_start}})).size(), 1U);
  EXPECT_EQ(acks(from(2, Assign{"theirs", kRing, {kRing, 2, 0, Reason::first_start}})).size(), 1U);
}

TEST_F(Table1, SilenceCountsFromTheGainOfQuorum) {
  now = 50000;
  const Actions actions = from(2, Assign{"g", 0, {kRing, 2, 0, Reason::first_start}});
  ASSERT_EQ(acks(actions).size(), 1U);
  EXPECT_EQ(acks(actions)[0].silence.at(3), 50000 - 100);
  step(QuorumChanged{{1, 4}, false, {1, 2, 3}});
  const Actions without = from(2, Assign{"g", kRing, {kRing, 2, 0, Reason::first_start}});
  EXPECT_TRUE(acks(without)[0].silence.empty());
  now = 60000;
  step(QuorumChanged{{1, 4}, true, {1, 2, 3}});
  now = 60100;
  const Actions again = from(2, Assign{"g", kRing, {kRing, 2, 0, Reason::first_start}});
  EXPECT_EQ(acks(again)[0].silence.at(3), 100);
}

TEST_F(Table1, WhoIsOutNeedsNotAcknowledgeAndEverybodyMustAgreeThatItIs) {
  const TimeMs out = test_timing().lease_ms + test_timing().margin_ms;
  now = 100 + out + 1000;
  from(2, Assign{"g", 0, {kRing, 1, 3, Reason::node_lost}});
  const Group& group = state.node().groups.at("g");
  from(2, Ack{"g", kRing, {{3, out - 500}, {1, 0}}});
  EXPECT_EQ(awaited(state.node(), group, kRing).nodes, std::vector<NodeId>{3});
  now += 499;
  step(Tick{});
  EXPECT_EQ(awaited(state.node(), group, kRing).nodes, std::vector<NodeId>{3});
  now += 1;
  step(Tick{});
  EXPECT_TRUE(awaited(state.node(), group, kRing).nodes.empty());
}

TEST_F(Table1, WhoDoesNotCountDoesNotLetAnybodyBeOut) {
  now = 100000;
  from(2, Assign{"g", 0, {kRing, 1, 3, Reason::node_lost}});
  from(2, Ack{"g", kRing, {}});
  now = 200000;
  step(Tick{});
  EXPECT_EQ(awaited(state.node(), state.node().groups.at("g"), kRing).nodes, std::vector<NodeId>{3});
}

TEST_F(Table1, StandingsOfTwoHalvesAreMergedEverywhereAlike) {
  Report report;
  report.table.standing = {1, {2}, false};
  from(2, report);
  report.table.standing = {1, {3}, true};
  from(3, report);
  EXPECT_EQ(state.node().table.standing, (Table::Standing{1, {2, 3}, true}));
  report.table.standing = {2, {}, false};
  from(3, report);
  EXPECT_EQ(state.node().table.standing, (Table::Standing{2, {}, false}));
}

}  // namespace
}  // namespace itgtd::ha
