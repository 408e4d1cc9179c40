// Takes a command through its steps as the daemon does, one after another, whatever executes its Io.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <span>
#include <variant>

#include "scsi/command.h"
#include "scsi/command_entry.h"
#include "scsi/logical_unit.h"
#include "scsi/nexus.h"

namespace itgtd::scsi::testing {

/// What is around a command: its medium, and those who hear of what it changes.
class Surroundings {
 public:
  Surroundings() = default;
  Surroundings(const Surroundings&) = delete;
  Surroundings& operator=(const Surroundings&) = delete;
  virtual ~Surroundings() = default;

  virtual IoResult execute(const Command& command, const Io& io) = 0;
  /// What the writer's clock says.
  [[nodiscard]] virtual uint64_t time_ms() const { return 1'700'000'000'000; }
  virtual void on_claim(const Command& /*command*/, const Claim& /*claim*/) {}
  /// Who is logged in.
  [[nodiscard]] virtual std::vector<KnownNexus> nexuses() const { return {}; }
  /// `decision` was made, and its state published.
  virtual void on_decision(const Command& /*command*/, const Decision& /*decision*/) {}
  /// The command was over for the initiator before its work was; `end` is how that ended.
  virtual void on_detached(const Done& /*end*/) {}
};

/// Everything that a command with kClaims does to the medium lies in what it claimed last.
inline void expect_claimed(const Command& command, const Io& io, const std::optional<Claim>& claim) {
  if (io.kind == IoKind::flush || (command.entry->flags & kClaims) == 0) return;
  const uint64_t block_bytes = command.lu->geometry.block_bytes;
  const uint64_t lba = io.offset_bytes / block_bytes;
  const uint64_t end = (io.offset_bytes + io.length_bytes + block_bytes - 1) / block_bytes;
  bool inside = false;
  for (size_t i = 0; claim && i < claim->count; ++i) {
    const ClaimedRange& range = claim->ranges[i];
    inside = inside || (range.lu_key == command.lu->key && range.lba <= lba && end <= range.end());
  }
  EXPECT_TRUE(inside) << command.entry->name << " touches " << lba << " to " << end << " unclaimed";
}

inline Done with_data_in(Command& command, const Decision& decision) {
  Done done = decision.done;
  if (decision.data_in.empty()) return done;
  done.data_in_bytes = static_cast<uint32_t>(std::min(decision.data_in.size(), command.data.size()));
  std::copy_n(decision.data_in.begin(), done.data_in_bytes, command.data.begin());
  return done;
}

/// Each step from `step` on until the command is over.
inline Done carry_out(Surroundings& around, Command& command, Step step, std::optional<Claim> claim = {}) {
  for (size_t steps = 0; steps < 1'000'000; ++steps) {
    if (const Done* done = std::get_if<Done>(&step)) return *done;
    EXPECT_TRUE(std::holds_alternative<Update>(step) || command.entry->resume != nullptr);
    IoResult result;
    if (const Update* update = std::get_if<Update>(&step)) {
      const std::vector<KnownNexus> nexuses = around.nexuses();
      const DecideContext context{command.nexus == nullptr ? 0 : command.nexus->id(), around.time_ms(),
                                  nexuses};
      const Decision decision = update->decide(*command.lu->state, command, context);
      if (decision.state) command.lu->state = decision.state;
      around.on_decision(command, decision);
      if (decision.after == AfterUpdate::done) return with_data_in(command, decision);
      if (decision.after != AfterUpdate::resume) {
        Command copy = command;
        copy.nexus = nullptr;
        copy.data = {};
        const Done end = carry_out(around, copy, copy.entry->resume(copy, {}), claim);
        if (decision.after == AfterUpdate::detach_and_wait) return end;
        around.on_detached(end);
        return decision.done;
      }
    } else if (const Claim* wanted = std::get_if<Claim>(&step)) {
      EXPECT_TRUE((command.entry->flags & kClaims) != 0);
      claim = *wanted;
      around.on_claim(command, *wanted);
    } else {
      const Io io = std::get<Io>(step);
      expect_claimed(command, io, claim);
      result = around.execute(command, io);
    }
    step = command.entry->resume(command, result);
  }
  ADD_FAILURE() << command.entry->name << " does not end";
  return {};
}

}  // namespace itgtd::scsi::testing
