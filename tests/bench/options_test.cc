#include "bench/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <functional>

namespace itgtd::bench {
namespace {

using ::testing::HasSubstr;

RawLoadOptions valid() {
  RawLoadOptions raw;
  raw.portal = "127.0.0.1:3260";
  raw.target = "iqn.2017-01.com.example:t";
  raw.read = true;
  return raw;
}

TEST(Options, DefaultsAreRandomReadsOf4KiB) {
  const Result<LoadOptions> options = check_options(valid());
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->host, "127.0.0.1");
  EXPECT_EQ(options->port, "3260");
  EXPECT_EQ(options->read_percent, 100U);
  EXPECT_EQ(options->block_bytes, 4096U);
  EXPECT_EQ(options->depth, 32U);
  EXPECT_EQ(options->max_segment_bytes, 262144U);
  EXPECT_TRUE(options->random);
  EXPECT_TRUE(options->immediate_data);
  EXPECT_FALSE(options->initial_r2t);
}

TEST(Options, UnderstandsEachMode) {
  RawLoadOptions raw = valid();
  raw.read = false;
  raw.write = true;
  EXPECT_EQ(check_options(raw).value().read_percent, 0U);
  raw.write = false;
  raw.mix = "70";
  EXPECT_EQ(check_options(raw).value().read_percent, 70U);
}

struct BadCase {
  const char* name;
  std::function<void(RawLoadOptions&)> spoil;
  const char* message;
};

class BadOptions : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadOptions, AreNamedInTheMessage) {
  RawLoadOptions raw = valid();
  GetParam().spoil(raw);
  const Result<LoadOptions> options = check_options(raw);
  ASSERT_FALSE(options.ok());
  EXPECT_THAT(options.error().to_string(), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadOptions,
    ::testing::Values(
        BadCase{"no_mode", [](auto& raw) { raw.read = false; }, "give one of --read"},
        BadCase{"two_modes", [](auto& raw) { raw.mix = "50"; }, "give one of --read"},
        BadCase{"two_orders", [](auto& raw) { raw.random = raw.sequential = true; }, "--sequential"},
        BadCase{"mix_over_100", [](auto& raw) { raw.mix = "101"; },
                "--mix: '101' is not a number from 0 to 100"},
        BadCase{"block_size_odd", [](auto& raw) { raw.block_size = "1000"; }, "--block-size: '1000'"},
        BadCase{"block_size_zero", [](auto& raw) { raw.block_size = "0"; }, "--block-size: '0'"},
        BadCase{"block_size_huge", [](auto& raw) { raw.block_size = "32M"; }, "--block-size: '32M'"},
        BadCase{"block_size_word", [](auto& raw) { raw.block_size = "big"; }, "--block-size: 'big'"},
        BadCase{"depth_zero", [](auto& raw) { raw.depth = "0"; }, "--depth"},
        BadCase{"depth_negative", [](auto& raw) { raw.depth = "-1"; }, "--depth: '-1'"},
        BadCase{"depth_huge", [](auto& raw) { raw.depth = "4097"; }, "--depth"},
        BadCase{"threads", [](auto& raw) { raw.threads = "2"; }, "--threads: more than --connections"},
        BadCase{"seconds", [](auto& raw) { raw.seconds = "0"; }, "--seconds"},
        BadCase{"warmup_with_count",
                [](auto& raw) {
                  raw.count = "5";
                  raw.warmup = "1";
                },
                "--warmup"},
        BadCase{"seconds_with_count",
                [](auto& raw) {
                  raw.count = "5";
                  raw.seconds_given = true;
                },
                "--seconds and --count"},
        BadCase{"count_zero", [](auto& raw) { raw.count = "0"; }, "--count"},
        BadCase{"rate_zero", [](auto& raw) { raw.rate = "0"; }, "--rate"},
        BadCase{"lun", [](auto& raw) { raw.lun = "16384"; }, "LUN: '16384'"},
        BadCase{"user_alone", [](auto& raw) { raw.user = "u"; }, "--user and --secret-file"},
        BadCase{"secret_missing",
                [](auto& raw) {
                  raw.user = "u";
                  raw.secret_file = "/nonexistent/secret";
                },
                "--secret-file: cannot read /nonexistent/secret"},
        BadCase{"algorithm", [](auto& raw) { raw.chap_algorithm = "md4"; }, "--chap-algorithm"},
        BadCase{"verify_without_writes", [](auto& raw) { raw.verify = true; }, "--fill"},
        BadCase{"fill_alone", [](auto& raw) { raw.fill = true; }, "--fill goes with --verify"},
        BadCase{"no_target", [](auto& raw) { raw.target.clear(); }, "IQN"},
        BadCase{"bad_portal", [](auto& raw) { raw.portal = "1:2:3"; }, "HOST:PORT: '1:2:3'"}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Options, TakesTheFirstLineOfTheSecretFile) {
  const std::string path = ::testing::TempDir() + "bench_secret";
  std::ofstream(path) << "twelve chars\r\nmore\n";
  RawLoadOptions raw = valid();
  raw.user = "u";
  raw.secret_file = path;
  EXPECT_EQ(check_options(raw).value().secret, "twelve chars");
  std::ofstream(path) << "";
  EXPECT_THAT(check_options(raw).error().message, HasSubstr("is empty"));
  std::remove(path.c_str());
}

TEST(Options, ReadsPortals) {
  EXPECT_EQ(parse_portal("host").value().port, "3260");
  EXPECT_EQ(parse_portal("host:1").value().port, "1");
  EXPECT_EQ(parse_portal("[::1]:99").value().host, "::1");
  EXPECT_EQ(parse_portal("[::1]").value().port, "3260");
  for (const char* bad : {"", ":1", "host:", "host:0", "host:65536", "[::1", "[::1]x", "::1", "[]:1"}) {
    EXPECT_FALSE(parse_portal(bad).ok()) << bad;
  }
}

TEST(Options, ReadsSeconds) {
  EXPECT_EQ(parse_seconds("10"), 10.0);
  EXPECT_EQ(parse_seconds("0.25"), 0.25);
  for (const char* bad : {"", "1s", "-1", "nan", "inf", "1e3", "99999999"}) {
    EXPECT_FALSE(parse_seconds(bad)) << bad;
  }
}

}  // namespace
}  // namespace itgtd::bench
