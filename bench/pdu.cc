#include "bench/pdu.h"

namespace itgtd::bench {
namespace {

constexpr uint8_t kOpRead16 = 0x88;
constexpr uint8_t kOpWrite16 = 0x8A;
constexpr uint8_t kAttributeSimple = 0x01;  // RFC 7143 §11.3.1
constexpr size_t kLbaOffset = 2;            // SBC-3 §5.11: LOGICAL BLOCK ADDRESS, 8 bytes
constexpr size_t kLengthOffset = 10;        // TRANSFER LENGTH, 4 bytes

Bytes cdb_part(iscsi::ScsiCommandBhs& bhs, size_t offset) {
  return bytes_of(bhs.cdb).subspan(offset);
}

}  // namespace

uint64_t lun_field(uint16_t lun) {
  const uint64_t method = lun < 256 ? 0x0000 : 0x4000;
  return (method | lun) << 48;
}

iscsi::ScsiCommandBhs io_template(const IoShape& shape) {
  using Command = iscsi::ScsiCommandBhs;
  Command bhs{};
  bhs.opcode = static_cast<uint8_t>(Command::kOpcode);
  bhs.flags = kAttributeSimple;
  bhs.flags |= shape.write ? Command::kWrite : Command::kRead;
  if (shape.final) bhs.flags |= Command::kFinal;
  bhs.data_segment_length.set(shape.immediate_bytes);
  bhs.lun.set(lun_field(shape.lun));
  bhs.expected_data_transfer_length.set(shape.length_bytes);
  bhs.cdb[0] = shape.write ? kOpWrite16 : kOpRead16;
  store(cdb_part(bhs, kLengthOffset), be32(shape.length_blocks));
  return bhs;
}

void patch(iscsi::ScsiCommandBhs& bhs, const IoPatch& patch) {
  bhs.initiator_task_tag.set(patch.initiator_task_tag);
  bhs.cmd_sn.set(patch.cmd_sn);
  bhs.exp_stat_sn.set(patch.exp_stat_sn);
  store(cdb_part(bhs, kLbaOffset), be64(patch.lba));
}

iscsi::ScsiDataOutBhs data_out(const DataOutFields& fields) {
  iscsi::ScsiDataOutBhs bhs{};
  bhs.opcode = static_cast<uint8_t>(iscsi::ScsiDataOutBhs::kOpcode);
  bhs.flags = fields.final ? iscsi::ScsiDataOutBhs::kFinal : uint8_t{0};
  bhs.data_segment_length.set(fields.length_bytes);
  // RFC 7143 §11.7.4: the LUN of the R2T, which is the command's; reserved in what was not asked for.
  if (fields.target_transfer_tag != iscsi::kReservedTag) bhs.lun.set(lun_field(fields.lun));
  bhs.initiator_task_tag.set(fields.initiator_task_tag);
  bhs.target_transfer_tag.set(fields.target_transfer_tag);
  bhs.exp_stat_sn.set(fields.exp_stat_sn);
  bhs.data_sn.set(fields.data_sn);
  bhs.buffer_offset.set(fields.buffer_offset);
  return bhs;
}

iscsi::NopOutBhs nop_out_answer(const iscsi::NopInBhs& ping, uint32_t cmd_sn, uint32_t exp_stat_sn) {
  iscsi::NopOutBhs bhs{};
  bhs.opcode = static_cast<uint8_t>(iscsi::NopOutBhs::kOpcode) | iscsi::kImmediateBit;
  bhs.flags = 0x80;
  bhs.lun = ping.lun;
  bhs.initiator_task_tag.set(iscsi::kReservedTag);
  bhs.target_transfer_tag = ping.target_transfer_tag;
  bhs.cmd_sn.set(cmd_sn);  // RFC 7143 §11.18: immediate, so CmdSN is carried but not advanced
  bhs.exp_stat_sn.set(exp_stat_sn);
  return bhs;
}

void put_digest(Bytes to, uint32_t crc) {
  for (size_t i = 0; i < iscsi::kDigestBytes; ++i) to[i] = static_cast<std::byte>(crc >> (8 * i));
}

uint32_t get_digest(ConstBytes from) {
  uint32_t crc = 0;
  for (size_t i = 0; i < iscsi::kDigestBytes; ++i) crc |= static_cast<uint32_t>(from[i]) << (8 * i);
  return crc;
}

}  // namespace itgtd::bench
