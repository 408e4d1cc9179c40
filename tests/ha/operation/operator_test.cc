// What an operator may wish for, and what is said of what can't be.
#include "ha/operator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/ha/operation/situations.h"

namespace itgtd::ha {
namespace {

using testing::HasSubstr;

std::string refusal(const Result<Wish>& wish) {
  return wish ? "" : wish.error().message;
}

TEST(Move, ToANode) {
  const Situation s = healthy();
  const Result<Wish> wish = wish_to_move(s.status, s.candidates, "drbd0", "iscsi-1");
  ASSERT_TRUE(wish.ok());
  EXPECT_EQ(wish.value().kind, Wish::Kind::move);
  EXPECT_EQ(wish.value().group, "drbd0");
  EXPECT_EQ(wish.value().node, 2u);
  const Result<Wish> best = wish_to_move(s.status, s.candidates, "drbd0", "");
  ASSERT_TRUE(best.ok());
  EXPECT_EQ(best.value().node, 0u);
}

TEST(Move, IsRefusedWithTheReason) {
  Situation s = healthy();
  const auto move = [&s](const std::string& group, const std::string& node) {
    return refusal(wish_to_move(s.status, s.candidates, group, node));
  };
  EXPECT_EQ(move("drbd9", "iscsi-1"), "there is no group drbd9; the groups are: drbd0");
  EXPECT_EQ(move("drbd0", "iscsi-9"),
            "corosync knows no node iscsi-9; its nodes are: iscsi-0, iscsi-1, iscsi-2");
  EXPECT_EQ(move("drbd0", "iscsi-0"), "iscsi-0 is the owner of drbd0 already");
  s.candidates[1].eligible = false;
  s.candidates[1].reason = "its disk is Outdated";
  EXPECT_EQ(move("drbd0", "iscsi-1"), "iscsi-1 can't take drbd0: its disk is Outdated");
  EXPECT_EQ(move("drbd0", ""), "");
  s.candidates.pop_back();
  EXPECT_EQ(move("drbd0", "iscsi-2"), "iscsi-2 is no node of drbd0; its nodes are: iscsi-0, iscsi-1");
  EXPECT_EQ(move("drbd0", ""), "no other node can take drbd0: iscsi-1: its disk is Outdated");
  s.status.maintenance = true;
  EXPECT_THAT(move("drbd0", ""), HasSubstr("itgtctl maintenance off"));
}

TEST(Wishes, NeedAQuorum) {
  Situation s = healthy();
  s.status.quorate = false;
  EXPECT_THAT(refusal(wish_to_move(s.status, s.candidates, "drbd0", "iscsi-1")), HasSubstr("no quorum"));
  EXPECT_THAT(refusal(wish_to_drain(s.status, "iscsi-1", true)), HasSubstr("no quorum"));
  EXPECT_THAT(refusal(wish_for_maintenance(s.status, true)), HasSubstr("no quorum"));
  s.status.connected = false;
  EXPECT_THAT(refusal(wish_for_maintenance(s.status, true)), HasSubstr("no connection to corosync"));
}

TEST(Drain, NamesANode) {
  const Situation s = healthy();
  EXPECT_EQ(wish_to_drain(s.status, "iscsi-1", true).value().kind, Wish::Kind::drain);
  EXPECT_EQ(wish_to_drain(s.status, "iscsi-1", false).value().kind, Wish::Kind::undrain);
  EXPECT_EQ(wish_to_drain(s.status, "iscsi-1", false).value().node, 2u);
  EXPECT_THAT(refusal(wish_to_drain(s.status, "", true)), HasSubstr("its nodes are: iscsi-0"));
}

TEST(Maintenance, OnAndOff) {
  const Situation s = healthy();
  EXPECT_EQ(wish_for_maintenance(s.status, true).value().kind, Wish::Kind::maintenance_on);
  EXPECT_EQ(wish_for_maintenance(s.status, false).value().kind, Wish::Kind::maintenance_off);
}

}  // namespace
}  // namespace itgtd::ha
