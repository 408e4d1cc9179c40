// Parameter data that may be longer than ParameterData holds: written straight into the command's data.
//
// What goes beyond the allocation length is counted and not written, so that lengths are those of the whole
// (SPC-4 §4.2.5.6). Every byte up to the end is written, in order: nothing of what the memory held before is
// ever sent.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/endian.h"
#include "scsi/command.h"

namespace itgtd::scsi {

class LongParameterData {
 public:
  /// `command` outlives this.
  explicit LongParameterData(const Command& command) : to_(command.data) {}

  /// Of the whole, whether it was written or not.
  [[nodiscard]] size_t size() const { return size_; }

  void u8(uint8_t value) { put(value); }
  void u16(uint16_t value) { put(be16(value)); }
  void u32(uint32_t value) { put(be32(value)); }
  void u64(uint64_t value) { put(be64(value)); }
  void zeros(size_t count);
  void bytes(ConstBytes from);
  /// Writes over what stands at `at`, as far as it is there.
  void set_u32(size_t at, uint32_t value);

  /// GOOD, with what was written.
  [[nodiscard]] Done send() const;

 private:
  template <WireStruct T>
  void put(const T& value) {
    bytes(bytes_of(value));
  }

  Bytes to_;
  size_t size_ = 0;
};

}  // namespace itgtd::scsi
