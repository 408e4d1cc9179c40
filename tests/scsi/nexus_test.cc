#include "scsi/nexus.h"

#include <gtest/gtest.h>

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

TEST_F(NexusTest, ResetVoidsWhatWasBeforeButNotWhatComesAfter) {
  nexus.raise(0, Asc::mode_parameters_changed);
  nexus.raise(0, Asc::bus_device_reset_occurred);
  nexus.raise(0, Asc::capacity_data_has_changed);
  EXPECT_EQ(nexus.take(0), Asc::bus_device_reset_occurred);
  EXPECT_EQ(nexus.take(0), Asc::capacity_data_has_changed);
  EXPECT_EQ(nexus.take(0), std::nullopt);
}

TEST_F(NexusTest, NexusLossIsNoReset) {
  nexus.raise(0, Asc::mode_parameters_changed);
  nexus.raise(0, Asc::i_t_nexus_loss_occurred);
  EXPECT_EQ(nexus.take(0), Asc::mode_parameters_changed);
}

TEST_F(NexusTest, TooManyCollapseIntoOne) {
  const Asc many[] = {Asc::mode_parameters_changed,
                      Asc::capacity_data_has_changed,
                      Asc::commands_cleared_by_another_initiator,
                      Asc::target_operating_conditions_changed,
                      Asc::inquiry_data_has_changed,
                      Asc::reported_luns_data_has_changed,
                      Asc::i_t_nexus_loss_occurred};
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
