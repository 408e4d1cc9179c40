// What the commands wait for, with a daemon that tells a story: each call takes a line of it, and time passes
// only when a command waits.
#include "tools/itgtctl/commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

namespace itgtd::ctl {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

Json group(const std::string& owner, uint64_t epoch, const std::string& state) {
  return {{"name", "drbd0"},
          {"state", state},
          {"owner", owner},
          {"epoch", epoch},
          {"nodes", {{{"node", owner}, {"phase", state}}}},
          {"problems", Json::array()}};
}

class StoryDaemon final : public Daemon {
 public:
  Result<Json> call(const std::string& method, const Json& params) override {
    calls.push_back(method + " " + params.dump());
    if (method == "status") return status(now_ms_);
    if (method == "history") return history;
    if (method == "why") return Json{{"sentence", "iscsi-0 serves it; no other node could take over."}};
    if (!refusal.empty()) return Error{0, refusal};
    return Json{{"taken", true}};
  }
  void wait(std::chrono::milliseconds time) override { now_ms_ += time.count(); }
  [[nodiscard]] int64_t now_ms() const override { return now_ms_; }

  std::function<Result<Json>(int64_t now)> status;
  Json history = {{"changes", Json::array()}};
  std::string refusal;
  std::vector<std::string> calls;

 private:
  int64_t now_ms_ = 0;
};

Json cluster(const Json& of) {
  return {{"configured", true}, {"maintenance", false}, {"groups", {of}}};
}

class Commands : public testing::Test {
 protected:
  Commands() {
    options_.group = "drbd0";
    options_.node = "iscsi-1";
    daemon_.status = [](int64_t now) -> Result<Json> {
      if (now < 200) return cluster(group("iscsi-0", 5, "active"));
      if (now < 600) return cluster(group("iscsi-1", 6, "starting"));
      return cluster(group("iscsi-1", 6, "active"));
    };
    daemon_.history["changes"] = {
        {{"epoch", 5}, {"pause_ms", 9000}},
        {{"epoch", 6}, {"pause_ms", 421}, {"from", "iscsi-0"}, {"to", "iscsi-1"}, {"outcome", "active"}}};
  }
  Printed run_it(Command command) { return run(command, options_, daemon_, {}); }

