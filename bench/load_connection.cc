#include "bench/load_connection.h"

#include <algorithm>
#include <cerrno>

#include "bench/pdu.h"

namespace itgtd::bench {
namespace {

constexpr uint32_t kSlotBits = 12;  // of the task tag; kDepthMax
static_assert(kDepthMax <= 1u << kSlotBits);
constexpr uint32_t kBulkBytesMin = 32u << 10;  // reads from this size on are passed over in the socket
constexpr int kFillsPerTurn = 16;              // so that one busy connection does not starve the others

}  // namespace

LoadConnection::LoadConnection(Session session, const Setup& setup, ConstBytes noise)
    : session_(std::move(session)),
      setup_(setup),
      noise_(noise),
      plan_(setup.plan),
      receiver_({.header_digest = session_.parameters.header_digest,
                 .data_digest = session_.parameters.data_digest,
                 .check_data_digest = session_.parameters.data_digest && setup.verify,
                 .bulk = setup.block_bytes >= kBulkBytesMin && setup.plan.read_percent > 0}),
      send_(session_.parameters.header_digest, session_.parameters.data_digest),
      tasks_(setup.depth),
      bursts_(size_t{2} * setup.depth),
      segment_(session_.parameters.max_recv_data_segment_length_initiator) {
  ITGTD_ASSERT(setup.depth > 0 && setup.depth <= kDepthMax);
  free_.reserve(setup.depth);
  parked_.reserve(setup.depth);
  for (uint32_t slot = setup.depth; slot-- > 0;) free_.push_back(slot);
  if (setup.verify) buffers_.resize(size_t{setup.depth} * setup.block_bytes);
  prepare_templates();
}

void LoadConnection::prepare_templates() {
  const iscsi::Parameters& agreed = session_.parameters;
  const uint32_t length = setup_.block_bytes;
  if (agreed.immediate_data) {
    immediate_bytes_ =
        std::min({length, agreed.first_burst_length, agreed.max_recv_data_segment_length_target});
  }
  // RFC 7143 §13.10, §13.14: without InitialR2T, up to FirstBurstLength comes unasked, immediate data
  // included.
  unsolicited_bytes_ = agreed.initial_r2t ? immediate_bytes_ : std::min(length, agreed.first_burst_length);
  IoShape shape{.lun = setup_.lun, .length_bytes = length, .length_blocks = setup_.lba_per_unit};
  read_template_ = io_template(shape);
  shape.write = true;
  shape.immediate_bytes = immediate_bytes_;
  shape.final = unsolicited_bytes_ == immediate_bytes_;
  write_template_ = io_template(shape);
}

void LoadConnection::start(Phase phase, uint64_t count, Statistics& statistics, Instant now) {
  plan_.start(phase, count);
  statistics_ = &statistics;
  stopped_ = false;
  exhausted_ = false;
  next_due_ = now;
  last_progress_ = now;
  advance(now);
}

ConstBytes LoadConnection::payload(uint32_t slot) const {
  if (!setup_.verify) return noise_;
  return ConstBytes(buffers_).subspan(size_t{slot} * setup_.block_bytes, setup_.block_bytes);
}

Bytes LoadConnection::task_buffer(uint32_t slot) {
  return Bytes(buffers_).subspan(size_t{slot} * setup_.block_bytes, setup_.block_bytes);
}

uint64_t LoadConnection::pattern_address(uint64_t unit) const {
  return unit * (setup_.block_bytes / kPatternBytes);
}

bool LoadConnection::may_issue(Instant now) const {
  if (stopped_ || exhausted_ || failure_ || free_.empty() || bursts_count_ != 0 || !send_.has_room())
    return false;
  if (!serial_greater_or_equal(session_.max_cmd_sn, session_.cmd_sn)) return false;  // RFC 7143 §4.2.2.1
  return setup_.interval == Duration::zero() || now >= next_due_;
}

void LoadConnection::issue(Instant now) {
  while (may_issue(now)) {
    const auto io = plan_.next();
    if (!io) {
      exhausted_ = true;
      return;
    }
    // At a fixed rate the clock starts when the I/O is due, not when there was room for it: what a slow
    // target holds up counts.
    issue_one(*io, setup_.interval == Duration::zero() ? now : next_due_);
    next_due_ += setup_.interval;
  }
}

void LoadConnection::issue_one(const PlannedIo& io, Instant start) {
  const uint32_t slot = free_.back();
  free_.pop_back();
  Task& task = tasks_[slot];
  const uint32_t tag = (++tag_sequence_ << kSlotBits) | slot;
  task = Task{.start = start, .io = io, .initiator_task_tag = tag, .in_use = true};
  iscsi::ScsiCommandBhs& bhs = io.write ? write_template_ : read_template_;
  patch(bhs, {.initiator_task_tag = tag,
              .cmd_sn = session_.cmd_sn++,
              .exp_stat_sn = session_.exp_stat_sn,
              .lba = io.unit * setup_.lba_per_unit});
  if (!io.write) {
    send_.push(bytes_of(bhs), {});
    return;
  }
  if (setup_.verify) fill_pattern(task_buffer(slot), pattern_address(io.unit), stamp(io.generation));
  send_.push(bytes_of(bhs), payload(slot).first(immediate_bytes_));
  if (unsolicited_bytes_ > immediate_bytes_) {
    ++task.bursts;
    bursts_[(bursts_first_ + bursts_count_++) % bursts_.size()] = {slot, iscsi::kReservedTag,
                                                                   immediate_bytes_, unsolicited_bytes_, 0};
    pump_bursts();
  }
}

void LoadConnection::pump_bursts() {
  const uint32_t segment = session_.parameters.max_recv_data_segment_length_target;
  while (bursts_count_ != 0) {
    Burst& burst = bursts_[bursts_first_];
    Task& task = tasks_[burst.slot];
    while (burst.offset < burst.end) {
      if (!send_.has_room()) return;
      const uint32_t length = std::min(segment, burst.end - burst.offset);
      const iscsi::ScsiDataOutBhs bhs = data_out({.lun = setup_.lun,
                                                  .initiator_task_tag = task.initiator_task_tag,
                                                  .target_transfer_tag = burst.target_transfer_tag,
                                                  .exp_stat_sn = session_.exp_stat_sn,
                                                  .data_sn = burst.data_sn++,
                                                  .buffer_offset = burst.offset,
                                                  .length_bytes = length,
                                                  .final = burst.offset + length == burst.end});
      send_.push(bytes_of(bhs), payload(burst.slot).subspan(burst.offset, length));
      burst.offset += length;
    }
    bursts_first_ = (bursts_first_ + 1) % bursts_.size();
    --bursts_count_;
    --task.bursts;
    if (task.answered && task.bursts == 0) release(task);
  }
}

void LoadConnection::flush() {
  if (failure_) return;
  const int error = send_.flush(fd());
  if (error != 0) fail_errno("cannot send to the target", error);
  if (send_.empty() && !parked_.empty()) release_parked();
}

void LoadConnection::advance(Instant now) {
  // A flush makes room; what then fits goes at once, but a socket that is full ends the turn.
  for (;;) {
    pump_bursts();
    issue(now);
    flush();
    if (failure_ || !send_.empty() || !(may_issue(now) || bursts_count_ != 0)) return;
  }
}

void LoadConnection::on_readable() {
  for (int i = 0; i < kFillsPerTurn && !failure_; ++i) {
    const Receiver::Fill fill = receiver_.fill(fd());
    if (fill == Receiver::Fill::nothing) break;
    if (fill == Receiver::Fill::closed) return fail("the target closed the connection");
    if (fill == Receiver::Fill::failed) return fail_errno("cannot receive from the target", errno);
    const Instant now = itgtd::now();
    last_progress_ = now;
    while (const iscsi::Bhs* bhs = receiver_.next([this](const iscsi::Bhs& h) { return place(h); })) {
      on_pdu(*bhs, now);
      if (failure_) return;
    }
    if (!receiver_.error().empty()) return fail(receiver_.error());
    advance(now);
    if (fill == Receiver::Fill::some) break;
  }
}

void LoadConnection::fail_errno(std::string message, int code) {
  if (code == ECONNRESET || code == EPIPE) message = "the target closed the connection";
  fail(std::move(message), code);
}

void LoadConnection::fail(std::string message, int code) {
  if (!failure_) failure_ = Error{code, std::move(message)};
}

}  // namespace itgtd::bench
