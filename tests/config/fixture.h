// What the tests of the configuration share: a directory with secret files, and texts that name it.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "target/config/load.h"

namespace itgtd::config {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "itgtd-config-XXXXXX").string();
    ITGTD_ASSERT(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  void write(const std::string& name, std::string_view text, mode_t mode = 0600) const {
    const std::string path = path_ + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    ITGTD_ASSERT(chmod(path.c_str(), mode) == 0);
  }

 private:
  std::string path_;
};

inline constexpr std::string_view kSecret = "Correct-Horse-1";
inline constexpr std::string_view kOtherSecret = "Battery-Staple-2";

/// The files that golden texts name below @DIR@.
inline void write_secrets(const TemporaryDirectory& directory) {
  directory.write("good", std::string(kSecret) + "\n");
  directory.write("same", std::string(kSecret) + "\r\n");
  directory.write("other", kOtherSecret);
  directory.write("short", "12345678901\n");
  directory.write("long", std::string(256, 'L'));
  directory.write("open", kOtherSecret, 0604);
  directory.write("lines", std::string(kSecret) + "\n" + std::string(kOtherSecret) + "\n");
  ITGTD_ASSERT(mkfifo((directory.path() + "/fifo").c_str(), 0600) == 0);
}

inline std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::string to_text(const std::vector<Problem>& problems) {
  std::string text;
  for (const Problem& problem : problems) text += problem.to_string() + "\n";
  return text;
}

}  // namespace itgtd::config
