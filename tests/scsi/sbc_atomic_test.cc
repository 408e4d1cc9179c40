#include <algorithm>
#include <cerrno>

#include "scsi/dispatch.h"
#include "scsi/sbc_atomic.h"
#include "tests/scsi/model_disk.h"

namespace itgtd::scsi::testing {
namespace {

constexpr uint8_t kCompareAndWrite = 0x89;
constexpr uint8_t kOrWrite = 0x8B;
constexpr uint8_t kWriteAtomic = 0x9C;
constexpr uint8_t kDpo = 0x10;
constexpr uint8_t kFua = 0x08;

std::vector<uint8_t> compare_and_write(uint64_t lba, uint8_t blocks, uint8_t byte1 = 0) {
  std::vector<uint8_t> cdb = cdb16(kCompareAndWrite, lba, 0, byte1);
  cdb[13] = blocks;
  return cdb;
}

std::vector<uint8_t> write_atomic(uint64_t lba, uint16_t blocks, uint8_t byte1 = 0) {
  return cdb16(kWriteAtomic, lba, blocks, byte1);
}

Data both(const Data& expected, const Data& wanted) {
  Data all = expected;
  all.insert(all.end(), wanted.begin(), wanted.end());
  return all;
}

/// Everything but the range is as in `before`, and the range as in `wanted`.
void expect_only(const ModelDisk& disk, Data before, uint64_t lba, const Data& wanted) {
  std::copy(wanted.begin(), wanted.end(),
            before.begin() + static_cast<std::ptrdiff_t>(lba * disk.block_bytes()));
  EXPECT_TRUE(disk.bytes == before);
}

void expect_claimed_once(const ModelDisk& disk, const Outcome& outcome, uint64_t lba, uint64_t blocks) {
  ASSERT_EQ(outcome.claims.size(), 1U);
  EXPECT_EQ(outcome.claims[0].count, 1);
  EXPECT_EQ(outcome.claims[0].ranges[0].lu_key, disk.lu.key);
  EXPECT_EQ(outcome.claims[0].ranges[0].lba, lba);
  EXPECT_EQ(outcome.claims[0].ranges[0].blocks, blocks);
}

struct Size {
  uint32_t block_bytes;
  uint8_t blocks;
};
constexpr Size kSizes[] = {{512, 1}, {512, 2}, {512, 255}, {4096, 1}, {4096, 63}, {4096, 64}, {4096, 255}};

TEST(SbcCompareAndWrite, WritesWhatIsThereAsExpected) {
  for (const Size size : kSizes) {
    ModelDisk disk(600, size.block_bytes);
    disk.lu.key = 7;
    disk.fill(1);
    const Data before = disk.bytes;
    const Data wanted = pattern(size_t{size.blocks} * size.block_bytes, 2);
    const Outcome outcome =
        run(disk, compare_and_write(300, size.blocks), both(disk.slice(300, size.blocks), wanted));
    EXPECT_TRUE(is_good(outcome));
    expect_claimed_once(disk, outcome, 300, size.blocks);
    expect_only(disk, before, 300, wanted);
    EXPECT_EQ(outcome.phase.transfer_bytes, 2U * wanted.size());
    EXPECT_EQ(disk.done.back().kind, IoKind::write);
    EXPECT_EQ(disk.done.back().length_bytes, wanted.size()) << "written as a whole";
    EXPECT_FALSE(disk.done.back().force_unit_access);
  }
}

TEST(SbcCompareAndWrite, MiscompareTellsWhereAndWritesNothing) {
  for (const Size size : kSizes) {
    ModelDisk disk(300, size.block_bytes);
    disk.fill(1);
    const Data before = disk.bytes;
    const size_t bytes = size_t{size.blocks} * size.block_bytes;
    for (const size_t at : {size_t{0}, size_t{1}, bytes / 2, bytes - 27, bytes - 1}) {
      Data expected = disk.slice(3, size.blocks);
      expected[at] ^= std::byte{0x40};
      const Outcome outcome = run(disk, compare_and_write(3, size.blocks), both(expected, pattern(bytes, 2)));
      EXPECT_TRUE(is_sense(outcome, sense::miscompare(at)));
      EXPECT_TRUE(disk.bytes == before);
      EXPECT_EQ(disk.done.back().kind, IoKind::read);
    }
  }
}

TEST(SbcCompareAndWrite, NoBlocksAreNothingToDo) {
  ModelDisk disk(100);
  for (const uint64_t lba : {0U, 99U, 100U}) {
    const Outcome outcome = run(disk, compare_and_write(lba, 0));
    EXPECT_TRUE(is_good(outcome));
    EXPECT_EQ(outcome.phase.direction, DataDirection::none);
    EXPECT_TRUE(outcome.claims.empty());
  }
  EXPECT_TRUE(is_lba_out_of_range(run(disk, compare_and_write(101, 0)), 101));
  EXPECT_TRUE(disk.done.empty());
}

TEST(SbcCompareAndWrite, TheRangeIsOnTheMedium) {
  ModelDisk disk(100);
  const Data data(2 * 512);
  EXPECT_TRUE(is_lba_out_of_range(run(disk, compare_and_write(100, 1), data), 100));
  EXPECT_TRUE(is_lba_out_of_range(run(disk, compare_and_write(99, 2), data), 100));
  EXPECT_TRUE(is_lba_out_of_range(run(disk, compare_and_write(UINT64_MAX, 1), data), UINT64_MAX));
  EXPECT_TRUE(disk.done.empty());
}

TEST(SbcCompareAndWrite, DataOutIsTwiceTheBlocks) {
  ModelDisk disk(100);
  const Data before = disk.bytes;
  // All zero would compare equal: only the length is wrong.
  for (const size_t bytes : {0U, 1U, 512U, 1024U, 2047U}) {
    const Outcome outcome = run(disk, compare_and_write(0, 2), Data(bytes));
    EXPECT_TRUE(is_invalid_field(outcome, 13));
    EXPECT_TRUE(outcome.claims.empty());
  }
  EXPECT_TRUE(disk.bytes == before);
}

/// 256 blocks do not fit into NUMBER OF LOGICAL BLOCKS: their data comes with a CDB that says 0.
class SbcCompareAndWriteAnnounced : public ::testing::TestWithParam<uint8_t> {};

TEST_P(SbcCompareAndWriteAnnounced, MoreThanTheCdbAsksForIsRefused) {
  ModelDisk disk(100);
  Command command;
  const auto cdb = compare_and_write(0, GetParam());
  std::copy(cdb.begin(), cdb.end(), command.cdb.begin());
  command.lu = &disk.lu;
  command.entry = find_command(kCompareAndWrite, 0);
  command.phase = std::get<DataPhase>(command.entry->admit(command));
  Data data(command.phase.transfer_bytes);
  command.data = data;
  command.data_out_bytes = command.phase.transfer_bytes;
  command.expected_data_transfer_length = 4 * 512;
  const Step step = command.entry->start(command);
  ASSERT_TRUE(std::holds_alternative<Done>(step));
  EXPECT_EQ(std::get<Done>(step).sense, sense::invalid_field_in_cdb(13));
}

INSTANTIATE_TEST_SUITE_P(Blocks, SbcCompareAndWriteAnnounced, ::testing::Values(0, 1));

TEST(SbcCompareAndWrite, DurableWhereAskedFor) {
  for (const bool write_cache : {true, false}) {
    for (const uint8_t flags : {uint8_t{0}, kDpo, kFua}) {
      ModelDisk disk(10);
      LuState state = disk.state();
      state.write_cache = write_cache;
      disk.set_state(state);
      EXPECT_TRUE(is_good(run(disk, compare_and_write(1, 1, flags), Data(1024))));
      EXPECT_EQ(disk.done.back().force_unit_access, !write_cache || flags == kFua);
    }
  }
}

TEST(SbcCompareAndWrite, FailuresOfTheMedium) {
  ModelDisk disk(400, 4096);
  disk.fill(1);
  const Data before = disk.bytes;
  const Data data = both(disk.slice(0, 255), pattern(255 * 4096, 2));
  disk.failure = {EIO, 4096};
  disk.fail_at = 1;  // the second read, which begins after 63 blocks
  EXPECT_TRUE(is_sense(run(disk, compare_and_write(0, 255), data), sense::unrecovered_read_error(64)));
  disk.done.clear();
  disk.fail_at = 5;
  EXPECT_TRUE(is_sense(run(disk, compare_and_write(0, 255), data), sense::write_error(1)));
  disk.done.clear();
  disk.failure = {ENOSPC, 0};
  EXPECT_TRUE(is_sense(run(disk, compare_and_write(0, 255), data), sense::space_allocation_failed()));
  disk.done.clear();
  disk.fail_at.reset();
  disk.shrunk_to_bytes = 100 * 4096;
  EXPECT_TRUE(is_sense(run(disk, compare_and_write(0, 255), data), sense::unrecovered_read_error(100)));
  EXPECT_TRUE(disk.bytes == before);
}

TEST(SbcOrWrite, SetsBits) {
  for (const Size size : kSizes) {
    ModelDisk disk(600, size.block_bytes);
    disk.fill(1);
    const Data before = disk.bytes;
    Data wanted = disk.slice(20, size.blocks);
    const Data bits = pattern(wanted.size(), 9);
    std::transform(wanted.begin(), wanted.end(), bits.begin(), wanted.begin(),
                   [](std::byte a, std::byte b) { return a | b; });
    const Outcome outcome = run(disk, cdb16(kOrWrite, 20, size.blocks), bits);
    EXPECT_TRUE(is_good(outcome));
    expect_claimed_once(disk, outcome, 20, size.blocks);
    expect_only(disk, before, 20, wanted);
    EXPECT_EQ(disk.done.back().length_bytes, wanted.size()) << "written as a whole";
  }
}

TEST(SbcOrWrite, AFailedReadLeavesAllAsItWas) {
  ModelDisk disk(1024, 4096);
  disk.fill(1);
  const Data before = disk.bytes;
  const Data bits(1024 * 4096, std::byte{0xFF});
  disk.failure = {EIO, 0};
  disk.fail_at = 7;
  EXPECT_TRUE(is_sense(run(disk, cdb16(kOrWrite, 0, 1024), bits), sense::unrecovered_read_error(7 * 63)));
  EXPECT_TRUE(disk.bytes == before);
}

TEST(SbcOrWrite, RangesAndLengths) {
  ModelDisk disk(100);
  disk.fill(1);
  const Data before = disk.bytes;
  const Data bits(512 * 3, std::byte{0xFF});
  EXPECT_TRUE(is_good(run(disk, cdb16(kOrWrite, 100, 0))));
  EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb16(kOrWrite, 101, 0)), 101));
  EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb16(kOrWrite, 98, 3), bits), 100));
  EXPECT_TRUE(is_invalid_field(run(disk, cdb16(kOrWrite, 0, 3, 0x20), bits), 1, uint8_t{7}));
  EXPECT_TRUE(disk.bytes == before);
  ModelDisk large(kTransferBytesMax / 512 + 1);
  EXPECT_TRUE(is_invalid_field(run(large, cdb16(kOrWrite, 0, kTransferBytesMax / 512 + 1)), 10));
  // As WRITE does it: the blocks that are here, and the residual tells the rest.
  EXPECT_TRUE(is_good(run(disk, cdb16(kOrWrite, 5, 3), std::span(bits).first(1023))));
  expect_only(disk, before, 5, Data(512, std::byte{0xFF}));
}

