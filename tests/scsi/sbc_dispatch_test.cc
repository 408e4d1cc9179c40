// The block commands by way of dispatch: what their rows keep out.
#include <algorithm>
#include <bit>
#include <cerrno>

#include "scsi/dispatch.h"
#include "tests/scsi/model_disk.h"

namespace itgtd::scsi::testing {
namespace {

class SbcDispatch : public ::testing::Test {
 protected:
  SbcDispatch() : disk(1000), nexus(1, {"iqn.a", {}}, &luns), other(2, {"iqn.b", {}}, &luns) {
    luns.units[0] = &disk.lu;
    nexus.clear(0);
    other.clear(0);
    disk.nexus = &nexus;
  }

  /// Every row of the block commands.
  static std::vector<const CommandEntry*> rows() {
    std::vector<const CommandEntry*> all;
    for (const auto family :
         {sbc_capacity_commands(), sbc_read_write_commands(), sbc_cache_commands(), sbc_verify_commands(),
          sbc_provisioning_commands(), sbc_atomic_commands(), sbc_defect_commands()}) {
      for (const CommandEntry& row : family) all.push_back(&row);
    }
    return all;
  }
  /// The row's CDB with nothing set: LBA 0, and 0 or (READ(6), WRITE(6)) 256 blocks.
  static std::vector<uint8_t> plain_cdb(const CommandEntry& row) {
    std::vector<uint8_t> cdb(row.cdb_bytes);
    cdb[0] = row.opcode;
    if (row.service_action != kNoServiceAction) cdb[1] = static_cast<uint8_t>(row.service_action);
    return cdb;
  }

