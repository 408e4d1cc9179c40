// Writing the whole medium anew: what SANITIZE and FORMAT UNIT have in common.
//
// A claim over everything lets what is under way finish. Then the logical unit is told to be in the condition
// that says what goes on, which keeps all other commands away whatever happens to the session that asked; a
// copy of the command goes on without an initiator, piece by piece. It publishes its progress now and then,
// and at the end the condition that follows.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/endian.h"
#include "scsi/command.h"
#include "scsi/logical_unit.h"

namespace itgtd::scsi::sbc {

/// What stands on the medium after it.
enum class Fill : uint8_t {
  pattern,  ///< the pattern, from the first byte of each block on
  zeroes,
  unmapped,  ///< zeros, and what can be is given back to the medium
};

/// Wire struct because it stands in the command's scratch memory.
struct Rewrite {
  Fill fill = Fill::zeroes;
  uint8_t passes = 1;  ///< each one durable before the next one begins
  /// Not 0: from pass to pass the pattern is inverted, so that the last one leaves it as given.
  uint8_t invert = 0;
  uint8_t immediate = 0;  ///< not 0: the command ends when the work begins
  LuCondition goes_on = LuCondition::formatting;
  LuCondition failed = LuCondition::format_failed;
  uint8_t may_be_left = 0;  ///< becomes LuState::sanitize_may_be_left
  /// Where it stands.
  uint8_t passes_done = 0;
  be16 progress_told;
};
static_assert(sizeof(Rewrite) == 10 && WireStruct<Rewrite>);

/// Whether what is then in condition `goes_on` may begin in condition `now`. SANITIZE also leads out of a
/// format that failed, FORMAT UNIT does not lead out of a failed SANITIZE.
[[nodiscard]] constexpr bool may_begin_rewrite(LuCondition now, LuCondition goes_on) {
  return now == LuCondition::ready || now == LuCondition::format_failed ||
         (now == LuCondition::sanitize_failed && goes_on == LuCondition::sanitizing);
}

/// DataPhase::scratch_bytes of a command that does this.
[[nodiscard]] uint32_t rewrite_scratch_bytes(const Command& command, Fill fill);

/// What start() answers. `pattern`, not longer than a block, is for Fill::pattern, and may stand in
/// Command::data.
[[nodiscard]] Step start_rewrite(Command& command, const Rewrite& rewrite, ConstBytes pattern);
/// The row's resume().
[[nodiscard]] Step resume_rewrite(Command& command, const IoResult& result);

}  // namespace itgtd::scsi::sbc
