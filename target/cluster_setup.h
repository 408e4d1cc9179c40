// What the cluster needs to know of the configuration: a setup for each group. Pure.
#pragma once

#include <string>
#include <vector>

#include "ha/release.h"
#include "ha/runtime.h"
#include "target/config/config.h"

namespace itgtd::target {

/// The groups of a validated configuration.
[[nodiscard]] std::vector<ha::GroupSetup> group_setups(const config::Config& config);

/// What of all groups is given up when the daemon has ended.
[[nodiscard]] ha::ReleaseWork release_work(const config::Config& config);

/// Everything of a group that initiators or decisions would see, in one text: equal on two nodes exactly when
/// both serve the same. Not in it: interfaces and paths, which may differ between machines, and secrets as
/// such.
[[nodiscard]] std::string group_text(const config::Config& config, const config::GroupConfig& group);

}  // namespace itgtd::target
