#include "ha/replication.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <deque>
#include <memory>

namespace itgtd::ha {
namespace {

using Value = UnitStore::Value;

class MemoryStore final : public UnitStore {
 public:
  void save(const std::string& unit, Value value, SaveDone done) override {
    if (full) {
      done(Error{ENOSPC, "no room"});
      return;
    }
    Value& there = kept[unit];
    if (value.version > there.version) there = std::move(value);
    done(there.version);
  }
  Result<UnitVersionMap> load_versions() override {
    if (broken) return Error{EIO, "no directory"};
    UnitVersionMap versions;
    for (const auto& [unit, value] : kept) versions[unit] = value.version;
    return versions;
  }
  Result<std::optional<Value>> load(const std::string& unit) override {
    const auto found = kept.find(unit);
    if (found == kept.end()) return std::optional<Value>{};
    return std::optional(found->second);
  }
  std::map<std::string, Value> kept;
  bool full = false;
  bool broken = false;
};

/// Three nodes and what they say, in agreed order.
class ReplicationTest : public testing::Test {
 protected:
  struct Node {
    Member self;
    MemoryStore store;
    std::unique_ptr<Replication> replication;
  };
  ReplicationTest() {
    for (NodeId id = 1; id <= 3; ++id) nodes_[id].self = {id, 10 + id};
  }
  void start(NodeId id) {
    Node& node = nodes_[id];
    const UnitsOptions options{node.self, 3, 40, 200};
    node.replication = std::make_unique<Replication>(
        loop_, node.store,
        [this, self = node.self](Message message) { ring_.emplace_back(self, std::move(message)); },
        [this] { return now_ms(); }, options);
  }
  void members(const std::vector<NodeId>& ids) {
    std::vector<Member> all;
    for (const NodeId id : ids) all.push_back(nodes_[id].self);
    in_ring_ = ids;
    for (const NodeId id : ids) nodes_[id].replication->on_members(all);
    deliver();
  }
  void deliver() {
    while (!ring_.empty()) {
      const auto [from, message] = std::move(ring_.front());
      ring_.pop_front();
      for (const NodeId id : in_ring_) nodes_[id].replication->on_delivered(from, message);
    }
  }
  static TimeMs now_ms() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  std::function<void(Result<void>)> into(std::string& outcome) {
    return [&outcome](const Result<void>& result) { outcome = result ? "ok" : result.error().to_string(); };
  }
  static std::vector<std::byte> bytes(int value) { return {static_cast<std::byte>(value)}; }
  /// As target/ does it: here first.
  void save(NodeId id, UnitVersion version, int value, std::string& outcome) {
    nodes_[id].store.kept["a"] = {version, "g", bytes(value)};
    nodes_[id].replication->replicate("g", "a", version.epoch, version.version, bytes(value), into(outcome));
    deliver();
  }
  void run_for(std::chrono::milliseconds time) {
    loop_.after(time, [this] { loop_.stop(); });
    loop_.run();
  }

  control::EventLoop loop_;
  std::deque<std::pair<Member, Message>> ring_;
  std::map<NodeId, Node> nodes_;
  std::vector<NodeId> in_ring_;
};

TEST_F(ReplicationTest, EveryMemberHasIt) {
  for (const NodeId id : {1u, 2u, 3u}) start(id);
  members({1, 2, 3});
  std::string outcome;
  save(1, {7, 1}, 42, outcome);
  EXPECT_EQ(outcome, "ok");
  for (const NodeId id : {2u, 3u}) {
    EXPECT_EQ(nodes_[id].store.kept["a"].bytes, bytes(42));
    EXPECT_EQ(nodes_[id].store.kept["a"].group, "g");
  }
}

TEST_F(ReplicationTest, WhoComesLaterGetsTheNewest) {
  for (const NodeId id : {1u, 2u, 3u}) start(id);
  members({1, 2});
  std::string outcome;
  save(1, {7, 1}, 42, outcome);
  EXPECT_EQ(outcome, "ok") << "two of three";
  nodes_[3].store.kept["a"] = {{6, 9}, "g", bytes(1)};
  start(3);
  members({1, 2, 3});
  EXPECT_EQ(nodes_[3].store.kept["a"].bytes, bytes(42));
  members({2, 3});
  nodes_[1].store.kept.clear();
  start(1);
  nodes_[1].self.pid = 99;
  start(1);
  members({1, 2, 3});
  nodes_[1].replication->fetch("g", {"a"}, into(outcome = ""));
  deliver();
  EXPECT_EQ(outcome, "ok");
  EXPECT_EQ(nodes_[1].store.kept["a"].bytes, bytes(42));
}

TEST_F(ReplicationTest, ASilentMemberIsWaitedForByTheLoopsTime) {
  for (const NodeId id : {1u, 2u, 3u}) start(id);
  members({1, 2, 3});
  nodes_[3].replication = std::make_unique<Replication>(
      loop_, nodes_[3].store, [](const Message&) {}, [] { return now_ms(); },
      UnitsOptions{{3, 13}, 3, 40, 200});
  std::string outcome;
  save(1, {7, 1}, 42, outcome);
  EXPECT_EQ(outcome, "");
  run_for(std::chrono::milliseconds(80));
  EXPECT_EQ(outcome, "ok");
  nodes_[2].store.full = true;
  save(1, {7, 2}, 43, outcome = "");
  run_for(std::chrono::milliseconds(400));
  EXPECT_EQ(outcome, "only 1 of 3 nodes could store it, 2 must");
}

TEST_F(ReplicationTest, AbandonedRequestsAreAnswered) {
  start(1);
  members({1});
  std::string saved;
  std::string fetched;
  save(1, {7, 1}, 42, saved);
  nodes_[1].replication->fetch("g", {"a"}, into(fetched));
  deliver();
  EXPECT_EQ(saved + fetched, "");
  nodes_[1].replication->abandon("g");
  EXPECT_EQ(saved, "group g is stopped here");
  EXPECT_EQ(fetched, "group g is stopped here");
}

TEST_F(ReplicationTest, AnAnswerMayAskForMore) {
  for (const NodeId id : {1u, 2u}) start(id);
  members({1, 2});
  std::string outcome;
  nodes_[1].replication->fetch("g", {"a"}, [&](const Result<void>& result) {
    ASSERT_TRUE(result.ok());
    save(1, {7, 1}, 42, outcome);
  });
  deliver();
  EXPECT_EQ(outcome, "ok");
}

TEST_F(ReplicationTest, AStoreThatCanNotBeReadIsFilledByOthers) {
  nodes_[2].store.kept["a"] = {{7, 1}, "g", bytes(42)};
  nodes_[1].store.broken = true;
  for (const NodeId id : {1u, 2u}) start(id);
  members({1, 2});
  EXPECT_EQ(nodes_[1].store.kept["a"].bytes, bytes(42));
}

}  // namespace
}  // namespace itgtd::ha
