// What happens to a node: the input of ha::step().
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "ha/core/message.h"

namespace itgtd::ha {

/// Names an action until its result has come. 0: none.
using ActionId = uint64_t;

/// Time has passed: State::wake_at() has come.
struct Tick {};

/// The configuration, at start and at each reload; groups that are gone are stopped. It and NodesKnown come
/// before the first event of corosync: a message of a node that is not known is dropped, and a Report is not
/// sent again.
struct Configured {
  std::vector<GroupSpec> groups;
};
/// corosync's node list, at start and when it changes.
struct NodesKnown {
  std::vector<NodeName> nodes;
};

/// A new totem configuration, in order with Delivered.
struct RingChanged {
  RingId ring;
  std::vector<NodeId> nodes;
};
/// Who is in the process group, in order with Delivered. May name members that are dead already, or tell of
/// joins one by one.
struct MembersChanged {
  std::vector<Member> members;
  /// Whose process ended while its node lives on.
  std::vector<NodeId> process_ended;
};
/// In any order relative to the two above.
struct QuorumChanged {
  RingId ring;
  bool quorate = false;
  std::vector<NodeId> nodes;
};
/// The connection to corosync is lost; it is made again by the adapter, and then all of the above come anew.
struct CorosyncLost {
  std::string reason;
};
/// A message of the group, this node's own too, exactly once, in agreed order.
struct Delivered {
  Member from;
  Message message;
};

struct StorageChanged {
  std::string group;
  StorageFacts storage;
};
struct VipChanged {
  std::string group;
  size_t vip = 0;  ///< index in GroupSpec::vips
  VipFacts facts;
};
struct SessionsChanged {
  std::string group;
  uint32_t sessions = 0;
  std::vector<TcpPair> opened;
  std::vector<TcpPair> closed;
};

/// An action has ended. Late ones, of an epoch that is over, are dropped.
struct ActionDone {
  ActionId id = 0;
  std::string group;
  Epoch epoch = 0;
  bool ok = true;
  bool retry_here = true;  ///< as Outcome::retry_here
  std::string text;        ///< what went wrong
};

/// An operator's wish came in at this node.
struct Asked {
  Wish wish;
};
/// The daemon stops: what it owns is handed over, then Stopped is due (see action.h).
struct StopAsked {};

using Event =
    std::variant<Tick, Configured, NodesKnown, RingChanged, MembersChanged, QuorumChanged, CorosyncLost,
                 Delivered, StorageChanged, VipChanged, SessionsChanged, ActionDone, Asked, StopAsked>;

}  // namespace itgtd::ha
