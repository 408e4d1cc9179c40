// The history as a table; what a daemon of another version sends. The screens of status and why are in
// tests/ha/operation/golden.
#include "tools/itgtctl/render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>

namespace itgtd::ctl {
namespace {

using Json = nlohmann::ordered_json;

Json change(const std::string& from, const std::string& to, const std::string& reason,
            const std::string& outcome) {
  return {{"group", "drbd0"},    {"epoch", 3},
          {"from", from},        {"to", to},
          {"reason", reason},    {"decided_unix_ms", 1'763'901'233'000},
          {"silence_ms", 0},     {"outcome", outcome},
          {"text", ""},          {"active_after_ms", nullptr},
          {"pause_ms", nullptr}, {"steps", Json::array()}};
}

class History : public testing::Test {
 protected:
  History() {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
  }
};

TEST_F(History, Table) {
  Json first = change("", "iscsi-0", "first start", "active");
  first["active_after_ms"] = 812;
  Json lost = change("iscsi-0", "iscsi-1", "node lost", "active");
  lost["silence_ms"] = 2900;
  lost["active_after_ms"] = 410;
  lost["pause_ms"] = 3310;
  lost["steps"] = {{{"after_ms", 12}, {"text", "promoted"}}, {{"after_ms", 130}, {"text", "addresses"}}};
  Json failed = change("iscsi-1", "iscsi-2", "moved", "overtaken");
  failed["text"] = "drbdadm primary r0: exit 17";
  const Json history = {{"node", "iscsi-2"},
                        {"changes",
                         {first, lost, failed, change("iscsi-2", "iscsi-0", "failed", "pending"),
                          change("iscsi-0", "iscsi-1", "daemon hung", "lost")}}};
  EXPECT_EQ(render_history(history, false, {}),
            "TIME                 GROUP  FROM -> TO          REASON       PAUSE\n"
            "2025-11-23 12:33:53  drbd0  - -> iscsi-0        first start  started in 812 ms\n"
            "2025-11-23 12:33:53  drbd0  iscsi-0 -> iscsi-1  node lost    3310 ms\n"
            "2025-11-23 12:33:53  drbd0  iscsi-1 -> iscsi-2  moved        not seen served\n"
            "2025-11-23 12:33:53  drbd0  iscsi-2 -> iscsi-0  failed       not served yet\n"
            "2025-11-23 12:33:53  drbd0  iscsi-0 -> iscsi-1  daemon hung  not known\n"
            "As iscsi-2 saw it.\n");
  const std::string with_steps = render_history(history, true, {});
  EXPECT_THAT(with_steps, testing::HasSubstr("node lost    3310 ms\n"
                                             "       -2900 ms  last sign of iscsi-0\n"
                                             "         +12 ms  promoted\n"
                                             "        +130 ms  addresses\n"
                                             "        +410 ms  served by iscsi-1\n"));
  EXPECT_THAT(with_steps, testing::HasSubstr("    drbdadm primary r0: exit 17\n"));
  EXPECT_THAT(with_steps, testing::HasSubstr("known only to the node that\ntook them"));
}

TEST_F(History, Notes) {
  const Json history = {
      {"node", "iscsi-2"},
      {"changes", Json::array()},
      {"notes",
       {{{"unix_ms", 1'763'901'233'000}, {"kind", "alarm"}, {"group", "drbd0"}, {"text", "a\033b"}},
        {{"unix_ms", 1'763'901'233'000}, {"kind", "info"}, {"group", ""}, {"text", "quorum"}}}}};
  const std::string text = render_history(history, true, {});
  EXPECT_THAT(text, testing::HasSubstr("No group has changed its owner"));
  EXPECT_THAT(text, testing::HasSubstr("2025-11-23 12:33:53  drbd0: a?b\n2025-11-23 12:33:53  quorum\n"));
}

TEST(OtherVersions, WhatIsMissingIsLeftOut) {
  for (const std::string text :
       {"{}", "[]", "null", "3", R"({"configured":true})", R"({"configured":1,"nodes":{}})",
        R"({"configured":true,"nodes":[1,{"name":5}],"groups":["x",{"nodes":[{}]}]})"}) {
    const Json json = Json::parse(text);
    EXPECT_FALSE(render_status(json, {}).empty()) << text;
    EXPECT_FALSE(render_why(json, {}).empty()) << text;
    EXPECT_FALSE(render_history(json, true, {}).empty()) << text;
  }
}

TEST(NoCluster, IsSaid) {
  EXPECT_EQ(
      render_status({{"configured", false}, {"version", "0.1.0"}, {"summary", "2 targets, 5 sessions"}}, {}),
      "No [cluster] in the configuration: this node is on its own.\n2 targets, 5 sessions\nitgtd 0.1.0\n");
}

}  // namespace
}  // namespace itgtd::ctl
