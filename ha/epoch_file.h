// Keeps the epochs of a node growing over restarts of its daemon: a bound above every epoch that it has
// known, durable before any of them is acted on. Control thread.
#pragma once

#include <string>

#include "base/result.h"
#include "ha/core/types.h"

namespace itgtd::ha {

class EpochFile {
 public:
  /// A file in a directory that is there.
  explicit EpochFile(std::string path) : path_(std::move(path)) {}

  /// The bound; 0: there is no file yet. An error: there is one that can't be read, and it says what to do.
  [[nodiscard]] Result<Epoch> load();
  /// `epoch` has been taken. Writes only when it reaches the bound, which then goes up by a step: once for
  /// each ring in which an owner changes.
  [[nodiscard]] Result<void> note(Epoch epoch);

 private:
  std::string path_;
  Epoch bound_ = 0;
};

}  // namespace itgtd::ha
