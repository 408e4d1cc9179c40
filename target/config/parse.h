// TOML -> Config. Syntax, unknown keys, types and the syntax of each value; what concerns more than one value
// is for validate.
#pragma once

#include <string_view>

#include "target/config/config.h"
#include "target/config/problems.h"

namespace itgtd::config {

/// Reads what can be read; everything that is wrong is added to `problems`. Opens no files.
[[nodiscard]] Config parse(std::string_view text, Problems& problems);

}  // namespace itgtd::config
