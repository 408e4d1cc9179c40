#include "target/config/load.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "target/config/parse.h"
#include "target/config/problems.h"
#include "target/config/secrets.h"
#include "target/config/validate.h"

namespace itgtd::config {
namespace {

Loaded unreadable(const std::string& path, std::string_view why) {
  Problems problems(path);
  problems.add(0, why);
  return {{}, problems.take()};
}

}  // namespace

Loaded load_text(std::string_view text, const std::string& file_name) {
  Problems problems(file_name);
  // Most likely an editor or a full disk cut it off: read as "serve nothing" it would end every session.
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    problems.add(0, "is empty; a configuration has at least a [[target]] (docs/example.toml)");
    return {{}, problems.take()};
  }
  Loaded loaded;
  loaded.config = parse(text, problems);
  read_secrets(loaded.config, problems);
  validate(loaded.config, problems);
  loaded.problems = problems.take();
  return loaded;
}

Loaded load_file(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    return unreadable(path, error && error.value() != ENOENT
                                ? fmt::format("can't be read: {}", error.message())
                                : "there is no such file; name the configuration with --config FILE");
  }
  if (std::filesystem::is_directory(status)) return unreadable(path, "is a directory; name the file in it");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return unreadable(path, fmt::format("can't be opened: {}", std::strerror(errno)));
  std::string text(kConfigFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return unreadable(path, fmt::format("can't be read: {}", std::strerror(errno)));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kConfigFileBytesMax) {
    return unreadable(
        path, fmt::format("has more than {} MiB, which no configuration has", kConfigFileBytesMax >> 20));
  }
  return load_text(text, path);
}

}  // namespace itgtd::config
