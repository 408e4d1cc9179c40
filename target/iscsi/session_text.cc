// Text negotiation in the full feature phase: SendTargets, and the few keys that may still change.
// RFC 7143 §11.10, §11.11, §6.2, Appendix C.

#include <algorithm>
#include <utility>

#include "base/parse.h"
#include "target/iscsi/pdu_builder.h"
#include "target/iscsi/session.h"

namespace itgtd::iscsi {

namespace {

/// Keys that are settled during login. RFC 7143 §13: their use is "initialize only" or "leading only".
constexpr std::array<std::string_view, 24> kLoginKeys = {
    "HeaderDigest",     "DataDigest",           "MaxConnections",
    "TargetName",       "InitiatorName",        "TargetAlias",
    "TargetAddress",    "TargetPortalGroupTag", "InitialR2T",
    "ImmediateData",    "MaxBurstLength",       "FirstBurstLength",
    "DefaultTime2Wait", "DefaultTime2Retain",   "MaxOutstandingR2T",
    "DataPDUInOrder",   "DataSequenceInOrder",  "ErrorRecoveryLevel",
    "SessionType",      "AuthMethod",           "IFMarker",
    "OFMarker",         "iSCSIProtocolLevel",   "TaskReporting"};

constexpr uint64_t kSegmentLengthMin = 512;
constexpr uint64_t kSegmentLengthMax = (1U << 24) - 1;  // RFC 7143 §13.12

}  // namespace

void Session::on_text(const Pdu& pdu, ConstBytes segment) {
  const auto& bhs = *view<TextRequestBhs>(bytes_of(*pdu.bhs));
  const uint32_t tag = bhs.initiator_task_tag.get();
  const uint32_t target_tag = bhs.target_transfer_tag.get();
  const bool continues = (bhs.flags & TextRequestBhs::kContinue) != 0;
  const bool final = (bhs.flags & TextRequestBhs::kFinal) != 0;
  // RFC 7143 §11.10.2: F and C together make no sense. §11.2.1.8: the tag must name something.
  if (tag == kReservedTag || (continues && final)) {
    reject(*pdu.bhs, RejectReason::invalid_pdu_field);
    return;
  }
  // RFC 7143 §11.10.4: the reserved tag starts anew and resets what was going on.
  if (target_tag == kReservedTag) {
    reset_text();
  } else if (!text_open_ || target_tag != text_tag_) {
    reject(*pdu.bhs, RejectReason::invalid_pdu_field);
    return;
  }
  if (segment.size() < pdu.bhs->data_segment_length.get()) {
    // There was no memory to receive it into. RFC 7143 §11.17.1: out of resources.
    reject(*pdu.bhs, RejectReason::long_operation_reject);
    return;
  }
  text_open_ = true;
  if (text_answered_ < text_answer_.size()) {  // the initiator asks for the rest
    send_text(tag, bhs.lun.get(), final);
    return;
  }
  if (text_request_.size() + segment.size() > kTextBytesMax || ++text_requests_ > kTextRequestsMax) {
    reset_text();
    reject(*pdu.bhs, RejectReason::long_operation_reject);
    return;
  }
  text_request_ += as_text(segment);
  if (!continues && !answer_keys()) {
    reset_text();
    reject(*pdu.bhs, RejectReason::protocol_error);
    return;
  }
  send_text(tag, bhs.lun.get(), final);
}

bool Session::answer_keys() {
  const std::string request = std::exchange(text_request_, {});
  text_answer_.clear();
  text_answered_ = 0;
  std::string_view rest = request;
  while (!rest.empty()) {
    // RFC 7143 §6.1: key=value pairs, each ended by a zero byte.
    const size_t end = rest.find('\0');
    if (end == std::string_view::npos) return false;
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos || equals == 0 || equals > kTextKeyBytesMax) return false;
    answer_key(pair.substr(0, equals), pair.substr(equals + 1));
    if (text_answer_.size() > kTextBytesMax) return false;
  }
  return true;
}

void Session::answer_key(std::string_view key, std::string_view value) {
  const auto answer = [&](std::string_view text) {
    text_answer_.append(key).append("=").append(text).push_back('\0');
  };
  if (key == "SendTargets") {
    const bool discovery = identity_.type == SessionType::discovery;
    // RFC 7143 Appendix C: All MUST NOT be used in a normal session, and nothing only there.
    if ((value == "All" && !discovery) || (value.empty() && discovery) || directory_ == nullptr) {
      answer("Reject");
      return;
    }
    text_answer_ += send_targets(*directory_, value, requester_, identity_.target_name);
    return;
  }
  if (key == "MaxRecvDataSegmentLength") {
    // RFC 7143 §13.12: a declaration; it needs no answer.
    const auto length = parse_number(value);
    if (!length || *length < kSegmentLengthMin || *length > kSegmentLengthMax) {
      answer("Reject");
      return;
    }
    parameters_.max_recv_data_segment_length_initiator = static_cast<uint32_t>(*length);
    return;
  }
  const bool known = std::find(kLoginKeys.begin(), kLoginKeys.end(), key) != kLoginKeys.end();
  answer(known ? "Reject" : "NotUnderstood");  // RFC 7143 §6.2
}

void Session::send_text(uint32_t initiator_task_tag, uint64_t lun_field, bool final) {
  OutPdu* pdu = acquire_pdu();
  if (pdu == nullptr) {
    ending_ = Ending::at_once;
    return;
  }
  const size_t length =
      std::min<size_t>(text_answer_.size() - text_answered_,
                       std::min(parameters_.max_recv_data_segment_length_initiator, kTextSegmentBytesMax));
  TextResponseBhs& header = begin_pdu<TextResponseBhs>(*pdu);
  if (length > 0) {
    // The answer is copied: the initiator may reset it while the kernel sends.
    pdu->owned = resources_.memory.allocate(length);
    if (!pdu->owned.empty()) {
      std::memcpy(pdu->owned.data(), text_answer_.data() + text_answered_, length);
      pdu->data = pdu->owned;
      text_answered_ += length;
    }
  }
  const bool more = text_answered_ < text_answer_.size();
  // RFC 7143 §11.11.1, §11.11.4: while anything is still to come, a tag by which the initiator goes on.
  const bool over = !more && final;
  header.flags = over ? TextResponseBhs::kFinal : more ? TextResponseBhs::kContinue : uint8_t{0};
  header.lun.set(lun_field);
  header.initiator_task_tag.set(initiator_task_tag);
  if (over) {
    reset_text();
    header.target_transfer_tag.set(kReservedTag);
  } else {
    if (++text_tag_ == kReservedTag) text_tag_ = 0;
    header.target_transfer_tag.set(text_tag_);
  }
  number(header, true);
  queue(*pdu);
}

void Session::reset_text() {
  text_request_.clear();
  text_requests_ = 0;
  text_answer_.clear();
  text_answered_ = 0;
  text_open_ = false;
}

}  // namespace itgtd::iscsi
