// The methods of the control socket that are about the cluster: status, why, history, move, drain, undrain,
// maintenance. Control thread.
#pragma once

#include <functional>
#include <string>

#include "ha/operator.h"
#include "target/control/control_server.h"

namespace itgtd::target {

/// Everything outlives the server. `cluster` is null where the configuration has no [cluster]: `status` then
/// says so, and the others are refused with that. `summary` gives one line on targets and sessions.
void register_cluster_methods(control::ControlServer& server, ha::Operator* cluster,
                              std::function<std::string()> summary);

}  // namespace itgtd::target
