#include "target/iscsi/session.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "target/iscsi/pdu_builder.h"

namespace itgtd::iscsi {

Session::Session(SessionResources& resources, Start start)
    : resources_(resources),
      parameters_(start.parameters),
      identity_(std::move(start.identity)),
      nexus_(std::move(start.nexus)),
      directory_(std::move(start.directory)),
      requester_(std::move(start.requester)),
      window_(start.exp_cmd_sn),
      stat_sn_(start.stat_sn) {
  ITGTD_ASSERT(resources_.tasks.capacity() <= kTaskSlotsMax);
  ITGTD_ASSERT((identity_.type == SessionType::discovery) == (nexus_ == nullptr));
  open_window();
}

Session::~Session() {
  // A segment that was on its way when the connection ended: its task could not go before.
  if (segment_task_ != nullptr) release(*segment_task_);
  if (!segment_memory_.empty()) resources_.memory.release(segment_memory_);
  ITGTD_ASSERT(tasks_.empty() && out_.empty() && pdus_held_ == 0);
}

Bytes Session::on_header(const Pdu& pdu) {
  ITGTD_ASSERT(segment_ == Segment::ignored);
  // After the logout, or beyond repair: nothing counts any more.
  if (ending_ != Ending::open || shut_down_) return {};
  switch (pdu.bhs->op()) {
    case Opcode::scsi_command:
      return refusing_commands_ ? Bytes() : on_command_header(pdu);
    case Opcode::scsi_data_out:
      return on_data_out_header(pdu);
    default:
      return on_control_header(pdu);
  }
}

void Session::on_data(const Pdu& pdu, ConstBytes segment, bool digest_ok) {
  Task* task = std::exchange(segment_task_, nullptr);
  switch (std::exchange(segment_, Segment::ignored)) {
    case Segment::ignored:
      return;
    case Segment::control:
      on_control_data(pdu, segment, digest_ok);
      return;
    case Segment::command:
    case Segment::data_out:
      break;
  }
  if (task->aborted) {  // while the segment came
    release(*task);
    return;
  }
  if (pdu.bhs->op() == Opcode::scsi_command) {
    on_command_data(*task, pdu, digest_ok);
  } else {
    on_data_out_data(*task, pdu, digest_ok);
  }
}

void Session::return_pdu(OutPdu& pdu) {
  resources_.pdus.release(pdu);
}

void Session::on_sent(OutPdu& pdu) {
  if (static_cast<ListLink<SendTag>&>(pdu).linked()) out_.remove(pdu);
  --pdus_held_;
  if (!pdu.owned.empty()) resources_.memory.release(std::exchange(pdu.owned, {}));
  Task* task = std::exchange(pdu.task, nullptr);
  pdu.data = {};
  if (task == nullptr) {
    return_pdu(pdu);
    return;
  }
  --task->pdus_outstanding;
  if (task->reserved == nullptr) {
    task->reserved = &pdu;
  } else {
    return_pdu(pdu);
  }
  if (task->answered || task->aborted) {
    if (task->pdus_outstanding == 0) release(*task);
    return;
  }
  send_data_in(*task);  // goes on where it had no PDU
}

void Session::on_done(Task& task, const scsi::Done& done) {
  ITGTD_ASSERT(task.session == this);
  if (task.aborted) {
    release(task);
    check_management();
    return;
  }
  task.result = done;
  respond(task);
}

void Session::send_nop_in() {
  OutPdu* pdu = acquire_pdu();
  if (pdu == nullptr) return;
  // RFC 7143 §11.19: 0xFFFFFFFF would not ask for an answer.
  if (++nop_in_tag_ == kReservedTag) nop_in_tag_ = 1;
  NopInBhs& header = begin_pdu<NopInBhs>(*pdu);
  header.flags = 0x80;
  header.initiator_task_tag.set(kReservedTag);
  header.target_transfer_tag.set(nop_in_tag_);
  // RFC 7143 §11.19: with this initiator task tag StatSN is told but not taken.
  number(header, false);
  nop_in_outstanding_ = true;
  queue(*pdu);
}

bool Session::nop_in_outstanding() const {
  return nop_in_outstanding_;
}

void Session::send_async(AsyncEvent event, uint16_t parameter1, uint16_t parameter2, uint16_t parameter3) {
  OutPdu* pdu = acquire_pdu();
  if (pdu == nullptr) return;
  AsyncMessageBhs& header = begin_pdu<AsyncMessageBhs>(*pdu);
  header.flags = 0x80;
  header.all_ones.set(kReservedTag);
  header.async_event = static_cast<uint8_t>(event);
  header.parameter1.set(parameter1);
  header.parameter2.set(parameter2);
  header.parameter3.set(parameter3);
  number(header, true);
  queue(*pdu);
}

void Session::shut_down() {
  shut_down_ = true;
  reset_text();
  for (Management& management : managements_) management.stage = Management::Stage::unused;
  managements_pending_ = 0;
  end_all_tasks();
}

void Session::set_directory(std::shared_ptr<const Directory> directory) {
  directory_ = std::move(directory);
}

uint32_t Session::executing() const {
  uint32_t count = 0;
  for (Task* task = tasks_.front(); task != nullptr; task = tasks_.next(*task)) {
    if (task_is_executing(*task)) ++count;
  }
  return count;
}

}  // namespace itgtd::iscsi
