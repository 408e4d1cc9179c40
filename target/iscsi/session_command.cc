// SCSI Command: from its header to the ready list, with the memory it needs. RFC 7143 §11.3.

#include <algorithm>

#include "scsi/dispatch.h"
#include "target/iscsi/pdu_builder.h"
#include "target/iscsi/sense_conditions.h"
#include "target/iscsi/session.h"

namespace itgtd::iscsi {

namespace {

/// Additional header segments fill their length exactly, and are of the two kinds that there are. RFC 7143
/// §11.2.2.
bool well_formed_ahs(ConstBytes ahs) {
  constexpr uint8_t kExtendedCdb = 1;
  constexpr uint8_t kBidirectionalReadLength = 2;
  while (!ahs.empty()) {
    const size_t length = 3 + size_t{view<be16>(ahs)->get()};
    const size_t padded = (length + 3) / 4 * 4;
    const auto type = std::to_integer<uint8_t>(ahs[2]);
    if (padded > ahs.size() || (type != kExtendedCdb && type != kBidirectionalReadLength)) return false;
    ahs = ahs.subspan(padded);
  }
  return true;
}

}  // namespace

// Called once, for every command: inlined into on_command_header(), which saves a frame each.
[[gnu::always_inline]] inline Task* Session::begin_task(const ScsiCommandBhs& bhs) {
  if (tasks_.size() >= kSessionTasksMax) return nullptr;
  OutPdu* reserved = resources_.pdus.acquire();
  if (reserved == nullptr) return nullptr;
  Task* task = resources_.tasks.acquire();
  if (task == nullptr) {
    resources_.pdus.release(*reserved);
    return nullptr;
  }
  // What the header says, then what is set, then what is cleared in the order of the members: wire structs
  // may alias anything, so mixing them would keep the compiler from clearing many members at once.
  const uint64_t lun_field = bhs.lun.get();
  const uint32_t tag = bhs.initiator_task_tag.get();
  const uint32_t expected = bhs.expected_data_transfer_length.get();
  const uint32_t cmd_sn = bhs.cmd_sn.get();
  const uint32_t immediate_bytes = bhs.data_segment_length.get();
  const uint8_t flags = bhs.flags;
  task->command.cdb = bhs.cdb;

  task->lun_field = lun_field;
  task->lun = scsi::decode_lun(lun_field);
  task->initiator_task_tag = tag;
  task->cmd_sn = cmd_sn;
  task->expected_data_transfer_length = expected;
  task->read_flag = (flags & ScsiCommandBhs::kRead) != 0;
  task->write_flag = (flags & ScsiCommandBhs::kWrite) != 0;
  task->unsolicited_announced = (flags & ScsiCommandBhs::kFinal) == 0;
  task->unsolicited_open = task->unsolicited_announced;
  task->unsolicited_offset = immediate_bytes;
  task->unsolicited_limit = std::min(parameters_.first_burst_length, expected);
  task->session = this;
  task->state = TaskState::receiving;
  task->arrival = ++arrivals_;
  task->reserved = reserved;

  scsi::Command& command = task->command;
  command.nexus = nexus_.get();
  command.lu = nullptr;
  command.entry = nullptr;
  command.phase = {};
  command.data = {};
  command.data_out_bytes = 0;
  command.expected_data_transfer_length = 0;
  command.scratch = {};
  command.borrowed = nullptr;
  command.lba = 0;
  command.blocks_left = 0;
  command.stage = 0;
  task->aborted = false;
  task->pdus_outstanding = 0;
  task->answered = false;
  task->buffer = {};
  task->failed = false;
  task->data_out_expected = 0;
  task->unsolicited_data_sn = 0;
  task->r2t_base = 0;
  task->r2t_offset = 0;
  task->r2t_sn = 0;
  task->burst_sn = 0;
  task->burst_offset = 0;
  task->burst_data_sn = 0;
  task->data_in_bytes = 0;
  task->data_in_offset = 0;
  task->data_in_sn = 0;

  link_tag(*task);
  tasks_.push_back(*task);
  ++in_flight_;
  return task;
}

[[gnu::always_inline]] inline scsi::Admission Session::admit(Task& task, const Pdu& pdu,
                                                             const ScsiCommandBhs& bhs) {
  // No command here has a CDB beyond 16 bytes or moves data both ways, so whatever opcode this is, it is not
  // one that we have. RFC 7143 §11.2.2.3-11.2.2.4.
  if (!pdu.ahs.empty() || (task.read_flag && task.write_flag)) {
    return scsi::check_condition(scsi::sense::invalid_opcode());
  }
  const uint32_t length = bhs.data_segment_length.get();
  // RFC 7143 §11.4.7.2, §13.10, §13.11.
  if ((length > 0 && (!task.write_flag || !parameters_.immediate_data)) ||
      (task.unsolicited_open && parameters_.initial_r2t)) {
    return unexpected_unsolicited_data();
  }
  // RFC 7143 §13.14: immediate and unsolicited data together MUST NOT exceed FirstBurstLength.
  if (length > task.unsolicited_limit) return incorrect_amount_of_data();
  return scsi::admit(task.command, task.lun_field);
}

bool Session::allocate_memory(Task& task) {
  scsi::Command& command = task.command;
  uint32_t size = command.phase.transfer_bytes;
  // An initiator that announced more than the CDB takes may send more: the surplus lands behind the part that
  // the command sees.
  if (task.data_out_expected > 0 && (task.unsolicited_open || task.unsolicited_offset > 0)) {
    size = std::max(size, task.unsolicited_limit);
  }
  if (size > 0 && task.buffer.empty()) {
    task.buffer = resources_.memory.allocate(size);
    if (task.buffer.empty()) return false;
    command.data = task.buffer.first(command.phase.transfer_bytes);
  }
  if (command.phase.scratch_bytes > 0 && command.scratch.empty()) {
    command.scratch = resources_.memory.allocate(command.phase.scratch_bytes);
    if (command.scratch.empty()) {
      release_memory(task);
      return false;
    }
  }
  return true;
}

[[gnu::always_inline]] inline bool Session::set_phase(Task& task, const scsi::DataPhase& phase,
                                                      uint32_t immediate_bytes) {
  scsi::DataPhase& own = task.command.phase;
  own = phase;
  if (own.transfer_bytes > scsi::kTransferBytesMax) {
    if (own.direction == scsi::DataDirection::out) {
      task.result = scsi::check_condition(scsi::sense::internal_target_failure());
      return false;
    }
    own.transfer_bytes = scsi::kTransferBytesMax;  // an allocation length
  }
  if (own.direction == scsi::DataDirection::out && task.write_flag) {
    task.data_out_expected = std::min(task.expected_data_transfer_length, own.transfer_bytes);
    task.command.data_out_bytes = task.data_out_expected;
  }
  // Also where the command takes no data: what it is worth to have announced some is up to the command.
  if (task.write_flag) task.command.expected_data_transfer_length = task.expected_data_transfer_length;
  if (allocate_memory(task)) return true;
  // The receive side never waits for memory: what is already on its way is thrown away, and the initiator
  // tries again later.
  if (immediate_bytes > 0 || task.unsolicited_open) {
    task.result = {in_flight_ > 1 ? scsi::Status::task_set_full : scsi::Status::busy, {}, 0};
    return false;
  }
  task.state = TaskState::waiting_memory;
  resources_.waiting.push_back(task);
  return true;
}

Bytes Session::on_command_header(const Pdu& pdu) {
  const auto& bhs = *view<ScsiCommandBhs>(bytes_of(*pdu.bhs));
  const bool immediate = pdu.bhs->immediate();
  if (nexus_ == nullptr) {
    // RFC 7143 §4.3: a discovery session serves SendTargets and Logout only.
    reject(*pdu.bhs, RejectReason::protocol_error);
    return {};
  }
  // RFC 7143 §4.2.2.1: MUST be ignored silently.
  if (!immediate && !window_.expects(bhs.cmd_sn.get())) return {};
  const uint32_t tag = bhs.initiator_task_tag.get();
  const bool final = (bhs.flags & ScsiCommandBhs::kFinal) != 0;
  const bool write = (bhs.flags & ScsiCommandBhs::kWrite) != 0;
  // RFC 7143 §11.2.1.8: the reserved tag names no task. §11.3.1: only a write may have data to follow.
  if (tag == kReservedTag || (!final && !write) || (!pdu.ahs.empty() && !well_formed_ahs(pdu.ahs))) {
    reject(*pdu.bhs, RejectReason::invalid_pdu_field);
    return {};
  }
  if (find_task(tag) != nullptr) {
    reject(*pdu.bhs, RejectReason::task_in_progress);
    return {};
  }
  if (!immediate) window_.advance();

  Task* task = begin_task(bhs);
  if (task == nullptr) {
    refuse_without_task(bhs);
    return {};
  }
  const uint32_t length = bhs.data_segment_length.get();
  const scsi::Admission admission = admit(*task, pdu, bhs);
  if (const auto* done = std::get_if<scsi::Done>(&admission)) {
    task->result = *done;
    task->failed = true;
  } else if (!set_phase(*task, std::get<scsi::DataPhase>(admission), length)) {
    task->failed = true;
  }
  if (length > 0) {
    segment_ = Segment::command;
    segment_task_ = task;
    task->state = task->failed ? TaskState::discarding : TaskState::receiving;
    return task->failed || task->data_out_expected == 0 ? Bytes{} : task->buffer.first(length);
  }
  if (task->state != TaskState::waiting_memory) proceed(*task);
  return {};
}

void Session::on_command_data(Task& task, const Pdu& pdu, bool digest_ok) {
  if (!digest_ok) {
    reject(*pdu.bhs, RejectReason::data_digest_error);
    if (!task.failed) fail(task, protocol_service_crc_error());
  }
  proceed(task);
}

void Session::refuse_without_task(const ScsiCommandBhs& bhs) {
  OutPdu* pdu = acquire_pdu();
  if (pdu == nullptr) {
    ending_ = Ending::at_once;
    return;
  }
  // SAM-5 §5.3.1: BUSY where the initiator has nothing in the task set whose end it could wait for.
  const scsi::Status status = in_flight_ > 0 ? scsi::Status::task_set_full : scsi::Status::busy;
  ScsiResponseBhs& header = begin_pdu<ScsiResponseBhs>(*pdu);
  const uint32_t expected = bhs.expected_data_transfer_length.get();
  header.flags =
      static_cast<uint8_t>(ScsiResponseBhs::kFinal | (expected > 0 ? ScsiResponseBhs::kUnderflow : 0));
  header.status = static_cast<uint8_t>(status);
  header.initiator_task_tag = bhs.initiator_task_tag;
  header.residual_count.set(expected);
  number(header, true);
  queue(*pdu);
}

bool Session::retry_memory(Task& task) {
  ITGTD_ASSERT(task.session == this && static_cast<ListLink<MemoryTag>&>(task).linked());
  if (task.state == TaskState::waiting_memory) {
    if (!allocate_memory(task)) return false;
    resources_.waiting.remove(task);
    task.state = TaskState::receiving;
    proceed(task);
    return true;
  }
  // It lacked a PDU for an R2T; it puts itself back at the end if it still does.
  const uint32_t before = task.r2t_sn;
  resources_.waiting.remove(task);
  send_r2ts(task);
  return task.r2t_sn != before;
}

void Session::proceed(Task& task) {
  if (task.unsolicited_open) {
    task.state = task.failed ? TaskState::discarding : TaskState::receiving;
    return;
  }
  if (task.failed) {
    finish_failed(task);
    return;
  }
  // RFC 7143 §11.4.7.2: who sends unsolicited Data-Out PDUs for more than a first burst, fills the burst.
  if (task.unsolicited_announced && task.expected_data_transfer_length > parameters_.first_burst_length &&
      task.unsolicited_offset != parameters_.first_burst_length) {
    fail(task, incorrect_amount_of_data());
    finish_failed(task);
    return;
  }
  if (task.unsolicited_offset >= task.data_out_expected) {
    make_ready(task);
    return;
  }
  task.r2t_base = task.r2t_offset = task.burst_offset = task.unsolicited_offset;
  task.state = TaskState::receiving;
  send_r2ts(task);
}

void Session::make_ready(Task& task) {
  task.state = TaskState::ready;
  resources_.ready.push_back(task);
}

void Session::release(Task& task) {
  ITGTD_ASSERT(task.pdus_outstanding == 0);
  release_memory(task);
  if (task.reserved != nullptr) resources_.pdus.release(*task.reserved);
  task.reserved = nullptr;
  if (!task.answered) {
    unlink_tag(task);
    --in_flight_;
  }
  if (static_cast<ListLink<ReadyTag>&>(task).linked()) resources_.ready.remove(task);
  if (static_cast<ListLink<MemoryTag>&>(task).linked()) resources_.waiting.remove(task);
  tasks_.remove(task);
  task.state = TaskState::free;
  resources_.tasks.release(task);
}

}  // namespace itgtd::iscsi
