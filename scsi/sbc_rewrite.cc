#include "scsi/sbc_rewrite.h"

#include <algorithm>
#include <cstring>

#include "scsi/sbc_common.h"

namespace itgtd::scsi::sbc {

namespace {

// Command::lba is where the present pass stands, blocks_left the length of the present Io: the medium may
// grow between the two steps.
enum Stage : uint32_t { kClaiming, kBeginning, kWriting, kFlushing, kTelling, kEnding };

/// How often progress is told: each time is an update on all workers.
constexpr uint64_t kProgressSteps = 64;
constexpr uint64_t kProgressWhole = 65536;  // SPC-4 §4.5.2.4.4
/// What one unmap or write_zeroes goes over.
constexpr uint64_t kPieceBytesMax = uint64_t{256} << 20;

Bytes pattern_area(const Command& command) {
  return command.scratch.first(command.scratch.size() - sizeof(Rewrite));
}
Bytes rewrite_area(const Command& command) {
  return command.scratch.last(sizeof(Rewrite));
}
Rewrite load_rewrite(const Command& command) {
  return load<Rewrite>(rewrite_area(command));
}

/// As many whole blocks of the pattern as scratch has room for.
void lay_out(const Command& command, ConstBytes pattern) {
  const Bytes area = pattern_area(command);
  const size_t block = block_bytes(command);
  for (size_t at = 0; at < block; at += pattern.size()) {
    const size_t part = std::min(pattern.size(), block - at);
    std::memcpy(area.data() + at, pattern.data(), part);
  }
  for (size_t at = block; at + block <= area.size(); at += block) {
    std::memcpy(area.data() + at, area.data(), block);
  }
}

void invert_pattern(const Command& command) {
  for (std::byte& byte : pattern_area(command)) byte = ~byte;
}

/// One Io of the work.
struct Piece {
  IoKind kind;
  uint64_t blocks;
};

Piece next_piece(const Command& command, Fill fill) {
  const uint64_t left = capacity(command) - command.lba;
  const uint64_t block = block_bytes(command);
  if (fill == Fill::pattern) return {IoKind::write, std::min(left, pattern_area(command).size() / block)};
  const uint64_t blocks = std::min(left, kPieceBytesMax / block);
  if (fill == Fill::zeroes) return {IoKind::write_zeroes, blocks};
  // The medium only gives back whole units; what is left over at the end is written instead.
  const uint64_t unit = std::max<uint64_t>(1, command.lu->geometry.unmap_granularity_bytes / block);
  if (blocks < unit) return {IoKind::write_zeroes, blocks};
  return {IoKind::unmap, blocks - blocks % unit};
}

/// PROGRESS INDICATION: parts of 65536.
uint16_t progress_of(const Command& command, const Rewrite& rewrite) {
  uint64_t all = std::max<uint64_t>(capacity(command), 1);
  uint64_t done = std::min(command.lba, all);
  for (; all >= uint64_t{1} << 47; all >>= 1) done >>= 1;  // or done * 65536 would not fit
  const uint64_t of_pass = done * kProgressWhole / all;
  const uint64_t progress = (rewrite.passes_done * kProgressWhole + of_pass) / rewrite.passes;
  return static_cast<uint16_t>(std::min(progress, kProgressWhole - 1));
}

/// How a command ends that finds, or leaves, the unit in `condition`.
Done refused(LuCondition condition) {
  LuState state;
  state.condition = condition;
  return check_condition(condition_sense(state));
}

Decision decide_begin(const LuState& state, const Command& command, const DecideContext& /*context*/) {
  const Rewrite rewrite = load_rewrite(command);
  Decision decision;
  // It was possible when the command came, but it had to wait for its claim.
  if (!may_begin_rewrite(state.condition, rewrite.goes_on)) {
    decision.done = check_condition(condition_sense(state));
    return decision;
  }
  if (state.write_protected) {
    decision.done = check_condition(sense::write_protected());
    return decision;
  }
  LuState next = state;
  next.condition = rewrite.goes_on;
  next.progress = 0;
  next.sanitize_may_be_left = rewrite.may_be_left != 0;
  next.tokens.reset();  // what they stand for is about to go
  decision = publish(state, next);
  decision.after = rewrite.immediate != 0 ? AfterUpdate::detach : AfterUpdate::detach_and_wait;
  return decision;
}

Decision decide_progress(const LuState& state, const Command& command, const DecideContext& /*context*/) {
  const Rewrite rewrite = load_rewrite(command);
  LuState next = state;
  if (next.condition == rewrite.goes_on) next.progress = rewrite.progress_told.get();
  Decision decision = publish(state, next);
  decision.after = AfterUpdate::resume;
  return decision;
}

Decision end_with(const LuState& state, const Command& command, LuCondition condition) {
  LuState next = state;
  if (next.condition == load_rewrite(command).goes_on) {
    next.condition = condition;
    next.progress = 0;
  }
  return publish(state, next);
}

Decision decide_done(const LuState& state, const Command& command, const DecideContext& /*context*/) {
  return end_with(state, command, LuCondition::ready);
}

Decision decide_failed(const LuState& state, const Command& command, const DecideContext& /*context*/) {
  const Rewrite rewrite = load_rewrite(command);
  Decision decision = end_with(state, command, rewrite.failed);
  decision.done = rewrite.failed == LuCondition::format_failed
                      ? check_condition(sense::format_command_failed())
                      : refused(rewrite.failed);
  return decision;
}

Step end(Command& command, Decide* decide) {
  command.stage = kEnding;
  return Update{decide};
}

Step next_step(Command& command) {
  Rewrite rewrite = load_rewrite(command);
  if (command.lba >= capacity(command)) {
    command.stage = kFlushing;
    return make_flush();
  }
  const uint16_t progress = progress_of(command, rewrite);
  constexpr uint64_t kStep = kProgressWhole / kProgressSteps;
  if (progress / kStep != rewrite.progress_told.get() / kStep) {
    rewrite.progress_told.set(progress);
    store(rewrite_area(command), rewrite);
    command.stage = kTelling;
    return Update{decide_progress};
  }
  const Piece piece = next_piece(command, rewrite.fill);
  command.stage = kWriting;
  command.blocks_left = piece.blocks;
  return make_io(command, piece.kind, {command.lba, piece.blocks},
                 piece.kind == IoKind::write ? command.scratch.data() : nullptr);
}

Step on_written(Command& command, const IoResult& result) {
  const bool transfers = load_rewrite(command).fill == Fill::pattern;
  if (!succeeded(result, transfers ? command.blocks_left * block_bytes(command) : 0)) {
    return end(command, decide_failed);
  }
  command.lba += command.blocks_left;
  return next_step(command);
}

Step on_flushed(Command& command, const IoResult& result) {
  if (!succeeded(result)) return end(command, decide_failed);
  Rewrite rewrite = load_rewrite(command);
  ++rewrite.passes_done;
  store(rewrite_area(command), rewrite);
  if (rewrite.passes_done == rewrite.passes) return end(command, decide_done);
  if (rewrite.invert != 0) invert_pattern(command);
  command.lba = 0;
  return next_step(command);
}

}  // namespace

uint32_t rewrite_scratch_bytes(const Command& command, Fill fill) {
  if (fill != Fill::pattern) return sizeof(Rewrite);
  const uint32_t block = block_bytes(command);
  return (kScratchBytesMax / block - 1) * block + sizeof(Rewrite);
}

Step start_rewrite(Command& command, const Rewrite& rewrite, ConstBytes pattern) {
  store(rewrite_area(command), rewrite);
  if (rewrite.fill == Fill::pattern) {
    lay_out(command, pattern);
    // SBC-3, SANITIZE, INVERT: with an even number of passes the first one is inverted.
    if (rewrite.invert != 0 && rewrite.passes % 2 == 0) invert_pattern(command);
  }
  command.lba = 0;
  command.stage = kClaiming;
  // Also what a medium that grows meanwhile will have.
  return make_claim(command, {0, UINT64_MAX});
}

Step resume_rewrite(Command& command, const IoResult& result) {
  switch (static_cast<Stage>(command.stage)) {
    case kClaiming:
      command.stage = kBeginning;
      return Update{decide_begin};
    case kWriting:
      return on_written(command, result);
    case kFlushing:
      return on_flushed(command, result);
    case kBeginning:
    case kTelling:
    case kEnding:
      break;
  }
  return next_step(command);
}

}  // namespace itgtd::scsi::sbc
