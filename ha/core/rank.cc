// Who could own a group, best first.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ha/core/node.h"

namespace itgtd::ha {

namespace {

struct Seen {
  uint64_t digest = 0;
  const StorageFacts* storage = nullptr;
  const std::vector<VipFacts>* vips = nullptr;
};

std::optional<Seen> seen_of(const Node& node, const Group& group, NodeId id) {
  if (id == node.self) {
    return Seen{group.spec.digest, &group.storage, &group.vips};
  }
  const Peer* peer = find_peer(node, id);
  if (peer == nullptr || !peer->has_report) {
    return std::nullopt;
  }
  const auto report = peer->report.groups.find(group.spec.name);
  if (report == peer->report.groups.end()) {
    return std::nullopt;
  }
  return Seen{report->second.digest, &report->second.storage, &report->second.vips};
}

/// The digest that a candidate must have: the owner's, where it is known.
uint64_t wanted_digest(const Node& node, const Group& group) {
  const Ownership ownership = ownership_of(node, group.spec.name);
  const std::optional<Seen> owner = seen_of(node, group, ownership.owner);
  return owner ? owner->digest : group.spec.digest;
}

double decayed(const Node& node, const Failures& failures, TimeMs now) {
  const TimeMs half = std::max<TimeMs>(node.timing.failure_decay_ms, 1);
  return failures.count * std::exp2(-static_cast<double>(now - failures.at) / static_cast<double>(half));
}

Candidate look_at(const Node& node, const Group& group, size_t preference, TimeMs now) {
  const NodeId id = group.spec.nodes[preference];
  const Ownership ownership = ownership_of(node, group.spec.name);
  Candidate candidate;
  candidate.node = id;
  candidate.name = name_of(node, id);
  candidate.preference = static_cast<uint32_t>(preference);
  candidate.last_owner = id == ownership.owner || (ownership.owner == 0 && id == ownership.previous);
  candidate.drained = node.table.standing.drained.contains(id) || (id == node.self && node.stop_since >= 0);
  if (const auto failures = group.failures.find(id); failures != group.failures.end()) {
    candidate.failures = decayed(node, failures->second, now);
  }
  const std::optional<Seen> seen = seen_of(node, group, id);
  if (seen) {
    candidate.fitness = seen->storage->fitness;
    candidate.live_vips = static_cast<uint32_t>(std::count_if(
        seen->vips->begin(), seen->vips->end(), [](const VipFacts& vip) { return vip.usable(); }));
  }
  const Peer* peer = find_peer(node, id);
  const bool quorate = id == node.self ? node.quorum.quorate : peer != nullptr && peer->report.quorate;
  candidate.member = is_heard(node, id) && quorate && (id == node.self || peer->has_report);
  if (peer == nullptr || !peer->configured) {
    candidate.reason = "corosync does not know it";
  } else if (!is_in_ring(node, id)) {
    candidate.reason = "it is not in the ring";
  } else if (peer->pid == 0) {
    candidate.reason = "its daemon does not run";
  } else if (!is_heard(node, id)) {
    candidate.reason = "its daemon is silent";
  } else if (!candidate.member) {
    candidate.reason = quorate ? "it has not told its state yet" : "it has no quorum";
  } else if (!seen) {
    candidate.reason = "its configuration does not have this group";
  } else if (candidate.drained) {
    candidate.reason = id == node.self && node.stop_since >= 0 ? "its daemon stops" : "it is drained";
  } else if (seen->digest != wanted_digest(node, group)) {
    candidate.reason = "its configuration of this group differs";
  } else if (candidate.fitness <= StorageFitness::inconsistent) {
    candidate.reason = fmt::format("its storage is {}", to_string(candidate.fitness));
    if (!seen->storage->detail.empty()) {
      candidate.reason += ": " + seen->storage->detail;
    }
  } else if (const auto facts = group.hopeless.find(id); facts != group.hopeless.end() &&
                                                         facts->second.facts == *seen->storage &&
                                                         now < facts->second.at + kRetryMaxMs) {
    candidate.reason = "it failed here, and its storage has not changed since";
  } else {
    candidate.eligible = true;
  }
  return candidate;
}

/// Two that are equal in what comes before: 0. Otherwise which field decides, for people.
const char* decides(const Candidate& a, const Candidate& b, bool& a_first) {
  const auto decided = [&](bool differs, bool first, const char* text) {
    a_first = first;
    return differs ? text : nullptr;
  };
  if (const char* text = decided(a.eligible != b.eligible, a.eligible, "it is not eligible")) {
    return text;
  }
  if (const char* text = decided(a.member != b.member, a.member, "it is not a member")) {
    return text;
  }
  if (const char* text = decided(a.fitness != b.fitness, a.fitness > b.fitness, "its storage is worse")) {
    return text;
  }
  const auto a_failures = std::lround(a.failures);
  const auto b_failures = std::lround(b.failures);
  if (const char* text =
          decided(a_failures != b_failures, a_failures < b_failures, "it has failed more often")) {
    return text;
  }
  if (const char* text =
          decided(a.live_vips != b.live_vips, a.live_vips > b.live_vips, "it has fewer live VIPs")) {
    return text;
  }
  if (const char* text =
          decided(a.preference != b.preference, a.preference < b.preference, "it is less preferred")) {
    return text;
  }
  if (const char* text = decided(a.last_owner != b.last_owner, a.last_owner, "it did not have it last")) {
    return text;
  }
  a_first = a.node < b.node;
  return "its node id is higher";
}

}  // namespace

std::vector<Candidate> rank(const Node& node, const Group& group, TimeMs now) {
  std::vector<Candidate> all;
  for (size_t i = 0; i < group.spec.nodes.size(); ++i) {
    all.push_back(look_at(node, group, i, now));
  }
  const auto any = [&](auto holds) {
    return std::any_of(all.begin(), all.end(), [&](const Candidate& c) { return c.eligible && holds(c); });
  };
  const auto rule_out = [&](auto holds, const char* reason) {
    for (Candidate& candidate : all) {
      if (candidate.eligible && holds(candidate)) {
        candidate.eligible = false;
        candidate.reason = reason;
      }
    }
  };
  if (any([](const Candidate& c) { return c.fitness == StorageFitness::usable; })) {
    rule_out([](const Candidate& c) { return c.fitness == StorageFitness::diskless; },
             "it has no disk of its own, and another node has");
  }
  if (any([](const Candidate& c) { return c.live_vips > 0; })) {
    rule_out([](const Candidate& c) { return c.live_vips == 0; },
             "none of its VIPs has a link, and another node has one");
  }
  std::sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) {
    bool a_first = false;
    static_cast<void>(decides(a, b, a_first));
    return a_first;
  });
  for (size_t i = 1; i < all.size(); ++i) {
    if (all[i].eligible) {
      bool ignored = false;
      all[i].reason = decides(all[i - 1], all[i], ignored);
    }
  }
  return all;
}

std::vector<Candidate> candidates(const State& state, const std::string& group, TimeMs now) {
  const auto found = state.node().groups.find(group);
  return found == state.node().groups.end() ? std::vector<Candidate>{}
                                            : rank(state.node(), found->second, now);
}

std::string digest_disagreement(const Node& node, const Group& group) {
  std::string names;
  for (const auto& [id, peer] : node.peers) {
    if (id == node.self || !is_heard(node, id) || !peer.has_report) {
      continue;
    }
    const std::optional<Seen> seen = seen_of(node, group, id);
    if (!seen || seen->digest != group.spec.digest) {
      names += names.empty() ? "" : ", ";
      names += name_of(node, id);
    }
  }
  return names;
}

}  // namespace itgtd::ha
