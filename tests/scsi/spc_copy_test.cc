#include <algorithm>
#include <cerrno>
#include <cstring>

#include "scsi/dispatch.h"
#include "tests/scsi/copy_target.h"

namespace itgtd::scsi::testing {
namespace {

class ExtendedCopy : public CopyTarget {
 protected:
  /// CSCD i is disk i.
  Xcopy all_disks() {
    Xcopy xcopy;
    for (auto& each : disks) xcopy.cscd(each->lu);
    return xcopy;
  }
  static Sense aborted(Asc asc, uint16_t segment, std::optional<uint16_t> field = {}) {
    return sense::copy_aborted(asc, segment, field);
  }
  std::vector<Data> contents() const {
    std::vector<Data> all;
    for (const auto& each : disks) all.push_back(each->bytes);
    return all;
  }
  ::testing::AssertionResult holds(const std::vector<Data>& model) const {
    for (size_t i = 0; i < disks.size(); ++i) {
      if (std::memcmp(model[i].data(), disks[i]->bytes.data(), model[i].size()) != 0) {
        return ::testing::AssertionFailure() << "disk " << i << " is another one";
      }
    }
    return ::testing::AssertionSuccess();
  }
  /// One segment after the other, each as if all of it was read before any of it is written.
  void expect(std::vector<Data>& model, const Segment& segment) const {
    const size_t bytes = disks[0]->block_bytes();
    std::memmove(model[segment.destination].data() + segment.destination_lba * bytes,
                 model[segment.source].data() + segment.source_lba * bytes, segment.blocks * bytes);
  }
  size_t ios() const {
    size_t count = 0;
    for (const auto& each : disks) count += each->done.size();
    return count;
  }
};

// iscsi-test-cu ExtendedCopy.Simple: from the start of the unit to its end.
TEST_F(ExtendedCopy, Simple) {
  const Data from = disk(0).slice(0, 1000);
  Xcopy xcopy;
  xcopy.flags = 0x10;
  xcopy.cscd(unit(0)).segment({0, 0, 1000, 0, kBlocks - 1000});
  EXPECT_TRUE(is_good(this->xcopy(xcopy.list())));
  EXPECT_EQ(disk(0).slice(kBlocks - 1000, 1000), from);
}

TEST_F(ExtendedCopy, AnyCopyIsWhatMemmoveDoes) {
  Random pick(1);
  std::vector<Data> model = contents();
  for (int round = 0; round < 150; ++round) {
    Xcopy xcopy = all_disks();
    std::vector<Segment> segments(pick.pick(5));
    for (Segment& segment : segments) {
      segment.source = static_cast<uint16_t>(pick.pick(3));
      segment.destination = static_cast<uint16_t>(pick.pick(3));
      segment.blocks = static_cast<uint16_t>(pick.pick(pick.pick(4) == 0 ? 1600 : 40));
      segment.source_lba = pick.pick(kBlocks - segment.blocks + 1);
      // Often so near that both overlap.
      segment.destination_lba = pick.pick(2) == 0 ? pick.pick(kBlocks - segment.blocks + 1)
                                                  : std::min<uint64_t>(segment.source_lba + pick.pick(30),
                                                                       kBlocks - segment.blocks);
      xcopy.segment(segment);
      expect(model, segment);
    }
    ASSERT_TRUE(is_good(this->xcopy(xcopy.list()))) << round;
    ASSERT_TRUE(holds(model)) << round;
  }
}

// Longer than the memory that a command has: the direction matters from chunk to chunk.
TEST_F(ExtendedCopy, LongOverlappingCopiesGoInTheRightDirection) {
  for (const int64_t shift : {-1500, -504, -503, -1, 0, 1, 503, 504, 505, 600}) {
    disk(0).fill(static_cast<uint8_t>(shift));
    std::vector<Data> model = contents();
    const uint16_t blocks = shift < -600 ? 500 : 1400;
    const auto base = static_cast<uint64_t>(shift < 0 ? -shift : 0);
    const Segment segment{0, 0, blocks, base, static_cast<uint64_t>(static_cast<int64_t>(base) + shift)};
    expect(model, segment);
    Xcopy xcopy = all_disks();
    ASSERT_TRUE(is_good(this->xcopy(xcopy.segment(segment).list()))) << shift;
    ASSERT_TRUE(holds(model)) << shift;
  }
}

TEST_F(ExtendedCopy, SegmentsAreCopiedInTheirOrder) {
  std::vector<Data> model = contents();
  Xcopy xcopy = all_disks();
  for (const Segment& segment :
       {Segment{0, 1, 10, 0, 5}, Segment{1, 2, 10, 5, 100}, Segment{2, 0, 10, 100, 7}}) {
    xcopy.segment(segment);
    expect(model, segment);
  }
  EXPECT_TRUE(is_good(this->xcopy(xcopy.list())));
  EXPECT_TRUE(holds(model));
}

TEST_F(ExtendedCopy, ClaimsWhatEachChunkTouches) {
  Xcopy xcopy = all_disks();
  const CopyOutcome outcome = this->xcopy(xcopy.segment({0, 1, 1000, 8, 16}).list());
  ASSERT_TRUE(is_good(outcome));
  ASSERT_EQ(outcome.claims.size(), 2U);
  uint64_t copied = 0;
  for (const Claim& claim : outcome.claims) {
    ASSERT_EQ(claim.count, 2);
    EXPECT_EQ(claim.ranges[0].lu_key, unit(1).key);
    EXPECT_EQ(claim.ranges[1].lu_key, unit(0).key);
    EXPECT_EQ(claim.ranges[0].lba, 16 + copied);
    EXPECT_EQ(claim.ranges[1].lba, 8 + copied);
    EXPECT_EQ(claim.ranges[0].blocks, claim.ranges[1].blocks);
    copied += claim.ranges[0].blocks;
  }
  EXPECT_EQ(copied, 1000U);
}

TEST_F(ExtendedCopy, IsAsDurableAsAWriteToTheDestination) {
  for (const bool write_cache : {false, true}) {
    LuState state = disk(1).state();
    state.write_cache = write_cache;
    disk(1).set_state(state);
    disk(1).done.clear();
    Xcopy xcopy = all_disks();
    EXPECT_TRUE(is_good(this->xcopy(xcopy.segment({0, 1, 4, 0, 0}).list())));
    ASSERT_EQ(disk(1).done.size(), 1U);
    EXPECT_EQ(disk(1).done[0].force_unit_access, !write_cache);
  }
}

TEST_F(ExtendedCopy, NothingToDo) {
  EXPECT_TRUE(is_good(xcopy({})));
  EXPECT_TRUE(is_good(xcopy(Xcopy().list())));
  EXPECT_TRUE(is_good(xcopy(all_disks().list())));
  Xcopy xcopy = all_disks();
  xcopy.segment({0, 1, 0, 0, 0}).segment({0, 1, 0, kBlocks, kBlocks});
  const CopyOutcome outcome = this->xcopy(xcopy.list());
  EXPECT_TRUE(is_good(outcome));
  EXPECT_TRUE(outcome.claims.empty());
}

// SPC-4: CSCD descriptor ID FFFFh is the unit that the command was sent to.
TEST_F(ExtendedCopy, TheUnitItselfNeedsNoDescriptor) {
  Xcopy xcopy;
  xcopy.cscd(unit(0)).segment({0, 0xFFFF, 5, 3, 9});
  EXPECT_TRUE(is_good(this->xcopy(nexus, 2, xcopy.list())));
  EXPECT_EQ(disk(2).slice(9, 5), disk(0).slice(3, 5));
}

// ---- Lists that are no lists ----

// iscsi-test-cu ExtendedCopy.ParamHdr, and each length between.
TEST_F(ExtendedCopy, EveryTruncationIsRefused) {
  Xcopy xcopy = all_disks();
  const Wire whole = xcopy.segment({0, 1, 4, 0, 0}).segment({1, 2, 4, 0, 0}).list();
  for (size_t bytes = 1; bytes < whole.size(); ++bytes) {
    const Wire part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes));
    // The CDB says so, or the CDB lies and the data is missing.
    EXPECT_TRUE(is_sense(this->xcopy(part), sense::parameter_list_length_error())) << bytes;
    Wire cdb(16);
    cdb[0] = 0x83;
    cdb[13] = static_cast<uint8_t>(whole.size());
    EXPECT_TRUE(is_sense(run(cdb, part), sense::parameter_list_length_error())) << bytes;
  }
  EXPECT_EQ(ios(), 0U);
}

