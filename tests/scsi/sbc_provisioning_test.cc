#include <algorithm>
#include <cerrno>

#include "base/endian.h"
#include "scsi/dispatch.h"
#include "tests/scsi/model_disk.h"

namespace itgtd::scsi::testing {
namespace {

constexpr Family kWriteSame{0x41, 0, 0x93};
constexpr uint8_t kAnchor = 0x10;
constexpr uint8_t kUnmap = 0x08;
constexpr uint8_t kNdob = 0x01;

uint16_t length_byte(const std::vector<uint8_t>& cdb) {
  return cdb.size() == 10 ? 7 : 10;
}

void make_thin(ModelDisk& disk, uint32_t granularity_bytes = 0) {
  disk.lu.geometry.thin = true;
  disk.lu.geometry.unmapped_reads_zero = true;
  disk.lu.geometry.unmap_granularity_bytes = granularity_bytes;
}

void set_write_cache(ModelDisk& disk, bool write_cache) {
  LuState state = disk.state();
  state.write_cache = write_cache;
  disk.set_state(state);
}

Data repeated(const Data& block, size_t blocks) {
  Data data;
  for (size_t i = 0; i < blocks; ++i) data.insert(data.end(), block.begin(), block.end());
  return data;
}

uint64_t blocks_of(const ModelDisk& disk, IoKind kind) {
  uint64_t bytes = 0;
  for (const Io& io : disk.done) {
    if (io.kind == kind) bytes += io.length_bytes;
  }
  return bytes / disk.block_bytes();
}

// iscsi-test-cu WriteSame*.Simple, WriteSame*.Check.
TEST(SbcWriteSame, RepeatsTheBlock) {
  for (const uint32_t block_bytes : {512U, 4096U}) {
    // More than scratch holds, and not a multiple of it.
    const uint32_t most = kScratchBytesMax / block_bytes * 5 / 2;
    ModelDisk disk(most + 10, block_bytes);
    for (const uint32_t blocks : {1U, 2U, 3U, 100U, most / 2, most}) {
      for (const uint64_t lba : {uint64_t{0}, most + 10 - uint64_t{blocks}}) {
        for (const auto& cdb : cdbs(kWriteSame, lba, blocks)) {
          disk.fill(1);
          Data expected = disk.bytes;
          const Data block = pattern(block_bytes, static_cast<uint8_t>(blocks % 251));
          const Data all = repeated(block, blocks);
          std::copy(all.begin(), all.end(),
                    expected.begin() + static_cast<std::ptrdiff_t>(lba * block_bytes));
          const Outcome outcome = run(disk, cdb, block);
          ASSERT_TRUE(is_good(outcome));
          EXPECT_EQ(outcome.phase.transfer_bytes, block_bytes);
          EXPECT_EQ(disk.bytes, expected);
        }
      }
    }
  }
}

// A block that is zero but for one byte, wherever that is, is not zero.
TEST(SbcWriteSame, ZeroesAreNotAPattern) {
  ModelDisk disk(100);
  for (const auto& cdb : cdbs(kWriteSame, 10, 20)) {
    disk.fill(1);
    disk.done.clear();
    EXPECT_TRUE(is_good(run(disk, cdb, Data(512))));
    ASSERT_EQ(disk.done.size(), 1U);
    EXPECT_EQ(disk.done[0].kind, IoKind::write_zeroes);
    EXPECT_EQ(disk.slice(10, 20), Data(20 * 512));
    for (const size_t at : {size_t{0}, size_t{1}, size_t{256}, size_t{511}}) {
      Data block(512);
      block[at] = std::byte{1};
      EXPECT_TRUE(is_good(run(disk, cdb, block)));
      EXPECT_EQ(disk.slice(10, 20), repeated(block, 20));
    }
  }
}

// iscsi-test-cu WriteSame*.BeyondEol.
TEST(SbcWriteSame, BeyondTheEndIsOutOfRange) {
  ModelDisk disk(1000);
  const Data block(512);
  for (const uint32_t blocks : {1U, 2U, 256U}) {
    for (const auto& cdb : cdbs(kWriteSame, 1001 - blocks, blocks)) {
      EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb, block), 1000));
    }
    for (const uint64_t lba : {0x8000'0000ULL, 0xFFFF'FFFFULL, 1ULL << 63, ~0ULL}) {
      for (const auto& cdb : cdbs(kWriteSame, lba, blocks)) {
        EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb, block), lba));
      }
    }
  }
  EXPECT_TRUE(disk.done.empty());
}

