#include <algorithm>
#include <cerrno>

#include "tests/scsi/model_disk.h"

namespace itgtd::scsi::testing {
namespace {

constexpr Family kVerify{0x2F, 0xAF, 0x8F};
constexpr Family kWriteVerify{0x2E, 0xAE, 0x8E};
constexpr uint8_t kDpo = 0x10;
constexpr uint8_t kMediumOnly = 0x00;
constexpr uint8_t kEveryBlock = 0x02;
constexpr uint8_t kReserved = 0x04;
constexpr uint8_t kOneBlock = 0x06;

uint16_t length_byte(const std::vector<uint8_t>& cdb) {
  return cdb.size() == 10 ? 7 : cdb.size() == 12 ? 6 : 10;
}

// iscsi-test-cu Verify*.Simple, Verify*.Mismatch, Verify*.MismatchNoCmp, at both ends.
TEST(SbcVerify, ComparesEveryBlock) {
  Random random(1);
  ModelDisk disk(1000);
  disk.fill(1);
  for (uint32_t blocks = 1; blocks <= 256; blocks += blocks < 8 ? 1 : 31) {
    for (const uint64_t lba : {uint64_t{0}, 1000 - uint64_t{blocks}}) {
      Data data = disk.slice(lba, blocks);
      for (const auto& cdb : cdbs(kVerify, lba, blocks, kEveryBlock)) {
        EXPECT_TRUE(is_good(run(disk, cdb, data)));
      }
      for (const uint32_t at : {0U, random.pick(data.size()), blocks * 512 - 1}) {
        data[at] ^= std::byte{'X'};
        for (const auto& cdb : cdbs(kVerify, lba, blocks, kEveryBlock)) {
          EXPECT_TRUE(is_sense(run(disk, cdb, data), sense::miscompare(at)));
        }
        for (const auto& cdb : cdbs(kVerify, lba, blocks, kMediumOnly)) {
          EXPECT_TRUE(is_good(run(disk, cdb, data))) << "no comparison was asked for";
        }
        data[at] ^= std::byte{'X'};
      }
    }
  }
}

// More than the scratch memory holds: the offset counts from the start of the data, not of a step.
TEST(SbcVerify, WorksInSteps) {
  for (const uint32_t block_bytes : {512U, 4096U}) {
    ModelDisk disk(kTransferBytesMax / block_bytes, block_bytes);
    disk.fill(2);
    const auto blocks = static_cast<uint32_t>(disk.bytes.size() / block_bytes);
    Data data = disk.bytes;
    const auto cdb = cdb16(0x8F, 0, blocks, kEveryBlock);
    const Outcome outcome = run(disk, cdb, data);
    EXPECT_TRUE(is_good(outcome));
    EXPECT_EQ(outcome.ios, kTransferBytesMax / kScratchBytesMax);
    EXPECT_EQ(outcome.phase.scratch_bytes, kScratchBytesMax);
    for (const size_t at : {size_t{kScratchBytesMax} - 1, size_t{kScratchBytesMax}, data.size() - 1}) {
      data[at] ^= std::byte{1};
      EXPECT_TRUE(is_sense(run(disk, cdb, data), sense::miscompare(at)));
      data[at] ^= std::byte{1};
    }
  }
}

TEST(SbcVerify, ComparesOneBlockWithAll) {
  ModelDisk disk(2000);
  const Data block = pattern(512, 9);
  for (size_t i = 100; i < 1900; ++i) {
    std::copy(block.begin(), block.end(), disk.bytes.begin() + static_cast<std::ptrdiff_t>(i * 512));
  }
  for (const auto& cdb : cdbs(kVerify, 100, 1800, kOneBlock)) {
    const Outcome outcome = run(disk, cdb, block);
    EXPECT_TRUE(is_good(outcome));
    EXPECT_EQ(outcome.phase.transfer_bytes, 512U);
    EXPECT_GT(outcome.ios, 1U);
  }
  disk.bytes[1899 * 512 + 300] ^= std::byte{1};
  for (const auto& cdb : cdbs(kVerify, 100, 1800, kOneBlock)) {
    EXPECT_TRUE(is_sense(run(disk, cdb, block), sense::miscompare(300)));
  }
}

// iscsi-test-cu Verify*.ZeroBlocks.
TEST(SbcVerify, ZeroBlocks) {
  ModelDisk disk(1000);
  for (const Family& family : {kVerify, kWriteVerify}) {
    for (const uint8_t check : {kMediumOnly, kEveryBlock, kOneBlock}) {
      if (family.op10 == kWriteVerify.op10 && check == kOneBlock) continue;
      for (const uint64_t lba : {uint64_t{0}, uint64_t{1000}}) {
        for (const auto& cdb : cdbs(family, lba, 0, check)) {
          const Outcome outcome = run(disk, cdb);
          EXPECT_TRUE(is_good(outcome));
          EXPECT_EQ(outcome.ios, 0U);
          EXPECT_EQ(outcome.phase.direction, DataDirection::none);
        }
      }
      for (const uint64_t lba : {1001ULL, 0x8000'0000ULL, 0xFFFF'FFFFULL, 1ULL << 63, ~0ULL}) {
        for (const auto& cdb : cdbs(family, lba, 0, check)) {
          EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb), lba));
        }
      }
    }
  }
}

