#include "scsi/sbc_common.h"

#include <algorithm>
#include <cerrno>

#include <cstring>
#include "scsi/rod_tokens.h"

namespace itgtd::scsi::sbc {

namespace {

/// What an errno says about the command, whichever way the data was going.
enum class Cause : uint8_t { medium, no_space, gone, protected_, busy };

Cause cause_of(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return Cause::no_space;
    case ENODEV:
    case ENXIO:
    case ENOMEDIUM:
    case ESHUTDOWN:
      return Cause::gone;
    case EROFS:
    case EPERM:
    case EACCES:
      return Cause::protected_;
    case EAGAIN:
    case ENOMEM:
      return Cause::busy;
    default:
      return Cause::medium;
  }
}

}  // namespace

Sense out_of_range(const Command& command, BlockRange range) {
  return sense::lba_out_of_range(std::max(range.lba, capacity(command)));
}

std::optional<uint64_t> first_difference(ConstBytes a, ConstBytes b) {
  if (std::memcmp(a.data(), b.data(), a.size()) == 0) [[likely]] {
    return std::nullopt;
  }
  const auto [at, unused] = std::mismatch(a.begin(), a.end(), b.begin());
  return static_cast<uint64_t>(at - a.begin());
}

uint64_t data_out_blocks(const Command& command) {
  return std::min(command.data_out_bytes, command.phase.transfer_bytes) / block_bytes(command);
}

std::optional<Update> break_tokens(const Command& command) {
  if (!overlaps_token(*command.lu->state, command.lba, command.blocks_left)) [[likely]]
    return std::nullopt;
  return Update{[](const LuState& state, const Command& writer, const DecideContext&) {
    Decision decision = on_blocks_written(state, writer.lba, writer.blocks_left);
    decision.after = AfterUpdate::resume;
    return decision;
  }};
}

Done io_failed(const Command& command, IoKind kind, uint64_t lba, const IoResult& result) {
  const bool only_looks = kind == IoKind::read || kind == IoKind::extent;
  switch (cause_of(result.error)) {
    case Cause::no_space:
      // SBC-3 §4.7.3.6: a thin medium ran out of blocks.
      if (!only_looks) return check_condition(sense::space_allocation_failed());
      break;
    case Cause::gone:
      // Not HARDWARE ERROR: a multipath initiator takes that for the answer of the disk itself and gives up,
      // while NOT READY is worth another path.
      return check_condition(sense::not_ready(Asc::manual_intervention_required));
    case Cause::protected_:
      if (!only_looks) return check_condition(sense::write_protected());
      break;
    case Cause::busy:
      // Nothing is wrong with the medium; a retry may work. SAM-5 §5.3.1.
      return {Status::busy, {}, 0};
    case Cause::medium:
      break;
  }
  WorkerStatistics& counts = *command.lu->counts;
  (kind == IoKind::read ? counts.read_errors : counts.write_errors).add(1);
  if (kind == IoKind::flush) {
    // It is not known which block was lost, so no INFORMATION.
    Sense sense = sense::write_error(0);
    sense.information_valid = false;
    sense.information = 0;
    return check_condition(sense);
  }
  const uint64_t failing_lba = lba + result.bytes_done / block_bytes(command);
  return check_condition(only_looks ? sense::unrecovered_read_error(failing_lba)
                                    : sense::write_error(failing_lba));
}

}  // namespace itgtd::scsi::sbc
