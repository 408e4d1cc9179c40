#include "bench/login.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace itgtd::bench {
namespace {

using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

TEST(LoginKeys, AreCutAtTheirZeros) {
  std::string text;
  append_key(text, "A", "1");
  append_key(text, "B", "x=y");
  EXPECT_EQ(text, std::string("A=1\0B=x=y\0", 10));
  EXPECT_THAT(parse_keys(text).value(), UnorderedElementsAre(Pair("A", "1"), Pair("B", "x=y")));
  EXPECT_TRUE(parse_keys("").value().empty());
  EXPECT_THAT(parse_keys("A=1").value(), UnorderedElementsAre(Pair("A", "1")));
  EXPECT_FALSE(parse_keys(std::string("A\0", 2)).ok());
}

TEST(LoginAgreement, HasTheDefaultsOfTheStandardWithoutAnswers) {
  const Result<iscsi::Parameters> agreed = agree(LoadOptions{}, {});
  ASSERT_TRUE(agreed.ok());
  EXPECT_TRUE(agreed->initial_r2t);                               // RFC 7143 §13.10
  EXPECT_TRUE(agreed->immediate_data);                            // §13.11
  EXPECT_EQ(agreed->max_recv_data_segment_length_target, 8192U);  // §13.12
  EXPECT_EQ(agreed->max_burst_length, 262144U);                   // §13.13
  EXPECT_EQ(agreed->first_burst_length, 65536U);                  // §13.14
}

TEST(LoginAgreement, TakesTheLesserBursts) {
  const Result<iscsi::Parameters> agreed = agree(LoadOptions{}, {{"InitialR2T", "No"},
                                                                 {"ImmediateData", "No"},
                                                                 {"MaxRecvDataSegmentLength", "1048576"},
                                                                 {"MaxBurstLength", "16777215"},
                                                                 {"FirstBurstLength", "0x80000"}});
  ASSERT_TRUE(agreed.ok());
  EXPECT_FALSE(agreed->initial_r2t);
  EXPECT_FALSE(agreed->immediate_data);
  EXPECT_EQ(agreed->max_recv_data_segment_length_target, 1048576U);
  EXPECT_EQ(agreed->max_burst_length, 16776192U);
  EXPECT_EQ(agreed->first_burst_length, 262144U);
}

TEST(LoginAgreement, NamesWhatIsWrong) {
  EXPECT_THAT(agree(LoadOptions{}, {{"InitialR2T", "Maybe"}}).error().message, HasSubstr("InitialR2T=Maybe"));
  EXPECT_THAT(agree(LoadOptions{}, {{"MaxBurstLength", "1"}}).error().message, HasSubstr("MaxBurstLength=1"));
  LoadOptions digest;
  digest.header_digest = true;
  EXPECT_THAT(agree(digest, {{"HeaderDigest", "None"}}).error().message, HasSubstr("declines HeaderDigest"));
  EXPECT_THAT(agree(LoadOptions{}, {{"DataDigest", "CRC32C"}}).error().message,
              HasSubstr("insists on DataDigest"));
}

TEST(LoginStatus, IsToldInWords) {
  EXPECT_EQ(login_status_text(2, 3), "target not found");
  EXPECT_EQ(login_status_text(9, 9), "unknown status");
}

}  // namespace
}  // namespace itgtd::bench
