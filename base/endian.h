// Big-endian integers of the wire, as byte arrays: no alignment, no padding, no aliasing games.
//
// A wire struct made of these has alignof 1 and can be viewed in place (base/bytes.h). A value is read and
// written explicitly, by get() and set(), so that a conversion is never missed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace itgtd {

namespace endian_detail {
inline uint16_t swap(uint16_t v) {
  return __builtin_bswap16(v);
}
inline uint32_t swap(uint32_t v) {
  return __builtin_bswap32(v);
}
inline uint64_t swap(uint64_t v) {
  return __builtin_bswap64(v);
}
}  // namespace endian_detail

/// An integer of `kBytes` bytes, most significant first, held in type T (which may be wider: 3 bytes, 6
/// bytes).
template <typename T, size_t kBytes>
class BigEndian {
 public:
  BigEndian() = default;
  explicit BigEndian(T value) { set(value); }

  [[nodiscard]] T get() const {
    if constexpr (sizeof(T) == kBytes) {
      T raw;
      std::memcpy(&raw, bytes_, kBytes);
      return endian_detail::swap(raw);
    } else if constexpr (kBytes == 3) {
      return static_cast<T>((T{bytes_[0]} << 16) | (T{bytes_[1]} << 8) | bytes_[2]);
    } else {
      T value = 0;
      for (const uint8_t byte : bytes_) value = static_cast<T>(value << 8) | byte;
      return value;
    }
  }
  /// Bits of `value` beyond kBytes are dropped: the caller has checked the range.
  void set(T value) {
    if constexpr (sizeof(T) == kBytes) {
      const T raw = endian_detail::swap(value);
      std::memcpy(bytes_, &raw, kBytes);
    } else {
      for (size_t i = 0; i < kBytes; ++i) {
        bytes_[i] = static_cast<uint8_t>(value >> (8 * (kBytes - 1 - i)));
      }
    }
  }
  bool operator==(const BigEndian&) const = default;

 private:
  uint8_t bytes_[kBytes] = {};
};

using be16 = BigEndian<uint16_t, 2>;
using be24 = BigEndian<uint32_t, 3>;
using be32 = BigEndian<uint32_t, 4>;
using be48 = BigEndian<uint64_t, 6>;
using be64 = BigEndian<uint64_t, 8>;

static_assert(sizeof(be24) == 3 && alignof(be24) == 1);
static_assert(sizeof(be64) == 8 && alignof(be64) == 1);

}  // namespace itgtd
