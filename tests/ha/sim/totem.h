// Corosync as the daemons see it: rings, a closed process group with agreed order, and quorum, with the
// freedom that extended virtual synchrony and corosync's own habits leave:
//  - a ring that breaks: what was under way reaches the ones, and not the others; who goes on together agrees
//  - the isolated side may notice later; a token that was on its way may still let one side deliver
//  - a corosync that was stopped may deliver its own messages to itself in a ring that no longer exists
//  - quorum's callbacks come in any order relative to the ring's, joins one by one, in any order
//  - a member that is dead may be named for ever
#pragma once

#include <deque>
#include <map>
#include <set>
#include <variant>
#include <vector>

#include "ha/core/event.h"
#include "tests/ha/sim/random.h"
#include "tests/ha/sim/schedule.h"

namespace itgtd::ha::sim {

class Totem {
 public:
  struct Settings {
    TimeMs token_ms = 1000;
    TimeMs consensus_ms = 1200;
    /// How much later than the majority a side without quorum may notice.
    TimeMs isolated_extra_ms = 0;
    TimeMs latency_max_ms = 3;
    TimeMs quorum_delay_max_ms = 50;
    /// A side of a broken ring may go on delivering among itself for as long as that.
    TimeMs stale_token_max_ms = 20;
    std::map<NodeId, uint32_t> votes;  ///< of every configured node
  };
  /// Who hears of it. Events of the process group come in order, quorum's in theirs.
  class Clients {
   public:
    virtual ~Clients() = default;
    virtual void on_cpg(NodeId node, uint32_t pid, const Event& event) = 0;
    virtual void on_quorum(NodeId node, uint32_t pid, const Event& event) = 0;
    virtual void on_corosync_lost(NodeId node, uint32_t pid) = 0;
  };

  Totem(Schedule& schedule, Random& random, Clients& clients, Settings settings);

  // --- The process corosync on a node.
  void start(NodeId node);
  void end(NodeId node);
  void stall(NodeId node);
  void resume(NodeId node);
  [[nodiscard]] bool running(NodeId node) const { return nodes_.at(node).running; }

  /// Who reaches whom: nodes with the same number.
  void connect(const std::map<NodeId, int>& component);
  /// Every list of members names `member` from now on, dead or not.
  void add_ghost(Member member) { ghosts_.push_back(member); }

  // --- The daemon on a node, as a client.
  void join(NodeId node, uint32_t pid);
  void leave(NodeId node, uint32_t pid);
  void send(NodeId node, uint32_t pid, const Message& message);

  [[nodiscard]] RingId ring(NodeId node) const { return nodes_.at(node).ring; }

 private:
  struct Join {
    Member member;
  };
  struct Leave {
    Member member;
  };
  struct Outgoing {
    Member from;
    std::variant<Message, Join, Leave> what;
  };
  struct Incoming {
    TimeMs deliver_at;
    uint64_t order;  ///< of a message; 0: not one
    NodeId sender;
    uint32_t pid;
    Event event;
  };
  struct Corosync {
    bool running = false;
    bool stalled = false;
    int component = 0;
    uint64_t stored_seq = 0;  ///< survives a crash, as corosync's file does
    RingId ring;
    std::vector<NodeId> ring_nodes;
    uint64_t fate = 0;         ///< nodes of one ring with one fate have received the same messages
    TimeMs token_until = 0;    ///< what it sends is ordered until then; otherwise it waits for a ring
    uint32_t pid = 0;          ///< of the joined daemon; 0: none
    std::vector<Member> view;  ///< of the process group, at the end of `inbox`
    std::deque<Outgoing> outbox;
    std::deque<Incoming> inbox;
    std::deque<Incoming> quorum_box;
    uint64_t delivered = 0;  ///< the order of the last message that its client has
  };
  using Set = std::set<NodeId>;
  static constexpr TimeMs kForEver = INT64_MAX / 4;

  void evaluate();
  void evaluate_component(int component, std::set<Set>& wanted);
  void form(const Set& nodes);
  void form_one(const Set& nodes);
  void enter(NodeId node, const Set& nodes, const Set& together, RingId ring);
  void tell_quorum(NodeId node);
  void leave_behind(const Set& nodes);
  void lose_from_others(const Set& fate);
  void break_ring(RingId ring, TimeMs grace_ms);
  void order(NodeId sender, const Outgoing& outgoing);
  void change_view(NodeId node, std::vector<Member> view, std::vector<NodeId> ended, NodeId sender);
  void enqueue(NodeId node, uint64_t order, NodeId sender, Event event);
  void flush(NodeId node);
  void pump(NodeId node);
  [[nodiscard]] bool same_fate(const Corosync& a, const Corosync& b) const {
    return a.running && b.running && a.ring == b.ring && a.fate == b.fate;
  }
  [[nodiscard]] bool quorate(const std::vector<NodeId>& nodes) const;

  Schedule& schedule_;
  Random& random_;
  Clients& clients_;
  Settings settings_;
  std::map<NodeId, Corosync> nodes_;
  std::map<Set, uint64_t> pending_;  ///< rings that form, with the number of the attempt
  std::vector<Member> ghosts_;
  uint64_t last_order_ = 0;
  uint64_t last_fate_ = 0;
  uint64_t last_attempt_ = 0;
};

}  // namespace itgtd::ha::sim
