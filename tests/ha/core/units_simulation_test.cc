// Random clusters: nodes that crash at any point, rings that split and heal, disks that fail; owners one
// after another. What was answered GOOD is what the next owner starts with. A run is a function of its seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <random>

#include "base/bytes.h"
#include "base/endian.h"
#include "ha/core/units.h"

namespace itgtd::ha {
namespace {

constexpr size_t kNodes = 3;
constexpr const char* kUnit = "a";
const UnitsOptions kTimes{{}, kNodes, 50, 400};

/// One ring: agreed order, delivered to each member at its own pace.
struct Ring {
  std::vector<NodeId> nodes;
  std::map<NodeId, std::deque<std::pair<Member, Message>>> inboxes;
};

struct Disk {
  UnitVersion version;
  std::vector<std::byte> bytes;
};

/// 0, at first: nothing.
std::vector<std::byte> bytes_for(uint32_t value) {
  be32 wire;
  wire.set(value);
  const ConstBytes bytes = bytes_of(wire);
  return {bytes.begin(), bytes.end()};
}
uint32_t value_of(const Disk& disk) {
  return disk.bytes.empty() ? 0 : load<be32>(disk.bytes).get();
}

class Node {
 public:
  Node(NodeId id, uint32_t pid, Disk& disk) : self{id, pid}, disk_(disk), units_(with(self)) {
    UnitsLoaded loaded;
    if (disk.version != UnitVersion{}) loaded.versions[kUnit] = disk.version;
    run(0, loaded);
  }
  static UnitsOptions with(Member self) {
    UnitsOptions options = kTimes;
    options.self = self;
    return options;
  }

  void run(TimeMs now, const UnitEvent& event) {
    for (UnitAction& action : units_.step(now, event)) {
      if (auto* send = std::get_if<SendUnit>(&action)) outbox.push_back(std::move(send->message));
      if (std::get_if<SendStoredUnit>(&action) != nullptr) {
        outbox.push_back(UnitRecord{"g", kUnit, disk_.version.epoch, disk_.version.version, disk_.bytes});
      }
      if (auto* save = std::get_if<SaveUnit>(&action)) saves.push_back(std::move(save->record));
      if (auto* done = std::get_if<UnitDone>(&action)) ended[done->id] = done->ok;
    }
  }
  /// As ha::UnitStore: an older value never overwrites a newer one.
  void write(const UnitRecord& record) {
    const UnitVersion newer{record.epoch, record.version};
    if (newer <= disk_.version) return;
    disk_ = {newer, record.bytes};
  }
  [[nodiscard]] const Disk& disk() const { return disk_; }

  Member self;
  std::deque<Message> outbox;
  std::deque<UnitRecord> saves;
  std::map<uint64_t, bool> ended;
  // Of an owner.
  enum class Stage { none, fetching, renewing, serving, saving } stage = Stage::none;
  Epoch epoch = 0;
  uint64_t version = 0;
  uint64_t request = 0;
  uint32_t pending = 0;  ///< what it serves after GOOD

 private:
  Disk& disk_;
  Units units_;
};

class Cluster {
 public:
  explicit Cluster(uint64_t seed) : random_(seed) {
    for (NodeId id = 1; id <= kNodes; ++id) start(id);
    make_rings({{1, 2, 3}});
  }

  /// What is wrong, or nothing.
  std::string run(int steps) {
    for (int i = 0; i < steps && problem_.empty(); ++i) one_step();
    return problem_;
  }
  size_t goods = 0;
  size_t takeovers = 0;

 private:
  uint64_t dice(uint64_t sides) { return random_() % sides; }
  void start(NodeId id) { nodes_[id] = std::make_unique<Node>(id, ++last_pid_, disks_[id]); }

