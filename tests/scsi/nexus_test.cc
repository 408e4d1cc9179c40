#include "scsi/nexus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace itgtd::scsi {
namespace {

class NexusTest : public ::testing::Test {
 protected:
  NexusTest() : nexus(7, {"iqn.a", {1, 2, 3, 4, 5, 6}}, &luns) {
    for (uint16_t lun = 0; lun < kLunsPerTargetMax; ++lun) nexus.clear(lun);
  }
  LunMap luns;
  Nexus nexus;
};

TEST_F(NexusTest, StartsWithPowerOn) {
  Nexus fresh(8, {}, &luns);
  for (const uint16_t lun : std::to_array<uint16_t>({0, 1, 63, 64, 255})) {
    EXPECT_TRUE(fresh.pending(lun));
    EXPECT_EQ(fresh.take(lun), Asc::power_on_or_reset_occurred);
    EXPECT_FALSE(fresh.pending(lun));
    EXPECT_EQ(fresh.take(lun), std::nullopt);
  }
}

TEST_F(NexusTest, OldestFirst) {
  nexus.raise(3, Asc::mode_parameters_changed);
  nexus.raise(3, Asc::capacity_data_has_changed);
  EXPECT_FALSE(nexus.pending(2));
  EXPECT_EQ(nexus.take(3), Asc::mode_parameters_changed);
  EXPECT_TRUE(nexus.pending(3));
  EXPECT_EQ(nexus.take(3), Asc::capacity_data_has_changed);
  EXPECT_FALSE(nexus.pending(3));
}

TEST_F(NexusTest, TheSameTwiceIsOne) {
  nexus.raise(0, Asc::mode_parameters_changed);
  nexus.raise(0, Asc::capacity_data_has_changed);
  nexus.raise(0, Asc::mode_parameters_changed);
  EXPECT_EQ(nexus.take(0), Asc::mode_parameters_changed);
  EXPECT_EQ(nexus.take(0), Asc::capacity_data_has_changed);
  EXPECT_EQ(nexus.take(0), std::nullopt);
}

TEST_F(NexusTest, ResetVoidsWhatItImpliesButNotWhatComesAfter) {
  nexus.raise(0, Asc::mode_parameters_changed);
  nexus.raise(0, Asc::commands_cleared_by_another_initiator);
  nexus.raise(0, Asc::bus_device_reset_occurred);
  nexus.raise(0, Asc::mode_parameters_changed);
  EXPECT_EQ(nexus.take(0), Asc::bus_device_reset_occurred);
  EXPECT_EQ(nexus.take(0), Asc::mode_parameters_changed);
  EXPECT_EQ(nexus.take(0), std::nullopt);
}

// What a reset does not say is not lost by it, and comes after it.
TEST_F(NexusTest, ResetKeepsWhatItDoesNotSay) {
  const Asc kept[] = {Asc::capacity_data_has_changed, Asc::reported_luns_data_has_changed,
                      Asc::registrations_preempted, Asc::asymmetric_access_state_changed};
  nexus.raise(0, Asc::mode_parameters_changed);
  for (const Asc asc : kept) nexus.raise(0, asc);
  nexus.raise(0, Asc::bus_device_reset_occurred);
  EXPECT_EQ(nexus.take(0), Asc::bus_device_reset_occurred);
  for (const Asc asc : kept) EXPECT_EQ(nexus.take(0), asc);
  EXPECT_EQ(nexus.take(0), std::nullopt);
}

// SAM-5 §6.2: of events that wait, the greatest stands for all; told first, whatever came when.
TEST_F(NexusTest, TheGreatestEventStandsForAll) {
  const Asc ascending[] = {Asc::i_t_nexus_loss_occurred, Asc::bus_device_reset_occurred,
                           Asc::power_on_occurred, Asc::power_on_or_reset_occurred};
  for (size_t first = 0; first < std::size(ascending); ++first) {
    for (size_t second = 0; second < std::size(ascending); ++second) {
      nexus.raise(0, Asc::capacity_data_has_changed);
      nexus.raise(0, ascending[first]);
      nexus.raise(0, ascending[second]);
      EXPECT_EQ(nexus.take(0), ascending[std::max(first, second)]) << first << second;
      EXPECT_EQ(nexus.take(0), Asc::capacity_data_has_changed) << first << second;
      EXPECT_EQ(nexus.take(0), std::nullopt);
    }
  }
}

TEST_F(NexusTest, ASmallerResetVoidsNothingButWhatItImplies) {
  nexus.raise(0, Asc::power_on_or_reset_occurred);
  nexus.raise(0, Asc::mode_parameters_changed);
  nexus.raise(0, Asc::bus_device_reset_occurred);
  EXPECT_EQ(nexus.take(0), Asc::power_on_or_reset_occurred);
  EXPECT_EQ(nexus.take(0), std::nullopt);
}

TEST_F(NexusTest, NexusLossIsNoResetButComesFirst) {
  nexus.raise(0, Asc::mode_parameters_changed);
  nexus.raise(0, Asc::i_t_nexus_loss_occurred);
  EXPECT_EQ(nexus.take(0), Asc::i_t_nexus_loss_occurred);
  EXPECT_EQ(nexus.take(0), Asc::mode_parameters_changed);
  EXPECT_EQ(nexus.take(0), std::nullopt);
}

TEST_F(NexusTest, AnEventThatFindsNoRoomCollapsesAll) {
  const Asc many[] = {Asc::capacity_data_has_changed,
                      Asc::inquiry_data_has_changed,
                      Asc::reported_luns_data_has_changed,
                      Asc::registrations_preempted,
                      Asc::asymmetric_access_state_changed,
                      Asc::device_identifier_changed,
                      Asc::timestamp_changed};
  static_assert(std::size(many) == kUnitAttentionsMax);
  for (const Asc event : {Asc::bus_device_reset_occurred, Asc::i_t_nexus_loss_occurred}) {
    for (const Asc asc : many) nexus.raise(0, asc);
    nexus.raise(0, event);
    EXPECT_EQ(nexus.take(0), Asc::power_on_or_reset_occurred);
    EXPECT_EQ(nexus.take(0), std::nullopt);
  }
}

TEST_F(NexusTest, LunsAreApart) {
  nexus.raise(1, Asc::mode_parameters_changed);
  nexus.raise(65, Asc::bus_device_reset_occurred);
  EXPECT_EQ(nexus.take(1), Asc::mode_parameters_changed);
  EXPECT_TRUE(nexus.pending(65));
  nexus.clear(65);
  EXPECT_FALSE(nexus.pending(65));
  EXPECT_EQ(nexus.take(65), std::nullopt);
}

// The shortcut of the data path must never step over a unit attention.
TEST_F(NexusTest, AUnitAttentionEndsTheShortcut) {
  nexus.set_untroubled(4, 7);
  EXPECT_TRUE(nexus.is_untroubled(4, 7));
  EXPECT_FALSE(nexus.is_untroubled(4, 8));
  nexus.raise(4, Asc::capacity_data_has_changed);
  EXPECT_FALSE(nexus.is_untroubled(4, 7));
  nexus.set_untroubled(5, 7);
  nexus.clear(5);
  EXPECT_FALSE(nexus.is_untroubled(5, 7));
}

TEST_F(NexusTest, TooManyCollapseIntoOne) {
  const Asc many[] = {Asc::mode_parameters_changed,
                      Asc::capacity_data_has_changed,
                      Asc::commands_cleared_by_another_initiator,
                      Asc::target_operating_conditions_changed,
                      Asc::inquiry_data_has_changed,
                      Asc::reported_luns_data_has_changed,
                      Asc::reservations_released};
  static_assert(std::size(many) == kUnitAttentionsMax);
  for (const Asc asc : many) nexus.raise(0, asc);
  nexus.raise(0, many[3]);  // known: still all of them
  EXPECT_EQ(nexus.take(0), many[0]);
  nexus.raise(0, many[0]);
  nexus.raise(0, Asc::not_ready_to_ready_medium_may_have_changed);  // the eighth
  EXPECT_EQ(nexus.take(0), Asc::power_on_or_reset_occurred);
  EXPECT_EQ(nexus.take(0), std::nullopt);
}

TEST_F(NexusTest, ReportedLunsChangedGoesFromEveryLun) {
  nexus.raise(0, Asc::reported_luns_data_has_changed);
  nexus.raise(9, Asc::mode_parameters_changed);
  nexus.raise(9, Asc::reported_luns_data_has_changed);
  nexus.raise(9, Asc::capacity_data_has_changed);
  nexus.clear_reported_luns_changed();
  EXPECT_FALSE(nexus.pending(0));
  EXPECT_EQ(nexus.take(9), Asc::mode_parameters_changed);
  EXPECT_EQ(nexus.take(9), Asc::capacity_data_has_changed);
  EXPECT_EQ(nexus.take(9), std::nullopt);
}

TEST_F(NexusTest, ALunThatCanNotBeIsIgnored) {
  nexus.raise(kLunsPerTargetMax, Asc::mode_parameters_changed);
  nexus.raise(0xFFFF, Asc::mode_parameters_changed);
  nexus.clear(0xFFFF);
  EXPECT_EQ(nexus.take(0xFFFF), std::nullopt);
  EXPECT_EQ(nexus.find(kLunsPerTargetMax), nullptr);
  EXPECT_EQ(nexus.find(0xFFFF), nullptr);
}

}  // namespace
}  // namespace itgtd::scsi