TEST(SbcWriteAtomic, OneClaimAndOneWrite) {
  for (const uint16_t blocks : {uint16_t{1}, uint16_t{256}, uint16_t{2000}}) {
    ModelDisk disk(4000);
    disk.fill(1);
    const Data before = disk.bytes;
    const Data wanted = pattern(size_t{blocks} * 512, 3);
    const Outcome outcome = run(disk, write_atomic(1, blocks, kFua), wanted);
    EXPECT_TRUE(is_good(outcome));
    expect_claimed_once(disk, outcome, 1, blocks);
    ASSERT_EQ(disk.done.size(), 1U);
    EXPECT_TRUE(disk.done[0].force_unit_access);
    expect_only(disk, before, 1, wanted);
  }
}

TEST(SbcWriteAtomic, WholePhysicalBlocks) {
  ModelDisk disk(400);
  disk.lu.geometry.physical_block_exponent = 3;
  const Data data(512 * 16);
  EXPECT_TRUE(is_good(run(disk, write_atomic(8, 8), data)));
  EXPECT_TRUE(is_good(run(disk, write_atomic(384, 16), data)));
  EXPECT_TRUE(is_good(run(disk, write_atomic(0, 0))));
  EXPECT_TRUE(is_invalid_field(run(disk, write_atomic(1, 8), data), 2));
  EXPECT_TRUE(is_invalid_field(run(disk, write_atomic(8, 1), data), 12));
  EXPECT_TRUE(is_invalid_field(run(disk, write_atomic(8, 12), data), 12));
  EXPECT_TRUE(is_lba_out_of_range(run(disk, write_atomic(408, 0)), 408)) << "the range comes first";
  EXPECT_TRUE(is_lba_out_of_range(run(disk, write_atomic(UINT64_MAX - 7, 8), data), UINT64_MAX - 7));
  disk.lu.geometry.lowest_aligned_lba = 7;
  EXPECT_TRUE(is_good(run(disk, write_atomic(1, 1), data))) << "no unit that could be named";
}

