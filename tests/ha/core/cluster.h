// Some nodes on a perfect bus: messages come at once, in one order; actions are done after a while. What a
// node does can be made slow, can be made to fail, nodes can be cut off. The simulator does this without
// mercy.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ha/core/node.h"
#include "ha/core/step.h"

namespace itgtd::ha {

inline Timing test_timing() {
  return Timing::of(1000, 1200);
}

class Cluster {
 public:
  explicit Cluster(size_t nodes, Timing timing = test_timing());

  /// Starts the daemons: configuration, node list, facts; a ring with all that are up.
  void start(const std::vector<GroupSpec>& groups);
  void start_node(NodeId id);
  /// The daemon ends; its node lives on.
  void kill_daemon(NodeId id);
  void crash(NodeId id);
  /// Rings as given; nodes that are in none are down. The one with a majority is quorate.
  void partition(const std::vector<std::set<NodeId>>& rings);
  /// The daemon does nothing until it is woken; what comes is queued.
  void freeze(NodeId id);
  void thaw(NodeId id);

  void run_for(TimeMs ms);
  /// Runs until `holds`, `ms` at most; returns whether it does.
  bool run_until(const std::function<bool()>& holds, TimeMs ms);

  void event(NodeId id, const Event& event);
  void storage(NodeId id, const std::string& group, StorageFacts facts);
  void vip(NodeId id, const std::string& group, size_t vip, bool link);

  [[nodiscard]] bool serves(NodeId id, const std::string& group) const;
  /// Who serves; 0: nobody. Two: a failure of the test.
  [[nodiscard]] NodeId server(const std::string& group) const;
  [[nodiscard]] Ownership owner(NodeId at, const std::string& group) const;
  [[nodiscard]] Phase phase(NodeId id, const std::string& group) const;
  [[nodiscard]] size_t count_notes(NodeId id, Note::Kind kind, const std::string& text) const;

  struct Daemon {
    std::unique_ptr<State> state;
    uint32_t pid = 0;
    bool frozen = false;
    bool stopped = false;
    std::vector<Event> queue;
    std::map<std::string, StorageFacts> storage;
    std::map<std::string, std::vector<VipFacts>> vips;
    std::vector<Action> log;  ///< all but heartbeats and leases
    TimeMs lease = 0;
    Epoch floor = 0;  ///< on its disk: as ha/epoch_file.h keeps it
  };
  std::map<NodeId, Daemon> daemons;
  std::vector<GroupSpec> groups;
  std::map<NodeId, std::vector<GroupSpec>> differing;  ///< what a node is configured with instead
  std::set<NodeId> absent;                             ///< not started by start()
  TimeMs now = 1000;
  Timing timing;
  std::vector<std::set<NodeId>> rings;
  uint64_t ring_seq = 4;
  size_t sent_messages = 0;
  size_t sent_reports = 0;
  /// What comes of an action; the default is done in 5 ms. A negative delay: never.
  struct Fate {
    TimeMs delay = 5;
    bool ok = true;
    bool retry_here = true;
  };
  std::function<Fate(NodeId, const Action&)> fate;

 private:
  struct Due {
    TimeMs at = 0;
    NodeId node = 0;
    uint32_t pid = 0;
    Event event;
  };
  void step(NodeId id, const Event& event);
  void act(NodeId id, const Action& action);
  void flush();
  void tell_rings();
  [[nodiscard]] const std::set<NodeId>* ring_of(NodeId id) const;

  std::vector<Due> due_;
  struct Sent {
    Member from;
    Message message;
  };
  std::vector<Sent> bus_;
  uint32_t next_pid_ = 100;
};

/// A group that all `nodes` may own, the lowest most preferred, with two VIPs.
GroupSpec make_group(const std::string& name, size_t nodes, StorageKind kind = StorageKind::drbd);

template <typename T>
size_t count_actions(const Cluster::Daemon& daemon) {
  size_t count = 0;
  for (const Action& action : daemon.log) {
    count += std::holds_alternative<T>(action) ? 1U : 0U;
  }
  return count;
}

}  // namespace itgtd::ha
