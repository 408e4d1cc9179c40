#include <array>
#include <cerrno>

#include "scsi/dispatch.h"
#include "tests/scsi/model_disk.h"

namespace itgtd::scsi::testing {
namespace {

constexpr Family kRead{0x28, 0xA8, 0x88};
constexpr Family kWrite{0x2A, 0xAA, 0x8A};
constexpr uint8_t kDpo = 0x10;
constexpr uint8_t kFua = 0x08;

// iscsi-test-cu Read10.Simple, Read12.Simple, Read16.Simple: 1 to 256 blocks at both ends.
TEST(SbcRead, ReadsBothEndsOfTheMedium) {
  ModelDisk disk(1000);
  disk.fill(1);
  for (uint32_t blocks = 1; blocks <= 256; ++blocks) {
    for (const uint64_t lba : {uint64_t{0}, 1000 - uint64_t{blocks}}) {
      for (const auto& cdb : cdbs(kRead, lba, blocks)) {
        const Outcome outcome = run(disk, cdb);
        ASSERT_TRUE(is_good(outcome));
        EXPECT_EQ(outcome.ios, 1U);
        EXPECT_EQ(outcome.data_in, disk.slice(lba, blocks));
      }
    }
  }
}

// What the medium lends is what is sent; a short read of it is an error all the same.
TEST(SbcRead, MayBorrow) {
  ModelDisk disk(1000);
  disk.fill(1);
  disk.lends = true;
  for (const uint8_t byte1 : {uint8_t{0}, kFua}) {
    for (const auto& cdb : cdbs(kRead, 7, 100, byte1)) {
      const Outcome outcome = run(disk, cdb);
      ASSERT_TRUE(is_good(outcome));
      EXPECT_EQ(outcome.data_in, disk.slice(7, 100));
      EXPECT_TRUE(disk.done.back().may_borrow);
    }
  }
  disk.shrunk_to_bytes = 8 * 512;
  EXPECT_EQ(run(disk, cdb10(0x28, 7, 2)).done.status, Status::check_condition);
}

// iscsi-test-cu Read6.Simple, and SBC-2: a length of zero is 256 blocks.
TEST(SbcRead, Read6OfZeroBlocksIs256) {
  ModelDisk disk(300);
  disk.fill(2);
  for (const uint32_t blocks : {1U, 2U, 255U}) {
    const Outcome outcome = run(disk, cdb6(0x08, 300 - blocks, static_cast<uint8_t>(blocks)));
    ASSERT_TRUE(is_good(outcome));
    EXPECT_EQ(outcome.data_in, disk.slice(300 - blocks, blocks));
  }
  const Outcome outcome = run(disk, cdb6(0x08, 44, 0));
  ASSERT_TRUE(is_good(outcome));
  EXPECT_EQ(outcome.data_in, disk.slice(44, 256));
  EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb6(0x08, 45, 0)), 300));
}

// Bits 5 to 7 of byte 1 are not part of the 21 bits of address.
TEST(SbcRead, Read6AddressHas21Bits) {
  ModelDisk disk(10);
  auto cdb = cdb6(0x08, 3, 1);
  cdb[1] = 0xE0;
  EXPECT_EQ(run(disk, cdb).data_in, disk.slice(3, 1));
  // iscsi-test-cu Read6.BeyondEol.
  for (uint32_t blocks = 1; blocks <= 255; ++blocks) {
    EXPECT_TRUE(
        is_lba_out_of_range(run(disk, cdb6(0x08, 0x1F'FFFF, static_cast<uint8_t>(blocks))), 0x1F'FFFF));
  }
}

TEST(SbcWrite, Write6) {
  ModelDisk disk(300);
  const Data data = pattern(256 * 512, 7);
  EXPECT_TRUE(is_good(run(disk, cdb6(0x0A, 44, 0), data)));
  EXPECT_EQ(disk.slice(44, 256), data);
  EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb6(0x0A, 299, 2), data), 300));
}

// iscsi-test-cu *.BeyondEol, for reads and writes.
TEST(SbcReadWrite, BeyondTheEndIsOutOfRange) {
  ModelDisk disk(1000);
  disk.fill(3);
  const Data before = disk.bytes;
  const Data data = pattern(256 * 512, 9);
  for (const Family& family : {kRead, kWrite}) {
    for (uint32_t blocks = 1; blocks <= 256; ++blocks) {
      for (const auto& cdb : cdbs(family, 1001 - blocks, blocks)) {
        EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb, data), 1000));
      }
      for (const uint64_t lba : {0x8000'0000ULL, 0xFFFF'FFFFULL}) {
        for (const auto& cdb : cdbs(family, lba, blocks)) {
          EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb, data), lba));
        }
      }
      for (const uint64_t lba : {1ULL << 32, 1ULL << 63, ~0ULL, ~0ULL - blocks, ~0ULL - blocks + 1}) {
        EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb16(family.op16, lba, blocks), data), lba));
      }
      if (blocks > 1) {
        for (const auto& cdb : cdbs(family, 999, blocks)) {
          EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb, data), 1000));
        }
      }
    }
  }
  EXPECT_EQ(disk.bytes, before);
  EXPECT_TRUE(disk.done.empty());
}

