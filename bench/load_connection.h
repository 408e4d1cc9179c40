// One session under load: keeps its depth of commands outstanding and takes their answers.
//
// Owned by one thread. Nothing here allocates per I/O: tasks, headers, payloads and buffers are made at
// start.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "bench/control.h"
#include "bench/login.h"
#include "bench/options.h"
#include "bench/pattern.h"
#include "bench/plan.h"
#include "bench/receiver.h"
#include "bench/send_queue.h"
#include "bench/statistics.h"

namespace itgtd::bench {

class LoadConnection {
 public:
  struct Setup {
    uint32_t number = 0;       ///< of the connection within the run: the writer of its blocks
    uint64_t run = 0;          ///< of the run: part of each block's stamp
    uint32_t block_bytes = 0;  ///< of one I/O
    uint32_t lba_per_unit = 0;
    uint32_t depth = 0;
    uint16_t lun = 0;
    bool verify = false;
    Duration interval{};  ///< between the starts of two I/Os; 0: closed loop
    Plan::Shape plan;
  };
  /// `noise` (one I/O long) is what unverified writes send; it outlives the connection.
  LoadConnection(Session session, const Setup& setup, ConstBytes noise);

  LoadConnection(const LoadConnection&) = delete;
  LoadConnection& operator=(const LoadConnection&) = delete;

  [[nodiscard]] int fd() const { return session_.stream.fd(); }
  [[nodiscard]] Session& session() { return session_; }

  /// Begins a phase and sends the first commands. `statistics` is counted into from here on.
  void start(Phase phase, uint64_t count, Statistics& statistics, Instant now);
  void count_into(Statistics& statistics) { statistics_ = &statistics; }
  /// No new commands from here on.
  void stop() { stopped_ = true; }

  /// Ends the session's part in the run with an error.
  void give_up(std::string message) { fail(std::move(message)); }

  /// The socket is readable: takes what is there, issues what may follow, sends.
  void on_readable();
  /// The socket is writable again, or an I/O is due.
  void advance(Instant now);

  /// True exactly when more is to be sent than the socket took.
  [[nodiscard]] bool wants_write() const { return !send_.empty(); }
  /// True exactly when the phase has no more I/Os and none is outstanding.
  [[nodiscard]] bool finished() const { return (stopped_ || exhausted_) && outstanding() == 0; }
  [[nodiscard]] uint32_t outstanding() const { return setup_.depth - static_cast<uint32_t>(free_.size()); }
  /// When the next I/O is due, with an interval.
  [[nodiscard]] Instant next_due() const { return next_due_; }
  [[nodiscard]] Instant last_progress() const { return last_progress_; }
  /// Why the session can't go on; nothing: it can.
  [[nodiscard]] const std::optional<Error>& failure() const { return failure_; }

 private:
  struct Task {
    Instant start;
    PlannedIo io;
    uint32_t initiator_task_tag = 0;
    uint32_t received_bytes = 0;
    uint32_t r2t_sn = 0;
    uint16_t bursts = 0;  // of Data-Out that are not yet in the send queue
    bool in_use = false;
    bool answered = false;  // waits only for its bursts
  };
  // A sequence of Data-Out that is to be sent: unsolicited, or asked for by an R2T.
  struct Burst {
    uint32_t slot = 0;
    uint32_t target_transfer_tag = 0;
    uint32_t offset = 0;
    uint32_t end = 0;
    uint32_t data_sn = 0;
  };

  void prepare_templates();
  void issue(Instant now);
  void issue_one(const PlannedIo& io, Instant start);
  void pump_bursts();
  void flush();
  [[nodiscard]] bool may_issue(Instant now) const;
  [[nodiscard]] ConstBytes payload(uint32_t slot) const;
  [[nodiscard]] Bytes task_buffer(uint32_t slot);
  [[nodiscard]] uint64_t pattern_address(uint64_t unit) const;
  [[nodiscard]] Stamp stamp(uint32_t generation) const { return {setup_.run, setup_.number, generation}; }

  // The answers: load_answers.cc.
  Bytes place(const iscsi::Bhs& bhs);
  void on_pdu(const iscsi::Bhs& bhs, Instant now);
  void on_data_in(const iscsi::ScsiDataInBhs& bhs, Instant now);
  void on_response(const iscsi::ScsiResponseBhs& bhs, Instant now);
  void on_r2t(const iscsi::R2tBhs& bhs);
  void on_nop_in(const iscsi::NopInBhs& bhs);
  void on_other(const iscsi::Bhs& bhs);
  bool take_stat_sn(uint32_t stat_sn);
  Task* find(uint32_t initiator_task_tag);
  void complete(Task& task, bool good, Instant now);
  void release(Task& task);
  void release_parked();
  bool check_read(Task& task);
  void fail_errno(std::string message, int code);
  void fail(std::string message, int code = 0);

  Session session_;
  Setup setup_;
  ConstBytes noise_;
  Plan plan_;
  Receiver receiver_;
  SendQueue send_;
  Statistics* statistics_ = nullptr;

  iscsi::ScsiCommandBhs read_template_{};
  iscsi::ScsiCommandBhs write_template_{};
  uint32_t immediate_bytes_ = 0;    // of a write, with its command
  uint32_t unsolicited_bytes_ = 0;  // of a write, without being asked, those included

  std::vector<Task> tasks_;
  std::vector<uint32_t> free_;    // slots
  std::vector<uint32_t> parked_;  // slots that failed while the send queue may still hold their payload
  std::vector<Burst> bursts_;     // a ring: at most two per task
  size_t bursts_first_ = 0;
  size_t bursts_count_ = 0;
  std::vector<std::byte> buffers_;  // with verification: one I/O per slot
  std::vector<std::byte> segment_;  // data segment of anything but Data-In
  uint32_t tag_sequence_ = 0;

  Instant next_due_{};
  Instant last_progress_{};
  bool stopped_ = false;
  bool exhausted_ = false;  // true exactly when the plan has no more I/Os in this phase
  std::optional<Error> failure_;
};

}  // namespace itgtd::bench