// iscsi-test-cu WriteSame*.ZeroBlocks, WriteSame*.UnmapUntilEnd: zero is "to the end".
TEST(SbcWriteSame, ZeroBlocksIsToTheEnd) {
  ModelDisk disk(1000);
  make_thin(disk);
  const Data block = pattern(512, 4);
  for (const uint8_t byte1 : {uint8_t{0}, kUnmap}) {
    for (const uint64_t lba : {0U, 1U, 744U, 999U}) {
      for (const auto& cdb : cdbs(kWriteSame, lba, 0, byte1)) {
        disk.fill(2);
        const Data head = disk.slice(0, lba);
        EXPECT_TRUE(is_good(run(disk, cdb, block)));
        // With UNMAP the range is given back whatever the block holds: docs/adr/0005.
        const Data wanted = byte1 == kUnmap ? Data((1000 - lba) * 512) : repeated(block, 1000 - lba);
        EXPECT_TRUE(disk.slice(lba, 1000 - lba) == wanted);
        EXPECT_EQ(disk.slice(0, lba), head);
        EXPECT_TRUE(is_good(run(disk, cdb, Data(512))));
        EXPECT_EQ(disk.slice(lba, 1000 - lba), Data((1000 - lba) * 512));
      }
    }
  }
  for (const uint64_t lba : {1000ULL, 1001ULL, 0x8000'0000ULL, 0xFFFF'FFFFULL, 1ULL << 63, ~0ULL}) {
    for (const auto& cdb : cdbs(kWriteSame, lba, 0)) {
      EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb, block), lba));
    }
  }
}

