#include "ha/adapters/drbd_model.h"

#include <gtest/gtest.h>

#include <string_view>

#include "tests/ha/adapters/drbd_recordings.h"

namespace itgtd::ha {
namespace {

using Action = DrbdEvent::Action;
using Object = DrbdEvent::Object;

TEST(DrbdEventTest, ALine) {
  const auto event = parse_drbd_event(
      "change peer-device name:r0 peer-node-id:1 conn-name:b volume:0 replication:SyncSource "
      "peer-disk:Inconsistent");
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->action, Action::change);
  EXPECT_EQ(event->object, Object::peer_device);
  EXPECT_EQ(event->field("name"), "r0");
  EXPECT_EQ(event->field("replication"), "SyncSource");
  EXPECT_EQ(event->field("role"), "");
}

TEST(DrbdEventTest, ValuesHoldColons) {
  const auto event = parse_drbd_event(
      "exists path name:r0 peer-node-id:1 local:ipv6:[fd00::1]:7788 peer:ipv4:10.0.0.2:7788");
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->object, Object::other);
  EXPECT_EQ(event->field("local"), "ipv6:[fd00::1]:7788");
}

TEST(DrbdEventTest, WhatLaterVersionsAddIsKept) {
  const auto event =
      parse_drbd_event("exists resource name:r0 role:Secondary brand-new:1 noise may_promote:no\r");
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->field("brand-new"), "1");
  EXPECT_EQ(event->field("may_promote"), "no");
  const auto object = parse_drbd_event("create quux name:r0 x:y");
  ASSERT_TRUE(object.has_value());
  EXPECT_EQ(object->object, Object::other);
}

TEST(DrbdEventTest, Marks) {
  EXPECT_EQ(parse_drbd_event("exists -")->action, Action::dump_complete);
  EXPECT_EQ(parse_drbd_event("- skipped 12")->action, Action::skipped);
}

TEST(DrbdEventTest, NotALine) {
  for (const std::string_view line :
       {"", "   ", "exists", "- lost 1", "events2: unrecognized option '--full'",
        "USAGE: drbdsetup command device", "r0 role:Secondary",
        "Failed to modprobe drbd (No such file or directory)"}) {
    EXPECT_FALSE(parse_drbd_event(line).has_value()) << line;
  }
}

class DrbdModelTest : public ::testing::Test {
 protected:
  void feed(std::string_view text) {
    while (!text.empty()) {
      const std::string_view line = text.substr(0, text.find('\n'));
      text.remove_prefix(std::min(line.size() + 1, text.size()));
      if (const auto event = parse_drbd_event(line)) model_.apply(*event);
    }
  }
  /// The rest of a recording is fed as far as the line "# mark".
  void feed_to(std::string_view mark) {
    const size_t end = rest_.find("# " + std::string(mark));
    ASSERT_NE(end, std::string_view::npos) << mark;
    feed(rest_.substr(0, end));
    rest_.remove_prefix(rest_.find('\n', end));
  }
  /// A DRBD 9 node of three: `disk` here; b is UpToDate and connected; c is a diskless tiebreaker.
  void drbd9(const std::string& disk, const std::string& resource_state = "role:Secondary suspended:no",
             const std::string& device_state = "client:no quorum:yes") {
    feed("exists resource name:r0 " + resource_state + " force-io-failures:no\n" +
         "exists connection name:r0 peer-node-id:1 conn-name:b connection:Connected role:Secondary\n"
         "exists connection name:r0 peer-node-id:2 conn-name:c connection:Connected role:Secondary\n"
         "exists device name:r0 volume:0 minor:0 backing_dev:/dev/vg/r0 disk:" +
         disk + " " + device_state +
         "\nexists peer-device name:r0 peer-node-id:1 conn-name:b volume:0 replication:Established "
         "peer-disk:UpToDate peer-client:no resync-suspended:no\n"
         "exists peer-device name:r0 peer-node-id:2 conn-name:c volume:0 replication:Established "
         "peer-disk:Diskless peer-client:yes resync-suspended:no\n"
         "exists path name:r0 peer-node-id:1 conn-name:b local:ipv4:10.0.0.1:7788 peer:ipv4:10.0.0.2:7788 "
         "established:yes\nexists -\n");
  }
  [[nodiscard]] StorageFacts facts() const { return model_.facts("r0"); }
  [[nodiscard]] StorageFitness fitness() const { return facts().fitness; }

  DrbdModel model_;
  std::string_view rest_;
};

TEST_F(DrbdModelTest, NothingIsKnownBeforeTheDumpIsComplete) {
  feed(
      "exists resource name:r0 role:Primary suspended:no\nexists device name:r0 volume:0 minor:0 "
      "disk:UpToDate\n");
  EXPECT_EQ(fitness(), StorageFitness::unknown);
  EXPECT_FALSE(facts().primary);
  EXPECT_EQ(facts().detail, "");
  feed("exists -\n");
  EXPECT_EQ(fitness(), StorageFitness::usable);
  EXPECT_TRUE(facts().primary);
}

