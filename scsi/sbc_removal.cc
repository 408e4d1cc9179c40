// PREVENT ALLOW MEDIUM REMOVAL, SBC-3. What it prevents is checked by START STOP UNIT (spc_basic.cc).
#include <algorithm>
#include <array>

#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/dispatch.h"
#include "scsi/logical_unit.h"
#include "scsi/nexus.h"

namespace itgtd::scsi {
namespace {

constexpr size_t kPreventByte = 4;
constexpr unsigned kPreventBit = 0;

bool prevents(const Command& command) {
  return cdb_bit(command, kPreventByte, kPreventBit);
}

Admission admit_prevent_allow(Command& command) {
  // SPC-4 table 65, SPC-2 table 10: allowing conflicts with no reservation, preventing does.
  if (prevents(command)) {
    const std::optional<Done> refused =
        check_unit(*command.nexus, *command.lu, ReservationClass::write, command.entry->flags);
    if (refused) return *refused;
  }
  return DataPhase{};
}

/// SBC-3, PREVENT ALLOW MEDIUM REMOVAL: each nexus prevents for itself, and removal is allowed when none does
/// any more. A unit whose medium can't be removed keeps the same list, and it has no effect.
Decision decide_prevent_allow(const LuState& state, const Command& command, const DecideContext& context) {
  LuState next = state;
  std::vector<NexusId>& by = next.removal_prevented_by;
  std::erase(by, context.nexus);
  if (prevents(command)) by.push_back(context.nexus);
  std::ranges::sort(by);  // the same nexuses in the same order are the same state
  return publish(state, next);
}

Step start_prevent_allow(Command& /*command*/) {
  return Update{decide_prevent_allow};
}

constexpr std::array kCommands = {
    // The higher bit of PREVENT is obsolete.
    CommandEntry{.name = "PREVENT ALLOW MEDIUM REMOVAL",
                 .opcode = 0x1E,
                 .reservation = ReservationClass::allowed,
                 .flags = kRunsWhenNotReady,
                 .cdb_usage = {0x1E, 0x00, 0x00, 0x00, 0x01, 0x00},
                 .admit = admit_prevent_allow,
                 .start = start_prevent_allow},
};

}  // namespace

std::span<const CommandEntry> sbc_removal_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