TEST(SbcWriteAtomic, NotAPartOfIt) {
  ModelDisk disk(40);
  disk.fill(1);
  const Data before = disk.bytes;
  EXPECT_TRUE(is_invalid_field(run(disk, write_atomic(1, 2), Data(1023)), 12));
  EXPECT_TRUE(disk.bytes == before);
  disk.fail_at = 0;
  disk.failure = {EIO, 512};
  EXPECT_TRUE(is_sense(run(disk, write_atomic(1, 2), Data(1024)), sense::write_error(2)));
}

TEST(SbcAtomic, ByWayOfDispatch) {
  ModelDisk disk(40);
  LunMap luns;
  luns.units[0] = &disk.lu;
  Nexus nexus(1, {"iqn.a", {}}, &luns);
  nexus.clear(0);
  disk.nexus = &nexus;
  const Data data(1024);
  // Reserved bytes: 10 to 12 of COMPARE AND WRITE, ATOMIC BOUNDARY of WRITE ATOMIC.
  for (const uint16_t byte : {uint16_t{10}, uint16_t{11}, uint16_t{12}, uint16_t{14}}) {
    auto cdb = compare_and_write(0, 1);
    cdb[byte] = 1;
    EXPECT_TRUE(is_invalid_field(run(disk, cdb, data), byte, uint8_t{0}));
  }
  auto cdb = write_atomic(0, 1);
  cdb[11] = 8;
  EXPECT_TRUE(is_invalid_field(run(disk, cdb, data), 11, uint8_t{3}));
  for (const uint8_t byte1 : {uint8_t{0x20}, uint8_t{0x80}}) {
    EXPECT_TRUE(is_invalid_field(run(disk, compare_and_write(0, 1, byte1), data), 1, uint8_t{7}));
    EXPECT_TRUE(is_invalid_field(run(disk, write_atomic(0, 1, byte1), data), 1, uint8_t{7}));
  }
  LuState state = disk.state();
  state.write_protected = true;
  ++state.generation;
  disk.set_state(state);
  for (const auto& refused : {compare_and_write(0, 1), cdb16(kOrWrite, 0, 1), write_atomic(0, 1)}) {
    EXPECT_TRUE(is_sense(run(disk, refused, data), sense::write_protected()));
  }
  EXPECT_TRUE(disk.done.empty());
}

