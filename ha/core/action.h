// What a node is to do: the output of ha::step(), in this order. Each action with an id is answered by
// ActionDone; one that is overtaken (another action for the same group came) is answered too, or not: late
// answers are dropped.
//
// A start:  Promote and AddAddresses together; both done: StartService; done: active.
// A stop:   Quiesce (planned only), StopService, RemoveAddresses, Demote, one after another.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "ha/core/event.h"

namespace itgtd::ha {

struct Send {
  Message message;
};

/// Let traffic of the portals that are open pass until `until`, and the addresses of this node live as long;
/// the workers serve groups until then. Sent with each renewal. `until` in the past: close at once.
struct SetLease {
  TimeMs until = 0;
};

struct GroupAction {
  ActionId id = 0;
  std::string group;
  Epoch epoch = 0;
};

/// Bring the storage up if it is down, and make this node its Primary. Shared: check that it can be opened.
struct Promote : GroupAction {};
/// Add the VIPs, let their portals through the gate (logins are parked until StartService is done). Addresses
/// that are there already are adopted. Done when each has been tried; one that fails is a VipChanged and no
/// failure of the action, not even when all fail.
struct AddAddresses : GroupAction {};
/// Load what survives of the logical units, open the disks, answer the parked logins, announce the addresses,
/// reset the connections that the previous owner had.
struct StartService : GroupAction {
  std::vector<TcpPair> connections;
};
/// Planned: take no new commands, let those in flight end within `drain_ms`, flush, tell the initiators
/// (Async Message, Time2Wait 0).
struct Quiesce : GroupAction {
  TimeMs drain_ms = 0;
};
/// Reset these, which ended with a node that does not serve the group. At once; no ActionDone.
struct ResetConnections {
  std::string group;
  std::vector<TcpPair> connections;
};
/// Close the gate of its portals: from here on nothing leaves, no error, no RST. End commands and
/// connections, park logins, close the disks. Done when no I/O of the group is in the kernel any more.
struct StopService : GroupAction {};
struct RemoveAddresses : GroupAction {};
/// Make this node Secondary; `force` where it exists, when the first try failed or took too long.
struct Demote : GroupAction {
  bool force = false;
};
/// Hold commands, send nothing; connections and disks stay as they are. At once; no ActionDone.
struct SuspendService : GroupAction {};
/// Go on after SuspendService. At once; no ActionDone.
struct ResumeService : GroupAction {};

/// A line for the history and the log: what happened, with the times of its steps.
struct Note {
  enum class Kind : uint8_t {
    step,      ///< of a start or stop: "promoted", "addresses", "service", ...
    decision,  ///< an Assign was taken
    alarm,     ///< something that an administrator should look at
    info,
  };
  Kind kind = Kind::info;
  std::string group;  ///< empty: of the cluster
  Epoch epoch = 0;
  std::string text;
};

/// After StopAsked: nothing is served here any more.
struct Stopped {};

using Action =
    std::variant<Send, SetLease, Promote, AddAddresses, StartService, Quiesce, StopService, RemoveAddresses,
                 Demote, SuspendService, ResumeService, ResetConnections, Note, Stopped>;
using Actions = std::vector<Action>;

}  // namespace itgtd::ha
