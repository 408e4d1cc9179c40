#include "bench/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace itgtd::bench {
namespace {

using ::testing::HasSubstr;

constexpr Stamp kStamp{.run = 7, .writer = 3, .generation = 5};
constexpr uint64_t kAddress = 1000;

class Pattern : public ::testing::Test {
 protected:
  Pattern() { fill_pattern(data_, kAddress, kStamp); }
  std::string complaint(const Stamp& stamp = kStamp, uint64_t address = kAddress) {
    return check_pattern(data_, address, stamp).value_or("");
  }
  std::vector<std::byte> data_ = std::vector<std::byte>(4 * kPatternBytes);
};

TEST_F(Pattern, AcceptsWhatItMade) {
  EXPECT_EQ(complaint(), "");
}

TEST_F(Pattern, SeesEverySingleFlippedByte) {
  for (size_t i = 0; i < data_.size(); ++i) {
    data_[i] ^= std::byte{1};
    EXPECT_NE(complaint(), "") << "byte " << i;
    data_[i] ^= std::byte{1};
  }
}

TEST_F(Pattern, NamesAnOlderGeneration) {
  EXPECT_THAT(complaint({.run = 7, .writer = 3, .generation = 6}), HasSubstr("holds generation 5"));
}

TEST_F(Pattern, NamesAnotherRunAndWriter) {
  EXPECT_THAT(complaint({.run = 8, .writer = 3, .generation = 5}), HasSubstr("run 7"));
  EXPECT_THAT(complaint({.run = 7, .writer = 4, .generation = 5}), HasSubstr("of writer 3"));
}

TEST_F(Pattern, NamesWhereMovedDataBelongs) {
  EXPECT_THAT(complaint(kStamp, 2000), HasSubstr("belongs to block 0x3e8"));
}

TEST_F(Pattern, NamesTheBlockThatIsWrong) {
  std::fill_n(data_.begin() + 2 * kPatternBytes, kPatternBytes, std::byte{0});
  EXPECT_THAT(complaint(), HasSubstr("block 0x3ea"));
  EXPECT_THAT(complaint(), HasSubstr("all zeros"));
}

TEST_F(Pattern, NamesForeignData) {
  std::fill(data_.begin(), data_.end(), std::byte{0x41});
  EXPECT_THAT(complaint(), HasSubstr("foreign data (starts with 4141414141414141)"));
}

TEST_F(Pattern, NamesATornBlock) {
  std::vector<std::byte> newer(data_.size());
  fill_pattern(newer, kAddress, {.run = 7, .writer = 3, .generation = 6});
  std::copy_n(newer.begin() + 256, 256, data_.begin() + 256);
  EXPECT_THAT(complaint(), HasSubstr("torn"));
}

TEST_F(Pattern, DiffersBetweenBlocksAndGenerations) {
  std::vector<std::byte> other(data_.size());
  fill_pattern(other, kAddress, {.run = 7, .writer = 3, .generation = 6});
  EXPECT_NE(other, data_);
  EXPECT_FALSE(std::equal(data_.begin(), data_.begin() + kPatternBytes, data_.begin() + kPatternBytes));
}

}  // namespace
}  // namespace itgtd::bench