TEST_F(ExtendedCopy, LengthsThatLie) {
  Xcopy xcopy = all_disks();
  const Wire whole = xcopy.segment({0, 1, 4, 0, 0}).list();
  const auto with = [&](size_t at, std::initializer_list<uint8_t> bytes) {
    Wire list = whole;
    std::copy(bytes.begin(), bytes.end(), list.begin() + static_cast<std::ptrdiff_t>(at));
    return this->xcopy(list);
  };
  const Sense length_error = sense::parameter_list_length_error();
  EXPECT_TRUE(is_sense(with(2, {0xFF, 0xFF}), length_error));
  EXPECT_TRUE(is_sense(with(2, {0xFF, 0xE0}), length_error));
  EXPECT_TRUE(is_sense(with(8, {0xFF, 0xFF, 0xFF, 0xFF}), length_error));
  EXPECT_TRUE(is_sense(with(8, {0, 0, 0, 29}), length_error));
  EXPECT_TRUE(is_sense(with(12, {0xFF, 0xFF, 0xFF, 0xFF}), length_error));
  EXPECT_TRUE(is_sense(with(12, {0, 0, 0, 1}), length_error));
  // Descriptors that are cut in the middle.
  EXPECT_TRUE(is_sense(with(2, {0, 95}), sense::invalid_field_in_parameter_list(2)));
  EXPECT_TRUE(is_sense(with(8, {0, 0, 0, 27}), sense::invalid_field_in_parameter_list(8)));
  EXPECT_TRUE(is_sense(with(8, {0, 0, 0, 3}), sense::invalid_field_in_parameter_list(8)));
  const uint16_t segment_at = 16 + 3 * 32;
  EXPECT_TRUE(
      is_sense(with(segment_at + 2, {0, 23}), sense::invalid_field_in_parameter_list(segment_at + 2)));
  EXPECT_TRUE(
      is_sense(with(segment_at + 2, {0xFF, 0xFF}), sense::invalid_field_in_parameter_list(segment_at + 2)));
  EXPECT_EQ(ios(), 0U);
}

