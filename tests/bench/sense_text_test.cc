#include "bench/sense_text.h"

#include <gtest/gtest.h>

#include <vector>

namespace itgtd::bench {
namespace {

std::vector<std::byte> bytes(std::initializer_list<int> values) {
  std::vector<std::byte> out;
  for (const int value : values) out.push_back(static_cast<std::byte>(value));
  return out;
}

TEST(SenseText, ReadsFixedFormat) {
  const auto codes = decode_sense(bytes({0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21, 0x00, 0, 0, 0, 0}));
  EXPECT_EQ(describe_status(2, codes), "CHECK CONDITION, ILLEGAL REQUEST, 21h/00h LBA out of range");
}

TEST(SenseText, ReadsDescriptorFormat) {
  const auto codes = decode_sense(bytes({0x72, 6, 0x29, 0x07}));
  EXPECT_EQ(describe_status(2, codes), "CHECK CONDITION, UNIT ATTENTION, 29h/07h I_T nexus loss");
}

TEST(SenseText, ToleratesShortAndUnknownSense) {
  EXPECT_EQ(decode_sense({}).key, 0);
  EXPECT_EQ(decode_sense(bytes({0x70, 0, 5})).key, 0);
  EXPECT_EQ(decode_sense(bytes({0x00, 0, 5, 0})).key, 0);
  EXPECT_EQ(describe_status(2, {}), "CHECK CONDITION, NO SENSE, 00h/00h");
}

TEST(SenseText, NamesStatuses) {
  EXPECT_EQ(describe_status(0x08, {}), "BUSY");
  EXPECT_EQ(describe_status(0x28, {}), "TASK SET FULL");
  EXPECT_EQ(describe_status(0x77, {}), "status 77h");
}

TEST(SenseText, FindsTheSenseInItsSegment) {
  EXPECT_EQ(sense_of_segment(bytes({0, 2, 0x70, 0x01, 0xFF})).size(), 2U);
  EXPECT_EQ(sense_of_segment(bytes({0, 9, 0x70})).size(), 1U);
  EXPECT_TRUE(sense_of_segment(bytes({0})).empty());
}

}  // namespace
}  // namespace itgtd::bench
