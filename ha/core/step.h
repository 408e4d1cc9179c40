// The one function that decides. Pure: no clock, no system call, no thread, no randomness.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ha/core/action.h"
#include "ha/core/event.h"

namespace itgtd::ha {

struct Node;  // ha/core/node.h: everything that one node knows

/// What is known of a node beside its name.
struct Origin {
  std::string version;  ///< of the program, for people
  /// Above every epoch that this node knew before its daemon was started. Without it, epochs could come again
  /// when all daemons of a cluster are started again under a corosync that stays.
  Epoch epoch_floor = 0;
};

/// One node's state. A value: copyable, comparable by its transcript.
class State {
 public:
  State(NodeId self, std::string self_name, uint32_t pid, Timing timing, Origin origin = {});
  ~State();
  State(const State&);
  State(State&&) noexcept;
  State& operator=(const State&);
  State& operator=(State&&) noexcept;

  /// `event` happened at `now`, which never goes back. Whatever the event says, nothing is trusted that a
  /// peer sends: messages that make no sense are dropped and counted.
  [[nodiscard]] Actions step(TimeMs now, const Event& event);
  /// When the next Tick is due, at the latest.
  [[nodiscard]] TimeMs wake_at() const;

  [[nodiscard]] const Node& node() const { return *node_; }

 private:
  std::unique_ptr<Node> node_;
};

// --- What can be asked, for people and for tests. As of the last step.

struct Candidate {
  NodeId node = 0;
  std::string name;
  bool eligible = false;
  /// In the order of the rank: the first in which two differ decides.
  bool member = false;  ///< in the group, with a report, quorate
  bool drained = false;
  StorageFitness fitness = StorageFitness::unknown;
  double failures = 0;  ///< decayed
  uint32_t live_vips = 0;
  uint32_t preference = 0;  ///< 0: most preferred
  bool last_owner = false;
  std::string reason;  ///< why it is not eligible, or what put it behind the one before
};
/// The nodes of a group, best first: the answer to `why`.
[[nodiscard]] std::vector<Candidate> candidates(const State& state, const std::string& group, TimeMs now);

struct NodeStatus {
  NodeId id = 0;
  std::string name;
  bool self = false;
  bool member = false;     ///< its daemon is in the group
  bool in_quorum = false;  ///< corosync has it in its quorum list
  bool drained = false;
  TimeMs silence_ms = 0;
  std::string version;
};
struct GroupStatus {
  std::string name;
  Ownership ownership;
  std::map<NodeId, GroupReport> reports;  ///< of each member; this node's own is the present one
  std::string problem;                    ///< why nobody serves it, or what is wrong; empty: nothing
};
struct ClusterStatus {
  bool connected = false;  ///< to corosync
  bool quorate = false;
  bool maintenance = false;
  RingId ring;
  TimeMs lease_left_ms = 0;  ///< of this node; 0: none
  uint64_t messages_dropped = 0;
  std::vector<NodeStatus> nodes;
  std::vector<GroupStatus> groups;
};
[[nodiscard]] ClusterStatus status(const State& state, TimeMs now);
/// The same with this group alone: what it costs does not grow with the number of groups.
[[nodiscard]] ClusterStatus status_of(const State& state, const std::string& group, TimeMs now);

/// Why a wish can't be carried out now, for who asks; nothing: it can.
[[nodiscard]] std::optional<std::string> check_wish(const State& state, const Wish& wish, TimeMs now);

/// What must hold after each step: a sentence for each thing that does not. For tests and the simulator; what
/// holds between nodes is checked there.
[[nodiscard]] std::vector<std::string> broken_invariants(const State& state, TimeMs now);

/// True exactly when commands of the group may be served by this node at `now`: active, and within the lease.
[[nodiscard]] bool may_serve(const State& state, const std::string& group, TimeMs now);

}  // namespace itgtd::ha
