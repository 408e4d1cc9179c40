#include "bench/histogram.h"

#include <gtest/gtest.h>

namespace itgtd::bench {
namespace {

TEST(Histogram, IsZeroWhenEmpty) {
  const Histogram histogram;
  EXPECT_EQ(histogram.total(), 0U);
  EXPECT_EQ(histogram.percentile_ns(99), 0U);
  EXPECT_EQ(histogram.mean_ns(), 0.0);
}

TEST(Histogram, IsExactBelow256) {
  Histogram histogram;
  for (uint64_t value = 1; value <= 100; ++value) histogram.add(value);
  EXPECT_EQ(histogram.percentile_ns(50), 50U);
  EXPECT_EQ(histogram.percentile_ns(99), 99U);
  EXPECT_EQ(histogram.percentile_ns(100), 100U);
  EXPECT_EQ(histogram.percentile_ns(0), 1U);
  EXPECT_DOUBLE_EQ(histogram.mean_ns(), 50.5);
}

TEST(Histogram, StaysWithinOnePercentOfEveryMagnitude) {
  for (uint64_t value = 1; value < Histogram::kValueMax; value = value * 3 + 1) {
    Histogram histogram;
    histogram.add(value);
    histogram.add(Histogram::kValueMax);
    const uint64_t found = histogram.percentile_ns(50);
    EXPECT_GE(found, value);
    EXPECT_LE(static_cast<double>(found), static_cast<double>(value) * 1.008) << value;
  }
}

TEST(Histogram, CountsWhatIsTooLongInTheLastBucket) {
  Histogram histogram;
  histogram.add(UINT64_MAX);
  EXPECT_EQ(histogram.total(), 1U);
  EXPECT_EQ(histogram.max_ns(), UINT64_MAX);
  EXPECT_GE(histogram.percentile_ns(100), Histogram::kValueMax);
}

TEST(Histogram, APercentileIsNeverAboveTheMaximum) {
  Histogram histogram;
  histogram.add(1'000'001);
  EXPECT_EQ(histogram.percentile_ns(50), 1'000'001U);
}

TEST(Histogram, FindsTheTail) {
  Histogram histogram;
  for (int i = 0; i < 9990; ++i) histogram.add(100);
  for (int i = 0; i < 10; ++i) histogram.add(50'000);
  EXPECT_EQ(histogram.percentile_ns(99), 100U);
  EXPECT_EQ(histogram.percentile_ns(99.9), 100U);
  EXPECT_EQ(histogram.percentile_ns(99.95), 50'000U);
}

TEST(Histogram, MergesAndClears) {
  Histogram a;
  Histogram b;
  a.add(10);
  b.add(20);
  a.merge(b);
  EXPECT_EQ(a.total(), 2U);
  EXPECT_EQ(a.max_ns(), 20U);
  EXPECT_DOUBLE_EQ(a.mean_ns(), 15.0);
  a.clear();
  EXPECT_EQ(a.total(), 0U);
  EXPECT_EQ(a.percentile_ns(50), 0U);
}

}  // namespace
}  // namespace itgtd::bench
