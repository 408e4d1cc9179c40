// What must survive of logical units, kept by every member: who stores what, and when it may be relied upon.
// For groups without a state device. docs/adr/0010 has who owns a group; this has what the next owner finds.
//
// A value is GOOD when every member that answers in time, and at least `copies_min` nodes, have it durable.
// An owner asks what every member has (fetch) after the one before it has stopped, and goes on when the
// newest of at least `copies_min` nodes is stored here; then it stores each value again under its own epoch,
// before it serves. Two sets of `copies_min` nodes share one (where that is a majority), so no value that was
// answered GOOD is lost; and a value that was never answered, left over on a node that was away, is older
// than what the new owner stored and loses.
//
// Pure: no clock, no I/O. All calls on one thread. Nothing that a peer says is trusted: what makes no sense
// is dropped and counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ha/core/event.h"
#include "ha/core/message.h"

namespace itgtd::ha {

using UnitVersion = UnitVersions::Version;
using UnitVersionMap = std::map<std::string, UnitVersion>;

/// Names that are stored: more than a cluster of 200 groups with 64 units each. What a peer sends beyond is
/// dropped, so that it cannot fill the disk.
inline constexpr size_t kUnitsMax = 16384;
/// One value: a logical unit with all registrants there can be (scsi/lu_snapshot.h) needs about half of it.
inline constexpr size_t kUnitBytesMax = size_t{768} * 1024;
/// Names are those of target::LuStore: small letters and digits.
inline constexpr size_t kUnitNameBytesMax = 64;
[[nodiscard]] bool is_unit_name(std::string_view name);

/// How many nodes, this one included, must have a value: a strict majority of the configured ones. Of two
/// nodes one is enough, as otherwise nothing could be served by the one that is left; there the group's
/// storage must keep a node that was away from taking over with what it has (DRBD does: its disk is
/// Outdated), or the group needs a state device.
[[nodiscard]] size_t unit_copies_min(size_t nodes);

struct UnitsOptions {
  Member self;
  size_t nodes = 1;  ///< configured ones: unit_copies_min() follows
  /// A member that has not answered by then is waited for no more, until something is heard of it.
  ///
  /// Less than Timing::hung_ms (5.4 s with corosync's usual timeouts), and independent of it. A member that
  /// hangs stays one until somebody ends it; were it waited for until its groups are given to others, each
  /// save of an owner that is well would take so long, and initiators give up a command after some 10 s. To
  /// go on without it is safe whatever it does later: who owns a group is not decided here; a save has a
  /// majority by then, of which the next owner's question meets one; and what was sent is delivered to a
  /// member that goes on before it hears of a new owner. With two nodes, where one copy is enough, a value is
  /// lost when the member that was not waited for is started anew, so that it was never delivered, and takes
  /// over before it was sent again: a group with a state device has none of this.
  ///
  /// A new owner waits for so long once when the previous one hangs. That silence alone does not shorten it
  /// has a reason: a node that was paused itself would take all others for silent.
  TimeMs member_ms = 2000;
  /// What could not be done by then has failed: there was no majority all the while.
  TimeMs give_up_ms = 20000;
};

// What happens. `id` names a request until its UnitDone; never 0, never used twice.

/// The store was read, at start.
struct UnitsLoaded {
  UnitVersionMap versions;
};
struct UnitsConfigured {
  UnitsOptions options;
};
/// As MembersChanged::members.
struct UnitsMembers {
  std::vector<Member> members;
};
/// This node owns the group in `record.epoch` and has the record durable already.
struct UnitReplicate {
  uint64_t id = 0;
  UnitRecord record;
};
/// This node owns the group, and nobody else serves it any more.
struct UnitFetch {
  uint64_t id = 0;
  std::string group;
  std::vector<std::string> units;
};
/// The group is stopped here: its requests end with an error.
struct UnitsAbandoned {
  std::string group;
};
/// SaveUnit is done.
struct UnitSaved {
  std::string unit;
  UnitVersion version;  ///< that of the record
  bool ok = true;
  UnitVersion stored;  ///< what is durable now: the record, or what was there already and is newer
};
/// In agreed order, this node's own messages too. Those that are not of units are ignored.
struct UnitsDelivered {
  Member from;
  Message message;
};
struct UnitsTick {};
using UnitEvent = std::variant<UnitsLoaded, UnitsConfigured, UnitsMembers, UnitReplicate, UnitFetch,
                               UnitsAbandoned, UnitSaved, UnitsDelivered, UnitsTick>;

// What is to be done, in this order.

struct SendUnit {
  Message message;
};
/// Send what the store has of this unit now as a UnitRecord: a member's is older.
struct SendStoredUnit {
  std::string unit;
};
/// Make it durable here, then UnitSaved. One at a time for each unit.
struct SaveUnit {
  UnitRecord record;
};
struct UnitDone {
  uint64_t id = 0;
  bool ok = true;
  std::string text;  ///< why not
};
using UnitAction = std::variant<SendUnit, SendStoredUnit, SaveUnit, UnitDone>;
using UnitActions = std::vector<UnitAction>;

class Units {
 public:
  explicit Units(const UnitsOptions& options) : options_(options) {}

