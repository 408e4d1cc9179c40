// SANITIZE. SBC-3, SANITIZE command, and its model clause on sanitize operations; SBC-4 for what a failed one
// in restricted completion mode still takes.
//
// CRYPTOGRAPHIC ERASE is not among the service actions: nothing on the medium is encrypted by this target, so
// there is no key whose loss would erase it.
#include <algorithm>

#include "scsi/cdb.h"
#include "scsi/sbc_common.h"
#include "scsi/sbc_rewrite.h"

namespace itgtd::scsi {

namespace {

using namespace sbc;

constexpr unsigned kImmedBit = 7;
constexpr unsigned kAuseBit = 5;
constexpr uint16_t kListLengthByte = 7;

/// SBC-3, OVERWRITE service action parameter list; the initialization pattern follows.
struct OverwriteHeader {
  uint8_t how = 0;  ///< INVERT, TEST, OVERWRITE COUNT
  uint8_t reserved = 0;
  be16 initialization_pattern_length;
};
static_assert(sizeof(OverwriteHeader) == 4 && WireStruct<OverwriteHeader>);
constexpr uint8_t kInvert = 0x80;
constexpr uint8_t kTest = 0x60;
constexpr uint8_t kOverwriteCount = 0x1F;

Rewrite sanitize_rewrite(const Command& command) {
  Rewrite rewrite;
  rewrite.goes_on = LuCondition::sanitizing;
  rewrite.failed = LuCondition::sanitize_failed;
  rewrite.immediate = cdb_bit(command, 1, kImmedBit) ? 1 : 0;
  rewrite.may_be_left = cdb_bit(command, 1, kAuseBit) ? 1 : 0;
  return rewrite;
}

/// Whether a sanitize operation can begin now. The rows run when the unit is not ready, because one that
/// failed is only got over by another one.
std::optional<Done> check_may_begin(const Command& command) {
  const LuState& state = *command.lu->state;
  if (!may_begin_rewrite(state.condition, LuCondition::sanitizing)) {
    return check_condition(condition_sense(state));
  }
  // SBC-4, SANITIZE: out of the restricted completion mode only a sanitize operation of that mode leads.
  if (state.condition == LuCondition::sanitize_failed && !state.sanitize_may_be_left &&
      cdb_bit(command, 1, kAuseBit)) {
    return check_condition(sense::invalid_field_in_cdb(1, kAuseBit));
  }
  return std::nullopt;
}

Admission admit_overwrite(Command& command) {
  if (const auto refused = check_may_begin(command)) return *refused;
  // SBC-3, SANITIZE service actions: a header and a pattern of one byte to one block.
  const uint32_t list_bytes = cdb_u16(command, kListLengthByte);
  if (list_bytes <= sizeof(OverwriteHeader) || list_bytes > sizeof(OverwriteHeader) + block_bytes(command)) {
    return check_condition(sense::invalid_field_in_cdb(kListLengthByte));
  }
  return DataPhase{DataDirection::out, list_bytes, rewrite_scratch_bytes(command, Fill::pattern)};
}

std::optional<Sense> check_overwrite_list(const Command& command) {
  if (command.data_out_bytes < command.phase.transfer_bytes) return sense::parameter_list_length_error();
  const auto header = load<OverwriteHeader>(command.data);
  // TEST asks for passes that change the management of defects, which there is none of.
  if ((header.how & kTest) != 0) return sense::invalid_field_in_parameter_list(0, uint8_t{6});
  if ((header.how & kOverwriteCount) == 0) return sense::invalid_field_in_parameter_list(0, uint8_t{4});
  if (header.reserved != 0) return sense::invalid_field_in_parameter_list(1);
  const uint32_t pattern_bytes = header.initialization_pattern_length.get();
  if (pattern_bytes == 0 || pattern_bytes > block_bytes(command)) {
    return sense::invalid_field_in_parameter_list(2);
  }
  if (pattern_bytes > command.phase.transfer_bytes - sizeof(header)) {
    return sense::parameter_list_length_error();
  }
  return std::nullopt;
}

Step start_overwrite(Command& command) {
  if (const auto refused = check_overwrite_list(command)) return check_condition(*refused);
  const auto header = load<OverwriteHeader>(command.data);
  Rewrite rewrite = sanitize_rewrite(command);
  rewrite.fill = Fill::pattern;
  rewrite.passes = header.how & kOverwriteCount;
  rewrite.invert = (header.how & kInvert) != 0 ? 1 : 0;
  return start_rewrite(command, rewrite,
                       command.data.subspan(sizeof(header), header.initialization_pattern_length.get()));
}

/// SBC-3, SANITIZE service actions: PARAMETER LIST LENGTH is zero.
std::optional<Done> check_no_list(const Command& command) {
  if (cdb_u16(command, kListLengthByte) == 0) return std::nullopt;
  return check_condition(sense::invalid_field_in_cdb(kListLengthByte));
}

Admission admit_block_erase(Command& command) {
  if (const auto refused = check_may_begin(command)) return *refused;
  if (const auto refused = check_no_list(command)) return *refused;
  return DataPhase{DataDirection::none, 0, rewrite_scratch_bytes(command, Fill::zeroes)};
}

/// The data is as far out of reach as the medium below puts what it is told to forget.
Step start_block_erase(Command& command) {
  Rewrite rewrite = sanitize_rewrite(command);
  const Geometry& geometry = command.lu->geometry;
  rewrite.fill = geometry.thin && geometry.unmapped_reads_zero ? Fill::unmapped : Fill::zeroes;
  return start_rewrite(command, rewrite, {});
}

Admission admit_exit_failure_mode(Command& command) {
  if (const auto refused = check_no_list(command)) return *refused;
  return DataPhase{};
}

Decision decide_exit_failure_mode(const LuState& state, const Command& /*command*/,
                                  const DecideContext& /*context*/) {
  Decision decision;
  if (state.condition == LuCondition::ready) return decision;  // nothing to exit from
  if (state.condition != LuCondition::sanitize_failed) {
    decision.done = check_condition(condition_sense(state));
    return decision;
  }
  // SBC-3, SANITIZE, AUSE: not out of a failure in restricted completion mode.
  if (!state.sanitize_may_be_left) {
    decision.done = check_condition(sense::invalid_field_in_cdb(1, uint8_t{4}));
    return decision;
  }
  LuState next = state;
  next.condition = LuCondition::ready;
  return publish(state, next);
}

Step start_exit_failure_mode(Command& /*command*/) {
  return Update{decide_exit_failure_mode};
}

constexpr auto kOut = DataDirection::out;
constexpr auto kNone = DataDirection::none;
constexpr auto kWrite = ReservationClass::write;
constexpr uint16_t kFlags = kWritesMedium | kClaims | kRunsWhenNotReady | kRunsInRewrite;

// Byte 1: IMMED, AUSE, service action.
// clang-format off
constexpr CommandEntry kCommands[] = {
    {"SANITIZE OVERWRITE", 0x48, 0x01, 10, kOut, kWrite, kFlags,
     {0x48, 0xA1, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00},
     admit_overwrite, start_overwrite, resume_rewrite},
    {"SANITIZE BLOCK ERASE", 0x48, 0x02, 10, kNone, kWrite, kFlags,
     {0x48, 0xA2, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00},
     admit_block_erase, start_block_erase, resume_rewrite},
    {"SANITIZE EXIT FAILURE MODE", 0x48, 0x1F, 10, kNone, kWrite, kRunsWhenNotReady | kRunsInRewrite,
     {0x48, 0xBF, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00},
     admit_exit_failure_mode, start_exit_failure_mode, nullptr},
};
// clang-format on

}  // namespace

std::span<const CommandEntry> sbc_sanitize_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
