// The cluster's shell: events of the adapters go into ha::State, its actions go out to them. Decides nothing.
//
//   corosync, addresses, DRBD, shared disks, the target's sessions, timers, operators
//     -> Event -> State::step -> Actions
//     -> corosync, gate, addresses, announcer, DRBD, the target
//
// Control thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ha/adapters/addresses.h"
#include "ha/adapters/announcer.h"
#include "ha/adapters/corosync.h"
#include "ha/adapters/drbd.h"
#include "ha/adapters/gate.h"
#include "ha/adapters/shared_storage.h"
#include "ha/adapters/syn_relay.h"
#include "ha/core/step.h"
#include "ha/data_guard.h"
#include "ha/epoch_file.h"
#include "ha/group_service.h"
#include "ha/history.h"
#include "ha/operator.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

/// A group as the configuration has it, with what its targets say.
struct GroupSetup {
  std::string name;
  std::string drbd;                ///< empty: shared
  std::vector<std::string> disks;  ///< shared: the paths of its LUNs
  std::vector<Vip> vips;
  std::vector<std::string> portals;  ///< "address:port" of its targets that are VIPs of the group
  std::vector<std::string> nodes;    ///< names; empty: all
  bool failback = false;
  uint64_t digest = 0;  ///< of everything that must be equal on all nodes
  bool operator==(const GroupSetup&) const = default;
};

class Runtime final : public Operator {
 public:
  /// Both outlive the runtime. `state_dir`: where the history and the epochs are kept over a restart.
  Runtime(control::EventLoop& loop, GroupService& service, const std::string& state_dir);
  ~Runtime() override;

  /// Guards the portals, opens the sockets, goes to corosync; what is not there yet (corosync) is waited for.
  /// `cluster` is the name of the process group: others on the same corosync are not met. An error is one
  /// that a person must see to.
  [[nodiscard]] Result<void> start(const std::string& cluster, std::vector<GroupSetup> groups);
  /// After a reload.
  void configure(std::vector<GroupSetup> groups);
  /// Hands over what this node owns; `done` when nothing is served here any more.
  void stop(std::function<void()> done);

  [[nodiscard]] ClusterStatus status() const override;
  [[nodiscard]] std::vector<Candidate> why(const std::string& group) const override;
  [[nodiscard]] std::map<std::string, GroupShown> shown() const override;
  [[nodiscard]] std::string trouble() const override { return settings_error_; }
  void ask(const Wish& wish, std::function<void(Result<void>)> done) override;
  [[nodiscard]] const History& history() const override { return history_; }

  /// This daemon; node 0 until corosync has said which.
  [[nodiscard]] Member member() const { return {self_, corosync_.pid()}; }
  /// For what else speaks by the same process group (ha/replication.h): sends, and hears every event of
  /// corosync before the state does.
  void send(const Message& message) { corosync_.send(message); }
  void set_listener(std::function<void(const Event&)> listener) { listener_ = std::move(listener); }
  /// Where it is kept which nodes lack data; before start(). Outlives the runtime. Without one any disk that
  /// DRBD calls UpToDate is served.
  void set_claims(ClaimStore& claims) { guard_.set_store(claims); }

  /// Milliseconds of CLOCK_BOOTTIME.
  [[nodiscard]] static TimeMs now_ms();

 private:
  struct Group {
    GroupSetup setup;
    /// Addresses or portals of an earlier daemon may be here: true until it is known whose the group is.
    bool inherited = true;
    StorageFacts storage;    ///< as DRBD tells it
    bool suspended = false;  ///< by the state: what the guard holds comes on top
  };

  void post(Event event);
  void run_events();
  void arm();
  void on_corosync(const Event& event);
  void ask_settings();
  void on_settings(const Result<CorosyncSettings>& settings);
  void lack_settings(const std::string& why);
  [[nodiscard]] Result<void> check_safety(const CorosyncSettings& settings) const;
  void begin(const CorosyncSettings& settings);
  void configure_state();
  /// Of the groups that this node may own. Elsewhere, on a node that is there for quorum, say, a resource
  /// need not even be defined.
  [[nodiscard]] std::vector<std::string> drbd_resources(std::string_view node) const;
  void guard_portals();
  void release_inherited();
  void on_storage(const std::string& group);
  void promote(const Promote& action, const std::string& resource);

  void carry_out(const Send& action);
  void carry_out(const SetLease& action);
  void carry_out(const Promote& action);
  void carry_out(const AddAddresses& action);
  void carry_out(const StartService& action);
  void carry_out(const Quiesce& action);
  void carry_out(const StopService& action);
  void carry_out(const RemoveAddresses& action);
  void carry_out(const Demote& action);
  void carry_out(const SuspendService& action);
  void carry_out(const ResumeService& action);
  void carry_out(const ResetConnections& action);
  void carry_out(const Note& action);
  void carry_out(const Stopped& action);
  /// Answers an action, through the queue of events.
  [[nodiscard]] GroupService::Done answer(const GroupAction& action);
  void answer(const GroupAction& action, bool ok, bool retry_here, std::string text);
  [[nodiscard]] const GroupSetup* setup_of(const std::string& group) const;
  [[nodiscard]] TimeMs lease_left() const;
  [[nodiscard]] NodeId node_named(std::string_view name) const;
  [[nodiscard]] std::string name_of(NodeId id) const;
  void hear_claim(const Message& message);
  void on_outcome(const Member& from, const Outcome& outcome);
  void remember(TimeMs now, const Actions& actions);

  control::EventLoop& loop_;
  GroupService& service_;
  std::function<void(const Event&)> listener_;
  Addresses addresses_;
  Announcer announcer_;
  Gate gate_;
  SynRelay syn_relay_;
  Drbd drbd_;
  DataGuard guard_;
  SharedStorage shared_;
  Corosync corosync_;

  History history_;
  HistoryFile history_file_;
  EpochFile epoch_file_;
  Epoch epoch_floor_ = 0;
  std::string process_group_;
  std::map<std::string, Group> groups_;
  std::map<std::string, GroupSetup> leaving_;  ///< not in the configuration any more, until they have stopped
  NodeId self_ = 0;
  std::string self_name_;
  std::vector<NodeName> nodes_;
  std::optional<State> state_;  ///< nothing until corosync's settings could be read
  std::deque<Event> events_;
  bool running_events_ = false;
  control::Subscription wake_up_;
  control::Subscription settings_timer_;
  std::string settings_error_;  ///< logged once
  std::string gate_error_;
  bool unsafe_ = false;  ///< true exactly when `settings_error_` is what was found unsafe
  TimeMs lease_until_ = 0;
  TimeMs addresses_until_ = 0;  ///< when the addresses would go
  std::function<void()> on_stopped_;
};

}  // namespace itgtd::ha
