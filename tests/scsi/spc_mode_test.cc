#include "scsi/mode_pages.h"
#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {
namespace {

using Wire = std::vector<uint8_t>;

const Wire kRecovery = {0x81, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
const Wire kCaching = {0x88, 18, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
const Wire kControl = {0x8A, 10, 0x02, 0x10, 0, 0, 0, 0, 0, 0, 0, 0};
const Wire kControlExtension = {0x4A, 0x01, 0, 28, 0x06, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                0,    0,    0, 0,  0,    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
const Wire kExceptions = {0x9C, 10, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0};

const Wire kExceptionsMask = {0x9C, 10, 0x1C, 0x0F, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF};
// Nothing enabled: what is left armed to decrease, what is used to increase.
const Wire kProvisioning = {0xDC, 0x02, 0, 28, 0, 0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0,
                            0x02, 0x01, 0, 0,  0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0, 0};

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
  state.write_cache_default = false;
  set_state(disk, state);
  EXPECT_EQ(pages(kDefault | 0x08), with(kCaching, 2, 0));

  EXPECT_EQ(pages(kChangeable | 0x3F, 0xFF), join({kRecovery,
                                                   kCaching,
                                                   {0x8A, 10, 0x04, 0, 0x08, 0, 0, 0, 0, 0, 0, 0},
                                                   with(kControlExtension, 4, 0),
                                                   kExceptionsMask}));
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
  EXPECT_EQ(disk.state->generation, 1U);
}

TEST_F(Mode, SelectChangesAndTellsTheOthers) {
  const Outcome outcome = select6(list6(with(kCaching, 2, 0)));
  EXPECT_TRUE(is_good(outcome));
  EXPECT_FALSE(disk.state->write_cache);
  EXPECT_EQ(disk.state->generation, 2U);
  EXPECT_FALSE(nexus.pending(0));
  EXPECT_EQ(other.take(0), Asc::mode_parameters_changed);

  // The same once more changes nothing, and tells nobody.
  EXPECT_TRUE(is_good(select6(list6(with(kCaching, 2, 0)))));
  EXPECT_EQ(disk.state->generation, 2U);
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
  EXPECT_EQ(disk.state->generation, 1U);
}

TEST_F(Mode, SelectOneErrorChangesNothing) {
  EXPECT_TRUE(is_check(select6(list6(join({with(kCaching, 2, 0), with(kControl, 3, 0)}))),
                       sense::invalid_field_in_parameter_list(4 + 20 + 3, 4)));
  EXPECT_TRUE(disk.state->write_cache);
  EXPECT_FALSE(other.pending(0));
}

// Every bit of every page that is not changeable, by its place.
TEST_F(Mode, SelectRefusesEveryUnchangeableBit) {
  disk.geometry.thin = true;
  LuState thin = *disk.state;
  thin.thin_usage.known = true;
  set_state(disk, thin);
  for (const ModePage& row : mode_pages()) {
    const Wire page = pages(row.page, row.subpage);
    const Wire mask = pages(static_cast<uint8_t>(kChangeable | row.page), row.subpage);
    for (size_t at = row.header_bytes(); at < page.size(); ++at) {
      for (uint8_t bit = 0; bit < 8; ++bit) {
        const auto flipped = static_cast<uint8_t>(page[at] ^ (1U << bit));
        const LuState before = *disk.state;
        const Outcome outcome = select6(list6(with(page, at, flipped)));
        if (((mask[at] >> bit) & 1) != 0) {
          // One bit alone may say what can't be: a test of what is disabled, a method that is not there.
          if (row.page == 0x1C && outcome.status != Status::good) {
            EXPECT_TRUE(at == 2 || at == 3);
            EXPECT_EQ(outcome.sense.asc, Asc::invalid_field_in_parameter_list);
            continue;
          }
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
  EXPECT_TRUE(is_check(select6(list6(kCaching), 0x12), sense::invalid_field_in_cdb(1, 1)));
  EXPECT_TRUE(is_check(select10(list6(kCaching), 0x12), sense::invalid_field_in_cdb(1, 1)));
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

// What is saved: every page that can be, whether it was sent or not.
TEST_F(Mode, SaveKeepsAllPages) {
  EXPECT_TRUE(is_good(select6(list6(with(kCaching, 2, 0)))));
  EXPECT_TRUE(disk.state->saved_mode_pages.empty());
  EXPECT_EQ(pages(kSaved | 0x08), kCaching) << "nothing saved: the defaults";
  EXPECT_TRUE(is_good(select6(list6(with(kControl, 2, 0x06)), 0x11)));
  EXPECT_EQ(pages(kSaved | 0x08), with(kCaching, 2, 0));
  EXPECT_EQ(pages(kSaved | 0x0A), with(kControl, 2, 0x06));
  EXPECT_EQ(pages(kDefault | 0x08), kCaching);

  EXPECT_TRUE(is_good(select10(join({Wire(8), kCaching}))));
  EXPECT_EQ(pages(0x08), kCaching);
  EXPECT_EQ(pages(kSaved | 0x08), with(kCaching, 2, 0)) << "changed, and not saved";
  EXPECT_EQ(sense6(kSaved | 0x3F, 0xFF).data.size(), 4 + 12 + 20 + 12 + 32 + 12U);
}

TEST_F(Mode, SaveWithoutAListSavesWhatIsCurrent) {
  EXPECT_TRUE(is_good(select6(list6(with(kCaching, 2, 0)))));
  other.clear(0);
  EXPECT_TRUE(is_good(select6({}, 0x11)));
  EXPECT_EQ(pages(kSaved | 0x08), with(kCaching, 2, 0));
  EXPECT_FALSE(other.pending(0)) << "no mode parameter has changed";
  const uint64_t generation = disk.state->generation;
  EXPECT_TRUE(is_good(select10({}, 0x01)));
  EXPECT_EQ(disk.state->generation, generation);
}

TEST_F(Mode, AnErrorSavesNothing) {
  EXPECT_TRUE(is_check(select6(list6(join({with(kCaching, 2, 0), with(kControl, 3, 0)})), 0x11),
                       sense::invalid_field_in_parameter_list(4 + 20 + 3, 4)));
  EXPECT_TRUE(disk.state->saved_mode_pages.empty());
}

TEST_F(Mode, AResetMakesTheSavedValuesCurrent) {
  EXPECT_TRUE(is_good(select6(list6(join({with(kCaching, 2, 0), with(kControl, 2, 0x06)})), 0x11)));
  EXPECT_TRUE(is_good(select6(list6(join({kCaching, with(kControl, 4, 0x08)})))));
  disk.state = on_logical_unit_reset(*disk.state, 1).state;
  EXPECT_FALSE(disk.state->write_cache);
  EXPECT_TRUE(disk.state->descriptor_sense);
  EXPECT_FALSE(disk.state->write_protected);
}

TEST_F(Mode, AResetWithoutSavedValuesMakesTheDefaultsCurrent) {
  LuState state = *disk.state;
  state.write_cache_default = false;
  state.write_cache = true;
  state.write_protected = true;
  state.descriptor_sense = true;
  state.exceptions.disabled = false;
  disk.state = on_logical_unit_reset(state, 1).state;
  EXPECT_FALSE(disk.state->write_cache);
  EXPECT_FALSE(disk.state->write_protected);
  EXPECT_FALSE(disk.state->descriptor_sense);
  EXPECT_EQ(disk.state->exceptions, InformationalExceptions{});
}

// The configuration's read_only is not an initiator's SWP: it must not outlive a change of the configuration.
TEST_F(Mode, ReadOnlyIsNotSaved) {
  disk.read_only = true;
  EXPECT_TRUE(is_good(select6({}, 0x11)));
  EXPECT_EQ(pages(kSaved | 0x0A)[4], 0x08) << "it is protected all the same";
  disk.read_only = false;
  EXPECT_EQ(pages(kSaved | 0x0A)[4], 0x00);
  LuState next = *disk.state;
  apply_saved_mode_pages(next);
  EXPECT_FALSE(next.write_protected);
}

// What a file brings back is not trusted.
TEST_F(Mode, SavedPagesThatAreDamaged) {
  LuState state;
  state.write_cache = false;
  state.exceptions.disabled = false;
  save_mode_pages(state);
  const std::vector<std::byte> whole = state.saved_mode_pages;
  ASSERT_EQ(whole.size(), 12 + 20 + 12 + 12 + 32U);
  for (size_t size = 0; size <= whole.size(); ++size) {
    LuState cut;
    cut.saved_mode_pages.assign(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    apply_saved_mode_pages(cut);
    EXPECT_EQ(cut.write_cache, size < 32) << size;
    EXPECT_EQ(cut.exceptions.disabled, size < 56) << size;
  }
  for (size_t at = 0; at < whole.size(); ++at) {
    for (unsigned value = 0; value < 256; ++value) {
      LuState damaged;
      damaged.saved_mode_pages = whole;
      damaged.saved_mode_pages[at] = std::byte{static_cast<uint8_t>(value)};
      apply_saved_mode_pages(damaged);
      const uint8_t method = damaged.exceptions.method;
      EXPECT_TRUE(method == 0 || method == 2 || method == 6);
      EXPECT_FALSE(damaged.exceptions.test && damaged.exceptions.disabled);
    }
  }
  LuState unknown;
  unknown.saved_mode_pages = {std::byte{0x02}, std::byte{2}, std::byte{0}, std::byte{0}};
  unknown.saved_mode_pages.insert(unknown.saved_mode_pages.end(), whole.begin(), whole.end());
  apply_saved_mode_pages(unknown);
  EXPECT_FALSE(unknown.write_cache) << "pages behind one that is not known count";
}

// SPC-4 §7.5.11.
TEST_F(Mode, ExceptionsThatCanNotBe) {
  const auto page = [](uint8_t flags, uint8_t method) {
    return with(with(kExceptions, 2, flags), 3, method);
  };
  EXPECT_TRUE(is_check(select6(list6(page(0x0C, 6))), sense::invalid_field_in_parameter_list(6, 2)));
  for (uint8_t method = 0; method < 16; ++method) {
    const Outcome outcome = select6(list6(page(0x10, method)));
    if (method == 0 || method == 2 || method == 6) {
      EXPECT_TRUE(is_good(outcome)) << int{method};
    } else {
      EXPECT_TRUE(is_check(outcome, sense::invalid_field_in_parameter_list(7, 3))) << int{method};
    }
  }
}

TEST_F(Mode, ATestExceptionIsToldByUnitAttention) {
  const Wire page = with(with(kExceptions, 2, 0x04), 3, 2);
  EXPECT_TRUE(is_good(select6(list6(page))));
  EXPECT_EQ(nexus.take(0), Asc::failure_prediction_threshold_exceeded_false);
  EXPECT_EQ(other.take(0), Asc::mode_parameters_changed);
  EXPECT_EQ(other.take(0), Asc::failure_prediction_threshold_exceeded_false);
  EXPECT_TRUE(is_good(select6(list6(with(page, 11, 1))))) << "another REPORT COUNT";
  EXPECT_FALSE(nexus.pending(0)) << "it is told once";
  EXPECT_EQ(run({0x03, 1, 0, 0, 252, 0}).data, (Wire{0x72, 0, 0, 0, 0, 0, 0, 0}));
}

TEST_F(Mode, ATestExceptionIsToldOnRequest) {
  EXPECT_TRUE(is_good(select6(list6(with(with(kExceptions, 2, 0x04), 3, 6)))));
  EXPECT_FALSE(nexus.pending(0));
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(run({0x03, 1, 0, 0, 252, 0}).data, (Wire{0x72, 0, 0x5D, 0xFF, 0, 0, 0, 0}));
  }
  EXPECT_TRUE(is_good(select6(list6(with(with(kExceptions, 2, 0x00), 3, 6)))));
  EXPECT_EQ(run({0x03, 1, 0, 0, 252, 0}).data, (Wire{0x72, 0, 0, 0, 0, 0, 0, 0}));
}

class ThinMode : public Mode {
 protected:
  ThinMode() {
    disk.geometry.thin = true;
    LuState state = *disk.state;
    state.thin_usage = {true, 4096, 1 << 20};
    set_state(disk, state);
  }
};

TEST_F(ThinMode, HasThresholds) {
  EXPECT_EQ(pages(0x1C, 0x02), kProvisioning);
  EXPECT_EQ(pages(0x1C, 0xFF), join({kExceptions, kProvisioning}));
  EXPECT_EQ(pages(0x01), with(kRecovery, 7, 0x80)) << "LBPERE";
  EXPECT_EQ(pages(kChangeable | 0x01), with(kRecovery, 7, 0x80));
  Wire mask = kProvisioning;
  for (const size_t at : {4U, 16U, 20U, 21U, 22U, 23U, 24U, 28U, 29U, 30U, 31U}) mask[at] = 0xFF;
  mask[4] = 0x01;
  mask[16] = mask[24] = 0x80;
  mask[17] = mask[25] = 0;
  EXPECT_EQ(pages(kChangeable | 0x1C, 0x02), mask);
}

TEST_F(ThinMode, NoThresholdsWhereUsageIsNotKnown) {
  LuState state = *disk.state;
  state.thin_usage = {};
  set_state(disk, state);
  EXPECT_TRUE(is_check(sense6(0x1C, 0x02), sense::invalid_field_in_cdb(3, 7)));
  EXPECT_EQ(pages(0x1C, 0xFF), kExceptions);
  EXPECT_EQ(pages(0x01), kRecovery);
  EXPECT_TRUE(is_check(select6(list6(kProvisioning)), sense::invalid_field_in_parameter_list(5, 7)));
  EXPECT_TRUE(is_good(select6(list6(kRecovery)))) << "and LBPERE is left alone";
  EXPECT_TRUE(disk.state->thresholds.reported);
}

TEST_F(ThinMode, ThresholdsAreSetAndSaved) {
  const Wire page = with(with(with(with(kProvisioning, 4, 1), 16, 0x82), 23, 9), 30, 1);
  EXPECT_TRUE(is_good(select6(list6(join({with(kRecovery, 7, 0), page})), 0x11)));
  const ThinThresholds& thresholds = disk.state->thresholds;
  EXPECT_FALSE(thresholds.reported);
  EXPECT_TRUE(thresholds.single_initiator);
  EXPECT_EQ(thresholds.initiator, nexus.id());
  EXPECT_EQ(thresholds.available, (ThinThreshold{true, 9, false}));
  EXPECT_EQ(thresholds.used, (ThinThreshold{false, 256, false}));
  EXPECT_EQ(pages(0x1C, 0x02), page);
  EXPECT_EQ(pages(kSaved | 0x1C, 0x02), page);
  EXPECT_EQ(pages(kDefault | 0x1C, 0x02), kProvisioning);
  LuState fresh;
  fresh.saved_mode_pages = disk.state->saved_mode_pages;
  apply_saved_mode_pages(fresh);
  EXPECT_EQ(fresh.thresholds.available, thresholds.available);
  EXPECT_FALSE(fresh.thresholds.reported);
}

TEST_F(ThinMode, TheNexusThatIsToldMayGo) {
  EXPECT_TRUE(is_good(select6(list6(with(kProvisioning, 4, 1)))));
  disk.state = on_nexus_loss(*disk.state, nexus.id()).state;
  ASSERT_TRUE(disk.state);
  EXPECT_EQ(disk.state->thresholds.initiator, 0U);
}

}  // namespace
}  // namespace itgtd::scsi
