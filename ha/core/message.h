// What nodes tell each other, in agreed order, themselves included. docs/adr/0010 has the rules;
// ha/adapters/message_codec has the bytes.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "ha/core/types.h"

namespace itgtd::ha {

/// One line of the table: who owns a group.
struct Ownership {
  Epoch epoch = 0;
  NodeId owner = 0;     ///< 0: nobody
  NodeId previous = 0;  ///< who had it before, as far as is known
  Reason reason = Reason::first_start;
  bool operator==(const Ownership&) const = default;
};

/// What the nodes agree on. Merged by the higher epoch or version.
struct Table {
  std::map<std::string, Ownership> groups;
  /// Who is drained. The higher version wins.
  struct Standing {
    uint64_t version = 0;
    std::set<NodeId> drained;
    bool maintenance = false;
    bool operator==(const Standing&) const = default;
  } standing;
  bool operator==(const Table&) const = default;
};

struct Heartbeat {
  uint64_t seq = 0;                 ///< of the sender's process: grows, and starts at pid << 32 | 1
  std::map<NodeId, uint64_t> acks;  ///< the newest heartbeat delivered of each member's present process
};

/// What a node knows of one group.
struct GroupReport {
  uint64_t digest = 0;
  StorageFacts storage;
  std::vector<VipFacts> vips;  ///< as GroupSpec::vips
  Phase phase = Phase::idle;
  Epoch epoch = 0;  ///< of `phase`
  uint32_t sessions = 0;
  std::string failure;  ///< the last one here, for people; empty: none
  TimeMs since_ms = 0;  ///< how long it has been in `phase`
  bool operator==(const GroupReport&) const = default;
};

/// All that a node knows; sent when it changes and when somebody new is there.
struct Report {
  std::string node_name;
  std::string version;  ///< of itgtd
  RingId ring;          ///< the newest one of the sender
  bool quorate = false;
  /// The sender's process is older than any lease that its predecessor may have acknowledged: what it knows
  /// of the table is all that this node ever acknowledged.
  bool settled = false;
  /// Above every epoch that this node has known, before it was started too.
  Epoch epoch_floor = 0;
  Table table;
  std::map<std::string, GroupReport> groups;
};

/// With `expected` below the epoch: a proposal. With `expected` equal to it: the owner says again what is,
/// and asks for the Acks that it misses.
struct Assign {
  std::string group;
  Epoch expected = 0;
  Ownership ownership;
};

struct Ack {
  std::string group;
  Epoch epoch = 0;
  std::map<NodeId, TimeMs> silence;  ///< how long the sender has not heard of each node that it does not hear
};

/// The owner serves it now, or gave it up: whoever proposes decides again.
struct Outcome {
  std::string group;
  Epoch epoch = 0;
  bool active = false;
  bool retry_here = true;  ///< false: this node can't, whatever happens (no UpToDate disk)
  std::string text;        ///< what went wrong
};

/// What an operator wants. Every node hears it; the owner, or who proposes, carries it out.
struct Wish {
  enum class Kind : uint8_t { move, drain, undrain, maintenance_on, maintenance_off };
  Kind kind = Kind::move;
  std::string group;  ///< of a move
  NodeId node = 0;    ///< where to, or which; 0: the best other one
};

/// A TCP connection of a group's initiators, for the node that takes over: it resets them (tickle ACK).
struct TcpPair {
  std::string local;  ///< "192.168.222.35:3260"
  std::string peer;
  auto operator<=>(const TcpPair&) const = default;
};
/// Those of the owner; with epoch 0, those that were made to a node that does not serve the group.
struct Connections {
  std::string group;
  Epoch epoch = 0;
  bool whole = false;  ///< replaces what was known; otherwise a difference
  std::vector<TcpPair> opened;
  std::vector<TcpPair> closed;
};

/// What must survive of a logical unit, for groups without a state device: stored by every member before the
/// owner answers GOOD.
struct UnitRecord {
  std::string group;
  std::string unit;  ///< its name in the store
  Epoch epoch = 0;
  uint64_t version = 0;  ///< within the epoch
  std::vector<std::byte> bytes;
};
struct UnitStored {
  std::string unit;
  Epoch epoch = 0;
  uint64_t version = 0;
  bool stored = true;  ///< false: it could not be made durable here
};
/// What a member has stored; whoever has the newest version of one sends it when somebody's is older.
struct UnitVersions {
  /// Whoever hears this from another tells its own, now.
  bool ask = false;
  struct Version {
    Epoch epoch = 0;
    uint64_t version = 0;
    auto operator<=>(const Version&) const = default;
  };
  std::map<std::string, Version> units;
};

using Message = std::variant<Heartbeat, Report, Assign, Ack, Outcome, Wish, Connections, UnitRecord,
                             UnitStored, UnitVersions>;

}  // namespace itgtd::ha
