// Who notices that the control thread hangs: systemd. Control thread.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string_view>

#include "target/control/event_loop.h"

namespace itgtd::ha {

/// What systemd asks for in WATCHDOG_USEC and WATCHDOG_PID (sd_watchdog_enabled(3)); nothing: it does not
/// watch this process. Absent variables are empty.
[[nodiscard]] std::optional<std::chrono::microseconds> service_watchdog_timeout(
    std::string_view watchdog_usec, std::string_view watchdog_pid, pid_t self);

/// Calls `alive` (sd_notify WATCHDOG=1) at half of the timeout, at once at first, from the loop's own timer:
/// so only as long as the loop turns.
class ServiceWatchdog {
 public:
  ServiceWatchdog(control::EventLoop& loop, std::chrono::microseconds timeout, std::function<void()> alive);

 private:
  void beat();

  control::EventLoop& loop_;
  std::chrono::milliseconds interval_;
  std::function<void()> alive_;
  control::Subscription timer_;
};

}  // namespace itgtd::ha
