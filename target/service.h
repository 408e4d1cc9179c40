// What is served: targets, logical units, listeners and the directory, made to be as the configuration says.
//
// Start, reload and stop are the same path: config::plan() says what differs, and the steps that follow from
// it run one after another, each when every worker has taken the one before. Belongs to the control thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "target/config/config.h"
#include "target/config/plan.h"
#include "target/control/event_loop.h"
#include "target/coordinator.h"
#include "target/registry.h"
#include "target/state_writer.h"

namespace itgtd::target {

class Service {
 public:
  /// `store` is the one that `writer` saves to. All outlive the service.
  Service(control::EventLoop& loop, Coordinator& coordinator, StateWriter& writer, Registry& registry,
          LuStore& store);

  /// Makes what is served be as `wanted` says, whose LUNs all have serials; `done` when it is. Calls queue
  /// up. What can't be had (a device that is missing, an address that is taken) is logged with what to do,
  /// costs only itself, and is tried again.
  void apply(const config::Config& wanted, std::function<void()> done);

  // From the workers, by way of the daemon.
  void on_accepted(const Accepted& message);
  void on_connection_closed(const ConnectionClosed& message);
  void on_open_session(const OpenSession& message);
  void on_session_closed(const SessionClosed& message);
  /// Ends every session of a target, with an Async Message.
  void close_sessions(Key target, const std::string& reason);

  /// Looks at every medium: logs lost writes, publishes another size (CAPACITY DATA HAS CHANGED) and how full
  /// a thin one is (THIN PROVISIONING SOFT THRESHOLD REACHED). Called every kMediumWatchTime.
  void look_at_media();

  /// No more connections and logins: the daemon stops.
  void refuse_connections() { refusing_ = true; }

  struct Summary {
    size_t targets = 0;
    size_t luns = 0;
    size_t luns_down = 0;
    size_t portals = 0;
    size_t portals_failed = 0;
  };
  [[nodiscard]] Summary summary() const;

 private:
  struct Lun {
    Key key = 0;
    config::LunConfig config;
    scsi::LuIdentity identity;
    /// Null: the device is missing, or what was stored of the unit can't be read. The control thread's share.
    std::shared_ptr<backend::Medium> medium;
    bool restored = false;                                   ///< what was stored of it is in its state
    scsi::LuCondition condition = scsi::LuCondition::ready;  ///< what it is in as soon as its device is there
    bool loss_logged = false;
    bool leaving = false;  ///< true from the start of its removal: its device is looked for no more
  };
  struct Target {
    Key key = 0;
    config::TargetConfig config;  ///< without LUNs: those are in `luns`
    std::map<uint16_t, Lun> luns;
    /// True exactly when logins and discovery find it.
    bool visible = false;
  };
  struct Listener {
    Key key = 0;
    WorkerIndex worker = 0;
  };
  using Done = std::function<void()>;
  using Step = std::function<void(Done done)>;

  // Steps: service_apply.cc.
  void enqueue(Step step);
  void run_next_step();
  void carry_out(const config::CloseListener& step, Done done);
  void carry_out(const config::OpenListener& step, Done done);
  void carry_out(const config::ChangeDaemon& step, const Done& done);
  void carry_out(const config::AddTarget& step, Done done);
  void carry_out(const config::ChangeTarget& step, Done done);
  void carry_out(const config::RemoveTarget& step, Done done);
  void carry_out(const config::EndSessions& step, Done done);
  void carry_out(const config::AddLun& step, Done done);
  void carry_out(const config::ChangeLun& step, Done done);
  void carry_out(const config::RemoveLun& step, Done done);
  Target& ensure_target(const std::string& name);
  void drop_if_empty(const std::string& name);
  void publish_directory(Done done);
  void open_listener(const std::string& portal);
  void check_sizes();
  void end_sessions(const std::function<bool(const Registry::Session&)>& which, const std::string& reason,
                    Done done);
  void continue_when_gone();
  [[nodiscard]] bool reachable_at(const Target& target, Key listener) const;

  [[nodiscard]] Result<void> restore(Lun& lun, scsi::LuState& state);
  void retry_media();
  void watch_media();
  void attach(Target& target, Lun& lun, std::shared_ptr<backend::Medium> medium);
  void act(const Registry::Actions& actions);
  void refuse(const ConnectionRef& connection, iscsi::LoginStatus status);
  void admit(const Registry::Session& session);
  void open(const Registry::Session& session);
  /// Asked again when a login has waited: what it was admitted by may have changed.
  [[nodiscard]] bool still_admitted(const Registry::Session& session) const;
  /// A target is served where its configuration says and to whom it says, and not otherwise.
  [[nodiscard]] bool admits(const Target& target, const Registry::Session& session) const;
  [[nodiscard]] Target* find_target(std::string_view name);

  control::EventLoop& loop_;
  Coordinator& coordinator_;
  StateWriter& writer_;
  Registry& registry_;
  LuStore& store_;

  config::Config running_;
  bool started_ = false;  ///< the first configuration is in place: the next ones are reloads
  std::map<std::string, Target> targets_;
  std::map<std::string, Listener> listeners_;  ///< by address, as Address::to_string() has it
  std::vector<std::string> failed_portals_;    ///< taken by somebody else: tried again
  std::set<std::string> listen_errors_;        ///< those that were logged
  std::vector<uint32_t> connections_;          ///< per worker
  /// Connections before the full feature phase. Below 0 for a moment when one went while its session was
  /// opened.
  int64_t logins_pending_ = 0;
  bool refusing_ = false;
  bool retrying_ = false;
  bool limit_logged_ = false;

  std::deque<Step> steps_;
  bool step_running_ = false;
  /// Sessions that a step waits for, and what goes on when they are gone.
  std::vector<scsi::NexusId> leaving_sessions_;
  std::function<void()> when_gone_;
};

}  // namespace itgtd::target
