// A logical unit as one worker sees it.
//
// Identity and geometry limits are fixed for its life. What changes (LuState) is an immutable value that one
// writer publishes: every worker holds a reference to the newest it has been told of.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "scsi/command.h"

namespace itgtd::scsi {

/// Who the logical unit is: INQUIRY, VPD 80h and 83h. Equal on every node and across restarts.
struct LuIdentity {
  std::string vendor;             ///< T10 VENDOR IDENTIFICATION, up to 8 characters
  std::string product;            ///< PRODUCT IDENTIFICATION, up to 16 characters
  std::string revision;           ///< PRODUCT REVISION LEVEL, up to 4 characters
  std::string serial;             ///< VPD 80h
  std::array<uint8_t, 16> naa{};  ///< NAA type 6 designator, by make_naa()
  std::string target_name;        ///< the iSCSI name, for SCSI name string designators
};

/// What the medium can do and how it is laid out.
struct Geometry {
  uint32_t block_bytes = 512;
  uint8_t physical_block_exponent = 0;  ///< LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT
  uint16_t lowest_aligned_lba = 0;
  uint32_t optimal_transfer_bytes = 0;  ///< 0: not reported
  bool thin = false;                    ///< LBPME: unmapped blocks exist
  bool unmapped_reads_zero = false;     ///< LBPRZ
  uint32_t unmap_granularity_bytes = 0;
  uint16_t rotation_rate = 1;  ///< VPD B1h: 0 not reported, 1 non-rotating
};

enum class LuCondition : uint8_t {
  ready,
  not_ready,  ///< the backend is not there: NOT READY, MANUAL INTERVENTION REQUIRED
  stopped,    ///< START STOP UNIT stopped it: NOT READY, INITIALIZING COMMAND REQUIRED
  ejected,    ///< START STOP UNIT with LOEJ on a removable one: MEDIUM NOT PRESENT
};

/// What may change about a logical unit while it serves, the same on all workers. A value: copied, changed,
/// published.
struct LuState {
  uint64_t generation = 0;  ///< grows with every change
  LuCondition condition = LuCondition::ready;
  uint64_t block_count = 0;
  bool write_cache = true;        ///< WCE of the caching mode page
  bool write_protected = false;   ///< SWP of the control mode page, or read_only of the configuration
  bool descriptor_sense = false;  ///< D_SENSE of the control mode page
  NexusId reserved_by = 0;        ///< the nexus that holds a RESERVE(6/10) of SPC-2; 0: none

  bool operator==(const LuState&) const = default;
};

struct LogicalUnit {
  LuIdentity identity;
  Geometry geometry;
  bool removable = false;
  bool read_only = false;           ///< of the configuration: SWP can't be cleared
  bool write_cache_default = true;  ///< of the configuration: the default value of WCE
  uint16_t lun = 0;
  uint64_t key = 0;  ///< names the logical unit across threads, for the life of the daemon
  std::shared_ptr<const LuState> state;
};

/// What a command that needs the medium is told in this condition; NO SENSE when it is ready.
[[nodiscard]] Sense condition_sense(LuCondition condition);

/// The NAA type 6 designator that LIO would give: company id 001405h, then the hexadecimal digits found in
/// `serial` (others are skipped), padded with zeros to 25. Serial "aaaaaaa0" gives
/// 6001405aaaaaaa000000000000000000.
[[nodiscard]] std::array<uint8_t, 16> make_naa(std::string_view serial);

/// Which LUNs a target has. Index is the LUN; null: there is none.
struct LunMap {
  std::array<LogicalUnit*, kLunsPerTargetMax> units{};
};

/// The decision that makes `next` the state after `before`, one generation on; no state when nothing differs.
/// The command that asked ends with GOOD unless the caller says otherwise.
Decision publish(const LuState& before, LuState next);

// Changes that no command asks for, decided by the writer.

/// LOGICAL UNIT RESET or a target reset, asked for by `nexus`: releases SPC-2 reservations, starts nothing,
/// raises BUS DEVICE RESET OCCURRED (29h/03h) for all. SAM-5 §6.3.3.
Decision on_logical_unit_reset(const LuState& state, NexusId nexus);
/// The nexus is gone: its SPC-2 reservation goes with it. SAM-5 §6.3.4.
Decision on_nexus_loss(const LuState& state, NexusId nexus);
/// The medium has this many blocks now: CAPACITY DATA HAS CHANGED for all.
Decision on_capacity_change(const LuState& state, uint64_t block_count);
/// The backend came or went.
Decision on_condition_change(const LuState& state, LuCondition condition);

}  // namespace itgtd::scsi