  /// `event` happened at `now`, which never goes back.
  [[nodiscard]] UnitActions step(TimeMs now, const UnitEvent& event);
  /// When the next UnitsTick is due, at the latest; nothing: none is.
  [[nodiscard]] std::optional<TimeMs> wake_at() const;
  /// Messages that made no sense.
  [[nodiscard]] uint64_t dropped() const { return dropped_; }
  /// What is durable here, as far as this has been told.
  [[nodiscard]] const UnitVersionMap& stored() const { return stored_; }

 private:
  struct Peer {
    uint32_t pid = 0;
    bool told = false;     ///< its UnitVersions have come since it joined
    bool late = false;     ///< it let a deadline pass, and nothing has been heard of it since
    UnitVersionMap units;  ///< what it has, as far as it said
  };
  struct Replication {
    UnitRecord record;
    TimeMs since = 0;
    std::set<NodeId> stored;   ///< other nodes
    std::set<NodeId> refused;  ///< they could not
    NodeId overtaken_by = 0;   ///< has a value of a later epoch
  };
  struct Fetch {
    std::string group;
    std::vector<std::string> units;
    TimeMs since = 0;
    bool asked = false;      ///< a question has been sent since it began
    bool ordered = false;    ///< and was delivered here: what comes behind it is fresh
    std::set<NodeId> fresh;  ///< who answered behind it
  };
  /// Of a unit whose newest version somebody lacks.
  struct Missing {
    UnitVersion version;
    TimeMs due = 0;      ///< when this node sends it
    uint32_t sends = 0;  ///< so far
  };

  void on(const UnitsLoaded& event);
  void on(const UnitsConfigured& event);
  void on(const UnitsMembers& event);
  void on(const UnitReplicate& event);
  void on(const UnitFetch& event);
  void on(const UnitsAbandoned& event);
  void on(const UnitSaved& event);
  void on(const UnitsDelivered& event);
  void on(const UnitsTick& event);
  void on_message(NodeId from, const UnitRecord& record);
  void on_message(NodeId from, const UnitStored& stored);
  void on_message(NodeId from, const UnitVersions& versions);
  void on_own(const UnitVersions& versions);
  void on_joined();

  void send(Message message) { actions_.emplace_back(SendUnit{std::move(message)}); }
  void ask();
  void confirm(const std::string& unit);
  void note_stored(const std::string& unit, UnitVersion version);
  [[nodiscard]] UnitVersion stored_version(const std::string& unit) const;
  /// Sees to it that a version that this node has and another lacks is sent, by one of those that have it:
  /// the first by node id `at_once`, or after a deadline; the others a deadline later each.
  void review(const std::string& unit, bool at_once);
  void review_all(bool at_once);
  void send_what_is_due(const std::string& unit, Missing& missing);

  void check_requests();
  [[nodiscard]] bool is_over(uint64_t id, const Replication& request);
  [[nodiscard]] bool is_over(uint64_t id, const Fetch& request);
  /// True exactly when each other member is in one of the two, or is waited for no more.
  [[nodiscard]] bool all_answered(TimeMs since, const std::set<NodeId>& a, const std::set<NodeId>& b);
  [[nodiscard]] bool has_given_up(TimeMs since) const { return now_ - since >= options_.give_up_ms; }
  void finish(uint64_t id, bool ok, std::string text = {});

  UnitsOptions options_;
  TimeMs now_ = 0;
  UnitActions actions_;
  UnitsMembers members_;          ///< as they were told last
  bool is_member_ = false;        ///< this node
  bool ask_on_its_way_ = false;   ///< sent, and not delivered here yet
  std::map<NodeId, Peer> peers_;  ///< members other than this node
  UnitVersionMap stored_;
  std::map<std::string, UnitRecord> saving_;   ///< in the shell's hands
  std::map<std::string, UnitRecord> waiting_;  ///< newer ones, for when that is done
  std::map<std::string, Missing> missing_;
  std::map<uint64_t, Replication> replications_;
  std::map<uint64_t, Fetch> fetches_;
  uint64_t dropped_ = 0;
};

}  // namespace itgtd::ha
