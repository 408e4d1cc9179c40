#include "bench/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace itgtd::bench {
namespace {

using ::testing::HasSubstr;

LoadOptions some_options() {
  LoadOptions options;
  options.host = "::1";
  options.port = "3260";
  options.target = "iqn.2017-01.com.example:a-name-that-is-about-as-long-as-they-get";
  options.read_percent = 70;
  return options;
}

LoadResult some_result() {
  LoadResult result;
  result.capacity = {.blocks = 1u << 21, .block_bytes = 512};
  result.seconds = 2;
  for (int i = 0; i < 3'000'000; ++i) result.statistics.reads.add(150'000);
  result.statistics.writes.add(60'000'000'000);
  return result;
}

TEST(Report, FitsAHundredColumns) {
  std::istringstream lines(report_text(some_options(), some_result()));
  std::string line;
  std::getline(lines, line);  // as long as the target's name
  while (std::getline(lines, line)) EXPECT_LE(line.size(), 100U) << line;
}

TEST(Report, HasTheFigures) {
  const std::string text = report_text(some_options(), some_result());
  EXPECT_THAT(text, HasSubstr("[::1]:3260"));
  EXPECT_THAT(text, HasSubstr("1,500,000"));
  EXPECT_THAT(text, HasSubstr("6144.0"));
  EXPECT_THAT(text, HasSubstr("errors: 0\n"));
}

TEST(Report, CountsWhatVerificationFound) {
  LoadOptions options = some_options();
  options.verify = true;
  LoadResult result = some_result();
  result.statistics.mismatches = 2;
  result.statistics.note_error("mismatch on connection 0");
  const std::string text = report_text(options, result);
  EXPECT_THAT(text, HasSubstr("mismatches: 2"));
  EXPECT_THAT(text, HasSubstr("first error: mismatch on connection 0"));
  EXPECT_FALSE(result.clean());
}

TEST(Report, JsonEscapesText) {
  LoadResult result = some_result();
  result.failures = {"a \"b\"\\\n"};
  EXPECT_THAT(report_json(some_options(), result), HasSubstr(R"("failures":["a \"b\"\\\u000a"]})"));
}

TEST(Report, WritesSizesAndNumbers) {
  EXPECT_EQ(size_text(512), "512 bytes");
  EXPECT_EQ(size_text(4096), "4 KiB");
  EXPECT_EQ(size_text(uint64_t{3} << 29), "1.5 GiB");
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(1234567), "1,234,567");
}

}  // namespace
}  // namespace itgtd::bench