  Options options_;
  StoryDaemon daemon_;
};

TEST_F(Commands, MoveWaitsAndTellsThePause) {
  const Printed printed = run_it(Command::move);
  EXPECT_EQ(printed.status, 0);
  EXPECT_EQ(printed.out, "drbd0: iscsi-0 -> iscsi-1, pause 421 ms\n");
  EXPECT_EQ(printed.error, "");
  EXPECT_THAT(daemon_.calls, testing::Contains(R"(move {"group":"drbd0","node":"iscsi-1"})"));
}

TEST_F(Commands, MoveWithoutANodeLetsTheClusterChoose) {
  options_.node.clear();
  EXPECT_EQ(run_it(Command::move).status, 0);
  EXPECT_THAT(daemon_.calls, testing::Contains(R"(move {"group":"drbd0"})"));
}

TEST_F(Commands, MoveWithoutAPauseInTheHistoryIsStillDone) {
  daemon_.history["changes"] = Json::array();
  const Printed printed = run_it(Command::move);
  EXPECT_EQ(printed.status, 0);
  EXPECT_EQ(printed.out, "drbd0: iscsi-0 -> iscsi-1, served\n");
}

TEST_F(Commands, MoveThatEndsElsewhereFailed) {
  daemon_.status = [](int64_t now) -> Result<Json> {
    if (now < 200) return cluster(group("iscsi-0", 5, "active"));
    return cluster(group("iscsi-0", 7, "active"));
  };
  daemon_.history["changes"] = {{{"epoch", 7}, {"pause_ms", 800}, {"text", "drbdadm: exit 17"}}};
  const Printed printed = run_it(Command::move);
  EXPECT_EQ(printed.status, 1);
  EXPECT_THAT(printed.error, HasSubstr("drbd0 is served by iscsi-0, and not by iscsi-1: drbdadm: exit 17"));
  EXPECT_THAT(printed.error, HasSubstr("itgtctl why drbd0"));
}

TEST_F(Commands, MoveThatTakesTooLongSaysWhereItIs) {
  Json stuck = group("iscsi-1", 6, "starting");
  stuck["problems"] = {{{"what", "no disk"}, {"advice", "drbdadm up r0"}}};
  daemon_.status = [stuck](int64_t now) -> Result<Json> {
    return cluster(now < 200 ? group("iscsi-0", 5, "active") : stuck);
  };
  options_.timeout_s = 7;
  const Printed printed = run_it(Command::move);
  EXPECT_EQ(printed.status, 1);
  EXPECT_EQ(printed.error,
            "drbd0 is not served by another node after 7 s: starting on iscsi-1\n  no disk\n    do: drbdadm "
            "up r0\n");
  EXPECT_EQ(daemon_.now_ms(), 7000);
}

TEST_F(Commands, ARefusalIsTold) {
  daemon_.refusal = "iscsi-1 can't take drbd0: drained";
  for (const Command command : {Command::move, Command::drain, Command::undrain, Command::maintenance}) {
    const Printed printed = run_it(command);
    EXPECT_EQ(printed.status, 1);
    EXPECT_EQ(printed.error, "iscsi-1 can't take drbd0: drained\n");
    EXPECT_EQ(printed.out, "");
  }
}

TEST_F(Commands, ADaemonThatGoesAwayIsAnError) {
  daemon_.status = [](int64_t now) -> Result<Json> {
    if (now < 200) return cluster(group("iscsi-0", 5, "active"));
    return Error{0, "the daemon is gone"};
  };
  const Printed printed = run_it(Command::move);
  EXPECT_EQ(printed.status, 1);
  EXPECT_EQ(printed.error, "the daemon is gone\n");
}

TEST_F(Commands, NoWaitDoesNotWait) {
  options_.wait = false;
  EXPECT_EQ(run_it(Command::move).out, "drbd0: asked; see itgtctl status\n");
  EXPECT_EQ(run_it(Command::drain).out, "iscsi-1: asked; see itgtctl status\n");
  EXPECT_EQ(daemon_.now_ms(), 0);
}

TEST_F(Commands, DrainWaitsUntilTheNodeHasNothing) {
  options_.node = "iscsi-0";
  daemon_.status = [](int64_t now) -> Result<Json> {
    Json moving = group("iscsi-1", 6, "starting");
    moving["nodes"].push_back({{"node", "iscsi-0"}, {"phase", now < 500 ? "stopping" : "idle"}});
    return cluster(now < 300 ? group("iscsi-0", 5, "active") : moving);
  };
  const Printed printed = run_it(Command::drain);
  EXPECT_EQ(printed.status, 0);
  EXPECT_EQ(printed.out, "iscsi-0 is drained: it owns no group\n");
  EXPECT_EQ(daemon_.now_ms(), 500);
}

TEST_F(Commands, DrainSaysWhyAGroupStays) {
  options_.node = "iscsi-0";
  daemon_.status = [](int64_t) -> Result<Json> { return cluster(group("iscsi-0", 5, "active")); };
  const Printed printed = run_it(Command::drain);
  EXPECT_EQ(printed.status, 1);
  EXPECT_EQ(printed.error,
            "iscsi-0 still owns 1 group(s) after 5.0 s:\n"
            "  drbd0: iscsi-0 serves it; no other node could take over.\n"
            "it stays drained; groups leave it as soon as another node can take them\n");
}

TEST_F(Commands, DrainInMaintenanceDoesNotWait) {
  options_.node = "iscsi-0";
  daemon_.status = [](int64_t) -> Result<Json> {
    Json status = cluster(group("iscsi-0", 5, "active"));
    status["maintenance"] = true;
    return status;
  };
  EXPECT_THAT(run_it(Command::drain).error, HasSubstr("itgtctl maintenance off"));
  EXPECT_EQ(daemon_.now_ms(), 0);
}

TEST_F(Commands, JsonIsTheResult) {
  options_.json = true;
  EXPECT_EQ(Json::parse(run_it(Command::status).out)["configured"], true);
  EXPECT_EQ(Json::parse(run_it(Command::move).out)["pause_ms"], 421);
  EXPECT_EQ(Json::parse(run_it(Command::undrain).out)["taken"], true);
  EXPECT_TRUE(Json::parse(run_it(Command::history).out).contains("changes"));
}

TEST_F(Commands, MaintenanceAndUndrainSayWhatIsNow) {
  options_.on = true;
  EXPECT_THAT(run_it(Command::maintenance).out, HasSubstr("maintenance is on"));
  EXPECT_THAT(daemon_.calls, testing::Contains(R"(maintenance {"on":true})"));
  EXPECT_EQ(run_it(Command::undrain).out, "iscsi-1 may own groups again\n");
}

}  // namespace
}  // namespace itgtd::ctl
