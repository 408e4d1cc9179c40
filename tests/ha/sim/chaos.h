// A run by its number alone: a cluster, a random mix of faults, everything healed, and time to settle.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "tests/ha/sim/world.h"

namespace itgtd::ha::sim {

struct ChaosOptions {
  /// Silence counts for half a lease only: the rule is broken, and a seed must find it.
  bool negative_margin = false;
  Settings::Fault fault;
};

/// The world after the run; its violation() says what went wrong.
[[nodiscard]] std::unique_ptr<World> run_chaos(uint64_t seed, const ChaosOptions& options);

}  // namespace itgtd::ha::sim