TEST_F(DrbdModelTest, AResourceThatIsDown) {
  feed("exists -\n");
  EXPECT_EQ(fitness(), StorageFitness::unknown);
  EXPECT_EQ(facts().detail, "the resource is down: drbdadm up r0");
  EXPECT_FALSE(model_.has("r0"));
}

TEST_F(DrbdModelTest, Recording84NodeOne) {
  rest_ = kDrbd84NodeOne;
  feed_to("force");
  EXPECT_EQ(fitness(), StorageFitness::inconsistent) << "new disks, nobody is UpToDate";
  EXPECT_EQ(facts().disk, "Inconsistent");
  EXPECT_FALSE(model_.connecting("r0"));
  feed_to("sync");
  StorageFacts expected;
  expected.fitness = StorageFitness::usable;
  expected.primary = true;
  expected.role = "Primary";
  expected.disk = "UpToDate";
  EXPECT_EQ(facts(), expected) << "the peer is a sync target, so it could not take over";
  feed_to("two is primary");
  expected.primary = false;
  expected.role = "Secondary";
  expected.peer_primary = true;
  expected.peers_connected = true;
  EXPECT_EQ(facts(), expected);
  feed_to("link down");
  feed_to("primary while cut");
  EXPECT_TRUE(model_.connecting("r0"));
  expected.peer_primary = false;
  expected.peers_connected = false;
  EXPECT_EQ(facts(), expected) << "8.4 can't know that the other goes on";
  feed_to("link up");
  EXPECT_TRUE(facts().primary);
  feed(rest_.substr(0, rest_.find("change resource name:r0 role:Secondary")));
  EXPECT_EQ(fitness(), StorageFitness::usable) << "it serves what it has served";
  EXPECT_EQ(facts().detail, "StandAlone towards its peer after a split brain: nothing is replicated there");
  rest_.remove_prefix(rest_.find("change resource name:r0 role:Secondary"));
  feed(rest_.substr(0, rest_.find('\n')));
  EXPECT_EQ(fitness(), StorageFitness::unusable) << "whoever writes here now makes it worse";
  EXPECT_NE(facts().detail.find("StandAlone towards its peer: split brain;"), std::string::npos)
      << facts().detail;
  feed(rest_);
  EXPECT_FALSE(model_.has("r0"));
  EXPECT_EQ(fitness(), StorageFitness::unknown);
}

TEST_F(DrbdModelTest, Recording84NodeTwo) {
  rest_ = kDrbd84NodeTwo;
  feed_to("one is primary");
  feed_to("primary here");
  EXPECT_EQ(fitness(), StorageFitness::usable) << "synchronised meanwhile";
  EXPECT_TRUE(facts().peers_connected);
  feed(rest_.substr(0, rest_.find("disk:Failed")));
  EXPECT_EQ(fitness(), StorageFitness::unusable);
}

TEST_F(DrbdModelTest, ASyncTargetIsNotPromoted) {
  rest_ = kDrbd84NodeTwo;
  feed_to("one is primary");
  feed(rest_.substr(0, rest_.find("change connection name:r0 peer-node-id:0 conn-name:peer role:Secondary")));
  EXPECT_EQ(fitness(), StorageFitness::inconsistent);
  EXPECT_TRUE(facts().peer_primary);
  EXPECT_EQ(facts().detail, "volume 0 is Inconsistent");
}

// What a dump of 8.4 says of a connection that is StandAlone has no conn-name, unlike its events.
TEST_F(DrbdModelTest, StandAloneInADumpOf84) {
  feed(
      "exists resource name:r0 role:Secondary suspended:no\n"
      "exists connection name:r0 peer-node-id:0 connection:StandAlone role:Unknown\n"
      "exists device name:r0 volume:0 minor:0 disk:UpToDate\n"
      "exists peer-device name:r0 peer-node-id:0 volume:0 replication:Off peer-disk:DUnknown "
      "resync-suspended:no\n"
      "exists -\n");
  EXPECT_EQ(fitness(), StorageFitness::unusable);
  EXPECT_FALSE(model_.connecting("r0"));
  feed("change connection name:r0 peer-node-id:0 conn-name:peer connection:Connecting\n");
  EXPECT_EQ(fitness(), StorageFitness::usable);
  EXPECT_EQ(facts().detail, "");
}

TEST_F(DrbdModelTest, Drbd9Usable) {
  drbd9("UpToDate");
  StorageFacts expected;
  expected.fitness = StorageFitness::usable;
  expected.peers_connected = true;
  expected.role = "Secondary";
  expected.disk = "UpToDate";
  EXPECT_EQ(facts(), expected);
}

TEST_F(DrbdModelTest, Drbd9WithoutQuorum) {
  drbd9("UpToDate", "role:Secondary suspended:no may_promote:no", "client:no quorum:no");
  EXPECT_FALSE(facts().quorate);
  EXPECT_EQ(facts().detail, "DRBD has no quorum: too few of its nodes are connected");
}

