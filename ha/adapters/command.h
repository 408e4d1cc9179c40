// Runs a program without waiting for it: drbdadm and its like. Control thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

struct CommandResult {
  int status = -1;         ///< exit status; -1: it did not end by itself
  bool timed_out = false;  ///< it was killed at the deadline
  std::string out;         ///< at most 1 MiB each
  std::string err;
};

/// Starts `arguments` (the first is the program, searched in PATH); `done` gets the result, also when it
/// could not be started (status 127). Killed at `deadline`. Gone with the returned object: then it is killed,
/// and `done` not called.
class Command {
 public:
  Command(control::EventLoop& loop, std::vector<std::string> arguments, std::chrono::milliseconds deadline,
          std::function<void(const CommandResult&)> done);
  ~Command();
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace itgtd::ha
