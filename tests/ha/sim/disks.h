// The storage of the groups. Shared: one disk that every node can write, with nothing that stops two from
// doing it. DRBD-like: a replica on each node of the group, one Primary among those that are connected,
// quorum, replicas that missed a write are Outdated until they have been synchronised.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "ha/core/types.h"
#include "tests/ha/sim/random.h"
#include "tests/ha/sim/schedule.h"

namespace itgtd::ha::sim {

class Disks {
 public:
  using Blocks = std::map<uint32_t, uint64_t>;  ///< block -> version
  struct Result {
    bool ok = true;
    bool retry_here = true;
    std::string text;
  };

  /// `quorum`: false where two nodes have no third one to ask.
  Disks(Schedule& schedule, Random& random, std::vector<NodeId> nodes, bool quorum)
      : schedule_(schedule), random_(random), nodes_(std::move(nodes)), quorum_(quorum) {}

  void add(const GroupSpec& spec);
  void connect(const std::map<NodeId, int>& component);
  void node_down(NodeId node);
  void node_up(NodeId node);
  /// What the backing disk of a node is from now on; `usable`: whole again.
  void set_fitness(const std::string& group, NodeId node, StorageFitness fitness);

  [[nodiscard]] StorageFacts facts(const std::string& group, NodeId node) const;
  [[nodiscard]] Result promote(const std::string& group, NodeId node);
  void demote(const std::string& group, NodeId node);
  /// Whether a service may open it for writing.
  [[nodiscard]] bool writable(const std::string& group, NodeId node) const;
  /// False: it hangs, and is not done.
  bool write(const std::string& group, NodeId node, uint32_t block, uint64_t version);
  [[nodiscard]] uint64_t read(const std::string& group, NodeId node, uint32_t block) const;

 private:
  struct Replica {
    StorageFitness disk = StorageFitness::usable;
    bool outdated = false;
    bool syncing = false;
    bool primary = false;
    Blocks blocks;
  };
  struct Resource {
    GroupSpec spec;
    Blocks shared;
    std::map<NodeId, Replica> replicas;
  };
  [[nodiscard]] bool connected(NodeId a, NodeId b) const;
  [[nodiscard]] bool quorate(NodeId node) const;
  [[nodiscard]] bool current(const Replica& replica) const {
    return replica.disk == StorageFitness::usable && !replica.outdated && !replica.syncing;
  }
  [[nodiscard]] bool reaches_current(const Resource& resource, NodeId node) const;
  void meet();
  void start_sync(Resource& resource);
  void outdate_others(Resource& resource, NodeId primary);

  Schedule& schedule_;
  Random& random_;
  std::vector<NodeId> nodes_;
  bool quorum_;
  std::set<NodeId> up_;
  std::map<NodeId, int> component_;
  std::map<std::string, Resource> resources_;
};

}  // namespace itgtd::ha::sim
