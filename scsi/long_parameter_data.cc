#include "scsi/long_parameter_data.h"

#include <algorithm>

namespace itgtd::scsi {
namespace {

/// The part of `count` bytes at `at` that is within `to`.
Bytes within(Bytes to, size_t at, size_t count) {
  if (at >= to.size()) return {};
  return to.subspan(at, std::min(count, to.size() - at));
}

}  // namespace

void LongParameterData::zeros(size_t count) {
  std::ranges::fill(within(to_, size_, count), std::byte{0});
  size_ += count;
}

void LongParameterData::bytes(ConstBytes from) {
  const Bytes to = within(to_, size_, from.size());
  std::copy_n(from.begin(), to.size(), to.begin());
  size_ += from.size();
}

void LongParameterData::set_u32(size_t at, uint32_t value) {
  const be32 wire(value);
  const Bytes to = within(to_, at, sizeof(wire));
  std::copy_n(bytes_of(wire).begin(), to.size(), to.begin());
}

Done LongParameterData::send() const {
  return good(static_cast<uint32_t>(std::min(size_, to_.size())));
}

}  // namespace itgtd::scsi
