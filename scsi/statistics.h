// What a logical unit has been asked to do: LOG SENSE, and the daemon's metrics.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace itgtd::scsi {

/// A count that one thread writes and any may read: no read-modify-write, so it costs what a plain one does.
class Count {
 public:
  void add(uint64_t n) { value_.store(get() + n, std::memory_order_relaxed); }
  [[nodiscard]] uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

/// What one worker has done. Written by that worker alone.
struct alignas(64) WorkerStatistics {
  Count read_commands;
  Count write_commands;
  Count read_blocks;
  Count written_blocks;
  Count read_errors;   ///< commands that ended because the medium could not be read
  Count write_errors;  ///< likewise written, or flushed
};

/// What all of them have.
struct LuStatistics {
  explicit LuStatistics(size_t workers) : of_worker(workers) {}
  std::vector<WorkerStatistics> of_worker;

  [[nodiscard]] uint64_t sum(Count WorkerStatistics::*count) const {
    uint64_t all = 0;
    for (const WorkerStatistics& worker : of_worker) all += (worker.*count).get();
    return all;
  }
};

}  // namespace itgtd::scsi