// What stands behind the lists is nobody's.
TEST_F(ExtendedCopy, BytesBehindTheListAreIgnored) {
  Xcopy xcopy = all_disks();
  Wire list = xcopy.segment({0, 1, 4, 0, 0}).list();
  list.resize(list.size() + 20, 0xFF);
  EXPECT_TRUE(is_good(this->xcopy(list)));
}

TEST_F(ExtendedCopy, ParameterListLengthIsBounded) {
  for (const uint32_t bytes : {uint32_t{16} + 16 * 32 + 16 * 28 + 1, 0x0001'0000U, 0xFFFF'FFFFU}) {
    Wire cdb(16);
    cdb[0] = 0x83;
    for (size_t i = 0; i < 4; ++i) cdb[10 + i] = static_cast<uint8_t>(bytes >> (24 - 8 * i));
    EXPECT_TRUE(is_sense(run(cdb), sense::parameter_list_length_error()));
  }
}

// iscsi-test-cu ExtendedCopy.DescrLimits.
TEST_F(ExtendedCopy, TooManyDescriptors) {
  Xcopy many;
  for (size_t i = 0; i < kCopyTargetsMax; ++i) many.cscd(unit(i % 3));
  for (size_t i = 0; i < kCopySegmentsMax; ++i) many.segment({0, 1, 2, i, i});
  EXPECT_TRUE(is_good(xcopy(many.list())));

  Xcopy targets = many;
  targets.segments.resize(1);
  EXPECT_TRUE(is_sense(xcopy(targets.cscd(unit(0)).list()),
                       sense::refused_descriptor(Asc::too_many_target_descriptors, 2)));
  Xcopy segments = many;
  segments.cscds.resize(1);
  EXPECT_TRUE(is_sense(xcopy(segments.segment({0, 0, 1, 0, 0}).list()),
                       sense::refused_descriptor(Asc::too_many_segment_descriptors, 16 + 32 + 16 * 28)));
  EXPECT_TRUE(is_sense(xcopy(many.cscd(unit(0)).segment({0, 0, 1, 0, 0}).list()),
                       sense::parameter_list_length_error()));
}

