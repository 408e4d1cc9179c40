#include "ha/core/units.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace itgtd::ha {
namespace {

constexpr TimeMs kMemberMs = 2000;
constexpr TimeMs kGiveUpMs = 20000;

Member member(NodeId node) {
  return {node, node * 100};
}
UnitRecord record(const std::string& unit, Epoch epoch, uint64_t version, size_t bytes = 3) {
  return {"g", unit, epoch, version, std::vector<std::byte>(bytes, std::byte{7})};
}
UnitStored stored(const std::string& unit, Epoch epoch, uint64_t version, bool ok = true) {
  return {unit, epoch, version, ok};
}

class UnitsTest : public testing::Test {
 protected:
  /// Node 2 of three, with the others there.
  UnitsTest() { members({1, 2, 3}); }

  UnitsOptions options(size_t nodes = 3) const { return {member(2), nodes, kMemberMs, kGiveUpMs}; }
  const UnitActions& step(const UnitEvent& event) { return actions_ = units_.step(now_, event); }
  void members(const std::vector<NodeId>& nodes) {
    UnitsMembers event;
    for (const NodeId node : nodes) event.members.push_back(member(node));
    step(event);
  }
  const UnitActions& deliver(NodeId from, Message message) {
    return step(UnitsDelivered{member(from), std::move(message)});
  }
  const UnitActions& after(TimeMs passed) {
    now_ += passed;
    return step(UnitsTick{});
  }
  template <typename T>
  std::vector<T> all() const {
    std::vector<T> found;
    for (const UnitAction& action : actions_) {
      if (const T* one = std::get_if<T>(&action)) found.push_back(*one);
    }
    return found;
  }
  template <typename T>
  std::vector<T> sent() const {
    std::vector<T> found;
    for (const SendUnit& send : all<SendUnit>()) {
      if (const T* one = std::get_if<T>(&send.message)) found.push_back(*one);
    }
    return found;
  }
  /// "", "ok" or why not, of the request's end in the last step.
  std::string end(uint64_t id) const {
    for (const UnitDone& done : all<UnitDone>()) {
      if (done.id == id) return done.ok ? "ok" : done.text;
    }
    return "";
  }
  void fetch(uint64_t id, const std::vector<std::string>& units) {
    step(UnitFetch{id, "g", units});
    for (const UnitVersions& asked : sent<UnitVersions>()) deliver(2, asked);
  }

