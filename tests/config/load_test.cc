#include "target/config/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "target/config/syntax.h"
#include "target/config/text.h"
#include "target/config/validate.h"
#include "tests/config/fixture.h"

namespace itgtd::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// The file of the design, with every key there is; one is for targets without a group.
constexpr std::string_view kFull = R"([daemon]
workers = 3
polling = "always"
control_socket = "/run/itgtd/other.sock"
state_dir = "/var/lib/other"
http = "127.0.0.1"
log_level = "debug"

[[target]]
name = "iqn.2017-01.com.linbit:drbd0"
alias = "p_iscsi_target_0"
portals = ["192.168.222.35:3261", "[2001:db8:0::35]"]
group = "drbd0"
initiators = ["iqn.1993-08.org.debian:*"]
networks = ["192.168.222.0/24"]
header_digest = "required"
data_digest = "off"
[target.chap]
user = "u"
secret_file = "@DIR@/good"
mutual_user = "t"
mutual_secret_file = "@DIR@/other"

[[target.lun]]
id = 7
path = "/dev/drbd0"
serial = "aaaaaaa0"
product = "p_iscsi_lun_0"
vendor = "LINBIT"
block_size = 4096
physical_block_size = 4096
removable = true
thin = "off"
read_only = true
write_cache = false

[[target.lun]]
path = "/dev/drbd2"
serial = "bbbbbbb0"

[[target]]
name = "iqn.2017-01.com.linbit:file"
portals = ["192.168.223.35"]
[[target.lun]]
path = "/srv/disk.img"
create = "1G"

[cluster]
corosync = true

[[group]]
name = "drbd0"
drbd = "r0"
vips = ["192.168.222.35/24", "192.168.221.35/24@enp0s9"]
nodes = ["iscsi-2", "iscsi-0", "iscsi-1"]
failback = "immediate"
state = "/dev/drbd1"
)";

/// The seven lines and two sections that replace the article.
constexpr std::string_view kSeed = R"([cluster]

[[group]]
name = "drbd0"
drbd = "r0"
vips = ["192.168.222.35/24", "192.168.221.35/24"]

[[target]]
name = "iqn.2017-01.com.linbit:drbd0"
group = "drbd0"

[[target.lun]]
path = "/dev/drbd0"
serial = "aaaaaaa0"
)";

constexpr std::string_view kMinimal = R"([[target]]
name = "iqn.2017-01.com.example:a"
portals = ["127.0.0.1"]
)";

class Load : public testing::Test {
 protected:
  Load() { write_secrets(directory_); }
  Loaded load(std::string_view text) const {
    return load_text(replace_all(std::string(text), "@DIR@", directory_.path()), "f.toml");
  }
  TemporaryDirectory directory_;
};

TEST_F(Load, EveryKeyArrives) {
  const Loaded loaded = load(kFull);
  ASSERT_EQ(to_text(loaded.problems), "");
  const Config& config = loaded.config;
  EXPECT_EQ(config.daemon.workers, 3u);
  EXPECT_EQ(config.daemon.polling, Polling::always);
  EXPECT_EQ(config.daemon.control_socket, "/run/itgtd/other.sock");
  EXPECT_EQ(config.daemon.state_dir, "/var/lib/other");
  EXPECT_EQ(config.daemon.http, "127.0.0.1:9860");
  EXPECT_EQ(config.daemon.log_level, LogLevel::debug);
  ASSERT_EQ(config.targets.size(), 2u);
  const TargetConfig& target = config.targets[0];
  EXPECT_EQ(target.name, "iqn.2017-01.com.linbit:drbd0");
  EXPECT_EQ(target.alias, "p_iscsi_target_0");
  EXPECT_THAT(target.portals, ElementsAre("192.168.222.35:3261", "[2001:db8::35]:3260"));
  EXPECT_EQ(target.group, "drbd0");
  EXPECT_THAT(target.initiators, ElementsAre("iqn.1993-08.org.debian:*"));
  EXPECT_THAT(target.networks, ElementsAre("192.168.222.0/24"));
  EXPECT_EQ(target.header_digest, DigestPolicy::required);
  EXPECT_EQ(target.data_digest, DigestPolicy::off);
  ASSERT_TRUE(target.chap.has_value());
  EXPECT_EQ(target.chap->user, "u");
  EXPECT_EQ(target.chap->secret, kSecret);
  EXPECT_EQ(target.chap->mutual_user, "t");
  EXPECT_EQ(target.chap->mutual_secret, kOtherSecret);
}

