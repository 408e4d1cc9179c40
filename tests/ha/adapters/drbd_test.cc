// The class against programs of the same names that stand in for DRBD's: drbdadm and drbdsetup are shell
// scripts in a folder of their own, first in PATH. The real DRBD is not there where the tests run.
#include "ha/adapters/drbd.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

namespace itgtd::ha {
namespace {

using std::chrono::milliseconds;

constexpr const char* kUp =
    "exists resource name:r0 role:Secondary suspended:no\\n"
    "exists connection name:r0 peer-node-id:0 conn-name:peer connection:Connected role:Secondary\\n"
    "exists device name:r0 volume:0 minor:0 disk:UpToDate\\n"
    "exists peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Established "
    "peer-disk:UpToDate\\n";

class DrbdTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "drbd_test_XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = std::getenv("PATH");
    ASSERT_EQ(::setenv("PATH", (folder_.string() + ":" + path_).c_str(), 1), 0);
    ASSERT_EQ(::setenv("D", folder_.c_str(), 1), 0);
    drbdsetup(std::string("printf '") + kUp + "exists -\\n'; exec sleep 60");
    drbdadm("exit 0");
  }
  void TearDown() override {
    drbd_.reset();
    ::setenv("PATH", path_.c_str(), 1);
    std::filesystem::remove_all(folder_);
  }
  /// Each call is noted in the file calls; $D is the folder.
  void program(const std::string& name, const std::string& body) {
    const auto file = folder_ / name;
    std::ofstream(file) << "#!/bin/sh\necho \"" << name << " $*\" >> $D/calls\n" << body << "\n";
    ::chmod(file.c_str(), 0755);
  }
  void drbdsetup(const std::string& body) { program("drbdsetup", body); }
  void drbdadm(const std::string& body) { program("drbdadm", body); }
  [[nodiscard]] std::string calls(const std::string& program) const {
    std::ifstream file(folder_ / "calls");
    std::string line;
    std::string found;
    while (std::getline(file, line)) {
      if (line.starts_with(program)) found += line.substr(program.size() + 1) + "; ";
    }
    return found;
  }
  void turn(milliseconds limit) {
    auto timer = loop_.timer(limit, [this] { loop_.stop(); });
    loop_.run();
  }
  /// Turns the loop until `condition` holds; false: not within the limit.
  bool until(const std::function<bool()>& condition, milliseconds limit = milliseconds(10000)) {
    for (auto left = limit; left.count() > 0; left -= milliseconds(10)) {
      if (condition()) return true;
      turn(milliseconds(10));
    }
    return condition();
  }
  void follow() {
    drbd_.emplace(loop_, [this](const std::string& resource, const StorageFacts& facts) {
      EXPECT_EQ(resource, "r0");
      facts_ = facts;
      ++changes_;
    });
    drbd_->follow({"r0"});
  }
  Drbd::Outcome ended(const std::function<void(Drbd::Done)>& begin) {
    std::optional<Drbd::Outcome> outcome;
    begin([&](const Drbd::Outcome& result) {
      EXPECT_FALSE(outcome.has_value()) << "done is called once";
      outcome = result;
    });
    EXPECT_FALSE(outcome.has_value()) << "done is not called from within";
    EXPECT_TRUE(until([&] { return outcome.has_value(); }));
    turn(milliseconds(20));
    return outcome.value_or(Drbd::Outcome{.ok = false, .retry_here = false, .text = "never"});
  }
  Drbd::Outcome promote() {
    return ended([this](Drbd::Done done) { drbd_->promote("r0", std::move(done)); });
  }
  Drbd::Outcome demote(bool force = false) {
    return ended([this, force](Drbd::Done done) { drbd_->demote("r0", force, std::move(done)); });
  }
  void followed() {
    follow();
    ASSERT_TRUE(until([this] { return facts_.fitness == StorageFitness::usable; })) << facts_.detail;
  }

  control::EventLoop loop_;
  std::filesystem::path folder_;
  std::string path_;
  StorageFacts facts_;
  int changes_ = 0;
  std::optional<Drbd> drbd_;
};

TEST_F(DrbdTest, TellsWhatChanges) {
  drbdsetup(std::string("printf '") + kUp +
            "exists -\\n'; while [ ! -e $D/go ]; do sleep 0.01; done; printf 'change resource name:r0 ro'; "
            "sleep 0.1; "
            "printf 'le:Primary\\nchange resource name:other role:Primary\\n'; exec sleep 60");
  followed();
  EXPECT_EQ(changes_, 1) << "at first, once";
  EXPECT_TRUE(facts_.peers_connected);
  std::ofstream(folder_ / "go") << "";
  ASSERT_TRUE(until([this] { return facts_.primary; }));
  EXPECT_EQ(changes_, 2);
  EXPECT_EQ(calls("drbdsetup"), "events2; ");
  EXPECT_EQ(calls("drbdadm"), "") << "it is up";
}