TEST(SbcWriteSame, RangesAreBounded) {
  ModelDisk disk(8);
  LuState state = disk.state();
  state.block_count = uint64_t{1} << 50;
  disk.set_state(state);
  const auto most = static_cast<uint32_t>(kWriteSameBlocksMax);
  const Data block(512);
  for (const uint32_t blocks : {most + 1, 0xFFFF'FFFFU}) {
    EXPECT_TRUE(is_invalid_field(run(disk, cdb16(0x93, 0, blocks), block), 10));
  }
  // "To the end" may be more than that, too.
  for (const auto& cdb : cdbs(kWriteSame, 0, 0)) {
    EXPECT_TRUE(is_invalid_field(run(disk, cdb, block), length_byte(cdb)));
  }
  EXPECT_TRUE(disk.done.empty());
  Command command;
  const auto cdb = cdb16(0x93, 5, most);
  std::copy(cdb.begin(), cdb.end(), command.cdb.begin());
  command.lu = &disk.lu;
  EXPECT_TRUE(std::holds_alternative<DataPhase>(find_command(0x93, 0)->admit(command)));
}

// iscsi-test-cu WriteSame*.WriteProtect, WriteSame*.Unmap (ANCHOR), WriteSame*.UnmapVPD.
TEST(SbcWriteSame, FieldsOfTheCdb) {
  ModelDisk disk(10);
  const Data block(512);
  for (const bool thin : {false, true}) {
    disk.lu.geometry.thin = thin;
    for (uint32_t protect = 1; protect < 8; ++protect) {
      for (const auto& cdb : cdbs(kWriteSame, 0, 1, static_cast<uint8_t>(protect << 5))) {
        EXPECT_TRUE(is_invalid_field(run(disk, cdb, block), 1, uint8_t{7}));
      }
    }
    for (const uint8_t byte1 : {uint8_t{kAnchor}, uint8_t{kAnchor | kUnmap}}) {
      for (const auto& cdb : cdbs(kWriteSame, 0, 1, byte1)) {
        EXPECT_TRUE(is_invalid_field(run(disk, cdb, block), 1, uint8_t{4}));
      }
    }
    for (const auto& cdb : cdbs(kWriteSame, 0, 1, kUnmap)) {
      const Outcome outcome = run(disk, cdb, block);
      EXPECT_TRUE(thin ? is_good(outcome) : is_invalid_field(outcome, 1, uint8_t{3}));
    }
  }
}

// iscsi-test-cu WriteSame*.InvalidDataOutSize.
TEST(SbcWriteSame, DataOutIsOneBlock) {
  ModelDisk disk(10);
  make_thin(disk);
  for (const uint8_t byte1 : {uint8_t{0}, kUnmap}) {
    for (const size_t bytes : {0U, 256U, 511U}) {
      for (const auto& cdb : cdbs(kWriteSame, 0, 1, byte1)) {
        EXPECT_TRUE(is_invalid_field(run(disk, cdb, Data(bytes)), length_byte(cdb)));
      }
    }
  }
  EXPECT_TRUE(disk.done.empty());
  // More than a block was announced: only its front part has been received.
  for (const auto& cdb : cdbs(kWriteSame, 0, 1)) {
    Command command;
    std::copy(cdb.begin(), cdb.end(), command.cdb.begin());
    command.lu = &disk.lu;
    const CommandEntry* row = find_command(cdb[0], 0);
    const Admission admission = row->admit(command);
    ASSERT_TRUE(std::holds_alternative<DataPhase>(admission));
    command.phase = *std::get_if<DataPhase>(&admission);
    Data block(512);
    Data scratch(command.phase.scratch_bytes);
    command.data = block;
    command.scratch = scratch;
    command.data_out_bytes = 512;
    command.expected_data_transfer_length = 1024;
    const Step step = row->start(command);
    const Done* done = std::get_if<Done>(&step);
    ASSERT_NE(done, nullptr);
    EXPECT_EQ(done->sense.asc, Asc::invalid_field_in_cdb);
  }
}

TEST(SbcWriteSame, WithoutDataOutTheBlockIsZero) {
  ModelDisk disk(100);
  make_thin(disk);
  for (const uint8_t byte1 : {uint8_t{kNdob}, uint8_t{kNdob | kUnmap}}) {
    disk.fill(1);
    disk.done.clear();
    const Outcome outcome = run(disk, cdb16(0x93, 10, 20, byte1));
    EXPECT_TRUE(is_good(outcome));
    EXPECT_EQ(outcome.phase.direction, DataDirection::none);
    EXPECT_EQ(outcome.phase.transfer_bytes, 0U);
    EXPECT_EQ(disk.slice(10, 20), Data(20 * 512));
    EXPECT_EQ(disk.done.at(0).kind, (byte1 & kUnmap) != 0 ? IoKind::unmap : IoKind::write_zeroes);
  }
}

TEST(SbcWriteSame, UnmapsOnlyWhatThenReadsAsZeros) {
  ModelDisk disk(100);
  make_thin(disk);
  const Data zero(512);
  const Data block = pattern(512, 3);
  for (const auto& cdb : cdbs(kWriteSame, 10, 20, kUnmap)) {
    disk.lu.geometry.unmapped_reads_zero = true;
    disk.done.clear();
    EXPECT_TRUE(is_good(run(disk, cdb, zero)));
    EXPECT_EQ(blocks_of(disk, IoKind::unmap), 20U);
    EXPECT_TRUE(is_good(run(disk, cdb, block))) << "not zero: unmapped all the same, docs/adr/0005";
    EXPECT_EQ(blocks_of(disk, IoKind::unmap), 40U);
    EXPECT_EQ(disk.slice(10, 20), Data(20 * 512));
    disk.lu.geometry.unmapped_reads_zero = false;
    EXPECT_TRUE(is_good(run(disk, cdb, block)));
    EXPECT_EQ(blocks_of(disk, IoKind::unmap), 40U);
    EXPECT_EQ(disk.slice(10, 20), repeated(block, 20));
    EXPECT_TRUE(is_good(run(disk, cdb, zero)));
    EXPECT_EQ(blocks_of(disk, IoKind::unmap), 40U);
    EXPECT_EQ(disk.slice(10, 20), Data(20 * 512));
  }
}

// iscsi-test-cu WriteSame*.UnmapUnaligned; and every alignment of both ends.
TEST(SbcWriteSame, WhatIsNotAlignedIsWritten) {
  for (const auto& [block_bytes, granularity] :
       {std::pair{512U, 4096U}, {4096U, 65536U}, {512U, 512U}, {512U, 0U}}) {
    const uint64_t step = std::max(1U, granularity / block_bytes);
    for (uint64_t lba = 0; lba <= step; ++lba) {
      for (uint64_t blocks = 1; blocks <= 3 * step; ++blocks) {
        ModelDisk disk(4 * step + 1, block_bytes);
        make_thin(disk, granularity);
        disk.fill(1);
        Data expected = disk.bytes;
        std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(lba * block_bytes), blocks * block_bytes,
                    std::byte{0});
        const auto cdb = cdb10(0x41, static_cast<uint32_t>(lba), static_cast<uint16_t>(blocks), kUnmap);
        const Outcome outcome = run(disk, cdb, Data(block_bytes));
        ASSERT_TRUE(is_good(outcome));
        EXPECT_LE(outcome.ios, 3U);
        EXPECT_EQ(disk.bytes, expected);
        for (const Io& io : disk.done) {
          if (io.kind != IoKind::unmap) continue;
          EXPECT_EQ(io.offset_bytes / block_bytes % step, 0U);
          EXPECT_EQ(io.length_bytes / block_bytes % step, 0U);
        }
      }
    }
  }
}

