// One-shot timers of a worker: a binary heap in memory that was made at start.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"

namespace itgtd::net {

/// Embedded in what waits; at most one deadline each.
class Timer {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  [[nodiscard]] bool armed() const { return position_ != kIdle; }
  [[nodiscard]] Instant deadline() const { return deadline_; }

 private:
  friend class Timers;
  static constexpr uint32_t kIdle = UINT32_MAX;
  Instant deadline_{};
  uint32_t position_ = kIdle;
};

class Timers {
 public:
  /// Room for `capacity` timers at once, so that arm() never allocates.
  explicit Timers(uint32_t capacity);
  /// Sets or moves the deadline of `timer`, which stays where it is in memory until disarmed.
  void arm(Timer& timer, Instant deadline);
  /// No effect on an idle one.
  void disarm(Timer& timer);
  /// The earliest deadline; Instant::max() when there is none.
  [[nodiscard]] Instant next_deadline() const;
  /// Disarms and returns one timer whose deadline is not after `now`, or null. Call until null.
  Timer* pop_expired(Instant now);

 private:
  void sift_up(uint32_t position);
  void sift_down(uint32_t position);
  void place(uint32_t position, Timer* timer);
  std::vector<Timer*> heap_;
};

}  // namespace itgtd::net