TEST_F(DrbdTest, EventsThatEndAreReadAgain) {
  drbdsetup(
      std::string("printf '") + kUp +
      "exists -\\n'; [ -e $D/second ] && { echo change resource name:r0 role:Primary; exec sleep 60; }; "
      "touch $D/second");
  followed();
  turn(milliseconds(300));
  EXPECT_EQ(changes_, 1) << "what was known stays until the next dump";
  ASSERT_TRUE(until([this] { return facts_.primary; }));
  EXPECT_EQ(calls("drbdsetup"), "events2; events2; ");
}

TEST_F(DrbdTest, LostEventsAreReadAgain) {
  drbdsetup(std::string("printf '") + kUp +
            "exists -\\n'; [ -e $D/second ] || { touch $D/second; echo '- skipped 4'; }; exec sleep 60");
  followed();
  ASSERT_TRUE(until([this] { return calls("drbdsetup") == "events2; events2; "; }, milliseconds(700)));
}

TEST_F(DrbdTest, WithoutEventsTheFactsAreUnknown) {
  drbdsetup("echo 'Failed to modprobe drbd (No such file or directory)' >&2; exit 20");
  follow();
  ASSERT_TRUE(until([this] { return changes_ > 0; }));
  EXPECT_EQ(facts_.fitness, StorageFitness::unknown);
  EXPECT_EQ(facts_.detail,
            "DRBD can't be watched (drbdsetup events2: Failed to modprobe drbd (No such file or directory))");
  drbdsetup(std::string("printf '") + kUp + "exists -\\n'; exec sleep 60");
  EXPECT_TRUE(until([this] { return facts_.fitness == StorageFitness::usable; }))
      << "tried again each second";
}

TEST_F(DrbdTest, WithoutDrbdUtils) {
  ::setenv("PATH", folder_.c_str(), 1);
  std::filesystem::remove(folder_ / "drbdsetup");
  std::filesystem::remove(folder_ / "drbdadm");
  follow();
  ASSERT_TRUE(until([this] { return changes_ > 0; }));
  EXPECT_NE(facts_.detail.find("can't run drbdsetup"), std::string::npos) << facts_.detail;
  EXPECT_FALSE(promote().ok);
  const auto findings = Drbd::preflight({"r0"});
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].severity, Finding::Severity::refuse);
  EXPECT_NE(findings[0].text.find("install drbd-utils"), std::string::npos);
}

TEST_F(DrbdTest, WhatIsDownIsBroughtUpOnce) {
  drbdsetup(std::string("printf 'exists -\\n'; while [ ! -e $D/up ]; do sleep 0.01; done; printf '") + kUp +
            "' | sed s/exists/create/; sleep 0.2; echo destroy resource name:r0; exec sleep 60");
  drbdadm("touch $D/up");
  followed();
  ASSERT_TRUE(until([this] { return facts_.fitness == StorageFitness::unknown; }));
  EXPECT_EQ(facts_.detail, "the resource is down: drbdadm up r0");
  turn(milliseconds(100));
  EXPECT_EQ(calls("drbdadm"), "up r0; ") << "whoever took it down meant it";
}

TEST_F(DrbdTest, WhatCannotBeBroughtUpSaysWhy) {
  drbdsetup("echo exists -; exec sleep 60");
  drbdadm("echo 'open(/dev/vg/r0) failed: No such file or directory' >&2; exit 20");
  follow();
  ASSERT_TRUE(until([this] { return facts_.detail.find("open(/dev/vg/r0)") != std::string::npos; }))
      << facts_.detail;
  const Drbd::Outcome outcome = promote();
  EXPECT_FALSE(outcome.ok);
  EXPECT_EQ(calls("drbdadm"), "up r0; up r0; ") << "promote tries it once more, and not primary";
}

TEST_F(DrbdTest, PromoteAndDemote) {
  followed();
  EXPECT_TRUE(promote().ok);
  EXPECT_TRUE(demote().ok);
  EXPECT_EQ(calls("drbdadm"), "primary r0; secondary r0; ") << "never --force";
}