  void make_rings(const std::vector<std::vector<NodeId>>& parts) {
    // A ring that ends delivers what all of its members that go on together have in order, or loses it.
    for (Ring& ring : rings_) {
      for (auto& [id, inbox] : ring.inboxes) {
        while (!inbox.empty() && dice(4) != 0) deliver(id, inbox);
      }
    }
    rings_.clear();
    for (const auto& part : parts) {
      Ring ring;
      UnitsMembers members;
      for (const NodeId id : part) {
        if (!nodes_[id]) continue;
        ring.nodes.push_back(id);
        members.members.push_back(nodes_[id]->self);
      }
      rings_.push_back(ring);
      for (const NodeId id : ring.nodes) {
        nodes_[id]->outbox.clear();
        // Who was in another ring, or none, sees the others come: so totem has it.
        nodes_[id]->run(now_, UnitsMembers{{nodes_[id]->self}});
        nodes_[id]->outbox.clear();
        nodes_[id]->run(now_, members);
      }
    }
    check_majority();
  }
  void random_rings() {
    switch (dice(4)) {
      case 0: {
        const auto alone = static_cast<NodeId>(1 + dice(kNodes));
        std::vector<NodeId> others;
        for (NodeId id = 1; id <= kNodes; ++id) {
          if (id != alone) others.push_back(id);
        }
        make_rings({{alone}, others});
        break;
      }
      case 1:
        make_rings({{1}, {2}, {3}});
        break;
      default:
        make_rings({{1, 2, 3}});
        break;
    }
  }
  /// The lease: an owner without a majority answers nobody any more, and stops.
  void check_majority() {
    if (owner_ == 0 || (nodes_[owner_] && ring_of(owner_)->nodes.size() * 2 > kNodes)) return;
    stop_owner();
  }
  Ring* ring_of(NodeId id) {
    for (Ring& ring : rings_) {
      if (std::ranges::find(ring.nodes, id) != ring.nodes.end()) return &ring;
    }
    return nullptr;
  }
  void stop_owner() {
    if (owner_ != 0 && nodes_[owner_]) {
      nodes_[owner_]->stage = Node::Stage::none;
      nodes_[owner_]->run(now_, UnitsAbandoned{"g"});
    }
    owner_ = 0;
  }
  void crash(NodeId id) {
    if (!nodes_[id]) return;
    // What was being written is there, or not.
    for (const UnitRecord& record : nodes_[id]->saves) {
      if (dice(2) == 0) nodes_[id]->write(record);
    }
    // What it had sent last may have been ordered, or not.
    if (dice(2) == 0) nodes_[id]->outbox.clear();
    send_of(id);
    nodes_[id].reset();
    Ring* ring = ring_of(id);
    std::erase(ring->nodes, id);
    ring->inboxes.erase(id);
    // Who goes on together delivers the same, then learns who has gone; nothing that they sent is lost.
    UnitsMembers members;
    for (const NodeId other : ring->nodes) members.members.push_back(nodes_[other]->self);
    for (const NodeId other : ring->nodes) {
      while (!ring->inboxes[other].empty()) deliver(other, ring->inboxes[other]);
      nodes_[other]->run(now_, members);
    }
    check_majority();
  }

  void deliver(NodeId id, std::deque<std::pair<Member, Message>>& inbox) {
    const auto [from, message] = std::move(inbox.front());
    inbox.pop_front();
    if (nodes_[id]) nodes_[id]->run(now_, UnitsDelivered{from, message});
  }
  void send_of(NodeId id) {
    Ring* ring = ring_of(id);
    while (nodes_[id] && !nodes_[id]->outbox.empty()) {
      const Message message = std::move(nodes_[id]->outbox.front());
      nodes_[id]->outbox.pop_front();
      if (ring == nullptr) continue;
      for (const NodeId to : ring->nodes) ring->inboxes[to].emplace_back(nodes_[id]->self, message);
      // Twice, and late: hostile, or a retry.
      if (dice(20) == 0) {
        for (const NodeId to : ring->nodes) ring->inboxes[to].emplace_back(nodes_[id]->self, message);
      }
    }
  }

