// What an operator may ask of the cluster: the control socket calls it, the runtime implements it. Control
// thread.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "ha/core/step.h"

namespace itgtd::ha {

class History;

/// What the configuration says of a group, for the eye.
struct GroupShown {
  std::string storage;             ///< the DRBD resource, or the paths of the shared disks
  std::vector<std::string> vips;   ///< addresses, as GroupReport::vips
  std::vector<std::string> nodes;  ///< names, the most preferred first
};

class Operator {
 public:
  Operator() = default;
  virtual ~Operator() = default;
  Operator(const Operator&) = delete;
  Operator& operator=(const Operator&) = delete;

  [[nodiscard]] virtual ClusterStatus status() const = 0;
  /// Best first; empty: no such group.
  [[nodiscard]] virtual std::vector<Candidate> why(const std::string& group) const = 0;
  [[nodiscard]] virtual std::map<std::string, GroupShown> shown() const = 0;
  /// What keeps this node out of the cluster, a sentence ("corosync can't be reached: ..."); empty: nothing.
  [[nodiscard]] virtual std::string trouble() const = 0;
  /// `done` when it is on its way to every node, or with why it can't be. Names have been checked.
  virtual void ask(const Wish& wish, std::function<void(Result<void>)> done) = 0;
  [[nodiscard]] virtual const History& history() const = 0;
};

// The wish that an operator's words mean, or why it can't be, with what can. Pure.
[[nodiscard]] Result<Wish> wish_to_move(const ClusterStatus& status, const std::vector<Candidate>& candidates,
                                        const std::string& group, const std::string& node);
[[nodiscard]] Result<Wish> wish_to_drain(const ClusterStatus& status, const std::string& node, bool drained);
[[nodiscard]] Result<Wish> wish_for_maintenance(const ClusterStatus& status, bool on);

}  // namespace itgtd::ha
