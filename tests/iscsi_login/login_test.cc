#include "target/iscsi/login.h"

#include <gtest/gtest.h>

#include "target/iscsi/chap.h"
#include "target/iscsi/text_keys.h"
#include "tests/iscsi_login/login_fixture.h"

namespace itgtd::iscsi::testing {
namespace {

TEST(Login, OneRequestIsEnough) {
  LoginState state;
  const LoginStep step = send(state, {.transit = true,
                                      .text = names(kOpen) + pairs({"InitialR2T=No", "ImmediateData=Yes",
                                                                    "MaxRecvDataSegmentLength=65536"})});
  EXPECT_EQ(status_of(step), LoginStatus::success) << step.reason;
  EXPECT_EQ(step.verdict, LoginVerdict::full_feature);
  EXPECT_EQ(step.response.bhs.flags, 0x87);
  EXPECT_TRUE(step.response.text.starts_with("TargetPortalGroupTag=1"));
  EXPECT_EQ(value_of(step, "InitialR2T"), "No");
  EXPECT_EQ(value_of(step, "MaxRecvDataSegmentLength"), "262144");
  EXPECT_FALSE(state.parameters().initial_r2t);
  EXPECT_EQ(state.parameters().max_recv_data_segment_length_initiator, 65536U);
  EXPECT_EQ(state.parameters().max_recv_data_segment_length_target, 262144U);
  EXPECT_EQ(state.identity().initiator_name, kInitiator);
  EXPECT_EQ(state.identity().target_name, kOpen);
  EXPECT_EQ(state.identity().cid, 1);
  EXPECT_EQ(state.exp_cmd_sn(), 100U);
  EXPECT_EQ(state.stat_sn(), 2U);
}

// A request that acknowledges a part of an answer may not slip past the authentication.
TEST(Login, AcknowledgementDoesNotSkipAuthentication) {
  LoginState state;
  std::string flood = names(kChap);
  for (int i = 0; i < 500; ++i) append_pair(flood, "X-k" + std::to_string(i), "");
  const LoginStep first = send(state, {.csg = 0, .text = flood});
  ASSERT_EQ(status_of(first), LoginStatus::success) << first.reason;
  ASSERT_NE(first.response.bhs.flags & 0x40, 0);
  const LoginStep second = send(state, {.transit = true, .csg = 0, .nsg = 3});
  EXPECT_EQ(status_of(second), LoginStatus::authentication_failure);
  EXPECT_EQ(second.verdict, LoginVerdict::fail);
}

// A reload between two requests.
class LoginReload : public ::testing::Test {
 protected:
  LoginReload() : changed_(directory()) { policy_.directory = &changed_; }

  DirectoryTarget& target(std::string_view name) {
    for (DirectoryTarget& t : changed_.targets) {
      if (t.name == name) return t;
    }
    ADD_FAILURE() << name;
    return changed_.targets.front();
  }
  LoginStep first(std::string_view name, std::string_view method = "AuthMethod=None") {
    return send(state_, {.transit = true, .csg = 0, .nsg = 1, .text = names(name) + pairs({method})},
                policy_);
  }
  LoginStep last() { return send(state_, {.transit = true}, policy_); }

  Directory changed_;
  LoginPolicy policy_ = policy();
  LoginState state_;
};

TEST_F(LoginReload, NothingChanged) {
  EXPECT_EQ(status_of(first(kOpen)), LoginStatus::success);
  EXPECT_EQ(last().verdict, LoginVerdict::full_feature);
}

TEST_F(LoginReload, TargetRemoved) {
  EXPECT_EQ(status_of(first(kOpen)), LoginStatus::success);
  changed_.targets.clear();
  EXPECT_EQ(status_of(last()), LoginStatus::target_removed);
}

TEST_F(LoginReload, AccessRevoked) {
  EXPECT_EQ(status_of(first(kOpen)), LoginStatus::success);
  target(kOpen).initiators = {"iqn.2001-04.com.other:*"};
  EXPECT_EQ(status_of(last()), LoginStatus::authorization_failure);
}

TEST_F(LoginReload, ChapAddedBehindTheSecurityStage) {
  EXPECT_EQ(status_of(first(kOpen)), LoginStatus::success);
  target(kOpen).chap = ChapCredentials{"user", std::string(kSecret), "", ""};
  EXPECT_EQ(status_of(last()), LoginStatus::authentication_failure);
}

TEST_F(LoginReload, ChapRemovedWithinTheExchange) {
  EXPECT_EQ(status_of(first(kChap, "AuthMethod=CHAP")), LoginStatus::success);
  target(kChap).chap.reset();
  const LoginStep step = send(state_, {.csg = 0, .text = pairs({"CHAP_A=5"})}, policy_);
  EXPECT_EQ(status_of(step), LoginStatus::authentication_failure);
}

// Declared once each, whatever the number of texts; the numbers go up by one with each response.
TEST(Login, DeclarationsAndNumbers) {
  LoginState state;
  std::string all;
  for (uint32_t i = 1; i <= 4; ++i) {
    const LoginStep step =
        send(state, {.transit = i == 4, .text = i == 1 ? names("iqn.2017-01.com.linbit:alias") : ""});
    EXPECT_EQ(step.response.bhs.stat_sn.get(), i);
    EXPECT_EQ(step.response.bhs.exp_cmd_sn.get(), 100U);
    EXPECT_EQ(step.response.bhs.max_cmd_sn.get(), 100U);
    all += step.response.text;
  }
  EXPECT_EQ(all, pairs({"TargetPortalGroupTag=4", "TargetAlias=the fourth disk",
                        "MaxRecvDataSegmentLength=262144"}));
}

TEST(Login, ErrorStatusesAreAsTheStandardHasThem) {
  EXPECT_EQ(static_cast<unsigned>(LoginStatus::authentication_failure), 0x0201U);
  EXPECT_EQ(static_cast<unsigned>(LoginStatus::invalid_during_login), 0x020BU);
  EXPECT_EQ(static_cast<unsigned>(LoginStatus::out_of_resources), 0x0302U);
}

}  // namespace
}  // namespace itgtd::iscsi::testing
