// The JSON of status and why: what programs rely on.
#include "ha/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/ha/operation/situations.h"

namespace itgtd::ha {
namespace {

using Json = nlohmann::json;

Json status_of(const Situation& situation) {
  return Json::parse(status_json(situation.status, {"0.1.0", situation.trouble, "summary", situation.shown}));
}

TEST(Status, HasTheFacts) {
  const Json json = status_of(healthy());
  EXPECT_EQ(json["configured"], true);
  EXPECT_EQ(json["node"], "iscsi-2");
  EXPECT_EQ(json["ring"]["seq"], 42);
  EXPECT_EQ(json["problems"], Json::array());
  ASSERT_EQ(json["nodes"].size(), 3u);
  EXPECT_EQ(json["nodes"][0]["name"], "iscsi-0");
  const Json& group = json["groups"][0];
  EXPECT_EQ(group["state"], "active");
  EXPECT_EQ(group["owner"], "iscsi-0");
  EXPECT_EQ(group["epoch"], 2752513);
  EXPECT_EQ(group["sessions"], 2);
  EXPECT_EQ(group["storage"], "r0");
  EXPECT_EQ(group["problems"], Json::array());
  EXPECT_EQ(group["nodes"][0]["vips"][1]["address"], "192.168.221.35");
  EXPECT_EQ(group["nodes"][0]["vips"][1]["state"], "up");
  EXPECT_EQ(group["nodes"][1]["vips"][1]["state"], "ready");
}

TEST(Status, ActiveMeansOfThePresentEpoch) {
  Situation situation = healthy();
  situation.status.groups[0].ownership.epoch += 1;
  EXPECT_EQ(status_of(situation)["groups"][0]["state"], "waiting");
}

TEST(Status, AnOwnerThatIsNotSeen) {
  Situation situation = healthy();
  situation.status.groups[0].reports.erase(1);
  EXPECT_EQ(status_of(situation)["groups"][0]["state"], "owner lost");
  situation.status.quorate = false;
  EXPECT_EQ(status_of(situation)["groups"][0]["state"], "unknown");
}

TEST(Status, WhatANodeSaysNeedNotBeText) {
  Situation situation = healthy();
  situation.status.groups[0].reports[2].failure = "\xff\n";
  situation.status.groups[0].reports[2].vips.clear();
  situation.status.groups[0].reports[9] = {};  // a node that corosync's list does not have
  situation.shown.clear();
  const Json json = status_of(situation);
  EXPECT_EQ(json["groups"][0]["nodes"].size(), 4u);
  EXPECT_EQ(json["groups"][0]["nodes"][3]["node"], "node 9");
}

TEST(Status, NothingIsWrongWhereNothingIs) {
  const Situation situation = healthy();
  EXPECT_TRUE(cluster_problems(situation.status, "").empty());
  EXPECT_TRUE(
      group_problems(situation.status, situation.status.groups[0], situation.shown.at("drbd0")).empty());
}

TEST(Status, EachProblemSaysWhatToDo) {
  size_t problems = 0;
  for (const Situation& situation : all_situations()) {
    for (const Problem& problem : cluster_problems(situation.status, situation.trouble)) {
      EXPECT_FALSE(problem.advice.empty()) << situation.name << ": " << problem.what;
      ++problems;
    }
  }
  EXPECT_GT(problems, 8u);
}

TEST(Status, NodesWithoutAnInterfaceForAVipAreNamed) {
  Situation situation = healthy();
  GroupStatus& group = situation.status.groups[0];
  GroupShown& shown = situation.shown.at("drbd0");
  const auto whats = [&] {
    std::string text;
    for (const Problem& problem : group_problems(situation.status, group, shown)) text += problem.what + "\n";
    return text;
  };
  group.reports[2].vips[1] = {};
  EXPECT_EQ(whats(), "iscsi-1 has no interface in the network of VIP 192.168.221.35\n");
  group.reports[2].vips[0] = {};
  EXPECT_THAT(whats(), testing::StartsWith("iscsi-1 has no interface in the network of any VIP"));
  group.reports[1].vips[0] = {};
  EXPECT_THAT(whats(), testing::HasSubstr("VIP 192.168.222.35: iscsi-0 has no interface"));
  group.reports[1].vips[0] = {"enp0s8", true, true, false, ""};
  shown.nodes = {"iscsi-0", "iscsi-2"};
  EXPECT_EQ(whats(), "") << "it never owns it";
}

TEST(Status, WithoutACluster) {
  const Json json = Json::parse(status_json_without_cluster("0.1.0", "1 target"));
  EXPECT_EQ(json["configured"], false);
  EXPECT_EQ(json["summary"], "1 target");
}

TEST(Why, SaysWhoServesAndWhoIsNext) {
  Situation situation = healthy();
  const auto sentence = [&situation] {
    const Json why = Json::parse(why_json(situation.status, "drbd0", situation.candidates));
    return why["sentence"].get<std::string>();
  };
  EXPECT_EQ(sentence(), "iscsi-0 has served it for 3 d 2 h (first start); iscsi-1 would take over next.");
  situation.candidates[1].eligible = false;
  EXPECT_THAT(sentence(), testing::EndsWith("; iscsi-2 would take over next."));
  situation.candidates[2].eligible = false;
  EXPECT_THAT(sentence(), testing::EndsWith("; no other node could take over."));
  situation.status.maintenance = true;
  EXPECT_THAT(sentence(), testing::EndsWith("; maintenance is on: it stays where it is."));
}

TEST(Duration, HasTwoUnits) {
  EXPECT_EQ(duration_text(-5), "0.0 s");
  EXPECT_EQ(duration_text(850), "0.8 s");
  EXPECT_EQ(duration_text(59'999), "59 s");
  EXPECT_EQ(duration_text(312'000), "5 min 12 s");
  EXPECT_EQ(duration_text(3'600'000), "1 h 0 min");
  EXPECT_EQ(duration_text(266'400'000), "3 d 2 h");
}

}  // namespace
}  // namespace itgtd::ha
