// The work of a third-party copy, whichever command asked for it: extents, copied chunk by chunk through the
// command's scratch memory.
//
// A command builds the plan, in the first page of its scratch, and hands what comes back to on_copied() until
// the copy has Ended. For each chunk: both ranges are claimed, both units looked up anew and asked whether
// the nexus may use them, then the source is read and the destination written. So a reservation, a removal or
// a stop that comes in the meantime ends the copy at the next chunk, and readers and writers of other blocks
// never wait. Tokens that stand for the blocks of the destination are taken away before it is written.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <variant>

#include "base/bytes.h"
#include "base/endian.h"
#include "scsi/command.h"
#include "scsi/limits.h"
#include "scsi/logical_unit.h"
#include "scsi/rod_tokens.h"

namespace itgtd::scsi {

/// A logical unit as it was when the copy began. Another one may have its LUN by now.
struct CopyUnit {
  be16 lun;
  be64 key;
};

struct CopyExtent {
  uint8_t source = 0;  ///< index of the unit, or kCopyZeros
  uint8_t destination = 0;
  be32 blocks;
  be64 source_lba;
  be64 destination_lba;
};

/// The source of an extent that becomes zeros.
inline constexpr uint8_t kCopyZeros = 0xFF;

inline constexpr size_t kCopyUnitsMax = kCopyTargetsMax + 1;  // CSCD FFFFh is one more
inline constexpr size_t kCopyExtentsMax = 127;

struct CopyPlan {
  enum class Phase : uint8_t { claiming, breaking_tokens, reading, writing };

  Phase phase = Phase::claiming;
  uint8_t units_count = 0;
  uint8_t extents_count = 0;
  uint8_t extent = 0;  ///< the one under way; those before it are done
  be32 done;           ///< blocks of it that are done
  be32 block_bytes;    ///< of all units
  be64 blocks;         ///< that were copied, in all
  be64 ticket;         ///< of CopyResults; 0: the copy has no list identifier
  be64 sent_to;        ///< key of the unit that the command was sent to
  /// After the last extent the copy fails at `failed_field` of the segment descriptor after those that the
  /// extents are of.
  uint8_t fails = 0;
  be16 failed_asc;
  be16 failed_field;
  /// One: the copy goes on only while the source of its extents has this token.
  uint8_t has_token = 0;
  RodTokenId token{};
  std::array<CopyUnit, kCopyUnitsMax> units;
  std::array<CopyExtent, kCopyExtentsMax> extents;
};

/// The plan's place in front of the scratch memory; chunks go behind it, aligned as it is.
inline constexpr uint32_t kCopyPlanBytes = 4096;
static_assert(WireStruct<CopyPlan> && sizeof(CopyPlan) <= kCopyPlanBytes);
static_assert(kCopyPlanBytes < kScratchBytesMax);

[[nodiscard]] inline CopyPlan& copy_plan(Command& command) {
  return *view<CopyPlan>(command.scratch);
}
[[nodiscard]] inline const CopyPlan& copy_plan(const Command& command) {
  return *view<CopyPlan>(ConstBytes(command.scratch));
}

/// The copy is over.
struct CopyEnded {
  /// What the unit that it failed at would have told its own initiator. Nothing: all extents are done.
  std::optional<Done> failure;
  /// The same, for the initiator of the copy.
  Asc asc = Asc::none;
};
using CopyStep = std::variant<CopyEnded, Io, Update, Claim>;

/// An empty plan, for a command that was sent to command.lu.
void begin_plan(Command& command);
/// The index of `lu` among the plan's units; known ones are not added again. There must be room.
[[nodiscard]] uint8_t plan_unit(CopyPlan& plan, const LogicalUnit& lu);
/// There must be room. The blocks are on the media now.
void plan_extent(CopyPlan& plan, const CopyExtent& extent);

/// The first step of the plan.
[[nodiscard]] CopyStep copy_next(Command& command);
/// The next one, when a step of it is done. command.lu is whatever the step needs.
[[nodiscard]] CopyStep on_copied(Command& command, const IoResult& result);
/// The plan's unit `index`; null: it is gone.
[[nodiscard]] LogicalUnit* find_unit(const Command& command, uint8_t index);
/// The command was aborted after its start(): whoever asks is told so.
void end_aborted_copy(Command& command);
/// Makes command.lu the unit that the command was sent to again, null when it is gone.
void return_home(Command& command);

}  // namespace itgtd::scsi
