// Time, as every layer names it. Cores get an Instant as an argument; only shells call now().
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>

namespace itgtd {

/// CLOCK_MONOTONIC: never steps. What timers, leases and deadlines are measured in.
using Instant = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

/// The present instant. A worker reads it once a turn.
[[nodiscard]] inline Instant now() {
  return std::chrono::steady_clock::now();
}

/// CLOCK_BOOTTIME in milliseconds: goes on while the machine is suspended. What leases between nodes are
/// measured in, so that one that slept knows that its lease has ended.
[[nodiscard]] inline int64_t boot_time_ms() {
  timespec time{};
  ::clock_gettime(CLOCK_BOOTTIME, &time);
  return int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

}  // namespace itgtd
