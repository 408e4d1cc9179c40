// The 64 bits that travel through io_uring with every operation: what it is, whose it is, and which tenant of
// the slot.
#pragma once

#include <cstdint>

#include "base/slab.h"

namespace itgtd::net {

/// Who an operation belongs to. The one switch over these is in target/worker.cc.
enum class OpKind : uint8_t {
  none = 0,
  accept,    ///< slot: listener
  receive,   ///< slot: connection
  send,      ///< slot: connection
  shutdown,  ///< slot: connection
  close,     ///< slot: connection
  backend,   ///< slot: task
  mailbox,   ///< slot: unused
  cancel,    ///< result ignored; slot: whatever was cancelled
};

/// kind (8 bits) | generation (24 bits) | slot (32 bits).
struct OpId {
  OpKind kind = OpKind::none;
  SlotId slot;

  [[nodiscard]] uint64_t pack() const {
    return (static_cast<uint64_t>(kind) << 56) |
           (static_cast<uint64_t>(slot.generation & kGenerationMask) << 32) | slot.index;
  }
  [[nodiscard]] static OpId unpack(uint64_t data) {
    return {static_cast<OpKind>(data >> 56),
            {static_cast<uint32_t>(data), static_cast<uint32_t>(data >> 32) & kGenerationMask}};
  }
};

}  // namespace itgtd::net
