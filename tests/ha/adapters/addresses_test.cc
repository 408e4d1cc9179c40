#include "ha/adapters/addresses.h"

#include <gmock/gmock.h>

#include <map>

#include "tests/ha/adapters/network_namespace.h"

namespace itgtd::ha {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

// Longer than a test takes on a busy machine.
constexpr TimeMs kLifetime = 60'000;

class AddressesTest : public NetworkNamespaceTest {
 protected:
  void make() {
    addresses = std::make_unique<Addresses>(
        loop, [this](const Vip& vip, const VipFacts& facts) { told[vip.address] = facts; },
        [this](const VipPlace& place) { places.push_back(place); });
    const Result<void> started = addresses->start();
    ASSERT_TRUE(started.ok()) << started.error().to_string();
  }
  bool has(const std::string& address, const std::string& interface) {
    return succeeds(fmt::format("ip -o address show dev {} | grep -qw '{}'", interface, address));
  }

  std::map<std::string, VipFacts> told;
  std::vector<VipPlace> places;
  std::unique_ptr<Addresses> addresses;
};

TEST_F(AddressesTest, AddsWithALifetimeAndRemoves) {
  cable("v0", "v1");
  sh("ip address add 10.0.0.1/24 dev v0; ip address add 2001:db8::1/64 dev v0 nodad");
  make();
  const Vip four{"10.0.0.5", 24, ""};
  const Vip six{"2001:db8::5", 64, ""};
  addresses->follow({four, six});
  ASSERT_TRUE(run_until([&] { return told.size() == 2; }));
  EXPECT_EQ(told[four.address], (VipFacts{"v0", true, false, false, ""}));
  addresses->add(four, kLifetime);
  addresses->add(six, kLifetime);
  EXPECT_TRUE(places.empty());  // never from within a call
  ASSERT_TRUE(run_until([&] { return places.size() == 2; }));
  EXPECT_EQ(places[0].interface, "v0");
  EXPECT_TRUE(told[four.address].present);
  EXPECT_TRUE(told[six.address].usable());
  EXPECT_TRUE(succeeds(
      "ip address show dev v0 | grep -A1 10.0.0.5/32 | grep -q 'valid_lft 6[01]sec preferred_lft 0sec'"));
  EXPECT_TRUE(
      succeeds("ip address show dev v0 | grep 2001:db8::5/128 | grep -q 'nodad.*deprecated.*noprefixroute'"));
  EXPECT_FALSE(succeeds("ip address show dev v0 | grep 2001:db8::5/128 | grep -q tentative"));
  addresses->remove(four);
  addresses->remove(six);
  EXPECT_FALSE(addresses->facts(four).present);
  EXPECT_FALSE(addresses->facts(six).present);
  EXPECT_FALSE(has("10.0.0.5/32", "v0"));
  EXPECT_FALSE(has("2001:db8::5/128", "v0"));
  ASSERT_TRUE(run_until([&] { return !told[four.address].present && !told[six.address].present; }));
  EXPECT_EQ(addresses->restored(), 0U);
}

TEST_F(AddressesTest, GoesByItselfWhenNobodyRenews) {
  cable("v0", "v1");
  sh("ip address add 10.0.0.1/24 dev v0; ip address add 2001:db8::1/64 dev v0 nodad");
  make();
  addresses->add({"10.0.0.5", 24, "v0"}, 900);
  addresses->add({"2001:db8::5", 64, "v0"}, 900);
  ASSERT_TRUE(run_until([&] { return places.size() == 2; }));
  const Instant added = now();
  ASSERT_TRUE(run_until([&] { return !told["10.0.0.5"].present; }));
  RecordProperty("ipv4_gone_ms", std::to_string((now() - added) / 1ms));
  EXPECT_GE(now() - added, 850ms);
  EXPECT_LE(now() - added, 2950ms);
  ASSERT_TRUE(run_until([&] { return !told["2001:db8::5"].present; }));
  RecordProperty("ipv6_gone_ms", std::to_string((now() - added) / 1ms));
  EXPECT_LE(now() - added, 2950ms);
  // The lease brings it back, and the loss was nobody's doing.
  EXPECT_EQ(addresses->restored(), 0U);
  addresses->renew(kLifetime);
  ASSERT_TRUE(run_until([&] { return places.size() == 4; }));
  EXPECT_TRUE(has("10.0.0.5/32", "v0"));
}

TEST_F(AddressesTest, RenewKeepsIt) {
  cable("v0", "v1");
  sh("ip address add 10.0.0.1/24 dev v0");
  make();
  addresses->add({"10.0.0.5", 24, ""}, 900);
  addresses->add({"2001:db8::5", 64, "v0"}, 900);
  const Instant end = now() + 3s;
  while (now() < end) {
    run_for(200ms);
    addresses->renew(900);
    EXPECT_TRUE(addresses->facts({"10.0.0.5", 24, ""}).present);
    EXPECT_TRUE(addresses->facts({"2001:db8::5", 64, "v0"}).present);
  }
  EXPECT_EQ(places.size(), 2U);
  EXPECT_EQ(addresses->restored(), 0U);
}

TEST_F(AddressesTest, PutsBackWhatSomebodyElseRemoved) {
  cable("v0", "v1");
  sh("ip address add 10.0.0.1/24 dev v0");
  make();
  const std::vector<Vip> vips = {{"10.0.0.5", 24, ""}, {"2001:db8::5", 64, "v0"}};
  for (const Vip& vip : vips) addresses->add(vip, kLifetime);
  ASSERT_TRUE(run_until([&] { return places.size() == 2; }));
  sh("ip address flush dev v0");
  const Instant flushed = now();
  ASSERT_TRUE(run_until([&] { return places.size() == 4; }));
  const Duration took = now() - flushed;
  RecordProperty("put_back_us", std::to_string(took / 1us));
  EXPECT_LE(took, 1s);  // 100 ms with room for a busy machine
  EXPECT_TRUE(has("10.0.0.5/32", "v0"));
  EXPECT_TRUE(has("2001:db8::5/128", "v0"));
  EXPECT_EQ(addresses->restored(), 2U);
  // Again at once: waits for its step, and comes back all the same.
  sh("ip address flush dev v0");
  ASSERT_TRUE(run_until([&] { return places.size() == 6; }, 500ms));
  EXPECT_EQ(addresses->restored(), 4U);
}

TEST_F(AddressesTest, LeavesTheOwnAddressOfTheNetworkAlone) {
  cable("v0", "v1");
  make();
  // The VIP first: the node's own address is not made its secondary, has its route, and stays behind.
  addresses->add({"10.0.0.5", 24, "v0"}, kLifetime);
  ASSERT_TRUE(run_until([&] { return places.size() == 1; }));
  sh("ip address add 10.0.0.1/24 dev v0");
  EXPECT_TRUE(succeeds("ip route show 10.0.0.0/24 | grep -q 'src 10.0.0.1'"));
  EXPECT_FALSE(succeeds("ip address show dev v0 | grep -q secondary"));
  addresses->remove({"10.0.0.5", 24, "v0"});
  EXPECT_TRUE(has("10.0.0.1/24", "v0"));
  // The node's own first.
  addresses->add({"10.0.0.6", 24, ""}, kLifetime);
  ASSERT_TRUE(run_until([&] { return places.size() == 2; }));
  EXPECT_TRUE(succeeds("ip route get 10.0.0.77 | grep -q 'src 10.0.0.1'"));
  sh("ip address del 10.0.0.1/24 dev v0");
  EXPECT_TRUE(has("10.0.0.6/32", "v0"));
  EXPECT_EQ(addresses->restored(), 0U);
}

TEST_F(AddressesTest, AdoptsWhatIsThereAndLimitsItsLife) {
  cable("v0", "v1");
  cable("w0", "w1");
  sh("ip address add 10.0.0.1/24 dev v0");
  sh("ip address add 10.0.0.5/24 dev w0; ip address add 2001:db8::5/64 dev w0 nodad");
  make();
  addresses->follow({{"10.0.0.5", 24, ""}, {"2001:db8::5", 64, "v0"}});
  ASSERT_TRUE(run_until([&] { return told.size() == 2; }));
  EXPECT_EQ(told["10.0.0.5"].interface, "w0");  // where it is
  EXPECT_TRUE(told["10.0.0.5"].present);
  EXPECT_TRUE(told["2001:db8::5"].present);
  addresses->add({"10.0.0.5", 24, ""}, kLifetime);
  addresses->add({"2001:db8::5", 64, "v0"}, kLifetime);
  ASSERT_TRUE(run_until([&] { return places.size() == 2; }));
  EXPECT_TRUE(has("10.0.0.5/32", "w0"));
  EXPECT_FALSE(has("10.0.0.5/24", "w0"));  // it would outlive the lease
  EXPECT_TRUE(has("2001:db8::5/128", "v0"));
  EXPECT_FALSE(has("2001:db8::5/64", "w0"));
}

TEST_F(AddressesTest, LinksComeAndGo) {
  cable("v0", "v1");
  sh("ip address add 10.0.0.1/24 dev v0");
  make();
  const Vip vip{"10.0.0.5", 24, "v0"};
  const Vip six{"2001:db8::5", 64, "v0"};
  addresses->add(vip, kLifetime);
  addresses->add(six, kLifetime);
  ASSERT_TRUE(run_until([&] { return places.size() == 2; }));
  sh("ip link set v1 down");
  ASSERT_TRUE(run_until([&] { return !told[vip.address].link; }));
  EXPECT_THAT(told[vip.address].detail, HasSubstr("v0 has no carrier"));
  EXPECT_FALSE(told[vip.address].failed);
  sh("ip link set v1 up");
  ASSERT_TRUE(run_until([&] { return places.size() == 4; }));  // announced anew
  sh("ip link set v0 down");                                   // takes IPv6 addresses away
  ASSERT_TRUE(run_until([&] { return !told[six.address].link; }));
  EXPECT_THAT(told[vip.address].detail, HasSubstr("`ip link set v0 up`"));
  sh("ip link set v0 up");
  ASSERT_TRUE(run_until([&] { return told[six.address].present && told[six.address].link; }));
  sh("ip link del v0");
  ASSERT_TRUE(run_until([&] { return told[vip.address].detail == "there is no interface v0"; }));
  EXPECT_FALSE(told[vip.address].present);
  EXPECT_FALSE(told[vip.address].usable());
  places.clear();
  cable("v0", "v1");
  ASSERT_TRUE(run_until([&] { return places.size() == 2; }));
  EXPECT_TRUE(has("10.0.0.5/32", "v0"));
}

TEST_F(AddressesTest, ChoosesTheInterface) {
  cable("v0", "v1");
  cable("w0", "w1");
  cable("x0", "x1");
  sh("ip address add 10.0.0.1/8 dev v0; ip address add 10.0.0.2/24 dev w0; ip route add 192.0.2.0/24 dev x0");
  make();
  addresses->follow({{"10.0.0.5", 24, ""},
                     {"10.9.0.5", 24, ""},
                     {"192.0.2.7", 24, ""},
                     {"198.51.100.1", 24, ""},
                     {"10.0.0.6", 24, "x0"},
                     {"10.0.0.7", 24, "absent"},
                     {"10.0.0.300", 24, ""}});
  ASSERT_TRUE(run_until([&] { return told.size() == 7; }));
  EXPECT_EQ(told["10.0.0.5"].interface, "w0");  // the longest prefix
  EXPECT_EQ(told["10.9.0.5"].interface, "v0");
  EXPECT_EQ(told["192.0.2.7"].interface, "x0");  // by route
  EXPECT_EQ(told["198.51.100.1"].interface, "");
  EXPECT_THAT(told["198.51.100.1"].detail, HasSubstr("no interface has an address in the network"));
  EXPECT_EQ(told["10.0.0.6"].interface, "x0");
  EXPECT_EQ(told["10.0.0.7"].detail, "there is no interface absent");
  EXPECT_TRUE(told["10.0.0.300"].failed);
  EXPECT_THAT(told["10.0.0.300"].detail, HasSubstr("is not an IPv4 or IPv6 address"));
  // Neither can be added, neither disturbs anybody.
  addresses->add({"10.0.0.300", 24, ""}, kLifetime);
  addresses->add({"198.51.100.1", 24, ""}, kLifetime);
  addresses->add({"10.0.0.5", 24, ""}, kLifetime);
  ASSERT_TRUE(run_until([&] { return places.size() == 1; }));
  // One that comes later.
  sh("ip address add 198.51.100.9/24 dev x0");
  ASSERT_TRUE(run_until([&] { return places.size() == 2; }));
  EXPECT_EQ(places[1].interface, "x0");
}

TEST_F(AddressesTest, WhatCannotBeAddedHasFailed) {
  cable("v0", "v1");
  sh("echo 1 > /proc/sys/net/ipv6/conf/v0/disable_ipv6; ip address add 10.0.0.1/24 dev v0");
  make();
  const Vip six{"2001:db8::5", 64, "v0"};
  addresses->add(six, kLifetime);
  addresses->add({"10.0.0.5", 24, ""}, kLifetime);
  ASSERT_TRUE(run_until([&] { return told[six.address].failed; }));
  EXPECT_THAT(told[six.address].detail, HasSubstr("cannot add 2001:db8::5 to v0: "));
  EXPECT_THAT(told[six.address].detail, HasSubstr("disable_ipv6"));
  EXPECT_TRUE(run_until([&] { return told["10.0.0.5"].present; }));
  sh("echo 0 > /proc/sys/net/ipv6/conf/v0/disable_ipv6");
  addresses->renew(kLifetime);  // a renewal does not ask again
  run_for(50ms);
  EXPECT_TRUE(told[six.address].failed);
  addresses->add(six, kLifetime);
  ASSERT_TRUE(run_until([&] { return told[six.address].present; }));
  EXPECT_TRUE(told[six.address].usable());
}

TEST_F(AddressesTest, AConflictIsAFailureUntilTheLinkChanges) {
  cable("v0", "v1");
  sh("ip address add 10.0.0.1/24 dev v0");
  make();
  addresses->add({"10.0.0.5", 24, ""}, kLifetime);
  ASSERT_TRUE(run_until([&] { return places.size() == 1; }));
  addresses->on_conflict("10.0.0.5", "02:00:00:00:00:09");
  addresses->on_conflict("10.0.0.6", "02:00:00:00:00:09");  // nobody's
  ASSERT_TRUE(run_until([&] { return told["10.0.0.5"].failed; }));
  EXPECT_THAT(told["10.0.0.5"].detail,
              HasSubstr("another machine (02:00:00:00:00:09) answers for 10.0.0.5 on v0"));
  EXPECT_TRUE(told["10.0.0.5"].present);  // the address stays: who has it is not decided here
  sh("ip link set v1 down");
  ASSERT_TRUE(run_until([&] { return !told["10.0.0.5"].failed; }));
}

TEST_F(AddressesTest, WhatIsNoLongerFollowedIsRemoved) {
  cable("v0", "v1");
  sh("ip address add 10.0.0.1/24 dev v0");
  make();
  addresses->follow({{"10.0.0.5", 24, ""}, {"10.0.0.6", 24, ""}});
  addresses->add({"10.0.0.5", 24, ""}, kLifetime);
  addresses->add({"10.0.0.6", 24, ""}, kLifetime);
  ASSERT_TRUE(run_until([&] { return places.size() == 2; }));
  addresses->follow({{"10.0.0.6", 24, ""}});
  EXPECT_FALSE(has("10.0.0.5/32", "v0"));
  EXPECT_TRUE(has("10.0.0.6/32", "v0"));
}

TEST_F(AddressesTest, SixteenHundredAreOneBatch) {
  cable("v0", "v1");
  sh("ip address add 10.0.0.1/16 dev v0; ip address add 2001:db8::1/64 dev v0 nodad");
  make();
  std::vector<Vip> vips;
  for (int i = 0; i < 800; ++i) {
    vips.push_back({fmt::format("10.0.{}.{}", 1 + i / 200, 1 + i % 200), 16, ""});
    vips.push_back({fmt::format("2001:db8::{:x}", 16 + i), 64, ""});
  }
  addresses->follow(vips);
  for (const Vip& vip : vips) addresses->add(vip, kLifetime);
  const Instant begun = now();
  ASSERT_TRUE(run_until([&] { return places.size() == vips.size(); }, 20s));
  RecordProperty("add_1600_us", std::to_string((now() - begun) / 1us));
  const Instant renewing = now();
  addresses->renew(3 * kLifetime);  // longer than what the kernel has: all are sent
  RecordProperty("renew_1600_us", std::to_string((now() - renewing) / 1us));
  EXPECT_LE(now() - renewing, 1s);  // the rest is done in later turns
  EXPECT_TRUE(run_until(
      [] {
        return !succeeds(
            "ip address show dev v0 | grep -A1 -E '10.0.[1-4]|2001:db8::[1-9a-f][0-9a-f]+/' | "
            "grep -q 'valid_lft [0-9][0-9]sec'");
      },
      20s));
  const Instant nothing = now();
  addresses->renew(2 * kLifetime);
  RecordProperty("renew_nothing_us", std::to_string((now() - nothing) / 1us));
  sh("ip address flush dev v0");
  const Instant flushed = now();
  ASSERT_TRUE(run_until([&] { return places.size() == 2 * vips.size(); }, 20s));
  RecordProperty("restore_1600_us", std::to_string((now() - flushed) / 1us));
  EXPECT_EQ(addresses->restored(), vips.size());
}

}  // namespace
}  // namespace itgtd::ha
