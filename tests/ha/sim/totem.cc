#include "tests/ha/sim/totem.h"

#include <algorithm>

namespace itgtd::ha::sim {

Totem::Totem(Schedule& schedule, Random& random, Clients& clients, Settings settings)
    : schedule_(schedule), random_(random), clients_(clients), settings_(std::move(settings)) {
  for (const auto& [node, votes] : settings_.votes) nodes_[node];
}

void Totem::start(NodeId node) {
  Corosync& corosync = nodes_.at(node);
  if (corosync.running) return;
  const uint64_t seq = corosync.stored_seq;
  const int component = corosync.component;
  corosync = Corosync{};
  corosync.running = true;
  corosync.component = component;
  corosync.stored_seq = seq;
  corosync.fate = ++last_fate_;
  form_one({node});
  evaluate();
}

void Totem::end(NodeId node) {
  Corosync& corosync = nodes_.at(node);
  if (!corosync.running) return;
  corosync.running = false;
  corosync.stalled = false;
  corosync.inbox.clear();
  corosync.quorum_box.clear();
  corosync.outbox.clear();
  break_ring(corosync.ring, random_.between(0, 10));
  if (corosync.pid != 0) clients_.on_corosync_lost(node, corosync.pid);
  corosync.pid = 0;
  evaluate();
}

void Totem::stall(NodeId node) {
  Corosync& corosync = nodes_.at(node);
  if (!corosync.running || corosync.stalled) return;
  corosync.stalled = true;
  break_ring(corosync.ring, random_.between(0, 5));
  evaluate();
}

void Totem::resume(NodeId node) {
  Corosync& corosync = nodes_.at(node);
  if (!corosync.running || !corosync.stalled) return;
  corosync.stalled = false;
  // An old token may be in its socket: it delivers to itself what it has and what its daemon sends now.
  corosync.token_until = schedule_.now() + random_.between(0, settings_.stale_token_max_ms);
  pump(node);
  evaluate();
  if (schedule_.now() < corosync.token_until) flush(node);
}

void Totem::break_ring(RingId ring, TimeMs grace_ms) {
  for (auto& [id, other] : nodes_)
    if (other.running && other.ring == ring)
      other.token_until = std::min(other.token_until, schedule_.now() + grace_ms);
}

void Totem::connect(const std::map<NodeId, int>& component) {
  std::map<NodeId, std::tuple<RingId, uint64_t, int>> keys;
  for (auto& [id, node] : nodes_)
    if (node.running) keys[id] = {node.ring, node.fate, component.at(id)};
  std::map<std::tuple<RingId, uint64_t>, std::set<int>> parts;
  for (const auto& [id, key] : keys) parts[{std::get<0>(key), std::get<1>(key)}].insert(std::get<2>(key));
  std::map<std::tuple<RingId, uint64_t, int>, Set> fates;
  for (const auto& [id, key] : keys)
    if (parts[{std::get<0>(key), std::get<1>(key)}].size() > 1) fates[key].insert(id);
  for (auto& [id, node] : nodes_) node.component = component.at(id);
  // One side may have the token, and go on until it has been all around.
  for (const auto& [key, members] : fates) {
    const uint64_t fate = ++last_fate_;
    const TimeMs grace = random_.chance(50) ? 0 : random_.between(0, settings_.stale_token_max_ms);
    for (NodeId id : members) {
      nodes_.at(id).fate = fate;
      nodes_.at(id).token_until = schedule_.now() + grace;
    }
    lose_from_others(members);
  }
  evaluate();
}

/// What others sent and nobody of `fate` has delivered may be lost to all of them, from some message on.
void Totem::lose_from_others(const Set& fate) {
  uint64_t delivered = 0;
  uint64_t newest = 0;
  for (NodeId id : fate) {
    delivered = std::max(delivered, nodes_.at(id).delivered);
    for (const Incoming& incoming : nodes_.at(id).inbox) newest = std::max(newest, incoming.order);
  }
  if (newest <= delivered) return;
  const uint64_t lost_from = delivered + 1 + random_.below(newest - delivered + 1);
  for (NodeId id : fate)
    std::erase_if(nodes_.at(id).inbox, [&](const Incoming& incoming) {
      return incoming.order >= lost_from && !fate.contains(incoming.sender);
    });
}

void Totem::evaluate() {
  std::set<int> components;
  for (const auto& [id, node] : nodes_)
    if (node.running && !node.stalled) components.insert(node.component);
  std::set<Set> wanted;
  for (int component : components) evaluate_component(component, wanted);
  std::erase_if(pending_, [&](const auto& entry) { return !wanted.contains(entry.first); });
}

void Totem::evaluate_component(int component, std::set<Set>& wanted) {
  Set live;
  for (const auto& [id, node] : nodes_)
    if (node.running && !node.stalled && node.component == component) live.insert(id);
  const Corosync& first = nodes_.at(*live.begin());
  bool same = std::equal(live.begin(), live.end(), first.ring_nodes.begin(), first.ring_nodes.end());
  bool loss = false;
  for (NodeId id : live) {
    same = same && same_fate(first, nodes_.at(id));
    for (NodeId other : nodes_.at(id).ring_nodes) loss = loss || !live.contains(other);
  }
  if (same) {
    for (NodeId id : live) nodes_.at(id).token_until = kForEver;
    for (NodeId id : live) flush(id);
    return;
  }
  wanted.insert(live);
  if (pending_.contains(live)) return;
  const uint64_t attempt = ++last_attempt_;
  pending_[live] = attempt;
  TimeMs delay = random_.between(30, 400);
  if (loss)
    delay = random_.between(settings_.token_ms * 7 / 10, settings_.token_ms) +
            random_.between(50, settings_.consensus_ms);
  if (loss && !quorate({live.begin(), live.end()})) delay += random_.between(0, settings_.isolated_extra_ms);
  schedule_.after(delay, [this, live, attempt] {
    const auto found = pending_.find(live);
    if (found != pending_.end() && found->second == attempt) form(live);
  });
}

/// Nodes of one ring that have received different messages can't go on together: each part enters a ring of
/// its own first.
void Totem::form(const Set& nodes) {
  pending_.erase(nodes);
  std::map<RingId, std::map<uint64_t, Set>> fates;
  for (NodeId id : nodes) fates[nodes_.at(id).ring][nodes_.at(id).fate].insert(id);
  for (const auto& [ring, parts] : fates)
    if (parts.size() > 1)
      for (const auto& [fate, part] : parts) form_one(part);
  form_one(nodes);
  evaluate();
}

void Totem::form_one(const Set& nodes) {
  uint64_t seq = 0;
  for (NodeId id : nodes) seq = std::max(seq, nodes_.at(id).stored_seq);
  const RingId ring{*nodes.begin(), seq + 4};
  leave_behind(nodes);
  std::map<NodeId, Set> together;
  for (NodeId id : nodes)
    for (NodeId other : nodes)
      if (same_fate(nodes_.at(id), nodes_.at(other))) together[id].insert(other);
  for (NodeId id : nodes) enter(id, nodes, together[id], ring);
  for (NodeId id : nodes) flush(id);
}

/// Stalled nodes of the rings that `nodes` leave.
void Totem::leave_behind(const Set& nodes) {
  std::map<std::pair<RingId, uint64_t>, Set> left;
  for (auto& [id, node] : nodes_)
    if (!nodes.contains(id) && std::any_of(nodes.begin(), nodes.end(), [&, &it = node](NodeId other) {
          return same_fate(it, nodes_.at(other));
        }))
      left[{node.ring, node.fate}].insert(id);
  for (const auto& [key, part] : left)
    for (NodeId id : part) {
      nodes_.at(id).fate = ++last_fate_;
      nodes_.at(id).token_until = 0;
      if (random_.chance(50)) lose_from_others({id});
    }
}

void Totem::enter(NodeId id, const Set& nodes, const Set& together, RingId ring) {
  Corosync& node = nodes_.at(id);
  const std::vector<Member> before = node.view;
  node.ring = ring;
  node.ring_nodes.assign(nodes.begin(), nodes.end());
  node.stored_seq = ring.seq;
  // `together` was worked out before: from here on they have one fate again.
  node.fate = 0;
  node.token_until = kForEver;
  if (node.pid != 0) enqueue(id, 0, id, RingChanged{ring, node.ring_nodes});
  std::vector<Member> kept;
  for (const Member& member : before)
    if (together.contains(member.node)) kept.push_back(member);
  std::vector<Member> joining;
  for (NodeId other : nodes)
    if (!together.contains(other) && nodes_.at(other).pid != 0)
      joining.push_back({other, nodes_.at(other).pid});
  std::vector<Member> after = kept;
  after.insert(after.end(), joining.begin(), joining.end());
  std::vector<Member> before_sorted = before;
  std::sort(after.begin(), after.end());
  std::sort(before_sorted.begin(), before_sorted.end());
  // A node that was stopped may never learn that it had been left out.
  const bool unnoticed = after == before_sorted && random_.chance(50);
  if (unnoticed) {
    tell_quorum(id);
    return;
  }
  if (kept.size() != before.size()) change_view(id, kept, {}, id);
  random_.shuffle(joining);
  for (const Member& member : joining) {
    std::vector<Member> view = node.view;
    view.push_back(member);
    change_view(id, view, {}, id);
  }
  tell_quorum(id);
}

void Totem::tell_quorum(NodeId id) {
  Corosync& node = nodes_.at(id);
  if (node.pid == 0) return;
  TimeMs deliver_at = schedule_.now() + random_.between(0, settings_.quorum_delay_max_ms);
  if (!node.quorum_box.empty()) deliver_at = std::max(deliver_at, node.quorum_box.back().deliver_at);
  node.quorum_box.push_back(
      {deliver_at, 0, id, node.pid, QuorumChanged{node.ring, quorate(node.ring_nodes), node.ring_nodes}});
  schedule_.at(deliver_at, [this, id] { pump(id); });
}

bool Totem::quorate(const std::vector<NodeId>& nodes) const {
  uint32_t all = 0;
  uint32_t here = 0;
  for (const auto& [node, votes] : settings_.votes) all += votes;
  for (NodeId node : nodes) here += settings_.votes.at(node);
  return here * 2 > all;
}

void Totem::join(NodeId node, uint32_t pid) {
  Corosync& corosync = nodes_.at(node);
  if (!corosync.running) return;
  corosync.pid = pid;
  corosync.inbox.clear();
  corosync.quorum_box.clear();
  enqueue(node, 0, node, RingChanged{corosync.ring, corosync.ring_nodes});
  tell_quorum(node);
  corosync.outbox.push_back({{node, pid}, Join{{node, pid}}});
  flush(node);
}

void Totem::leave(NodeId node, uint32_t pid) {
  Corosync& corosync = nodes_.at(node);
  if (!corosync.running || corosync.pid != pid) return;
  corosync.pid = 0;
  corosync.inbox.clear();
  corosync.quorum_box.clear();
  corosync.outbox.push_back({{node, pid}, Leave{{node, pid}}});
  flush(node);
}

void Totem::send(NodeId node, uint32_t pid, const Message& message) {
  Corosync& corosync = nodes_.at(node);
  if (!corosync.running || corosync.pid != pid) return;
  corosync.outbox.push_back({{node, pid}, message});
  flush(node);
}

void Totem::flush(NodeId node) {
  Corosync& corosync = nodes_.at(node);
  while (!corosync.outbox.empty() && !corosync.stalled && schedule_.now() < corosync.token_until) {
    const Outgoing outgoing = std::move(corosync.outbox.front());
    corosync.outbox.pop_front();
    order(node, outgoing);
  }
}

void Totem::order(NodeId sender, const Outgoing& outgoing) {
  const uint64_t order = ++last_order_;
  const Corosync& from = nodes_.at(sender);
  for (auto& [id, node] : nodes_) {
    if (!same_fate(from, node)) continue;
    if (const auto* message = std::get_if<Message>(&outgoing.what)) {
      const bool in_view = std::find(node.view.begin(), node.view.end(), outgoing.from) != node.view.end();
      if (node.pid != 0 && in_view) enqueue(id, order, sender, Delivered{outgoing.from, *message});
      continue;
    }
    std::vector<Member> view = node.view;
    if (const auto* join = std::get_if<Join>(&outgoing.what)) {
      std::erase_if(view, [&](const Member& member) { return member.node == join->member.node; });
      // A process that joins gets the whole list at once.
      view.push_back(join->member);
      change_view(id, view, {}, sender);
    } else {
      const Member gone = std::get<Leave>(outgoing.what).member;
      if (std::erase(view, gone) != 0) change_view(id, view, {gone.node}, sender);
    }
  }
}

void Totem::change_view(NodeId id, std::vector<Member> view, std::vector<NodeId> ended, NodeId sender) {
  Corosync& node = nodes_.at(id);
  node.view = std::move(view);
  if (node.pid == 0) return;
  std::vector<Member> told = node.view;
  for (const Member& ghost : ghosts_)
    if (std::find(told.begin(), told.end(), ghost) == told.end()) told.push_back(ghost);
  // Only who is in it is told.
  if (std::find(told.begin(), told.end(), Member{id, node.pid}) != told.end())
    enqueue(id, 0, sender, MembersChanged{told, std::move(ended)});
}

void Totem::enqueue(NodeId id, uint64_t order, NodeId sender, Event event) {
  Corosync& node = nodes_.at(id);
  TimeMs deliver_at = schedule_.now() + random_.between(1, settings_.latency_max_ms);
  if (!node.inbox.empty()) deliver_at = std::max(deliver_at, node.inbox.back().deliver_at);
  node.inbox.push_back({deliver_at, order, sender, node.pid, std::move(event)});
  schedule_.at(deliver_at, [this, id] { pump(id); });
}

void Totem::pump(NodeId id) {
  Corosync& node = nodes_.at(id);
  while (node.running && !node.stalled && !node.inbox.empty() &&
         node.inbox.front().deliver_at <= schedule_.now()) {
    const Incoming incoming = std::move(node.inbox.front());
    node.inbox.pop_front();
    node.delivered = std::max(node.delivered, incoming.order);
    if (incoming.pid == node.pid) clients_.on_cpg(id, incoming.pid, incoming.event);
  }
  while (node.running && !node.stalled && !node.quorum_box.empty() &&
         node.quorum_box.front().deliver_at <= schedule_.now()) {
    const Incoming incoming = std::move(node.quorum_box.front());
    node.quorum_box.pop_front();
    if (incoming.pid == node.pid) clients_.on_quorum(id, incoming.pid, incoming.event);
  }
}

}  // namespace itgtd::ha::sim
