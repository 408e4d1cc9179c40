#include "ha/adapters/preflight.h"

#include <gtest/gtest.h>

namespace itgtd::ha {
namespace {

using Severity = Finding::Severity;

CorosyncSettings sound() {
  CorosyncSettings corosync;
  corosync.self = 1;
  corosync.self_name = "iscsi-0";
  corosync.nodes = {{1, "iscsi-0"}, {2, "iscsi-1"}, {3, "iscsi-2"}};
  corosync.token_ms = 1000;
  corosync.consensus_ms = 1200;
  corosync.quorum_provider = true;
  return corosync;
}

const std::vector<PreflightGroup> kGroups{{"drbd0", {"iscsi-2", "iscsi-0"}}, {"drbd1", {}}};

/// The text of the only finding, which must be of `severity`.
std::string only(const std::vector<Finding>& findings, Severity severity) {
  if (findings.size() != 1) return std::to_string(findings.size()) + " findings";
  EXPECT_EQ(findings[0].severity, severity) << findings[0].text;
  return findings[0].text;
}
bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST(PreflightTest, Sound) {
  EXPECT_TRUE(preflight(sound(), kGroups).empty());
}

TEST(PreflightTest, NoVotequorum) {
  CorosyncSettings corosync = sound();
  corosync.quorum_provider = false;
  EXPECT_TRUE(has(only(preflight(corosync, kGroups), Severity::refuse), "provider: corosync_votequorum"));
}

TEST(PreflightTest, TwoNode) {
  CorosyncSettings corosync = sound();
  corosync.two_node = true;
  EXPECT_TRUE(has(only(preflight(corosync, kGroups), Severity::refuse), "corosync-qdevice"));
  corosync.auto_tie_breaker = true;
  EXPECT_TRUE(has(only(preflight(corosync, kGroups), Severity::refuse), "remove two_node"));
  corosync.quorum_device = true;
  EXPECT_TRUE(preflight(corosync, kGroups).empty());
  corosync.quorum_device = false;
  corosync.two_node = false;
  EXPECT_TRUE(preflight(corosync, kGroups).empty()) << "a tie breaker alone is sound";
}

TEST(PreflightTest, AnUnknownNodeWithTheNearestName) {
  const std::string text = only(preflight(sound(), {{"drbd0", {"iscsi-0", "iscs-1"}}}), Severity::refuse);
  EXPECT_TRUE(has(text, "group drbd0")) << text;
  EXPECT_TRUE(has(text, "the node iscs-1: is iscsi-1 meant?")) << text;
  const std::string far = only(preflight(sound(), {{"drbd0", {"backup"}}}), Severity::refuse);
  EXPECT_TRUE(has(far, "iscsi-0, iscsi-1, iscsi-2")) << far;
  EXPECT_FALSE(has(far, "meant")) << far;
  EXPECT_TRUE(has(only(preflight(sound(), {{"drbd0", {""}}}), Severity::refuse), "does not know"));
}

TEST(PreflightTest, ThisNodeIsNotInTheNodelist) {
  CorosyncSettings corosync = sound();
  corosync.self = 9;
  EXPECT_TRUE(has(only(preflight(corosync, kGroups), Severity::refuse), "nodeid 9) is not in corosync's"));
}

TEST(PreflightTest, TwoNodesOfOneName) {
  CorosyncSettings corosync = sound();
  corosync.nodes[1].name = "iscsi-2";
  EXPECT_TRUE(has(only(preflight(corosync, kGroups), Severity::refuse), "two nodes named iscsi-2"));
}

TEST(PreflightTest, Token) {
  CorosyncSettings corosync = sound();
  corosync.token_ms = 300;
  EXPECT_TRUE(preflight(corosync, kGroups).empty());
  corosync.token_ms = 299;
  EXPECT_TRUE(has(only(preflight(corosync, kGroups), Severity::warn), "299 ms"));
  corosync.token_ms = 10000;
  EXPECT_TRUE(preflight(corosync, kGroups).empty());
  corosync.token_ms = 10001;
  EXPECT_TRUE(has(only(preflight(corosync, kGroups), Severity::warn), "no takeover is faster"));
}

TEST(PreflightTest, WhatRefusesComesFirst) {
  CorosyncSettings corosync = sound();
  corosync.token_ms = 20000;
  corosync.quorum_provider = false;
  corosync.self = 9;
  const auto findings = preflight(corosync, kGroups);
  ASSERT_EQ(findings.size(), 3U);
  EXPECT_EQ(findings[1].severity, Severity::refuse);
  EXPECT_EQ(findings[2].severity, Severity::warn);
}

}  // namespace
}  // namespace itgtd::ha