TEST_F(DrbdTest, WhatThisNodeDoesNotHaveIsSecondary) {
  followed();
  drbdadm("echo \"'r0' not defined in your config (for this host).\" >&2; exit 1");
  EXPECT_TRUE(demote().ok);
  const Drbd::Outcome promoted = promote();
  EXPECT_FALSE(promoted.ok);
  EXPECT_FALSE(promoted.retry_here);
  std::filesystem::remove(folder_ / "drbdadm");
  ::setenv("PATH", folder_.c_str(), 1);
  EXPECT_TRUE(demote().ok) << "without drbd-utils";
}

TEST_F(DrbdTest, PromoteWaitsForAPeerThatGoesAway) {
  followed();
  drbdadm(
      "[ $(grep -c primary $D/calls) -ge 3 ] && exit 0; "
      "echo '0: State change failed: (-1) Multiple primaries not allowed by config' >&2; exit 11");
  EXPECT_TRUE(promote().ok);
  EXPECT_EQ(calls("drbdadm"), "primary r0; primary r0; primary r0; ");
}

TEST_F(DrbdTest, PromoteGivesUpOnAPeerThatStays) {
  followed();
  drbdadm("echo '0: State change failed: (-1) Multiple primaries not allowed by config' >&2; exit 11");
  const auto begin = std::chrono::steady_clock::now();
  const Drbd::Outcome outcome = promote();
  EXPECT_FALSE(outcome.ok);
  EXPECT_TRUE(outcome.retry_here);
  EXPECT_NE(outcome.text.find("(-1)"), std::string::npos);
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_GT(took, milliseconds(4500));
  EXPECT_LT(took, milliseconds(8000));
}

TEST_F(DrbdTest, PromoteDoesNotRepeatWhatIsSenseless) {
  followed();
  drbdadm("echo '0: State change failed: (-2) Need access to UpToDate data' >&2; exit 17");
  const Drbd::Outcome outcome = promote();
  EXPECT_FALSE(outcome.ok);
  EXPECT_FALSE(outcome.retry_here);
  EXPECT_EQ(calls("drbdadm"), "primary r0; ");
}

TEST_F(DrbdTest, PromoteBringsUpAndWaitsForThePeers) {
  drbdsetup(std::string("printf '") + kUp +
            "exists -\\n'; while [ ! -e $D/down ]; do sleep 0.01; done; "
            "echo destroy resource name:r0; while [ ! -e $D/up ]; do sleep 0.01; done; printf '" +
            kUp +
            "' | sed 's/exists/create/; s/connection:Connected/connection:Connecting/; s/Established/Off/'; "
            "sleep 0.5; "
            "touch $D/connected; echo change connection name:r0 peer-node-id:0 connection:Connected; "
            "echo change peer-device name:r0 peer-node-id:0 volume:0 replication:Established; exec sleep 60");
  drbdadm(
      "case $1 in up) touch $D/up;; primary) [ -e $D/connected ] || { echo too early >&2; exit 1; };; esac");
  followed();
  std::ofstream(folder_ / "down") << "";
  ASSERT_TRUE(until([this] { return facts_.fitness == StorageFitness::unknown; }));
  const Drbd::Outcome outcome = promote();
  EXPECT_TRUE(outcome.ok) << outcome.text;
  EXPECT_EQ(calls("drbdadm"), "up r0; primary r0; ");
}

TEST_F(DrbdTest, PromoteBringsUpWhatTheEventsHaveNotSaidIsDown) {
  followed();
  drbdadm(
      "case $1 in up) touch $D/up;; primary) [ -e $D/up ] || "
      "{ echo '0: Failure: (127) Device minor not allocated' >&2; exit 10; };; esac");
  EXPECT_TRUE(promote().ok);
  EXPECT_EQ(calls("drbdadm"), "primary r0; up r0; primary r0; ");
}

TEST_F(DrbdTest, DemoteNamesWhoHasItOpen) {
  followed();
  drbdadm(
      "echo 'r0: State change failed: (-12) Device is held open by someone' >&2; "
      "echo 'additional info from kernel:' >&2; echo '/dev/drbd0 opened by cat (pid 7)' >&2; exit 11");
  const Drbd::Outcome outcome = demote();
  EXPECT_FALSE(outcome.ok);
  EXPECT_NE(outcome.text.find("/dev/drbd0 opened by cat (pid 7)"), std::string::npos) << outcome.text;
  EXPECT_GT(calls("drbdadm").size(), std::string("secondary r0; ").size()) << "udev's probes pass";
}