// iscsi-test-cu *.ZeroBlocks.
TEST(SbcReadWrite, ZeroBlocks) {
  ModelDisk disk(1000);
  for (const Family& family : {kRead, kWrite}) {
    for (const uint64_t lba : {uint64_t{0}, uint64_t{999}, uint64_t{1000}}) {
      for (const auto& cdb : cdbs(family, lba, 0)) {
        const Outcome outcome = run(disk, cdb);
        EXPECT_TRUE(is_good(outcome));
        EXPECT_EQ(outcome.ios, 0U);
        EXPECT_EQ(outcome.phase.transfer_bytes, 0U);
      }
    }
    for (const uint64_t lba : {1001ULL, 0x8000'0000ULL, 0xFFFF'FFFFULL, 1ULL << 32, 1ULL << 63, ~0ULL}) {
      for (const auto& cdb : cdbs(family, lba, 0)) EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb), lba));
    }
  }
}

// iscsi-test-cu *.ReadProtect, *.WriteProtect.
TEST(SbcReadWrite, ProtectionIsRefused) {
  ModelDisk disk(1000);
  const Data data(512);
  for (const Family& family : {kRead, kWrite}) {
    for (uint32_t protect = 1; protect < 8; ++protect) {
      for (const auto& cdb : cdbs(family, 0, 1, static_cast<uint8_t>(protect << 5))) {
        EXPECT_TRUE(is_invalid_field(run(disk, cdb, data), 1, uint8_t{7}));
      }
    }
  }
  EXPECT_TRUE(disk.done.empty());
}

TEST(SbcReadWrite, TransfersAreBounded) {
  for (const uint32_t block_bytes : {512U, 4096U}) {
    const uint32_t most = kTransferBytesMax / block_bytes;
    ModelDisk disk(most + 10, block_bytes);
    disk.fill(4);
    for (const auto& cdb : cdbs(kRead, 1, most)) {
      const Outcome outcome = run(disk, cdb);
      ASSERT_TRUE(is_good(outcome));
      EXPECT_EQ(outcome.data_in.size(), kTransferBytesMax);
    }
    for (const Family& family : {kRead, kWrite}) {
      EXPECT_TRUE(is_invalid_field(run(disk, cdb10(family.op10, 1, static_cast<uint16_t>(most + 1))), 7));
      EXPECT_TRUE(is_invalid_field(run(disk, cdb12(family.op12, 1, most + 1)), 6));
      EXPECT_TRUE(is_invalid_field(run(disk, cdb16(family.op16, 1, most + 1)), 10));
    }
  }
}

// A length that wraps at 32 bits when it is made bytes.
TEST(SbcReadWrite, LengthsDoNotWrap) {
  ModelDisk disk(8);
  LuState state = disk.state();
  state.block_count = ~0ULL / 512;
  disk.set_state(state);
  for (const uint32_t blocks : {0x80'0000U, 0x80'0001U, 0xFFFF'FFFFU}) {
    EXPECT_TRUE(is_invalid_field(run(disk, cdb16(0x88, 0, blocks)), 10));
    EXPECT_TRUE(is_invalid_field(run(disk, cdb16(0x8A, 0, blocks)), 10));
  }
}

// The arithmetic at the far end of a medium of 2^55 blocks: the last byte offset is still 64 bits.
TEST(SbcReadWrite, TheFarEnd) {
  ModelDisk disk(8);
  LuState state = disk.state();
  state.block_count = uint64_t{1} << 54;
  disk.set_state(state);
  Command command;
  const auto cdb = cdb16(0x88, (uint64_t{1} << 54) - 2, 2);
  std::copy(cdb.begin(), cdb.end(), command.cdb.begin());
  command.lu = &disk.lu;
  const CommandEntry* row = find_command(0x88, 0);
  command.phase = std::get<DataPhase>(row->admit(command));
  Data data(command.phase.transfer_bytes);
  command.data = data;
  const Step step = row->start(command);
  const Io& io = std::get<Io>(step);
  EXPECT_EQ(io.offset_bytes, (uint64_t{1} << 63) - 1024);
  EXPECT_EQ(io.length_bytes, 1024U);
  EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb16(0x88, (uint64_t{1} << 54) - 2, 3)), uint64_t{1} << 54));
}

