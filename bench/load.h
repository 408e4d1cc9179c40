// A whole run: log in, fill, measure, read back, log out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/control.h"
#include "bench/options.h"
#include "bench/statistics.h"

namespace itgtd::bench {

struct LoadResult {
  Capacity capacity;
  uint64_t range_bytes = 0;  ///< of the unit, in which the I/Os were
  iscsi::Parameters parameters;
  Statistics statistics;
  double seconds = 0;       ///< of the measurement
  double user_seconds = 0;  ///< of CPU that this program took meanwhile, all threads
  double system_seconds = 0;
  uint64_t read_back = 0;  ///< units that were read and compared at the end
  /// Why connections ended early; empty: none did.
  std::vector<std::string> failures;

  /// No error of any kind.
  [[nodiscard]] bool clean() const {
    return failures.empty() && statistics.errors == 0 && statistics.mismatches == 0;
  }
};

/// An error is one of the set-up, before anything was measured.
[[nodiscard]] Result<LoadResult> run_load(const LoadOptions& options);

}  // namespace itgtd::bench