TEST_F(DrbdTest, DemoteByForce) {
  drbdsetup(std::string("[ $1 = secondary ] && exit 0; printf '") + kUp + "exists -\\n'; exec sleep 60");
  followed();
  EXPECT_TRUE(demote(true).ok);
  EXPECT_EQ(calls("drbdsetup"), "events2; secondary --force r0; ");
  drbdsetup("echo \"secondary: unrecognized option '--force'\" >&2; exit 20");
  EXPECT_TRUE(demote(true).ok) << "8.4: without force, since it may be closed by now";
  EXPECT_EQ(calls("drbdadm"), "secondary r0; ");
  drbdadm("echo 'r0: State change failed: (-12) Device is held open' >&2; exit 11");
  const Drbd::Outcome outcome = demote(true);
  EXPECT_FALSE(outcome.ok);
  EXPECT_EQ(outcome.text,
            "drbdadm secondary: r0: State change failed: (-12) Device is held open; this DRBD can't be made "
            "Secondary by force: that needs DRBD 9 and drbd-utils 9.21");
}

TEST_F(DrbdTest, ADemotionByForceThatIsAskedForAgainGoesOn) {
  followed();
  drbdsetup("sleep 0.5");
  std::optional<Drbd::Outcome> first;
  drbd_->demote("r0", true, [&](const Drbd::Outcome& outcome) { first = outcome; });
  ASSERT_TRUE(until([this] { return calls("drbdsetup") == "events2; secondary --force r0; "; }));
  EXPECT_TRUE(demote(true).ok);
  ASSERT_TRUE(first.has_value());
  EXPECT_FALSE(first->ok);
  EXPECT_EQ(calls("drbdsetup"), "events2; secondary --force r0; ");
}

TEST_F(DrbdTest, WhatIsDownIsSecondary) {
  followed();
  drbdadm("echo '0: Failure: (127) Device minor not allocated' >&2; exit 10");
  EXPECT_TRUE(demote().ok);
}

TEST_F(DrbdTest, ADemotionEndsAPromotionThatHangs) {
  followed();
  drbdadm("[ $1 = primary ] && exec sleep 60; exit 0");
  std::optional<Drbd::Outcome> promoted;
  drbd_->promote("r0", [&](const Drbd::Outcome& outcome) { promoted = outcome; });
  ASSERT_TRUE(until([this] { return calls("drbdadm") == "primary r0; "; }));
  EXPECT_TRUE(demote().ok);
  ASSERT_TRUE(promoted.has_value());
  EXPECT_FALSE(promoted->ok);
}

TEST_F(DrbdTest, FollowingOthersStopsAndStarts) {
  followed();
  drbd_->follow({});
  const int before = changes_;
  turn(milliseconds(50));
  EXPECT_EQ(changes_, before);
  drbd_->follow({"r0"});
  EXPECT_TRUE(until([&] { return changes_ > before; })) << "told anew";
}

TEST_F(DrbdTest, DestroyedInTheMiddle) {
  followed();
  drbdadm("exec sleep 60");
  drbd_->promote("r0", [](const Drbd::Outcome&) { ADD_FAILURE() << "done called"; });
  turn(milliseconds(20));
  drbd_.reset();
  turn(milliseconds(50));
}

TEST_F(DrbdTest, Preflight) {
  drbdadm(
      "case $1 in --version) echo DRBD_KERNEL_VERSION_CODE=0x090201;; "
      "dump) echo 'resource r0 { net { allow-two-primaries yes; } options { quorum majority; auto-promote "
      "no; } }';; esac");
  const auto findings = Drbd::preflight({"r0", "r1"});
  ASSERT_EQ(findings.size(), 2U);
  EXPECT_NE(findings[0].text.find("allow-two-primaries"), std::string::npos);
  EXPECT_NE(findings[1].text.find("DRBD resource r1 is not configured on this node"), std::string::npos);
  EXPECT_TRUE(Drbd::preflight({}).empty()) << "nothing to do with DRBD, whatever is installed";
}

TEST_F(DrbdTest, PreflightSaysWhatDrbdadmSays) {
  drbdadm(
      "case $1 in --version) echo DRBD_KERNEL_VERSION_CODE=0x000000;; "
      "dump) echo '/etc/drbd.d/x.res:3: Parse error' >&2; exit 10;; esac");
  const auto findings = Drbd::preflight({"r0"});
  ASSERT_EQ(findings.size(), 2U);
  EXPECT_EQ(findings[0].severity, Finding::Severity::warn);
  EXPECT_NE(findings[1].text.find("x.res:3: Parse error"), std::string::npos);
}

}  // namespace
}  // namespace itgtd::ha
