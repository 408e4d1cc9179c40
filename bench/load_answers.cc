// What the target sends: the half of LoadConnection that takes it.

#include <fmt/format.h>

#include "bench/load_connection.h"
#include "bench/pdu.h"
#include "bench/sense_text.h"
#include "scsi/sense.h"

namespace itgtd::bench {
namespace {

constexpr uint32_t kSlotMask = kDepthMax - 1;
static_assert((kDepthMax & kSlotMask) == 0);
constexpr uint8_t kResidualFlags = iscsi::ScsiDataInBhs::kOverflow | iscsi::ScsiDataInBhs::kUnderflow;
static_assert(kResidualFlags == (iscsi::ScsiResponseBhs::kOverflow | iscsi::ScsiResponseBhs::kUnderflow));
constexpr uint8_t kGood = static_cast<uint8_t>(scsi::Status::good);

std::string describe_io(const PlannedIo& io, uint32_t lba_per_unit) {
  return fmt::format("{} of LBA {:#x}", io.write ? "write" : "read", io.unit * lba_per_unit);
}

}  // namespace

LoadConnection::Task* LoadConnection::find(uint32_t initiator_task_tag) {
  const uint32_t slot = initiator_task_tag & kSlotMask;
  if (slot < tasks_.size()) {
    Task& task = tasks_[slot];
    if (task.in_use && !task.answered && task.initiator_task_tag == initiator_task_tag) return &task;
  }
  fail(fmt::format("the target answers task {:#010x}, which is not outstanding", initiator_task_tag));
  return nullptr;
}

Bytes LoadConnection::place(const iscsi::Bhs& bhs) {
  const uint32_t length = bhs.data_segment_length.get();
  const auto* data = iscsi::as<iscsi::ScsiDataInBhs>(bhs);
  if (length > session_.parameters.max_recv_data_segment_length_initiator) {
    fail(fmt::format("the target sent a data segment of {} bytes, more than was agreed", length));
    return {};
  }
  if (data == nullptr) return Bytes(segment_).first(length);
  const uint32_t offset = data->buffer_offset.get();
  Task* task = find(data->initiator_task_tag.get());
  if (task == nullptr) return {};
  if (task->io.write || offset > setup_.block_bytes || length > setup_.block_bytes - offset) {
    fail(fmt::format("the target sent {} bytes of data at offset {} for a {} of {} bytes", length, offset,
                     task->io.write ? "write" : "read", setup_.block_bytes));
    return {};
  }
  if (!setup_.verify) return {};
  return task_buffer(static_cast<uint32_t>(task - tasks_.data())).subspan(offset, length);
}

void LoadConnection::on_pdu(const iscsi::Bhs& bhs, Instant now) {
  if (failure_) return;
  // MaxCmdSN stands at the same place in every PDU of the target. RFC 7143 §4.2.2.1: it only grows.
  const uint32_t max_cmd_sn = view<iscsi::ScsiResponseBhs>(bytes_of(bhs))->max_cmd_sn.get();
  if (serial_greater_or_equal(max_cmd_sn, session_.max_cmd_sn)) session_.max_cmd_sn = max_cmd_sn;
  if (const auto* data = iscsi::as<iscsi::ScsiDataInBhs>(bhs)) {
    on_data_in(*data, now);
  } else if (const auto* response = iscsi::as<iscsi::ScsiResponseBhs>(bhs)) {
    on_response(*response, now);
  } else if (const auto* r2t = iscsi::as<iscsi::R2tBhs>(bhs)) {
    on_r2t(*r2t);
  } else if (const auto* ping = iscsi::as<iscsi::NopInBhs>(bhs)) {
    on_nop_in(*ping);
  } else {
    on_other(bhs);
  }
}

bool LoadConnection::take_stat_sn(uint32_t stat_sn) {
  // RFC 7143 §4.2.2.2: one after the other, so a gap is a lost status.
  if (stat_sn != session_.exp_stat_sn) {
    fail(fmt::format("the target sent StatSN {} where {} follows", stat_sn, session_.exp_stat_sn));
    return false;
  }
  ++session_.exp_stat_sn;
  return true;
}

void LoadConnection::on_data_in(const iscsi::ScsiDataInBhs& bhs, Instant now) {
  Task* task = find(bhs.initiator_task_tag.get());
  if (task == nullptr) return;
  task->received_bytes += bhs.data_segment_length.get();
  if ((bhs.flags & iscsi::ScsiDataInBhs::kStatus) == 0) return;
  if (!take_stat_sn(bhs.stat_sn.get())) return;
  bool good = bhs.status == kGood && (bhs.flags & kResidualFlags) == 0;
  if (!good) {
    statistics_->note_error(fmt::format("{}: {}, residual {}", describe_io(task->io, setup_.lba_per_unit),
                                        describe_status(bhs.status, {}), bhs.residual_count.get()));
  }
  complete(*task, good, now);
}

void LoadConnection::on_response(const iscsi::ScsiResponseBhs& bhs, Instant now) {
  Task* task = find(bhs.initiator_task_tag.get());
  if (task == nullptr || !take_stat_sn(bhs.stat_sn.get())) return;
  const bool good = bhs.response == 0 && bhs.status == kGood && (bhs.flags & kResidualFlags) == 0;
  if (!good) {
    const ConstBytes segment = ConstBytes(segment_).first(bhs.data_segment_length.get());
    const std::string status = bhs.response != 0
                                   ? fmt::format("iSCSI response {:02x}h", bhs.response)
                                   : describe_status(bhs.status, decode_sense(sense_of_segment(segment)));
    statistics_->note_error(fmt::format("{}: {}, residual {}", describe_io(task->io, setup_.lba_per_unit),
                                        status, bhs.residual_count.get()));
  }
  complete(*task, good, now);
}

void LoadConnection::on_r2t(const iscsi::R2tBhs& bhs) {
  Task* task = find(bhs.initiator_task_tag.get());
  if (task == nullptr) return;
  const uint32_t offset = bhs.buffer_offset.get();
  const uint32_t length = bhs.desired_data_transfer_length.get();
  // RFC 7143 §11.8.4: within the command, and no more than MaxBurstLength.
  if (!task->io.write || length == 0 || offset > setup_.block_bytes || length > setup_.block_bytes - offset ||
      length > session_.parameters.max_burst_length) {
    return fail(fmt::format("the target asks for {} bytes at offset {} of a {} of {} bytes", length, offset,
                            task->io.write ? "write" : "read", setup_.block_bytes));
  }
  if (bhs.r2t_sn.get() != task->r2t_sn) {
    return fail(fmt::format("the target sent R2TSN {} where {} follows", bhs.r2t_sn.get(), task->r2t_sn));
  }
  ++task->r2t_sn;
  // RFC 7143 §13.17: one R2T at a time was agreed; an unsolicited burst may still be under way.
  if (task->bursts >= 2 || bursts_count_ == bursts_.size()) {
    return fail("the target sent more R2Ts at a time than were agreed");
  }
  ++task->bursts;
  bursts_[(bursts_first_ + bursts_count_++) % bursts_.size()] = {
      static_cast<uint32_t>(task - tasks_.data()), bhs.target_transfer_tag.get(), offset, offset + length, 0};
}

void LoadConnection::on_nop_in(const iscsi::NopInBhs& bhs) {
  if (bhs.target_transfer_tag.get() == iscsi::kReservedTag) return;
  if (!send_.has_room()) return;  // the target asks again
  const iscsi::NopOutBhs answer = nop_out_answer(bhs, session_.cmd_sn, session_.exp_stat_sn);
  send_.push(bytes_of(answer), {});
}

void LoadConnection::on_other(const iscsi::Bhs& bhs) {
  if (const auto* reject = iscsi::as<iscsi::RejectBhs>(bhs)) {
    return fail(fmt::format("the target rejected a PDU, reason {:#04x}", reject->reason));
  }
  if (const auto* message = iscsi::as<iscsi::AsyncMessageBhs>(bhs)) {
    if (message->async_event == static_cast<uint8_t>(iscsi::AsyncEvent::scsi_event)) {
      take_stat_sn(message->stat_sn.get());
      return;
    }
    return fail(fmt::format("the target ends the session: asynchronous event {}", message->async_event));
  }
  fail(fmt::format("the target sent an unexpected PDU, opcode {:#04x}", bhs.opcode));
}

bool LoadConnection::check_read(Task& task) {
  if (task.received_bytes != setup_.block_bytes) {
    ++statistics_->errors;
    statistics_->note_error(fmt::format("{}: {} of {} bytes came", describe_io(task.io, setup_.lba_per_unit),
                                        task.received_bytes, setup_.block_bytes));
    return false;
  }
  if (!setup_.verify) return true;
  if (task.io.generation == 0) {
    ++statistics_->unchecked;
    return true;
  }
  const auto slot = static_cast<uint32_t>(&task - tasks_.data());
  auto wrong = check_pattern(payload(slot), pattern_address(task.io.unit), stamp(task.io.generation));
  if (!wrong) return true;
  ++statistics_->mismatches;
  statistics_->note_error(fmt::format("mismatch on connection {}: {}", setup_.number, *wrong));
  return false;
}

void LoadConnection::complete(Task& task, bool good, Instant now) {
  if (!good) {
    ++statistics_->errors;
  } else if (!task.io.write) {
    good = check_read(task);
  }
  if (good) {
    const auto latency = static_cast<uint64_t>(std::max(Duration::zero(), now - task.start).count());
    (task.io.write ? statistics_->writes : statistics_->reads).add(latency);
  }
  plan_.done(task.io, good);
  if (task.bursts != 0) {
    task.answered = true;  // what was promised is still sent
  } else if (!good && task.io.write && !send_.empty()) {
    task.answered = true;
    parked_.push_back(static_cast<uint32_t>(&task - tasks_.data()));
  } else {
    release(task);
  }
}

void LoadConnection::release(Task& task) {
  task.in_use = false;
  free_.push_back(static_cast<uint32_t>(&task - tasks_.data()));
}

void LoadConnection::release_parked() {
  for (const uint32_t slot : parked_) release(tasks_[slot]);
  parked_.clear();
}

}  // namespace itgtd::bench
