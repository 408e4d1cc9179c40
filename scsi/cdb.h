// Fields of a CDB, and the data phases that most commands have.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/endian.h"
#include "scsi/command.h"

namespace itgtd::scsi {

/// The most parameter data that a command returns: REPORT SUPPORTED OPERATION CODES and REPORT LUNS of all
/// LUNs fit with room to spare. Also bounds the memory that an allocation length can ask for.
inline constexpr uint32_t kParameterDataBytesMax = 4096;

/// Service actions stand in the low five bits of byte 1 (SPC-4 §4.2.5.2): of every CDB that fits 16 bytes.
inline constexpr uint8_t kServiceActionMask = 0x1F;

/// Big-endian fields that start at byte `at`.
[[nodiscard]] inline uint16_t cdb_u16(const Command& command, size_t at) {
  return load<be16>(std::as_bytes(std::span(command.cdb)).subspan(at)).get();
}
[[nodiscard]] inline uint32_t cdb_u32(const Command& command, size_t at) {
  return load<be32>(std::as_bytes(std::span(command.cdb)).subspan(at)).get();
}
[[nodiscard]] inline uint64_t cdb_u64(const Command& command, size_t at) {
  return load<be64>(std::as_bytes(std::span(command.cdb)).subspan(at)).get();
}
[[nodiscard]] inline bool cdb_bit(const Command& command, size_t byte, unsigned bit) {
  return ((command.cdb[byte] >> bit) & 1) != 0;
}

/// The data phase of a command that returns parameter data: never more memory than it can fill, whatever the
/// ALLOCATION LENGTH says (SPC-4 §4.2.5.6 lets it be larger than what there is).
[[nodiscard]] inline DataPhase parameter_data_in(uint32_t allocation_length) {
  return {DataDirection::in, std::min(allocation_length, kParameterDataBytesMax), 0};
}

}  // namespace itgtd::scsi
