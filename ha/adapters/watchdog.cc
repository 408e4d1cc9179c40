#include "ha/adapters/watchdog.h"

#include <algorithm>
#include <utility>

#include "base/parse.h"

namespace itgtd::ha {

std::optional<std::chrono::microseconds> service_watchdog_timeout(std::string_view watchdog_usec,
                                                                  std::string_view watchdog_pid, pid_t self) {
  const auto usec = parse_u64(watchdog_usec);
  if (!usec || *usec == 0 || *usec > uint64_t{1} << 62) return std::nullopt;
  if (!watchdog_pid.empty() && parse_u64(watchdog_pid) != static_cast<uint64_t>(self)) return std::nullopt;
  return std::chrono::microseconds(*usec);
}

ServiceWatchdog::ServiceWatchdog(control::EventLoop& loop, std::chrono::microseconds timeout,
                                 std::function<void()> alive)
    : loop_(loop),
      interval_(std::max(std::chrono::duration_cast<std::chrono::milliseconds>(timeout / 2),
                         std::chrono::milliseconds(1))),
      alive_(std::move(alive)) {
  timer_ = loop_.timer(std::chrono::milliseconds(0), [this] { beat(); });
}

void ServiceWatchdog::beat() {
  timer_ = loop_.timer(interval_, [this] { beat(); });
  alive_();
}

}  // namespace itgtd::ha
