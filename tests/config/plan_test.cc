#include "target/config/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace itgtd::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kPortalA = "192.0.2.1:3260";
constexpr const char* kPortalB = "192.0.2.2:3260";

LunConfig lun(uint16_t id, std::string path) {
  LunConfig lun;
  lun.id = id;
  lun.path = std::move(path);
  lun.serial = "a" + std::to_string(id);
  lun.product = "p";
  return lun;
}

TargetConfig target(std::string name, std::vector<std::string> portals, std::vector<LunConfig> luns) {
  TargetConfig target;
  target.name = std::move(name);
  target.portals = std::move(portals);
  target.luns = std::move(luns);
  return target;
}

/// Target t with two portals and two disks.
Config base() {
  Config config;
  config.targets = {target("t", {kPortalA, kPortalB}, {lun(0, "/dev/a"), lun(1, "/dev/b")})};
  return config;
}

std::vector<std::string> lines(const Plan& plan) {
  std::vector<std::string> lines;
  for (const Step& step : plan.steps) lines.push_back(describe(step));
  return lines;
}

struct Case {
  std::string name;
  void (*change)(Config& wanted);
  std::vector<std::string> steps;
};

void PrintTo(const Case& one, std::ostream* out) {
  *out << one.name;
}

class Reload : public testing::TestWithParam<Case> {};

TEST_P(Reload, TakesTheseSteps) {
  Config wanted = base();
  GetParam().change(wanted);
  const Plan made = plan(base(), wanted);
  EXPECT_EQ(lines(made), GetParam().steps);
  EXPECT_THAT(made.ignored, IsEmpty());
  EXPECT_EQ(made.result, wanted);
  // Once it is done there is nothing left to do.
  EXPECT_THAT(plan(made.result, wanted).steps, IsEmpty());
}

const std::vector<std::string> kReopened = {"remove LUN 0 of t", "add LUN 0 of t: /dev/a"};
const std::vector<std::string> kPolicy = {"change target t"};
const std::vector<std::string> kStricter = {"change target t",
                                            "end sessions of t that are not allowed any more"};