TEST_F(ExtendedCopy, NoInlineData) {
  Wire list = all_disks().list();
  list[15] = 4;
  list.resize(list.size() + 4);
  EXPECT_TRUE(is_sense(xcopy(list), sense::refused_descriptor(Asc::inline_data_length_exceeded, 12)));
}

// iscsi-test-cu ExtendedCopy.DescrType.
TEST_F(ExtendedCopy, OtherDescriptorTypes) {
  for (int type = 0; type < 256; ++type) {
    if (type != kIdentificationDescriptor) {
      Xcopy xcopy = all_disks().segment({0, 1, 4, 0, 0});
      xcopy.cscds[1].descriptor_type_code = static_cast<uint8_t>(type);
      EXPECT_TRUE(is_sense(this->xcopy(xcopy.list()),
                           sense::refused_descriptor(Asc::unsupported_target_descriptor_type_code, 48)));
    }
    if (type != kBlockToBlock) {
      Xcopy xcopy = all_disks().segment({0, 1, 4, 0, 0}).segment({0, 1, 4, 0, 0});
      xcopy.segments[1].header.descriptor_type_code = static_cast<uint8_t>(type);
      EXPECT_TRUE(is_sense(
          this->xcopy(xcopy.list()),
          sense::refused_descriptor(Asc::unsupported_segment_descriptor_type_code, 16 + 3 * 32 + 28)));
    }
  }
  EXPECT_EQ(ios(), 0U);
}

// iscsi-test-cu ExtendedCopy.ValidTgtDescr.
TEST_F(ExtendedCopy, FieldsOfACscdDescriptor) {
  const auto with = [&](auto change) {
    Xcopy xcopy = all_disks().segment({0, 1, 4, 0, 0});
    change(xcopy.cscds[1]);
    return this->xcopy(xcopy.list());
  };
  constexpr uint16_t kAt = 16 + 32;
  for (const uint8_t lu_id_type : {uint8_t{0x40}, uint8_t{0x80}, uint8_t{0xC0}}) {
    EXPECT_TRUE(is_good(with([&](CscdDescriptor& cscd) { cscd.device = lu_id_type; })));
  }
  EXPECT_TRUE(is_sense(with([](CscdDescriptor& cscd) { cscd.designator_length = 21; }),
                       sense::invalid_field_in_parameter_list(kAt + 7)));
  EXPECT_TRUE(is_sense(with([](CscdDescriptor& cscd) { cscd.disk_block_length.set(4096); }),
                       sense::invalid_field_in_parameter_list(kAt + 29)));
  EXPECT_TRUE(is_good(with([](CscdDescriptor& cscd) { cscd.disk_block_length.set(0); })));
  EXPECT_TRUE(is_sense(with([](CscdDescriptor& cscd) { cscd.device = 0x20; }),
                       aborted(Asc::unreachable_copy_target, 0, 6)));
  EXPECT_TRUE(is_sense(with([](CscdDescriptor& cscd) { cscd.device = 0x01; }),
                       aborted(Asc::incorrect_copy_target_device_type, 0, 6)));
  for (const auto change : {+[](CscdDescriptor& cscd) { cscd.code_set = 2; },
                            +[](CscdDescriptor& cscd) { cscd.designator_type = 0x13; },
                            +[](CscdDescriptor& cscd) { cscd.designator_type = 2; },
                            +[](CscdDescriptor& cscd) { cscd.designator_length = 8; },
                            +[](CscdDescriptor& cscd) { cscd.designator_length = 0; },
                            +[](CscdDescriptor& cscd) { cscd.designator[15] ^= 1; }}) {
    EXPECT_TRUE(is_sense(with(change), aborted(Asc::copy_target_device_not_reachable, 0, 6)));
  }
}

