#include "ha/epoch_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "base/bytes.h"
#include "base/descriptor.h"
#include "base/parse.h"

namespace itgtd::ha {
namespace {

/// As many epochs as one ring has.
constexpr Epoch kStep = Epoch{1} << 16;
/// Of 2^64 - 1, and the end of the line: always written as a whole, within one sector.
constexpr size_t kDigits = 20;
constexpr size_t kFileBytes = kDigits + 1;

}  // namespace

Result<Epoch> EpochFile::load() {
  const Descriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.ok()) {
    if (errno == ENOENT) return Epoch{0};
    return Error{errno, fmt::format("can't open {}", path_)};
  }
  std::array<char, kFileBytes> text{};
  const ssize_t read = ::pread(file.get(), text.data(), text.size(), 0);
  const auto digits = std::string_view(text.data(), kDigits);
  const auto bound = parse_u64(digits);
  if (read != static_cast<ssize_t>(kFileBytes) || text.back() != '\n' || !bound) {
    return Error{
        0, fmt::format("{} is damaged; remove it: the other nodes know, as long as one of them runs", path_)};
  }
  bound_ = *bound;
  return bound_;
}

Result<void> EpochFile::note(Epoch epoch) {
  if (epoch < bound_) return {};
  const Epoch bound = (epoch / kStep + 1) * kStep;
  const Descriptor file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_DSYNC | O_CLOEXEC, 0600));
  if (!file.ok()) return Error{errno, fmt::format("can't open {}", path_)};
  const std::string text = fmt::format("{:0{}}\n", bound, kDigits);
  if (::pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return Error{errno, fmt::format("can't write {}", path_)};
  bound_ = bound;
  return {};
}

}  // namespace itgtd::ha
