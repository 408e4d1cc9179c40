#include "tests/iscsi_session/fake_scsi.h"

#include "base/endian.h"
#include "scsi/dispatch.h"
#include "target/iscsi/directory.h"

namespace itgtd::scsi {

namespace {
uint32_t cdb_length(const Command& command) {
  return view<be32>(ConstBytes(std::as_bytes(std::span(command.cdb))).subspan(6))->get();
}
}  // namespace

uint16_t decode_other_lun(uint64_t) {
  return kNoLun;
}

Admission admit(Command& command, uint64_t lun_field) {
  command.lu = command.nexus->find(decode_lun(lun_field));
  if (command.lu == nullptr) return check_condition(sense::logical_unit_not_supported());
  using iscsi::test::FakeOpcode;
  switch (command.cdb[0]) {
    case FakeOpcode::kTestUnitReady:
      return DataPhase{};
    case FakeOpcode::kFakeRead:
      return DataPhase{DataDirection::in, cdb_length(command), 0};
    case FakeOpcode::kFakeWrite:
      return DataPhase{DataDirection::out, cdb_length(command), 0};
    case FakeOpcode::kFakeScratch:
      return DataPhase{DataDirection::out, cdb_length(command), iscsi::test::kFakeScratchBytes};
    default:
      return check_condition(sense::invalid_opcode());
  }
}

// What of sense.cc and nexus.cc sessions use, so that this program needs nothing of the real layer.

Nexus::Nexus(NexusId id, InitiatorPort port, const LunMap* luns)
    : id_(id), port_(std::move(port)), luns_(luns) {}

void Nexus::raise(uint16_t lun, Asc) {
  pending_[lun / 64] |= uint64_t{1} << (lun % 64);
}

size_t encode_sense(const Sense& sense, bool descriptor_format, Bytes to) {
  const auto asc = static_cast<uint16_t>(sense.asc);
  to[0] = static_cast<std::byte>(descriptor_format ? 0x72 : 0x70);
  to[1] = static_cast<std::byte>(sense.key);
  to[2] = static_cast<std::byte>(asc >> 8);
  to[3] = static_cast<std::byte>(asc & 0xFF);
  return kFixedSenseBytes;
}

namespace sense {
Sense invalid_opcode() {
  return {.key = SenseKey::illegal_request, .asc = Asc::invalid_command_operation_code};
}
Sense logical_unit_not_supported() {
  return {.key = SenseKey::illegal_request, .asc = Asc::logical_unit_not_supported};
}
Sense internal_target_failure() {
  return {.key = SenseKey::hardware_error, .asc = Asc::internal_target_failure};
}
}  // namespace sense

}  // namespace itgtd::scsi

namespace itgtd::iscsi {

/// As many targets as the directory has, named so that a test can tell what was asked for.
std::string send_targets(const Directory& directory, std::string_view value, const Requester&,
                         std::string_view current) {
  const std::string asked(value.empty() ? current : value);
  std::string text;
  for (const DirectoryTarget& target : directory.targets) {
    if (value != "All" && target.name != asked) continue;
    text += "TargetName=" + target.name + '\0' + "TargetAddress=127.0.0.1:3260,1" + '\0';
  }
  return text;
}

}  // namespace itgtd::iscsi
