// What the cluster asks of the target, group by group. The target implements it (target/groups.h); all calls
// and callbacks on the control thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "ha/core/message.h"

namespace itgtd::ha {

class GroupService {
 public:
  GroupService() = default;
  virtual ~GroupService() = default;
  GroupService(const GroupService&) = delete;
  GroupService& operator=(const GroupService&) = delete;

  using Done = std::function<void(Result<void>)>;

  /// Loads what survives of the units, opens the disks, answers the parked logins. An error: nothing is
  /// served, and the sentence says what to do. A group that is started already is adopted as it is.
  virtual void start(const std::string& group, Epoch epoch, Done done) = 0;
  /// Commands that come are kept, those in flight get `drain_ms` to end, caches are flushed; then every
  /// initiator is told that its session ends (Async Message, event 3, Time2Wait 0) and that has left, or the
  /// time is over.
  virtual void quiesce(const std::string& group, TimeMs drain_ms, Done done) = 0;
  /// The gate is closed already. Ends commands and connections without a word, parks logins that come, closes
  /// the disks; done when no I/O of the group is in the kernel. May take as long as a disk hangs.
  virtual void stop(const std::string& group, Done done) = 0;
  /// Commands are kept, nothing is sent; connections and disks stay. At once.
  virtual void suspend(const std::string& group) = 0;
  virtual void resume(const std::string& group) = 0;
  /// Workers serve groups until this instant of CLOCK_BOOTTIME, in milliseconds.
  virtual void set_lease(TimeMs until) = 0;

  /// Sessions and connections of a group: counted, and what opened and closed since the last call.
  using OnSessions = std::function<void(const std::string& group, uint32_t sessions,
                                        std::vector<TcpPair> opened, std::vector<TcpPair> closed)>;
  virtual void set_on_sessions(OnSessions on_sessions) = 0;
};

/// How the units of a group without a state device are stored by every member (ha/replication.h implements
/// it, for target/).
class UnitReplication {
 public:
  UnitReplication() = default;
  virtual ~UnitReplication() = default;
  UnitReplication(const UnitReplication&) = delete;
  UnitReplication& operator=(const UnitReplication&) = delete;

  using Bytes = std::vector<std::byte>;
  /// Done when every member of the group has it durable (this node has it already), or with an error when
  /// none can be asked (no lease).
  virtual void replicate(const std::string& group, const std::string& unit, Epoch epoch, uint64_t version,
                         Bytes bytes, std::function<void(Result<void>)> done) = 0;
  /// Done when the newest version that any member has is stored here (through the store), or when this node's
  /// is it.
  virtual void fetch(const std::string& group, const std::vector<std::string>& units,
                     std::function<void(Result<void>)> done) = 0;
};

}  // namespace itgtd::ha
