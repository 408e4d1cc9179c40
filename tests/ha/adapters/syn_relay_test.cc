// A connection that is asked for while its address is nowhere: with the kernel's own TCP on both sides.
#include "ha/adapters/syn_relay.h"

#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/address.h"
#include "tests/ha/adapters/network_namespace.h"

namespace itgtd::ha {
namespace {

using namespace std::chrono_literals;

struct Case {
  const char* name;
  const char* portal;
  const char* add_portal;  ///< to s0
  const char* add_client;  ///< to c0, and who has the portal's address
};

class SynRelayTest : public NetworkNamespaceTest, public ::testing::WithParamInterface<Case> {
 protected:
  void SetUp() override {
    NetworkNamespaceTest::SetUp();
    if (IsSkipped()) return;
    sh("ip link add c0 type veth peer name s0 address 02:00:00:00:00:05 && ip link set c0 up");
    sh(GetParam().add_client);
    initiator_.emplace(present_namespace().release());
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    sh("ip link set lo up");
    former_.emplace(present_namespace().release());
    enter(*initiator_);
    sh(fmt::format("ip link set s0 netns /proc/{}/fd/{}", ::getpid(), former_->get()));
    enter(*former_);
    sh("ip link set s0 up");
  }
  static void enter(const Descriptor& where) { ASSERT_EQ(::setns(where.get(), CLONE_NEWNET), 0); }
  /// A connection that the initiator has begun.
  Descriptor connecting() {
    enter(*initiator_);
    Descriptor client(::socket(portal_.is_ipv6() ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    EXPECT_EQ(::connect(client.get(), portal_.data(), portal_.size()), -1);
    EXPECT_EQ(errno, EINPROGRESS);
    enter(*former_);
    return Descriptor(client.release());
  }
  static bool connected(const Descriptor& client) {
    pollfd writable{client.get(), POLLOUT, 0};
    return ::poll(&writable, 1, 0) == 1 && (writable.revents & (POLLERR | POLLHUP)) == 0;
  }
  /// The portal is served: here, as the one machine that the initiator reaches.
  Descriptor serve() {
    sh(GetParam().add_portal);
    Descriptor listener(::socket(portal_.is_ipv6() ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(::bind(listener.get(), portal_.data(), portal_.size()), 0);
    EXPECT_EQ(::listen(listener.get(), 4), 0);
    return Descriptor(listener.release());
  }

  Address portal_ = Address::parse(GetParam().portal, 0).value();
  std::optional<Descriptor> initiator_;
  std::optional<Descriptor> former_;
};

TEST_P(SynRelayTest, TheRequestReachesTheNextOwnerAtOnce) {
  SynRelay relay(loop);
  relay.hold("g", {GetParam().portal});
  const Descriptor client = connecting();
  run_for(50ms);
  EXPECT_FALSE(connected(client)) << "the address is nowhere";
  const Descriptor listener = serve();
  run_for(50ms);
  EXPECT_FALSE(connected(client)) << "its own second request comes after 1 s";
  relay.release("g");
  EXPECT_TRUE(run_until([&] { return connected(client); }, 500ms));
  EXPECT_EQ(relay.relayed(), 1U);
}

TEST_P(SynRelayTest, WhatIsDroppedIsNotSent) {
  SynRelay relay(loop);
  relay.hold("g", {GetParam().portal});
  const Descriptor client = connecting();
  run_for(50ms);
  const Descriptor listener = serve();
  relay.drop("g");
  relay.release("g");
  run_for(100ms);
  EXPECT_FALSE(connected(client));
  EXPECT_EQ(relay.relayed(), 0U);
}

TEST_P(SynRelayTest, OtherPortalsAreNotHeld) {
  SynRelay relay(loop);
  relay.hold("g", {portal_.is_ipv6() ? "[2001:db8::6]:3260" : "10.0.0.6:3260"});
  const Descriptor client = connecting();
  run_for(50ms);
  relay.release("g");
  EXPECT_EQ(relay.relayed(), 0U);
}

INSTANTIATE_TEST_SUITE_P(
    Families, SynRelayTest,
    ::testing::Values(
        Case{"IPv4", "10.0.0.5:3260", "ip address add 10.0.0.5/24 dev s0",
             "ip address add 10.0.0.9/24 dev c0 && ip neigh add 10.0.0.5 lladdr 02:00:00:00:00:05 dev c0"},
        Case{"IPv6", "[2001:db8::5]:3260", "ip address add 2001:db8::5/64 dev s0 nodad",
             "ip address add 2001:db8::9/64 dev c0 nodad && ip neigh add 2001:db8::5 lladdr "
             "02:00:00:00:00:05 dev c0"}),
    [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace itgtd::ha