  void one_step() {
    now_ += static_cast<TimeMs>(dice(10));
    const auto id = static_cast<NodeId>(1 + dice(kNodes));
    const uint64_t what = dice(1000);
    if (what < 4) {
      crash(id);
    } else if (what < 12) {
      if (!nodes_[id]) {
        start(id);
        std::vector<std::vector<NodeId>> parts;
        for (const Ring& ring : rings_) parts.push_back(ring.nodes);
        parts[dice(parts.size())].push_back(id);
        make_rings(parts);
      }
    } else if (what < 18) {
      random_rings();
    } else if (what < 24) {
      stop_owner();
    } else if (nodes_[id]) {
      turn(id);
    }
    if (owner_ != 0 && nodes_[owner_]) own(*nodes_[owner_]);
    if (owner_ == 0 && dice(10) == 0) take_over();
  }
  void turn(NodeId id) {
    send_of(id);
    Node& node = *nodes_[id];
    Ring* ring = ring_of(id);
    if (ring != nullptr && !ring->inboxes[id].empty()) deliver(id, ring->inboxes[id]);
    if (!node.saves.empty() && dice(3) != 0) {
      const UnitRecord record = std::move(node.saves.front());
      node.saves.pop_front();
      const bool ok = dice(15) != 0;
      if (ok) node.write(record);
      node.run(now_, UnitSaved{kUnit, {record.epoch, record.version}, ok, node.disk().version});
    }
    node.run(now_, UnitsTick{});
  }

  void take_over() {
    const auto id = static_cast<NodeId>(1 + dice(kNodes));
    if (!nodes_[id] || ring_of(id)->nodes.size() * 2 <= kNodes) return;
    owner_ = id;
    Node& node = *nodes_[id];
    node.epoch = ++epoch_;
    node.version = 0;
    node.stage = Node::Stage::fetching;
    node.request = ++last_request_;
    node.run(now_, UnitFetch{node.request, "g", {kUnit}});
  }
  void store_value(Node& node, uint32_t value, Node::Stage stage) {
    const UnitRecord record{"g", kUnit, node.epoch, ++node.version, bytes_for(value)};
    node.write(record);
    node.pending = value;
    node.stage = stage;
    node.request = ++last_request_;
    node.run(now_, UnitReplicate{node.request, record});
  }
  void own(Node& node) {
    if (node.stage == Node::Stage::serving && dice(10) == 0) {
      // Until it is answered GOOD it may be found by the next owner, or not.
      perhaps_.push_back(++last_value_);
      store_value(node, last_value_, Node::Stage::saving);
      return;
    }
    const auto end = node.ended.find(node.request);
    if (end == node.ended.end()) return;
    const bool ok = end->second;
    node.ended.clear();
    if (node.stage == Node::Stage::fetching && ok) {
      store_value(node, value_of(node.disk()), Node::Stage::renewing);
    } else if (node.stage == Node::Stage::renewing && ok) {
      serve(node);
    } else if (node.stage == Node::Stage::saving) {
      if (ok) {
        good_ = node.pending;
        perhaps_.clear();
        ++goods;
      }
      node.stage = Node::Stage::serving;
    } else {
      stop_owner();
    }
  }
  void serve(Node& node) {
    ++takeovers;
    if (node.pending != good_ && std::ranges::find(perhaps_, node.pending) == perhaps_.end()) {
      problem_ = "node " + std::to_string(node.self.node) + " serves " + std::to_string(node.pending) +
                 " in epoch " + std::to_string(node.epoch) + ", and GOOD was " + std::to_string(good_);
    }
    // What initiators see from here on: nothing that was left over may come back later.
    good_ = node.pending;
    perhaps_.clear();
    node.stage = Node::Stage::serving;
  }

 private:
  std::mt19937_64 random_;
  TimeMs now_ = 1;
  uint32_t last_pid_ = 0;
  uint64_t last_request_ = 0;
  Epoch epoch_ = 0;
  NodeId owner_ = 0;
  std::map<NodeId, Disk> disks_;
  std::map<NodeId, std::unique_ptr<Node>> nodes_;
  std::vector<Ring> rings_;
  uint32_t last_value_ = 0;
  uint32_t good_ = 0;
  std::vector<uint32_t> perhaps_;
  std::string problem_;
};

TEST(UnitsSimulation, WhatWasGoodIsWhatTheNextOwnerServes) {
  size_t goods = 0;
  size_t takeovers = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Cluster cluster(seed);
    ASSERT_EQ(cluster.run(4000), "") << "seed " << seed;
    goods += cluster.goods;
    takeovers += cluster.takeovers;
  }
  EXPECT_GT(goods, 200u * 5);
  EXPECT_GT(takeovers, 200u * 5);
}

}  // namespace
}  // namespace itgtd::ha
