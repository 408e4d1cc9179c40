// One daemon for one state_dir: two would overwrite what the other keeps of logical units.
#pragma once

#include <string>

#include "base/descriptor.h"
#include "base/result.h"

namespace itgtd::target {

/// Held for as long as this lives; the kernel lets go of it when the process ends, however it does. The file
/// stays, and has the process id of who held it last.
class StateDirLock {
 public:
  /// Takes STATE_DIR/lock, and makes state_dir and the file where they are missing. An error says which
  /// process has it. At start, before anything in state_dir is read.
  static Result<StateDirLock> take(const std::string& state_dir);

  StateDirLock(StateDirLock&& other) noexcept : fd_(other.fd_.release()) {}
  StateDirLock& operator=(StateDirLock&&) = delete;
  StateDirLock(const StateDirLock&) = delete;
  StateDirLock& operator=(const StateDirLock&) = delete;
  ~StateDirLock() = default;

 private:
  explicit StateDirLock(int fd) : fd_(fd) {}
  Descriptor fd_;
};

}  // namespace itgtd::target
