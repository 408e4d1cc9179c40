// A disk in memory that executes the Io values of the block commands, and a driver that takes a command
// through admit, start and resume as the daemon does.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string_view>
#include <vector>

#include "scsi/command.h"
#include "scsi/command_entry.h"
#include "scsi/logical_unit.h"
#include "scsi/nexus.h"
#include "tests/scsi/carry_out.h"

namespace itgtd::scsi::testing {

using Data = std::vector<std::byte>;

/// `blocks` blocks of memory. Every Io is noted; the one with number `fail_at` ends as `failure` says.
class ModelDisk {
 public:
  explicit ModelDisk(uint64_t blocks, uint32_t block_bytes = 512);

  LogicalUnit lu;
  /// Set: commands come from it by way of dispatch. Null: the rows are called directly.
  Nexus* nexus = nullptr;
  Data bytes;
  std::vector<Io> done;
  size_t flushes = 0;
  std::optional<size_t> fail_at;
  IoResult failure{};
  /// The medium ends here all of a sudden: Io beyond it is short and has no errno.
  std::optional<uint64_t> shrunk_to_bytes;
  /// Lends its bytes to reads that may borrow instead of copying them.
  bool lends = false;
  /// Called before each Io but flushes: others may look at the disk, or run a command, between two steps.
  std::function<void(const Io&)> before_io;

  /// What IoKind::extent tells: blocks that are not there, and how many blocks one answer covers at most.
  std::set<uint64_t> holes;
  uint64_t extent_blocks_max = UINT64_MAX;

  IoResult execute(const Io& io, std::span<const Bytes> command_memory);
  /// Changes the published state, as its writer would.
  void set_state(const LuState& state) { lu.state = std::make_shared<const LuState>(state); }
  [[nodiscard]] LuState state() const { return *lu.state; }
  /// Puts a pattern that differs from block to block all over the medium.
  void fill(uint8_t seed);
  [[nodiscard]] uint32_t block_bytes() const { return lu.geometry.block_bytes; }
  [[nodiscard]] IoResult extent(const Io& io) const;
  [[nodiscard]] Data slice(uint64_t lba, uint64_t blocks) const;
};

/// How a command went.
struct Outcome {
  Done done;
  DataPhase phase;
  uint32_t transfer_bytes_at_end = 0;  ///< which the residual is of
  Data data_in;
  size_t ios = 0;
  std::vector<Claim> claims;
  std::vector<LuState> states;  ///< published on the way
  std::vector<UnitAttentionRaise> unit_attentions;
  std::optional<Done> detached_end;  ///< of what went on after the answer
  [[nodiscard]] bool good() const { return done.status == Status::good; }
};

/// Runs `cdb` to its end. `data_out` is what the initiator announced and sent: it may be less or more than
/// the CDB asks for.
Outcome run(ModelDisk& disk, std::span<const uint8_t> cdb, std::span<const std::byte> data_out = {});

// CDBs.
std::vector<uint8_t> cdb6(uint8_t opcode, uint32_t lba, uint8_t blocks);
std::vector<uint8_t> cdb10(uint8_t opcode, uint32_t lba, uint16_t blocks, uint8_t byte1 = 0);
std::vector<uint8_t> cdb12(uint8_t opcode, uint32_t lba, uint32_t blocks, uint8_t byte1 = 0);
std::vector<uint8_t> cdb16(uint8_t opcode, uint64_t lba, uint32_t blocks, uint8_t byte1 = 0);

/// The same command in every length that has it. opcodes: for 10, 12 and 16 bytes; 0: there is none.
struct Family {
  uint8_t op10 = 0;
  uint8_t op12 = 0;
  uint8_t op16 = 0;
};
/// One CDB per length of `family`; an `lba` beyond 32 bits only with 16 bytes.
std::vector<std::vector<uint8_t>> cdbs(const Family& family, uint64_t lba, uint32_t blocks,
                                       uint8_t byte1 = 0);

Data pattern(size_t bytes, uint8_t seed);

/// Numbers that are the same in every run.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  /// 0 to below - 1.
  uint32_t pick(size_t below) { return static_cast<uint32_t>(engine_() % below); }

 private:
  std::mt19937_64 engine_;
};

// What iscsi-test-cu and the standard expect.
::testing::AssertionResult is_good(const Outcome& outcome);
::testing::AssertionResult is_lba_out_of_range(const Outcome& outcome, uint64_t lba);
::testing::AssertionResult is_invalid_field(const Outcome& outcome, uint16_t byte,
                                            std::optional<uint8_t> bit = {});
::testing::AssertionResult is_sense(const Outcome& outcome, const Sense& sense);

}  // namespace itgtd::scsi::testing
