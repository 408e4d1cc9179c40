#include "ha/adapters/watchdog.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/watchdog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/log.h"
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

Result<std::unique_ptr<HardwareWatchdog>> HardwareWatchdog::open(control::EventLoop& loop,
                                                                 const std::string& path,
                                                                 std::chrono::seconds timeout) {
  Descriptor fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.ok())
    return Error{errno,
                 fmt::format("can't open the watchdog {} (EBUSY: another program has it; ENOENT: modprobe "
                             "softdog)",
                             path)};
  int seconds = static_cast<int>(std::clamp<int64_t>(timeout.count(), 1, 3600));
  if (::ioctl(fd.get(), WDIOC_SETTIMEOUT, &seconds) != 0) {
    const int error = errno;
    // Opening has armed it; 'V' is what the kernel calls the magic close.
    (void)!::write(fd.get(), "V", 1);
    return Error{error, fmt::format("can't set the timeout of the watchdog {}: is it one?", path)};
  }
  return std::unique_ptr<HardwareWatchdog>(
      new HardwareWatchdog(loop, fd.release(), path, std::chrono::seconds(seconds)));
}

HardwareWatchdog::HardwareWatchdog(control::EventLoop& loop, int fd, std::string path,
                                   std::chrono::seconds timeout)
    : loop_(loop), fd_(fd), path_(std::move(path)), timeout_(timeout) {
  beat();
}

HardwareWatchdog::~HardwareWatchdog() = default;

void HardwareWatchdog::beat() {
  if (::ioctl(fd_.get(), WDIOC_KEEPALIVE, nullptr) != 0)
    log::error("the watchdog {} can't be kept alive, the machine will be reset: {}", path_,
               Error{errno, "WDIOC_KEEPALIVE"}.to_string());
  timer_ =
      loop_.timer(std::chrono::duration_cast<std::chrono::milliseconds>(timeout_) / 3, [this] { beat(); });
}

void HardwareWatchdog::let_expire() {
  timer_.reset();
}

Result<void> HardwareWatchdog::disarm() {
  timer_.reset();
  int options = WDIOS_DISABLECARD;
  const bool written = ::write(fd_.get(), "V", 1) == 1;
  const bool disabled = ::ioctl(fd_.get(), WDIOC_SETOPTIONS, &options) == 0;
  if (!written && !disabled) return Error{errno, fmt::format("can't disarm the watchdog {}", path_)};
  return {};
}

}  // namespace itgtd::ha
