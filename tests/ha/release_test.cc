#include "ha/release.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "ha/adapters/gate.h"
#include "tests/ha/adapters/network_namespace.h"

namespace itgtd::ha {
namespace {

DaemonEnd end_of(const std::string& result, const std::string& status = "") {
  DaemonEnd end;
  end.service_result = result;
  end.exit_status = status;
  end.deaths = 1;
  return end;
}

TEST(ReleaseTest, ADaemonThatIsStartedAgainKeepsEverything) {
  EXPECT_FALSE(decide_release(end_of("signal", "KILL")).release);
  EXPECT_FALSE(decide_release(end_of("core-dump", "SEGV")).release);
  EXPECT_FALSE(decide_release(end_of("oom-kill", "KILL")).release);
  EXPECT_FALSE(decide_release(end_of("exit-code", "1")).release);
}

TEST(ReleaseTest, OneThatIsNotGivesUp) {
  for (const char* result : {"", "success", "watchdog", "timeout", "protocol", "resources", "start-limit-hit",
                             "exec-condition", "something new"})
    EXPECT_TRUE(decide_release(end_of(result)).release) << result;
  EXPECT_TRUE(decide_release(end_of("exit-code", "2")).release);
  EXPECT_FALSE(decide_release(end_of("signal", "2")).release) << "a number of another kind";
  DaemonEnd stopped = end_of("signal", "SEGV");
  stopped.job = true;
  EXPECT_TRUE(decide_release(stopped).release);
}

TEST(ReleaseTest, OneThatDiesAgainAndAgainGivesUp) {
  DaemonEnd end = end_of("signal", "SEGV");
  end.deaths = kDeathsMax - 1;
  EXPECT_FALSE(decide_release(end).release);
  end.deaths = kDeathsMax;
  const ReleaseDecision decision = decide_release(end);
  EXPECT_TRUE(decision.release);
  EXPECT_EQ(decision.why, "the daemon has died 3 times within 30 s");
}

TEST(ReleaseTest, DeathsAreCountedWithinTheWindow) {
  std::string text;
  EXPECT_EQ(count_death(text, 1000), 1U);
  EXPECT_EQ(count_death(text, 1010), 2U);
  EXPECT_EQ(text, "1000\n1010\n");
  EXPECT_EQ(count_death(text, 1031), 2U) << "the first is too old";
  EXPECT_EQ(text, "1010\n1031\n");
  text = "nonsense\n-1\n99999\n\n";
  EXPECT_EQ(count_death(text, 1040), 1U) << "of before a reboot, or no time at all";
  EXPECT_EQ(text, "1040\n");
}

/// With drbdadm and drbdsetup that note how they were called, first in PATH.
class ReleaseWorkTest : public NetworkNamespaceTest {
 protected:
  void SetUp() override {
    NetworkNamespaceTest::SetUp();
    if (IsSkipped()) return;
    std::string name = (std::filesystem::temp_directory_path() / "release_test_XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = std::getenv("PATH");
    ::setenv("PATH", (name + ":" + path_).c_str(), 1);
    ::setenv("D", name.c_str(), 1);
    program("drbdadm", "exit 0");
    program("drbdsetup", "exit 0");
    cable("storage", "far");
    sh("ip addr add 192.0.2.1/24 dev storage && ip addr add 192.0.2.35/32 dev storage valid_lft 60 "
       "preferred_lft 0");
  }
  void TearDown() override {
    NetworkNamespaceTest::TearDown();
    if (folder_.empty()) return;
    ::setenv("PATH", path_.c_str(), 1);
    ::unsetenv("D");
    std::filesystem::remove_all(folder_);
  }
  void program(const std::string& name, const std::string& body) {
    std::ofstream(folder_ / name) << "#!/bin/sh\necho \"$*\" >> $D/calls\n" << body << "\n";
    ::chmod((folder_ / name).c_str(), 0755);
  }
  [[nodiscard]] std::string calls() const {
    std::ifstream file(folder_ / "calls");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static bool has_address(const std::string& address) {
    return succeeds("ip -o addr show | grep -qF '" + address + "'");
  }
  const ReleaseWork work_{{"r0"}, {{"192.0.2.35", 24, ""}}, {"192.0.2.35:3260"}};
  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(ReleaseWorkTest, GivesUpAddressesAndDisks) {
  Gate daemon(loop);  // as the daemon left it
  if (const auto guarded = daemon.guard(work_.portals); !guarded.ok())
    GTEST_SKIP() << "needs nftables: " << guarded.error().to_string();
  ASSERT_TRUE(daemon.open(work_.portals).ok());
  ASSERT_TRUE(daemon.lease(60000).ok());
  EXPECT_EQ(release(work_), 0);
  EXPECT_EQ(calls(), "secondary r0\n");
  EXPECT_FALSE(has_address("192.0.2.35"));
  EXPECT_TRUE(has_address("192.0.2.1")) << "the node's own stays";
  EXPECT_FALSE(succeeds("nft list table inet itgtd")) << "nothing is left to guard";
}

TEST_F(ReleaseWorkTest, ByForceWhereADeviceStaysOpen) {
  program("drbdadm", "echo '0: State change failed: (-12) Device is held open by someone' >&2; exit 11");
  EXPECT_EQ(release(work_), 0);
  EXPECT_NE(calls().find("secondary r0\nsecondary --force r0\n"), std::string::npos) << calls();
}

TEST_F(ReleaseWorkTest, WhatStaysPrimaryStaysShut) {
  program("drbdadm", "exit 11");
  program("drbdsetup", "echo \"secondary: unrecognized option '--force'\" >&2; exit 20");
  EXPECT_EQ(release(work_), 1);
  EXPECT_FALSE(has_address("192.0.2.35"));
  if (!succeeds("nft list tables")) GTEST_SKIP() << "needs nftables";
  EXPECT_TRUE(succeeds("nft list table inet itgtd"));
}

TEST_F(ReleaseWorkTest, IsOverInTime) {
  program("drbdadm", "exec sleep 60");
  const Instant begin = now();
  EXPECT_EQ(release(work_, std::chrono::milliseconds(300)), 1);
  EXPECT_LT(now() - begin, std::chrono::seconds(3));
  EXPECT_FALSE(has_address("192.0.2.35"));
}

TEST_F(ReleaseWorkTest, NothingThereIsNothingToDo) {
  sh("ip addr del 192.0.2.35/32 dev storage");
  EXPECT_EQ(release(work_), 0);
  EXPECT_EQ(release({}), 0);
}

// As systemd calls it, short of systemd.
TEST_F(ReleaseWorkTest, DecidesByWhatSystemdSays) {
  ::setenv("SERVICE_RESULT", "signal", 1);
  ::setenv("EXIT_STATUS", "KILL", 1);
  ::setenv("RUNTIME_DIRECTORY", folder_.c_str(), 1);
  EXPECT_EQ(release_after_end(work_), 0);
  EXPECT_TRUE(has_address("192.0.2.35")) << "it is started again";
  EXPECT_EQ(release_after_end(work_), 0);
  EXPECT_TRUE(has_address("192.0.2.35"));
  EXPECT_EQ(calls(), "");
  EXPECT_EQ(release_after_end(work_), 0);
  EXPECT_FALSE(has_address("192.0.2.35")) << "the third death within 30 s";
  EXPECT_EQ(calls(), "secondary r0\n");
  for (const char* name : {"SERVICE_RESULT", "EXIT_STATUS", "RUNTIME_DIRECTORY"}) ::unsetenv(name);
}

}  // namespace
}  // namespace itgtd::ha
