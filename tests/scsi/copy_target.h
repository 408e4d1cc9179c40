// A target with several disks in memory and two nexuses, and a driver that takes a copy command through all
// its steps as the daemon does.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "scsi/copy_list.h"
#include "scsi/copy_plan.h"
#include "scsi/nexus.h"
#include "tests/scsi/model_disk.h"

namespace itgtd::scsi::testing {

using Wire = std::vector<uint8_t>;

/// What a test says of a segment; `Xcopy` makes bytes of it.
struct Segment {
  uint16_t source = 0;
  uint16_t destination = 0;
  uint16_t blocks = 0;
  uint64_t source_lba = 0;
  uint64_t destination_lba = 0;
};

/// Builds the parameter list of EXTENDED COPY.
struct Xcopy {
  uint8_t list_identifier = 1;
  uint8_t flags = 0;
  std::vector<CscdDescriptor> cscds;
  std::vector<BlockToBlockSegment> segments;

  Xcopy& cscd(const LogicalUnit& lu);
  Xcopy& segment(const Segment& segment);
  [[nodiscard]] Wire list() const;
};

/// How a command went.
struct CopyOutcome {
  Done done;
  Wire data_in;
  size_t steps = 0;
  std::vector<Claim> claims;
  bool ended = true;  ///< false: it was left where `stop_at` said
  [[nodiscard]] bool good() const { return done.status == Status::good; }
};

class CopyTarget : public ::testing::Test {
 protected:
  static constexpr uint64_t kBlocks = 2048;

  /// Disk i is LUN i, key 100 + i. Both nexuses see all of them.
  explicit CopyTarget(size_t disks = 3, uint32_t block_bytes = 512);

  /// A key that no disk has, and a unit for it that exists without being mapped.
  std::unique_ptr<ModelDisk> make_disk(uint16_t lun, uint64_t key, uint32_t block_bytes);
  ModelDisk& disk(size_t index) { return *disks[index]; }
  LogicalUnit& unit(size_t index) { return disks[index]->lu; }

  CopyOutcome run(Nexus& from, uint16_t lun, const Wire& cdb, const Wire& data_out = {});
  CopyOutcome run(const Wire& cdb, const Wire& data_out = {}) { return run(nexus, 0, cdb, data_out); }
  CopyOutcome xcopy(const Wire& list) { return xcopy(nexus, 0, list); }
  CopyOutcome xcopy(Nexus& from, uint16_t lun, const Wire& list);
  CopyOutcome copy_status(uint8_t list_identifier) { return receive(0x00, list_identifier); }
  CopyOutcome receive(uint8_t service_action, uint8_t list_identifier, uint32_t allocation_length = 1024);

  std::vector<std::unique_ptr<ModelDisk>> disks;
  LunMap luns;
  LunMap other_luns;
  Nexus nexus;
  Nexus other;
  uint64_t time_ms = 1'700'000'000'000;
  uint64_t random = 0;  ///< what the last decision got: each gets another
  /// Called before each step is carried out: what others do in the meantime.
  std::function<void(const Step&)> before_step;
  /// The command is aborted when it has done so many steps.
  std::optional<size_t> stop_at;

 private:
  Done carry_out(Command& command, Step step, CopyOutcome& outcome);
  IoResult execute(const Command& command, const Io& io, const CopyOutcome& outcome);
  void decide(Command& command, const Update& update, std::optional<Done>& done);
};

::testing::AssertionResult is_good(const CopyOutcome& outcome);
::testing::AssertionResult is_sense(const CopyOutcome& outcome, const Sense& sense);

void append(Wire& to, ConstBytes bytes);
template <WireStruct T>
void append(Wire& to, const T& value) {
  append(to, bytes_of(value));
}

}  // namespace itgtd::scsi::testing