// iscsi-test-cu ExtendedCopy.ValidSegDescr. A segment that is wrong ends the copy when those before it are
// done: COPY ABORTED with its number says that they are.
TEST_F(ExtendedCopy, FieldsOfASegment) {
  struct Case {
    Segment segment;
    Asc asc;
    uint16_t field;
  };
  const Case cases[] = {
      {{3, 0, 1, 0, 0}, Asc::unreachable_copy_target, 4},
      {{0, 3, 1, 0, 0}, Asc::unreachable_copy_target, 6},
      {{0xFFFE, 0, 1, 0, 0}, Asc::unreachable_copy_target, 4},
      {{0, 0xF800, 1, 0, 0}, Asc::unreachable_copy_target, 6},
      {{0, 1, 2, kBlocks - 1, 0}, Asc::none, 12},
      {{0, 1, 2, 0, kBlocks - 1}, Asc::none, 20},
      {{0, 1, 1, ~uint64_t{0}, 0}, Asc::none, 12},
      {{0, 1, 1, 0, ~uint64_t{0}}, Asc::none, 20},
      {{0, 1, 0, kBlocks + 1, 0}, Asc::none, 12},
  };
  for (const Case& wrong : cases) {
    for (uint16_t before = 0; before < 3; ++before) {
      std::vector<Data> model = contents();
      Xcopy xcopy = all_disks();
      for (uint16_t i = 0; i < before; ++i) {
        const Segment segment{i, static_cast<uint16_t>(i + 1), 3, 10U * before, 20U * before};
        xcopy.segment(segment);
        expect(model, segment);
      }
      xcopy.segment(wrong.segment).segment({0, 1, 9, 500, 500});
      EXPECT_TRUE(is_sense(this->xcopy(xcopy.list()), aborted(wrong.asc, before, wrong.field)));
      EXPECT_TRUE(holds(model));
    }
  }
}

TEST_F(ExtendedCopy, ASegmentHasALimit) {
  LuState state = disk(0).state();
  state.block_count = 1 << 20;
  disk(0).set_state(state);
  const uint16_t blocks = (16 << 20) / 512;
  Xcopy xcopy = all_disks().segment({0, 1, 1, 0, 0}).segment({0, 1, blocks + 1, 0, 0});
  EXPECT_TRUE(
      is_sense(this->xcopy(xcopy.list()), sense::invalid_field_in_parameter_list(16 + 3 * 32 + 28 + 10)));
  EXPECT_EQ(ios(), 0U);
}

TEST_F(ExtendedCopy, ListIdUsage) {
  Xcopy xcopy = all_disks();
  xcopy.flags = 0x08;
  EXPECT_TRUE(is_sense(this->xcopy(xcopy.list()), sense::invalid_field_in_parameter_list(1, 4)));
  xcopy.flags = 0x18;
  EXPECT_TRUE(is_sense(this->xcopy(xcopy.list()), sense::invalid_field_in_parameter_list(0)));
  xcopy.list_identifier = 0;
  EXPECT_TRUE(is_good(this->xcopy(xcopy.list())));
  xcopy.flags = 0x37;  // STR, discard, the least priority
  EXPECT_TRUE(is_good(this->xcopy(xcopy.list())));
}

// ---- Who may copy what ----