TEST(SbcWriteSame, WriteCacheOffMakesItDurable) {
  ModelDisk disk(100);
  make_thin(disk, 4096);
  set_write_cache(disk, false);
  for (const auto& cdb : cdbs(kWriteSame, 3, 20)) {
    for (const Data& block : {pattern(512, 1), Data(512)}) {
      disk.done.clear();
      EXPECT_TRUE(is_good(run(disk, cdb, block)));
      for (const Io& io : disk.done) EXPECT_TRUE(io.force_unit_access);
    }
  }
  disk.done.clear();
  EXPECT_TRUE(is_good(run(disk, cdb10(0x41, 3, 20, kUnmap), Data(512))));
  ASSERT_EQ(disk.done.size(), 4U);
  EXPECT_EQ(disk.done[3].kind, IoKind::flush);
  disk.done.clear();
  disk.fail_at = 3;
  disk.failure = {EIO, 0};
  EXPECT_EQ(run(disk, cdb10(0x41, 3, 20, kUnmap), Data(512)).done.sense.asc, Asc::write_error);
}

TEST(SbcWriteSame, AnErrorAtEachStepNamesItsBlock) {
  ModelDisk disk(2000);
  const uint64_t step = kScratchBytesMax / 512;
  for (size_t i = 0; i < 3; ++i) {
    disk.done.clear();
    disk.fail_at = i;
    disk.failure = {EIO, 5 * 512};
    EXPECT_TRUE(
        is_sense(run(disk, cdb16(0x93, 7, 1500), pattern(512, 1)), sense::write_error(7 + i * step + 5)));
    EXPECT_EQ(disk.done.size(), i + 1) << "nothing is done after an error";
    disk.done.clear();
    disk.failure = {0, 512};  // short without an errno
    EXPECT_TRUE(
        is_sense(run(disk, cdb16(0x93, 7, 1500), pattern(512, 1)), sense::write_error(7 + i * step + 1)));
    disk.done.clear();
    disk.failure = {ENOSPC, 0};
    EXPECT_TRUE(is_sense(run(disk, cdb16(0x93, 7, 1500), pattern(512, 1)), sense::space_allocation_failed()));
  }
  make_thin(disk, 4096);
  for (size_t i = 0; i < 3; ++i) {
    disk.done.clear();
    disk.fail_at = i;
    disk.failure = {EIO, 0};
    const uint64_t failing[] = {7, 8, 24};
    EXPECT_TRUE(is_sense(run(disk, cdb16(0x93, 7, 20, kUnmap), Data(512)), sense::write_error(failing[i])));
  }
}

