#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace itgtd::log {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

class LogTest : public ::testing::Test {
 protected:
  void SetUp() override { CaptureStderr(); }
  void TearDown() override { set_level(Level::info); }
};

TEST_F(LogTest, ControlCharactersCantForgeALine) {
  info("name {}", std::string_view("a\nerror: forged\r\x1b[31m\x7f\0z", 25));
  const std::string line = GetCapturedStderr();
  EXPECT_THAT(line, HasSubstr("a\\x0aerror: forged\\x0d\\x1b[31m\\x7f\\x00z"));
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  EXPECT_THAT(line, EndsWith("\n"));
}

TEST_F(LogTest, Utf8PassesAsItIs) {
  info("{}", "Grüße");
  EXPECT_THAT(GetCapturedStderr(), HasSubstr("Grüße"));
}

TEST_F(LogTest, FormatCharactersFromOutsideAreData) {
  info("{}", "{} %s {0}");
  EXPECT_THAT(GetCapturedStderr(), HasSubstr("{} %s {0}"));
}

TEST_F(LogTest, LevelsBelowAreDropped) {
  set_level(Level::warning);
  info("quiet");
  debug("quieter");
  warning("loud");
  error("louder");
  const std::string lines = GetCapturedStderr();
  EXPECT_THAT(lines, Not(HasSubstr("quiet")));
  EXPECT_THAT(lines, HasSubstr("loud"));
  EXPECT_THAT(lines, HasSubstr("louder"));
  EXPECT_FALSE(enabled(Level::info));
  EXPECT_TRUE(enabled(Level::error));
}

}  // namespace
}  // namespace itgtd::log
