#include "bench/control.h"

#include <fmt/format.h>

#include <array>

#include "bench/pdu.h"
#include "bench/sense_text.h"
#include "scsi/sense.h"

namespace itgtd::bench {
namespace {

constexpr uint32_t kControlTag = 0x00C0'FFEE;  // no I/O of the load is outstanding beside it
constexpr int kAttentionsMax = 32;             // a unit that has more attentions than that never gets ready

struct Outcome {
  uint8_t status = 0;
  SenseCodes sense;
  std::vector<std::byte> data;
};

/// Takes the serial numbers of a response; true when it answers `tag`.
bool take_numbers(Session& session, const Pdu& pdu, bool has_status) {
  // The three numbers stand at the same place in every PDU of the target (RFC 7143 §11).
  const auto& bhs = *view<iscsi::ScsiResponseBhs>(bytes_of(pdu.bhs));
  if (serial_greater_or_equal(bhs.max_cmd_sn.get(), session.max_cmd_sn)) {
    session.max_cmd_sn = bhs.max_cmd_sn.get();
  }
  if (has_status) session.exp_stat_sn = bhs.stat_sn.get() + 1;
  return bhs.initiator_task_tag.get() == kControlTag;
}

Result<void> answer_ping(Session& session, const iscsi::NopInBhs& ping, Instant deadline) {
  if (ping.target_transfer_tag.get() == iscsi::kReservedTag) return {};
  const iscsi::NopOutBhs answer = nop_out_answer(ping, session.cmd_sn, session.exp_stat_sn);
  return session.stream.send(load<iscsi::Bhs>(bytes_of(answer)), {}, deadline);
}

Result<void> send_command(Session& session, uint16_t lun, const std::array<uint8_t, 16>& cdb,
                          uint32_t expected, Instant deadline) {
  iscsi::ScsiCommandBhs bhs{};
  bhs.opcode = static_cast<uint8_t>(iscsi::ScsiCommandBhs::kOpcode);
  bhs.flags = iscsi::ScsiCommandBhs::kFinal | 0x01;
  if (expected != 0) bhs.flags |= iscsi::ScsiCommandBhs::kRead;
  bhs.lun.set(lun_field(lun));
  bhs.initiator_task_tag.set(kControlTag);
  bhs.expected_data_transfer_length.set(expected);
  bhs.cmd_sn.set(session.cmd_sn++);
  bhs.exp_stat_sn.set(session.exp_stat_sn);
  bhs.cdb = cdb;
  return session.stream.send(load<iscsi::Bhs>(bytes_of(bhs)), {}, deadline);
}

Result<Outcome> run(Session& session, uint16_t lun, const std::array<uint8_t, 16>& cdb, uint32_t expected,
                    Instant deadline) {
  if (Result<void> sent = send_command(session, lun, cdb, expected, deadline); !sent) return sent.error();
  Outcome outcome;
  for (;;) {
    Result<Pdu> pdu = session.stream.receive(deadline);
    if (!pdu) return pdu.error();
    if (const auto* ping = iscsi::as<iscsi::NopInBhs>(pdu->bhs)) {
      if (Result<void> sent = answer_ping(session, *ping, deadline); !sent) return sent.error();
    } else if (const auto* data = iscsi::as<iscsi::ScsiDataInBhs>(pdu->bhs)) {
      const bool last = (data->flags & iscsi::ScsiDataInBhs::kStatus) != 0;
      if (!take_numbers(session, pdu.value(), last))
        return Error{0, "the target sent data of an unknown task"};
      outcome.data.insert(outcome.data.end(), pdu->data.begin(), pdu->data.end());
      outcome.status = data->status;
      if (last) return outcome;
    } else if (const auto* response = iscsi::as<iscsi::ScsiResponseBhs>(pdu->bhs)) {
      if (!take_numbers(session, pdu.value(), true)) return Error{0, "the target answered an unknown task"};
      if (response->response != 0) return Error{0, "the target failed the command (iSCSI response 01h)"};
      outcome.status = response->status;
      outcome.sense = decode_sense(sense_of_segment(pdu->data));
      return outcome;
    } else if (const auto* reject = iscsi::as<iscsi::RejectBhs>(pdu->bhs)) {
      return Error{0, fmt::format("the target rejected a PDU, reason {:#04x}", reject->reason)};
    }
  }
}

}  // namespace

Result<void> clear_attentions(Session& session, uint16_t lun, Instant deadline) {
  std::string last;
  for (int i = 0; i < kAttentionsMax; ++i) {
    const Result<Outcome> outcome = run(session, lun, {}, 0, deadline);  // TEST UNIT READY is 00h
    if (!outcome) return outcome.error();
    if (outcome->status == static_cast<uint8_t>(scsi::Status::good)) return {};
    last = describe_status(outcome->status, outcome->sense);
    if (outcome->sense.key != static_cast<uint8_t>(scsi::SenseKey::unit_attention)) break;
  }
  return Error{0, fmt::format("LUN {} is not ready: {}", lun, last)};
}

Result<Capacity> read_capacity(Session& session, uint16_t lun, Instant deadline) {
  constexpr uint8_t kServiceActionIn16 = 0x9E;
  constexpr uint8_t kReadCapacity16 = 0x10;
  constexpr uint8_t kParameterBytes = 32;
  std::array<uint8_t, 16> cdb{};
  cdb[0] = kServiceActionIn16;
  cdb[1] = kReadCapacity16;
  cdb[13] = kParameterBytes;
  const Result<Outcome> outcome = run(session, lun, cdb, kParameterBytes, deadline);
  if (!outcome) return outcome.error();
  if (outcome->status != static_cast<uint8_t>(scsi::Status::good) || outcome->data.size() < 12) {
    return Error{0, fmt::format("READ CAPACITY(16) of LUN {} failed: {}", lun,
                                describe_status(outcome->status, outcome->sense))};
  }
  const ConstBytes data = outcome->data;
  const Capacity capacity{load<be64>(data).get() + 1, load<be32>(data.subspan(8)).get()};
  if (capacity.blocks == 0 || capacity.block_bytes < 512 || capacity.block_bytes % 512 != 0 ||
      capacity.blocks > UINT64_MAX / capacity.block_bytes) {
    return Error{0, fmt::format("LUN {} says that it has {} blocks of {} bytes", lun, capacity.blocks,
                                capacity.block_bytes)};
  }
  return capacity;
}

Result<void> logout(Session& session, Instant deadline) {
  iscsi::LogoutRequestBhs bhs{};
  bhs.opcode = static_cast<uint8_t>(iscsi::LogoutRequestBhs::kOpcode) | iscsi::kImmediateBit;
  bhs.reason = 0x80;  // close the session
  bhs.initiator_task_tag.set(kControlTag);
  bhs.cmd_sn.set(session.cmd_sn);
  bhs.exp_stat_sn.set(session.exp_stat_sn);
  Result<void> sent = session.stream.send(load<iscsi::Bhs>(bytes_of(bhs)), {}, deadline);
  while (sent) {
    Result<Pdu> pdu = session.stream.receive(deadline);
    if (!pdu) return pdu.error();
    if (pdu->bhs.op() == iscsi::Opcode::logout_response) return {};
  }
  return sent;
}

}  // namespace itgtd::bench
