// A SCSI command and the three pure calls that run it.
//
//   admit   at header time: which command is this, how many bytes move which way, may it run now
//   start   the data-out is here (or there is none): either Done, or the first thing to be done elsewhere
//   resume  what was asked for has been done: again Done, or the next thing
//
// None of them waits, calls out, reads a clock or allocates. What must happen elsewhere is returned as a
// value:
//   Io      a transfer between the command's memory and the logical unit's medium; a backend executes it
//   Update  a change of what all workers share about the logical unit (reservation, mode page, start/stop);
//           the one writer of that state decides it, publishes it to every worker, and only then the command
//           goes on
//   Claim   blocks that no other command, on any worker, may touch until this one is over
// COMPARE AND WRITE is a Claim and two Io, RESERVE is one Update.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "scsi/initiator_port.h"
#include "scsi/limits.h"
#include "scsi/sense.h"

namespace itgtd::scsi {

struct CommandEntry;
struct LogicalUnit;
struct LuState;
class Nexus;

/// Names an I_T nexus for the life of the daemon: never reused. 0: none.
using NexusId = uint64_t;

enum class DataDirection : uint8_t { none, in, out };  // in: to the initiator

/// What a command moves and borrows.
struct DataPhase {
  DataDirection direction = DataDirection::none;
  /// Bytes that the CDB asks for (allocation length, transfer length * block size, parameter list length).
  uint32_t transfer_bytes = 0;
  /// Memory that the command needs beside them. At most kScratchBytesMax.
  uint32_t scratch_bytes = 0;
};

/// One command in flight. The transport owns it and the memory that it borrows, from admit() to Done.
struct Command {
  std::array<uint8_t, 16> cdb{};
  Nexus* nexus = nullptr;
  /// The unit whose medium the next Io is of, and whose state the next Update changes. Null: the LUN does not
  /// exist; the few commands that must answer all the same do. A copy between logical units sets it from step
  /// to step, each time anew by Nexus::find(): a unit may be removed between two steps.
  LogicalUnit* lu = nullptr;
  /// Set by admit(): the decoded LUN (scsi/dispatch.h), whether it exists or not.
  uint16_t lun = 0;
  /// Set by admit().
  const CommandEntry* entry = nullptr;
  DataPhase phase;

  /// The transfer buffer, phase.transfer_bytes long. For data-in the command fills it; whatever it does not
  /// report in Done::data_in_bytes is never sent. For data-out it holds what the initiator sent.
  Bytes data;
  /// Data-out bytes that arrived: less than phase.transfer_bytes when the initiator announced less than the
  /// CDB asks for.
  uint32_t data_out_bytes = 0;
  /// What the transport's header announced in all (RFC 7143 §11.3.4): may be more than the CDB asks for.
  uint32_t expected_data_transfer_length = 0;
  /// phase.scratch_bytes long; aligned to 4 KiB.
  Bytes scratch;
  /// Not null: the data-in stands here and not in `data` (IoResult::borrowed). Never written to.
  const std::byte* borrowed = nullptr;

  // Where a command of several steps stands; only the command's own functions read these.
  uint64_t lba = 0;
  uint64_t blocks_left = 0;
  uint32_t stage = 0;

  /// A part of the data-in, for the transport to send.
  [[nodiscard]] ConstBytes data_in(size_t offset_bytes, size_t length_bytes) const {
    if (borrowed != nullptr) return {borrowed + offset_bytes, length_bytes};
    return data.subspan(offset_bytes, length_bytes);
  }
};

/// The command is over.
struct Done {
  Status status = Status::good;
  /// Valid when status is CHECK CONDITION.
  Sense sense;
  /// Bytes of Command::data to send.
  uint32_t data_in_bytes = 0;
};

enum class IoKind : uint8_t {
  read,    ///< medium -> data
  write,   ///< data -> medium
  flush,   ///< all that was written before is durable when this is done
  extent,  ///< how the medium holds the range: IoResult::mapped for its first IoResult::bytes_done bytes
  unmap,   ///< the range may be given back to the medium; it reads as zeros where the medium promises that
  write_zeroes,  ///< the range reads as zeros
};

/// A transfer that a backend executes. Offsets and lengths are bytes of the medium, whole logical blocks.
struct Io {
  IoKind kind = IoKind::read;
  /// With write and write_zeroes: durable before it is done.
  bool force_unit_access = false;
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
  /// Memory for read and write: length_bytes from here, within the command's data or scratch.
  std::byte* data = nullptr;
  /// With read, true exactly when the command sends the bytes on as they are and does not look at them
  /// itself: the backend may name memory of its own (IoResult::borrowed) and leave `data` alone.
  bool may_borrow = false;
};

/// How an Io ended: an errno (0: all of length_bytes was done) and how many bytes were done before it.
struct IoResult {
  int error = 0;
  uint64_t bytes_done = 0;
  /// Only where Io::may_borrow allows it, else null: all of length_bytes stand here. Constant, for the life
  /// of the process.
  const std::byte* borrowed = nullptr;
  /// Of IoKind::extent: false exactly when the medium holds nothing there, and it reads as zeros.
  bool mapped = true;
};

/// Blocks of one logical unit.
struct ClaimedRange {
  uint64_t lu_key = 0;  ///< LogicalUnit::key
  uint64_t lba = 0;
  uint64_t blocks = 0;

