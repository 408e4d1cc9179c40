// A session in the full feature phase. RFC 7143 §4.2, §11.
//
// Pure protocol: it is given headers, data, results and the time, and leaves PDUs in its send list, tasks in
// the worker's ready list and requests in queues of its own. It owns its tasks' memory. One worker's thread.
//
//   on_header -> where the segment goes          on_data -> what it means
//   ready list -> the worker runs scsi::start and resume -> on_done -> send list -> on_sent
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/buddy_pool.h"
#include "base/clock.h"
#include "base/slab.h"
#include "scsi/nexus.h"
#include "target/iscsi/directory.h"
#include "target/iscsi/limits.h"
#include "target/iscsi/out_pdu.h"
#include "target/iscsi/parameters.h"
#include "target/iscsi/pdu_builder.h"
#include "target/iscsi/pdu_receiver.h"
#include "target/iscsi/sequence.h"
#include "target/iscsi/task.h"

namespace itgtd::iscsi {

/// What all sessions of a worker share. Outlives them.
struct SessionResources {
  Slab<Task>& tasks;
  Slab<OutPdu>& pdus;
  BuddyPool& memory;
  /// Tasks whose command may be started; the worker drains it each turn.
  ReadyList& ready;
  /// Tasks that wait for memory, oldest first; the worker calls Session::retry_memory() when some was
  /// released.
  MemoryWaitList& waiting;
};

/// A task management function that concerns more than this session. The worker has it done everywhere, then
/// calls on_management_done().
struct ManagementRequest {
  TaskManagementFunction function = TaskManagementFunction::logical_unit_reset;
  uint16_t lun = 0;
  uint32_t initiator_task_tag = kReservedTag;
};

/// Which tasks are to be ended.
struct AbortScope {
  bool all_luns = false;
  uint16_t lun = 0;
};

/// What the connection does once the send list is empty.
enum class Ending : uint8_t {
  open,
  after_send,  ///< the logout was answered, or an error was: close when everything has left
  at_once,     ///< framing or protocol is beyond repair
};

class Session {
 public:
  /// What a login leaves behind, beside the shared resources.
  struct Start {
    Parameters parameters;
    SessionIdentity identity;
    /// Null in a discovery session.
    std::unique_ptr<scsi::Nexus> nexus;
    /// Both owned by the worker's table and by every session that answers SendTargets from it; a reload
    /// replaces it.
    std::shared_ptr<const Directory> directory;
    Requester requester;
    uint32_t exp_cmd_sn = 1;
    uint32_t stat_sn = 1;
  };
  Session(SessionResources& resources, Start start);
  /// No task is executing and nothing is being sent any more: see shut_down().
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // From the connection.
  /// A header came. Returns where its segment goes: exactly its length, or empty to throw it away.
  [[nodiscard]] Bytes on_header(const Pdu& pdu);
  /// Its segment is complete.
  void on_data(const Pdu& pdu, ConstBytes segment, bool digest_ok);
  /// `pdu` has left, or never will: releases what it held.
  void on_sent(OutPdu& pdu);

  // From the worker.
  /// The command of `task` is over. Queues Data-In, status and sense, or nothing if it was aborted.
  void on_done(Task& task, const scsi::Done& done);
  /// Gives a waiting task its memory, or the R2T that it could not send, if that is possible now, and takes
  /// it off the list of those who wait; false: it is not, and the task stays where it is.
  [[nodiscard]] bool retry_memory(Task& task);
  /// The oldest task management function that needs others.
  [[nodiscard]] std::optional<ManagementRequest> next_management();
  void on_management_done(const ManagementRequest& request, TaskManagementOutcome outcome);
  /// Ends tasks: those not executing now at once, the others silently when they are done. Unanswered. Returns
  /// how many there were.
  uint32_t abort_tasks(const AbortScope& scope);
  /// Ends the tasks of a logical unit that is being removed with `done`, but for those that are executing or
  /// answered: none of the others refers to it afterwards.
  void end_tasks_of(const scsi::LogicalUnit& lu, const scsi::Done& done);
  /// Aborted tasks that are still executing: a task management function is answered when there are none in
  /// its scope.
  [[nodiscard]] uint32_t aborted_executing(const AbortScope& scope) const;
  /// Asks whether the peer lives: a NOP-In with a target transfer tag. RFC 7143 §11.19.
  void send_nop_in();
  /// True exactly when a NOP-In of ours has not been answered.
  [[nodiscard]] bool nop_in_outstanding() const;
  void send_async(AsyncEvent event, uint16_t parameter1, uint16_t parameter2, uint16_t parameter3);
  /// No more commands; everything that is not executing is ended. The session may be destroyed when
  /// executing() is 0 and the connection holds none of its PDUs.
  void shut_down();
  /// The daemon stops: commands in flight go on to their end, new ones are neither numbered nor answered, so
  /// that the initiator repeats them on its next session.
  void refuse_commands() { refusing_commands_ = true; }
  /// Commands whose status has not been queued.
  [[nodiscard]] uint32_t in_flight() const { return in_flight_; }
  void set_directory(std::shared_ptr<const Directory> directory);
  /// Tasks that the worker or a backend still has.
  [[nodiscard]] uint32_t executing() const;
  /// True exactly when so much waits to be sent that nothing more should be received until some has left: the
  /// connection neither calls next() nor receives meanwhile.
  [[nodiscard]] bool congested() const { return pdus_held_ >= kSendQueuePause; }