// CVE-2020-28374: a unit that this nexus does not see is not there, whoever else sees it.
TEST_F(ExtendedCopy, OnlyUnitsThatTheNexusSees) {
  luns.units[1] = nullptr;
  const std::vector<Data> before = contents();
  Xcopy from = all_disks().segment({1, 0, 4, 0, 0});
  EXPECT_TRUE(is_sense(xcopy(from.list()), aborted(Asc::copy_target_device_not_reachable, 0, 4)));
  Xcopy to = all_disks().segment({0, 1, 4, 0, 0});
  EXPECT_TRUE(is_sense(xcopy(to.list()), aborted(Asc::copy_target_device_not_reachable, 0, 6)));
  EXPECT_TRUE(holds(before));
  EXPECT_TRUE(is_good(xcopy(other, 0, to.list())));
}

TEST_F(ExtendedCopy, ReservationsOfOthersHold) {
  for (const size_t reserved : {1U, 2U}) {
    LuState state = disk(reserved).state();
    state.reserved_by = other.id();
    ++state.generation;
    disk(reserved).set_state(state);
    Xcopy copy = all_disks().segment({1, 2, 4, 0, 0});
    EXPECT_TRUE(is_sense(xcopy(copy.list()), aborted(Asc::third_party_device_failure, 0)));
    EXPECT_TRUE(is_good(xcopy(other, 0, copy.list())));
    state.reserved_by = 0;
    ++state.generation;
    disk(reserved).set_state(state);
  }
  LuState state = disk(0).state();
  state.reserved_by = other.id();
  ++state.generation;
  disk(0).set_state(state);
  EXPECT_EQ(xcopy(all_disks().list()).done.status, Status::reservation_conflict);
}

TEST_F(ExtendedCopy, AProtectedUnitCanBeReadOnly) {
  unit(1).read_only = true;
  Xcopy to = all_disks().segment({0, 1, 4, 0, 0});
  EXPECT_TRUE(is_sense(xcopy(to.list()), aborted(Asc::third_party_device_failure, 0)));
  EXPECT_TRUE(disk(1).done.empty());
  Xcopy from = all_disks().segment({1, 0, 4, 0, 0});
  EXPECT_TRUE(is_good(xcopy(from.list())));
}

// What happens to the units while the copy goes on ends it at the next chunk.
TEST_F(ExtendedCopy, StopsWhenThingsChange) {
  const auto change = [&](size_t index, auto what) {
    LuState state = disk(index).state();
    what(state);
    ++state.generation;
    disk(index).set_state(state);
  };
  const std::pair<std::function<void()>, Asc> cases[] = {
      {[&] { change(0, [&](LuState& state) { state.reserved_by = other.id(); }); },
       Asc::third_party_device_failure},
      {[&] { change(1, [&](LuState& state) { state.reserved_by = other.id(); }); },
       Asc::third_party_device_failure},
      {[&] { change(1, [&](LuState& state) { state.write_protected = true; }); },
       Asc::third_party_device_failure},
      {[&] { change(0, [&](LuState& state) { state.condition = LuCondition::stopped; }); },
       Asc::third_party_device_failure},
      {[&] { change(0, [&](LuState& state) { state.block_count = 600; }); }, Asc::third_party_device_failure},
      {[&] { change(1, [&](LuState& state) { state.block_count = 600; }); }, Asc::third_party_device_failure},
      {[&] { luns.units[0] = nullptr; }, Asc::copy_target_device_not_reachable},
      {[&] { luns.units[1] = nullptr; }, Asc::copy_target_device_not_reachable},
      {[&] { unit(1).key = 999; }, Asc::copy_target_device_not_reachable},
  };
  for (const auto& [happens, asc] : cases) {
    size_t claims = 0;
    before_step = [&](const Step& step) {
      if (std::holds_alternative<Claim>(step) && ++claims == 2) happens();
    };
    Xcopy copy = all_disks().segment({0, 1, 1, 0, 0}).segment({0, 1, 1500, 0, 0});
    EXPECT_TRUE(is_sense(xcopy(nexus, 2, copy.list()), aborted(asc, 1)));
    before_step = nullptr;
    change(0, [&](LuState& state) { state = LuState{.block_count = kBlocks}; });
    change(1, [&](LuState& state) { state = LuState{.block_count = kBlocks}; });
    luns.units[0] = &unit(0);
    luns.units[1] = &unit(1);
    unit(1).key = 101;
  }
}

