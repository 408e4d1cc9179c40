// The other end of the control socket: one call after another, each with a deadline.
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"

namespace itgtd::ctl {

/// What commands talk to; tests put a scripted one in its place.
class Daemon {
 public:
  Daemon() = default;
  virtual ~Daemon() = default;
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  /// The result, or what the daemon said, or why it could not be asked.
  [[nodiscard]] virtual Result<nlohmann::ordered_json> call(const std::string& method,
                                                            const nlohmann::ordered_json& params) = 0;
  /// Lets `time` pass, between two calls.
  virtual void wait(std::chrono::milliseconds time) = 0;
  /// Milliseconds of a clock that does not step.
  [[nodiscard]] virtual int64_t now_ms() const = 0;
};

/// The daemon behind the unix socket at `path`, or why it can't be reached and what to do.
[[nodiscard]] Result<std::unique_ptr<Daemon>> connect_daemon(const std::string& path);

}  // namespace itgtd::ctl
