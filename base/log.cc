#include "base/log.h"

#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <ctime>
#include <string>

namespace itgtd::log {
namespace {

// The log sink is the one mutable global of the program (docs/ARCHITECTURE.md).
std::atomic<Level> g_level{Level::info};

// With JOURNAL_STREAM set, the journal stamps the time and takes the priority from "<N>" (sd-daemon(3)).
bool under_journal() {
  static const bool value = std::getenv("JOURNAL_STREAM") != nullptr;
  return value;
}

const char* priority(Level level) {
  switch (level) {
    case Level::error:
      return "<3>";
    case Level::warning:
      return "<4>";
    case Level::info:
      return "<6>";
    case Level::debug:
      return "<7>";
  }
  return "<6>";
}

const char* word(Level level) {
  switch (level) {
    case Level::error:
      return "error: ";
    case Level::warning:
      return "warning: ";
    case Level::info:
      return "";
    case Level::debug:
      return "debug: ";
  }
  return "";
}

std::string time_stamp() {
  timeval time{};
  gettimeofday(&time, nullptr);
  tm parts{};
  localtime_r(&time.tv_sec, &parts);
  return fmt::format("{:02}:{:02}:{:02}.{:03} ", parts.tm_hour, parts.tm_min, parts.tm_sec,
                     time.tv_usec / 1000);
}

void append_escaped(std::string& line, std::string_view text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += c;
    }
  }
}

}  // namespace

void set_level(Level level) {
  g_level.store(level, std::memory_order_relaxed);
}

bool enabled(Level level) {
  return level <= g_level.load(std::memory_order_relaxed);
}

void write(Level level, std::string_view text) {
  std::string line = under_journal() ? priority(level) : time_stamp();
  line += word(level);
  append_escaped(line, text);
  line += '\n';
  // One write per line keeps lines of several threads apart. A log that can't be written has nowhere to say
  // so.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace itgtd::log
