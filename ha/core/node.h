// Everything that one node knows, and what the files of ha/core ask of one another. Only they, and their
// tests, include it.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ha/core/action.h"
#include "ha/core/event.h"
#include "ha/core/step.h"

namespace itgtd::ha {

inline constexpr TimeMs kNever = std::numeric_limits<TimeMs>::max();

// Limits on what peers may make this node keep, or take for true.
inline constexpr size_t kTableEntriesMax = 4096;
inline constexpr size_t kGroupNameBytesMax = 256;
inline constexpr size_t kNodesMax = 64;  // also: how many proposers have epochs of their own
inline constexpr size_t kVipsMax = 256;
inline constexpr size_t kTextBytesMax = 4096;
inline constexpr size_t kConnectionsMax = 65536;  // of a group
inline constexpr size_t kConnectionsPerMessage = 4096;
/// How far a ring may be ahead of ours, in an epoch that is believed.
inline constexpr uint64_t kRingsAhead = uint64_t{1} << 20;

// Times that nobody needs to set.
inline constexpr TimeMs kReportPauseMs = 100;
inline constexpr TimeMs kSessionsPauseMs = 1000;
inline constexpr TimeMs kFactsMs = 1000;     // by then a daemon that starts has looked at its links
inline constexpr TimeMs kAskAgainMs = 500;   // an owner that waits for Acks says so again
inline constexpr TimeMs kLookAgainMs = 200;  // something is due, and nothing tells when it becomes possible
inline constexpr TimeMs kProposeAgainMs = 1000;  // an Assign that was sent and did not come
inline constexpr TimeMs kDemoteMs = 5000;        // then with force; then again and again
inline constexpr TimeMs kAddressesMs = 5000;     // VIPs never hold up a start or stop for longer
inline constexpr TimeMs kQuiesceSlackMs = 500;
inline constexpr TimeMs kRetryMinMs = 1000;  // between rounds of starts that all failed
inline constexpr TimeMs kRetryMaxMs = 60000;
inline constexpr TimeMs kMorePathsMs = 60000;  // doubles with each move for paths
inline constexpr TimeMs kMorePathsMaxMs = 3600000;
inline constexpr TimeMs kWishMs = 5000;  // a move that could not be done by then is forgotten

/// What is known of a node; this one included.
struct Peer {
  bool configured = false;
  std::string name;
  std::set<uint32_t> pids;  ///< its processes that the group lists; one that has ended may be among them
  uint32_t pid = 0;         ///< the one that was heard last, or any; 0: none
  uint32_t last_pid = 0;    ///< the last one that was not 0
  TimeMs pid_since = 0;     ///< when `pid` changed
  uint64_t heartbeat = 0;   ///< the newest one delivered of the present process; 0: none
  TimeMs heard_at = -1;     ///< when one of any process of the node was delivered; -1: never
  uint64_t acked = 0;       ///< the newest of this node's heartbeats that it says it has delivered
  bool has_report = false;  ///< of its last process
  Report report;
  TimeMs report_at = 0;  ///< when it came
};

enum class StopStep : uint8_t { none, quiesce, service, addresses, demote };

/// What this node does about a group.
struct Run {
  Phase phase = Phase::idle;
  Epoch epoch = 0;  ///< of `phase`
  TimeMs since = 0;
  TimeMs step_since = 0;  ///< when the present step began

  ActionId promote = 0;  ///< in flight, as are the next two
  ActionId addresses = 0;
  ActionId service = 0;
  bool promoted = false;

  StopStep step = StopStep::none;
  ActionId stop = 0;    ///< the action of `step` in flight
  bool forced = false;  ///< Demote{force} has been tried
  TimeMs again_at = 0;  ///< when Demote is tried again; 0: it is in flight
  bool stuck = false;   ///< an alarm was raised about this step
  bool failed = false;  ///< this stop ends in Outcome{active = false}
  bool retry_here = true;
  std::string failure;  ///< the last one, for people

