// From notes and states to changes of owner with their pauses, kept over a restart.
#include "ha/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/ha/operation/situations.h"

namespace itgtd::ha {
namespace {

using Json = nlohmann::json;

constexpr Epoch kOld = 2752513;
constexpr Epoch kNew = kOld + 1;
constexpr int64_t kUnix = 1'763'901'233'000;

/// drbd0 goes from iscsi-0 to iscsi-1.
ClusterStatus assigned(Reason reason = Reason::moved) {
  ClusterStatus status = healthy().status;
  status.groups[0].ownership = {kNew, 2, 1, reason};
  return status;
}

/// What was before: iscsi-0 had it.
ClusterStatus before() {
  ClusterStatus status = healthy().status;
  status.groups[0].ownership.epoch = kOld;
  return status;
}

ClusterStatus active(TimeMs since_ms) {
  ClusterStatus status = assigned();
  GroupReport& report = status.groups[0].reports[2];
  report.phase = Phase::active;
  report.epoch = kNew;
  report.since_ms = since_ms;
  return status;
}

Note note(Note::Kind kind, const std::string& text, Epoch epoch = kNew) {
  return {kind, "drbd0", epoch, text};
}

TEST(History, AMove) {
  History history;
  history.note(1'000, kUnix - 9'000, note(Note::Kind::decision, "", kOld - 1), before());
  history.note(10'000, kUnix, note(Note::Kind::decision, "iscsi-0 -> iscsi-1"), assigned());
  history.note(10'050, kUnix + 50, note(Note::Kind::step, "quiesced", kOld), assigned());
  history.note(10'200, kUnix + 200, note(Note::Kind::step, "promoted"), assigned());
  ASSERT_EQ(history.changes().size(), 2u);
  EXPECT_EQ(history.changes()[1].outcome, OwnerChange::Outcome::pending);
  EXPECT_EQ(history.changes()[1].pause_ms(), std::nullopt);
  history.observe(10'500, kUnix + 500, active(180));
  const OwnerChange& change = history.changes()[1];
  EXPECT_EQ(change.from, "iscsi-0");
  EXPECT_EQ(change.to, "iscsi-1");
  EXPECT_EQ(change.reason, Reason::moved);
  EXPECT_EQ(change.decided_unix_ms, kUnix);
  EXPECT_EQ(change.outcome, OwnerChange::Outcome::active);
  EXPECT_EQ(change.pause_ms(), 320);
  const std::vector<OwnerChange::Step> steps = {{50, "quiesced"}, {200, "promoted"}};
  EXPECT_EQ(change.steps, steps);
  // Told again and again, it stays as it is.
  history.observe(60'000, kUnix + 60'000, active(59'000));
  history.note(60'000, kUnix + 60'000, note(Note::Kind::decision, "again"), active(49'680));
  ASSERT_EQ(history.changes().size(), 2u);
  EXPECT_EQ(history.changes()[1].pause_ms(), 320);
  EXPECT_TRUE(history.changes()[0].steps.empty());
}

TEST(History, TheSilenceOfALostNodeBelongsToThePause) {
  History history;
  ClusterStatus status = assigned(Reason::node_lost);
  status.nodes[0].silence_ms = 2900;
  history.note(10'000, kUnix, note(Note::Kind::decision, ""), status);
  history.observe(10'500, kUnix, active(100));
  EXPECT_EQ(history.changes()[0].pause_ms(), 2900 + 400);

  History moved;
  status.groups[0].ownership.reason = Reason::moved;
  moved.note(10'000, kUnix, note(Note::Kind::decision, ""), status);
  moved.observe(10'500, kUnix, active(100));
  EXPECT_EQ(moved.changes()[0].pause_ms(), 400);
}

TEST(History, AFirstStartIsNoPause) {
  History history;
  ClusterStatus status = assigned(Reason::first_start);
  status.groups[0].ownership.previous = 0;
  history.note(10'000, kUnix, note(Note::Kind::decision, ""), status);
  history.observe(10'900, kUnix + 900, active(100));
  EXPECT_EQ(history.changes()[0].outcome, OwnerChange::Outcome::active);
  EXPECT_EQ(history.changes()[0].pause_ms(), std::nullopt);
  EXPECT_EQ(history.changes()[0].active_after_ms, 800);
}

TEST(History, WhoJoinsDoesNotKnowThePause) {
  History history;
  ClusterStatus status = active(3'600'000);
  status.groups[0].ownership.reason = Reason::node_lost;
  status.nodes[0].silence_ms = 2900;
  history.note(10'000'000, kUnix, note(Note::Kind::decision, ""), status);
  history.observe(10'001'000, kUnix, active(3'601'000));
  ASSERT_EQ(history.changes().size(), 1u);
  EXPECT_EQ(history.changes()[0].outcome, OwnerChange::Outcome::active);
  EXPECT_EQ(history.changes()[0].pause_ms(), std::nullopt);
  EXPECT_EQ(history.changes()[0].decided_unix_ms, kUnix - 3'600'000) << "no later than that";
}

TEST(History, OfItsOwnStartANodeKnowsTheEnd) {
  History history;
  history.note(10'000, kUnix, note(Note::Kind::decision, ""), assigned());
  EXPECT_TRUE(history.pending());
  // The state is looked at a moment after the step.
  ClusterStatus status = active(2);
  status.nodes[2].self = false;
  status.nodes[1].self = true;
  history.note(10'300, kUnix, note(Note::Kind::step, "service started"), status);
  EXPECT_EQ(history.changes()[0].active_after_ms, 300);
  EXPECT_FALSE(history.pending());
}

TEST(History, LaterStepsAreNotOfTheChange) {
  History history;
  history.note(10'000, kUnix, note(Note::Kind::decision, ""), assigned());
  history.observe(10'500, kUnix, active(100));
  history.note(11'000, kUnix, note(Note::Kind::step, "addresses removed", kOld), active(600));
  history.note(90'000, kUnix, note(Note::Kind::step, "suspended"), active(100));
  ASSERT_EQ(history.changes()[0].steps.size(), 1u);
  EXPECT_EQ(history.changes()[0].steps[0].text, "addresses removed");
  EXPECT_EQ(history.notes().size(), 3u);
}

TEST(History, AnActivityOfAnOlderEpochIsNone) {
  History history;
  history.note(10'000, kUnix, note(Note::Kind::decision, ""), assigned());
  ClusterStatus status = active(100);
  status.groups[0].reports[2].epoch = kOld;
  history.observe(10'500, kUnix, status);
  EXPECT_EQ(history.changes()[0].outcome, OwnerChange::Outcome::pending);
}

TEST(History, AFailedStartIsOvertaken) {
  History history;
  history.note(10'000, kUnix, note(Note::Kind::decision, ""), assigned());
  history.note(10'100, kUnix, note(Note::Kind::alarm, "drbdadm primary r0: exit 17"), assigned());
  ClusterStatus next = assigned(Reason::failed);
  next.groups[0].ownership = {kNew + 1, 3, 2, Reason::failed};
  history.note(10'200, kUnix, note(Note::Kind::decision, "", kNew + 1), next);
  ASSERT_EQ(history.changes().size(), 2u);
  EXPECT_EQ(history.changes()[0].outcome, OwnerChange::Outcome::overtaken);
  EXPECT_EQ(history.changes()[0].text, "drbdadm primary r0: exit 17");
  EXPECT_EQ(history.changes()[1].to, "iscsi-2");
}

TEST(History, AChangeThatOthersDecidedIsLearnt) {
  History history;
  history.observe(5'000, kUnix, healthy().status);
  EXPECT_TRUE(history.changes().empty()) << "the first sight of a group is no change";
  history.note(10'000, kUnix, note(Note::Kind::decision, ""), assigned());
  ClusterStatus later = assigned(Reason::node_lost);
  later.groups[0].ownership = {kNew + 65536, 3, 2, Reason::node_lost};
  history.observe(99'000, kUnix + 89'000, later);
  ASSERT_EQ(history.changes().size(), 2u);
  EXPECT_EQ(history.changes()[1].epoch, kNew + 65536);
}

TEST(History, IsBounded) {
  History history;
  ClusterStatus status = assigned();
  for (Epoch epoch = 1; epoch <= 150; ++epoch) {
    status.groups[0].ownership.epoch = epoch;
    for (int i = 0; i < 10; ++i) history.note(10'000, kUnix, note(Note::Kind::decision, "", epoch), status);
  }
  for (int i = 0; i < 100; ++i) history.note(10'000, kUnix, note(Note::Kind::step, "s", 150), status);
  EXPECT_EQ(history.changes().size(), kHistoryChangesMax);
  EXPECT_EQ(history.changes().back().steps.size(), kHistoryStepsMax);
  EXPECT_EQ(history.notes().size(), kHistoryNotesMax);
  EXPECT_EQ(history.changes().back().epoch, 150u);
}

TEST(History, ShowsTheNewestOfAGroup) {
  History history;
  ClusterStatus status = assigned();
  for (Epoch epoch = 1; epoch <= 5; ++epoch) {
    status.groups[0].ownership.epoch = epoch;
    history.note(10'000, kUnix, note(Note::Kind::decision, "", epoch), status);
  }
  const Json shown = Json::parse(history.shown("drbd0", 2, false, "iscsi-2"));
  ASSERT_EQ(shown["changes"].size(), 2u);
  EXPECT_EQ(shown["changes"][1]["epoch"], 5);
  EXPECT_EQ(shown["changes"][1]["pause_ms"], nullptr);
  EXPECT_EQ(shown["node"], "iscsi-2");
  EXPECT_FALSE(shown.contains("notes"));
  EXPECT_EQ(Json::parse(history.shown("other", 9, false, ""))["changes"].size(), 0u);
  EXPECT_EQ(Json::parse(history.shown("", 9, true, ""))["notes"].size(), 5u);
}

TEST(History, ComesBackAsItWas) {
  History history;
  history.note(10'000, kUnix, note(Note::Kind::decision, "a \"b\" \xff"), assigned());
  history.note(10'200, kUnix, note(Note::Kind::step, "promoted"), active(20));
  ClusterStatus next = assigned();
  next.groups[0].ownership = {kNew + 1, 3, 2, Reason::drained};
  history.note(20'000, kUnix, note(Note::Kind::decision, "", kNew + 1), next);
  History again;
  ASSERT_TRUE(again.from_json(history.to_json()).ok());
  ASSERT_EQ(again.changes().size(), 2u);
  EXPECT_EQ(again.changes()[0], history.changes()[0]);
  // How that went on, nobody knows.
  EXPECT_EQ(again.changes()[1].outcome, OwnerChange::Outcome::lost);
  EXPECT_EQ(again.notes().size(), 3u);
}

TEST(History, WhatIsNoHistoryIsRefusedWhole) {
  History good;
  good.note(10'000, kUnix, note(Note::Kind::decision, ""), assigned());
  Json other = Json::parse(good.to_json());
  other["changes"][0]["reason"] = "boredom";
  Json old = Json::parse(good.to_json());
  old["format"] = 2;
  Json mistyped = Json::parse(good.to_json());
  mistyped["notes"][0]["epoch"] = "x";
  for (const std::string& text : {std::string(), std::string("{"), std::string("[]"), std::string("{}"),
                                  other.dump(), old.dump(), mistyped.dump(), good.to_json().substr(0, 100)}) {
    History history;
    EXPECT_FALSE(history.from_json(text).ok()) << text;
    EXPECT_TRUE(history.changes().empty());
  }
}

class HistoryFileTest : public testing::Test {
 protected:
  HistoryFileTest() {
    std::string name = std::filesystem::temp_directory_path() / "itgtd-history-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ + "/history.json";
  }
  ~HistoryFileTest() override { std::filesystem::remove_all(folder_); }
  void run_for(int ms) {
    const control::Subscription end = loop_.timer(std::chrono::milliseconds(ms), [this] { loop_.stop(); });
    loop_.run();
  }

  std::string folder_;
  std::string path_;
  control::EventLoop loop_;
};

TEST_F(HistoryFileTest, IsWrittenOnceASecondAndAtTheEnd) {
  int watched = 0;
  {
    History history;
    HistoryFile file(loop_, history, path_, [&watched] { ++watched; });
    ASSERT_TRUE(file.load().ok()) << "none is no error";
    history.note(10'000, kUnix, note(Note::Kind::decision, ""), assigned());
    run_for(450);
    EXPECT_FALSE(std::filesystem::exists(path_));
    EXPECT_GE(watched, 2) << "a pending change is watched closely";
    run_for(800);
    EXPECT_TRUE(std::filesystem::exists(path_));
    history.observe(10'500, kUnix, active(100));
    watched = 0;
    run_for(1100);
    EXPECT_LE(watched, 2);
    EXPECT_GE(watched, 1);
    history.note(10'000, kUnix, note(Note::Kind::info, "last words"), assigned());
  }
  History history;
  HistoryFile file(loop_, history, path_, nullptr);
  ASSERT_TRUE(file.load().ok());
  EXPECT_EQ(history.changes().size(), 1u);
  EXPECT_EQ(history.notes().back().note.text, "last words");
}

TEST_F(HistoryFileTest, ABrokenOneIsSetAside) {
  std::ofstream(path_) << "{\"format\":1,\"changes\":[{";
  History history;
  HistoryFile file(loop_, history, path_, nullptr);
  const Result<void> loaded = file.load();
  ASSERT_FALSE(loaded.ok());
  EXPECT_THAT(loaded.error().message, testing::HasSubstr("set aside as " + path_ + ".bad"));
  EXPECT_TRUE(std::filesystem::exists(path_ + ".bad"));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(HistoryFileTest, AFolderThatIsGoneIsNoEnd) {
  History history;
  {
    HistoryFile file(loop_, history, folder_ + "/no/history.json", nullptr);
    history.note(10'000, kUnix, note(Note::Kind::decision, ""), assigned());
    run_for(1100);
  }
  EXPECT_EQ(history.changes().size(), 1u);
}

}  // namespace
}  // namespace itgtd::ha
