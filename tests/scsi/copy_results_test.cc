#include "scsi/copy_results.h"

#include <gtest/gtest.h>

namespace itgtd::scsi {
namespace {

constexpr auto kLid1 = CopyCommand::extended_copy_lid1;

CopyName name(uint32_t list_identifier) {
  return {1, true, list_identifier};
}

TEST(CopyResults, TheOldestResultGoesFirst) {
  CopyResults results;
  for (uint32_t id = 0; id < kCopiesMax; ++id) {
    const auto begun = results.begin(name(id), kLid1);
    ASSERT_FALSE(begun.refused);
    if (id != 0) results.end(begun.ticket, good());
  }
  EXPECT_FALSE(results.begin(name(1000), kLid1).refused);
  EXPECT_NE(results.find(name(0)), nullptr) << "it is under way";
  EXPECT_EQ(results.find(name(1)), nullptr);
  EXPECT_NE(results.find(name(2)), nullptr);
}

TEST(CopyResults, TooManyAtOnceHaveToWait) {
  CopyResults results;
  uint64_t ticket = 0;
  for (uint32_t id = 0; id < kCopiesMax; ++id) ticket = results.begin(name(id), kLid1).ticket;
  const auto refused = results.begin(name(1000), kLid1).refused;
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, Status::task_set_full);
  results.end(ticket, good());
  EXPECT_FALSE(results.begin(name(1000), kLid1).refused);
}

TEST(CopyResults, NamesAreTheUnitsAndTheKinds) {
  CopyResults results;
  EXPECT_FALSE(results.begin({1, true, 5}, kLid1).refused);
  EXPECT_FALSE(results.begin({2, true, 5}, kLid1).refused);
  EXPECT_FALSE(results.begin({1, false, 5}, CopyCommand::populate_token).refused);
  EXPECT_TRUE(results.begin({1, true, 5}, kLid1).refused);
}

TEST(CopyResults, ALateEndIsNoEnd) {
  CopyResults results;
  const uint64_t first = results.begin(name(1), kLid1).ticket;
  results.end(first, good());
  const uint64_t second = results.begin(name(1), kLid1).ticket;
  results.end(first, good());
  results.end(0, good());
  EXPECT_TRUE(results.find(second)->running);
  EXPECT_EQ(results.find(first), nullptr);
}

}  // namespace
}  // namespace itgtd::scsi
