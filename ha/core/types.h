// Words of the cluster: nodes, rings, groups, what a node knows of its storage and links. docs/adr/0010 has
// the rules.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace itgtd::ha {

/// corosync's nodeid; 0: none.
using NodeId = uint32_t;
/// Grows with each change of a group's owner, for ever. 0: nobody has ever owned it.
using Epoch = uint64_t;
/// Milliseconds of a clock that does not step and goes on while the machine is suspended (CLOCK_BOOTTIME).
/// Only differences of one node's own times have a meaning.
using TimeMs = int64_t;

/// A configuration of totem. The one with the higher seq is the newer of two that follow one another.
struct RingId {
  NodeId representative = 0;
  uint64_t seq = 0;
  auto operator<=>(const RingId&) const = default;
};

/// A process in the group: a node that restarts its daemon comes back with another pid.
struct Member {
  NodeId node = 0;
  uint32_t pid = 0;
  auto operator<=>(const Member&) const = default;
};

struct NodeName {
  NodeId id = 0;
  std::string name;  ///< as corosync's nodelist has it
  bool operator==(const NodeName&) const = default;
};

enum class StorageKind : uint8_t { drbd, shared };

/// What the configuration says of a group, as far as decisions need it. Equal on every node.
struct GroupSpec {
  std::string name;
  StorageKind storage = StorageKind::shared;
  std::vector<std::string> vips;  ///< addresses without prefix, in the order of the configuration
  std::vector<NodeId> nodes;      ///< who may own it, the most preferred first
  bool failback = false;          ///< "immediate"
  uint64_t digest = 0;            ///< of everything that must be equal on all nodes
  bool operator==(const GroupSpec&) const = default;
};

/// How far a node's storage is from being served, best last. The order is the rank.
enum class StorageFitness : uint8_t {
  unknown,       ///< not looked at yet, or the tools failed
  unusable,      ///< no disk and no peer that has one, split brain, a forbidden setting: never promoted
  inconsistent,  ///< a sync target, Inconsistent or Outdated: not promoted
  diskless,      ///< an UpToDate peer serves its I/O
  usable,        ///< UpToDate, or a shared disk that can be opened
};

/// What a node knows of the storage of a group.
struct StorageFacts {
  StorageFitness fitness = StorageFitness::unknown;
  bool primary = false;          ///< this node has the role Primary; shared: always false
  bool peer_primary = false;     ///< a connected peer has it
  bool quorate = true;           ///< DRBD 9's quorum; without one, true
  bool peers_connected = false;  ///< to a peer that could take over
  std::string role;              ///< "Primary", "Secondary", "Unknown"; "-" for shared
  std::string disk;              ///< "UpToDate", ...: the worst of its volumes; "-" for shared
  std::string detail;            ///< one sentence where something is wrong; empty: nothing is
  bool operator==(const StorageFacts&) const = default;
};

/// What a node knows of one VIP.
struct VipFacts {
  std::string interface;  ///< where it is or would be; empty: no interface has a route to it
  bool link = false;      ///< that interface is up and has carrier
  bool present = false;   ///< the address is on this node now, put there by us or found
  bool failed = false;    ///< it could not be added, or another machine answers for it; kept for a while
  std::string detail;     ///< one sentence where something is wrong
  [[nodiscard]] bool usable() const { return link && !failed; }
  bool operator==(const VipFacts&) const = default;
};

/// What a node does about a group. In the order of a start.
enum class Phase : uint8_t {
  idle,       ///< nothing of the group runs here
  waiting,    ///< it is ours by the table; other nodes may still have it
  starting,   ///< promoting, adding addresses, starting the service
  active,     ///< served
  suspended,  ///< was served; the lease has ended, or is not to be trusted yet: commands are held
  stopping,   ///< quiesce, stop, remove addresses, demote
};
[[nodiscard]] const char* to_string(Phase phase);
[[nodiscard]] const char* to_string(StorageFitness fitness);

/// Why an owner was chosen.
enum class Reason : uint8_t {
  first_start,  ///< nobody had it
  node_lost,    ///< its owner left the ring
  daemon_lost,  ///< its owner's daemon ended and did not come back in time
  hung,         ///< its owner's daemon is silent
  failed,       ///< its owner could not start it, or lost its storage
  more_paths,   ///< another node serves strictly more of its VIPs
  failback,     ///< a more preferred node can take it
  moved,        ///< an operator's move
  drained,      ///< its owner is drained, or its daemon stops
  renewed,      ///< the same owner starts it again, above every epoch that may have been forgotten
};
[[nodiscard]] const char* to_string(Reason reason);

/// Times in milliseconds. `of()` derives them from corosync's; tests may set their own.
struct Timing {
  TimeMs lease_ms = 0;
  TimeMs margin_ms = 0;
  TimeMs heartbeat_ms = 0;
  TimeMs hung_ms = 0;               ///< silence of a member after which its groups are given to others
  TimeMs propose_step_ms = 150;     ///< between one proposer and the next
  TimeMs restart_grace_ms = 1500;   ///< a daemon that ended, on a node that lives, may be back by then
  TimeMs first_start_ms = 5000;     ///< how long the first owner waits for nodes that are not there yet
  TimeMs hold_down_ms = 5000;       ///< a difference in paths must last that long
  TimeMs failure_decay_ms = 60000;  ///< a failure counts half after that long
  TimeMs drain_ms = 2000;           ///< what a planned move lets commands in flight take
  TimeMs step_ms = 30000;           ///< a step of a start that takes longer has failed
  TimeMs stop_grace_ms = 3000;  ///< a suspended group whose storage others could use is stopped after that
  TimeMs connections_ms = 200;  ///< how often changes of the connections are told to the others

  /// `token_ms`, `consensus_ms`: what corosync runs with.
  static Timing of(TimeMs token_ms, TimeMs consensus_ms);
};

}  // namespace itgtd::ha
