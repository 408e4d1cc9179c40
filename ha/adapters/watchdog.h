// Who notices that the control thread hangs: systemd, and, where configured, a watchdog device that resets
// the machine. Control thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/descriptor.h"
#include "base/result.h"
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

/// The last rung: /dev/watchdog, of the hardware or softdog. From open() on the machine is reset when the
/// loop does not turn for the timeout, or the process ends without disarm(): a daemon that is started again
/// in time keeps it alive.
class HardwareWatchdog {
 public:
  /// Opens and arms it. `timeout`: whole seconds; the driver may round up.
  static Result<std::unique_ptr<HardwareWatchdog>> open(control::EventLoop& loop, const std::string& path,
                                                        std::chrono::seconds timeout);
  /// Leaves it armed.
  ~HardwareWatchdog();
  HardwareWatchdog(const HardwareWatchdog&) = delete;
  HardwareWatchdog& operator=(const HardwareWatchdog&) = delete;

  /// What the driver made of the timeout.
  [[nodiscard]] std::chrono::seconds timeout() const { return timeout_; }
  /// Not kept alive any more: the machine is reset within the timeout, whatever becomes of this process. For
  /// storage that can't be given up in any other way.
  void let_expire();
  /// The orderly end. An error: the driver was loaded with nowayout, so the machine is reset all the same.
  Result<void> disarm();

 private:
  HardwareWatchdog(control::EventLoop& loop, int fd, std::string path, std::chrono::seconds timeout);
  void beat();

  control::EventLoop& loop_;
  Descriptor fd_;
  std::string path_;
  std::chrono::seconds timeout_;
  control::Subscription timer_;
};

}  // namespace itgtd::ha