TEST_F(Load, EveryKeyOfLunsAndGroupsArrives) {
  const Loaded loaded = load(kFull);
  ASSERT_EQ(loaded.config.targets.size(), 2u);
  ASSERT_EQ(loaded.config.targets[0].luns.size(), 2u);
  ASSERT_EQ(loaded.config.targets[1].luns.size(), 1u);
  EXPECT_EQ(loaded.config.targets[1].luns[0].create_bytes, uint64_t{1} << 30);
  EXPECT_EQ(loaded.config.targets[1].luns[0].product, "disk.img");
  const LunConfig& lun = loaded.config.targets[0].luns[0];
  EXPECT_EQ(lun.id, 7);
  EXPECT_EQ(lun.path, "/dev/drbd0");
  EXPECT_EQ(lun.serial, "aaaaaaa0");
  EXPECT_EQ(lun.product, "p_iscsi_lun_0");
  EXPECT_EQ(lun.vendor, "LINBIT");
  EXPECT_EQ(lun.block_size, 4096u);
  EXPECT_EQ(lun.physical_block_size, 4096u);
  EXPECT_TRUE(lun.removable);
  EXPECT_EQ(lun.thin, ThinPolicy::off);
  EXPECT_TRUE(lun.read_only);
  EXPECT_FALSE(lun.write_cache);
  const LunConfig& second = loaded.config.targets[0].luns[1];
  EXPECT_EQ(second.id, 0);
  EXPECT_EQ(second.product, "drbd2");
  EXPECT_EQ(second.vendor, "LIO-ORG");
  EXPECT_EQ(second.serial, "bbbbbbb0");
  ASSERT_EQ(loaded.config.groups.size(), 1u);
  const GroupConfig& group = loaded.config.groups[0];
  EXPECT_EQ(group.name, "drbd0");
  EXPECT_EQ(group.drbd, "r0");
  EXPECT_FALSE(group.shared_storage);
  ASSERT_EQ(group.vips.size(), 2u);
  EXPECT_EQ(group.vips[0], (VipConfig{"192.168.222.35", 24, ""}));
  EXPECT_EQ(group.vips[1], (VipConfig{"192.168.221.35", 24, "enp0s9"}));
  EXPECT_THAT(group.nodes, ElementsAre("iscsi-2", "iscsi-0", "iscsi-1"));
  EXPECT_EQ(group.failback, Failback::immediate);
  EXPECT_EQ(group.state, "/dev/drbd1");
  EXPECT_TRUE(loaded.config.cluster.has_value());
}

TEST_F(Load, TheSeedIsServedAtItsVips) {
  const Loaded loaded = load(kSeed);
  ASSERT_EQ(to_text(loaded.problems), "");
  EXPECT_THAT(loaded.config.targets[0].portals, ElementsAre("192.168.222.35:3260", "192.168.221.35:3260"));
  EXPECT_EQ(naa_digits(loaded.config.targets[0].luns[0].serial), "aaaaaaa000000000000000000");
}

TEST_F(Load, AClusterWithoutCorosyncIsRefusedAtStart) {
  EXPECT_EQ(refuse_at_start(load(kSeed).config), std::nullopt);
  EXPECT_EQ(refuse_at_start(load(kMinimal).config), std::nullopt);
  Config config = load(kSeed).config;
  config.cluster->corosync = false;
  EXPECT_THAT(refuse_at_start(config), testing::Optional(HasSubstr("corosync = false")));
}

TEST_F(Load, LunsAreNumberedAroundTheGivenNumbers) {
  std::string text(kMinimal);
  for (const char* id : {"", "id = 1\n", "", "id = 0\n", ""})
    text += "[[target.lun]]\npath = \"ram:1M\"\n" + std::string(id);
  const Loaded loaded = load(text);
  ASSERT_EQ(to_text(loaded.problems), "");
  std::vector<uint16_t> ids;
  for (const LunConfig& lun : loaded.config.targets[0].luns) ids.push_back(lun.id);
  EXPECT_THAT(ids, ElementsAre(2, 1, 3, 0, 4));
}

TEST_F(Load, ATargetHasAtMost256Luns) {
  std::string text(kMinimal);
  for (int i = 0; i < 256; i++) text += "[[target.lun]]\npath = \"ram:1M\"\n";
  EXPECT_THAT(load(text).problems, IsEmpty());
  const auto problems = load(text + "[[target.lun]]\npath = \"ram:1M\"\n").problems;
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].line, 4u + 512u);
}

TEST_F(Load, ALinkToADiskIsThatDisk) {
  directory_.write("disk", "");
  ASSERT_EQ(symlink("disk", (directory_.path() + "/link").c_str()), 0);
  const auto problems = load(std::string(kMinimal) + "[[target.lun]]\npath = \"@DIR@/disk\"\n" +
                             "[[target.lun]]\npath = \"@DIR@/link\"\n")
                            .problems;
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_THAT(problems[0].message, HasSubstr("two writers"));
}

TEST_F(Load, ProductsOfPathsFitInquiry) {
  const auto product_of = [&](std::string_view path) {
    const Loaded loaded =
        load(std::string(kMinimal) + "[[target.lun]]\npath = \"" + std::string(path) + "\"\n");
    return loaded.problems.empty() ? loaded.config.targets[0].luns[0].product : to_text(loaded.problems);
  };
  EXPECT_EQ(product_of("/dev/drbd0"), "drbd0");
  EXPECT_EQ(product_of("ram:1G"), "ram");
  EXPECT_EQ(product_of("null:1G"), "null");
  EXPECT_EQ(product_of("/dev/disk/by-id/wwn-0x5000c500a1b2c3d4"), "wwn-0x5000c500a1");
  EXPECT_EQ(product_of("/srv/my disk.img"), "my_disk.img");
  EXPECT_EQ(product_of("/"), "disk");
}