TEST_F(DrbdModelTest, Drbd9Diskless) {
  drbd9("Diskless", "role:Secondary suspended:no may_promote:yes", "client:yes quorum:yes");
  EXPECT_EQ(fitness(), StorageFitness::diskless);
  EXPECT_EQ(facts().detail, "") << "that is how it is configured";
  feed("change resource name:r0 may_promote:no promotion_score:1\n");
  EXPECT_EQ(fitness(), StorageFitness::inconsistent) << "the peer's disk is not stable";
  feed("change connection name:r0 peer-node-id:1 conn-name:b role:Primary\n");
  EXPECT_EQ(fitness(), StorageFitness::diskless) << "may_promote is no because of the Primary";
  feed(
      "change connection name:r0 peer-node-id:1 conn-name:b connection:Connecting role:Unknown\n"
      "change peer-device name:r0 peer-node-id:1 conn-name:b volume:0 replication:Off peer-disk:DUnknown\n");
  EXPECT_EQ(fitness(), StorageFitness::unusable);
  EXPECT_EQ(facts().detail, "volume 0 is Diskless, and no connected peer is UpToDate");
}

TEST_F(DrbdModelTest, AFailedDiskIsNamedOthersAreNot) {
  drbd9("Failed");
  EXPECT_EQ(fitness(), StorageFitness::diskless);
  EXPECT_EQ(facts().detail, "volume 0 is Failed: see the kernel's log, then drbdadm attach");
}

TEST_F(DrbdModelTest, TheWorstVolumeCounts) {
  drbd9("UpToDate");
  feed("create device name:r0 volume:1 minor:1 disk:Outdated client:no quorum:yes\n");
  EXPECT_EQ(fitness(), StorageFitness::inconsistent);
  EXPECT_EQ(facts().disk, "Outdated");
  feed("destroy device name:r0 volume:1 minor:1\n");
  EXPECT_EQ(fitness(), StorageFitness::usable);
}

TEST_F(DrbdModelTest, MayPromoteIsNotBelievedAlone) {
  drbd9("UpToDate", "role:Secondary suspended:no may_promote:yes");
  feed("change resource name:r0 force-io-failures:yes\n");
  EXPECT_EQ(fitness(), StorageFitness::unusable);
  drbd9("Outdated", "role:Secondary suspended:no may_promote:yes");
  EXPECT_EQ(fitness(), StorageFitness::inconsistent);
}

TEST_F(DrbdModelTest, ConsistentRanksBetween) {
  drbd9("Consistent");
  EXPECT_GT(fitness(), StorageFitness::inconsistent);
  EXPECT_LT(fitness(), StorageFitness::usable);
}

TEST_F(DrbdModelTest, StandAloneTowardsOneOfTwo) {
  drbd9("UpToDate");
  feed("change connection name:r0 peer-node-id:2 conn-name:c connection:StandAlone role:Unknown\n");
  EXPECT_EQ(fitness(), StorageFitness::usable) << "b has the same data";
  feed("change connection name:r0 peer-node-id:2 conn-name:c connection:StandAlone sync-state:SplitBrain\n");
  EXPECT_EQ(fitness(), StorageFitness::unusable);
  EXPECT_NE(facts().detail.find("towards c: split brain"), std::string::npos);
  feed("change connection name:r0 peer-node-id:2 conn-name:c connection:Connecting\n");
  EXPECT_EQ(fitness(), StorageFitness::usable) << "sync-state goes when it is not repeated";
}

TEST_F(DrbdModelTest, SuspendedIsSaid) {
  drbd9("UpToDate", "role:Primary suspended:quorum", "client:no quorum:no");
  EXPECT_EQ(facts().detail, "DRBD has suspended its I/O (quorum)");
}

TEST_F(DrbdModelTest, Rename) {
  drbd9("UpToDate");
  feed("rename resource name:r0 new_name:r1\n");
  EXPECT_FALSE(model_.has("r0"));
  EXPECT_EQ(model_.facts("r1").fitness, StorageFitness::usable);
}

TEST_F(DrbdModelTest, ResetForgetsAndTellsOfWhom) {
  drbd9("UpToDate");
  EXPECT_EQ(model_.take_changed(), std::set<std::string>{"r0"});
  EXPECT_TRUE(model_.take_changed().empty());
  feed("- skipped 3\n");
  EXPECT_TRUE(model_.lost_events());
  model_.reset();
  EXPECT_FALSE(model_.lost_events());
  EXPECT_FALSE(model_.complete());
  EXPECT_EQ(fitness(), StorageFitness::unknown);
  EXPECT_EQ(model_.take_changed(), std::set<std::string>{"r0"});
}

TEST_F(DrbdModelTest, NonsenseDoesNoHarm) {
  feed(
      "change device volume:0 disk:UpToDate\ndestroy resource name:nobody\nchange peer-device name:r9 x:y\n"
      "destroy connection name:r9\ndestroy peer-device name:r9 peer-node-id:7 volume:3\nexists -\n");
  EXPECT_EQ(model_.facts("r9").fitness, StorageFitness::unusable) << "no volumes";
  EXPECT_NE(model_.facts("r9").detail, "");
}

}  // namespace
}  // namespace itgtd::ha