// ---- UNMAP ----

struct Descriptor {
  uint64_t lba;
  uint32_t blocks;
};

/// A parameter list; the lengths in its header are as given, or right.
Data unmap_list(const std::vector<Descriptor>& descriptors, std::optional<uint16_t> data_length = {},
                std::optional<uint16_t> descriptor_length = {}) {
  const size_t descriptor_bytes = descriptors.size() * 16;
  Data list(8 + descriptor_bytes);
  store(Bytes(list), be16(data_length.value_or(static_cast<uint16_t>(6 + descriptor_bytes))));
  store(Bytes(list).subspan(2), be16(descriptor_length.value_or(static_cast<uint16_t>(descriptor_bytes))));
  for (size_t i = 0; i < descriptors.size(); ++i) {
    store(Bytes(list).subspan(8 + i * 16), be64(descriptors[i].lba));
    store(Bytes(list).subspan(16 + i * 16), be32(descriptors[i].blocks));
  }
  return list;
}

Outcome run_unmap(ModelDisk& disk, const Data& list) {
  return run(disk, cdb10(0x42, 0, static_cast<uint16_t>(list.size())), list);
}

// iscsi-test-cu Unmap.Simple.
TEST(SbcUnmap, UnmapsEveryDescriptor) {
  ModelDisk disk(300);
  make_thin(disk);
  for (uint32_t blocks = 1; blocks <= 256; blocks += 15) {
    disk.fill(1);
    const Data rest = disk.slice(blocks, 300 - blocks);
    EXPECT_TRUE(is_good(run_unmap(disk, unmap_list({{0, blocks}}))));
    EXPECT_EQ(disk.slice(0, blocks), Data(blocks * 512));
    EXPECT_EQ(disk.slice(blocks, 300 - blocks), rest);
  }
  std::vector<Descriptor> list;
  for (uint32_t i = 0; i < kUnmapDescriptorsMax; ++i) list.push_back({i, 1});
  disk.fill(1);
  const Outcome outcome = run_unmap(disk, unmap_list(list));
  EXPECT_TRUE(is_good(outcome));
  EXPECT_EQ(outcome.ios, kUnmapDescriptorsMax);
  EXPECT_EQ(disk.slice(0, 256), Data(size_t{256} * 512));
}

// iscsi-test-cu Unmap.ZeroBlocks.
TEST(SbcUnmap, ZeroBlocksAreNoError) {
  ModelDisk disk(1000);
  make_thin(disk);
  disk.fill(1);
  const Data before = disk.bytes;
  for (uint64_t lba = 0; lba < 256; ++lba) EXPECT_TRUE(is_good(run_unmap(disk, unmap_list({{lba, 0}}))));
  std::vector<Descriptor> list;
  for (uint64_t i = 0; i < 256; ++i) {
    EXPECT_TRUE(is_good(run_unmap(disk, unmap_list(list))));
    list.push_back({i / 2, 0});
  }
  EXPECT_TRUE(is_good(run_unmap(disk, unmap_list(list))));
  EXPECT_TRUE(is_good(run_unmap(disk, unmap_list({{1000, 0}}))));
  EXPECT_TRUE(is_good(run_unmap(disk, unmap_list({})))) << "a header alone";
  EXPECT_TRUE(is_good(run(disk, cdb10(0x42, 0, 0)))) << "no list at all";
  EXPECT_TRUE(disk.done.empty());
  EXPECT_EQ(disk.bytes, before);
  EXPECT_TRUE(is_good(run_unmap(disk, unmap_list({{0, 0}, {5, 1}, {6, 0}, {7, 2}, {9, 0}}))));
  EXPECT_EQ(disk.done.size(), 2U);
}

// iscsi-test-cu Unmap.VPD.
TEST(SbcUnmap, NeedsAThinMedium) {
  ModelDisk disk(1000);
  EXPECT_TRUE(is_sense(run_unmap(disk, unmap_list({{0, 1}})), sense::invalid_opcode()));
  EXPECT_TRUE(is_sense(run(disk, cdb10(0x42, 0, 0)), sense::invalid_opcode()));
}

