// What of corosync, and of this node, is unsafe for the groups of the configuration. Pure; DRBD's part is
// Drbd::preflight.
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
  std::vector<std::string> vips;   ///< as configured, for the text: "192.168.222.35/24"
};

/// A VIP and where it would be on this node.
struct PreflightVip {
  std::string vip;        ///< as in PreflightGroup
  std::string interface;  ///< empty: this node has no interface with an address in its network, nor a route
};

/// Every finding, those that refuse the start first.
[[nodiscard]] std::vector<Finding> preflight(const CorosyncSettings& corosync,
                                             const std::vector<PreflightGroup>& groups,
                                             const std::vector<PreflightVip>& vips);

}  // namespace itgtd::ha