// iscsi-test-cu Verify*.BeyondEol, WriteVerify*.BeyondEol.
TEST(SbcVerify, BeyondTheEndIsOutOfRange) {
  ModelDisk disk(1000);
  for (const Family& family : {kVerify, kWriteVerify}) {
    for (const uint8_t check : {kMediumOnly, kEveryBlock}) {
      for (const uint32_t blocks : {1U, 2U, 256U}) {
        for (const auto& cdb : cdbs(family, 1001 - blocks, blocks, check)) {
          EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb), 1000));
        }
        for (const uint64_t lba : {0x8000'0000ULL, 0xFFFF'FFFFULL, 1ULL << 63, ~0ULL}) {
          for (const auto& cdb : cdbs(family, lba, blocks, check)) {
            EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb), lba));
          }
        }
      }
    }
  }
  EXPECT_TRUE(disk.done.empty());
}

// iscsi-test-cu Verify*.VerifyProtect, WriteVerify*.WriteProtect, Verify*.Dpo, Verify*.Flags.
TEST(SbcVerify, FieldsOfTheCdb) {
  ModelDisk disk(10);
  disk.fill(3);
  const Data data = disk.slice(0, 1);
  for (const Family& family : {kVerify, kWriteVerify}) {
    for (uint32_t protect = 1; protect < 8; ++protect) {
      for (const auto& cdb : cdbs(family, 0, 1, static_cast<uint8_t>(protect << 5))) {
        EXPECT_TRUE(is_invalid_field(run(disk, cdb, data), 1, uint8_t{7}));
      }
    }
    for (const auto& cdb : cdbs(family, 0, 1, kReserved)) {
      EXPECT_TRUE(is_invalid_field(run(disk, cdb, data), 1, uint8_t{2}));
    }
    for (const uint8_t byte1 : {uint8_t{kDpo}, uint8_t{kDpo | kEveryBlock}, uint8_t{kEveryBlock}}) {
      for (const auto& cdb : cdbs(family, 0, 1, byte1)) EXPECT_TRUE(is_good(run(disk, cdb, data)));
    }
  }
  for (const auto& cdb : cdbs(kWriteVerify, 0, 1, kOneBlock)) {
    EXPECT_TRUE(is_invalid_field(run(disk, cdb, data), 1, uint8_t{2}));
  }
}

