// The DRBD resources of this node as the events tell them, and what that means for serving them. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "ha/adapters/drbd_events.h"
#include "ha/core/types.h"

namespace itgtd::ha {

class DrbdModel {
 public:
  /// Forgets everything: a new run of events2 begins, with a dump.
  void reset();
  /// Takes one event; the resource that it is about is in changed() then.
  void apply(const DrbdEvent& event);

  /// The dump is complete: what is not there does not exist.
  [[nodiscard]] bool complete() const { return complete_; }
  /// Events were lost: a new dump is needed.
  [[nodiscard]] bool lost_events() const { return lost_events_; }
  /// The resource is up, in whatever state.
  [[nodiscard]] bool has(const std::string& resource) const;
  /// Some connection of it may still become Connected by itself: who promotes now may overlook a peer.
  [[nodiscard]] bool connecting(const std::string& resource) const;
  /// What the present state means; before complete(), and for what is not there, `unknown` with a sentence.
  [[nodiscard]] StorageFacts facts(const std::string& resource) const;
  /// The resources that events were about since the last call.
  [[nodiscard]] std::set<std::string> take_changed();

 private:
  using Fields = std::map<std::string, std::string, std::less<>>;
  struct Connection {
    Fields fields;
    std::map<std::string, Fields> peer_devices;  ///< by volume
  };
  /// Connections by peer-node-id, not by name: 8.4 leaves the name out while it is StandAlone, and has one
  /// peer, 0.
  struct Resource {
    Fields fields;
    std::map<std::string, Fields> devices;  ///< by volume
    std::map<std::string, Connection> connections;
    bool split_brain = false;  ///< true from when DRBD said so until a peer is in sync again
  };

  /// What one volume's disk is to this node.
  struct VolumeFitness {
    StorageFitness fitness = StorageFitness::unknown;
    std::string detail;
  };

  void change(const DrbdEvent& event, const std::string& name);
  void destroy(const DrbdEvent& event, const std::string& name);
  [[nodiscard]] static VolumeFitness volume_fitness(const Resource& resource, const std::string& volume);
  [[nodiscard]] static bool peer_up_to_date(const Resource& resource, const std::string& volume);
  [[nodiscard]] static bool has_replica(const Resource& resource);
  static void judge_volumes(const Resource& resource, StorageFacts& facts);
  static void judge_resource(const Resource& resource, StorageFacts& facts);

  std::map<std::string, Resource> resources_;
  std::set<std::string> changed_;
  bool complete_ = false;
  bool lost_events_ = false;
};

}  // namespace itgtd::ha
