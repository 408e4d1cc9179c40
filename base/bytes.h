// Bytes as the kernel and the wire have them, and the only casts between them and wire structs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/assert.h"

namespace itgtd {

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

template <typename T>
concept WireStruct = std::is_trivially_copyable_v<T> && alignof(T) == 1;

/// A copy of the T at the start of `from`, which must hold at least sizeof(T) bytes.
template <WireStruct T>
[[nodiscard]] T load(ConstBytes from) {
  ITGTD_ASSERT(from.size() >= sizeof(T));
  T value;
  std::memcpy(&value, from.data(), sizeof(T));
  return value;
}

/// Writes `value` at the start of `to`, which must have room for sizeof(T) bytes.
template <WireStruct T>
void store(Bytes to, const T& value) {
  ITGTD_ASSERT(to.size() >= sizeof(T));
  std::memcpy(to.data(), &value, sizeof(T));
}

/// The T that stands at the start of `bytes`, in place; it lives as long as they do.
template <WireStruct T>
[[nodiscard]] T* view(Bytes bytes) {
  ITGTD_ASSERT(bytes.size() >= sizeof(T));
  return reinterpret_cast<T*>(bytes.data());
}
template <WireStruct T>
[[nodiscard]] const T* view(ConstBytes bytes) {
  ITGTD_ASSERT(bytes.size() >= sizeof(T));
  return reinterpret_cast<const T*>(bytes.data());
}

/// The bytes of one wire struct.
template <WireStruct T>
[[nodiscard]] Bytes bytes_of(T& value) {
  return {reinterpret_cast<std::byte*>(&value), sizeof(T)};
}
template <WireStruct T>
[[nodiscard]] ConstBytes bytes_of(const T& value) {
  return {reinterpret_cast<const std::byte*>(&value), sizeof(T)};
}

/// Text as bytes, and back. Neither copies.
[[nodiscard]] inline ConstBytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
[[nodiscard]] inline std::string_view as_text(ConstBytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace itgtd
