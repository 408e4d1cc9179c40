// What the cluster is like, as JSON for the control socket: facts, what is wrong, and what to do about it.
// Pure. The text for a screen is made of it by tools/itgtctl.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ha/operator.h"

namespace itgtd::ha {

/// What the cluster does not know itself.
struct StatusSource {
  std::string version;  ///< of this daemon
  std::string trouble;  ///< Operator::trouble()
  std::string summary;  ///< one line on targets and sessions, by the daemon
  std::map<std::string, GroupShown> shown;
};

/// The result of `status`.
[[nodiscard]] std::string status_json(const ClusterStatus& status, const StatusSource& source);
/// The same where the configuration has no [cluster].
[[nodiscard]] std::string status_json_without_cluster(const std::string& version, const std::string& summary);

/// The result of `why`. `candidates` is not empty.
[[nodiscard]] std::string why_json(const ClusterStatus& status, const std::string& group,
                                   const std::vector<Candidate>& candidates);

/// Something wrong, and what to do about it (empty: nothing can be done but wait).
struct Problem {
  std::string what;
  std::string advice;
  bool operator==(const Problem&) const = default;
};
[[nodiscard]] std::vector<Problem> cluster_problems(const ClusterStatus& status, const std::string& trouble);
[[nodiscard]] std::vector<Problem> group_problems(const ClusterStatus& status, const GroupStatus& group,
                                                  const GroupShown& shown);

/// "3 d 2 h", "5 min 12 s", "0.8 s".
[[nodiscard]] std::string duration_text(TimeMs ms);
[[nodiscard]] bool has_group(const ClusterStatus& status, const std::string& name);
/// The name of a node, or "node 3" when there is none; "nobody" for 0.
[[nodiscard]] std::string name_of(const ClusterStatus& status, NodeId node);

}  // namespace itgtd::ha
