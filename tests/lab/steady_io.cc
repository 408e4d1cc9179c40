// One write after another on a block device or in a file, for as long as it is told, each timed; in the end
// all of it is read back and compared. For the lab: with multipath that queues, no write may ever fail.
//
//   itgt-steady-io DEVICE OFFSET SECONDS INTERVAL_MS
//
// Writes kUnits blocks of 4096 bytes from OFFSET on, round and round, with O_DIRECT. SIGTERM ends it before
// SECONDS are over. "progress WRITES MS" comes a few times a second; the last line is JSON: writes,
// longest_ms of a write and at what time it began, all writes of more than 500 ms, errors, and lost: blocks
// that do not have what was written last. Exit status 0: neither errors nor lost blocks.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/parse.h"

namespace steady {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kUnitBytes = 4096;
constexpr uint64_t kUnits = 1024;
constexpr size_t kListedMax = 100;
constexpr milliseconds kSlow{500};
constexpr milliseconds kProgress{250};

std::sig_atomic_t told_to_end = 0;

int64_t ms(Clock::duration time) {
  return std::chrono::duration_cast<milliseconds>(time).count();
}

struct Options {
  std::string device;
  uint64_t offset_bytes = 0;
  uint64_t seconds = 0;
  uint64_t interval_ms = 0;
};

class Writer {
 public:
  explicit Writer(Options options)
      : options_(std::move(options)),
        fd_(::open(options_.device.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600)),
        memory_(static_cast<std::byte*>(std::aligned_alloc(kUnitBytes, kUnitBytes)), &std::free),
        written_(kUnits, 0) {}
  ~Writer() {
    if (fd_ >= 0) ::close(fd_);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  [[nodiscard]] bool opened() const { return fd_ >= 0 && memory_ != nullptr; }

  void write_all() {
    const Clock::time_point end = started_ + std::chrono::seconds(options_.seconds);
    Clock::time_point progress = started_;
    while (told_to_end == 0 && Clock::now() < end) {
      write_one(++number_);
      if (Clock::now() >= progress) {
        say(fmt::format("progress {} {}\n", number_, ms(Clock::now() - started_)));
        progress = Clock::now() + kProgress;
      }
      if (options_.interval_ms > 0)
        static_cast<void>(::poll(nullptr, 0, static_cast<int>(options_.interval_ms)));
    }
  }

  void compare_all() {
    for (uint64_t unit = 0; unit < kUnits; ++unit) {
      if (written_[unit] == 0) continue;
      if (::pread(fd_, memory_.get(), kUnitBytes, offset_of(unit)) != ssize_t{kUnitBytes}) {
        error(fmt::format("read of block {}: {}", unit, std::strerror(errno)));
        continue;
      }
      const std::span<const std::byte> read(memory_.get(), kUnitBytes);
      std::array<std::byte, kUnitBytes> wanted{};
      fill(wanted, written_[unit]);
      if (!std::ranges::equal(read, wanted)) ++lost_;
    }
  }

  /// Prints it; the exit status.
  [[nodiscard]] int tell() const {
    const nlohmann::json result = {
        {"writes", number_}, {"longest_ms", longest_ms_},  {"longest_at_ms", longest_at_ms_},
        {"slow", slow_},     {"errors", errors_},          {"said", said_},
        {"lost", lost_},     {"ms", ms(ended_ - started_)}};
    say(result.dump() + "\n");
    return errors_ == 0 && lost_ == 0 ? 0 : 1;
  }
  void ended() { ended_ = Clock::now(); }

 private:
  static void say(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }
  void error(const std::string& text) {
    ++errors_;
    if (said_.size() < kListedMax)
      said_.push_back(fmt::format("{} ms: {}", ms(Clock::now() - started_), text));
  }
  [[nodiscard]] off_t offset_of(uint64_t unit) const {
    return static_cast<off_t>(options_.offset_bytes + unit * kUnitBytes);
  }
  /// What write `number` puts into its block.
  static void fill(std::span<std::byte> block, uint64_t number) {
    uint64_t value = number * 0x9E3779B97F4A7C15U + 1;
    for (size_t i = 0; i + sizeof value <= block.size(); i += sizeof value) {
      std::memcpy(&block[i], &value, sizeof value);
      value = value * 6364136223846793005U + number;
    }
  }
  void write_one(uint64_t number) {
    const uint64_t unit = number % kUnits;
    fill({memory_.get(), kUnitBytes}, number);
    const Clock::time_point begin = Clock::now();
    const ssize_t put = ::pwrite(fd_, memory_.get(), kUnitBytes, offset_of(unit));
    const Clock::duration took = Clock::now() - begin;
    if (put != ssize_t{kUnitBytes}) {
      error(fmt::format("write {}: {}", number, put < 0 ? std::strerror(errno) : "short"));
      return;
    }
    written_[unit] = number;
    if (ms(took) > longest_ms_) {
      longest_ms_ = ms(took);
      longest_at_ms_ = ms(begin - started_);
    }
    if (took > kSlow && slow_.size() < kListedMax)
      slow_.push_back({{"at_ms", ms(begin - started_)}, {"ms", ms(took)}});
  }

  const Options options_;
  const int fd_;
  const std::unique_ptr<std::byte, decltype(&std::free)> memory_;
  const Clock::time_point started_ = Clock::now();
  Clock::time_point ended_ = started_;
  std::vector<uint64_t> written_;  ///< by block, the number of the last write that was acknowledged; 0: none
  uint64_t number_ = 0;
  int64_t longest_ms_ = 0;
  int64_t longest_at_ms_ = 0;
  uint64_t errors_ = 0;
  uint64_t lost_ = 0;
  std::vector<std::string> said_;
  std::vector<nlohmann::json> slow_;
};

}  // namespace
}  // namespace steady

int main(int argc, char** argv) {
  const std::span<char*> arguments(argv, static_cast<size_t>(argc));
  if (arguments.size() != 5) return 2;
  steady::Options options{arguments[1]};
  for (const auto& [text, value] :
       {std::pair(arguments[2], &options.offset_bytes), std::pair(arguments[3], &options.seconds),
        std::pair(arguments[4], &options.interval_ms)}) {
    const auto parsed = itgtd::parse_u64(text);
    if (!parsed) return 2;
    *value = *parsed;
  }
  static_cast<void>(std::signal(SIGTERM, [](int) { steady::told_to_end = 1; }));
  steady::Writer writer(options);
  if (!writer.opened()) {
    fmt::print("itgt-steady-io: {}: {}\n", options.device, std::strerror(errno));
    return 2;
  }
  writer.write_all();
  writer.ended();
  writer.compare_all();
  return writer.tell();
}
