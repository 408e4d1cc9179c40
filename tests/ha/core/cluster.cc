#include "tests/ha/core/cluster.h"

#include <algorithm>

namespace itgtd::ha {

GroupSpec make_group(const std::string& name, size_t nodes, StorageKind kind) {
  GroupSpec spec;
  spec.name = name;
  spec.storage = kind;
  spec.vips = {"192.168.222.35", "192.168.221.35"};
  for (NodeId id = 1; id <= nodes; ++id) {
    spec.nodes.push_back(id);
  }
  spec.digest = 42;
  return spec;
}

Cluster::Cluster(size_t nodes, Timing with) : timing(with) {
  for (NodeId id = 1; id <= nodes; ++id) {
    daemons[id];
  }
}

void Cluster::start(const std::vector<GroupSpec>& specs) {
  groups = specs;
  std::set<NodeId> all;
  for (auto& [id, daemon] : daemons) {
    if (absent.contains(id)) {
      continue;
    }
    all.insert(id);
    for (const GroupSpec& spec : groups) {
      StorageFacts facts;
      facts.fitness = StorageFitness::usable;
      facts.peers_connected = true;
      facts.role = "Secondary";
      daemon.storage[spec.name] = facts;
      VipFacts vip;
      vip.interface = "eth0";
      vip.link = true;
      daemon.vips[spec.name].assign(spec.vips.size(), vip);
    }
  }
  rings = {all};
  for (const NodeId id : all) {
    start_node(id);
  }
}

void Cluster::start_node(NodeId id) {
  Daemon& daemon = daemons.at(id);
  daemon.pid = next_pid_++;
  daemon.state =
      std::make_unique<State>(id, "node-" + std::to_string(id), daemon.pid, timing, Origin{{}, daemon.floor});
  daemon.frozen = false;
  daemon.stopped = false;
  daemon.queue.clear();
  NodesKnown known;
  for (const auto& [other, ignored] : daemons) {
    known.nodes.push_back({other, "node-" + std::to_string(other)});
  }
  step(id, known);
  step(id, Configured{differing.contains(id) ? differing.at(id) : groups});
  for (const GroupSpec& spec : groups) {
    step(id, StorageChanged{spec.name, daemon.storage[spec.name]});
    for (size_t i = 0; i < spec.vips.size(); ++i) {
      step(id, VipChanged{spec.name, i, daemon.vips[spec.name][i]});
    }
  }
  const std::set<NodeId>* ring = ring_of(id);
  if (ring == nullptr) {
    return;
  }
  step(id, RingChanged{{*ring->begin(), ring_seq}, {ring->begin(), ring->end()}});
  step(id, QuorumChanged{
               {*ring->begin(), ring_seq}, ring->size() > daemons.size() / 2, {ring->begin(), ring->end()}});
  MembersChanged members;
  for (const NodeId other : *ring) {
    if (daemons.at(other).pid != 0) {
      members.members.push_back({other, daemons.at(other).pid});
    }
  }
  for (const NodeId other : *ring) {
    event(other, members);
  }
  flush();
}

void Cluster::kill_daemon(NodeId id) {
  Daemon& daemon = daemons.at(id);
  daemon.state.reset();
  daemon.pid = 0;
  const std::set<NodeId>* ring = ring_of(id);
  if (ring == nullptr) {
    return;
  }
  MembersChanged members;
  members.process_ended = {id};
  for (const NodeId other : *ring) {
    if (daemons.at(other).pid != 0) {
      members.members.push_back({other, daemons.at(other).pid});
    }
  }
  for (const NodeId other : *ring) {
    event(other, members);
  }
  flush();
}

void Cluster::crash(NodeId id) {
  daemons.at(id).state.reset();
  daemons.at(id).pid = 0;
  for (auto& [group, facts] : daemons.at(id).storage) {
    facts.primary = false;
  }
  std::vector<std::set<NodeId>> left = rings;
  for (std::set<NodeId>& ring : left) {
    ring.erase(id);
  }
  partition(left);
}

void Cluster::partition(const std::vector<std::set<NodeId>>& with) {
  rings = with;
  std::erase_if(rings, [](const std::set<NodeId>& ring) { return ring.empty(); });
  ring_seq += 4;
  tell_rings();
}

void Cluster::tell_rings() {
  for (const std::set<NodeId>& ring : rings) {
    MembersChanged members;
    for (const NodeId id : ring) {
      if (daemons.at(id).pid != 0) {
        members.members.push_back({id, daemons.at(id).pid});
      }
    }
    const RingId ring_id{*ring.begin(), ring_seq};
    for (const NodeId id : ring) {
      MembersChanged fewer = members;
      const std::set<NodeId>& all = ring;
      std::erase_if(fewer.members, [&](const Member& m) { return !all.contains(m.node); });
      event(id, RingChanged{ring_id, {ring.begin(), ring.end()}});
      event(id, fewer);
    }
    for (const NodeId id : ring) {
      event(id, QuorumChanged{ring_id, ring.size() > daemons.size() / 2, {ring.begin(), ring.end()}});
    }
  }
  flush();
}

void Cluster::freeze(NodeId id) {
  daemons.at(id).frozen = true;
}

void Cluster::thaw(NodeId id) {
  Daemon& daemon = daemons.at(id);
  daemon.frozen = false;
  for (const Event& event : std::exchange(daemon.queue, {})) {
    step(id, event);
  }
  flush();
}

const std::set<NodeId>* Cluster::ring_of(NodeId id) const {
  for (const std::set<NodeId>& ring : rings) {
    if (ring.contains(id)) {
      return &ring;
    }
  }
  return nullptr;
}

void Cluster::event(NodeId id, const Event& event) {
  step(id, event);
}

void Cluster::storage(NodeId id, const std::string& group, StorageFacts facts) {
  daemons.at(id).storage[group] = facts;
  step(id, StorageChanged{group, facts});
}

void Cluster::vip(NodeId id, const std::string& group, size_t vip, bool link) {
  daemons.at(id).vips[group][vip].link = link;
  step(id, VipChanged{group, vip, daemons.at(id).vips[group][vip]});
}

void Cluster::step(NodeId id, const Event& event) {
  Daemon& daemon = daemons.at(id);
  if (!daemon.state) {
    return;
  }
  if (daemon.frozen) {
    daemon.queue.push_back(event);
    return;
  }
  const Actions actions = daemon.state->step(now, event);
  for (const std::string& broken : broken_invariants(*daemon.state, now)) {
    ADD_FAILURE() << "node " << id << " at " << now << ": " << broken;
  }
  for (const Action& action : actions) {
    act(id, action);
  }
}

void Cluster::act(NodeId id, const Action& action) {
  Daemon& daemon = daemons.at(id);
  if (const auto* sent = std::get_if<Send>(&action)) {
    ++sent_messages;
    sent_reports += std::holds_alternative<Report>(sent->message) ? 1U : 0U;
    bus_.push_back({{id, daemon.pid}, sent->message});
    if (std::holds_alternative<Heartbeat>(sent->message)) {
      return;
    }
  }
  if (const auto* lease = std::get_if<SetLease>(&action)) {
    daemon.lease = lease->until;
    return;
  }
  daemon.log.push_back(action);
  if (const auto* note = std::get_if<Note>(&action); note && note->kind == Note::Kind::decision) {
    daemon.floor = std::max(daemon.floor, ((note->epoch >> 16) + 1) << 16);
  }
  const Fate what = fate ? fate(id, action) : Fate{};
  daemon.stopped = daemon.stopped || std::holds_alternative<Stopped>(action);
  std::visit(
      [&](const auto& a) {
        if constexpr (std::is_base_of_v<GroupAction, std::decay_t<decltype(a)>>) {
          if (a.id != 0 && what.delay >= 0) {
            due_.push_back(
                {now + what.delay, id, daemon.pid,
                 ActionDone{a.id, a.group, a.epoch, what.ok, what.retry_here, what.ok ? "" : "it broke"}});
          }
        }
      },
      action);
  const auto role = [&](const std::string& group, bool primary) {
    StorageFacts& facts = daemon.storage[group];
    facts.primary = primary && what.ok;
    due_.push_back({now, id, daemon.pid, StorageChanged{group, facts}});
  };
  if (const auto* promote = std::get_if<Promote>(&action); promote != nullptr && what.ok && what.delay >= 0) {
    role(promote->group, true);
  }
  if (const auto* demote = std::get_if<Demote>(&action); demote != nullptr && what.ok && what.delay >= 0) {
    role(demote->group, false);
  }
}

void Cluster::flush() {
  for (size_t i = 0; i < bus_.size(); ++i) {
    const Sent sent = bus_[i];
    const std::set<NodeId>* ring = ring_of(sent.from.node);
    if (ring == nullptr) {
      continue;
    }
    for (const NodeId id : std::set<NodeId>(*ring)) {
      step(id, Delivered{sent.from, sent.message});
    }
  }
  bus_.clear();
}

void Cluster::run_for(TimeMs ms) {
  run_until([] { return false; }, ms);
}

bool Cluster::run_until(const std::function<bool()>& holds, TimeMs ms) {
  const TimeMs end = now + ms;
  flush();
  while (!holds()) {
    if (now >= end) {
      return false;
    }
    now += 1;
    for (size_t i = 0; i < due_.size();) {
      if (due_[i].at > now) {
        ++i;
        continue;
      }
      const Due due = due_[i];
      due_.erase(due_.begin() + static_cast<ptrdiff_t>(i));
      if (daemons.at(due.node).pid == due.pid) {
        step(due.node, due.event);
      }
    }
    for (auto& [id, daemon] : daemons) {
      if (daemon.state && !daemon.frozen && daemon.state->wake_at() <= now) {
        step(id, Tick{});
      }
    }
    flush();
  }
  return true;
}

bool Cluster::serves(NodeId id, const std::string& group) const {
  const Daemon& daemon = daemons.at(id);
  if (!daemon.state) {
    return false;
  }
  return may_serve(*daemon.state, group, now);
}

NodeId Cluster::server(const std::string& group) const {
  NodeId found = 0;
  for (const auto& [id, daemon] : daemons) {
    if (serves(id, group)) {
      EXPECT_EQ(found, 0U) << "two nodes serve " << group;
      found = id;
    }
  }
  return found;
}

Ownership Cluster::owner(NodeId at, const std::string& group) const {
  const auto& table = daemons.at(at).state->node().table.groups;
  const auto found = table.find(group);
  return found == table.end() ? Ownership{} : found->second;
}

Phase Cluster::phase(NodeId id, const std::string& group) const {
  return daemons.at(id).state->node().groups.at(group).run.phase;
}

size_t Cluster::count_notes(NodeId id, Note::Kind kind, const std::string& text) const {
  size_t count = 0;
  for (const Action& action : daemons.at(id).log) {
    const auto* what = std::get_if<Note>(&action);
    count += what != nullptr && what->kind == kind && what->text.find(text) != std::string::npos ? 1U : 0U;
  }
  return count;
}

}  // namespace itgtd::ha