  ModelDisk disk;
  LunMap luns;
  Nexus nexus;
  Nexus other;
};

TEST_F(SbcDispatch, EveryRowIsInTheTable) {
  disk.lu.geometry.thin = true;
  EXPECT_EQ(rows().size(), 8U + 3U + 4U + 6U + 3U + 3U + 2U);
  const Data block(512 * 256);
  for (const CommandEntry* row : rows()) {
    EXPECT_EQ(find_command(row->opcode, row->service_action == kNoServiceAction ? 0 : row->service_action),
              row);
    EXPECT_TRUE(
        is_good(run(disk, plain_cdb(*row), std::span(block).first(row->cdb_bytes == 6 ? 256 * 512 : 512))))
        << row->name;
  }
}

// SPC-4 §4.5.2.4.2: each bit that a row does not allow is refused, and named.
TEST_F(SbcDispatch, ReservedBitsAreNamed) {
  disk.lu.geometry.thin = true;
  for (const CommandEntry* row : rows()) {
    for (uint16_t byte = 1; byte < row->cdb_bytes; ++byte) {
      for (uint8_t bit = 0; bit < 8; ++bit) {
        const bool service_action = row->service_action != kNoServiceAction && byte == 1 && bit < 5;
        if (((row->cdb_usage[byte] >> bit) & 1) != 0 || service_action) continue;
        auto cdb = plain_cdb(*row);
        cdb[byte] = static_cast<uint8_t>(cdb[byte] | (1U << bit));
        EXPECT_TRUE(is_invalid_field(run(disk, cdb), byte, bit)) << row->name << " byte " << byte;
      }
    }
  }
  EXPECT_TRUE(disk.done.empty());
}

TEST_F(SbcDispatch, AWriteProtectedMediumIsNotWritten) {
  disk.lu.geometry.thin = true;
  LuState state = disk.state();
  state.write_protected = true;
  disk.set_state(state);
  const Data block(512 * 256);
  size_t refused = 0;
  for (const CommandEntry* row : rows()) {
    const Outcome outcome = run(disk, plain_cdb(*row), block);
    if ((row->flags & kWritesMedium) != 0) {
      EXPECT_TRUE(is_sense(outcome, sense::write_protected())) << row->name;
      ++refused;
    } else {
      EXPECT_TRUE(is_good(outcome)) << row->name;
    }
  }
  EXPECT_EQ(refused, 4U + 3U + 3U + 3U);
  for (const Io& io : disk.done) {
    EXPECT_TRUE(io.kind == IoKind::read || io.kind == IoKind::flush || io.kind == IoKind::extent);
  }
}

// SBC-3 §4.7.3.6: whichever command it is that finds a thin medium full.
TEST_F(SbcDispatch, OutOfSpaceIsDataProtect) {
  disk.lu.geometry.thin = true;
  size_t writers = 0;
  for (const CommandEntry* row : rows()) {
    if ((row->flags & kWritesMedium) == 0 || row->name == "UNMAP") continue;
    ++writers;
    auto cdb = plain_cdb(*row);
    // The low byte of the number of blocks.
    const size_t count_at = row->cdb_bytes == 6    ? 4
                            : row->cdb_bytes == 10 ? 8
                            : row->cdb_bytes == 12 ? 9
                                                   : 13;
    cdb[count_at] = 1;
    const Data block(row->name == "COMPARE AND WRITE" ? 1024 : 512);
    disk.done.clear();
    disk.fail_at.reset();
    ASSERT_TRUE(is_good(run(disk, cdb, block))) << row->name;
    const auto first_write =
        std::ranges::find_if(disk.done, [](const Io& io) { return io.kind != IoKind::read; });
    ASSERT_NE(first_write, disk.done.end()) << row->name;
    disk.fail_at = static_cast<size_t>(first_write - disk.done.begin());
    disk.failure = {ENOSPC, 0};
    disk.done.clear();
    EXPECT_TRUE(is_sense(run(disk, cdb, block), sense::space_allocation_failed())) << row->name;
  }
  EXPECT_EQ(writers, 4U + 3U + 2U + 3U);
}

TEST_F(SbcDispatch, NothingRunsWithoutAMedium) {
  LuState state = disk.state();
  state.condition = LuCondition::not_ready;
  disk.set_state(state);
  for (const CommandEntry* row : rows()) {
    EXPECT_TRUE(is_sense(run(disk, plain_cdb(*row)), sense::not_ready(Asc::manual_intervention_required)))
        << row->name;
  }
}

TEST_F(SbcDispatch, AReservationKeepsAllOfThemOut) {
  LuState state = disk.state();
  state.reserved_by = other.id();
  disk.set_state(state);
  for (const CommandEntry* row : rows()) {
    EXPECT_EQ(run(disk, plain_cdb(*row)).done.status, Status::reservation_conflict) << row->name;
  }
  disk.nexus = &other;
  EXPECT_TRUE(is_good(run(disk, cdb10(0x28, 0, 1))));
}

// Whatever 16 bytes come, a command ends, and stays within its memory and the medium (the driver checks).
TEST_F(SbcDispatch, AnyCdbEnds) {
  Random random(99);
  disk.lu.geometry.thin = true;
  disk.lu.geometry.unmapped_reads_zero = true;
  const auto all = rows();
  const Data data = pattern(size_t{1} << 20, 1);
  size_t good = 0;
  for (int i = 0; i < 20'000; ++i) {
    const CommandEntry& row = *all[random.pick(all.size())];
    auto cdb = plain_cdb(row);
    // A service action stays what it is.
    for (size_t byte = row.service_action == kNoServiceAction ? 1 : 2; byte < cdb.size(); ++byte) {
      // Mostly what the row allows, and small numbers often enough to get through.
      const uint8_t bits = random.pick(16) == 0 ? uint8_t{0xFF} : row.cdb_usage[byte];
      if (random.pick(3) == 0) cdb[byte] = static_cast<uint8_t>(cdb[byte] | (random.pick(256) & bits));
    }
    const Outcome outcome = run(disk, cdb, std::span(data).first(random.pick(data.size())));
    if (outcome.good()) ++good;
    disk.done.clear();
  }
  EXPECT_GT(good, 1000U);
}

}  // namespace
}  // namespace itgtd::scsi::testing
