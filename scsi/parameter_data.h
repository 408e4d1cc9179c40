// Builds the parameter data of one command, and sends as much of it as the initiator has room for.
//
// The whole answer is made in a buffer of its own, so that lengths in it are those of the whole (SPC-4
// §4.2.5.6: a truncated answer still tells its full length), and nothing but what was written is ever sent.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/endian.h"
#include "scsi/cdb.h"
#include "scsi/command.h"

namespace itgtd::scsi {

class ParameterData {
 public:
  [[nodiscard]] size_t size() const { return size_; }

  void u8(uint8_t value) { store(extend(1), value); }
  void u16(uint16_t value) { store(extend(2), be16(value)); }
  void u24(uint32_t value) { store(extend(3), be24(value)); }
  void u32(uint32_t value) { store(extend(4), be32(value)); }
  void u64(uint64_t value) { store(extend(8), be64(value)); }
  void zeros(size_t count) { (void)extend(count); }
  void bytes(ConstBytes from);
  /// `text` in exactly `width` characters: cut, or padded with spaces. SPC-4 §4.3.1: left aligned ASCII.
  void padded(std::string_view text, size_t width);
  /// `count` more bytes, zero, to be filled in by the caller; valid until the next call.
  [[nodiscard]] Bytes extend(size_t count);

  void set_u8(size_t at, uint8_t value) { store(Bytes(buffer_).subspan(at), value); }
  void set_u16(size_t at, uint16_t value) { store(Bytes(buffer_).subspan(at), be16(value)); }
  void set_u32(size_t at, uint32_t value) { store(Bytes(buffer_).subspan(at), be32(value)); }

  /// GOOD, with what fits of this in the command's data.
  [[nodiscard]] Done send(Command& command) const;

 private:
  std::array<std::byte, kParameterDataBytesMax> buffer_{};
  size_t size_ = 0;
};

}  // namespace itgtd::scsi