// Between the two halves of a chunk the destination goes, and the unit that the command was sent to.
TEST_F(ExtendedCopy, AUnitThatGoesBetweenReadAndWrite) {
  before_step = [&](const Step& step) {
    if (std::holds_alternative<Io>(step)) luns.units[1] = nullptr;
  };
  Xcopy copy = all_disks().segment({0, 1, 8, 0, 0});
  EXPECT_TRUE(is_sense(xcopy(nexus, 1, copy.list()), aborted(Asc::copy_target_device_not_reachable, 0)));
  EXPECT_TRUE(disk(1).done.empty());
}

TEST_F(ExtendedCopy, ErrorsOfTheMedia) {
  for (const size_t failing : {0U, 1U}) {
    for (const IoResult& failure : {IoResult{EIO, 0}, IoResult{ENODEV, 0}, IoResult{EAGAIN, 0},
                                    IoResult{0, 512}, IoResult{ENOSPC, 0}}) {
      disk(failing).done.clear();
      disk(failing).fail_at = 1;
      disk(failing).failure = failure;
      Xcopy copy = all_disks().segment({0, 1, 8, 0, 0}).segment({0, 1, 8, 8, 8}).segment({0, 1, 8, 16, 16});
      EXPECT_TRUE(is_sense(xcopy(copy.list()), aborted(Asc::third_party_device_failure, 1)));
      disk(failing).fail_at.reset();
    }
  }
}

class ExtendedCopyBlocks : public ExtendedCopy {};

TEST_F(ExtendedCopyBlocks, OfDifferentLengthAreNotCopied) {
  disks.push_back(make_disk(3, 103, 4096));
  luns.units[3] = &unit(3);
  nexus.clear(3);
  Xcopy mixed = all_disks().segment({0, 3, 8, 0, 0});
  EXPECT_TRUE(is_sense(xcopy(mixed.list()), aborted(Asc::unexpected_inexact_segment, 0, 6)));
  Xcopy one_then_other = all_disks().segment({0, 1, 8, 0, 0}).segment({3, 3, 8, 0, 100});
  EXPECT_TRUE(is_sense(xcopy(one_then_other.list()), aborted(Asc::unexpected_inexact_segment, 1, 6)));
  Xcopy large = all_disks().segment({3, 3, 200, 0, 100});
  disk(3).fill(9);
  Data model = disk(3).bytes;
  std::memmove(model.data() + 100 * 4096, model.data(), 200 * 4096);
  EXPECT_TRUE(is_good(xcopy(large.list())));
  EXPECT_EQ(disk(3).bytes, model);
}

// Bytes at random: nothing but an answer comes of it.
TEST_F(ExtendedCopy, AnyBytesAreAnswered) {
  Random pick(7);
  const Wire valid = all_disks().segment({0, 1, 4, 0, 0}).segment({1, 2, 40, 3, 9}).list();
  for (int round = 0; round < 3'000; ++round) {
    Wire list = valid;
    for (uint32_t changes = 1 + pick.pick(4); changes > 0; --changes) {
      list[pick.pick(pick.pick(2) == 0 ? 16 : list.size())] = static_cast<uint8_t>(pick.pick(256));
    }
    const CopyOutcome outcome = xcopy(list);
    EXPECT_TRUE(outcome.good() || outcome.done.status == Status::check_condition);
  }
}

TEST_F(ExtendedCopy, ReservedBitsOfTheCdb) {
  Wire cdb(16);
  cdb[0] = 0x83;
  cdb[2] = 1;
  EXPECT_TRUE(is_sense(run(cdb), sense::invalid_field_in_cdb(2, 0)));
}

}  // namespace
}  // namespace itgtd::scsi::testing
