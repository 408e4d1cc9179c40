#include <cerrno>

#include "base/endian.h"
#include "tests/scsi/model_disk.h"

namespace itgtd::scsi::testing {
namespace {

constexpr Family kSynchronize{0x35, 0, 0x91};
constexpr Family kPrefetch{0x34, 0, 0x90};

template <typename T>
auto field(const Data& data, size_t at) {
  return load<T>(ConstBytes(data).subspan(at)).get();
}

std::vector<uint8_t> read_capacity16(uint32_t allocation_length, uint64_t lba = 0) {
  return cdb16(0x9E, lba, allocation_length, 0x10);
}

void set_capacity(ModelDisk& disk, uint64_t blocks) {
  LuState state = disk.state();
  state.block_count = blocks;
  disk.set_state(state);
}

// SBC-3 §5.4.
TEST(SbcCapacity, GetLbaStatusCallsEveryBlockMapped) {
  ModelDisk disk(1000);
  const Outcome outcome = run(disk, cdb16(0x9E, 10, 64, 0x12));
  ASSERT_TRUE(is_good(outcome));
  ASSERT_EQ(outcome.data_in.size(), 24U);
  EXPECT_EQ(load<be32>(outcome.data_in).get(), 20U);
  EXPECT_EQ(load<be64>(ConstBytes(outcome.data_in).subspan(8)).get(), 10U);
  EXPECT_EQ(load<be32>(ConstBytes(outcome.data_in).subspan(16)).get(), 990U);
  EXPECT_EQ(load<be32>(ConstBytes(outcome.data_in).subspan(20)).get(), 0U);
  EXPECT_EQ(run(disk, cdb16(0x9E, 10, 9, 0x12)).data_in.size(), 9U);
  EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb16(0x9E, 1000, 64, 0x12)), 1000));
  EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb16(0x9E, ~0ULL, 64, 0x12)), ~0ULL));
}

TEST(SbcCapacity, ReadCapacity10) {
  ModelDisk disk(1000, 4096);
  const Outcome outcome = run(disk, cdb10(0x25, 0, 0));
  ASSERT_TRUE(is_good(outcome));
  ASSERT_EQ(outcome.data_in.size(), 8U);
  EXPECT_EQ(field<be32>(outcome.data_in, 0), 999U);
  EXPECT_EQ(field<be32>(outcome.data_in, 4), 4096U);
}

