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

#include "ha/core/message.h"
#include "target/config/config.h"
#include "target/config/plan.h"
#include "target/control/event_loop.h"
#include "target/coordinator.h"
#include "target/listener_store.h"
#include "target/registry.h"
#include "target/state_writer.h"

namespace itgtd::target {

class Service {
 public:
  using Done = std::function<void()>;

  /// `store` is the one that `writer` saves to. All outlive the service.
  Service(control::EventLoop& loop, Coordinator& coordinator, StateWriter& writer, Registry& registry,
          LuStore& store);

  /// Listening sockets that an earlier daemon left; before the first apply().
  void inherit_listeners() { listener_store_.inherit(); }

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

  // Groups, for target/groups.h: service_groups.cc. A group that was never opened is closed: the disks of its
  // targets are not opened, and logins to them are parked.

  /// A disk of a group, and what came of opening it.
  struct OpenedMedium {
    std::string target;
    std::string group;
    config::LunConfig lun;
    Result<std::shared_ptr<backend::Medium>> medium = Error{};
  };
  /// The disks of a group that are configured and not open.
  [[nodiscard]] std::vector<OpenedMedium> closed_media(const std::string& group) const;
  /// Opens the disk. Any thread; may block.
  static void open_medium(OpenedMedium& medium);
  /// The names of its units in the store.
  [[nodiscard]] std::vector<std::string> units_of(const std::string& group) const;
  /// Restores every unit of `media`, puts them into their targets, and lets the parked logins go on; `done`
  /// when they may. `media` has every disk of closed_media(), opened. An error: nothing has changed.
  [[nodiscard]] Result<void> open_group(const std::string& group, const std::vector<OpenedMedium>& media,
                                        Done done);
  using Media = std::vector<std::shared_ptr<backend::Medium>>;
  [[nodiscard]] Media media_of(const std::string& group) const;
  /// Parks logins that come from now on, ends the connections of its sessions without a word, takes its disks
  /// out of their targets. `done`, with the media that are nobody else's any more, when the workers have
  /// nothing of it in flight.
  void close_group(const std::string& group, std::function<void(Media)> done);
  /// Parks logins that come from now on, until open_group() or unpark().
  void park(const std::string& group);
  void unpark(const std::string& group);
  /// What the workers do with the commands and connections of its targets: see GovernTarget.
  void govern(const std::string& group, bool hold, bool mute);
  /// Ends its sessions, which have been told before.
  void end_told_sessions(const std::string& group);
  [[nodiscard]] std::vector<Key> targets_of(const std::string& group) const;
  [[nodiscard]] uint32_t session_count(const std::string& group) const;
  /// Connections of initiators with targets of groups, parked ones too, as they come and go.
  using OnGroupConnection =
      std::function<void(const std::string& group, const ha::TcpPair& pair, bool opened)>;
  void set_on_group_connection(OnGroupConnection on_connection) {
    on_group_connection_ = std::move(on_connection);
  }

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
    Key key = 0;  ///< 0: of a closed group; the workers do not know it
    config::LunConfig config;
    scsi::LuIdentity identity;
    /// Null: the device is missing, or what was stored of the unit can't be read. The control thread's share.
    std::shared_ptr<backend::Medium> medium;
    bool restored = false;  ///< what was stored of it is in its state
    /// Of a group's: what was stored of unit attentions that registrants have not been told yet.
    scsi::RegistrantAttentions attentions;
    scsi::LuCondition condition = scsi::LuCondition::ready;  ///< what it is in as soon as its device is there
    bool loss_logged = false;
    /// True from the start of its removal, or of its group's closing: its device is looked for no more.
    bool leaving = false;
    std::vector<Done> when_out;  ///< who waits for that
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
  /// A login of a closed group that waits for its opening.
  struct Parked {
    Registry::Session session;
    Instant since;
  };
  struct Group {
    bool parking = true;  ///< true exactly when logins are parked
    bool open = false;    ///< its disks are open, those that are added too
    bool closing = false;
    bool held = false;
    bool muted = false;
    std::deque<Parked> parked;  ///< oldest first
    Media closed;               ///< by close_group(), so far
  };
  using Step = std::function<void(Done done)>;

  // Steps: service_apply.cc, and those of logical units in service_luns.cc.
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

  [[nodiscard]] Result<void> restore(const Target& target, Lun& lun, scsi::LuState& state);
  void retry_media();
  void watch_media();
  void attach(Target& target, Lun& lun, std::shared_ptr<backend::Medium> medium);
  void publish(const Target& target, Lun& lun, scsi::LuState state, Done done);
  void take_out(const Target& target, Lun& lun, Done done);
  [[nodiscard]] Group* group_of(const Target& target);
  [[nodiscard]] Group* group_of(const Registry::Session& session);
  void park(Group& group, const Registry::Session& session);
  void expire_parked(const std::string& group);
  void release_parked(Group& group);
  void forget_parked(const ConnectionRef& connection);
  /// Closes the connection of a login that waits, without a login reject: the initiator tries again.
  void tell_to_leave(const Registry::Session& session);
  void tell_connection(const Registry::Session& session, bool opened);
  void close_luns(const std::string& group, std::function<void(Media)> done);
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
  ListenerStore listener_store_;
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
  std::map<std::string, Group> groups_;
  size_t parked_ = 0;  ///< of all groups
  OnGroupConnection on_group_connection_;

  std::deque<Step> steps_;
  bool step_running_ = false;
  /// Sessions that a step waits for, and what goes on when they are gone.
  std::vector<scsi::NexusId> leaving_sessions_;
  std::function<void()> when_gone_;
};

}  // namespace itgtd::target
