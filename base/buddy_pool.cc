#include "base/buddy_pool.h"

#include <bit>

#include "base/assert.h"

namespace itgtd {
namespace {

constexpr size_t bytes_of_order(size_t order) {
  return BuddyPool::kBlockBytesMin << order;
}

}  // namespace

BuddyPool::BuddyPool(Bytes region) : region_(region), blocks_(region.size() / kBlockBytesMin) {
  static_assert(bytes_of_order(kOrders - 1) == kBlockBytesMax);
  ITGTD_ASSERT(region.size() % kBlockBytesMax == 0);
  ITGTD_ASSERT(std::bit_cast<uintptr_t>(region.data()) % kBlockBytesMin == 0);
  ITGTD_ASSERT(blocks_.size() < kNone);
  free_heads_.fill(kNone);
  constexpr uint32_t kStep = 1U << (kOrders - 1);
  // From the end, so that the lowest addresses are handed out first.
  for (auto block = static_cast<uint32_t>(blocks_.size()); block >= kStep; block -= kStep) {
    push_free(kOrders - 1, block - kStep);
  }
  free_bytes_ = region.size();
}

Bytes BuddyPool::split(size_t wanted, size_t size_bytes) {
  size_t order = smallest_free(wanted);
  if (order == kOrders) {
    merge_kept();
    order = smallest_free(wanted);
    if (order == kOrders) return {};
  }
  const uint32_t block = free_heads_[order];
  unlink_free(block);
  while (order > wanted) {
    --order;
    push_free(order, block + (1U << order));  // the upper half stays free
  }
  blocks_[block].order = static_cast<uint8_t>(wanted);
  blocks_[block].state = State::allocated;
  free_bytes_ -= bytes_of_order(wanted);
  return region_.subspan(block * kBlockBytesMin, size_bytes);
}

size_t BuddyPool::smallest_free(size_t order) const {
  while (order < kOrders && free_heads_[order] == kNone) ++order;
  return order;
}

void BuddyPool::merge_kept() {
  for (size_t order = 0; order < kOrdersKept; ++order) {
    while (kept_count_[order] != 0) merge(kept_[order][--kept_count_[order]], order);
  }
}

void BuddyPool::merge(uint32_t block, size_t order) {
  blocks_[block].state = State::within;
  for (; order + 1 < kOrders; ++order) {
    const uint32_t buddy = block ^ (1U << order);
    if (blocks_[buddy].state != State::free || blocks_[buddy].order != order) break;
    unlink_free(buddy);
    block &= ~(1U << order);
  }
  push_free(order, block);
}

void BuddyPool::push_free(size_t order, uint32_t block) {
  const uint32_t head = free_heads_[order];
  blocks_[block] = {head, kNone, static_cast<uint8_t>(order), State::free};
  if (head != kNone) blocks_[head].previous = block;
  free_heads_[order] = block;
}

void BuddyPool::unlink_free(uint32_t block) {
  Block& it = blocks_[block];
  if (it.previous != kNone) {
    blocks_[it.previous].next = it.next;
  } else {
    free_heads_[it.order] = it.next;
  }
  if (it.next != kNone) blocks_[it.next].previous = it.previous;
  it.state = State::within;
}

}  // namespace itgtd
