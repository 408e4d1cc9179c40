// What one thread counts while it loads.
#pragma once

#include <cstdint>
#include <string>

#include "bench/histogram.h"

namespace itgtd::bench {

struct Statistics {
  Histogram reads;  ///< of I/Os that ended well
  Histogram writes;
  uint64_t errors = 0;      ///< I/Os that ended with a bad status, a residual or too little data
  uint64_t mismatches = 0;  ///< blocks that --verify found wrong, counted by I/O
  uint64_t unchecked = 0;   ///< reads of places whose content is not known
  std::string first_error;  ///< in words; empty: none

  void note_error(std::string text) {
    if (first_error.empty()) first_error = std::move(text);
  }
  void merge(const Statistics& other) {
    reads.merge(other.reads);
    writes.merge(other.writes);
    errors += other.errors;
    mismatches += other.mismatches;
    unchecked += other.unchecked;
    note_error(other.first_error);
  }
  void clear() {
    reads.clear();
    writes.clear();
    errors = mismatches = unchecked = 0;
    first_error.clear();
  }
};

}  // namespace itgtd::bench