TEST(SbcVerifyClaims, WhatIsComparedAsAWhole) {
  constexpr uint8_t kEveryBlock = 0x02;
  constexpr uint8_t kOneBlock = 0x06;
  ModelDisk disk(2000);
  for (const uint8_t check : {kEveryBlock, kOneBlock}) {
    const Outcome outcome = run(disk, cdb16(0x8F, 10, 1500, check), Data(1500 * 512));
    EXPECT_TRUE(is_good(outcome));
    EXPECT_EQ(outcome.ios, 3U);
    expect_claimed_once(disk, outcome, 10, 1500);
  }
  for (const uint8_t check : {uint8_t{0}, kEveryBlock}) {
    const Outcome outcome = run(disk, cdb16(0x8E, 10, 1500, check), Data(1500 * 512));
    EXPECT_TRUE(is_good(outcome));
    EXPECT_EQ(outcome.ios, 4U);
    expect_claimed_once(disk, outcome, 10, 1500);
  }
}

TEST(SbcVerifyClaims, WhatIsOnlyReadStepByStep) {
  ModelDisk disk(2000);
  const Outcome outcome = run(disk, cdb16(0x8F, 10, 1500));
  EXPECT_TRUE(is_good(outcome));
  ASSERT_EQ(outcome.claims.size(), 3U);
  EXPECT_EQ(outcome.claims[1].ranges[0].lba, 522U);
  EXPECT_EQ(outcome.claims[1].ranges[0].blocks, 512U);
  EXPECT_EQ(outcome.claims[2].ranges[0].lba, 1034U);
  EXPECT_EQ(outcome.claims[2].ranges[0].blocks, 476U);
}

}  // namespace
}  // namespace itgtd::scsi::testing
