// What a verified block holds: its address, its writer and its generation, then noise made from them, then a
// CRC32C. A block that was torn, moved, lost or left behind by an earlier write shows which.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"

namespace itgtd::bench {

/// The unit of verification, whatever the logical block size: a multiple of it is always written whole.
inline constexpr size_t kPatternBytes = 512;

/// Who wrote which version.
struct Stamp {
  uint64_t run = 0;         ///< differs between runs, so that an old run's blocks are known as such
  uint32_t writer = 0;      ///< the connection's number in the run
  uint32_t generation = 0;  ///< of the place; 1 is the first write of this run
  bool operator==(const Stamp&) const = default;
};

/// Fills `data` (a multiple of kPatternBytes), whose first block stands at `address` (in units of
/// kPatternBytes from the start of the logical unit).
void fill_pattern(Bytes data, uint64_t address, const Stamp& stamp);

/// What is wrong with `data`, in one sentence about the first bad block; nothing when all of it is as
/// fill_pattern() made it.
[[nodiscard]] std::optional<std::string> check_pattern(ConstBytes data, uint64_t address, const Stamp& stamp);

}  // namespace itgtd::bench
