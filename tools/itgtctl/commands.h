// What each subcommand asks, what it waits for, and what it prints.
#pragma once

#include <cstdint>
#include <string>

#include "tools/itgtctl/client.h"
#include "tools/itgtctl/layout.h"

namespace itgtd::ctl {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

struct Options {
  std::string socket = "/run/itgtd/control.sock";
  bool json = false;
  std::string group;
  std::string node;
  bool on = false;       ///< of maintenance
  uint64_t count = 20;   ///< of history
  bool verbose = false;  ///< of history
  bool wait = true;
  uint64_t timeout_s = 60;
};

/// What goes to standard output and standard error, and the exit status.
struct Printed {
  int status = 0;
  std::string out;
  std::string error;
};

enum class Command { status, why, history, move, drain, undrain, maintenance };

/// Takes as long as the command waits; what it tells in between is in `error` too.
[[nodiscard]] Printed run(Command command, const Options& options, Daemon& daemon, const Style& style);

}  // namespace itgtd::ctl
