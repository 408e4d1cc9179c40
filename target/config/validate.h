// What concerns more than one value: defaults that come from elsewhere in the file, references, duplicates,
// contradictions.
#pragma once

#include <optional>
#include <string>

#include "target/config/config.h"
#include "target/config/problems.h"

namespace itgtd::config {

/// Fills defaults (LUN numbers, products, portals) and adds everything that is wrong to `problems`. Looks at
/// the file system only to see whether two paths lead to the same disk.
void validate(Config& config, Problems& problems);

/// A sentence when this daemon can't serve the configuration although it is right.
[[nodiscard]] std::optional<std::string> refuse_at_start(const Config& config);

}  // namespace itgtd::config
