#include "tests/ha/sim/disks.h"

#include <algorithm>

namespace itgtd::ha::sim {

void Disks::add(const GroupSpec& spec) {
  Resource& resource = resources_[spec.name];
  resource.spec = spec;
  for (NodeId node : spec.nodes) resource.replicas[node];
}

bool Disks::connected(NodeId a, NodeId b) const {
  return up_.contains(a) && up_.contains(b) && (a == b || component_.at(a) == component_.at(b));
}

bool Disks::quorate(NodeId node) const {
  const auto here =
      std::count_if(nodes_.begin(), nodes_.end(), [&](NodeId other) { return connected(node, other); });
  return !quorum_ || static_cast<size_t>(here) * 2 > nodes_.size();
}

void Disks::connect(const std::map<NodeId, int>& component) {
  component_ = component;
  meet();
}

void Disks::node_down(NodeId node) {
  up_.erase(node);
  for (auto& [name, resource] : resources_)
    if (const auto found = resource.replicas.find(node); found != resource.replicas.end()) {
      found->second.primary = false;
      found->second.outdated = found->second.outdated || found->second.syncing;
      found->second.syncing = false;
    }
}

void Disks::node_up(NodeId node) {
  up_.insert(node);
  meet();
}

void Disks::set_fitness(const std::string& group, NodeId node, StorageFitness fitness) {
  Resource& resource = resources_.at(group);
  Replica& replica = resource.replicas[node];
  if (fitness == StorageFitness::usable && replica.disk != StorageFitness::usable &&
      resource.spec.storage == StorageKind::drbd) {
    // A disk that comes back has missed what was written meanwhile.
    const bool alone = std::none_of(resource.replicas.begin(), resource.replicas.end(),
                                    [&](const auto& other) { return current(other.second); });
    replica.outdated = !alone;
  }
  replica.disk = fitness;
  meet();
}

/// Who had been apart sees each other: a Primary whose data is no longer the newest is made Secondary, and
/// replicas that missed something are synchronised.
void Disks::meet() {
  for (auto& [name, resource] : resources_) {
    if (resource.spec.storage == StorageKind::shared) continue;
    for (auto& [node, replica] : resource.replicas)
      for (auto& [other, peer] : resource.replicas)
        if (node != other && replica.primary && peer.primary && connected(node, other) && replica.outdated)
          replica.primary = false;
    start_sync(resource);
  }
}

void Disks::start_sync(Resource& resource) {
  for (auto& [node, replica] : resource.replicas) {
    if (!replica.outdated || replica.syncing || replica.disk != StorageFitness::usable || !up_.contains(node))
      continue;
    if (!reaches_current(resource, node)) continue;
    replica.syncing = true;
    schedule_.after(random_.between(100, 1500), [this, name = resource.spec.name, id = node] {
      Resource& synced = resources_.at(name);
      Replica& target = synced.replicas.at(id);
      if (!target.syncing) return;
      target.syncing = false;
      for (const auto& [other, source] : synced.replicas)
        if (other != id && current(source) && connected(id, other) && target.outdated) {
          target.blocks = source.blocks;
          target.outdated = false;
        }
      start_sync(synced);
    });
  }
}

bool Disks::reaches_current(const Resource& resource, NodeId node) const {
  return std::any_of(resource.replicas.begin(), resource.replicas.end(), [&](const auto& other) {
    return other.first != node && current(other.second) && connected(node, other.first);
  });
}

StorageFacts Disks::facts(const std::string& group, NodeId node) const {
  const Resource& resource = resources_.at(group);
  StorageFacts facts;
  const auto found = resource.replicas.find(node);
  if (found == resource.replicas.end()) {
    facts.fitness = StorageFitness::unusable;
    facts.detail = "not configured on this node";
    return facts;
  }
  const Replica& replica = found->second;
  facts.fitness = replica.disk;
  if (resource.spec.storage == StorageKind::shared) {
    facts.role = facts.disk = "-";
    return facts;
  }
  if (replica.disk == StorageFitness::diskless && !reaches_current(resource, node))
    facts.fitness = StorageFitness::unusable;
  if (replica.disk == StorageFitness::usable && !current(replica))
    facts.fitness = StorageFitness::inconsistent;
  facts.primary = replica.primary;
  facts.quorate = quorate(node);
  for (const auto& [other, peer] : resource.replicas) {
    facts.peer_primary = facts.peer_primary || (other != node && peer.primary && connected(node, other));
    facts.peers_connected = facts.peers_connected || (other != node && connected(node, other));
  }
  facts.role = facts.primary ? "Primary" : "Secondary";
  facts.disk = facts.fitness == StorageFitness::usable ? "UpToDate" : "Outdated";
  return facts;
}

Disks::Result Disks::promote(const std::string& group, NodeId node) {
  Resource& resource = resources_.at(group);
  const auto found = resource.replicas.find(node);
  if (found == resource.replicas.end() || found->second.disk == StorageFitness::unusable)
    return {false, false, "no such disk"};
  if (resource.spec.storage == StorageKind::shared) return {};
  if (found->second.primary) return {};
  const StorageFacts now = facts(group, node);
  if (now.peer_primary) return {false, true, "a peer is Primary"};
  if (!now.quorate) return {false, true, "no quorum"};
  if (now.fitness != StorageFitness::usable && now.fitness != StorageFitness::diskless)
    return {false, false, "no UpToDate disk"};
  found->second.primary = true;
  outdate_others(resource, node);
  return {};
}

void Disks::outdate_others(Resource& resource, NodeId primary) {
  for (auto& [node, replica] : resource.replicas)
    if (node != primary && !connected(primary, node)) {
      replica.outdated = true;
      replica.syncing = false;
    }
}

void Disks::demote(const std::string& group, NodeId node) {
  const auto found = resources_.at(group).replicas.find(node);
  if (found != resources_.at(group).replicas.end()) found->second.primary = false;
}

bool Disks::writable(const std::string& group, NodeId node) const {
  const Resource& resource = resources_.at(group);
  const auto found = resource.replicas.find(node);
  if (found == resource.replicas.end()) return false;
  return resource.spec.storage == StorageKind::shared || found->second.primary;
}

bool Disks::write(const std::string& group, NodeId node, uint32_t block, uint64_t version) {
  if (!writable(group, node)) return false;
  Resource& resource = resources_.at(group);
  if (resource.spec.storage == StorageKind::shared) {
    resource.shared[block] = version;
    return true;
  }
  Replica& own = resource.replicas.at(node);
  if (!quorate(node) || own.outdated || (!current(own) && !reaches_current(resource, node))) return false;
  outdate_others(resource, node);
  for (auto& [id, replica] : resource.replicas)
    if (connected(node, id) && replica.disk == StorageFitness::usable) replica.blocks[block] = version;
  return true;
}

uint64_t Disks::read(const std::string& group, NodeId node, uint32_t block) const {
  const Resource& resource = resources_.at(group);
  const Blocks* blocks = &resource.shared;
  if (resource.spec.storage == StorageKind::drbd) {
    blocks = &resource.replicas.at(node).blocks;
    for (const auto& [other, replica] : resource.replicas)
      if (!current(resource.replicas.at(node)) && current(replica) && connected(node, other))
        blocks = &replica.blocks;
  }
  const auto found = blocks->find(block);
  return found == blocks->end() ? 0 : found->second;
}

}  // namespace itgtd::ha::sim
