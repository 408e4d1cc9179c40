#include "scsi/sense.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace itgtd::scsi {
namespace {

std::vector<uint8_t> encode(const Sense& sense, bool descriptor_format) {
  std::array<std::byte, 64> to;
  to.fill(std::byte{0xA5});
  const size_t size = encode_sense(sense, descriptor_format, to);
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < size; ++i) bytes.push_back(std::to_integer<uint8_t>(to[i]));
  for (size_t i = size; i < to.size(); ++i) EXPECT_EQ(to[i], std::byte{0xA5}) << "written beyond the end";
  return bytes;
}

using Wire = std::vector<uint8_t>;

TEST(Sense, NoSenseFixed) {
  EXPECT_EQ(encode(sense::no_sense(), false),
            (Wire{0x70, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(Sense, NoSenseDescriptor) {
  EXPECT_EQ(encode(sense::no_sense(), true), (Wire{0x72, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(Sense, InvalidFieldInCdbPointsAtTheBit) {
  const Sense wrong = sense::invalid_field_in_cdb(0x0102, 5);
  EXPECT_EQ(encode(wrong, false),
            (Wire{0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xCD, 0x01, 0x02}));
  EXPECT_EQ(encode(wrong, true), (Wire{0x72, 5, 0x24, 0, 0, 0, 0, 8, 0x02, 0x06, 0, 0, 0xCD, 0x01, 0x02, 0}));
}

TEST(Sense, FieldPointerWithoutBit) {
  EXPECT_EQ(sense::invalid_field_in_cdb(7).sense_key_specific[0], 0xC0);
  EXPECT_EQ(sense::invalid_field_in_parameter_list(7).sense_key_specific[0], 0x80);
  EXPECT_EQ(sense::invalid_field_in_parameter_list(7, 0).sense_key_specific[0], 0x88);
}

TEST(Sense, InformationThatFitsFixedFormat) {
  const Sense wrong = sense::unrecovered_read_error(0xFFFF'FFFF);
  EXPECT_EQ(encode(wrong, false),
            (Wire{0xF0, 0, 3, 0xFF, 0xFF, 0xFF, 0xFF, 10, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0}));
}

TEST(Sense, InformationThatDoesNotFitFixedFormat) {
  const Sense wrong = sense::write_error(0x1'0000'0000);
  EXPECT_EQ(encode(wrong, false), (Wire{0x70, 0, 3, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x0C, 0, 0, 0, 0, 0}));
  EXPECT_EQ(encode(wrong, true),
            (Wire{0x72, 3, 0x0C, 0, 0, 0, 0, 12, 0x00, 0x0A, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0}));
}

TEST(Sense, ProgressInBothFormats) {
  const Sense formatting = sense::in_progress(Asc::format_in_progress, 0x1234);
  EXPECT_EQ(encode(formatting, false),
            (Wire{0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x04, 0x04, 0, 0x80, 0x12, 0x34}));
  EXPECT_EQ(encode(formatting, true),
            (Wire{0x72, 2, 0x04, 0x04, 0, 0, 0, 8, 0x02, 0x06, 0, 0, 0x80, 0x12, 0x34, 0}));
}

// SPC-4 §4.5.2.3, §4.5.2.4.5: the segment that a copy ended at, and the byte of its descriptor.
TEST(Sense, CopyAborted) {
  const Sense plain = sense::copy_aborted(Asc::copy_target_device_not_reachable, 0);
  EXPECT_EQ(encode(plain, false), (Wire{0x70, 0, 0x0A, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x0D, 0x02, 0, 0, 0, 0}));
  EXPECT_EQ(encode(plain, true),
            (Wire{0x72, 0x0A, 0x0D, 0x02, 0, 0, 0, 12, 0x01, 0x0A, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  const Sense pointed = sense::copy_aborted(Asc::unreachable_copy_target, 0x0102, 6);
  EXPECT_EQ(encode(pointed, false),
            (Wire{0x70, 0, 0x0A, 0, 0, 0, 0, 10, 0, 0, 1, 2, 0x08, 0x04, 0, 0xA0, 0, 6}));
  EXPECT_EQ(encode(pointed, true), (Wire{0x72, 0x0A, 0x08, 0x04, 0, 0,    0,    20, 0x01, 0x0A, 0, 0, 0, 0, 0,
                                         0,    0,    0,    1,    2, 0x02, 0x06, 0,  0,    0xA0, 0, 6, 0}));
}

TEST(Sense, BothDescriptors) {
  Sense both = sense::invalid_field_in_parameter_list(9, 7);
  both.information_valid = true;
  both.information = 0x0102030405060708;
  EXPECT_EQ(encode(both, true), (Wire{0x72, 5, 0x26, 0, 0, 0, 0,    20, 0x00, 0x0A, 0x80, 0, 1, 2,
                                      3,    4, 5,    6, 7, 8, 0x02, 6,  0,    0,    0x8F, 0, 9, 0}));
}

TEST(Sense, EveryOutcome) {
  struct Row {
    Sense sense;
    uint8_t key;
    uint16_t asc;
  };
  const Row rows[] = {
      {sense::unit_attention(Asc::mode_parameters_changed), 6, 0x2A01},
      {sense::invalid_opcode(), 5, 0x2000},
      {sense::parameter_list_length_error(), 5, 0x1A00},
      {sense::lba_out_of_range(5), 5, 0x2100},
      {sense::logical_unit_not_supported(), 5, 0x2500},
      {sense::write_protected(), 7, 0x2700},
      {sense::space_allocation_failed(), 7, 0x2707},
      {sense::not_ready(Asc::becoming_ready), 2, 0x0401},
      {sense::medium_not_present(), 2, 0x3A00},
      {sense::miscompare(77), 0xE, 0x1D00},
      {sense::internal_target_failure(), 4, 0x4400},
      {sense::insufficient_resources(), 5, 0x5503},
      {sense::saving_parameters_not_supported(), 5, 0x3900},
      {sense::protocol_service_crc_error(), 0xB, 0x4705},
  };
  for (const Row& row : rows) {
    const Wire fixed = encode(row.sense, false);
    EXPECT_EQ(fixed[2], row.key);
    EXPECT_EQ((fixed[12] << 8) | fixed[13], row.asc);
    const Wire descriptor = encode(row.sense, true);
    EXPECT_EQ(descriptor[1], row.key);
    EXPECT_EQ((descriptor[2] << 8) | descriptor[3], row.asc);
    EXPECT_EQ(descriptor[7], descriptor.size() - 8);
  }
}

}  // namespace
}  // namespace itgtd::scsi