TEST(SbcUnmap, AnchorIsRefused) {
  ModelDisk disk(1000);
  make_thin(disk);
  const Data list = unmap_list({{0, 1}});
  const auto cdb = cdb10(0x42, 0, static_cast<uint16_t>(list.size()), 0x01);
  EXPECT_TRUE(is_invalid_field(run(disk, cdb, list), 1, uint8_t{0}));
}

TEST(SbcUnmap, ListLengthsAreChecked) {
  ModelDisk disk(1000);
  make_thin(disk);
  const Sense wrong = sense::parameter_list_length_error();
  const Data list = unmap_list({{0, 1}, {2, 1}});
  for (uint16_t bytes = 1; bytes < 8; ++bytes) {
    EXPECT_TRUE(is_sense(run(disk, cdb10(0x42, 0, bytes), list), wrong)) << "no whole header";
  }
  for (uint16_t bytes = 8; bytes < list.size(); ++bytes) {
    EXPECT_TRUE(is_sense(run(disk, cdb10(0x42, 0, bytes), list), wrong)) << "cut";
  }
  for (const size_t arrived : {size_t{0}, size_t{7}, size_t{8}, list.size() - 1}) {
    const auto cdb = cdb10(0x42, 0, static_cast<uint16_t>(list.size()));
    EXPECT_TRUE(is_sense(run(disk, cdb, std::span(list).first(arrived)), wrong)) << "less came than was said";
  }
  EXPECT_TRUE(is_sense(run_unmap(disk, unmap_list({{0, 1}}, 23)), wrong));
  EXPECT_TRUE(is_sense(run_unmap(disk, unmap_list({{0, 1}}, 0xFFFF)), wrong));
  EXPECT_TRUE(is_sense(run_unmap(disk, unmap_list({{0, 1}}, 22, 17)), wrong));
  EXPECT_TRUE(is_sense(run_unmap(disk, unmap_list({{0, 1}}, 22, 0xFFFF)), wrong));
  EXPECT_TRUE(disk.done.empty());
}

// SBC-3 §5.28.2.
TEST(SbcUnmap, AnIncompleteLastDescriptorIsIgnored) {
  ModelDisk disk(1000);
  make_thin(disk);
  disk.fill(1);
  const Data second = disk.slice(2, 1);
  for (uint16_t bytes = 16; bytes < 32; ++bytes) {
    disk.done.clear();
    EXPECT_TRUE(is_good(run_unmap(disk, unmap_list({{0, 1}, {2, 1}}, {}, bytes))));
    EXPECT_EQ(disk.done.size(), 1U);
  }
  EXPECT_EQ(disk.slice(2, 1), second);
}