  TimeMs ask_at = 0;        ///< `waiting`: when Acks are asked for again
  Epoch failed_epoch = 0;   ///< not started again under this one
  Epoch stopped_epoch = 0;  ///< stopped for good under this one: the daemon ends
  Epoch acked = 0;          ///< newest epoch acknowledged
  bool released = true;     ///< true exactly when nothing of the group can be served or written from here
  /// True exactly when the lease has ended since it was started, and a newer epoch may have been served and
  /// forgotten meanwhile: it goes on under a new one only.
  bool doubtful = false;
};

/// An acknowledgement as it came.
struct Acked {
  Epoch epoch = 0;
  TimeMs at = 0;
  std::map<NodeId, TimeMs> silence;
  uint32_t pid = 0;  ///< who said so
  /// This node had the group and a lease without a gap then: nobody can have served a newer epoch yet, so
  /// that process has forgotten none.
  bool vouches = false;
};

struct Failures {
  double count = 0;  ///< as of `at`
  TimeMs at = 0;
};

/// Why the owner of a group should change.
struct Cause {
  Reason reason = Reason::first_start;
  NodeId target = 0;  ///< 0: nobody
  TimeMs hold_ms = 0;
  bool urgent = false;  ///< the owner itself proposes, without its turn
};

struct Group {
  GroupSpec spec;
  bool configured = true;  ///< false: it is being stopped, then forgotten
  StorageFacts storage;
  bool storage_known = false;
  std::vector<VipFacts> vips;
  uint32_t sessions = 0;

  Run run;
  std::map<NodeId, Acked> acks;

  // The proposer's.
  std::optional<Cause> cause;
  TimeMs cause_since = 0;
  Epoch cause_epoch = 0;
  Epoch proposed_on = 0;  ///< the epoch that this node's last proposal expected
  TimeMs proposed_at = -1;
  std::map<NodeId, Failures> failures;
  /// Who said retry_here = false. Tried again when its storage changes, and after kRetryMaxMs in any case:
  /// what the tools said then need not be so for ever.
  struct Hopeless {
    StorageFacts facts;
    TimeMs at = 0;
  };
  std::map<NodeId, Hopeless> hopeless;
  std::set<NodeId> failed_round;  ///< tried and failed since it was active last
  uint32_t failed_rounds = 0;
  TimeMs retry_at = 0;
  Epoch outcome_epoch = 0;  ///< of the last Outcome
  bool outcome_active = false;
  TimeMs more_paths_at = -1;
  TimeMs more_paths_pause_ms = 0;
  std::optional<NodeId> wish;  ///< move; 0: the best other one
  TimeMs wish_at = 0;
  std::string problem_told;

  // Connections of the initiators: of the owner, whoever it is, as far as is known.
  std::set<TcpPair> connections;
  Epoch connections_epoch = 0;
  std::set<TcpPair> opened;  ///< here, not told yet
  std::set<TcpPair> closed;
};

struct Quorum {
  RingId ring;
  bool quorate = false;
  std::vector<NodeId> nodes;
};

struct SentHeartbeat {
  uint64_t seq = 0;
  TimeMs at = 0;
};

struct Node {
  NodeId self = 0;
  std::string self_name;
  uint32_t pid = 0;
  Timing timing;
  std::string version;
  Epoch epoch_floor = 0;  ///< Report::epoch_floor, of this node

  TimeMs now = 0;  ///< of this step
  bool started = false;
  TimeMs born_at = 0;  ///< the first step
  Actions actions;     ///< of this step
  ActionId next_action = 1;
  uint64_t messages_dropped = 0;

  std::map<NodeId, Peer> peers;
  size_t configured_nodes = 0;
  bool ring_known = false;
  RingId ring;
  std::vector<NodeId> ring_nodes;  ///< sorted
  Quorum quorum;                   ///< nodes sorted
  TimeMs quorate_since = -1;       ///< -1: not quorate

  uint64_t heartbeat_seq = 0;  ///< of the last one sent
  uint64_t delivered_seq = 0;  ///< this node's own newest one that was delivered in this ring; 0: none
  TimeMs delivered_at = 0;     ///< when
  uint64_t passed_seq = 0;  ///< the newest one after which the ring's token has been with every node; 0: none
  TimeMs heartbeat_due = 0;
  std::deque<SentHeartbeat> sent;  ///< seq without gaps
  TimeMs lease_until = 0;
  uint64_t lease_seq = 0;  ///< the heartbeat that gave it
  TimeMs lease_told = 0;   ///< with SetLease
  bool lapsed = true;      ///< true exactly when the lease has ended and is not to be trusted yet again

  Table table;
  std::map<std::string, Group> groups;
  std::set<std::pair<TimeMs, std::string>> timers;
  std::map<std::string, TimeMs> timer_of;
  std::set<std::string> dirty;
  bool all_dirty = false;

