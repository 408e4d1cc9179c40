// INQUIRY, SPC-4 §6.6. The vital product data pages are in spc_vpd.cc.
#include <algorithm>
#include <array>

#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/command_table.h"
#include "scsi/dispatch.h"
#include "scsi/logical_unit.h"
#include "scsi/parameter_data.h"
#include "scsi/port_groups.h"
#include "scsi/vpd.h"

namespace itgtd::scsi {
namespace {

// PERIPHERAL QUALIFIER and PERIPHERAL DEVICE TYPE, SPC-4 §6.6.2.
constexpr uint8_t kDirectAccess = 0x00;
constexpr uint8_t kDirectAccessNotConnected = 0x20;
constexpr uint8_t kWellKnownLogicalUnit = 0x1E;
constexpr uint8_t kNoLogicalUnit = 0x7F;

constexpr uint8_t kRemovableMedium = 0x80;
constexpr uint8_t kVersionSpc4 = 0x06;
constexpr uint8_t kHierarchicalSupport = 0x10;
constexpr uint8_t kResponseDataFormat = 0x02;
constexpr uint8_t kTargetPortGroupSupport = 0x30;  // TPGS: implicit and explicit
constexpr uint8_t kThirdPartyCopy = 0x08;          // 3PC
constexpr uint8_t kMultiPort = 0x10;               // MULTIP
constexpr uint8_t kCommandQueuing = 0x02;

// SPC-4 table 141: 36 bytes that have always been there, up to 8 version descriptors, 96 in all.
constexpr size_t kStandardBytes = 96;
constexpr size_t kVersionDescriptorsAt = 58;

// SPC-4 annex F.9: no version claimed, SAM-5 SPC-4 SBC-3 iSCSI.
constexpr uint16_t kVersionDescriptors[] = {0x00A0, 0x0460, 0x04C0, 0x0960};

constexpr uint16_t kPageCodeByte = 2;
constexpr uint8_t kPageCodeBit = 7;

uint8_t peripheral(const Command& command) {
  if (command.lu != nullptr) {
    // SPC-4 §5.15.2: in the unavailable state the qualifier is 001b, on the way to another one it is not.
    const AccessState access = access_state(*command.lu);
    const bool is_away = access == AccessState::unavailable || access == AccessState::offline;
    return is_away ? kDirectAccessNotConnected : kDirectAccess;
  }
  return command.lun == kReportLunsWellKnown ? kWellKnownLogicalUnit : kNoLogicalUnit;
}

/// Byte 5, with SCCS, ACC and PROTECT, which are all zero.
uint8_t support_of(const LogicalUnit* lu) {
  return lu == nullptr ? uint8_t{0} : uint8_t{kTargetPortGroupSupport | kThirdPartyCopy};
}

Done standard_data(Command& command) {
  static const LuIdentity kNobody;
  const LogicalUnit* lu = command.lu;
  const LuIdentity& identity = lu != nullptr ? lu->identity : kNobody;
  ParameterData data;
  data.u8(peripheral(command));
  data.u8(lu != nullptr && lu->removable ? kRemovableMedium : 0);
  data.u8(kVersionSpc4);
  data.u8(kHierarchicalSupport | kResponseDataFormat);
  data.u8(kStandardBytes - 5);
  data.u8(support_of(lu));
  data.u8(lu != nullptr && port_count(port_groups_of(*lu->state)) > 1 ? kMultiPort : 0);
  data.u8(kCommandQueuing);
  data.padded(identity.vendor, 8);
  data.padded(identity.product, 16);
  data.padded(identity.revision, 4);
  data.zeros(kVersionDescriptorsAt - data.size());
  for (const uint16_t descriptor : kVersionDescriptors) data.u16(descriptor);
  data.zeros(kStandardBytes - data.size());
  return data.send(command);
}

Done vital_product_data(Command& command, const VpdPage& page) {
  ParameterData data;
  data.u8(peripheral(command));
  data.u8(page.code);
  data.u16(0);
  page.write(*command.lu, data);
  data.set_u16(2, static_cast<uint16_t>(data.size() - 4));
  return data.send(command);
}

/// Where there is no logical unit there is one page: the list that names only itself. SPC-4 §7.8.1.
Done supported_pages_of_nothing(Command& command) {
  ParameterData data;
  data.u8(peripheral(command));
  data.u8(0x00);
  data.u16(1);
  data.u8(0x00);
  return data.send(command);
}

Admission admit_inquiry(Command& command) {
  const bool vital = cdb_bit(command, 1, 0);
  // SPC-4 §6.6.1: with EVPD zero a PAGE CODE is an error.
  if (!vital && command.cdb[kPageCodeByte] != 0) {
    return check_condition(sense::invalid_field_in_cdb(kPageCodeByte, kPageCodeBit));
  }
  return parameter_data_in(cdb_u16(command, 3));
}

Step start_inquiry(Command& command) {
  if (!cdb_bit(command, 1, 0)) return standard_data(command);
  const uint8_t code = command.cdb[kPageCodeByte];
  if (command.lu != nullptr) {
    const auto pages = vpd_pages();
    const auto page = std::ranges::find(pages, code, &VpdPage::code);
    if (page != pages.end()) return vital_product_data(command, *page);
  } else if (code == 0x00) {
    return supported_pages_of_nothing(command);
  }
  // SPC-4 §6.6.1.
  return check_condition(sense::invalid_field_in_cdb(kPageCodeByte, kPageCodeBit));
}

constexpr std::array kCommands = {
    CommandEntry{
        .name = "INQUIRY",
        .opcode = 0x12,
        .direction = DataDirection::in,
        .reservation = ReservationClass::allowed,
        .flags = kRunsWithUnitAttention | kRunsWhenNotReady | kRunsWithoutLun | kRunsInEveryAccessState,
        .cdb_usage = {0x12, 0x01, 0xFF, 0xFF, 0xFF, 0x00},
        .admit = admit_inquiry,
        .start = start_inquiry},
};

}  // namespace

std::span<const CommandEntry> spc_inquiry_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
