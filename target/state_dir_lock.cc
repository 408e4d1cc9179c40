#include "target/state_dir_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "base/bytes.h"

namespace itgtd::target {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr mode_t kDirectoryMode = 0700;

/// What the holder wrote: digits and a line feed; empty when it has not yet.
std::string holder_of(int fd) {
  std::array<std::byte, 24> bytes{};
  const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), 0);
  if (got <= 0) return {};
  const std::string_view text = as_text(ConstBytes(bytes).first(static_cast<size_t>(got)));
  return std::string(text.substr(0, text.find_first_not_of("0123456789")));
}

}  // namespace

Result<StateDirLock> StateDirLock::take(const std::string& state_dir) {
  const std::string path = state_dir + "/lock";
  if (::mkdir(state_dir.c_str(), kDirectoryMode) != 0 && errno != EEXIST) {
    return Error{errno, fmt::format("cannot make directory \"{}\"", state_dir)};
  }
  // Not across fork and exec: programs that the daemon starts must not keep it when the daemon has ended.
  StateDirLock lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kFileMode));
  if (!lock.fd_.ok()) return Error{errno, fmt::format("cannot open \"{}\"", path)};
  if (::flock(lock.fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Error{errno, fmt::format("cannot lock \"{}\"", path)};
    const std::string holder = holder_of(lock.fd_.get());
    return Error{0,
                 fmt::format("another itgtd{} uses \"{}\"; stop it, or give this one a state_dir of its own",
                             holder.empty() ? "" : fmt::format(" (process {})", holder), state_dir)};
  }
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(lock.fd_.get(), 0) != 0 ||
      ::pwrite(lock.fd_.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return Error{errno, fmt::format("cannot write \"{}\"", path)};
  }
  return lock;
}

}  // namespace itgtd::target