  [[nodiscard]] bool overlaps(const ClaimedRange& other) const {
    return lu_key == other.lu_key && blocks != 0 && other.blocks != 0 && lba < other.end() &&
           other.lba < end();
  }
  [[nodiscard]] uint64_t end() const { return blocks > UINT64_MAX - lba ? UINT64_MAX : lba + blocks; }
};

/// The command needs these blocks for itself: resume() is called when no other command touches them and none
/// can begin to. They are free again when the command is over, or with its next Claim. Whose start() answers
/// a Claim has kClaims in its row, and does all its Io under claims: it is never waited for otherwise.
/// Waiting for claims is in the order in which they were asked for, so a command asks for all it needs in
/// one.
struct Claim {
  std::array<ClaimedRange, 2> ranges;
  uint8_t count = 1;
};

/// A unit attention to be queued: for whom, and what.
struct UnitAttentionRaise {
  enum class Scope : uint8_t {
    all,
    all_but,  ///< `nexus`
    only,     ///< `nexus`
    port,     ///< whoever logs in as `port`
  };
  Scope scope = Scope::all;
  NexusId nexus = 0;
  Asc asc = Asc::none;
  InitiatorPort port = {};
};

/// How a command goes on after its Update.
enum class AfterUpdate : uint8_t {
  done,    ///< it ends with Decision::done
  resume,  ///< resume() with an IoResult without an error
  /// A copy of it goes on, by resume(), without an initiator: nexus null, data empty, scratch as it is. It
  /// has no answer, nobody can abort it, and it makes no Claim: the state that was just published keeps
  /// others away. The command itself ends with Decision::done now (IMMED).
  detach,
  detach_and_wait,  ///< likewise, and the command ends as the copy does
};

/// What the writer of the shared state made of an Update. A null state: nothing changes.
struct Decision {
  /// Two owners by design: the writer, and every worker that has taken it. Immutable once published.
  std::shared_ptr<const LuState> state;
  std::vector<UnitAttentionRaise> unit_attentions;
  /// Commands of these ports on the logical unit are ended before the answer: PREEMPT AND ABORT.
  std::vector<InitiatorPort> abort;
  /// What the command that asked ends with, once every worker has taken the state.
  Done done;
  AfterUpdate after = AfterUpdate::done;
  /// Data-in that only the writer knows: copied to Command::data, cut to its length, and Done::data_in_bytes
  /// is set to what was copied.
  std::vector<std::byte> data_in;
};

/// A nexus with the target that a logical unit belongs to.
struct KnownNexus {
  NexusId id = 0;
  InitiatorPort port;
};

/// What a decision may depend on beside state and command.
struct DecideContext {
  NexusId nexus = 0;     ///< who asks; 0: a detached command
  uint64_t time_ms = 0;  ///< since 1970-01-01 UTC
  /// Who is logged in to the target that the command came through.
  std::span<const KnownNexus> nexuses = {};
  /// Bytes that nobody can guess, others for each decision.
  std::array<std::byte, 16> random{};
};

/// Decides one change. Runs on the writer's thread; `command` is frozen meanwhile and only read.
using Decide = Decision(const LuState& state, const Command& command, const DecideContext& context);

/// The command wants the shared state changed.
struct Update {
  Decide* decide = nullptr;
};

using Step = std::variant<Done, Io, Update, Claim>;

/// What admit() says: the command may go on with this data phase, or is over before it began.
using Admission = std::variant<DataPhase, Done>;

using Admit = Admission(Command& command);
using Start = Step(Command& command);
using Resume = Step(Command& command, const IoResult& result);
using Aborted = void(Command& command);

[[nodiscard]] inline Done good(uint32_t data_in_bytes = 0) {
  return {Status::good, {}, data_in_bytes};
}
[[nodiscard]] inline Done check_condition(const Sense& sense) {
  return {Status::check_condition, sense, 0};
}

}  // namespace itgtd::scsi
