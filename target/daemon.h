// The daemon: a control thread and its workers, from the configuration's first line to the last connection's
// end.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "target/config/config.h"
#include "target/control/event_loop.h"
#include "target/coordinator.h"
#include "target/registry.h"
#include "target/service.h"
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
  void on_message(const BreakTokens& message) { writer_->on_break_tokens(message); }
  void on_message(const Manage& message) { task_management_->start(message); }
  void on_message(const AttentionTold& message) { writer_->on_told(message); }
  void on_message(const Stopped& message);
  void on_started();
  void on_signal(int number);
  void reload();
  void stop();

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
  Registry registry_;
  bool stopping_ = false;
  int exit_status_ = 0;
};

}  // namespace itgtd::target
