// drbd_reply and drbd_settings.
#include <gtest/gtest.h>

#include "ha/adapters/drbd_reply.h"
#include "ha/adapters/drbd_settings.h"

namespace itgtd::ha {
namespace {

using Severity = Finding::Severity;
using Verdict = DrbdReply::Verdict;

DrbdReply reply(int status, const std::string& err) {
  CommandResult result;
  result.status = status;
  result.err = err;
  return parse_drbd_reply("drbdadm primary", result);
}

TEST(DrbdReplyTest, Ok) {
  EXPECT_EQ(reply(0, "a warning").verdict, Verdict::ok);
}

// As drbd-utils 9.22 with DRBD 8.4.11 says it.
TEST(DrbdReplyTest, Of84) {
  const DrbdReply two = reply(11,
                              "0: State change failed: (-1) Multiple primaries not allowed by config\n"
                              "Command 'drbdsetup-84 primary 0' terminated with exit code 11\n");
  EXPECT_EQ(two.verdict, Verdict::again);
  EXPECT_EQ(two.number, -1);
  EXPECT_EQ(two.text,
            "drbdadm primary: 0: State change failed: (-1) Multiple primaries not allowed by config");
  EXPECT_EQ(reply(17, "0: State change failed: (-2) Need access to UpToDate data\n").verdict,
            Verdict::not_here);
  EXPECT_EQ(reply(11, "0: State change failed: (-12) Device is held open by someone\n").verdict,
            Verdict::in_use);
  EXPECT_EQ(reply(11, "0: State change failed: (-15) Need a connection to start verify or resync\n").verdict,
            Verdict::failed);
  const DrbdReply down =
      reply(10,
            "0: Failure: (127) Device minor not allocated\nadditional info from kernel:\n"
            "unknown minor\nCommand 'drbdsetup-84 primary 0' terminated with exit code 10\n");
  EXPECT_EQ(down.verdict, Verdict::down);
  EXPECT_EQ(down.number, 127);
  EXPECT_EQ(down.text, "drbdadm primary: 0: Failure: (127) Device minor not allocated; unknown minor");
  EXPECT_EQ(reply(1, "'nosuch' not defined in your config (for this host).\n").verdict, Verdict::absent);
  EXPECT_EQ(reply(127, "can't run drbdadm").verdict, Verdict::absent);
  EXPECT_EQ(reply(20,
                  "Failed to modprobe drbd (No such file or directory)\nCould not connect to 'drbd' generic "
                  "netlink family\n")
                .verdict,
            Verdict::absent);
  const DrbdReply force =
      reply(20, "secondary: unrecognized option '--force'\n\nUSAGE: drbdsetup command\nCommands\n");
  EXPECT_EQ(force.verdict, Verdict::unknown_option);
  EXPECT_EQ(force.text, "drbdadm primary: secondary: unrecognized option '--force'");
}

TEST(DrbdReplyTest, Of9) {
  const DrbdReply open = reply(11,
                               "r0: State change failed: (-12) Device is held open by someone\n"
                               "additional info from kernel:\n"
                               "/dev/drbd0 opened by multipathd (pid 811) at 2026-01-02 03:04:05.678\n"
                               "Command 'drbdsetup secondary r0' terminated with exit code 11\n");
  EXPECT_EQ(open.verdict, Verdict::in_use);
  EXPECT_NE(open.text.find("opened by multipathd (pid 811)"), std::string::npos);
  EXPECT_EQ(reply(11, "r0: State change failed: (-25) No quorum\n").verdict, Verdict::not_here);
  EXPECT_EQ(reply(11, "r0: State change failed: (-23) Timeout in operation\n").verdict, Verdict::again);
  EXPECT_EQ(reply(10, "r0: Failure: (158) Unknown resource\n").verdict, Verdict::down);
  EXPECT_EQ(
      reply(11, "r0: State change failed: (-7) Refusing to be Primary while peer is not outdated\n").verdict,
      Verdict::failed);
}

TEST(DrbdReplyTest, TheStatusAloneIsTakenWhereThereIsNoNumber) {
  EXPECT_EQ(reply(17, "").verdict, Verdict::not_here);
  EXPECT_EQ(reply(17, "").text, "drbdadm primary ended with status 17");
  EXPECT_EQ(reply(16, "x").verdict, Verdict::not_here);
  EXPECT_EQ(reply(11, "failed: (").verdict, Verdict::failed);
  EXPECT_EQ(reply(11, "failed: (-99999999999999999999) x").number, 0);
}

TEST(DrbdReplyTest, Late) {
  CommandResult result;
  result.timed_out = true;
  const DrbdReply late = parse_drbd_reply("drbdadm primary", result);
  EXPECT_EQ(late.verdict, Verdict::failed);
  EXPECT_EQ(late.text, "drbdadm primary did not end in time");
}

TEST(DrbdReplyTest, TextIsLimited) {
  EXPECT_LE(reply(10, std::string(100000, 'x')).text.size(), 700U);
}

constexpr const char* kDump84 = R"(# /etc/drbd.conf
common {
    net {
        fencing          resource-only;   # not used by r1
    }
}

# resource r0 on one: not ignored, not stacked
# defined at /etc/drbd.d/g.res:1
resource r0 {
    on one {
        volume 0 {
            device       /dev/drbd0 minor 0;
            disk         /dev/ram0;
            meta-disk    internal;
        }
        address          ipv4 127.0.0.1:7788;
    }
    net {
        protocol           C;
        allow-two-primaries no;
        cram-hmac-alg    "sha1; } net {";
    }
}

resource "r 1" {
    options { quorum majority; auto-promote no; }
    net { protocol A; allow-two-primaries; fencing dont-care; }
    connection {
        net { protocol C; }
    }
}
)";

TEST(DrbdSettingsTest, Dump) {
  const auto resources = parse_drbd_dump(kDump84);
  ASSERT_EQ(resources.size(), 2U);
  const DrbdSettings& r0 = resources.find("r0")->second;
  EXPECT_EQ(r0.find("protocol")->second, std::vector<std::string>{"C"});
  EXPECT_EQ(r0.find("fencing")->second, std::vector<std::string>{"resource-only"}) << "from common";
  EXPECT_EQ(r0.find("cram-hmac-alg")->second, std::vector<std::string>{"sha1; } net {"});
  EXPECT_EQ(r0.find("address"), r0.end()) << "not a section of options";
  const DrbdSettings& r1 = resources.find("r 1")->second;
  EXPECT_EQ(r1.find("protocol")->second, (std::vector<std::string>{"A", "C"}));
  EXPECT_EQ(r1.find("allow-two-primaries")->second, std::vector<std::string>{"yes"});
  EXPECT_EQ(r1.find("quorum")->second, std::vector<std::string>{"majority"});
}

TEST(DrbdSettingsTest, NotADump) {
  EXPECT_TRUE(parse_drbd_dump("").empty());
  EXPECT_TRUE(parse_drbd_dump("} } { ; # x").empty());
  EXPECT_TRUE(parse_drbd_dump("no resources defined!").empty());
  EXPECT_EQ(parse_drbd_dump("resource r0 { net { protocol").size(), 1U);
  EXPECT_EQ(parse_drbd_dump("resource r0 { net { x \"").size(), 1U);
}

size_t count(const std::vector<Finding>& findings, Severity severity, std::string_view word) {
  size_t found = 0;
  for (const Finding& finding : findings) {
    if (finding.severity == severity && finding.text.find(word) != std::string::npos) ++found;
  }
  return found;
}

TEST(DrbdSettingsTest, Safe) {
  const DrbdSettings safe9{{"quorum", {"majority"}}, {"auto-promote", {"no"}}, {"protocol", {"C"}}};
  EXPECT_TRUE(judge_drbd_settings("r0", safe9, 0x090200).empty());
  EXPECT_TRUE(judge_drbd_settings("r0", {{"fencing", {"resource-only"}}}, 0x08040b).empty());
}

TEST(DrbdSettingsTest, Unsafe) {
  const auto nothing_set = judge_drbd_settings("r0", {}, 0x090200);
  EXPECT_EQ(count(nothing_set, Severity::refuse, "neither quorum nor fencing"), 1U);
  EXPECT_EQ(count(nothing_set, Severity::warn, "auto-promote no"), 1U);
  EXPECT_EQ(nothing_set.size(), 2U);
  EXPECT_EQ(judge_drbd_settings("r0", {{"quorum", {"off"}}}, 0x090200).size(), 2U);
  // As in the configuration of many 8.4 clusters: served, with a word.
  const auto old = judge_drbd_settings("r0", {}, 0x08040b);
  EXPECT_EQ(old.size(), 1U);
  EXPECT_EQ(count(old, Severity::warn, "DRBD 8.4 has no quorum"), 1U);
  for (const uint32_t version : {0x08040bU, 0x090200U}) {
    const auto both = judge_drbd_settings(
        "r0",
        {{"allow-two-primaries", {"yes"}}, {"protocol", {"C", "B"}}, {"fencing", {"resource-and-stonith"}}},
        version);
    EXPECT_EQ(count(both, Severity::refuse, "allow-two-primaries"), 1U);
    EXPECT_EQ(count(both, Severity::refuse, "protocol B"), 1U);
    EXPECT_EQ(both[0].text.substr(0, 17), "DRBD resource r0 ");
  }
}

TEST(DrbdSettingsTest, KernelVersion) {
  EXPECT_EQ(parse_drbd_kernel_version("DRBDADM_API_VERSION=1\nDRBD_KERNEL_VERSION_CODE=0x08040b\nX=1\n"),
            0x08040bU);
  EXPECT_EQ(parse_drbd_kernel_version("DRBD_KERNEL_VERSION_CODE=0x000000\n"), 0U);
  EXPECT_EQ(parse_drbd_kernel_version(""), 0U);
}

}  // namespace
}  // namespace itgtd::ha
