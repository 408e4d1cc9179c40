#include "target/cluster_setup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace itgtd::target {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

config::Config seed() {
  config::Config config;
  config.cluster.emplace();
  config::GroupConfig group;
  group.name = "drbd0";
  group.drbd = "r0";
  group.vips = {{"192.168.222.35", 24, ""}, {"192.168.221.35", 24, "enp0s9"}};
  group.nodes = {"iscsi-2", "iscsi-0"};
  config.groups.push_back(group);
  config::TargetConfig target;
  target.name = "iqn.2017-01.com.linbit:drbd0";
  target.group = "drbd0";
  target.portals = {"192.168.222.35:3260", "192.168.221.35:3260", "10.0.0.1:3260"};
  config::LunConfig lun;
  lun.path = "/dev/drbd0";
  lun.serial = "aaaaaaa0";
  target.luns.push_back(lun);
  config.targets.push_back(target);
  config::TargetConfig local = target;
  local.name = "iqn.2017-01.com.linbit:local";
  local.group.clear();
  config.targets.push_back(local);
  return config;
}

uint64_t digest(const config::Config& config) {
  return group_setups(config).front().digest;
}

TEST(ClusterSetup, HasTheGroupAsTheConfigurationSays) {
  const auto setups = group_setups(seed());
  ASSERT_EQ(setups.size(), 1U);
  const ha::GroupSetup& setup = setups.front();
  EXPECT_EQ(setup.name, "drbd0");
  EXPECT_EQ(setup.drbd, "r0");
  EXPECT_THAT(setup.nodes, ElementsAre("iscsi-2", "iscsi-0"));
  EXPECT_EQ(setup.vips.at(1).interface, "enp0s9");
  // Only what moves is guarded: an address of the node itself stays open.
  EXPECT_THAT(setup.portals, ElementsAre("192.168.222.35:3260", "192.168.221.35:3260"));
  EXPECT_THAT(setup.disks, ElementsAre()) << "DRBD says itself how its disks are";
}

TEST(ClusterSetup, SharedDisksAreLookedFor) {
  config::Config config = seed();
  config.groups[0].drbd.clear();
  config.groups[0].shared_storage = true;
  config.targets[0].luns[0].path = "/dev/disk/by-id/x";
  EXPECT_THAT(group_setups(config).front().disks, ElementsAre("/dev/disk/by-id/x"));
}

TEST(ClusterSetup, WhatInitiatorsSeeIsInTheDigest) {
  const uint64_t before = digest(seed());
  EXPECT_EQ(digest(seed()), before);
  const auto differs = [&](auto change) {
    config::Config config = seed();
    change(config);
    return digest(config) != before;
  };
  EXPECT_TRUE(differs([](config::Config& c) { c.groups[0].vips.pop_back(); }));
  EXPECT_TRUE(differs([](config::Config& c) { std::swap(c.groups[0].nodes[0], c.groups[0].nodes[1]); }));
  EXPECT_TRUE(differs([](config::Config& c) { c.targets[0].luns[0].serial = "aaaaaaa1"; }));
  EXPECT_TRUE(differs([](config::Config& c) { c.targets[0].luns[0].write_cache = false; }));
  EXPECT_TRUE(differs([](config::Config& c) { c.targets[0].initiators = {"iqn.1993-08.org.debian:*"}; }));
  EXPECT_TRUE(differs([](config::Config& c) { c.targets[0].chap.emplace().secret = "s"; }));
}

TEST(ClusterSetup, WhatMayDifferBetweenMachinesIsNot) {
  const uint64_t before = digest(seed());
  config::Config config = seed();
  config.groups[0].vips[1].interface = "eth1";
  config.targets[0].luns[0].path = "/dev/drbd/by-res/r0/0";
  config.targets[1].luns.clear();  // of no group
  EXPECT_EQ(digest(config), before);
}

TEST(ClusterSetup, NoSecretIsInTheText) {
  config::Config config = seed();
  config.targets[0].chap.emplace();
  config.targets[0].chap->user = "u";
  config.targets[0].chap->secret = "very-secret-words";
  EXPECT_THAT(group_text(config, config.groups[0]), Not(HasSubstr("very-secret-words")));
}

}  // namespace
}  // namespace itgtd::target
