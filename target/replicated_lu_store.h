// Where the state of a group's logical units is kept when the group has no state device: here, and by every
// member of the cluster. And which store a unit's state goes to.
//
//   VersionedFiles        files in state_dir/members, each value with its version: what this node keeps,
//                         for its own groups and for others'. One for the daemon.
//   ReplicatedLuStore     one group's: VersionedFiles and every member.
//   LuStoreRouter         by the unit's name: its group's store, or the daemon's files.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ha/replication.h"
#include "target/lu_store.h"

namespace itgtd::target {

/// Control thread, as everything here.
class VersionedFiles final : public ha::UnitStore {
 public:
  /// Keeps its values in `store`, which outlives it and has nothing else in it.
  explicit VersionedFiles(FileLuStore& store) : store_(store) {}

  void save(const std::string& unit, Value value, SaveDone done) override;
  Result<ha::UnitVersionMap> load_versions() override;
  Result<std::optional<Value>> load(const std::string& unit) override;

 private:
  struct Waiting {
    Value value;
    SaveDone done;
  };
  struct Unit {
    ha::UnitVersion durable;
    bool saving = false;
    std::deque<Waiting> waiting;
  };
  void save_next(const std::string& name);
  /// Reads its version when it was not met before.
  Result<Unit*> known(const std::string& name);

  FileLuStore& store_;
  std::map<std::string, Unit> units_;
};

/// One group's. load() and save() are errors before start() and after stop().
class ReplicatedLuStore final : public LuStore {
 public:
  ReplicatedLuStore(std::string group, ha::UnitStore& local, ha::UnitReplication& replication)
      : group_(std::move(group)), local_(local), replication_(replication) {}

  using Done = std::function<void(Result<void>)>;
  /// This node owns the group by `epoch`, and nobody else serves it any more. Gets the newest values of
  /// `units` (names in the store), and stores each again under this epoch: `done` when load() gives them.
  void start(ha::Epoch epoch, const std::vector<std::string>& units, Done done);
  /// Saves on their way are answered with an error; their values may be found by the next owner, or not.
  void stop();

  Result<std::optional<Value>> load(std::string_view name) override;
  /// `done` when this node and every member have it durable.
  void save(std::string_view name, ConstBytes bytes, SaveDone done) override;

 private:
  void renew(const std::vector<std::string>& units, const Done& done);
  void on_saved_here(uint64_t id, const std::string& unit, const ha::UnitStore::Value& value,
                     const Result<ha::UnitVersion>& result);
  void finish(uint64_t id, const Result<void>& result);
  void end_pending(std::string_view why);

  std::string group_;
  ha::UnitStore& local_;
  ha::UnitReplication& replication_;
  ha::Epoch epoch_ = 0;       ///< 0: stopped, or starting
  ha::Epoch started_in_ = 0;  ///< of the last start()
  uint64_t run_ = 0;          ///< of start() and stop(): what an earlier one began ends there
  std::map<std::string, uint64_t, std::less<>>
      versions_;  ///< given out last in the epoch of the last start()
  uint64_t last_id_ = 0;
  std::map<uint64_t, SaveDone> pending_;
  /// Callbacks that come when this is gone find it expired; this is its one owner.
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

/// Picks the store by the unit's name. The stores outlive it.
class LuStoreRouter final : public LuStore {
 public:
  /// `others`: where units without a group are kept.
  explicit LuStoreRouter(LuStore& others) : others_(others) {}

  /// From now on `name` is kept in `store`; null: it is a unit without a group again.
  void assign(const std::string& name, LuStore* store);
  /// True exactly when it is kept for a group: what a failover must not lose is kept too.
  [[nodiscard]] bool is_of_group(std::string_view name) const;

  Result<std::optional<Value>> load(std::string_view name) override;
  void save(std::string_view name, ConstBytes bytes, SaveDone done) override;

 private:
  [[nodiscard]] LuStore& of(std::string_view name) const;

  LuStore& others_;
  std::map<std::string, LuStore*, std::less<>> assigned_;
};

}  // namespace itgtd::target