const Case kCases[] = {
    {"nothing", [](Config&) {}, {}},
    {"lines_only", [](Config& wanted) { wanted.targets[0].place.line = 99; }, {}},
    {"order_of_luns",
     [](Config& wanted) { std::swap(wanted.targets[0].luns[0], wanted.targets[0].luns[1]); },
     {}},
    {"order_of_targets_and_new_target_on_a_shared_portal",
     [](Config& wanted) {
       wanted.targets.insert(wanted.targets.begin(),
                             target("u", {kPortalA, "192.0.2.3:3260"}, {lun(5, "/dev/c")}));
     },
     {"add LUN 5 of u: /dev/c", "add target u", "listen at 192.0.2.3:3260"}},
    {"target_removed",
     [](Config& wanted) { wanted.targets.clear(); },
     {"stop listening at 192.0.2.1:3260", "stop listening at 192.0.2.2:3260", "remove target t",
      "end all sessions of t", "remove LUN 0 of t", "remove LUN 1 of t"}},
    {"target_renamed",
     [](Config& wanted) { wanted.targets[0].name = "u"; },
     {"remove target t", "end all sessions of t", "remove LUN 0 of t", "remove LUN 1 of t",
      "add LUN 0 of u: /dev/a", "add LUN 1 of u: /dev/b", "add target u"}},
    {"group_changed",
     [](Config& wanted) { wanted.targets[0].group = "g"; },
     {"remove target t", "end all sessions of t", "remove LUN 0 of t", "remove LUN 1 of t",
      "add LUN 0 of t: /dev/a", "add LUN 1 of t: /dev/b", "add target t"}},
    {"lun_added",
     [](Config& wanted) { wanted.targets[0].luns.push_back(lun(2, "/dev/c")); },
     {"add LUN 2 of t: /dev/c"}},
    {"lun_removed", [](Config& wanted) { wanted.targets[0].luns.pop_back(); }, {"remove LUN 1 of t"}},
    {"lun_moves_to_another_target",
     [](Config& wanted) {
       wanted.targets[0].luns.pop_back();
       wanted.targets.insert(wanted.targets.begin(), target("u", {kPortalA}, {lun(1, "/dev/b")}));
     },
     {"remove LUN 1 of t", "add LUN 1 of u: /dev/b", "add target u"}},
    {"luns_swap_numbers",
     [](Config& wanted) { std::swap(wanted.targets[0].luns[0].id, wanted.targets[0].luns[1].id); },
     {"remove LUN 0 of t", "remove LUN 1 of t", "add LUN 1 of t: /dev/a", "add LUN 0 of t: /dev/b"}},
    {"path",
     [](Config& wanted) { wanted.targets[0].luns[0].path = "/dev/z"; },
     {"remove LUN 0 of t", "add LUN 0 of t: /dev/z"}},
    {"serial", [](Config& wanted) { wanted.targets[0].luns[0].serial = "b"; }, kReopened},
    {"product", [](Config& wanted) { wanted.targets[0].luns[0].product = "b"; }, kReopened},
    {"vendor", [](Config& wanted) { wanted.targets[0].luns[0].vendor = "b"; }, kReopened},
    {"block_size", [](Config& wanted) { wanted.targets[0].luns[0].block_size = 4096; }, kReopened},
    {"physical_block_size", [](Config& wanted) { wanted.targets[0].luns[0].physical_block_size = 4096; },
     kReopened},
    {"removable", [](Config& wanted) { wanted.targets[0].luns[0].removable = true; }, kReopened},
    {"thin", [](Config& wanted) { wanted.targets[0].luns[0].thin = ThinPolicy::on; }, kReopened},
    {"read_only", [](Config& wanted) { wanted.targets[0].luns[0].read_only = true; }, kReopened},
    {"write_cache_goes_on_under_sessions",
     [](Config& wanted) { wanted.targets[0].luns[0].write_cache = false; },
     {"switch the write cache of LUN 0 of t off"}},
    {"create_of_a_file_that_is_there",
     [](Config& wanted) { wanted.targets[0].luns[0].create_bytes = 512; },
     {}},
    {"portal_added",
     [](Config& wanted) { wanted.targets[0].portals.push_back("192.0.2.3:3260"); },
     {"change target t", "listen at 192.0.2.3:3260"}},
    {"portal_removed",
     [](Config& wanted) { wanted.targets[0].portals.pop_back(); },
     {"stop listening at 192.0.2.2:3260", "change target t",
      "end sessions of t on portals that it has no more"}},
    {"portal_moves_to_another_target",
     [](Config& wanted) {
       wanted.targets[0].portals.pop_back();
       wanted.targets.push_back(target("u", {kPortalB}, {}));
     },
     {"change target t", "end sessions of t on portals that it has no more", "add target u"}},
    {"alias", [](Config& wanted) { wanted.targets[0].alias = "b"; }, kPolicy},
    {"header_digest", [](Config& wanted) { wanted.targets[0].header_digest = DigestPolicy::off; }, kPolicy},
    {"data_digest", [](Config& wanted) { wanted.targets[0].data_digest = DigestPolicy::required; }, kPolicy},
    {"credentials_apply_to_new_logins",
     [](Config& wanted) {
       wanted.targets[0].chap.emplace().user = "u";
       wanted.targets[0].chap->secret = "secret-of-u-1";
     },
     kPolicy},
    {"initiators_restricted", [](Config& wanted) { wanted.targets[0].initiators = {"iqn.a:*"}; }, kStricter},
    {"networks_restricted", [](Config& wanted) { wanted.targets[0].networks = {"192.0.2.0/24"}; }, kStricter},
    {"log_level",
     [](Config& wanted) { wanted.daemon.log_level = LogLevel::debug; },
     {"change settings of the daemon"}},
    {"http",
     [](Config& wanted) { wanted.daemon.http = "127.0.0.1:9860"; },
     {"change settings of the daemon"}},
};

INSTANTIATE_TEST_SUITE_P(Plan, Reload, testing::ValuesIn(kCases),
                         [](const auto& one) { return one.param.name; });

