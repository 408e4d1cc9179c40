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
  /// Reasons to look twice before a command begins: barriers, claimed blocks, tokens. 0: it runs. The one
  /// test on the data path.
  uint32_t holds = 0;
  uint32_t barriers = 0;         ///< those of `holds` that hold every command: barriers, and a held group
  bool tokens_breaking = false;  ///< BreakTokens was sent, and the state has not changed since
};

class Worker {
 public:
  /// Makes everything that the data path needs, on the calling thread, which must be the one that calls
  /// run().
  /// `workers` are the mailboxes of all workers, in the order of their indexes: this one's too.
  static Result<std::unique_ptr<Worker>> create(const WorkerOptions& options,
                                                const std::vector<WorkerMailbox*>& workers,
                                                ControlMailbox& control);
  ~Worker();
  /// Serves until Stop has been carried out, and then until Quit.
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
    bool grouped = false;
    bool hold = false;  ///< asked for by GovernTarget
    bool mute = false;
    // What is in force: the lease counts, too.
    bool holding = false;  ///< each unit that it has is counted in WorkerLun::barriers
    bool muting = false;   ///< each connection that it has is muted
  };
  /// A step of a command that has begun, whose target is muted.
  struct Waiting {
    SlotId task;
    scsi::IoResult result;
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

  Worker(const WorkerOptions& options, const std::vector<WorkerMailbox*>& workers, ControlMailbox& control,
         std::unique_ptr<net::Ring> ring, Bytes region);

  /// A command that goes on without its initiator (scsi::AfterUpdate::detach).
  struct Detached {
    scsi::Command command;
    std::vector<std::byte> scratch;
    SlotId waiting;  ///< the task that ends as it does; generation 0: none
    SlotId task;     ///< its own, once there was one for it
    bool started = false;
  };
  /// Blocks that another command, here or elsewhere, has claimed.
  struct BlockHold {
    ClaimTable::Turn turn;
    bool reported = false;
  };

  // The turn.
  void on_completion(const net::Completion& completion);
  void run_commands();
  void expire_timers();
  void pump_connections();
  [[nodiscard]] Instant wait_deadline();

  // Commands.
  void run_step(iscsi::Task& task, const scsi::Step& step);  // this and submit(): inline within worker.cc
  void resume(iscsi::Task& task, const scsi::IoResult& result = {});
  void submit(iscsi::Task& task, const scsi::Io& io);
  void post_update(iscsi::Task& task, const scsi::Update& update);
  void post_told(Key target, scsi::Nexus& nexus);
  void finish(iscsi::Task& task, const scsi::Done& done);

  // Claims and detached commands: worker_claims.cc.
  [[nodiscard]] bool finish_special(iscsi::Task& task, const scsi::Done& done);
  void post_claim(iscsi::Task& task, const scsi::Claim& claim);
  void release_claim(iscsi::Task& task);
  void post(WorkerIndex to, WorkerMessage message);
  bool run_local_messages();
  void carry_out(const ClaimTable::Actions& actions);
  [[nodiscard]] bool is_held(const iscsi::Task& task, WorkerLun& lun);
  [[nodiscard]] bool waits_for_blocks(const iscsi::Task& task) const;
  [[nodiscard]] bool breaks_tokens(const iscsi::Task& task, WorkerLun& lun);
  [[nodiscard]] bool is_quiet(const scsi::Claim& ranges);
  void check_block_holds();
  void count_hold(const scsi::Claim& ranges, bool on);
  void set_state(WorkerLun& lun, std::shared_ptr<const scsi::LuState> state);
  void end_waiting_tasks(WorkerLun& lun);
  void detach(iscsi::Task& task, bool wait);
  bool start_detached();
  void run_detached();

  // Targets of groups: worker_groups.cc.
  void look_at_lease();
  void govern(Target& target);
  void hold_unit(WorkerLun& lun, bool on);
  [[nodiscard]] bool is_muted(const iscsi::Task& task);
  bool run_completed_of_others();
  void continue_waiting();
  void end_errands(Key target);
  void check_errands();
  [[nodiscard]] bool is_announcing() const;
  [[nodiscard]] bool is_drained(Target& target);
  [[nodiscard]] static bool is_announced(Target& target);
  void end_detached(iscsi::Task& task, const scsi::Done& done);
  void abandon_detached(const WorkerLun* lun);
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
  void on_message(GovernTarget& message);
  void on_message(DrainTarget& message);
  void on_message(AnnounceTarget& message);
  void on_message(EndTarget& message);
  void on_message(SetLease& message);
  void on_message(LeaseRenewed& message);
  void on_message(AddLun& message);
  void on_message(AttachMedium& message);
  void on_message(RemoveLun& message);
  void on_message(SettleConnections& message);
  void on_message(PublishState& message);
  void on_message(CommandDecided& message);
  void on_message(Hold& message);
  void on_message(Lift& message);
  void on_message(ManagementDone& message);
  void on_message(SessionOpened& message);
  void on_message(SessionRefused& message);
  void on_message(CloseSession& message);
  void on_message(Stop& message);
  void on_message(Quit& message);
  void on_message(RequestClaim& message);
  void on_message(ReleaseClaim& message);
  void on_message(HoldBlocks& message);
  void on_message(BlocksQuiet& message);
  void on_message(ClaimGranted& message);
  void on_message(LiftBlocks& message);
  [[nodiscard]] static bool concerns(const Hold& hold, const scsi::Nexus& nexus);
  void raise(const WorkerLun& lun, const std::vector<scsi::UnitAttentionRaise>& raises);
  void announce_luns(Target& target);
  [[nodiscard]] std::vector<Key> hold_units(const Hold& hold);
  void check_barriers();
  void check_removals();
  void check_settled();
  [[nodiscard]] bool in_use(const WorkerLun& lun);
  void forget(const WorkerLun& lun);
  void taken(Key change);

  const WorkerOptions options_;
  std::vector<WorkerMailbox*> workers_;
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
  std::vector<SettleConnections> settling_;
  std::vector<Removal> removals_;  ///< logical units that commands still use

  // Groups.
  std::shared_ptr<const Lease> lease_;  ///< null: there are none; owners: the control thread, every worker
  bool lapsed_ = false;                 ///< this turn has no lease
  uint32_t muting_ = 0;                 ///< targets that are
  std::vector<Waiting> steps_waiting_;
  /// A DrainTarget, AnnounceTarget or EndTarget that has not been answered.
  struct Errand {
    enum class Kind : uint8_t { drain, announce, end } kind = Kind::drain;
    Key change = 0;
    Key target = 0;
  };
  std::vector<Errand> errands_;

  std::vector<WorkerMessage> local_;    ///< to this worker from itself
  std::unique_ptr<ClaimTable> claims_;  ///< of the first worker, for all
  std::vector<BlockHold> block_holds_;
  std::vector<Detached> detached_;
  std::vector<backend::BackendOp*> detached_ops_;  ///< finished, to go on in the next turn

  Instant now_;
  Instant last_busy_;
  bool stopping_ = false;
  bool stopped_ = false;
  bool quit_ = false;
  Instant stop_deadline_;
};

}  // namespace itgtd::target
