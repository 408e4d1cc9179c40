// A logical unit as one worker sees it.
//
// Identity and geometry limits are fixed for its life. What changes (LuState) is an immutable value that one
// writer publishes: every worker holds a reference to the newest it has been told of.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "scsi/command.h"
#include "scsi/mode_parameters.h"
#include "scsi/persistent_reservations.h"
#include "scsi/port_groups.h"
#include "scsi/statistics.h"

namespace itgtd::scsi {

struct RodTokens;       // scsi/rod_tokens.h
struct EndedRodTokens;  // scsi/rod_tokens.h

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
  not_ready,        ///< the backend is not there: NOT READY, MANUAL INTERVENTION REQUIRED
  stopped,          ///< START STOP UNIT stopped it: NOT READY, INITIALIZING COMMAND REQUIRED
  ejected,          ///< START STOP UNIT with LOEJ on a removable one: MEDIUM NOT PRESENT
  formatting,       ///< FORMAT UNIT goes on: NOT READY, FORMAT IN PROGRESS, with LuState::progress
  format_failed,    ///< it was not finished: MEDIUM FORMAT CORRUPTED, until a FORMAT UNIT is
  sanitizing,       ///< SANITIZE goes on: NOT READY, SANITIZE IN PROGRESS, with LuState::progress
  sanitize_failed,  ///< it was not finished: SANITIZE COMMAND FAILED, until one is or EXIT FAILURE MODE
};

/// How full the medium under a thin logical unit is, in its blocks.
struct ThinUsage {
  bool known = false;
  uint64_t used_blocks = 0;       ///< by this unit
  uint64_t available_blocks = 0;  ///< for this unit and whoever shares the medium
  bool operator==(const ThinUsage&) const = default;
};

/// What may change about a logical unit while it serves, the same on all workers. A value: copied, changed,
/// published.
struct LuState {
  uint64_t generation = 1;  ///< grows with every change
  LuCondition condition = LuCondition::ready;
  uint16_t progress = 0;  ///< PROGRESS INDICATION of what `condition` says goes on: parts of 65536
  /// Of the SANITIZE that `condition` says goes on or failed, AUSE: EXIT FAILURE MODE leaves its failure.
  bool sanitize_may_be_left = false;
  uint64_t block_count = 0;
  uint32_t start_stop_cycles = 0;   ///< starts by START STOP UNIT of what it had stopped, since the daemon's
  bool write_cache = true;          ///< WCE of the caching mode page
  bool write_cache_default = true;  ///< of the configuration: the default value of WCE
  bool write_protected = false;     ///< SWP of the control mode page; beside LogicalUnit::read_only
  bool descriptor_sense = false;    ///< D_SENSE of the control mode page
  InformationalExceptions exceptions;
  ThinThresholds thresholds;
  NexusId reserved_by = 0;  ///< the nexus that holds a RESERVE(6/10) of SPC-2; 0: none
  /// Null: nobody has ever registered. Each state that differs in nothing else shares it.
  std::shared_ptr<const PersistentReservations> reservations;
  /// Null: one group, active/optimized.
  std::shared_ptr<const PortGroups> port_groups;
  /// Tokens that stand for blocks as they are: a write to such a block waits until on_blocks_written() has
  /// taken them away. Null: there are none.
  std::shared_ptr<const RodTokens> tokens;
  /// Tokens that ended, and why. Null: none did.
  std::shared_ptr<const EndedRodTokens> ended_tokens;
  std::vector<NexusId> removal_prevented_by;       ///< PREVENT ALLOW MEDIUM REMOVAL; ascending
  int64_t timestamp_offset_ms = 0;                 ///< SET TIMESTAMP: what was set, less the clock then
  bool timestamp_was_set = false;                  ///< TIMESTAMP ORIGIN: by SET TIMESTAMP, else by the clock
  std::vector<std::byte> identifying_information;  ///< SET IDENTIFYING INFORMATION, type 0
  std::vector<std::byte> identifying_text;         ///< type 2: a name for people, UTF-8
  std::vector<std::byte> saved_mode_pages;         ///< whole pages, as MODE SELECT saved them last
  ThinUsage thin_usage;

  bool operator==(const LuState&) const = default;
};

struct LogicalUnit {
  LuIdentity identity;
  Geometry geometry;
  bool removable = false;
  bool read_only = false;          ///< of the configuration: SWP can't be cleared
  bool keeps_reservations = true;  ///< what must outlive the daemon does: APTPL is granted
  uint16_t lun = 0;
  uint64_t key = 0;                   ///< names the logical unit across threads, for the life of the daemon
  uint16_t relative_target_port = 1;  ///< the port that this unit is seen through
  uint16_t port_group = 1;            ///< and the group of it, in LuState::port_groups
  std::shared_ptr<const LuState> state;
  /// Owners: every worker's unit, and the control thread. Each worker has an element of its own.
  std::shared_ptr<LuStatistics> statistics = std::make_shared<LuStatistics>(1);
  WorkerStatistics* counts = statistics->of_worker.data();  ///< this worker's
};

/// True exactly when FORMAT UNIT or SANITIZE goes on: nothing but itself ends this condition.
[[nodiscard]] constexpr bool is_being_rewritten(LuCondition condition) {
  return condition == LuCondition::formatting || condition == LuCondition::sanitizing;
}
/// True exactly when FORMAT UNIT or SANITIZE did not come to its end: not even a START STOP UNIT ends it.
[[nodiscard]] constexpr bool is_left_unfinished(LuCondition condition) {
  return condition == LuCondition::format_failed || condition == LuCondition::sanitize_failed;
}

/// What a command that needs the medium is told in this condition; NO SENSE when it is ready.
[[nodiscard]] Sense condition_sense(const LuState& state);

/// The state of the group that `lu` is seen through.
[[nodiscard]] AccessState access_state(const LogicalUnit& lu);

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

/// LOGICAL UNIT RESET or a target reset, asked for by `nexus`: releases SPC-2 reservations, allows medium
/// removal, makes saved mode values current, starts nothing, raises BUS DEVICE RESET OCCURRED (29h/03h) for
/// all. SAM-5 §6.3.3.
Decision on_logical_unit_reset(const LuState& state, NexusId nexus);
/// The nexus is gone: its SPC-2 reservation and what it prevents go with it. SAM-5 §6.3.4.
Decision on_nexus_loss(const LuState& state, NexusId nexus);
/// The medium has this many blocks now: CAPACITY DATA HAS CHANGED for all.
Decision on_capacity_change(const LuState& state, uint64_t block_count);
/// The device of a unit that had none is there, and the unit is in `condition` from now on.
Decision on_medium_attached(const LuState& state, LuCondition condition, uint64_t block_count,
                            const ThinUsage& usage);
/// The configuration says otherwise than before whether WCE is set: for now and by default.
Decision on_write_cache_configured(const LuState& state, bool write_cache);

}  // namespace itgtd::scsi
