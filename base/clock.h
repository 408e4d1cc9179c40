// Time, as every layer names it. Cores get an Instant as an argument; only shells call now().
#pragma once

#include <chrono>

namespace itgtd {

/// CLOCK_MONOTONIC: never steps. What timers, leases and deadlines are measured in.
using Instant = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

/// The present instant. A worker reads it once a turn.
[[nodiscard]] inline Instant now() {
  return std::chrono::steady_clock::now();
}

}  // namespace itgtd