  [[nodiscard]] SendList& out() { return out_; }
  [[nodiscard]] Ending ending() const { return ending_; }
  [[nodiscard]] const Parameters& parameters() const { return parameters_; }
  [[nodiscard]] const SessionIdentity& identity() const { return identity_; }
  [[nodiscard]] scsi::Nexus* nexus() { return nexus_.get(); }

 private:
  /// What a request PDU other than SCSI Command and Data-Out is: one row per opcode.
  struct ControlEntry;
  static const std::array<ControlEntry, 64> kControlTable;

  /// What the segment of the present PDU is for.
  enum class Segment : uint8_t { ignored, command, data_out, control };

  /// A task management function in progress.
  struct Management {
    enum class Stage : uint8_t { unused, waits_for_tasks, for_worker, with_worker };
    Stage stage = Stage::unused;
    TaskManagementFunction function = TaskManagementFunction::abort_task;
    uint32_t initiator_task_tag = kReservedTag;
    AbortScope scope;
    SlotId task;  ///< with ABORT TASK
    uint64_t arrival = 0;
  };

  // session_command.cc: from the header to the ready list, and memory.
  Bytes on_command_header(const Pdu& pdu);
  void on_command_data(Task& task, const Pdu& pdu, bool digest_ok);
  Task* begin_task(const ScsiCommandBhs& bhs);
  void refuse_without_task(const ScsiCommandBhs& bhs);
  [[nodiscard]] scsi::Admission admit(Task& task, const Pdu& pdu, const ScsiCommandBhs& bhs);
  bool set_phase(Task& task, const scsi::DataPhase& phase, uint32_t immediate_bytes);
  bool allocate_memory(Task& task);
  void proceed(Task& task);
  void make_ready(Task& task);
  Task* find_task(uint32_t initiator_task_tag) {
    Task* task = bucket_of(initiator_task_tag);
    while (task != nullptr && task->initiator_task_tag != initiator_task_tag) task = task->bucket_next;
    return task;
  }
  void link_tag(Task& task) {
    Task*& bucket = bucket_of(task.initiator_task_tag);
    task.bucket_next = bucket;
    bucket = &task;
  }
  void unlink_tag(Task& task) {
    Task** link = &bucket_of(task.initiator_task_tag);
    while (*link != nullptr && *link != &task) link = &(*link)->bucket_next;
    if (*link == &task) *link = task.bucket_next;
  }
  void release_memory(Task& task) {
    if (!task.buffer.empty()) resources_.memory.release(task.buffer);
    if (!task.command.scratch.empty()) resources_.memory.release(task.command.scratch);
    task.buffer = {};
    task.command.data = {};
    task.command.scratch = {};
  }
  void release(Task& task);

  // session_data_out.cc
  Bytes on_data_out_header(const Pdu& pdu);
  void on_data_out_data(Task& task, const Pdu& pdu, bool digest_ok);
  void on_stray_data_out(const Bhs& bhs, const ScsiDataOutBhs& data_out);
  Bytes on_unsolicited(Task& task, const Bhs& bhs, const ScsiDataOutBhs& data_out);
  Bytes on_solicited(Task& task, const Bhs& bhs, const ScsiDataOutBhs& data_out);
  void close_sequence(Task& task, const ScsiDataOutBhs& data_out);
  [[nodiscard]] uint32_t burst_end(const Task& task) const;
  void fail(Task& task, const scsi::Done& done);
  void finish_failed(Task& task);
  void send_r2ts(Task& task);

  // session_data_in.cc: from the result to the send queue.
  void respond(Task& task);
  void set_residual(Task& task);
  void send_data_in(Task& task);
  void send_status(Task& task);
  void status_queued(Task& task);

