// The log sink: a line per event that matters, to standard error (the journal takes it from there).
//
// Not for the data path and not for pure cores: a line is formatted and written by the caller's thread.
#pragma once

#include <fmt/core.h>

#include <string_view>

namespace itgtd::log {

enum class Level { error = 0, warning, info, debug };

/// Lines above `level` are dropped. Any thread; takes effect at once.
void set_level(Level level);
[[nodiscard]] bool enabled(Level level);

/// Writes one line. Control characters in `text` are escaped, so that a name from the wire can't forge a
/// line.
void write(Level level, std::string_view text);

template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::error, fmt::vformat(format, fmt::make_format_args(args...)));
}
template <typename... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::warning)) write(Level::warning, fmt::vformat(format, fmt::make_format_args(args...)));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::info)) write(Level::info, fmt::vformat(format, fmt::make_format_args(args...)));
}
template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::debug)) write(Level::debug, fmt::vformat(format, fmt::make_format_args(args...)));
}

}  // namespace itgtd::log
