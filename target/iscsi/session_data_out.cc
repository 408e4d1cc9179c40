// Data-Out and R2T. RFC 7143 §11.7, §11.8.
//
// A peer decides every field of these headers. Nothing is stored anywhere before the tag, the offset and the
// length have been found to lie within what the task expects next.

#include <algorithm>

#include "target/iscsi/pdu_builder.h"
#include "target/iscsi/sense_conditions.h"
#include "target/iscsi/session.h"

namespace itgtd::iscsi {

namespace {

// A target transfer tag: 0, three bits of the R2TSN, twelve of the task slot's generation, its index. The
// leading 0 keeps it from being the reserved tag.
constexpr uint32_t kTagR2tShift = 28;
constexpr uint32_t kTagGenerationShift = 16;
constexpr uint32_t kTagGenerationMask = 0xFFF;
constexpr uint32_t kTagIndexMask = 0xFFFF;
static_assert(kOutstandingR2tMax == 8 && kTaskSlotsMax == kTagIndexMask + 1);

uint32_t make_tag(SlotId id, uint32_t r2t_sn) {
  return ((r2t_sn % kOutstandingR2tMax) << kTagR2tShift) |
         ((id.generation & kTagGenerationMask) << kTagGenerationShift) | id.index;
}

}  // namespace

Bytes Session::on_data_out_header(const Pdu& pdu) {
  const auto& data_out = *view<ScsiDataOutBhs>(bytes_of(*pdu.bhs));
  Task* task = find_task(data_out.initiator_task_tag.get());
  if (task == nullptr) {
    on_stray_data_out(*pdu.bhs, data_out);
    return {};
  }
  if (!task->write_flag || !pdu.ahs.empty()) {
    reject(*pdu.bhs, RejectReason::protocol_error);
    return {};
  }
  return data_out.target_transfer_tag.get() == kReservedTag ? on_unsolicited(*task, *pdu.bhs, data_out)
                                                            : on_solicited(*task, *pdu.bhs, data_out);
}

void Session::on_stray_data_out(const Bhs& bhs, const ScsiDataOutBhs& data_out) {
  // Data of a task that was answered or aborted while it was on its way is no one's fault. RFC 7143 §4.2.3.3.
  // Where there can be no such task it is one: in a discovery session (§4.3), or unsolicited where that was
  // never allowed.
  const uint32_t tag = data_out.target_transfer_tag.get();
  if (nexus_ == nullptr || (tag == kReservedTag && parameters_.initial_r2t)) {
    reject(bhs, RejectReason::protocol_error);
    return;
  }
  if (tag == kReservedTag) return;
  const bool could_be_ours =
      tag >> (kTagR2tShift + 3) == 0 && (tag & kTagIndexMask) < resources_.tasks.capacity();
  if (!could_be_ours) reject(bhs, RejectReason::invalid_pdu_field);
}

Bytes Session::on_unsolicited(Task& task, const Bhs& bhs, const ScsiDataOutBhs& data_out) {
  if (!task.unsolicited_open) {
    reject(bhs, RejectReason::protocol_error);
    // RFC 7143 §11.17.1: a task that ends because of a reject MUST still be answered.
    if (task.state == TaskState::receiving) {
      fail(task, unexpected_unsolicited_data());
      finish_failed(task);
    }
    return {};
  }
  segment_ = Segment::data_out;
  segment_task_ = &task;
  const uint64_t length = bhs.data_segment_length.get();
  const uint64_t offset = data_out.buffer_offset.get();
  if (!task.failed) {
    // RFC 7143 §7.9: a wrong DataSN means that a PDU was lost, which is handled as a digest error.
    if (data_out.data_sn.get() != task.unsolicited_data_sn) {
      fail(task, protocol_service_crc_error());
    } else if (offset != task.unsolicited_offset || offset + length > task.unsolicited_limit) {
      // RFC 7143 §13.14, §13.18.
      fail(task, incorrect_amount_of_data());
    }
  }
  if (task.failed) return {};
  ++task.unsolicited_data_sn;
  task.unsolicited_offset += static_cast<uint32_t>(length);
  if (task.data_out_expected == 0) return {};
  return task.buffer.subspan(offset, length);
}

Bytes Session::on_solicited(Task& task, const Bhs& bhs, const ScsiDataOutBhs& data_out) {
  const uint32_t tag = data_out.target_transfer_tag.get();
  // RFC 7143 §11.7.2-11.7.3: the tag and the LUN are those of the R2T. Bursts come in the order of their R2Ts
  // (§13.19), so only one tag can be right.
  if (task.burst_sn == task.r2t_sn || tag != make_tag(resources_.tasks.id_of(task), task.burst_sn) ||
      data_out.lun.get() != task.lun_field) {
    reject(bhs, RejectReason::invalid_pdu_field);
    return {};
  }
  segment_ = Segment::data_out;
  segment_task_ = &task;
  const uint64_t length = bhs.data_segment_length.get();
  const uint64_t offset = data_out.buffer_offset.get();
  if (!task.failed) {
    if (data_out.data_sn.get() != task.burst_data_sn) {
      fail(task, protocol_service_crc_error());
    } else if (offset != task.burst_offset || offset + length > burst_end(task)) {
      fail(task, incorrect_amount_of_data());
    }
  }
  if (task.failed) return {};
  ++task.burst_data_sn;
  task.burst_offset += static_cast<uint32_t>(length);
  return task.buffer.subspan(offset, length);
}

void Session::on_data_out_data(Task& task, const Pdu& pdu, bool digest_ok) {
  const auto& data_out = *view<ScsiDataOutBhs>(bytes_of(*pdu.bhs));
  if (!digest_ok) {
    // RFC 7143 §7.8: Reject, and at this error recovery level the task ends with a protocol service CRC error
    // once all the data that was asked for has come.
    reject(*pdu.bhs, RejectReason::data_digest_error);
    if (!task.failed) fail(task, protocol_service_crc_error());
  }
  if ((data_out.flags & ScsiDataOutBhs::kFinal) != 0) close_sequence(task, data_out);
}

void Session::close_sequence(Task& task, const ScsiDataOutBhs& data_out) {
  if (data_out.target_transfer_tag.get() == kReservedTag) {
    task.unsolicited_open = false;
    proceed(task);
    return;
  }
  // RFC 7143 §11.4.7.2: the amount sent in answer to an R2T is the amount asked for.
  if (!task.failed && task.burst_offset != burst_end(task)) fail(task, incorrect_amount_of_data());
  ++task.burst_sn;
  task.burst_data_sn = 0;
  if (task.failed) {
    finish_failed(task);
    return;
  }
  if (task.burst_offset == task.data_out_expected) {
    make_ready(task);
    return;
  }
  send_r2ts(task);
}

uint32_t Session::burst_end(const Task& task) const {
  const uint64_t end = task.r2t_base + (uint64_t{task.burst_sn} + 1) * parameters_.max_burst_length;
  return static_cast<uint32_t>(std::min<uint64_t>(end, task.data_out_expected));
}

void Session::fail(Task& task, const scsi::Done& done) {
  task.failed = true;
  task.result = done;
  task.state = TaskState::discarding;
  release_memory(task);
  if (static_cast<ListLink<MemoryTag>&>(task).linked()) resources_.waiting.remove(task);
}

void Session::finish_failed(Task& task) {
  // RFC 7143 §7.8, §11.17.1: the target MUST wait for the last of the data before it answers.
  if (task.unsolicited_open || task.burst_sn != task.r2t_sn) {
    task.state = TaskState::discarding;
    return;
  }
  respond(task);
}

void Session::send_r2ts(Task& task) {
  const uint32_t outstanding_max = std::min<uint32_t>(parameters_.max_outstanding_r2t, kOutstandingR2tMax);
  while (task.r2t_offset < task.data_out_expected && task.r2t_sn - task.burst_sn < outstanding_max) {
    OutPdu* pdu = acquire_pdu();
    if (pdu == nullptr) {
      if (!static_cast<ListLink<MemoryTag>&>(task).linked()) resources_.waiting.push_back(task);
      return;
    }
    const uint32_t length = std::min(parameters_.max_burst_length, task.data_out_expected - task.r2t_offset);
    R2tBhs& header = begin_pdu<R2tBhs>(*pdu);
    header.flags = 0x80;
    header.lun.set(task.lun_field);
    header.initiator_task_tag.set(task.initiator_task_tag);
    header.target_transfer_tag.set(make_tag(resources_.tasks.id_of(task), task.r2t_sn));
    header.r2t_sn.set(task.r2t_sn);
    header.buffer_offset.set(task.r2t_offset);
    header.desired_data_transfer_length.set(length);
    number(header, false);  // RFC 7143 §11.8.3: StatSN is told but not taken
    task.r2t_offset += length;
    ++task.r2t_sn;
    queue(*pdu);
  }
}

}  // namespace itgtd::iscsi
