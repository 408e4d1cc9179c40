#include "target/iscsi/directory.h"

#include <gtest/gtest.h>

namespace itgtd::iscsi::testing {
namespace {

using namespace std::string_literals;

constexpr std::string_view kClient = "iqn.1993-08.org.debian:client";

Address address(std::string_view text) {
  return Address::parse(text, 3260).value();
}

DirectoryTarget target(std::string name, std::initializer_list<std::string_view> portals) {
  DirectoryTarget result;
  result.name = std::move(name);
  for (const std::string_view portal : portals) result.portals.push_back(address(portal));
  return result;
}

Requester requester(std::string_view local = "192.168.222.35:3260") {
  return {std::string(kClient), address("192.168.222.9:50000"), address(local)};
}

TEST(FindTarget, ByNameWhateverItsCase) {
  Directory directory;
  directory.targets = {target("iqn.2017-01.com.linbit:a", {}), target("iqn.2017-01.com.linbit:b", {})};
  EXPECT_EQ(find_target(directory, "iqn.2017-01.com.linbit:b"), &directory.targets[1]);
  EXPECT_EQ(find_target(directory, "IQN.2017-01.COM.LINBIT:B"), &directory.targets[1]);
  EXPECT_EQ(find_target(directory, "iqn.2017-01.com.linbit:"), nullptr);
  EXPECT_EQ(find_target(directory, ""), nullptr);
}

bool admits(std::string_view pattern, std::string_view name) {
  DirectoryTarget t = target("iqn.2017-01.com.linbit:a", {});
  t.initiators = {std::string(pattern)};
  return may_access(t, name, address("10.0.0.1"));
}

TEST(MayAccess, Patterns) {
  EXPECT_TRUE(admits("iqn.1993-08.org.debian:client", kClient));
  EXPECT_TRUE(admits("IQN.1993-08.org.Debian:CLIENT", kClient));
  EXPECT_TRUE(admits("iqn.1993-08.org.debian:*", kClient));
  EXPECT_TRUE(admits("*", kClient));
  EXPECT_TRUE(admits("*debian*", kClient));
  EXPECT_TRUE(admits("*:clien?", kClient));
  EXPECT_TRUE(admits("**client**", kClient));
  EXPECT_TRUE(admits("*a*b*", "xaxaxb"));
  EXPECT_FALSE(admits("iqn.1993-08.org.debian", kClient));
  EXPECT_FALSE(admits("*:client?", kClient));
  EXPECT_FALSE(admits("?", kClient));
  EXPECT_FALSE(admits("", kClient));
  EXPECT_FALSE(admits("*a*b*c", "xaxaxb"));
}

// The work grows with pattern times text, not exponentially.
TEST(MayAccess, PatternsThatTryToRunAway) {
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "*a";
  EXPECT_FALSE(admits(pattern + "*b", std::string(223, 'a')));
}

TEST(MayAccess, NamesAndNetworksBoth) {
  DirectoryTarget t = target("iqn.2017-01.com.linbit:a", {});
  EXPECT_TRUE(may_access(t, kClient, address("10.0.0.1")));
  t.networks = {Network::parse("192.168.222.0/24").value(), Network::parse("2001:db8::/32").value()};
  EXPECT_TRUE(may_access(t, kClient, address("192.168.222.9")));
  EXPECT_TRUE(may_access(t, kClient, address("[2001:db8::9]")));
  EXPECT_FALSE(may_access(t, kClient, address("192.168.223.9")));
  t.initiators = {"iqn.2001-04.com.other:*"};
  EXPECT_FALSE(may_access(t, kClient, address("192.168.222.9")));
  t.initiators.emplace_back(kClient);
  EXPECT_TRUE(may_access(t, kClient, address("192.168.222.9")));
}

TEST(IsServedAt, PortalsAndWildcards) {
  const DirectoryTarget t = target("iqn.2017-01.com.linbit:a", {"10.0.0.1:3260", "[::]:3261"});
  EXPECT_TRUE(is_served_at(t, address("10.0.0.1:3260")));
  EXPECT_FALSE(is_served_at(t, address("10.0.0.1:3261")));
  EXPECT_FALSE(is_served_at(t, address("10.0.0.2:3260")));
  EXPECT_TRUE(is_served_at(t, address("[2001:db8::1]:3261")));
  EXPECT_FALSE(is_served_at(t, address("[2001:db8::1]:3260")));
  EXPECT_TRUE(is_served_at(target("iqn.2017-01.com.linbit:a", {}), address("10.0.0.2:3260")));
}

TEST(SendTargets, TheDiscoveryOfTheArticle) {
  Directory directory;
  directory.targets = {target("iqn.2017-01.com.linbit:drbd0", {"192.168.222.35", "192.168.221.35"})};
  EXPECT_EQ(send_targets(directory, "All", requester(), ""),
            "TargetName=iqn.2017-01.com.linbit:drbd0\0"
            "TargetAddress=192.168.222.35:3260,1\0"
            "TargetAddress=192.168.221.35:3260,1\0"s);
}

TEST(SendTargets, AllOneOrOwn) {
  Directory directory;
  directory.targets = {target("iqn.2017-01.com.linbit:a", {"[2001:db8::35]:3261"}),
                       target("iqn.2017-01.com.linbit:b", {"10.0.0.1"})};
  directory.targets[0].portal_group_tag = 65535;
  const std::string a = "TargetName=iqn.2017-01.com.linbit:a\0TargetAddress=[2001:db8::35]:3261,65535\0"s;
  const std::string b = "TargetName=iqn.2017-01.com.linbit:b\0TargetAddress=10.0.0.1:3260,1\0"s;
  EXPECT_EQ(send_targets(directory, "All", requester(), ""), a + b);
  EXPECT_EQ(send_targets(directory, "iqn.2017-01.com.linbit:b", requester(), ""), b);
  EXPECT_EQ(send_targets(directory, "", requester(), "iqn.2017-01.com.linbit:a"), a);
  EXPECT_EQ(send_targets(directory, "iqn.2017-01.com.linbit:c", requester(), ""), "");
  EXPECT_EQ(send_targets(directory, "all", requester(), ""), "");
  EXPECT_EQ(send_targets(directory, "", requester(), ""), "");
}

TEST(SendTargets, ListsOnlyWhatMayBeSeen) {
  Directory directory;
  directory.targets = {target("iqn.2017-01.com.linbit:a", {"10.0.0.1"}),
                       target("iqn.2017-01.com.linbit:b", {"10.0.0.1"}),
                       target("iqn.2017-01.com.linbit:c", {"10.0.0.1"})};
  directory.targets[0].initiators = {"iqn.2001-04.com.other:*"};
  directory.targets[1].networks = {Network::parse("10.0.0.0/8").value()};
  directory.targets[2].chap = ChapCredentials{"user", "secretsecret", "", ""};
  EXPECT_EQ(send_targets(directory, "All", requester(), ""),
            "TargetName=iqn.2017-01.com.linbit:c\0TargetAddress=10.0.0.1:3260,1\0"s);
  EXPECT_EQ(send_targets(directory, "iqn.2017-01.com.linbit:a", requester(), ""), "");
}

TEST(SendTargets, WildcardsAreTheAddressReached) {
  Directory directory;
  directory.targets = {target("iqn.2017-01.com.linbit:a", {"0.0.0.0:3260", "[::]:3260", "10.0.0.1:3260"})};
  const std::string name = "TargetName=iqn.2017-01.com.linbit:a\0"s;
  EXPECT_EQ(send_targets(directory, "All", requester("10.0.0.7:3260"), ""),
            name + "TargetAddress=10.0.0.7:3260,1\0TargetAddress=10.0.0.1:3260,1\0"s);
  EXPECT_EQ(send_targets(directory, "All", requester("10.0.0.1:3260"), ""),
            name + "TargetAddress=10.0.0.1:3260,1\0"s);
  EXPECT_EQ(send_targets(directory, "All", requester("[2001:db8::7]:3260"), ""),
            name + "TargetAddress=[2001:db8::7]:3260,1\0TargetAddress=10.0.0.1:3260,1\0"s);
}

}  // namespace
}  // namespace itgtd::iscsi::testing
