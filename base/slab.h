// A fixed number of objects, made once, handed out and taken back without allocation.
//
// Every slot has a generation that grows when the slot is released, so a late reference (a completion, a
// message) to an earlier tenant is told from one to the present tenant. One thread owns a slab.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/assert.h"

namespace itgtd {

/// Names a slot and the tenancy that is meant.
struct SlotId {
  uint32_t index = 0;
  uint32_t generation = 0;  // 24 bits are used: see kGenerationMask
  bool operator==(const SlotId&) const = default;
};

inline constexpr uint32_t kGenerationMask = 0x00FF'FFFF;

template <typename T>
class Slab {
 public:
  explicit Slab(uint32_t capacity)
      : objects_(std::make_unique<T[]>(capacity)),
        tenancies_(std::make_unique<uint32_t[]>(capacity)),
        free_(std::make_unique<uint32_t[]>(capacity)),
        capacity_(capacity),
        available_(capacity) {
    for (uint32_t i = 0; i < capacity; ++i) {
      tenancies_[i] = 1;
      free_[i] = capacity - 1 - i;
    }
  }

  /// A free object (the one released last, so that it is warm), or null when all are out.
  [[nodiscard]] T* acquire() {
    if (available_ == 0) return nullptr;
    const uint32_t index = free_[--available_];
    tenancies_[index] |= kInUse;
    return &objects_[index];
  }
  /// Takes `object` back. Its content is left as it is; the next tenant sets it anew.
  void release(T& object) {
    const uint32_t index = index_of(object);
    const uint32_t tenancy = tenancies_[index];
    ITGTD_ASSERT((tenancy & kInUse) != 0);
    tenancies_[index] = (tenancy + 1) & kGenerationMask;
    free_[available_++] = index;
  }

  [[nodiscard]] uint32_t index_of(const T& object) const {
    const auto index = static_cast<size_t>(&object - objects_.get());
    ITGTD_ASSERT(index < capacity_);
    return static_cast<uint32_t>(index);
  }
  [[nodiscard]] SlotId id_of(const T& object) const {
    const uint32_t index = index_of(object);
    return {index, tenancies_[index] & kGenerationMask};
  }
  /// The tenant that `id` names, or null when it is gone.
  [[nodiscard]] T* find(SlotId id) {
    if (id.index >= capacity_ || tenancies_[id.index] != (id.generation | kInUse)) return nullptr;
    return &objects_[id.index];
  }

  /// The tenant of slot `index`, or null: to walk all of them.
  [[nodiscard]] T* tenant(uint32_t index) {
    ITGTD_ASSERT(index < capacity_);
    return (tenancies_[index] & kInUse) != 0 ? &objects_[index] : nullptr;
  }

  [[nodiscard]] uint32_t capacity() const { return capacity_; }
  [[nodiscard]] uint32_t available() const { return available_; }
  [[nodiscard]] uint32_t used() const { return capacity_ - available_; }

 private:
  static constexpr uint32_t kInUse = 0x8000'0000;
  static_assert((kInUse & kGenerationMask) == 0);

  std::unique_ptr<T[]> objects_;
  /// The generation of each slot, and kInUse while it is out: a look-up is one comparison.
  std::unique_ptr<uint32_t[]> tenancies_;
  std::unique_ptr<uint32_t[]> free_;  ///< the first `available_` are indexes of free slots
  uint32_t capacity_;
  uint32_t available_;
};

}  // namespace itgtd
