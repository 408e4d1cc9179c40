// A configuration file from text to values that can be served: parse, secrets, validate.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "target/config/config.h"

namespace itgtd::config {

/// More than ten thousand LUNs in full; a bigger file is not a configuration.
inline constexpr size_t kConfigFileBytesMax = size_t{4} << 20;

struct Loaded {
  Config config;                  ///< complete and fit for use exactly when there are no problems
  std::vector<Problem> problems;  ///< every error, in the order of the lines
};

/// Blocks on files; control thread. A file that can't be read is one problem at line 0.
[[nodiscard]] Loaded load_file(const std::string& path);
/// `file_name` is for the messages. Reads the secret files that the text names.
[[nodiscard]] Loaded load_text(std::string_view text, const std::string& file_name);

}  // namespace itgtd::config
