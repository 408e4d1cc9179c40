#include "target/config/serials.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "base/descriptor.h"
#include "target/config/syntax.h"
#include "target/config/text.h"

namespace itgtd::config {
namespace {

// The file: this line, then a line for each disk: its serial, a space, its key.
constexpr std::string_view kHeader = "itgtd serials 1";
/// So many collisions of 64 random bits are no accident.
constexpr int kAttemptsMax = 8;

using Serials = std::map<std::string, std::string>;  // key -> serial

Error failed(std::string_view what, const std::string& path) {
  return {errno, fmt::format("{} {}", what, path)};
}

Result<std::string> read_file(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.ok() && errno == ENOENT) return std::string();
  if (!file.ok()) return failed("can't open", path);
  std::string text;
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t count = read(file.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("can't read", path);
    if (count == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(count));
    if (text.size() > kSerialsFileBytesMax) return Error{EFBIG, fmt::format("can't read {}", path)};
  }
}

bool is_serial(std::string_view text) {
  return text.size() == kMadeSerialDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<Serials> parse_serials(std::string_view text, const std::string& path) {
  Serials serials;
  uint32_t line_number = 0;
  while (!text.empty()) {
    line_number++;
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    const bool whole = end != std::string_view::npos;
    text.remove_prefix(whole ? end + 1 : text.size());
    if (whole && line_number == 1 && line == kHeader) continue;
    const size_t space = line.find(' ');
    const bool good = whole && line_number > 1 && space != std::string_view::npos &&
                      space + 1 < line.size() && is_serial(line.substr(0, space)) &&
                      serials.emplace(line.substr(space + 1), line.substr(0, space)).second;
    if (good) continue;
    return Error{0,
                 fmt::format("{}:{}: is damaged; restore the file, or write the serial of each disk into the "
                             "configuration (initiators know it) and remove the file",
                             path, line_number)};
  }
  return serials;
}

Result<void> write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t count = write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("can't write", path);
    text.remove_prefix(static_cast<size_t>(count));
  }
  return {};
}

Result<void> sync_directory(const std::string& directory) {
  const Descriptor opened(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened.ok() || fsync(opened.get()) != 0) return failed("can't make durable", directory);
  return {};
}

/// The old file stays whole until the new one is durable.
Result<void> replace_file(const std::string& path, std::string_view text) {
  const std::string temporary = path + ".new";
  {
    const Descriptor file(
        open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.ok()) return failed("can't create", temporary);
    auto written = write_all(file.get(), text, temporary);
    if (!written) return written;
    if (fsync(file.get()) != 0) return failed("can't make durable", temporary);
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) return failed("can't replace", path);
  return sync_directory(std::filesystem::path(path).parent_path().string());
}

std::string key_of(const TargetConfig& target, const LunConfig& lun) {
  if (!is_memory_path(lun.path)) return lun.path;
  return fmt::format("{} LUN {}", target.name, lun.id);
}

/// One that no other disk has.
Result<std::string> make_serial(const std::set<std::string>& wwids, const RandomSource& random) {
  for (int attempt = 0; attempt < kAttemptsMax; attempt++) {
    std::array<std::byte, kMadeSerialDigits / 2> bytes{};
    random(bytes);
    std::string serial;
    for (const std::byte byte : bytes) serial += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
    if (!wwids.contains(naa_digits(serial))) return serial;
  }
  return Error{0, "can't make a serial: the random bytes repeat themselves"};
}

class Filler {
 public:
  Filler(Config& config, Serials& serials, const RandomSource& random)
      : config_(config), serials_(serials), random_(random) {}

  /// Whether there is something new to write.
  Result<bool> run() {
    for (const auto& [key, serial] : serials_) wwids_.insert(naa_digits(serial));
    for (const TargetConfig& target : config_.targets) {
      for (const LunConfig& lun : target.luns) {
        if (lun.serial.empty()) continue;
        written_.insert(naa_digits(lun.serial));
        wwids_.insert(naa_digits(lun.serial));
      }
    }
    for (TargetConfig& target : config_.targets) {
      for (LunConfig& lun : target.luns) {
        if (!lun.serial.empty()) continue;
        const auto filled = fill(target, lun);
        if (!filled) return filled.error();
      }
    }
    return changed_;
  }

 private:
  Result<void> fill(const TargetConfig& target, LunConfig& lun) {
    const std::string key = key_of(target, lun);
    if (const auto found = serials_.find(key); found != serials_.end()) {
      if (written_.contains(naa_digits(found->second))) {
        return Error{
            0, fmt::format("the serial {} of {} was made for {}, which is LUN {} of target {}; write another "
                           "serial for one of the two",
                           found->second, "another LUN", in_quotes(key), lun.id, target.name)};
      }
      lun.serial = found->second;
      return {};
    }
    auto serial = make_serial(wwids_, random_);
    if (!serial) return serial.error();
    lun.serial = *serial;
    wwids_.insert(naa_digits(*serial));
    serials_.emplace(key, std::move(*serial));
    changed_ = true;
    return {};
  }

  Config& config_;
  Serials& serials_;
  const RandomSource& random_;
  std::set<std::string> wwids_;    // of all disks, known and configured
  std::set<std::string> written_;  // of those whose serial the operator wrote
  bool changed_ = false;
};

}  // namespace

std::string serials_path(const std::string& state_dir) {
  return state_dir + "/serials";
}

Result<void> fill_serials(Config& config, const RandomSource& random) {
  const std::string path = serials_path(config.daemon.state_dir);
  const auto text = read_file(path);
  if (!text) return text.error();
  auto serials = parse_serials(text.value(), path);
  if (!serials) return serials.error();
  const auto changed = Filler(config, *serials, random).run();
  if (!changed) return changed.error();
  if (!changed.value()) return {};
  std::error_code error;
  std::filesystem::create_directories(config.daemon.state_dir, error);
  if (error) return Error{error.value(), fmt::format("can't create state_dir {}", config.daemon.state_dir)};
  std::string lines = std::string(kHeader) + "\n";
  for (const auto& [key, serial] : *serials) lines += fmt::format("{} {}\n", serial, key);
  return replace_file(path, lines);
}

}  // namespace itgtd::config
