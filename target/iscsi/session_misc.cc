// Requests that are neither a command nor its data: one table, and the short ones. RFC 7143 §11.14-11.19.

#include <algorithm>
#include <utility>

#include "target/iscsi/pdu_builder.h"
#include "target/iscsi/session.h"

namespace itgtd::iscsi {

struct Session::ControlEntry {
  Opcode opcode = Opcode::reject;
  /// Null: not a request that a target serves.
  void (Session::*handle)(const Pdu& pdu, ConstBytes segment) = nullptr;
  bool in_discovery = false;  ///< RFC 7143 §4.3
  bool numbered = false;      ///< has a CmdSN
  bool has_data = false;      ///< its segment matters
};

constinit const std::array<Session::ControlEntry, 64> Session::kControlTable = [] {
  std::array<ControlEntry, 64> table;
  for (const ControlEntry& entry : {
           ControlEntry{Opcode::nop_out, &Session::on_nop_out, false, true, true},
           ControlEntry{Opcode::task_management_request, &Session::on_task_management, false, true, false},
           ControlEntry{Opcode::login_request, &Session::on_login, true, false, false},
           ControlEntry{Opcode::text_request, &Session::on_text, true, true, true},
           ControlEntry{Opcode::logout_request, &Session::on_logout, true, true, false},
           ControlEntry{Opcode::snack_request, &Session::on_snack, false, false, false},
       }) {
    table[static_cast<size_t>(entry.opcode)] = entry;
  }
  return table;
}();

Bytes Session::on_control_header(const Pdu& pdu) {
  const Bhs& bhs = *pdu.bhs;
  const ControlEntry& entry = kControlTable[static_cast<size_t>(bhs.op())];
  if (entry.handle == nullptr) {
    reject(bhs, RejectReason::command_not_supported);
    return {};
  }
  if (identity_.type == SessionType::discovery && !entry.in_discovery) {
    // RFC 7143 §4.3: every request but SendTargets and Logout MUST be rejected.
    reject(bhs, RejectReason::protocol_error);
    return {};
  }
  // RFC 7143 §4.2.2.1: MUST be ignored silently. All numbered requests have CmdSN in the same place.
  const uint32_t cmd_sn = view<NopOutBhs>(bytes_of(bhs))->cmd_sn.get();
  if (entry.numbered && !bhs.immediate() && !window_.expects(cmd_sn)) return {};
  // RFC 7143 §11.2.2: additional header segments belong to SCSI Command alone.
  if (!pdu.ahs.empty()) {
    reject(bhs, RejectReason::invalid_pdu_field);
    return {};
  }
  segment_ = Segment::control;
  const uint32_t length = bhs.data_segment_length.get();
  if (!entry.has_data || length == 0 || length > BuddyPool::kBlockBytesMax) return {};
  segment_memory_ = resources_.memory.allocate(length);
  return segment_memory_;
}

void Session::on_control_data(const Pdu& pdu, ConstBytes segment, bool digest_ok) {
  const Bhs& bhs = *pdu.bhs;
  const ControlEntry& entry = kControlTable[static_cast<size_t>(bhs.op())];
  if (!digest_ok) {
    // RFC 7143 §7.8, §11.17.1: the PDU is discarded, and its CmdSN counts as not received.
    reject(bhs, RejectReason::data_digest_error);
  } else {
    if (entry.numbered && !bhs.immediate()) window_.advance();
    (this->*entry.handle)(pdu, segment);
  }
  if (!segment_memory_.empty()) resources_.memory.release(std::exchange(segment_memory_, {}));
}

void Session::on_nop_out(const Pdu& pdu, ConstBytes segment) {
  const auto& bhs = *view<NopOutBhs>(bytes_of(*pdu.bhs));
  const uint32_t target_tag = bhs.target_transfer_tag.get();
  if (target_tag != kReservedTag) {
    if (target_tag == nop_in_tag_) {
      nop_in_outstanding_ = false;
    } else {
      reject(*pdu.bhs, RejectReason::invalid_pdu_field);
    }
    return;
  }
  // RFC 7143 §11.18.1: with the reserved tag no answer is wanted.
  if (bhs.initiator_task_tag.get() == kReservedTag) return;
  OutPdu* out = acquire_pdu();
  if (out == nullptr) {
    ending_ = Ending::at_once;
    return;
  }
  NopInBhs& header = begin_pdu<NopInBhs>(*out);
  header.flags = 0x80;
  header.lun = bhs.lun;
  header.initiator_task_tag = bhs.initiator_task_tag;
  header.target_transfer_tag.set(kReservedTag);
  // RFC 7143 §11.18.3: the ping data comes back, up to what the initiator takes. Without memory for it there
  // is none, which is an answer too.
  const size_t echoed = std::min<size_t>(segment.size(), parameters_.max_recv_data_segment_length_initiator);
  if (echoed > 0) {
    out->owned = std::exchange(segment_memory_, {});
    out->data = out->owned.first(echoed);
  }
  number(header, true);
  queue(*out);
}

void Session::on_logout(const Pdu& pdu, ConstBytes) {
  const auto& bhs = *view<LogoutRequestBhs>(bytes_of(*pdu.bhs));
  enum Reason : uint8_t { close_session = 0, close_connection = 1, recovery = 2 };
  enum Response : uint8_t { closed = 0, cid_not_found = 1, recovery_not_supported = 2 };
  const uint8_t reason = bhs.reason & LogoutRequestBhs::kReasonMask;
  if (reason > recovery) {
    reject(*pdu.bhs, RejectReason::invalid_pdu_field);
    return;
  }
  // RFC 7143 §11.14.1: "remove the connection for recovery" needs error recovery level 2. A discovery session
  // can only be closed as a whole (§4.3).
  if (identity_.type == SessionType::discovery && reason != close_session) {
    reject(*pdu.bhs, RejectReason::protocol_error);
    return;
  }
  Response response = closed;
  if (reason == recovery) response = recovery_not_supported;
  if (reason == close_connection && bhs.cid.get() != identity_.cid) response = cid_not_found;
  OutPdu* out = acquire_pdu();
  if (out == nullptr) {
    ending_ = Ending::at_once;
    return;
  }
  // RFC 7143 §11.14: what is in flight is ended by the logout, without an answer.
  if (response == closed) end_all_tasks();
  LogoutResponseBhs& header = begin_pdu<LogoutResponseBhs>(*out);
  header.flags = 0x80;
  header.response = response;
  header.initiator_task_tag = bhs.initiator_task_tag;
  header.time2wait.set(parameters_.default_time2wait);
  header.time2retain.set(parameters_.default_time2retain);
  number(header, true);
  queue(*out);
  if (response == closed) ending_ = Ending::after_send;
}

void Session::on_snack(const Pdu& pdu, ConstBytes) {
  // RFC 7143 §11.16: needs error recovery level 1.
  reject(*pdu.bhs, RejectReason::snack_reject);
}

void Session::on_login(const Pdu& pdu, ConstBytes) {
  // RFC 7143 §6.3: the login phase is over, and there is one connection to a session.
  reject(*pdu.bhs, RejectReason::protocol_error);
  if (ending_ == Ending::open) ending_ = Ending::after_send;
}

void Session::reject(const Bhs& bhs, RejectReason reason) {
  OutPdu* pdu = acquire_pdu();
  if (pdu == nullptr) {
    ending_ = Ending::at_once;
    return;
  }
  RejectBhs& header = begin_pdu<RejectBhs>(*pdu);
  header.flags = 0x80;
  header.reason = static_cast<uint8_t>(reason);
  header.all_ones.set(kReservedTag);
  // RFC 7143 §11.17.3: the header that is rejected comes back complete.
  store(Bytes(pdu->small), bhs);
  pdu->data = ConstBytes(pdu->small).first(kBhsBytes);
  number(header, true);
  queue(*pdu);
}

}  // namespace itgtd::iscsi
