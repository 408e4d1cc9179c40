// Data buffers of 4 KiB to 8 MiB, contiguous, out of one region that was made at start.
//
// The region is registered with io_uring once, so every buffer is a part of a registered one. A binary buddy
// allocator: sizes are rounded up to a power of two, neighbours are merged when both are free. One thread
// owns it.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"

namespace itgtd {

class BuddyPool {
 public:
  static constexpr size_t kBlockBytesMin = size_t{4} << 10;
  static constexpr size_t kBlockBytesMax = size_t{8} << 20;

  /// Manages `region`, which is aligned to kBlockBytesMin, a multiple of kBlockBytesMax long, and outlives
  /// the pool.
  explicit BuddyPool(Bytes region);

  /// A buffer of at least `size_bytes` (1 to kBlockBytesMax), aligned to its rounded size within the region;
  /// the span has exactly `size_bytes`. Empty when there is none: the caller waits or answers TASK SET FULL.
  /// Content is whatever the last holder left: what goes out to an initiator must have been written first.
  [[nodiscard]] Bytes allocate(size_t size_bytes) {
    ITGTD_ASSERT(size_bytes > 0 && size_bytes <= kBlockBytesMax);
    const size_t order = order_for(size_bytes);
    if (order >= kOrdersKept || kept_count_[order] == 0) return split(order, size_bytes);
    const uint32_t block = kept_[order][--kept_count_[order]];
    blocks_[block].state = State::allocated;
    free_bytes_ -= kBlockBytesMin << order;
    return {region_.data() + block * kBlockBytesMin, size_bytes};
  }
  /// Takes back a buffer that allocate() returned (its first byte names it).
  void release(Bytes buffer) {
    const auto offset = static_cast<size_t>(buffer.data() - region_.data());
    ITGTD_ASSERT(offset < region_.size() && offset % kBlockBytesMin == 0);
    const auto block = static_cast<uint32_t>(offset / kBlockBytesMin);
    ITGTD_ASSERT(blocks_[block].state == State::allocated);
    const size_t order = blocks_[block].order;
    free_bytes_ += kBlockBytesMin << order;
    if (order >= kOrdersKept || kept_count_[order] == kBlocksKept) return merge(block, order);
    blocks_[block].state = State::kept;
    kept_[order][kept_count_[order]++] = block;
  }

  [[nodiscard]] Bytes region() const { return region_; }
  [[nodiscard]] size_t free_bytes() const { return free_bytes_; }

 private:
  static constexpr size_t kOrders = 12;  // 4 KiB << 11 == 8 MiB
  static constexpr uint32_t kNone = UINT32_MAX;

  // Small buffers are kept whole for the next taker instead of being merged and split again for every
  // command: up to so many of each of the smallest orders (4 to 256 KiB), given back when a larger buffer
  // can't be had.
  static constexpr size_t kOrdersKept = 7;
  static constexpr uint32_t kBlocksKept = 32;

  /// free, kept and allocated: exactly the first smallest block of such a buffer. within: all others.
  enum class State : uint8_t { within, free, kept, allocated };

  // Per smallest block: its links in a free list, and the order of the buffer that it begins.
  struct Block {
    uint32_t next = kNone;
    uint32_t previous = kNone;
    uint8_t order = 0;
    State state = State::within;
  };

  /// The smallest order whose buffers hold `size_bytes`.
  [[nodiscard]] static size_t order_for(size_t size_bytes) {
    return std::bit_width((size_bytes - 1) / kBlockBytesMin);
  }
  Bytes split(size_t wanted, size_t size_bytes);
  [[nodiscard]] size_t smallest_free(size_t order) const;
  void merge(uint32_t block, size_t order);
  void merge_kept();
  void push_free(size_t order, uint32_t block);
  void unlink_free(uint32_t block);

  Bytes region_;
  size_t free_bytes_ = 0;
  std::array<uint32_t, kOrders> free_heads_{};
  std::array<uint32_t, kOrdersKept> kept_count_{};
  std::array<std::array<uint32_t, kBlocksKept>, kOrdersKept> kept_{};
  std::vector<Block> blocks_;
};

}  // namespace itgtd
