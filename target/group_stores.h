// Where the units of each group keep what must survive: on the group's state device, or with every member.
//
// Made once; what a group's units are called is known when it starts. Control thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ha/data_guard.h"
#include "ha/replication.h"
#include "ha/runtime.h"
#include "target/config/config.h"
#include "target/control/event_loop.h"
#include "target/device_lu_store.h"
#include "target/lu_store.h"
#include "target/replicated_lu_store.h"

namespace itgtd::target {

class GroupStores final : public ha::ClaimStore {
 public:
  using Done = std::function<void(Result<void>)>;

  /// `others` keeps the units without a group; values of groups without a state device are kept in
  /// STATE_DIR/members. Both outlive it.
  GroupStores(control::EventLoop& loop, LuStore& others, const std::string& state_dir);
  ~GroupStores() override;
  /// What sends, and tells what the cluster says; before the first open(). Outlives it.
  void connect(ha::Runtime& runtime);

  /// What StateWriter and Service save to and load from.
  [[nodiscard]] LuStore& store() { return router_; }
  /// After a load of the configuration.
  void configure(const config::Config& config);
  /// Before the units of a group are restored: gets their newest values. An error says what to do.
  void open(const std::string& group, ha::Epoch epoch, const std::vector<std::string>& units, Done done);
  /// After its disks have been closed. `done` when the state device is closed too: only then can another node
  /// have it.
  void close(const std::string& group, std::function<void()> done);

  // The claims (ha/data_guard.h): kept by every member, also where there is a state device, which is as old
  // as the data.
  void start(const std::string& group, ha::Epoch epoch,
             std::function<void(Result<ha::DataClaim>)> done) override;
  void save(const std::string& group, const ha::DataClaim& claim, Done done) override;
  void stop(const std::string& group) override;
  [[nodiscard]] std::pair<Version, ha::DataClaim> known(const std::string& group) override;

 private:
  void on_event(const ha::Event& event);

  control::EventLoop& loop_;
  ha::Runtime* runtime_ = nullptr;
  FileLuStore member_files_;
  VersionedFiles members_;
  LuStoreRouter router_;
  ha::Replication replication_;
  struct Group {
    std::string device;  ///< empty: kept by every member
    std::vector<std::string> units;
    LuStore* store = nullptr;  ///< of the two below, while the group is started
    std::unique_ptr<ReplicatedLuStore> replicated;
    std::unique_ptr<DeviceLuStore> on_device;
  };
  std::map<std::string, Group> groups_;
  std::map<std::string, std::unique_ptr<ReplicatedLuStore>> claims_;
};

}  // namespace itgtd::target
