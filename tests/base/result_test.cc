#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace itgtd {
namespace {

TEST(ResultTest, ValueOrError) {
  Result<int> good = 5;
  EXPECT_TRUE(good.ok());
  EXPECT_EQ(*good, 5);
  const Result<int> bad = Error{ENOENT, "no disk"};
  EXPECT_FALSE(bad);
  EXPECT_EQ(bad.error().to_string(), "no disk: No such file or directory");
  EXPECT_EQ((Error{0, "only words"}.to_string()), "only words");
}

TEST(ResultTest, HoldsWhatCanOnlyBeMoved) {
  Result<std::unique_ptr<int>> made = std::make_unique<int>(1);
  const std::unique_ptr<int> out = std::move(*made);
  EXPECT_EQ(*out, 1);
}

TEST(ResultTest, Void) {
  const Result<void> good;
  EXPECT_TRUE(good.ok());
  const Result<void> bad = Error{EIO, "x"};
  EXPECT_EQ(bad.error().code, EIO);
}

TEST(ResultDeathTest, WrongSideIsABug) {
  Result<int> good = 1;
  Result<int> bad = Error{1, "x"};
  EXPECT_DEATH(static_cast<void>(good.error()), "assertion failed");
  EXPECT_DEATH(static_cast<void>(bad.value()), "assertion failed");
  EXPECT_DEATH(static_cast<void>(Result<void>().error()), "assertion failed");
}

}  // namespace
}  // namespace itgtd