TEST(Plan, AListThatGrowsEndsNoSession) {
  Config running = base();
  running.targets[0].initiators = {"iqn.a:*"};
  running.targets[0].networks = {"192.0.2.0/24"};
  Config wanted = running;
  wanted.targets[0].initiators = {"iqn.b:*", "iqn.a:*"};
  wanted.targets[0].networks.clear();
  EXPECT_THAT(lines(plan(running, wanted)), ElementsAre("change target t"));
  EXPECT_EQ(lines(plan(wanted, running)), kStricter);
}

TEST(Plan, SessionsAreJudgedByWhatIsWanted) {
  Config wanted = base();
  wanted.targets[0].initiators = {"iqn.a:*"};
  const Plan made = plan(base(), wanted);
  ASSERT_EQ(made.steps.size(), 2u);
  const auto* end = std::get_if<EndSessions>(&made.steps[1]);
  ASSERT_NE(end, nullptr);
  EXPECT_THAT(end->wanted.initiators, ElementsAre("iqn.a:*"));
  EXPECT_THAT(end->wanted.portals, ElementsAre(kPortalA, kPortalB));
}

TEST(Plan, ADiskIsClosedEverywhereBeforeItIsOpened) {
  Config running = base();
  running.targets.insert(running.targets.begin(), target("a", {kPortalA}, {}));
  Config wanted = running;
  std::swap(wanted.targets[0].luns, wanted.targets[1].luns);
  size_t last_removed = 0;
  size_t first_added = SIZE_MAX;
  const Plan made = plan(running, wanted);
  for (size_t i = 0; i < made.steps.size(); i++) {
    if (std::holds_alternative<RemoveLun>(made.steps[i])) last_removed = i;
    if (std::holds_alternative<AddLun>(made.steps[i])) first_added = std::min(first_added, i);
  }
  EXPECT_EQ(made.steps.size(), 4u);
  EXPECT_LT(last_removed, first_added);
}

TEST(Plan, StartOpensListenersLast) {
  Config wanted = base();
  wanted.daemon.workers = 7;
  const Plan made = plan_start(wanted);
  EXPECT_THAT(lines(made), ElementsAre("add LUN 0 of t: /dev/a", "add LUN 1 of t: /dev/b", "add target t",
                                       "listen at 192.0.2.1:3260", "listen at 192.0.2.2:3260"));
  EXPECT_THAT(made.ignored, IsEmpty());
  EXPECT_EQ(made.result, wanted);
}

TEST(Plan, StopUndoesTheStart) {
  const Plan made = plan_stop(base());
  EXPECT_THAT(lines(made), ElementsAre("stop listening at 192.0.2.1:3260", "stop listening at 192.0.2.2:3260",
                                       "remove target t", "end all sessions of t", "remove LUN 0 of t",
                                       "remove LUN 1 of t"));
  EXPECT_THAT(made.result.targets, IsEmpty());
}

TEST(Plan, WhatTakesARestartIsNamedAndKept) {
  Config wanted = base();
  wanted.daemon.workers = 3;
  wanted.daemon.polling = Polling::always;
  wanted.daemon.control_socket = "/other";
  wanted.daemon.state_dir = "/other";
  wanted.cluster.emplace();
  wanted.groups.emplace_back().name = "g";
  wanted.targets[0].alias = "changed all the same";
  const Plan made = plan(base(), wanted);
  EXPECT_THAT(made.ignored, ElementsAre(HasSubstr("daemon.workers"), HasSubstr("daemon.polling"),
                                        HasSubstr("daemon.control_socket"), HasSubstr("daemon.state_dir"),
                                        HasSubstr("[cluster]")));
  EXPECT_EQ(lines(made), kPolicy);
  EXPECT_EQ(made.result.daemon, base().daemon);
  EXPECT_FALSE(made.result.cluster.has_value());
  EXPECT_EQ(made.result.groups, wanted.groups);  // they come and go as targets do
  EXPECT_EQ(made.result.targets, wanted.targets);
}

TEST(Plan, DescriptionsTellNoSecret) {
  Config wanted = base();
  wanted.targets[0].chap.emplace().secret = "hunter2hunter2";
  for (const auto& made : {plan(base(), wanted), plan_start(wanted), plan_stop(wanted)}) {
    for (const std::string& line : lines(made)) EXPECT_THAT(line, testing::Not(HasSubstr("hunter2")));
  }
}

}  // namespace
}  // namespace itgtd::config
