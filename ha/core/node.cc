#include "ha/core/node.h"

#include <fmt/format.h>

#include <algorithm>

namespace itgtd::ha {

const Peer* find_peer(const Node& node, NodeId id) {
  const auto found = node.peers.find(id);
  return found == node.peers.end() ? nullptr : &found->second;
}

std::string name_of(const Node& node, NodeId id) {
  const Peer* peer = find_peer(node, id);
  if (peer != nullptr && !peer->name.empty()) {
    return peer->name;
  }
  return id == 0 ? "nobody" : fmt::format("node {}", id);
}

Ownership ownership_of(const Node& node, const std::string& group) {
  const auto found = node.table.groups.find(group);
  return found == node.table.groups.end() ? Ownership{} : found->second;
}

bool quorum_holds(const Node& node) {
  return node.ring_known && node.quorum.quorate && node.quorum.ring == node.ring;
}

bool is_in_ring(const Node& node, NodeId id) {
  if (!node.ring_known || !std::binary_search(node.ring_nodes.begin(), node.ring_nodes.end(), id)) {
    return false;
  }
  return node.quorum.ring != node.ring ||
         std::binary_search(node.quorum.nodes.begin(), node.quorum.nodes.end(), id);
}

bool is_heard(const Node& node, NodeId id) {
  const Peer* peer = find_peer(node, id);
  if (peer == nullptr || !peer->configured || peer->pid == 0 || !is_in_ring(node, id)) {
    return false;
  }
  return id == node.self || (peer->heartbeat != 0 && node.now - peer->heard_at <= node.timing.hung_ms);
}

bool has_lease(const Node& node) {
  return !node.lapsed && node.now < node.lease_until;
}

void note(Node& node, Note::Kind kind, const std::string& group, Epoch epoch, std::string text) {
  node.actions.emplace_back(Note{kind, group, epoch, std::move(text)});
}

bool is_in_group(const Node& node) {
  const Peer* self = find_peer(node, node.self);
  return node.ring_known && self != nullptr && self->pid == node.pid;
}

void send(Node& node, Message message) {
  // What matters is said again when there is somebody to hear it.
  if (is_in_group(node)) {
    node.actions.emplace_back(Send{std::move(message)});
  }
}

void mark_dirty(Node& node, const std::string& group) {
  node.dirty.insert(group);
}

void mark_report(Node& node, TimeMs pause_ms) {
  const TimeMs due = node.report_sent < 0 ? node.now : std::max(node.now, node.report_sent + pause_ms);
  node.report_due = std::min(node.report_due, due);
}

}  // namespace itgtd::ha
