// Thresholds of thin provisioning: how full the medium is, and who is told. SBC-3, logical block provisioning
// thresholds.
#pragma once

#include <cstdint>

#include "scsi/logical_unit.h"

namespace itgtd::scsi {

/// THRESHOLD EXPONENT: usage is counted in sets of 2^11 blocks (1 MiB of 512 bytes), so that 32 bits reach
/// 2^43 blocks.
inline constexpr uint8_t kThresholdExponent = 11;
inline constexpr uint64_t kThresholdSetBlocks = uint64_t{1} << kThresholdExponent;

/// True exactly when the unit has thresholds: it is thin, and its medium tells how full it is.
[[nodiscard]] bool has_thresholds(const LogicalUnit& lu, const LuState& state);

/// Threshold sets that `usage` has left, or takes; as many as 32 bits hold at the most.
[[nodiscard]] uint32_t available_sets(const ThinUsage& usage);
[[nodiscard]] uint32_t used_sets(const ThinUsage& usage);

/// The medium is as full as `usage` says. Nothing changes until that is a threshold set away from what was
/// published last, or beyond a threshold that it was not beyond before: then THIN PROVISIONING SOFT THRESHOLD
/// REACHED is raised, once until it is back.
[[nodiscard]] Decision on_thin_usage(const LuState& state, const ThinUsage& usage);

}  // namespace itgtd::scsi
