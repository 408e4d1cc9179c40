#include <fmt/format.h>

#include <bit>
#include <string_view>

#include "base/parse.h"
#include "target/backend/backend.h"
#include "target/backend/memory.h"
#include "target/backend/uring_file.h"

namespace itgtd::backend {
namespace {

constexpr std::string_view kRamPrefix = "ram:";
constexpr std::string_view kNullPrefix = "null:";
// The largest offset of a file in Linux; nothing that we serve can be larger.
constexpr uint64_t kSizeBytesMax = INT64_MAX;

Result<uint64_t> memory_size(const MediumOptions& options, std::string_view text) {
  const auto size = parse_size(text);
  if (!size || *size > kSizeBytesMax) {
    return Error{0, fmt::format("\"{}\": want a size behind the colon, as {}1G", options.path,
                                options.path.substr(0, options.path.size() - text.size()))};
  }
  if (*size < options.block_bytes) {
    return Error{
        0, fmt::format("\"{}\" has no room for one block of {} bytes", options.path, options.block_bytes)};
  }
  return *size;
}

}  // namespace

Result<std::shared_ptr<Medium>> Medium::open(const MediumOptions& options) {
  const std::string_view path = options.path;
  if (!std::has_single_bit(options.block_bytes) || options.block_bytes < 512) {
    return Error{0, fmt::format("\"{}\": block size {} is not supported; want 512 or 4096", path,
                                options.block_bytes)};
  }
  if (options.physical_block_bytes != 0 && (!std::has_single_bit(options.physical_block_bytes) ||
                                            options.physical_block_bytes < options.block_bytes)) {
    return Error{
        0, fmt::format("\"{}\": physical block size {} is not a power of two that holds the block size", path,
                       options.physical_block_bytes)};
  }
  if (path.starts_with(kRamPrefix)) {
    const auto size = memory_size(options, path.substr(kRamPrefix.size()));
    if (!size) return size.error();
    return RamMedium::open(size.value(), options);
  }
  if (path.starts_with(kNullPrefix)) {
    const auto size = memory_size(options, path.substr(kNullPrefix.size()));
    if (!size) return size.error();
    return std::shared_ptr<Medium>(std::make_shared<NullMedium>(size.value(), options));
  }
  return UringFileMedium::open(options);
}

}  // namespace itgtd::backend
