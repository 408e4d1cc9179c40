// Clusters in the situations that an administrator meets, as the core would tell them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ha/operator.h"
#include "ha/status.h"

namespace itgtd::ha {

struct Situation {
  std::string name;  ///< of its golden file
  ClusterStatus status;
  std::map<std::string, GroupShown> shown;
  std::vector<Candidate> candidates;  ///< of drbd0
  std::string trouble;
};

/// Three nodes, iscsi-0 to iscsi-2, this one iscsi-2; drbd0 with two VIPs is active on iscsi-0.
[[nodiscard]] Situation healthy();
[[nodiscard]] std::vector<Situation> all_situations();

}  // namespace itgtd::ha