  // session_task_management.cc
  void on_task_management(const Pdu& pdu, ConstBytes segment);
  void abort_one(const TaskManagementRequestBhs& bhs);
  [[nodiscard]] TaskManagementOutcome query(const TaskManagementRequestBhs& bhs,
                                            TaskManagementFunction function);
  void abort(Task& task);
  /// The worker or a backend has it.
  [[nodiscard]] static bool task_is_executing(const Task& task);
  void answer_management(uint32_t initiator_task_tag, TaskManagementOutcome outcome);
  void begin_management(const TaskManagementRequestBhs& bhs, TaskManagementFunction function,
                        Management::Stage stage, const AbortScope& scope, SlotId task);
  void check_management();
  void end_all_tasks();
  void end_without_unit(Task& task, const scsi::Done& done);

  // session_misc.cc
  Bytes on_control_header(const Pdu& pdu);
  void on_control_data(const Pdu& pdu, ConstBytes segment, bool digest_ok);
  void on_nop_out(const Pdu& pdu, ConstBytes segment);
  void on_logout(const Pdu& pdu, ConstBytes segment);
  void on_snack(const Pdu& pdu, ConstBytes segment);
  void on_login(const Pdu& pdu, ConstBytes segment);
  void reject(const Bhs& bhs, RejectReason reason);

  // session_text.cc
  void on_text(const Pdu& pdu, ConstBytes segment);
  bool answer_keys();
  void answer_key(std::string_view key, std::string_view value);
  void send_text(uint32_t initiator_task_tag, uint64_t lun_field, bool final);
  void reset_text();

  // session.cc: PDUs.
  OutPdu* acquire_pdu() {
    // A peer that sends and sends but never reads: its answers must not eat up what others need.
    return pdus_held_ < kSendQueueMax ? resources_.pdus.acquire() : nullptr;
  }
  void queue(OutPdu& pdu) {
    seal_pdu(pdu, parameters_.header_digest, parameters_.data_digest);
    ++pdus_held_;
    out_.push_back(pdu);
  }
  void return_pdu(OutPdu& pdu);
  /// Sets the sequence numbers of a PDU that carries them; with `takes_stat_sn` it gets one of its own.
  template <typename T>
  void number(T& header, bool takes_stat_sn) {
    open_window();
    header.stat_sn.set(takes_stat_sn ? stat_sn_++ : stat_sn_);
    header.exp_cmd_sn.set(window_.exp_cmd_sn());
    header.max_cmd_sn.set(window_.max_cmd_sn());
  }
  void open_window() {
    // RFC 7143 §4.2.2.1: MaxCmdSN is how a target limits what it must be able to take. No more than a
    // session's share, and no more than there are tasks.
    const uint32_t share = in_flight_ < kCommandWindow ? kCommandWindow - in_flight_ : 0;
    const uint32_t wanted = std::min(share, resources_.tasks.available());
    // With nothing in flight no later answer could open the window again: one command may always come.
    window_.grant(in_flight_ == 0 ? std::max(wanted, 1U) : wanted);
  }
  /// The bucket of a tag. Initiators number tags densely, some in the low bytes and some (little-endian ones)
  /// in the high bytes.
  [[nodiscard]] Task*& bucket_of(uint32_t initiator_task_tag) {
    return buckets_[((initiator_task_tag * 0x9E37'79B1U) >> 16) % kBuckets];
  }
  using TaskList = IntrusiveList<Task, SessionTag>;
  /// A power of two above kCommandWindow: initiators number their tags densely.
  static constexpr uint32_t kBuckets = 256;

  SessionResources& resources_;
  Parameters parameters_;
  SessionIdentity identity_;
  std::unique_ptr<scsi::Nexus> nexus_;
  // The worker's table and the sessions that answer from it own it together: see Start.
  std::shared_ptr<const Directory> directory_;
  Requester requester_;

  CommandWindow window_;
  uint32_t stat_sn_;
  /// Commands whose status is not queued yet.
  uint32_t in_flight_ = 0;
  uint64_t arrivals_ = 0;
  Ending ending_ = Ending::open;
  bool shut_down_ = false;
  bool refusing_commands_ = false;

  /// Mutable: the list has no constant way through it.
  mutable TaskList tasks_;
  std::array<Task*, kBuckets> buckets_{};
  SendList out_;
  /// PDUs of this session that wait or are being sent.
  uint32_t pdus_held_ = 0;

  // The present PDU, from its header to its data event.
  Segment segment_ = Segment::ignored;
  Task* segment_task_ = nullptr;
  /// Memory that a segment of a control PDU is received into.
  Bytes segment_memory_;

  std::array<Management, kManagementPendingMax> managements_{};
  uint32_t managements_pending_ = 0;

  uint32_t nop_in_tag_ = 0;
  bool nop_in_outstanding_ = false;

  // Text: what has come of a request, what is left of an answer, and the tag that continues either.
  std::string text_request_;
  uint32_t text_requests_ = 0;
  std::string text_answer_;
  size_t text_answered_ = 0;
  uint32_t text_tag_ = 0;
  bool text_open_ = false;
};

}  // namespace itgtd::iscsi