TEST(SbcUnmap, NothingIsDoneWhenADescriptorIsWrong) {
  ModelDisk disk(1000);
  make_thin(disk);
  const struct {
    Descriptor bad;
    uint64_t lba;
  } cases[] = {{{1000, 1}, 1000},
               {{999, 2}, 1000},
               {{1001, 0}, 1001},
               {{~0ULL, 1}, ~0ULL},
               {{~0ULL, 0xFFFF'FFFF}, ~0ULL},
               {{1ULL << 63, 1}, 1ULL << 63},
               {{0, 1001}, 1000},
               {{0, 0xFFFF'FFFF}, 1000}};
  for (const auto& [bad, lba] : cases) {
    EXPECT_TRUE(is_lba_out_of_range(run_unmap(disk, unmap_list({{0, 1}, {5, 1}, bad})), lba));
    EXPECT_TRUE(is_lba_out_of_range(run_unmap(disk, unmap_list({bad, {0, 1}})), lba));
  }
  EXPECT_TRUE(disk.done.empty());
}

TEST(SbcUnmap, LimitsOfTheBlockLimitsPage) {
  ModelDisk disk(8);
  make_thin(disk);
  LuState state = disk.state();
  state.block_count = uint64_t{1} << 40;
  disk.set_state(state);
  const Data too_many = unmap_list(std::vector<Descriptor>(kUnmapDescriptorsMax + 1, {0, 1}));
  EXPECT_TRUE(is_sense(run_unmap(disk, too_many), sense::invalid_field_in_parameter_list(2)));
  EXPECT_TRUE(is_sense(run_unmap(disk, unmap_list({{0, kUnmapBlocksMax}, {7, 0}, {9, 1}})),
                       sense::invalid_field_in_parameter_list(8 + 2 * 16 + 8)));
  EXPECT_TRUE(is_sense(run_unmap(disk, unmap_list({{0, kUnmapBlocksMax + 1}})),
                       sense::invalid_field_in_parameter_list(16)));
  EXPECT_TRUE(disk.done.empty());
}

TEST(SbcUnmap, AnErrorAtEachStepEndsIt) {
  ModelDisk disk(1000);
  make_thin(disk);
  set_write_cache(disk, false);
  const Data list = unmap_list({{10, 1}, {20, 2}, {30, 3}});
  EXPECT_TRUE(is_good(run_unmap(disk, list)));
  ASSERT_EQ(disk.done.size(), 4U);
  EXPECT_EQ(disk.done[3].kind, IoKind::flush) << "WCE is off";
  for (size_t i = 0; i < 4; ++i) {
    disk.done.clear();
    disk.fail_at = i;
    disk.failure = {EIO, 0};
    const Outcome outcome = run_unmap(disk, list);
    EXPECT_EQ(disk.done.size(), i + 1);
    if (i < 3) {
      EXPECT_TRUE(is_sense(outcome, sense::write_error(10 * (i + 1))));
    } else {
      EXPECT_EQ(outcome.done.sense.asc, Asc::write_error);
      EXPECT_FALSE(outcome.done.sense.information_valid);
    }
  }
}

// Random writes, WRITE SAME and UNMAP against an array of bytes.
TEST(SbcProvisioning, BehavesLikeAnArray) {
  Random random(4711);
  for (const uint32_t granularity : {0U, 4096U, 16384U}) {
    ModelDisk disk(700);
    make_thin(disk, granularity);
    Data model(disk.bytes.size());
    for (int i = 0; i < 300; ++i) {
      const uint32_t lba = random.pick(700);
      const uint32_t blocks = 1 + random.pick(700 - lba);
      set_write_cache(disk, random.pick(2) == 0);
      const Data block = random.pick(2) == 0 ? Data(512) : pattern(512, static_cast<uint8_t>(i));
      const auto at = model.begin() + static_cast<std::ptrdiff_t>(size_t{lba} * 512);
      if (random.pick(4) == 0) {
        ASSERT_TRUE(is_good(run_unmap(disk, unmap_list({{lba, blocks}, {0, 0}}))));
        std::fill_n(at, size_t{blocks} * 512, std::byte{0});
      } else {
        const bool unmap = random.pick(2) == 0;
        const auto choices = cdbs(kWriteSame, lba, blocks, unmap ? kUnmap : uint8_t{0});
        ASSERT_TRUE(is_good(run(disk, choices[random.pick(choices.size())], block)));
        const Data all = unmap ? Data(size_t{blocks} * 512) : repeated(block, blocks);
        std::copy(all.begin(), all.end(), at);
      }
      disk.done.clear();
    }
    EXPECT_EQ(disk.bytes, model);
  }
}

TEST(SbcProvisioning, RowsSayWhatTheCommandsAre) {
  for (const CommandEntry& row : sbc_provisioning_commands()) {
    EXPECT_EQ(row.reservation, ReservationClass::write) << row.name;
    EXPECT_EQ(row.flags & ~kThinOnly, kWritesMedium) << row.name;
    EXPECT_EQ(row.direction, DataDirection::out) << row.name;
    EXPECT_EQ(row.cdb_usage[0], row.opcode) << row.name;
    EXPECT_EQ(row.cdb_usage[row.cdb_bytes - 1U], 0) << "CONTROL of " << row.name;
  }
}

}  // namespace
}  // namespace itgtd::scsi::testing