  TimeMs report_due = kNever;
  TimeMs report_sent = -1;
  bool reported_quorate = false;  ///< what the last report said
  TimeMs connections_due = kNever;
  bool connections_whole = false;
  TimeMs may_propose_since = -1;  ///< -1: it may not

  TimeMs stop_since = -1;  ///< -1: no StopAsked
  bool stopped = false;
};

// --- node.cc: what is asked most.
[[nodiscard]] const Peer* find_peer(const Node& node, NodeId id);
[[nodiscard]] std::string name_of(const Node& node, NodeId id);
[[nodiscard]] Ownership ownership_of(const Node& node, const std::string& group);
/// The quorum's word is about the newest ring, and it is yes.
[[nodiscard]] bool quorum_holds(const Node& node);
/// The node is in the ring, and in the quorum's list where that is of the same ring.
[[nodiscard]] bool is_in_ring(const Node& node, NodeId id);
/// Its daemon is in the group, in the ring, and says so. This node: as long as it is in the group itself.
[[nodiscard]] bool is_heard(const Node& node, NodeId id);
[[nodiscard]] bool has_lease(const Node& node);
void note(Node& node, Note::Kind kind, const std::string& group, Epoch epoch, std::string text);
/// False: there is nobody to hear what this node says.
[[nodiscard]] bool is_in_group(const Node& node);
void send(Node& node, Message message);
void mark_dirty(Node& node, const std::string& group);
void mark_report(Node& node, TimeMs pause_ms = kReportPauseMs);

// --- lease.cc
void send_heartbeat(Node& node);
void on_heartbeat(Node& node, NodeId from, const Heartbeat& heartbeat);
/// How long this node has counted the silence of another; -1: it does not count, it is not quorate.
/// Not beyond what any cluster reaches.
[[nodiscard]] bool is_believable(const Node& node, Epoch epoch);
[[nodiscard]] TimeMs silence_of(const Node& node, NodeId id);
void check_lapse(Node& node);
void renew_lease(Node& node);

// --- table.cc
void on_assign(Node& node, NodeId from, const Assign& assign);
void on_ack(Node& node, NodeId from, const Ack& ack);
void merge_table(Node& node, NodeId from, const Table& table);
void send_ack(Node& node, const std::string& group, Epoch epoch);
/// Above every epoch that a node may have forgotten when its daemon was started, as far as is known.
[[nodiscard]] Epoch forgotten_below(const Node& node);
/// The lease is to be trusted again: which groups may have been served elsewhere in between, and who knew has
/// forgotten.
void check_doubts(Node& node);
/// Which nodes an owner by `epoch` still waits for; with when at the latest to look again.
struct Awaited {
  std::vector<NodeId> nodes;
  TimeMs look_at = kNever;
};
[[nodiscard]] Awaited awaited(const Node& node, const Group& group, Epoch epoch);

// --- group_runner.cc: brings a group nearer to what the table says. Returns when to look again.
TimeMs run_group(Node& node, Group& group);
void on_action_done(Node& node, const ActionDone& done);
void suspend_all(Node& node);

// --- proposer.cc
TimeMs propose(Node& node, Group& group);
void update_may_propose(Node& node);
[[nodiscard]] std::optional<Cause> cause_of(const Node& node, const Group& group);
void on_outcome(Node& node, NodeId from, const Outcome& outcome);
/// The groups whose members differ in the digest: their names; empty: they agree.
[[nodiscard]] std::string digest_disagreement(const Node& node, const Group& group);

// --- rank.cc
[[nodiscard]] std::vector<Candidate> rank(const Node& node, const Group& group, TimeMs now);

// --- report.cc
void send_report(Node& node);
void on_report(Node& node, const Member& from, const Report& report);
[[nodiscard]] GroupReport own_report(const Node& node, const Group& group, TimeMs now);
void on_sessions(Node& node, const SessionsChanged& changed);
void on_connections(Node& node, NodeId from, const Connections& connections);
void send_connections(Node& node);

// --- wish.cc
void on_asked(Node& node, const Wish& wish);
void on_wish(Node& node, const Wish& wish);
[[nodiscard]] std::optional<std::string> why_not(const Node& node, const Wish& wish);

// --- status.cc
[[nodiscard]] std::string problem_of(const Node& node, const Group& group);

}  // namespace itgtd::ha