TEST_F(Load, TwoFilesThatDifferInLinesOnlyAreEqual) {
  EXPECT_EQ(load(kFull).config, load("# a comment\n\n" + std::string(kFull)).config);
  EXPECT_FALSE(load(kFull).config == load(kSeed).config);
}

TEST_F(Load, SecretsCountInComparison) {
  const Config before = load(kFull).config;
  directory_.write("good", "another-secret");
  EXPECT_FALSE(before == load(kFull).config);
}

TEST_F(Load, AnUnreadableFileIsAProblem) {
  const auto missing = load_file(directory_.path() + "/missing.toml").problems;
  ASSERT_EQ(missing.size(), 1u);
  EXPECT_EQ(missing[0].to_string(),
            directory_.path() +
                "/missing.toml:0: there is no such file; name the configuration with --config FILE");
  const auto folder = load_file(directory_.path()).problems;
  ASSERT_EQ(folder.size(), 1u);
  EXPECT_THAT(folder[0].message, HasSubstr("is a directory"));
  directory_.write("big.toml", std::string(kConfigFileBytesMax + 1, '\n'));
  const auto big = load_file(directory_.path() + "/big.toml").problems;
  ASSERT_EQ(big.size(), 1u);
  EXPECT_THAT(big[0].message, HasSubstr("4 MiB"));
  directory_.write("good.toml", kMinimal);
  EXPECT_THAT(load_file(directory_.path() + "/good.toml").problems, IsEmpty());
}

TEST_F(Load, DeepNestingIsAProblem) {
  EXPECT_FALSE(load("a = " + std::string(100000, '[')).problems.empty());
  std::string inline_tables = "a = ";
  for (int i = 0; i < 100000; i++) inline_tables += "{a=";
  EXPECT_FALSE(load(inline_tables).problems.empty());
  std::string dotted = "a";
  for (int i = 0; i < 10000; i++) dotted += ".a";
  EXPECT_FALSE(load(dotted + " = 1").problems.empty());
}

/// A seeded walk through what hands and editors do to a file. Nothing may crash, every message is one line
/// and names a line of the file, and no secret is told.
TEST_F(Load, MutationsNeverCrash) {
  const std::string good = replace_all(std::string(kFull), "@DIR@", directory_.path());
  std::mt19937 random(20170101);  // NOLINT: the same walk every time
  const auto below = [&](size_t limit) {
    return std::uniform_int_distribution<size_t>(0, limit - 1)(random);
  };
  constexpr std::string_view kBytes = "[]{}=\"'\\\n\t#,.:-_/0123456789aeinrtux \x01\x7f\xff";
  for (int round = 0; round < 3000; round++) {
    std::string text = good;
    for (size_t changes = 1 + below(4); changes > 0; changes--) {
      const size_t at = below(text.size());
      switch (below(4)) {
        case 0:
          text[at] = kBytes[below(kBytes.size())];
          break;
        case 1:
          text.insert(at, 1, kBytes[below(kBytes.size())]);
          break;
        case 2:
          text.erase(at, 1 + below(40));
          break;
        default:
          text.insert(at, text.substr(below(text.size()), below(60)));
      }
      if (text.empty()) text = "\n";
    }
    const auto lines = static_cast<uint32_t>(std::count(text.begin(), text.end(), '\n')) + 1;
    for (const Problem& problem : load_text(text, "f").problems) {
      ASSERT_GE(problem.line, 1u) << text;
      ASSERT_LE(problem.line, lines) << text;
      ASSERT_FALSE(has_control_character(problem.message)) << problem.message;
      ASSERT_EQ(problem.message.find(kSecret), std::string::npos) << problem.message;
      ASSERT_EQ(problem.message.find(kOtherSecret), std::string::npos) << problem.message;
    }
  }
}

TEST(Text, DistancesCountSlips) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("block_size", "blok_size"), 1u);
  EXPECT_EQ(edit_distance("serial", "sreial"), 1u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

TEST(Syntax, NaaDigitsAreThoseOfLio) {
  EXPECT_EQ(naa_digits("aaaaaaa0"), "aaaaaaa000000000000000000");
  EXPECT_EQ(naa_digits("12AB-xyz-34"), "12ab340000000000000000000");
  EXPECT_EQ(naa_digits("0123456789abcdef0123456789abcdef"), "0123456789abcdef012345678");
}

TEST(Syntax, LongestIscsiName) {
  const std::string name = "iqn.2017-01.com.example:" + std::string(kIscsiNameBytesMax - 24, 'a');
  EXPECT_EQ(check_iscsi_name(name), "");
  EXPECT_THAT(check_iscsi_name(name + "a"), HasSubstr("224 bytes"));
  EXPECT_EQ(check_iscsi_name("eui.02004567a425678d"), "");
  EXPECT_EQ(check_iscsi_name("naa.52004567ba64678d"), "");
  EXPECT_EQ(check_iscsi_name("naa.62004567ba64678d0123456789abcdef"), "");
}

}  // namespace
}  // namespace itgtd::config
