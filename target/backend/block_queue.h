// What the kernel tells about a block device's queue: /sys/dev/block/MAJOR:MINOR/queue.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace itgtd::backend {

/// Absent files leave the cautious value that stands here.
struct BlockQueue {
  bool write_through = false;  ///< nothing volatile behind a completed write
  bool fua = false;            ///< a write can be durable by itself
  bool rotational = false;
  uint64_t discard_granularity_bytes = 0;
  uint64_t discard_bytes_max = 0;       ///< 0: no discard
  uint64_t write_zeroes_bytes_max = 0;  ///< 0: zeros must be written out
};

/// Reads the queue of `device`, or of the disk that it is a partition of, below `sysfs_root` ("/sys"; tests
/// have their own).
[[nodiscard]] BlockQueue read_block_queue(dev_t device, const std::string& sysfs_root = "/sys");

}  // namespace itgtd::backend
