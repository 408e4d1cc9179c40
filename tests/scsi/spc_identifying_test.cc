// Identifying information and timestamp.
#include <string>
#include <string_view>

#include "scsi/limits.h"
#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {
namespace {

using Wire = std::vector<uint8_t>;

class Identifying : public TargetFixture {
 protected:
  static constexpr uint8_t kInformation = 0x00;
  static constexpr uint8_t kText = 0x02;
  static constexpr uint8_t kSupported = 0x7F;

  Outcome report(uint8_t type, uint8_t allocation_length_high = 0x10) {
    return run({0xA3, 0x05, 0, 0, 0, 0, 0, 0, allocation_length_high, 0, static_cast<uint8_t>(type << 1), 0});
  }
  Outcome set_with_length(uint8_t type, const Wire& list, uint32_t length) {
    return run(
        {0xA4, 0x06, 0, 0, 0, 0, static_cast<uint8_t>(length >> 24), static_cast<uint8_t>(length >> 16),
         static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length), static_cast<uint8_t>(type << 1), 0},
        list);
  }
  Outcome set(uint8_t type, const Wire& list) {
    return set_with_length(type, list, static_cast<uint32_t>(list.size()));
  }
};

TEST_F(Identifying, NothingIsThereAtFirst) {
  EXPECT_EQ(report(kInformation).data, (Wire{0, 0, 0, 0}));
  EXPECT_EQ(report(kText).data, (Wire{0, 0, 0, 0}));
}

TEST_F(Identifying, SupportedTypes) {
  EXPECT_EQ(report(kSupported).data, (Wire{0, 0, 0, 8, 0x00, 0, 2, 0, 0x04, 0, 1, 0}));
  for (unsigned type = 0; type < 0x80; ++type) {
    if (type == kInformation || type == kText) continue;
    const auto code = static_cast<uint8_t>(type);
    if (code != kSupported) {
      EXPECT_TRUE(is_check(report(code), sense::invalid_field_in_cdb(10, 7))) << type;
    }
    EXPECT_TRUE(is_check(set(code, {1}), sense::invalid_field_in_cdb(10, 7))) << type;
  }
}

TEST_F(Identifying, WhatIsSetIsReportedAndTheOthersAreTold) {
  EXPECT_TRUE(is_good(set(kInformation, {0xDE, 0x00, 0xAD})));
  EXPECT_FALSE(nexus.pending(0));
  EXPECT_EQ(other.take(0), Asc::device_identifier_changed);
  EXPECT_TRUE(is_good(set(kText, {'d', 'b', 0xC3, 0xA4, 0})));
  EXPECT_EQ(other.take(0), Asc::device_identifier_changed);
  EXPECT_EQ(report(kInformation).data, (Wire{0, 0, 0, 3, 0xDE, 0x00, 0xAD}));
  EXPECT_EQ(report(kText).data, (Wire{0, 0, 0, 5, 'd', 'b', 0xC3, 0xA4, 0}));

  // The same again is no change.
  EXPECT_TRUE(is_good(set(kInformation, {0xDE, 0x00, 0xAD})));
  EXPECT_FALSE(other.pending(0));
}

TEST_F(Identifying, ALengthOfZeroTakesItAway) {
  EXPECT_TRUE(is_good(set(kInformation, {1, 2})));
  EXPECT_TRUE(is_good(set(kText, {'a', 0})));
  EXPECT_TRUE(is_good(set(kInformation, {})));
  EXPECT_EQ(report(kInformation).data, (Wire{0, 0, 0, 0}));
  EXPECT_EQ(report(kText).data.size(), 6U);
}

