#include "scsi/mode_pages.h"
#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {
namespace {

using Wire = std::vector<uint8_t>;

const Wire kRecovery = {0x01, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
const Wire kCaching = {0x08, 18, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
const Wire kControl = {0x0A, 10, 0x02, 0x10, 0, 0, 0, 0, 0, 0, 0, 0};
const Wire kControlExtension = {0x4A, 0x01, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                0,    0,    0, 0,  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
const Wire kExceptions = {0x1C, 10, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0};

Wire join(std::initializer_list<Wire> parts) {
  Wire whole;
  for (const Wire& part : parts) whole.insert(whole.end(), part.begin(), part.end());
  return whole;
}

Wire with(Wire bytes, size_t at, uint8_t value) {
  bytes.at(at) = value;
  return bytes;
}

class Mode : public TargetFixture {
 protected:
  static constexpr uint8_t kCurrent = 0x00;
  static constexpr uint8_t kChangeable = 0x40;
  static constexpr uint8_t kDefault = 0x80;
  static constexpr uint8_t kSaved = 0xC0;

  Outcome sense6(uint8_t page, uint8_t subpage = 0, uint8_t flags = 0x08) {
    return run({0x1A, flags, page, subpage, 255, 0});
  }
  Outcome sense10(uint8_t page, uint8_t subpage = 0, uint8_t flags = 0x08) {
    return run({0x5A, flags, page, subpage, 0, 0, 0, 0x10, 0, 0});
  }
  /// The pages alone, behind a MODE SENSE(6) header without block descriptor.
  Wire pages(uint8_t page, uint8_t subpage = 0) {
    Wire data = sense6(page, subpage).data;
    data.erase(data.begin(), data.begin() + 4);
    return data;
  }
  Outcome select6(const Wire& list, uint8_t flags = 0x10) {
    return run({0x15, flags, 0, 0, static_cast<uint8_t>(list.size()), 0}, list);
  }
  Outcome select10(const Wire& list, uint8_t flags = 0x10) {
    return run({0x55, flags, 0, 0, 0, 0, 0, static_cast<uint8_t>(list.size() >> 8),
                static_cast<uint8_t>(list.size()), 0},
               list);
  }
  static Wire list6(const Wire& pages) { return join({{0, 0, 0, 0}, pages}); }
};

TEST_F(Mode, EachPage) {
  EXPECT_EQ(pages(0x01), kRecovery);
  EXPECT_EQ(pages(0x08), kCaching);
  EXPECT_EQ(pages(0x0A), kControl);
  EXPECT_EQ(pages(0x0A, 0x01), kControlExtension);
  EXPECT_EQ(pages(0x1C), kExceptions);
}

TEST_F(Mode, SeveralPages) {
  EXPECT_EQ(pages(0x3F), join({kRecovery, kCaching, kControl, kExceptions}));
  EXPECT_EQ(pages(0x3F, 0xFF), join({kRecovery, kCaching, kControl, kControlExtension, kExceptions}));
  EXPECT_EQ(pages(0x0A, 0xFF), join({kControl, kControlExtension}));
  EXPECT_EQ(pages(0x08, 0xFF), kCaching);
}

TEST_F(Mode, PagesThatAreNotThere) {
  EXPECT_TRUE(is_check(sense6(0x02), sense::invalid_field_in_cdb(2, 5)));
  EXPECT_TRUE(is_check(sense10(0x00), sense::invalid_field_in_cdb(2, 5)));
  EXPECT_TRUE(is_check(sense6(0x02, 0xFF), sense::invalid_field_in_cdb(2, 5)));
  EXPECT_TRUE(is_check(sense6(0x08, 0x01), sense::invalid_field_in_cdb(3, 7)));
  EXPECT_TRUE(is_check(sense6(0x0A, 0x02), sense::invalid_field_in_cdb(3, 7)));
  EXPECT_TRUE(is_check(sense6(0x3F, 0x01), sense::invalid_field_in_cdb(3, 7)));
}

TEST_F(Mode, PageControl) {
  LuState state = *disk.state;
  state.write_cache = false;
  state.descriptor_sense = true;
  state.write_protected = true;
  set_state(disk, state);
  EXPECT_EQ(pages(kCurrent | 0x08), with(kCaching, 2, 0));
  EXPECT_EQ(pages(kDefault | 0x08), kCaching);
  EXPECT_EQ(pages(kCurrent | 0x0A), with(with(kControl, 2, 0x06), 4, 0x08));
  EXPECT_EQ(pages(kDefault | 0x0A), kControl);
  disk.write_cache_default = false;
  EXPECT_EQ(pages(kDefault | 0x08), with(kCaching, 2, 0));

  EXPECT_EQ(pages(kChangeable | 0x3F, 0xFF), join({kRecovery,
                                                   kCaching,
                                                   {0x0A, 10, 0x04, 0, 0x08, 0, 0, 0, 0, 0, 0, 0},
                                                   kControlExtension,
                                                   with(kExceptions, 2, 0)}));
  EXPECT_TRUE(is_check(sense6(kSaved | 0x3F), sense::saving_parameters_not_supported()));
  EXPECT_TRUE(is_check(sense10(kSaved | 0x08), sense::saving_parameters_not_supported()));
}

TEST_F(Mode, Headers) {
  EXPECT_EQ(sense6(0x08).data, join({{23, 0, 0x10, 0}, kCaching}));
  EXPECT_EQ(sense6(0x08, 0, 0).data, join({{31, 0, 0x10, 8}, {0, 0, 8, 0, 0, 0, 2, 0}, kCaching}));
  EXPECT_EQ(sense10(0x08).data, join({{0, 26, 0, 0x10, 0, 0, 0, 0}, kCaching}));
  EXPECT_EQ(sense10(0x08, 0, 0).data,
            join({{0, 34, 0, 0x10, 0, 0, 0, 8}, {0, 0, 8, 0, 0, 0, 2, 0}, kCaching}));
  EXPECT_EQ(
      sense10(0x08, 0, 0x10).data,
      join({{0, 42, 0, 0x10, 1, 0, 0, 16}, {0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0}, kCaching}));
  // DBD wins.
  EXPECT_EQ(sense10(0x08, 0, 0x18).data, join({{0, 26, 0, 0x10, 0, 0, 0, 0}, kCaching}));
}

TEST_F(Mode, BlockDescriptors) {
  LuState state = *disk.state;
  state.block_count = 0x1'0000'0001;
  set_state(disk, state);
  disk.geometry.block_bytes = 4096;
  Wire data = sense6(0x08, 0, 0).data;
  EXPECT_EQ(Wire(data.begin() + 4, data.begin() + 12), (Wire{0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0x10, 0}));
  data = sense10(0x08, 0, 0x10).data;
  EXPECT_EQ(Wire(data.begin() + 8, data.begin() + 24),
            (Wire{0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x10, 0}));
}

TEST_F(Mode, WriteProtectedInTheHeader) {
  disk.read_only = true;
  EXPECT_EQ(sense6(0x08).data[2], 0x90);
  EXPECT_EQ(sense10(0x08).data[3], 0x90);
  EXPECT_EQ(pages(0x0A)[4], 0x08);
  EXPECT_EQ(pages(kChangeable | 0x0A)[4], 0x00);
  EXPECT_EQ(pages(kDefault | 0x0A)[4], 0x08);
}

TEST_F(Mode, SelectNothing) {
  EXPECT_TRUE(is_good(select6({})));
  EXPECT_TRUE(is_good(select10({}, 0)));
  EXPECT_TRUE(is_good(select6({0, 0, 0, 0})));
  EXPECT_TRUE(is_good(select10({0, 0, 0, 0, 0, 0, 0, 0})));
  EXPECT_EQ(disk.state->generation, 0U);
}

TEST_F(Mode, SelectChangesAndTellsTheOthers) {
  const Outcome outcome = select6(list6(with(kCaching, 2, 0)));
  EXPECT_TRUE(is_good(outcome));
  EXPECT_FALSE(disk.state->write_cache);
  EXPECT_EQ(disk.state->generation, 1U);
  EXPECT_FALSE(nexus.pending(0));
  EXPECT_EQ(other.take(0), Asc::mode_parameters_changed);

  // The same once more changes nothing, and tells nobody.
  EXPECT_TRUE(is_good(select6(list6(with(kCaching, 2, 0)))));
  EXPECT_EQ(disk.state->generation, 1U);
  EXPECT_FALSE(other.pending(0));
}

TEST_F(Mode, SelectSeveralPages) {
  const Wire control = with(with(kControl, 2, 0x06), 4, 0x08);
  EXPECT_TRUE(is_good(select10(join({{0, 0, 0, 0, 0, 0, 0, 0},
                                     with(kCaching, 2, 0),
                                     control,
                                     kExceptions,
                                     kControlExtension,
                                     kRecovery}))));
  EXPECT_FALSE(disk.state->write_cache);
  EXPECT_TRUE(disk.state->descriptor_sense);
  EXPECT_TRUE(disk.state->write_protected);
  EXPECT_EQ(pages(0x0A), control);
}

TEST_F(Mode, WhatSenseReturnsSelectTakes) {
  for (const uint8_t flags : std::to_array<uint8_t>({0x08, 0x00, 0x10})) {
    EXPECT_TRUE(is_good(select10(sense10(0x3F, 0xFF, flags).data))) << int{flags};
  }
  for (const uint8_t flags : std::to_array<uint8_t>({0x08, 0x00})) {
    EXPECT_TRUE(is_good(select6(sense6(0x3F, 0xFF, flags).data))) << int{flags};
  }
  EXPECT_EQ(disk.state->generation, 0U);
}

TEST_F(Mode, SelectOneErrorChangesNothing) {
  EXPECT_TRUE(is_check(select6(list6(join({with(kCaching, 2, 0), with(kControl, 3, 0)}))),
                       sense::invalid_field_in_parameter_list(4 + 20 + 3, 4)));
  EXPECT_TRUE(disk.state->write_cache);
  EXPECT_FALSE(other.pending(0));
}

// Every bit of every page that is not changeable, by its place.
TEST_F(Mode, SelectRefusesEveryUnchangeableBit) {
  for (const ModePage& row : mode_pages()) {
    const Wire page = pages(row.page, row.subpage);
    const Wire mask = pages(static_cast<uint8_t>(kChangeable | row.page), row.subpage);
    for (size_t at = row.header_bytes(); at < page.size(); ++at) {
      for (uint8_t bit = 0; bit < 8; ++bit) {
        const auto flipped = static_cast<uint8_t>(page[at] ^ (1U << bit));
        const LuState before = *disk.state;
        const Outcome outcome = select6(list6(with(page, at, flipped)));
        if (((mask[at] >> bit) & 1) != 0) {
          EXPECT_TRUE(is_good(outcome));
          EXPECT_EQ(pages(row.page, row.subpage), with(page, at, flipped));
          set_state(disk, before);
        } else {
          EXPECT_TRUE(
              is_check(outcome, sense::invalid_field_in_parameter_list(static_cast<uint16_t>(4 + at), bit)));
        }
      }
    }
  }
}

TEST_F(Mode, SelectOfPagesThatAreNotThere) {
  EXPECT_TRUE(is_check(select6(list6({0x02, 2, 0, 0})), sense::invalid_field_in_parameter_list(4, 5)));
  EXPECT_TRUE(is_check(select6(list6({0x4A, 7, 0, 0})), sense::invalid_field_in_parameter_list(5, 7)));
  EXPECT_TRUE(is_check(select6(list6({0x48, 0, 0, 0})), sense::invalid_field_in_parameter_list(4, 6)));
  EXPECT_TRUE(is_check(select6(list6({0x3F, 0})), sense::invalid_field_in_parameter_list(4, 5)));
}

// Lengths that lie.
TEST_F(Mode, SelectLengths) {
  const Sense length_error = sense::parameter_list_length_error();
  for (uint8_t size = 1; size < 4; ++size) EXPECT_TRUE(is_check(select6(Wire(size)), length_error));
  for (uint8_t size = 1; size < 8; ++size) EXPECT_TRUE(is_check(select10(Wire(size)), length_error));
  // A page cut anywhere.
  const Wire whole = list6(kCaching);
  for (size_t size = 5; size < whole.size(); ++size) {
    EXPECT_TRUE(is_check(select6(Wire(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))),
                         length_error))
        << size;
  }
  // PAGE LENGTH is another one than the page's.
  for (unsigned length = 0; length < 256; ++length) {
    if (length == 18) continue;
    EXPECT_TRUE(is_check(select6(list6(with(kCaching, 1, static_cast<uint8_t>(length)))),
                         sense::invalid_field_in_parameter_list(5, 7)));
  }
  EXPECT_TRUE(
      is_check(select6(list6(with(kControlExtension, 2, 1))), sense::invalid_field_in_parameter_list(6, 7)));
  // The initiator sent less than the CDB says.
  EXPECT_TRUE(is_check(run({0x15, 0x10, 0, 0, 24, 0}, list6({0x08, 18})), length_error));
  EXPECT_TRUE(is_check(run({0x15, 0x10, 0, 0, 24, 0}, {}), length_error));
}

TEST_F(Mode, SelectBlockDescriptor) {
  const auto six = [&](const Wire& descriptor) {
    return select6(join({{0, 0, 0, 8}, descriptor, with(kCaching, 2, 0)}));
  };
  const auto ten = [&](const Wire& descriptor) {
    return select10(join({{0, 0, 0, 0, 1, 0, 0, 16}, descriptor}));
  };
  EXPECT_TRUE(is_good(six({0, 0, 8, 0, 0, 0, 2, 0})));
  EXPECT_FALSE(disk.state->write_cache);
  EXPECT_TRUE(is_good(six({0, 0, 0, 0, 0, 0, 2, 0})));
  EXPECT_TRUE(is_good(six({0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 2, 0})));
  EXPECT_TRUE(is_check(six({0, 0, 8, 1, 0, 0, 2, 0}), sense::invalid_field_in_parameter_list(4, 7)));
  EXPECT_TRUE(is_check(six({0, 0, 8, 0, 0, 0, 4, 0}), sense::invalid_field_in_parameter_list(9, 7)));
  EXPECT_TRUE(is_good(ten({0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0})));
  EXPECT_TRUE(is_check(ten({1, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0}),
                       sense::invalid_field_in_parameter_list(8, 7)));
  EXPECT_TRUE(is_check(ten({0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
                       sense::invalid_field_in_parameter_list(20, 7)));
  // Lengths of what is no descriptor, and one that is cut.
  EXPECT_TRUE(
      is_check(select6(join({{0, 0, 0, 16}, Wire(16)})), sense::invalid_field_in_parameter_list(3, 7)));
  EXPECT_TRUE(is_check(select10({0, 0, 0, 0, 1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0}),
                       sense::invalid_field_in_parameter_list(6, 7)));
  EXPECT_TRUE(is_check(select6({0, 0, 0, 8, 0, 0, 8}), sense::parameter_list_length_error()));
  EXPECT_TRUE(is_check(select6({0, 1, 0, 0}), sense::invalid_field_in_parameter_list(1, 7)));
}

TEST_F(Mode, SelectFlags) {
  EXPECT_TRUE(is_check(select6(list6(kCaching), 0x11), sense::invalid_field_in_cdb(1, 0)));  // SP
  EXPECT_TRUE(is_check(select10(list6(kCaching), 0x11), sense::invalid_field_in_cdb(1, 0)));
  EXPECT_TRUE(is_check(select6(list6(kCaching), 0x00), sense::invalid_field_in_cdb(1, 4)));  // PF
}

TEST_F(Mode, SoftwareWriteProtect) {
  EXPECT_TRUE(is_good(select6(list6(with(kControl, 4, 0x08)))));
  EXPECT_TRUE(disk.state->write_protected);
  EXPECT_EQ(sense6(0x0A).data[2], 0x90);
  EXPECT_TRUE(is_good(select6(list6(kControl))));
  EXPECT_FALSE(disk.state->write_protected);
}

TEST_F(Mode, AReadOnlyOneStaysProtected) {
  disk.read_only = true;
  EXPECT_TRUE(is_check(select6(list6(kControl)), sense::invalid_field_in_parameter_list(8, 3)));
  EXPECT_EQ(pages(0x0A)[4], 0x08);
}

}  // namespace
}  // namespace itgtd::scsi