// SBC-3 §5.15.2.
TEST(SbcCapacity, ReadCapacity10OfALargeMediumSaysAskAgain) {
  ModelDisk disk(8);
  struct {
    uint64_t blocks;
    uint32_t answer;
  } const cases[] = {
      {1, 0},
      {0xFFFF'FFFF, 0xFFFF'FFFE},
      {0x1'0000'0000, 0xFFFF'FFFF},
      {0x1'0000'0001, 0xFFFF'FFFF},
      {uint64_t{1} << 54, 0xFFFF'FFFF},
  };
  for (const auto& [blocks, answer] : cases) {
    set_capacity(disk, blocks);
    EXPECT_EQ(field<be32>(run(disk, cdb10(0x25, 0, 0)).data_in, 0), answer);
    EXPECT_EQ(field<be64>(run(disk, read_capacity16(32)).data_in, 0), blocks - 1);
  }
}

TEST(SbcCapacity, PartialMediumIndicatorAsInSbc2) {
  ModelDisk disk(1000);
  EXPECT_TRUE(is_invalid_field(run(disk, cdb10(0x25, 1, 0)), 2));
  EXPECT_TRUE(is_invalid_field(run(disk, read_capacity16(32, 1)), 2));
  auto cdb = cdb10(0x25, 1, 0);
  cdb[8] = 1;
  EXPECT_EQ(field<be32>(run(disk, cdb).data_in, 0), 999U);
  cdb = read_capacity16(32, 1);
  cdb[14] = 1;
  EXPECT_EQ(field<be64>(run(disk, cdb).data_in, 0), 999U);
}

// iscsi-test-cu ReadCapacity16.Alloclen.
TEST(SbcCapacity, ReadCapacity16IsCutAtTheAllocationLength) {
  ModelDisk disk(1000);
  const Data whole = run(disk, read_capacity16(32)).data_in;
  ASSERT_EQ(whole.size(), 32U);
  for (uint32_t length = 0; length < 32; ++length) {
    const Outcome outcome = run(disk, read_capacity16(length));
    ASSERT_TRUE(is_good(outcome));
    EXPECT_EQ(outcome.data_in, Data(whole.begin(), whole.begin() + length));
  }
  for (const uint32_t length : {33U, 0x1000U, 0xFFFF'FFFFU}) {
    EXPECT_EQ(run(disk, read_capacity16(length)).data_in, whole);
  }
}

TEST(SbcCapacity, ReadCapacity16DescribesTheGeometry) {
  ModelDisk disk(1000);
  Data data = run(disk, read_capacity16(32)).data_in;
  Data expected(32);
  store(Bytes(expected), be64(999));
  store(Bytes(expected).subspan(8), be32(512));
  EXPECT_EQ(data, expected);

  Geometry& geometry = disk.lu.geometry;
  geometry.physical_block_exponent = 3;
  geometry.lowest_aligned_lba = 0x0107;
  data = run(disk, read_capacity16(32)).data_in;
  EXPECT_EQ(data[12], std::byte{0}) << "no protection information";
  EXPECT_EQ(data[13], std::byte{3});
  EXPECT_EQ(field<be16>(data, 14), 0x0107);

  geometry.unmapped_reads_zero = true;
  EXPECT_EQ(field<be16>(run(disk, read_capacity16(32)).data_in, 14), 0x0107) << "LBPRZ without LBPME";
  geometry.thin = true;
  EXPECT_EQ(field<be16>(run(disk, read_capacity16(32)).data_in, 14), 0xC107);
  geometry.unmapped_reads_zero = false;
  EXPECT_EQ(field<be16>(run(disk, read_capacity16(32)).data_in, 14), 0x8107);
}

TEST(SbcCapacity, AMediumWithoutBlocksHasNoLastOne) {
  ModelDisk disk(8);
  set_capacity(disk, 0);
  const Sense expected = sense::not_ready(Asc::manual_intervention_required);
  EXPECT_TRUE(is_sense(run(disk, cdb10(0x25, 0, 0)), expected));
  EXPECT_TRUE(is_sense(run(disk, read_capacity16(32)), expected));
}

TEST(SbcCache, SynchronizesAndTellsFailures) {
  ModelDisk disk(1000);
  // IMMED and SYNC_NV change nothing.
  for (const uint8_t flags : {uint8_t{0}, uint8_t{2}, uint8_t{4}, uint8_t{6}}) {
    for (const auto& [lba, blocks] : {std::pair{0U, 0U}, {0U, 1000U}, {999U, 1U}, {1000U, 0U}, {500U, 0U}}) {
      for (const auto& cdb : cdbs(kSynchronize, lba, blocks, flags)) {
        const size_t before = disk.flushes;
        const Outcome outcome = run(disk, cdb);
        EXPECT_TRUE(is_good(outcome));
        EXPECT_EQ(outcome.phase.direction, DataDirection::none);
        EXPECT_EQ(disk.flushes, before + 1);
        EXPECT_EQ(outcome.ios, 1U);
      }
    }
  }
  disk.failure = {EIO, 0};
  for (const auto& cdb : cdbs(kSynchronize, 0, 0)) {
    disk.fail_at = disk.done.size();
    const Outcome outcome = run(disk, cdb);
    EXPECT_EQ(outcome.done.status, Status::check_condition);
    EXPECT_EQ(outcome.done.sense.key, SenseKey::medium_error);
    EXPECT_EQ(outcome.done.sense.asc, Asc::write_error);
    EXPECT_FALSE(outcome.done.sense.information_valid);
  }
}

TEST(SbcCache, RangesOffTheMediumAreRefused) {
  ModelDisk disk(1000);
  for (const auto& cdb : cdbs(kSynchronize, 1001, 0)) EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb), 1001));
  for (const auto& cdb : cdbs(kSynchronize, 999, 2)) EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb), 1000));
  EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb16(0x91, ~0ULL, 0)), ~0ULL));
  EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb16(0x91, ~0ULL, 0xFFFF'FFFF)), ~0ULL));
  EXPECT_EQ(disk.flushes, 0U);
}

// iscsi-test-cu Prefetch*.Simple, BeyondEol, ZeroBlocks, Flags.
TEST(SbcCache, PrefetchChecksItsRangeAndMovesNothing) {
  ModelDisk disk(1000);
  for (const uint8_t immed : {uint8_t{0}, uint8_t{2}}) {
    for (const uint32_t blocks : {0U, 1U, 256U}) {
      for (const auto& cdb : cdbs(kPrefetch, 1000 - blocks, blocks, immed))
        EXPECT_TRUE(is_good(run(disk, cdb)));
      for (const auto& cdb : cdbs(kPrefetch, 1001, blocks, immed)) {
        EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb), 1001));
      }
      for (const uint64_t lba : {0x8000'0000ULL, 0xFFFF'FFFFULL, 1ULL << 63, ~0ULL}) {
        for (const auto& cdb : cdbs(kPrefetch, lba, blocks, immed)) {
          EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb), lba));
        }
      }
    }
  }
  EXPECT_TRUE(disk.done.empty());
}

}  // namespace
}  // namespace itgtd::scsi::testing
