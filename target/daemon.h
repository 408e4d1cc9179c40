// The daemon: a control thread and its workers, from the configuration's first line to the last connection's
// end.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "ha/adapters/watchdog.h"
#include "ha/runtime.h"
#include "target/config/config.h"
#include "target/control/control_server.h"
#include "target/control/event_loop.h"
#include "target/coordinator.h"
#include "target/group_stores.h"
#include "target/groups.h"
#include "target/registry.h"
#include "target/service.h"
#include "target/state_dir_lock.h"
#include "target/state_writer.h"
#include "target/task_management.h"

namespace itgtd::target {

class Daemon {
 public:
  /// `config_path` is read again at SIGHUP.
  Daemon(std::string config_path, config::Config config);
  ~Daemon();
  /// Serves until SIGTERM or SIGINT. Returns the exit status: 0, or 1 when it could not start.
  int run();

 private:
  struct WorkerThread {
    std::thread thread;
    bool stopped = false;
  };

  Result<void> start_workers();
  void read_mailbox();
  void on_message(const Taken& message) { coordinator_->on_taken(message.change); }
  void on_message(const Accepted& message) { service_->on_accepted(message); }
  void on_message(const ConnectionClosed& message) { service_->on_connection_closed(message); }
  void on_message(const OpenSession& message) { service_->on_open_session(message); }
  void on_message(const SessionClosed& message) { service_->on_session_closed(message); }
  void on_message(const DecideUpdate& message) { writer_->on_update(message); }
  void on_message(const AttentionTold& message) { writer_->on_told(message); }
  void on_message(const BreakTokens& message) { writer_->on_break_tokens(message); }
  void on_message(const Manage& message) { task_management_->start(message); }
  void on_message(const Stopped& message);
  void on_started();
  void fail_start();
  // The cluster: daemon_cluster.cc.
  void make_cluster();
  void configure_cluster();
  [[nodiscard]] Result<void> start_control();
  [[nodiscard]] Result<void> start_cluster();
  [[nodiscard]] std::vector<std::string> refuse_reload(const config::Config& wanted) const;
  void leave_cluster();
  [[nodiscard]] std::string summary() const;
  void on_signal(int number);
  void reload();
  void stop();
  void stop_workers();

  std::string config_path_;
  config::Config config_;
  control::EventLoop loop_;
  std::unique_ptr<ControlMailbox> mailbox_;
  std::vector<std::unique_ptr<WorkerMailbox>> mailboxes_;  ///< one for each worker, by its index
  std::vector<WorkerThread> workers_;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<LuStore> store_;
  std::unique_ptr<StateWriter> writer_;
  std::unique_ptr<TaskManagement> task_management_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<Groups> groups_;             ///< null without a [cluster]
  std::unique_ptr<ha::Runtime> cluster_;       ///< null without a [cluster]
  std::unique_ptr<GroupStores> group_stores_;  ///< null without a [cluster]; listens to it: goes before it
  std::unique_ptr<control::ControlServer> control_;
  std::optional<ha::ServiceWatchdog> watchdog_;  ///< where the service manager watches
  std::optional<StateDirLock> state_dir_lock_;
  Registry registry_;
  bool workers_stopping_ = false;
  bool stopping_ = false;
  int exit_status_ = 0;
};

}  // namespace itgtd::target
