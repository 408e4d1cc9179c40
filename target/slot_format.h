// A file that holds one value, and always a whole one: two slots, of which a save overwrites the older.
//
// The slots stand at fixed offsets, whole blocks of any disk apart, whatever is in them: a torn write of one
// can't reach the other, however much the value has grown. A slot is valid exactly when its CRC is right, so
// whatever a crash leaves of a write, the newest valid slot holds the value before it or the one after it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace itgtd::target {

inline constexpr size_t kSlotCount = 2;
/// From one slot to the next. A quarter of it is what a logical unit with all registrants there can be needs.
inline constexpr uint64_t kSlotStrideBytes = uint64_t{1} << 20;
inline constexpr size_t kSlotHeaderBytes = 32;
inline constexpr size_t kSlotPayloadBytesMax = kSlotStrideBytes - kSlotHeaderBytes;

/// What a valid slot holds.
struct Slot {
  size_t index = 0;
  uint64_t generation = 0;
  std::vector<std::byte> payload;
};

/// How many bytes the slot that begins with `header` has in all; 0: it is none. `header` may be short.
[[nodiscard]] size_t slot_bytes(ConstBytes header);

/// The newer of the valid slots; `slots` are their first slot_bytes() bytes, or less. An error: none is
/// valid, or a valid one is of a version that this program does not know.
[[nodiscard]] Result<Slot> newest_slot(std::array<ConstBytes, kSlotCount> slots);

/// A write, at once or torn, and then a flush.
struct SlotWrite {
  size_t index = 0;
  uint64_t generation = 0;
  uint64_t offset_bytes = 0;
  std::vector<std::byte> bytes;
};
/// What stores `payload` (at most kSlotPayloadBytesMax) when `newest` is what the file holds; null: nothing.
[[nodiscard]] SlotWrite next_slot_write(const Slot* newest, ConstBytes payload);

}  // namespace itgtd::target