TEST(SbcWrite, ForceUnitAccess) {
  ModelDisk disk(10);
  const Data data(512);
  for (const uint8_t byte1 : {uint8_t{0}, kDpo, kFua, uint8_t{kDpo | kFua}}) {
    for (const auto& cdb : cdbs(kWrite, 1, 1, byte1)) {
      ASSERT_TRUE(is_good(run(disk, cdb, data)));
      EXPECT_EQ(disk.done.back().force_unit_access, (byte1 & kFua) != 0);
    }
  }
  // Address bits of WRITE(6) where others have FUA.
  EXPECT_TRUE(is_lba_out_of_range(run(disk, cdb6(0x0A, 0x08'0001, 1), data), 0x08'0001));
}

TEST(SbcWrite, WriteCacheOffMakesEveryWriteDurable) {
  ModelDisk disk(10);
  LuState state = disk.state();
  state.write_cache = false;
  disk.set_state(state);
  const Data data(512);
  ASSERT_TRUE(is_good(run(disk, cdb6(0x0A, 1, 1), data)));
  EXPECT_TRUE(disk.done.back().force_unit_access);
  for (const auto& cdb : cdbs(kWrite, 1, 1)) {
    ASSERT_TRUE(is_good(run(disk, cdb, data)));
    EXPECT_TRUE(disk.done.back().force_unit_access);
  }
}

// SBC-3 §4.15: a READ with FUA sees what is on the medium, so the cache goes there first.
TEST(SbcRead, ForceUnitAccessFlushesFirst) {
  ModelDisk disk(10);
  disk.fill(5);
  for (const auto& cdb : cdbs(kRead, 1, 2, kFua | kDpo)) {
    disk.done.clear();
    const Outcome outcome = run(disk, cdb);
    ASSERT_TRUE(is_good(outcome));
    ASSERT_EQ(disk.done.size(), 2U);
    EXPECT_EQ(disk.done[0].kind, IoKind::flush);
    EXPECT_EQ(disk.done[1].kind, IoKind::read);
    EXPECT_EQ(outcome.data_in, disk.slice(1, 2));
  }
  EXPECT_EQ(run(disk, cdb10(0x28, 1, 2, kDpo)).ios, 1U);
  LuState state = disk.state();
  state.write_cache = false;
  disk.set_state(state);
  EXPECT_EQ(run(disk, cdb10(0x28, 1, 2, kFua)).ios, 1U) << "nothing is in a volatile cache then";
}

// iscsi-test-cu iSCSIResiduals.Write*: less announced than the CDB asks for.
TEST(SbcWrite, WritesTheWholeBlocksThatCame) {
  for (const auto& cdb : cdbs(kWrite, 1, 2)) {
    ModelDisk disk(10);
    const Data data = pattern(1024, 3);
    const Data zeros(512);
    const std::span all(data);
    EXPECT_EQ(run(disk, cdb, all.first(0)).ios, 0U);
    EXPECT_EQ(run(disk, cdb, all.first(200)).ios, 0U);
    EXPECT_TRUE(is_good(run(disk, cdb, all.first(200))));
    EXPECT_EQ(disk.bytes, Data(10 * 512));
    EXPECT_TRUE(is_good(run(disk, cdb, all.first(1023))));
    EXPECT_EQ(disk.slice(1, 1), Data(data.begin(), data.begin() + 512));
    EXPECT_EQ(disk.slice(2, 1), zeros);
    EXPECT_TRUE(is_good(run(disk, cdb, all)));
    EXPECT_EQ(disk.slice(1, 2), data);
  }
}

// More announced than the CDB asks for: only the CDB's blocks are written.
TEST(SbcWrite, WritesNoMoreThanTheCdbSays) {
  ModelDisk disk(10);
  const Data data = pattern(1024, 3);
  EXPECT_TRUE(is_good(run(disk, cdb10(0x2A, 1, 1), data)));
  EXPECT_EQ(disk.slice(2, 1), Data(512));
}

struct Failure {
  int error;
  Done read;
  Done write;
};

TEST(SbcReadWrite, ErrnosBecomeSense) {
  const Done busy{Status::busy, {}, 0};
  const Done gone = check_condition(sense::not_ready(Asc::manual_intervention_required));
  // The third block fails.
  const Done bad_read = check_condition(sense::unrecovered_read_error(6));
  const Done bad_write = check_condition(sense::write_error(6));
  const Failure failures[] = {
      {EIO, bad_read, bad_write},
      {ETIMEDOUT, bad_read, bad_write},
      {EILSEQ, bad_read, bad_write},
      {EINVAL, bad_read, bad_write},
      {EFBIG, bad_read, bad_write},
      {ENOSPC, bad_read, check_condition(sense::space_allocation_failed())},
      {EDQUOT, bad_read, check_condition(sense::space_allocation_failed())},
      {EROFS, bad_read, check_condition(sense::write_protected())},
      {EPERM, bad_read, check_condition(sense::write_protected())},
      {ENODEV, gone, gone},
      {ENXIO, gone, gone},
      {ENOMEDIUM, gone, gone},
      {EAGAIN, busy, busy},
      {ENOMEM, busy, busy},
      // No errno, yet not all was done: the file behind the LUN shrank.
      {0, bad_read, bad_write},
  };
  const Data data(4 * 512);
  for (const Failure& failure : failures) {
    ModelDisk disk(10);
    disk.failure = {failure.error, 2 * 512 + 100};
    for (const auto& [family, expected] :
         {std::pair{kRead, failure.read}, std::pair{kWrite, failure.write}}) {
      for (const auto& cdb : cdbs(family, 4, 4)) {
        disk.fail_at = disk.done.size();
        const Outcome outcome = run(disk, cdb, data);
        EXPECT_EQ(outcome.done.status, expected.status) << failure.error;
        EXPECT_EQ(outcome.done.sense, expected.sense) << failure.error;
        EXPECT_EQ(outcome.done.data_in_bytes, 0U) << "old memory must not leave";
      }
    }
  }
}

TEST(SbcRead, AFailedFlushEndsAForcedRead) {
  ModelDisk disk(10);
  disk.fail_at = 0;
  disk.failure = {EIO, 0};
  const Outcome outcome = run(disk, cdb10(0x28, 4, 1, kFua));
  EXPECT_EQ(outcome.done.sense.asc, Asc::write_error);
  EXPECT_FALSE(outcome.done.sense.information_valid);
  EXPECT_EQ(outcome.ios, 1U);
}

TEST(SbcRead, AShrunkenMediumGivesAnErrorAndNoOldMemory) {
  ModelDisk disk(10);
  disk.shrunk_to_bytes = 5 * 512;
  EXPECT_TRUE(is_good(run(disk, cdb10(0x28, 4, 1))));
  EXPECT_TRUE(is_sense(run(disk, cdb10(0x28, 4, 2)), sense::unrecovered_read_error(5)));
  EXPECT_TRUE(is_sense(run(disk, cdb10(0x28, 7, 2)), sense::unrecovered_read_error(7)));
}

// Random reads and writes of every length against an array of bytes.
TEST(SbcReadWrite, BehavesLikeAnArray) {
  Random random(20170101);
  for (const uint32_t block_bytes : {512U, 4096U}) {
    ModelDisk disk(400, block_bytes);
    Data model(disk.bytes.size());
    for (int i = 0; i < 1500; ++i) {
      const uint32_t lba = random.pick(410);
      const uint32_t blocks = random.pick(40);
      const bool write = random.pick(2) == 0;
      const auto choices = cdbs(write ? kWrite : kRead, lba, blocks, random.pick(4) == 0 ? kFua : uint8_t{0});
      const auto& cdb = choices[random.pick(choices.size())];
      const Data data = pattern(size_t{blocks} * block_bytes, static_cast<uint8_t>(random.pick(256)));
      const Outcome outcome = run(disk, cdb, data);
      if (lba > 400 || lba + blocks > 400) {
        ASSERT_TRUE(is_lba_out_of_range(outcome, std::max(lba, 400U)));
        continue;
      }
      ASSERT_TRUE(is_good(outcome));
      const auto at = model.begin() + static_cast<std::ptrdiff_t>(size_t{lba} * block_bytes);
      if (write) {
        std::copy(data.begin(), data.end(), at);
      } else {
        ASSERT_EQ(outcome.data_in, Data(at, at + static_cast<std::ptrdiff_t>(data.size())));
      }
    }
    EXPECT_EQ(disk.bytes, model);
  }
}

TEST(SbcReadWrite, RowsSayWhatTheCommandsAre) {
  for (const CommandEntry& row : sbc_read_write_commands()) {
    const bool writes = row.name.starts_with("WRITE");
    EXPECT_EQ(row.direction, writes ? DataDirection::out : DataDirection::in) << row.name;
    EXPECT_EQ(row.reservation, writes ? ReservationClass::write : ReservationClass::read) << row.name;
    EXPECT_EQ(row.flags, writes ? kWritesMedium | kOneRange : kOneRange) << row.name;
    EXPECT_EQ(row.cdb_usage[0], row.opcode) << row.name;
    // iscsi-test-cu *.DpoFua: DPO and FUA are reported as evaluated.
    EXPECT_EQ(row.cdb_usage[1], row.cdb_bytes == 6 ? 0x1F : 0xF8) << row.name;
    EXPECT_EQ(row.cdb_usage[row.cdb_bytes - 1U], 0) << "CONTROL of " << row.name;
    for (size_t i = row.cdb_bytes; i < 16; ++i) EXPECT_EQ(row.cdb_usage[i], 0) << row.name;
  }
}

}  // namespace
}  // namespace itgtd::scsi::testing
