#include "scsi/parameter_data.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"

namespace itgtd::scsi {

Bytes ParameterData::extend(size_t count) {
  ITGTD_ASSERT(count <= buffer_.size() - size_);
  const Bytes added = Bytes(buffer_).subspan(size_, count);
  size_ += count;
  return added;
}

void ParameterData::bytes(ConstBytes from) {
  const Bytes to = extend(from.size());
  std::copy(from.begin(), from.end(), to.begin());
}

void ParameterData::padded(std::string_view text, size_t width) {
  const Bytes to = extend(width);
  std::fill(to.begin(), to.end(), std::byte{' '});
  const ConstBytes from = as_bytes(text.substr(0, width));
  std::copy(from.begin(), from.end(), to.begin());
}

Done ParameterData::send(Command& command) const {
  const size_t count = std::min(size_, command.data.size());
  if (count != 0) std::memcpy(command.data.data(), buffer_.data(), count);
  return good(static_cast<uint32_t>(count));
}

}  // namespace itgtd::scsi
