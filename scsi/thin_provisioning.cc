#include "scsi/thin_provisioning.h"

#include <algorithm>
#include <limits>

namespace itgtd::scsi {
namespace {

uint32_t saturated(uint64_t sets) {
  return static_cast<uint32_t>(std::min<uint64_t>(sets, std::numeric_limits<uint32_t>::max()));
}

bool moved(uint64_t before, uint64_t now) {
  return (before < now ? now - before : before - now) >= kThresholdSetBlocks;
}

}  // namespace

bool has_thresholds(const LogicalUnit& lu, const LuState& state) {
  return lu.geometry.thin && state.thin_usage.known;
}

uint32_t available_sets(const ThinUsage& usage) {
  return saturated(usage.available_blocks / kThresholdSetBlocks);
}

uint32_t used_sets(const ThinUsage& usage) {
  return saturated(usage.used_blocks / kThresholdSetBlocks + (usage.used_blocks % kThresholdSetBlocks != 0));
}

Decision on_thin_usage(const LuState& state, const ThinUsage& usage) {
  if (!usage.known) return {};
  LuState next = state;
  ThinThresholds& thresholds = next.thresholds;
  ThinThreshold& available = thresholds.available;
  ThinThreshold& used = thresholds.used;
  available.reached = thresholds.reported && available.enabled && available_sets(usage) <= available.count;
  used.reached = thresholds.reported && used.enabled && used_sets(usage) >= used.count;
  const ThinUsage& known = state.thin_usage;
  if (thresholds == state.thresholds && known.known && !moved(known.used_blocks, usage.used_blocks) &&
      !moved(known.available_blocks, usage.available_blocks)) {
    return {};
  }
  next.thin_usage = usage;
  Decision decision = publish(state, next);
  const ThinThresholds& before = state.thresholds;
  if ((available.reached && !before.available.reached) || (used.reached && !before.used.reached)) {
    // SBC-3, SITUA: one of them is told, or every one.
    const bool one = thresholds.single_initiator && thresholds.initiator != 0;
    decision.unit_attentions.push_back(
        {one ? UnitAttentionRaise::Scope::only : UnitAttentionRaise::Scope::all,
         one ? thresholds.initiator : 0, Asc::thin_provisioning_soft_threshold_reached});
  }
  return decision;
}

}  // namespace itgtd::scsi
