#include "scsi/rod_tokens.h"

#include <gtest/gtest.h>

#include "tests/scsi/model_disk.h"

namespace itgtd::scsi {
namespace {

RodTokenId id(uint8_t number) {
  RodTokenId made;
  made.fill(static_cast<std::byte>(number));
  return made;
}

RodToken token(uint8_t number, std::vector<RodRange> ranges, NexusId creator = 1) {
  RodToken made;
  made.id = id(number);
  made.creator = creator;
  made.inactivity_timeout_ms = 10'000;
  made.expires_ms = 10'000;
  made.ranges = std::move(ranges);
  return made;
}

class RodTokensTest : public ::testing::Test {
 protected:
  void apply(const Decision& decision) {
    if (!decision.state) return;
    EXPECT_EQ(decision.state->generation, state.generation + 1);
    state = *decision.state;
  }
  void add(RodToken made, uint64_t time_ms = 0) { apply(add_rod_token(state, std::move(made), time_ms)); }
  void write(uint64_t lba, uint64_t blocks) { apply(on_blocks_written(state, lba, blocks)); }

  LuState state;
};

TEST_F(RodTokensTest, AWriteEndsExactlyTheTokensOfItsBlocks) {
  add(token(1, {{10, 5}, {100, 1}}));
  add(token(2, {{12, 50}}));
  write(20, 1);
  EXPECT_NE(find_rod_token(state, id(1)), nullptr);
  EXPECT_EQ(find_rod_token(state, id(2)), nullptr);
  EXPECT_EQ(why_ended(state, id(2)), Asc::token_revoked);
  EXPECT_EQ(why_ended(state, id(3)), Asc::token_unknown);
  EXPECT_FALSE(overlaps_token(state, 20, 1));
  EXPECT_TRUE(overlaps_token(state, 100, 1));
  write(0, UINT64_MAX);
  EXPECT_EQ(state.tokens, nullptr) << "nothing is left for writers to look at";
  EXPECT_EQ(why_ended(state, id(1)), Asc::token_revoked);
}

TEST_F(RodTokensTest, AWriteElsewhereChangesNothing) {
  add(token(1, {{10, 5}, {0, 0}}));
  for (const auto& [lba, blocks] : std::vector<std::pair<uint64_t, uint64_t>>{
           {0, 10}, {15, 1}, {15, UINT64_MAX}, {UINT64_MAX, UINT64_MAX}, {12, 0}, {0, 0}}) {
    EXPECT_FALSE(overlaps_token(state, lba, blocks));
    EXPECT_EQ(on_blocks_written(state, lba, blocks).state, nullptr);
  }
}

// The index over all ranges says what a look at each of them would.
TEST_F(RodTokensTest, OverlapsWhatAnyTokenHas) {
  testing::Random pick(3);
  for (int round = 0; round < 60; ++round) {
    state = {};
    std::vector<RodRange> all;
    for (uint8_t number = 0; number < 5; ++number) {
      std::vector<RodRange> ranges;
      for (uint32_t i = pick.pick(4); i > 0; --i) ranges.push_back({pick.pick(200), pick.pick(12)});
      all.insert(all.end(), ranges.begin(), ranges.end());
      add(token(number, ranges));
    }
    for (uint64_t lba = 0; lba < 215; ++lba) {
      for (const uint64_t blocks : {0U, 1U, 2U, 7U, 40U}) {
        const bool expected = std::ranges::any_of(all, [&](const RodRange& range) {
          return range.overlaps({lba, blocks});
        });
        ASSERT_EQ(overlaps_token(state, lba, blocks), expected) << lba << ' ' << blocks;
        ASSERT_EQ(on_blocks_written(state, lba, blocks).state != nullptr, expected);
      }
    }
  }
}

TEST_F(RodTokensTest, ExpireWhenTheyAreNotUsed) {
  add(token(1, {{10, 5}}));
  apply(touch_rod_token(state, id(1), 9'999));
  ASSERT_NE(find_rod_token(state, id(1)), nullptr);
  EXPECT_EQ(find_rod_token(state, id(1))->expires_ms, 19'999U);
  apply(touch_rod_token(state, id(1), 19'998));
  apply(touch_rod_token(state, id(1), 29'998));
  EXPECT_EQ(find_rod_token(state, id(1)), nullptr);
  EXPECT_EQ(why_ended(state, id(1)), Asc::token_expired);
  EXPECT_EQ(state.tokens, nullptr);
}

TEST_F(RodTokensTest, AnUpdateThatChangesNothingIsNotPublished) {
  add(token(1, {{10, 5}}));
  for (const Decision& decision : {touch_rod_token(state, id(1), 999), touch_rod_token(state, id(2), 5'000),
                                   delete_rod_token(state, id(2), 5'000)}) {
    EXPECT_EQ(decision.state, nullptr);
    EXPECT_EQ(decision.after, AfterUpdate::resume);
  }
}

TEST_F(RodTokensTest, AreDeletedByName) {
  add(token(1, {{10, 5}}));
  add(token(2, {{10, 5}}));
  apply(delete_rod_token(state, id(1), 0));
  EXPECT_EQ(why_ended(state, id(1)), Asc::token_deleted);
  EXPECT_NE(find_rod_token(state, id(2)), nullptr);
}

TEST_F(RodTokensTest, AFullTableCostsItsOwnInitiator) {
  for (uint8_t number = 0; number < kRodTokensMax; ++number) add(token(number, {{number, 1}}, number % 2));
  add(token(100, {{500, 1}}, 7));
  EXPECT_EQ(find_rod_token(state, id(100)), nullptr) << "a third one has to wait";
  EXPECT_EQ(state.tokens->tokens.size(), kRodTokensMax);
  add(token(101, {{500, 1}}, 1));
  EXPECT_NE(find_rod_token(state, id(101)), nullptr);
  EXPECT_NE(find_rod_token(state, id(0)), nullptr);
  EXPECT_EQ(why_ended(state, id(1)), Asc::token_cancelled);
  add(token(102, {{500, 1}}, 7), 10'000);
  EXPECT_NE(find_rod_token(state, id(102)), nullptr) << "all others have expired";
  EXPECT_EQ(state.tokens->tokens.size(), 1U);
  EXPECT_EQ(state.ended_tokens->tokens.size(), kEndedRodTokensMax);
  EXPECT_EQ(why_ended(state, id(1)), Asc::token_unknown) << "too long ago";
}

}  // namespace
}  // namespace itgtd::scsi
