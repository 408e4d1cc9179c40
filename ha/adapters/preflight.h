// What of corosync, and of this node, is unsafe for the groups of the configuration. Pure; DRBD's part is
// Drbd::preflight, and which VIPs have no interface is known later (VipFacts).
#pragma once

#include <string>
#include <vector>

#include "ha/adapters/corosync.h"
#include "ha/adapters/finding.h"

namespace itgtd::ha {

/// What of a group's configuration is looked at.
struct PreflightGroup {
  std::string name;
  std::vector<std::string> nodes;  ///< names, as configured; empty: all of corosync's
};

/// Every finding, those that refuse the start first.
[[nodiscard]] std::vector<Finding> preflight(const CorosyncSettings& corosync,
                                             const std::vector<PreflightGroup>& groups);

}  // namespace itgtd::ha
