#include "target/backend/block_queue.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <string_view>

#include "base/parse.h"

namespace itgtd::backend {
namespace {

// One short line of sysfs, without its line end; empty when it is not there.
std::string read_line(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  std::array<char, 64> text{};
  const ssize_t got = ::read(fd, text.data(), text.size());
  ::close(fd);
  std::string line(text.data(), got > 0 ? static_cast<size_t>(got) : 0);
  if (line.ends_with('\n')) line.pop_back();
  return line;
}

}  // namespace

BlockQueue read_block_queue(dev_t device, const std::string& sysfs_root) {
  const std::string base = fmt::format("{}/dev/block/{}:{}", sysfs_root, major(device), minor(device));
  std::string queue = base + "/queue/";
  // A partition has no queue of its own; its folder lies in that of its disk.
  if (::access(queue.c_str(), F_OK) != 0) queue = base + "/../queue/";
  const auto number = [&](const char* name) { return parse_u64(read_line(queue + name)).value_or(0); };
  BlockQueue facts;
  facts.write_through = read_line(queue + "write_cache") == "write through";
  facts.fua = number("fua") == 1;
  facts.rotational = number("rotational") == 1;
  facts.discard_granularity_bytes = number("discard_granularity");
  facts.discard_bytes_max = number("discard_max_bytes");
  facts.write_zeroes_bytes_max = number("write_zeroes_max_bytes");
  return facts;
}

}  // namespace itgtd::backend
