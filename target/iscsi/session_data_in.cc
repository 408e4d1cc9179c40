// Data-In and SCSI Response. RFC 7143 §11.4, §11.7.

#include <algorithm>
#include <utility>

#include "target/iscsi/pdu_builder.h"
#include "target/iscsi/session.h"

namespace itgtd::iscsi {

void Session::respond(Task& task) {
  const scsi::DataPhase& phase = task.command.phase;
  task.state = TaskState::responding;
  set_residual(task);
  const bool sends_data = phase.direction == scsi::DataDirection::in && task.read_flag;
  task.data_in_bytes =
      sends_data ? std::min(task.result.data_in_bytes, task.expected_data_transfer_length) : 0;
  if (task.data_in_bytes == 0) {
    release_memory(task);
    send_status(task);
  } else {
    send_data_in(task);
  }
}

void Session::set_residual(Task& task) {
  // RFC 7143 §11.4.5: what the initiator expected to move against what the command moves. A direction that it
  // did not announce is one in which it expects nothing.
  const scsi::DataDirection direction = task.command.phase.direction;
  const bool announced = direction == scsi::DataDirection::in    ? task.read_flag
                         : direction == scsi::DataDirection::out ? task.write_flag
                                                                 : task.read_flag || task.write_flag;
  const uint32_t expected = announced ? task.expected_data_transfer_length : 0;
  const uint32_t actual = direction == scsi::DataDirection::in    ? task.result.data_in_bytes
                          : direction == scsi::DataDirection::out ? task.command.phase.transfer_bytes
                                                                  : 0;
  task.residual_flags = 0;
  task.residual_count = 0;
  if (actual > expected) {
    task.residual_flags = ScsiResponseBhs::kOverflow;
    task.residual_count = actual - expected;
  } else if (actual < expected) {
    task.residual_flags = ScsiResponseBhs::kUnderflow;
    task.residual_count = expected - actual;
  }
}

void Session::send_data_in(Task& task) {
  // RFC 7143 §11.7.4: status in the last Data-In saves a PDU, where there is no sense data to send.
  const bool collapse = task.result.status != scsi::Status::check_condition;
  const uint32_t segment_max = parameters_.max_recv_data_segment_length_initiator;
  const uint32_t burst_max = parameters_.max_burst_length;
  while (task.data_in_offset < task.data_in_bytes) {
    OutPdu* pdu = task.reserved != nullptr ? std::exchange(task.reserved, nullptr) : acquire_pdu();
    if (pdu == nullptr) return;  // one of its PDUs is out: on_sent() goes on
    const uint32_t burst_left =
        task.data_in_offset == 0 ? burst_max : burst_max - task.data_in_offset % burst_max;
    const uint32_t left = task.data_in_bytes - task.data_in_offset;
    const uint32_t length = std::min({segment_max, burst_left, left});
    const bool last = length == left;
    ScsiDataInBhs& header = begin_pdu<ScsiDataInBhs>(*pdu);
    // RFC 7143 §11.7.1: F ends a sequence, which is no longer than MaxBurstLength.
    if (last || length == burst_left) header.flags = ScsiDataInBhs::kFinal;
    header.initiator_task_tag.set(task.initiator_task_tag);
    header.target_transfer_tag.set(kReservedTag);
    header.data_sn.set(task.data_in_sn++);
    header.buffer_offset.set(task.data_in_offset);
    pdu->data = task.command.data_in(task.data_in_offset, length);
    pdu->task = &task;
    ++task.pdus_outstanding;
    task.data_in_offset += length;
    if (last && collapse) {
      header.flags =
          static_cast<uint8_t>(ScsiDataInBhs::kFinal | ScsiDataInBhs::kStatus | task.residual_flags);
      header.status = static_cast<uint8_t>(task.result.status);
      header.residual_count.set(task.residual_count);
      status_queued(task);
      number(header, true);
      queue(*pdu);
      return;
    }
    number(header, false);
    header.stat_sn.set(0);  // RFC 7143 §11.7.4: reserved without status
    queue(*pdu);
  }
  send_status(task);
}

void Session::send_status(Task& task) {
  OutPdu* pdu = task.reserved != nullptr ? std::exchange(task.reserved, nullptr) : acquire_pdu();
  if (pdu == nullptr) return;  // as above
  ScsiResponseBhs& header = begin_pdu<ScsiResponseBhs>(*pdu);
  header.flags = static_cast<uint8_t>(ScsiResponseBhs::kFinal | task.residual_flags);
  header.status = static_cast<uint8_t>(task.result.status);
  header.initiator_task_tag.set(task.initiator_task_tag);
  header.exp_data_sn.set(task.data_in_sn);
  header.residual_count.set(task.residual_count);
  if (task.result.status == scsi::Status::check_condition) {
    // RFC 7143 §11.4.7: the length of the sense data in two bytes, then the sense data.
    const scsi::LogicalUnit* lu = task.command.lu;
    const bool descriptor = lu != nullptr && lu->state != nullptr && lu->state->descriptor_sense;
    const Bytes small(pdu->small);
    const size_t length = scsi::encode_sense(task.result.sense, descriptor, small.subspan(sizeof(be16)));
    store(small, be16(static_cast<uint16_t>(length)));
    pdu->data = small.first(sizeof(be16) + length);
  }
  status_queued(task);
  number(header, true);
  queue(*pdu);
  if (task.pdus_outstanding == 0) release(task);
}

void Session::status_queued(Task& task) {
  // The tag is free before the last byte is known to have left: the initiator may use it again as soon as it
  // has the status, which can be before the send is reported as done.
  unlink_tag(task);
  task.answered = true;
  --in_flight_;
}

}  // namespace itgtd::iscsi
