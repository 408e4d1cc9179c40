#include <gtest/gtest.h>

#include "tests/ha/core/cluster.h"

namespace itgtd::ha {
namespace {

class Wishes : public ::testing::Test {
 protected:
  void SetUp() override {
    GroupSpec narrow = make_group("narrow", 2);
    cluster.emplace(3);
    cluster->start({make_group("g", 3), narrow});
    ASSERT_TRUE(cluster->run_until(
        [&] { return cluster->server("g") == 1 && cluster->server("narrow") == 1; }, 4000));
    cluster->run_for(3000);
  }
  [[nodiscard]] std::string reason(const Wish& wish, NodeId at = 2) const {
    return check_wish(*cluster->daemons.at(at).state, wish, cluster->now).value_or("");
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }
  std::optional<Cluster> cluster;
};

TEST_F(Wishes, ThatCanBe) {
  EXPECT_EQ(reason({Wish::Kind::move, "g", 0}), "");
  EXPECT_EQ(reason({Wish::Kind::move, "g", 3}), "");
  EXPECT_EQ(reason({Wish::Kind::drain, "", 3}), "");
  EXPECT_EQ(reason({Wish::Kind::maintenance_on, "", 0}), "");
}

TEST_F(Wishes, ThatCanNotBeSayWhy) {
  EXPECT_TRUE(has(reason({Wish::Kind::move, "nope", 0}), "no group \"nope\""));
  EXPECT_TRUE(has(reason({Wish::Kind::move, "g", 77}), "does not know node 77"));
  EXPECT_TRUE(has(reason({Wish::Kind::move, "g", 1}), "on node-1 already"));
  EXPECT_TRUE(has(reason({Wish::Kind::move, "narrow", 3}), "not in its list"));
  EXPECT_TRUE(has(reason({Wish::Kind::drain, "", 0}), "does not know node 0"));
  EXPECT_TRUE(has(reason({Wish::Kind::undrain, "", 2}), "not drained"));
  EXPECT_TRUE(has(reason({Wish::Kind::maintenance_off, "", 0}), "off already"));
  StorageFacts bad = cluster->daemons[3].storage["g"];
  bad.fitness = StorageFitness::inconsistent;
  bad.detail = "r0 is SyncTarget";
  cluster->storage(3, "g", bad);
  cluster->run_for(300);
  EXPECT_TRUE(has(reason({Wish::Kind::move, "g", 3}), "r0 is SyncTarget"));
  cluster->event(2, Asked{Wish{Wish::Kind::maintenance_on, "", 0}});
  cluster->run_for(100);
  EXPECT_TRUE(has(reason({Wish::Kind::move, "g", 2}), "maintenance"));
  cluster->partition({{1, 3}, {2}});
  cluster->run_for(cluster->timing.lease_ms + 100);
  EXPECT_TRUE(has(reason({Wish::Kind::drain, "", 3}), "no lease"));
}

TEST_F(Wishes, OneThatCanNotBeIsNotSent) {
  cluster->event(2, Asked{Wish{Wish::Kind::move, "narrow", 3}});
  cluster->run_for(2000);
  EXPECT_EQ(cluster->server("narrow"), 1U);
  EXPECT_EQ(cluster->count_notes(2, Note::Kind::info, "not done"), 1U);
}

TEST_F(Wishes, AMoveIsDoneOnce) {
  cluster->event(3, Asked{Wish{Wish::Kind::move, "g", 0}});
  ASSERT_TRUE(cluster->run_until([&] { return cluster->server("g") == 2; }, 1000));
  cluster->run_for(20000);
  EXPECT_EQ(cluster->server("g"), 2U);
  EXPECT_EQ(cluster->server("narrow"), 1U);
}

TEST_F(Wishes, OfNodesThatNobodyKnowsAreDropped) {
  const uint64_t before = cluster->daemons[1].state->node().messages_dropped;
  cluster->event(1, Delivered{{2, cluster->daemons[2].pid}, Wish{Wish::Kind::drain, {}, 77}});
  EXPECT_EQ(cluster->daemons[1].state->node().messages_dropped, before + 1);
  EXPECT_TRUE(cluster->daemons[1].state->node().table.standing.drained.empty());
}

}  // namespace
}  // namespace itgtd::ha