  TimeMs now_ = 5000;
  Units units_{options()};
  UnitActions actions_;
};

TEST(UnitCopies, AStrictMajorityAndOneOfTwo) {
  EXPECT_EQ(unit_copies_min(1), 1u);
  EXPECT_EQ(unit_copies_min(2), 1u);
  EXPECT_EQ(unit_copies_min(3), 2u);
  EXPECT_EQ(unit_copies_min(4), 3u);
  EXPECT_EQ(unit_copies_min(5), 3u);
}

TEST(UnitNames, AreThoseOfTheStore) {
  EXPECT_TRUE(is_unit_name("6001405aaaaaaa000000000000000000"));
  EXPECT_FALSE(is_unit_name(""));
  EXPECT_FALSE(is_unit_name("../x"));
  EXPECT_FALSE(is_unit_name("A"));
  EXPECT_FALSE(is_unit_name(std::string(65, 'a')));
}

TEST_F(UnitsTest, DoneWhenEveryMemberHasIt) {
  step(UnitReplicate{1, record("a", 9, 1)});
  ASSERT_EQ(sent<UnitRecord>().size(), 1u);
  EXPECT_EQ(end(1), "");
  deliver(1, stored("a", 9, 1));
  EXPECT_EQ(end(1), "") << "a majority, but node 3 is there";
  deliver(3, stored("a", 9, 1));
  EXPECT_EQ(end(1), "ok");
  deliver(3, stored("a", 9, 1));
  EXPECT_EQ(end(1), "") << "once";
}

TEST_F(UnitsTest, AnswersToOtherThingsDoNotCount) {
  step(UnitReplicate{1, record("a", 9, 5)});
  deliver(1, stored("a", 9, 4));
  deliver(3, stored("b", 9, 5));
  deliver(1, stored("a", 8, 7));
  EXPECT_EQ(end(1), "");
  deliver(3, stored("a", 9, 6));
  deliver(1, stored("a", 9, 5));
  EXPECT_EQ(end(1), "ok") << "a later one of the same owner holds this one, too";
}

TEST_F(UnitsTest, AMemberThatIsSilentStopsCounting) {
  step(UnitReplicate{1, record("a", 9, 1)});
  deliver(1, stored("a", 9, 1));
  EXPECT_EQ(units_.wake_at(), now_ + kMemberMs);
  after(kMemberMs - 1);
  EXPECT_EQ(end(1), "");
  after(1);
  EXPECT_EQ(end(1), "ok") << "nodes 1 and 2 are a majority";
  step(UnitReplicate{2, record("a", 9, 2)});
  deliver(1, stored("a", 9, 2));
  EXPECT_EQ(end(2), "ok") << "node 3 costs its deadline once";
  deliver(3, stored("a", 9, 1));
  step(UnitReplicate{3, record("a", 9, 3)});
  deliver(1, stored("a", 9, 3));
  EXPECT_EQ(end(3), "") << "it was heard of: it counts again";
}

TEST_F(UnitsTest, NeverWithoutAMajority) {
  members({2});
  step(UnitReplicate{1, record("a", 9, 1)});
  EXPECT_EQ(end(1), "");
  after(kMemberMs);
  EXPECT_EQ(end(1), "");
  members({2, 3});
  EXPECT_EQ(sent<UnitRecord>().size(), 1u) << "who joins is sent what is waited for";
  deliver(3, stored("a", 9, 1));
  EXPECT_EQ(end(1), "ok");
  members({2});
  step(UnitReplicate{2, record("a", 9, 2)});
  after(kGiveUpMs);
  EXPECT_EQ(end(2), "only 1 of 3 nodes could store it, 2 must");
}

TEST_F(UnitsTest, WhoLeavesStopsCountingAndWhatHeStoredCounts) {
  step(UnitReplicate{1, record("a", 9, 1)});
  deliver(1, stored("a", 9, 1));
  members({2, 3});
  EXPECT_EQ(end(1), "");
  members({2});
  EXPECT_EQ(end(1), "ok") << "durable on nodes 1 and 2";
}

TEST_F(UnitsTest, NotBeforeThisNodeIsAMemberItself) {
  Units alone{options(2)};
  EXPECT_TRUE(alone.step(1, UnitReplicate{1, record("a", 9, 1)}).empty());
  const UnitActions joined = alone.step(2, UnitsMembers{{member(2)}});
  ASSERT_FALSE(joined.empty());
  const auto* done = std::get_if<UnitDone>(&joined.back());
  ASSERT_NE(done, nullptr);
  EXPECT_TRUE(done->ok) << "one of two nodes is enough";
}

TEST_F(UnitsTest, WhoThisNodeIsMayBeKnownLast) {
  Units units{UnitsOptions{}};
  static_cast<void>(units.step(1, UnitsMembers{{member(1), member(2)}}));
  static_cast<void>(units.step(2, UnitsConfigured{options()}));
  static_cast<void>(units.step(3, UnitReplicate{1, record("a", 9, 1)}));
  const UnitActions answered = units.step(4, UnitsDelivered{member(1), stored("a", 9, 1)});
  ASSERT_FALSE(answered.empty());
  const auto* done = std::get_if<UnitDone>(&answered.back());
  ASSERT_NE(done, nullptr);
  EXPECT_TRUE(done->ok) << "nobody waits for this node's own answer";
}

TEST_F(UnitsTest, RefusalsOfAllEndItAtOnce) {
  step(UnitReplicate{1, record("a", 9, 1)});
  deliver(1, stored("a", 9, 1, false));
  EXPECT_EQ(end(1), "");
  deliver(3, stored("a", 9, 1, false));
  EXPECT_EQ(end(1), "only 1 of 3 nodes could store it, 2 must");
  step(UnitReplicate{2, record("a", 9, 2)});
  deliver(1, stored("a", 9, 2, false));
  deliver(3, stored("a", 9, 2));
  EXPECT_EQ(end(2), "ok") << "two of three have it";
}

TEST_F(UnitsTest, ALaterOwnersValueEndsIt) {
  step(UnitReplicate{1, record("a", 9, 1)});
  deliver(3, stored("a", 10, 1));
  EXPECT_EQ(end(1), "node 3 has it from a later owner");
}

TEST_F(UnitsTest, AStoppedGroupsRequestsEnd) {
  step(UnitReplicate{1, record("a", 9, 1)});
  step(UnitFetch{2, "other", {"b"}});
  step(UnitsAbandoned{"g"});
  EXPECT_EQ(end(1), "group g is stopped here");
  EXPECT_EQ(end(2), "");
}

TEST_F(UnitsTest, StoresWhatOthersSendAndSaysSo) {
  deliver(1, record("a", 9, 1));
  ASSERT_EQ(all<SaveUnit>().size(), 1u);
  EXPECT_TRUE(sent<UnitStored>().empty()) << "not durable yet";
  deliver(1, record("a", 9, 2));
  deliver(1, record("a", 9, 3));
  deliver(3, record("a", 8, 99));
  EXPECT_TRUE(all<SaveUnit>().empty()) << "one at a time";
  step(UnitSaved{"a", {9, 1}, true, {9, 1}});
  ASSERT_EQ(sent<UnitStored>().size(), 1u);
  EXPECT_EQ(sent<UnitStored>()[0].version, 1u);
  ASSERT_EQ(all<SaveUnit>().size(), 1u);
  EXPECT_EQ(all<SaveUnit>()[0].record.version, 3u) << "what was overtaken is not written";
  step(UnitSaved{"a", {9, 3}, false, {}});
  ASSERT_EQ(sent<UnitStored>().size(), 1u);
  EXPECT_FALSE(sent<UnitStored>()[0].stored);
  EXPECT_EQ(units_.stored().at("a"), (UnitVersion{9, 1}));
  deliver(1, record("a", 9, 3));
  EXPECT_EQ(all<SaveUnit>().size(), 1u) << "tried again when it comes again";
}

TEST_F(UnitsTest, SaysWhatItHasWhenThatIsNewer) {
  step(UnitsLoaded{{{"a", {9, 4}}}});
  deliver(1, record("a", 9, 3));
  EXPECT_TRUE(all<SaveUnit>().empty());
  ASSERT_EQ(sent<UnitStored>().size(), 1u);
  EXPECT_EQ(sent<UnitStored>()[0].version, 4u);
  deliver(1, record("a", 9, 4));
  EXPECT_EQ(sent<UnitStored>().size(), 1u) << "twice is told twice";
  // The store had a newer one than was known here.
  deliver(1, record("a", 9, 5));
  step(UnitSaved{"a", {9, 5}, true, {11, 1}});
  ASSERT_EQ(sent<UnitStored>().size(), 1u);
  EXPECT_EQ(sent<UnitStored>()[0].epoch, 11u) << "9.5 is not what is here";
}

TEST_F(UnitsTest, NonsenseIsDroppedAndCounted) {
  deliver(1, record("../../etc/passwd", 9, 1));
  deliver(1, record("", 9, 1));
  deliver(1, record("a", 0, 1));
  deliver(1, record("a", 9, 1, kUnitBytesMax + 1));
  deliver(1, stored("A", 9, 1));
  deliver(1, UnitVersions{false, {{"B", {1, 1}}}});
  EXPECT_EQ(units_.dropped(), 6u);
  UnitVersions too_many;
  for (size_t i = 0; i <= kUnitsMax; ++i) too_many.units[std::to_string(i)] = {1, 1};
  deliver(1, too_many);
  EXPECT_EQ(units_.dropped(), 7u);
  EXPECT_TRUE(units_.stored().empty());
  step(UnitsDelivered{{1, 999}, record("a", 9, 1)});
  EXPECT_TRUE(actions_.empty()) << "a process that has ended";
  step(UnitsDelivered{{7, 1}, record("a", 9, 1)});
  EXPECT_TRUE(actions_.empty()) << "nobody knows node 7";
  deliver(1, Heartbeat{});
  EXPECT_TRUE(actions_.empty());
  step(UnitSaved{"a", {9, 1}, true, {9, 1}});
  EXPECT_TRUE(actions_.empty()) << "nothing was being saved";
}

TEST_F(UnitsTest, NoMoreNamesThanThereMayBe) {
  UnitVersionMap full;
  for (size_t i = 0; i < kUnitsMax; ++i) full[std::to_string(i)] = {1, 1};
  step(UnitsLoaded{full});
  deliver(1, record("a", 9, 1));
  EXPECT_TRUE(all<SaveUnit>().empty());
  deliver(1, record("17", 9, 1));
  EXPECT_EQ(all<SaveUnit>().size(), 1u);
}

TEST_F(UnitsTest, FetchWaitsForEveryMembersAnswer) {
  step(UnitFetch{1, "g", {"a"}});
  ASSERT_EQ(sent<UnitVersions>().size(), 1u);
  EXPECT_TRUE(sent<UnitVersions>()[0].ask);
  deliver(1, UnitVersions{});
  deliver(3, UnitVersions{});
  EXPECT_EQ(end(1), "") << "said before the question was there";
  deliver(2, UnitVersions{true, {}});
  EXPECT_EQ(end(1), "");
  deliver(1, UnitVersions{});
  EXPECT_EQ(end(1), "");
  deliver(3, UnitVersions{});
  EXPECT_EQ(end(1), "ok");
}

TEST_F(UnitsTest, FetchBringsTheNewest) {
  step(UnitsLoaded{{{"a", {9, 1}}, {"z", {1, 1}}}});
  fetch(1, {"a", "b"});
  deliver(1, UnitVersions{false, {{"a", {9, 3}}, {"c", {99, 1}}}});
  deliver(3, UnitVersions{false, {{"a", {9, 2}}, {"b", {4, 4}}}});
  EXPECT_EQ(end(1), "");
  deliver(1, record("a", 9, 3));
  step(UnitSaved{"a", {9, 3}, true, {9, 3}});
  EXPECT_EQ(end(1), "");
  deliver(3, record("b", 4, 4));
  step(UnitSaved{"b", {4, 4}, true, {4, 4}});
  EXPECT_EQ(end(1), "ok") << "c is not asked for";
}

TEST_F(UnitsTest, FetchGoesOnWithAMajorityAndNotWithLess) {
  fetch(1, {"a"});
  deliver(3, UnitVersions{});
  after(kMemberMs);
  EXPECT_EQ(end(1), "ok");
  fetch(2, {"a"});
  members({2});
  after(kMemberMs);
  EXPECT_EQ(end(2), "");
  after(kGiveUpMs);
  EXPECT_EQ(end(2), "only 1 of 3 nodes said what they have of its units, 2 must");
}

TEST_F(UnitsTest, FetchWhoseNewestNobodySends) {
  fetch(1, {"a"});
  deliver(3, UnitVersions{});
  deliver(1, UnitVersions{false, {{"a", {9, 3}}}});
  after(kGiveUpMs);
  EXPECT_EQ(end(1), "nobody sent the newest state of unit a");
  fetch(2, {"a"});
  deliver(1, UnitVersions{false, {{"a", {9, 3}}}});
  deliver(3, UnitVersions{});
  members({2, 3});
  EXPECT_EQ(end(2), "ok") << "who had it has gone; what was GOOD is with the majority that is here";
}

TEST_F(UnitsTest, OneQuestionForAllFetchesThatBegan) {
  step(UnitFetch{1, "g", {"a"}});
  EXPECT_EQ(sent<UnitVersions>().size(), 1u);
  step(UnitFetch{2, "g", {"b"}});
  step(UnitFetch{3, "g", {"c"}});
  EXPECT_TRUE(sent<UnitVersions>().empty());
  deliver(2, UnitVersions{true, {}});
  EXPECT_EQ(sent<UnitVersions>().size(), 1u) << "the others began behind the first question";
  deliver(1, UnitVersions{});
  deliver(3, UnitVersions{});
  EXPECT_EQ(end(1), "ok");
  EXPECT_EQ(end(2), "");
  deliver(2, UnitVersions{true, {}});
  deliver(1, UnitVersions{});
  deliver(3, UnitVersions{});
  EXPECT_EQ(end(2), "ok");
  EXPECT_EQ(end(3), "ok");
}

TEST_F(UnitsTest, AJoinMakesAFetchAskAgain) {
  members({2, 3});
  fetch(1, {"a"});
  members({1, 2, 3});
  ASSERT_EQ(sent<UnitVersions>().size(), 1u);
  EXPECT_TRUE(sent<UnitVersions>()[0].ask);
  deliver(3, UnitVersions{});
  EXPECT_EQ(end(1), "");
  deliver(2, UnitVersions{true, {}});
  deliver(3, UnitVersions{});
  deliver(1, UnitVersions{});
  EXPECT_EQ(end(1), "ok");
}

TEST_F(UnitsTest, AnswersQuestions) {
  step(UnitsLoaded{{{"a", {9, 3}}}});
  deliver(1, UnitVersions{true, {{"a", {9, 3}}}});
  ASSERT_EQ(sent<UnitVersions>().size(), 1u);
  EXPECT_EQ(sent<UnitVersions>()[0].units.at("a"), (UnitVersion{9, 3}));
  EXPECT_FALSE(sent<UnitVersions>()[0].ask);
  deliver(1, UnitVersions{false, {{"a", {9, 3}}}});
  EXPECT_TRUE(sent<UnitVersions>().empty());
}

TEST_F(UnitsTest, WhoIsBehindIsSentItByTheFirstThatHasIt) {
  step(UnitsLoaded{{{"a", {9, 3}}}});
  deliver(3, UnitVersions{false, {{"a", {9, 1}}}});
  ASSERT_EQ(all<SendStoredUnit>().size(), 1u);
  EXPECT_EQ(all<SendStoredUnit>()[0].unit, "a");
  deliver(3, UnitVersions{false, {{"a", {9, 1}}}});
  EXPECT_TRUE(all<SendStoredUnit>().empty()) << "on its way";
  after(kMemberMs);
  EXPECT_EQ(all<SendStoredUnit>().size(), 1u) << "it did not come through";
  deliver(3, stored("a", 9, 3));
  EXPECT_FALSE(units_.wake_at());
}

TEST_F(UnitsTest, TheNextOneSendsItWhenTheFirstDoesNot) {
  step(UnitsLoaded{{{"a", {9, 3}}}});
  deliver(1, UnitVersions{false, {{"a", {9, 3}}}});
  deliver(3, UnitVersions{});
  EXPECT_TRUE(all<SendStoredUnit>().empty()) << "node 1 has it and comes first";
  EXPECT_EQ(units_.wake_at(), now_ + kMemberMs);
  after(kMemberMs);
  EXPECT_EQ(all<SendStoredUnit>().size(), 1u);
}

TEST_F(UnitsTest, WhoHasAnOlderOneSendsNothing) {
  step(UnitsLoaded{{{"a", {9, 3}}}});
  deliver(1, UnitVersions{false, {{"a", {9, 4}}}});
  deliver(3, UnitVersions{});
  after(10 * kMemberMs);
  EXPECT_TRUE(all<SendStoredUnit>().empty());
}

TEST_F(UnitsTest, TriesBecomeRarer) {
  step(UnitsLoaded{{{"a", {9, 3}}}});
  deliver(3, UnitVersions{});
  size_t sends = all<SendStoredUnit>().size();
  for (int i = 0; i < 1800; ++i) {
    after(kMemberMs);
    sends += all<SendStoredUnit>().size();
  }
  EXPECT_GE(sends, 20u);
  EXPECT_LE(sends, 70u) << "once in two minutes, at last";
}

TEST_F(UnitsTest, EveryoneSaysWhatHeHasWhenSomebodyComes) {
  members({2, 3});
  EXPECT_TRUE(sent<UnitVersions>().empty()) << "leaving tells nobody anything new";
  members({1, 2, 3});
  EXPECT_EQ(sent<UnitVersions>().size(), 1u);
  step(UnitsMembers{{{1, 777}, member(2), member(3)}});
  EXPECT_EQ(sent<UnitVersions>().size(), 1u) << "another process of node 1";
  step(UnitsMembers{{{1, 777}, {1, 888}, member(2), member(3)}});
  EXPECT_EQ(sent<UnitVersions>().size(), 1u) << "and another, before the last is known to be dead";
  step(UnitsDelivered{{1, 888}, record("a", 9, 1)});
  EXPECT_EQ(all<SaveUnit>().size(), 1u);
}

}  // namespace
}  // namespace itgtd::ha