TEST_F(Identifying, Bounds) {
  EXPECT_TRUE(is_good(set(kInformation, Wire(kIdentifyingInformationBytesMax, 7))));
  EXPECT_EQ(report(kInformation).data.size(), 4U + kIdentifyingInformationBytesMax);
  EXPECT_TRUE(is_check(set(kInformation, Wire(kIdentifyingInformationBytesMax + 1, 8)),
                       sense::invalid_field_in_cdb(6, 7)));
  EXPECT_TRUE(is_good(set(kText, Wire(kIdentifyingTextBytesMax, 0))));
  EXPECT_TRUE(is_check(set(kText, Wire(kIdentifyingTextBytesMax + 1, 0)), sense::invalid_field_in_cdb(6, 7)));
  EXPECT_TRUE(is_check(set_with_length(kText, {}, 0xFFFF'FFFF), sense::invalid_field_in_cdb(6, 7)));
  EXPECT_EQ(disk.state->identifying_information.size(), kIdentifyingInformationBytesMax);
}

TEST_F(Identifying, ShortListsAndTextWithoutAnEndAreRefused) {
  EXPECT_TRUE(is_check(set_with_length(kInformation, {1, 2}, 3), sense::parameter_list_length_error()));
  EXPECT_TRUE(is_check(set(kText, {'a', 'b'}), sense::invalid_field_in_parameter_list(1)));
  EXPECT_TRUE(disk.state->identifying_information.empty());
  EXPECT_TRUE(disk.state->identifying_text.empty());
  EXPECT_FALSE(other.pending(0));
}

TEST_F(Identifying, AValueFromElsewhereIsCutAndNotTrusted) {
  LuState state = *disk.state;
  state.identifying_information.assign(100'000, std::byte{1});
  set_state(disk, state);
  EXPECT_EQ(report(kInformation).data.size(), 4U + kIdentifyingInformationBytesMax);
}

class Timestamp : public TargetFixture {
 protected:
  Outcome report(uint8_t allocation_length = 64) {
    return run({0xA3, 0x0F, 0, 0, 0, 0, 0, 0, 0, allocation_length, 0, 0});
  }
  Outcome set_with_length(const Wire& list, uint32_t length) {
    return run(
        {0xA4, 0x0F, 0, 0, 0, 0, static_cast<uint8_t>(length >> 24), static_cast<uint8_t>(length >> 16),
         static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length), 0, 0},
        list);
  }
  Outcome set(const Wire& list) { return set_with_length(list, static_cast<uint32_t>(list.size())); }
};

TEST_F(Timestamp, IsTheClockAtFirst) {
  time_ms = 0x0000'0123'4567'89ABU;
  EXPECT_EQ(report().data, (Wire{0, 10, 0x03, 0, 0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0, 0}));
  EXPECT_EQ(report(6).data, (Wire{0, 10, 0x03, 0, 0x01, 0x23})) << "cut to the allocation length";
  EXPECT_TRUE(is_good(report(0)));
}

TEST_F(Timestamp, GoesOnFromWhatWasSet) {
  EXPECT_TRUE(is_good(set({0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0})));  // long before the clock
  EXPECT_FALSE(nexus.pending(0));
  EXPECT_EQ(other.take(0), Asc::timestamp_changed);
  EXPECT_EQ(report().data, (Wire{0, 10, 0x02, 0, 0, 0, 0, 0, 1, 0, 0, 0}));
  time_ms += 5;
  EXPECT_EQ(report().data, (Wire{0, 10, 0x02, 0, 0, 0, 0, 0, 1, 5, 0, 0}));
  EXPECT_TRUE(is_good(set({0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0})));  // long after it
  EXPECT_EQ(report().data, (Wire{0, 10, 0x02, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0}));
  time_ms += 1;
  EXPECT_EQ(report().data, (Wire{0, 10, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0})) << "six bytes run over";
}

TEST_F(Timestamp, BadLists) {
  const Wire whole = {0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0};
  EXPECT_TRUE(is_good(set({})));
  for (uint32_t length = 1; length < 12; ++length) {
    EXPECT_TRUE(
        is_check(set(Wire(whole.begin(), whole.begin() + length)), sense::parameter_list_length_error()));
  }
  EXPECT_TRUE(is_check(set_with_length(whole, 13), sense::parameter_list_length_error()));
  EXPECT_TRUE(is_check(set_with_length(whole, 0xFFFF'FFFF), sense::parameter_list_length_error()));
  EXPECT_TRUE(is_check(set_with_length({0, 0, 0}, 12), sense::parameter_list_length_error())) << "less came";
  for (const uint16_t at : std::to_array<uint16_t>({0, 1, 2, 3, 10, 11})) {
    Wire list = whole;
    list[at] = 0x80;
    EXPECT_TRUE(is_check(set(list), sense::invalid_field_in_parameter_list(at)));
  }
  EXPECT_FALSE(disk.state->timestamp_was_set);
  EXPECT_FALSE(other.pending(0));
}

}  // namespace
}  // namespace itgtd::scsi