TEST(SbcVerify, RangesAreBounded) {
  ModelDisk disk(8);
  LuState state = disk.state();
  state.block_count = uint64_t{1} << 40;
  disk.set_state(state);
  const uint32_t transfer_max = kTransferBytesMax / 512;
  for (const auto& cdb : cdbs(kVerify, 0, transfer_max + 1, kEveryBlock)) {
    EXPECT_TRUE(is_invalid_field(run(disk, cdb), length_byte(cdb)));
  }
  for (const auto& cdb : cdbs(kWriteVerify, 0, transfer_max + 1, kEveryBlock)) {
    EXPECT_TRUE(is_invalid_field(run(disk, cdb), length_byte(cdb)));
  }
  const uint32_t range_max = (256U << 20) / 512;
  for (const uint8_t check : {kMediumOnly, kOneBlock}) {
    for (const uint32_t blocks : {range_max + 1, 0xFFFF'FFFFU}) {
      for (const auto& cdb : cdbs(kVerify, 0, blocks, check)) {
        EXPECT_TRUE(is_invalid_field(run(disk, cdb), length_byte(cdb)));
      }
    }
  }
}

// Every VERIFY(10) is within the bounds.
TEST(SbcVerify, ALongRangeOfTheMediumIsRead) {
  ModelDisk disk(65535);
  const Outcome outcome = run(disk, cdb10(0x2F, 0, 65535));
  EXPECT_TRUE(is_good(outcome));
  EXPECT_EQ(outcome.ios, 128U);
  uint64_t at = 0;
  for (const Io& io : disk.done) {
    EXPECT_EQ(io.kind, IoKind::read);
    EXPECT_EQ(io.offset_bytes, at);
    at += io.length_bytes;
  }
  EXPECT_EQ(at, disk.bytes.size());
}

TEST(SbcVerify, TooLittleDataIsRefused) {
  ModelDisk disk(10);
  disk.fill(4);
  const Data data = disk.slice(0, 2);
  for (const size_t bytes : {size_t{0}, size_t{200}, size_t{512}, size_t{1023}}) {
    for (const auto& cdb : cdbs(kVerify, 0, 2, kEveryBlock)) {
      EXPECT_TRUE(is_invalid_field(run(disk, cdb, std::span(data).first(bytes)), length_byte(cdb)));
    }
  }
  for (const auto& cdb : cdbs(kVerify, 0, 2, kOneBlock)) {
    EXPECT_TRUE(is_invalid_field(run(disk, cdb, std::span(data).first(511)), length_byte(cdb)));
  }
  EXPECT_TRUE(disk.done.empty());
}

TEST(SbcVerify, AnErrorAtEachStepNamesItsBlock) {
  ModelDisk disk(2048);  // four steps
  disk.fill(5);
  const Data data = disk.bytes;
  for (size_t step = 0; step < 4; ++step) {
    disk.done.clear();
    disk.fail_at = step;
    disk.failure = {EIO, 3 * 512};
    EXPECT_TRUE(is_sense(run(disk, cdb16(0x8F, 0, 2048, kEveryBlock), data),
                         sense::unrecovered_read_error(step * 512 + 3)));
    disk.done.clear();
    EXPECT_TRUE(is_sense(run(disk, cdb16(0x8F, 0, 2048)), sense::unrecovered_read_error(step * 512 + 3)));
  }
  disk.fail_at.reset();
  disk.shrunk_to_bytes = 600 * 512;
  EXPECT_TRUE(is_sense(run(disk, cdb16(0x8F, 0, 2048)), sense::unrecovered_read_error(600)));
}

// iscsi-test-cu WriteVerify*.Simple.
TEST(SbcWriteVerify, WritesDurablyThenReads) {
  for (const uint8_t check : {kMediumOnly, kEveryBlock}) {
    for (const auto& cdb : cdbs(kWriteVerify, 10, 1024, check)) {
      ModelDisk disk(2000);
      const Data data = pattern(1024 * 512, 6);
      ASSERT_TRUE(is_good(run(disk, cdb, data)));
      EXPECT_EQ(disk.slice(10, 1024), data);
      ASSERT_EQ(disk.done.size(), 3U);
      EXPECT_EQ(disk.done[0].kind, IoKind::write);
      EXPECT_TRUE(disk.done[0].force_unit_access);
      EXPECT_EQ(disk.done[1].kind, IoKind::read);
      EXPECT_EQ(disk.done[2].offset_bytes, (10 + 512) * 512U);
    }
  }
}

// iscsi-test-cu iSCSIResiduals.WriteVerify*.
TEST(SbcWriteVerify, WritesTheWholeBlocksThatCame) {
  for (const auto& cdb : cdbs(kWriteVerify, 1, 2, kEveryBlock)) {
    ModelDisk disk(10);
    const Data data = pattern(1024, 3);
    EXPECT_TRUE(is_good(run(disk, cdb, std::span(data).first(0))));
    EXPECT_TRUE(is_good(run(disk, cdb, std::span(data).first(200))));
    EXPECT_EQ(disk.bytes, Data(10 * 512));
    EXPECT_TRUE(is_good(run(disk, cdb, std::span(data).first(512))));
    EXPECT_EQ(disk.slice(1, 1), Data(data.begin(), data.begin() + 512));
    EXPECT_EQ(disk.slice(2, 1), Data(512));
  }
}

TEST(SbcWriteVerify, FailuresOfEitherHalf) {
  ModelDisk disk(2000);
  const Data data = pattern(1024 * 512, 6);
  const auto cdb = cdb16(0x8E, 10, 1024, kEveryBlock);
  disk.failure = {EIO, 2 * 512};
  disk.fail_at = 0;
  EXPECT_TRUE(is_sense(run(disk, cdb, data), sense::write_error(12)));
  disk.done.clear();
  disk.fail_at = 2;
  EXPECT_TRUE(is_sense(run(disk, cdb, data), sense::unrecovered_read_error(10 + 512 + 2)));
  disk.done.clear();
  disk.fail_at = 0;
  disk.failure = {ENOSPC, 0};
  EXPECT_TRUE(is_sense(run(disk, cdb, data), sense::space_allocation_failed()));
}

// A medium that loses a write and says that it did it.
TEST(SbcWriteVerify, ALostWriteIsAMiscompare) {
  ModelDisk disk(2000);
  const Data data = pattern(1024 * 512, 6);
  disk.fail_at = 0;
  disk.failure = {0, data.size()};
  EXPECT_TRUE(
      is_sense(run(disk, cdb16(0x8E, 10, 1024, kEveryBlock), data),
               sense::miscompare(static_cast<uint64_t>(
                   std::find_if(data.begin(), data.end(), [](std::byte b) { return b != std::byte{0}; }) -
                   data.begin()))));
}

TEST(SbcVerify, RowsSayWhatTheCommandsAre) {
  for (const CommandEntry& row : sbc_verify_commands()) {
    const bool writes = row.name.starts_with("WRITE");
    EXPECT_EQ(row.reservation, writes ? ReservationClass::write : ReservationClass::read) << row.name;
    EXPECT_EQ(row.flags, writes ? kWritesMedium | kClaims : kClaims) << row.name;
    EXPECT_EQ(row.cdb_usage[0], row.opcode) << row.name;
    EXPECT_EQ(row.cdb_usage[1], 0xF6) << row.name;
    EXPECT_EQ(row.cdb_usage[row.cdb_bytes - 1U], 0) << "CONTROL of " << row.name;
  }
}

}  // namespace
}  // namespace itgtd::scsi::testing
