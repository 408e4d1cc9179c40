#include "scsi/logical_unit.h"

#include <algorithm>
#include <string_view>

#include "base/parse.h"
#include "scsi/mode_pages.h"

namespace itgtd::scsi {

std::array<uint8_t, 16> make_naa(std::string_view serial) {
  // SPC-4 §7.8.6.6.5: NAA 6h, a company id of 24 bits, 100 bits of the vendor's own.
  constexpr size_t kCompanyDigits = 7;
  constexpr size_t kDigits = 32;
  std::array<uint8_t, 16> naa = {0x60, 0x01, 0x40, 0x50};
  size_t at = kCompanyDigits;
  for (const char c : serial) {
    if (at == kDigits) break;
    const std::optional<uint8_t> digit = hex_digit(c);
    if (!digit) continue;
    const unsigned shift = at % 2 == 0 ? 4 : 0;
    naa[at / 2] = static_cast<uint8_t>(naa[at / 2] | (*digit << shift));
    ++at;
  }
  return naa;
}

Sense condition_sense(const LuState& state) {
  switch (state.condition) {
    case LuCondition::ready:
      return sense::no_sense();
    case LuCondition::not_ready:
      return sense::not_ready(Asc::manual_intervention_required);
    case LuCondition::stopped:
      return sense::not_ready(Asc::initializing_command_required);
    case LuCondition::ejected:
      return sense::medium_not_present();
    case LuCondition::formatting:
      return sense::in_progress(Asc::format_in_progress, state.progress);
    case LuCondition::format_failed:
      return sense::format_corrupted();
    case LuCondition::sanitizing:
      return sense::in_progress(Asc::sanitize_in_progress, state.progress);
    case LuCondition::sanitize_failed:
      return sense::sanitize_failed();
  }
  return sense::internal_target_failure();
}

AccessState access_state(const LogicalUnit& lu) {
  if (lu.state->port_groups == nullptr) return AccessState::active_optimized;
  for (const PortGroup& group : lu.state->port_groups->groups) {
    if (group.id == lu.port_group) return group.state;
  }
  return AccessState::unavailable;
}

Decision publish(const LuState& before, LuState next) {
  Decision decision;
  next.generation = before.generation;
  if (next == before) return decision;
  ++next.generation;
  decision.state = std::make_shared<const LuState>(next);
  return decision;
}

Decision on_logical_unit_reset(const LuState& state, NexusId /*nexus*/) {
  LuState next = state;
  next.reserved_by = 0;               // SAM-5 §6.3.3, SPC-2 §5.5.1
  next.removal_prevented_by.clear();  // SBC-3, PREVENT ALLOW MEDIUM REMOVAL
  apply_saved_mode_pages(next);       // SPC-4 §7.5.1: the saved values, or the default ones
  Decision decision = publish(state, next);
  decision.unit_attentions.push_back({UnitAttentionRaise::Scope::all, 0, Asc::bus_device_reset_occurred});
  return decision;
}

Decision on_nexus_loss(const LuState& state, NexusId nexus) {
  LuState next = state;
  if (next.reserved_by == nexus) next.reserved_by = 0;  // SAM-5 §6.3.4
  std::erase(next.removal_prevented_by, nexus);         // SBC-3, PREVENT ALLOW MEDIUM REMOVAL
  if (next.thresholds.initiator == nexus) next.thresholds.initiator = 0;
  return publish(state, next);
}

Decision on_capacity_change(const LuState& state, uint64_t block_count) {
  LuState next = state;
  next.block_count = block_count;
  Decision decision = publish(state, next);
  // SBC-3 §4.5.
  if (decision.state) {
    decision.unit_attentions.push_back({UnitAttentionRaise::Scope::all, 0, Asc::capacity_data_has_changed});
  }
  return decision;
}

Decision on_medium_attached(const LuState& state, LuCondition condition, uint64_t block_count,
                            const ThinUsage& usage) {
  LuState next = state;
  next.condition = condition;
  next.block_count = block_count;
  next.thin_usage = usage;
  Decision decision = publish(state, next);
  // SPC-4 annex F 28h/00h: whatever was known of it before may be another medium's.
  decision.unit_attentions.push_back(
      {UnitAttentionRaise::Scope::all, 0, Asc::not_ready_to_ready_medium_may_have_changed});
  return decision;
}

Decision on_write_cache_configured(const LuState& state, bool write_cache) {
  LuState next = state;
  next.write_cache = write_cache;
  next.write_cache_default = write_cache;
  Decision decision = publish(state, next);
  // SPC-4 §6.9: a change of mode parameters is told to all whom nobody asked.
  if (decision.state) {
    decision.unit_attentions.push_back({UnitAttentionRaise::Scope::all, 0, Asc::mode_parameters_changed});
  }
  return decision;
}

}  // namespace itgtd::scsi
