// A data-path thread: one io_uring, the connections assigned to it, and its own view of every target and
// logical unit.
//
//   ring -> worker -> connection -> pdu_receiver -> session -> scsi -> backend
//        => completion -> worker -> scsi resume -> session -> connection -> ring
//
// The control thread speaks to it by post(); it answers through the mailbox that it was given.
// docs/ARCHITECTURE.md follows a READ and a WRITE.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "base/buddy_pool.h"
#include "base/result.h"
#include "base/slab.h"
#include "net/mailbox.h"
#include "net/ring.h"
#include "net/timers.h"
#include "target/connection.h"
#include "target/limits.h"
#include "target/messages.h"

namespace itgtd::target {

using WorkerMailbox = net::Mailbox<WorkerMessage>;
using ControlMailbox = net::Mailbox<ControlMessage>;

enum class Polling : uint8_t { off, adaptive, always };

struct WorkerOptions {
  WorkerIndex index = 0;
  Polling polling = Polling::adaptive;
};

/// A logical unit as this worker has it.
struct WorkerLun : scsi::LogicalUnit {
  /// Null: the device is not there.
  std::unique_ptr<backend::Backend> backend;
  std::shared_ptr<backend::Medium> medium;  ///< owners: every worker and the control thread
  Key target = 0;
  /// Barriers that hold its commands; 0: they run. The one test on the data path.
  uint32_t holds = 0;
};

class Worker {
 public:
  /// Makes everything that the data path needs, on the calling thread, which must be the one that calls
  /// run().
  static Result<std::unique_ptr<Worker>> create(const WorkerOptions& options, WorkerMailbox& inbox,
                                                ControlMailbox& control);
  ~Worker();
  /// Serves until Stop has been carried out.
  void run();

 private:
  struct Listener : net::Timer {
    Key key = 0;
    int fd = -1;
    bool accept_in_flight = false;
    bool error_logged = false;  ///< once until a connection is accepted again
  };
  struct Target {
    Key key = 0;
    std::string name;
    scsi::LunMap luns;
    IntrusiveList<Connection, TargetTag> connections;  ///< with a session on this target
  };
  /// A task management function in progress: see messages.h, Hold.
  struct Barrier {
    Hold hold;
    bool reported = false;
    std::vector<Key>
        held;  ///< logical units: one that comes later is not held, though it may have the same LUN
  };
  struct ConnectionSlot {
    std::unique_ptr<Connection> connection;
  };

  Worker(const WorkerOptions& options, WorkerMailbox& inbox, ControlMailbox& control,
         std::unique_ptr<net::Ring> ring, Bytes region);

  // The turn.
  void on_completion(const net::Completion& completion);
  void run_commands();
  void expire_timers();
  void pump_connections();
  [[nodiscard]] Instant wait_deadline();

  // Commands.
  void run_step(iscsi::Task& task, const scsi::Step& step);  // this and submit(): inline within worker.cc
  void submit(iscsi::Task& task, const scsi::Io& io);
  void post_update(iscsi::Task& task, const scsi::Update& update);
  void finish(iscsi::Task& task, const scsi::Done& done);
  bool run_ready();
  bool run_completed();
  bool retry_memory();

  // Connections.
  void on_accept(Listener& listener, int32_t result);
  void arm_accept(Listener& listener);
  void touch(Connection& connection);
  void request_session(Connection& connection);
  void destroy(Connection& connection);
  void close_connections();
  [[nodiscard]] Connection* find_connection(SlotId slot);

  // Messages: worker_messages.cc.
  void read_mailbox();
  void on_message(AddListener& message);
  void on_message(RemoveListener& message);
  void on_message(AdoptConnection& message);
  void on_message(SetDirectory& message);
  void on_message(AddTarget& message);
  void on_message(RemoveTarget& message);
  void on_message(AddLun& message);
  void on_message(AttachMedium& message);
  void on_message(RemoveLun& message);
  void on_message(PublishState& message);
  void on_message(CommandDecided& message);
  void on_message(Hold& message);
  void on_message(Lift& message);
  void on_message(ManagementDone& message);
  void on_message(SessionOpened& message);
  void on_message(SessionRefused& message);
  void on_message(CloseSession& message);
  void on_message(Stop& message);
  void raise(const WorkerLun& lun, const std::vector<scsi::UnitAttentionRaise>& raises);
  void announce_luns(Target& target);
  [[nodiscard]] std::vector<Key> hold_units(const Hold& hold);
  void check_barriers();
  void check_removals();
  [[nodiscard]] bool in_use(const WorkerLun& lun);
  void forget(const WorkerLun& lun);
  void taken(Key change);

  const WorkerOptions options_;
  WorkerMailbox& inbox_;
  ControlMailbox& control_;
  std::unique_ptr<net::Ring> ring_;

  // Data-path memory: made here, never after.
  BuddyPool memory_;
  Slab<iscsi::Task> tasks_;
  std::vector<backend::BackendOp> ops_;  ///< by the task's index
  Slab<iscsi::OutPdu> pdus_;
  iscsi::ReadyList ready_;
  iscsi::MemoryWaitList waiting_;
  backend::CompletedList completed_;
  iscsi::SessionResources resources_;
  ConnectionContext context_;
  Slab<ConnectionSlot> connections_;
  IntrusiveList<Connection, DirtyTag> dirty_;
  net::Timers timers_;

  std::unordered_map<Key, std::unique_ptr<Target>> targets_;
  std::unordered_map<Key, std::unique_ptr<WorkerLun>> luns_;
  std::vector<std::unique_ptr<Listener>> listeners_;  ///< an empty place: a listener that went
  std::vector<Barrier> barriers_;
  struct Removal {
    Key change = 0;
    Key lun_key = 0;
  };
  std::vector<Removal> removals_;  ///< logical units that commands still use

  Instant now_;
  Instant last_busy_;
  bool stopping_ = false;
  Instant stop_deadline_;
};

}  // namespace itgtd::target
