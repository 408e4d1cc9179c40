#include <algorithm>
#include <array>

#include "base/assert.h"
#include "scsi/limits.h"
#include "scsi/vpd.h"

namespace itgtd::scsi {
namespace {

void supported_pages(const LogicalUnit& /*lu*/, ParameterData& data) {
  for (const VpdPage& page : vpd_pages()) data.u8(page.code);
}

// SPC-4 §7.8.14. Longer serial numbers than any initiator keeps are cut.
constexpr size_t kSerialCharactersMax = 252;

void unit_serial_number(const LogicalUnit& lu, ParameterData& data) {
  data.bytes(as_bytes(std::string_view(lu.identity.serial).substr(0, kSerialCharactersMax)));
}

// Device identification, SPC-4 §7.8.6.

enum class CodeSet : uint8_t { binary = 1, ascii = 2, utf8 = 3 };
enum class Association : uint8_t { logical_unit = 0, target_port = 1, target_device = 2 };
enum class DesignatorType : uint8_t {
  t10_vendor_id = 1,
  naa = 3,
  relative_target_port = 4,
  target_port_group = 5,
  scsi_name_string = 8,
};

constexpr uint8_t kProtocolIscsi = 0x5;
// One port and one port group: all portals of a target are one target port group, the only one.
constexpr uint32_t kRelativeTargetPort = 1;
constexpr uint32_t kTargetPortGroup = 1;

/// DESIGNATOR LENGTH has one byte, and SCSI name strings come in multiples of four.
constexpr size_t kDesignatorBytesMax = 252;

class Designator {
 public:
  Designator(ParameterData& data, CodeSet code_set, Association association, DesignatorType type)
      : data_(data), at_(data.size()) {
    const auto kind =
        static_cast<uint8_t>((static_cast<unsigned>(association) << 4) | static_cast<unsigned>(type));
    const auto set = static_cast<uint8_t>(code_set);
    // SPC-4 §7.8.6.1: PROTOCOL IDENTIFIER is valid (PIV) for ports and devices only.
    const bool piv = association != Association::logical_unit;
    data_.u8(piv ? static_cast<uint8_t>((kProtocolIscsi << 4) | set) : set);
    data_.u8(piv ? static_cast<uint8_t>(kind | 0x80) : kind);
    data_.u16(0);
  }
  /// Sets DESIGNATOR LENGTH to what has been written since.
  void end() {
    const size_t length = data_.size() - at_ - 4;
    ITGTD_ASSERT(length <= 0xFF);
    data_.set_u8(at_ + 3, static_cast<uint8_t>(length));
  }

 private:
  ParameterData& data_;
  size_t at_;
};

void naa_designator(const LogicalUnit& lu, ParameterData& data) {
  Designator designator(data, CodeSet::binary, Association::logical_unit, DesignatorType::naa);
  for (const uint8_t byte : lu.identity.naa) data.u8(byte);
  designator.end();
}

/// SPC-4 §7.8.6.4: the vendor, then what is unique among its products.
void t10_designator(const LogicalUnit& lu, ParameterData& data) {
  constexpr size_t kVendorBytes = 8;
  Designator designator(data, CodeSet::ascii, Association::logical_unit, DesignatorType::t10_vendor_id);
  data.padded(lu.identity.vendor, kVendorBytes);
  const std::string unique = lu.identity.product + ":" + lu.identity.serial;
  data.bytes(as_bytes(std::string_view(unique).substr(0, kDesignatorBytesMax - kVendorBytes)));
  designator.end();
}

/// SPC-4 §7.8.6.7, §7.8.6.8: two reserved bytes, then the number.
void port_number_designator(DesignatorType type, uint32_t number, ParameterData& data) {
  Designator designator(data, CodeSet::binary, Association::target_port, type);
  data.u32(number);
  designator.end();
}

/// SPC-4 §7.8.6.11: UTF-8, ended and padded by zeros to a multiple of four.
void name_designator(Association association, std::string_view name, ParameterData& data) {
  Designator designator(data, CodeSet::utf8, association, DesignatorType::scsi_name_string);
  name = name.substr(0, kDesignatorBytesMax - 1);
  data.bytes(as_bytes(name));
  data.zeros(4 - name.size() % 4);
  designator.end();
}

void device_identification(const LogicalUnit& lu, ParameterData& data) {
  naa_designator(lu, data);
  t10_designator(lu, data);
  port_number_designator(DesignatorType::relative_target_port, kRelativeTargetPort, data);
  port_number_designator(DesignatorType::target_port_group, kTargetPortGroup, data);
  // SPC-4 §7.8.6.11, RFC 7143 §4.4.1: a target port's name is the iSCSI name, ",t,0x" and the portal group.
  name_designator(Association::target_port, lu.identity.target_name + ",t,0x0001", data);
  name_designator(Association::target_device, lu.identity.target_name, data);
}

// Extended INQUIRY data, SPC-4 §7.8.7.
void extended_inquiry(const LogicalUnit& /*lu*/, ParameterData& data) {
  constexpr uint8_t kHeadOrderedSimple = 0x07;  // HEADSUP, ORDSUP, SIMPSUP
  constexpr uint8_t kVolatileCache = 0x01;      // V_SUP
  const Bytes page = data.extend(60);
  page[1] = std::byte{kHeadOrderedSimple};
  page[2] = std::byte{kVolatileCache};
}

// Block limits, SBC-3 §6.6.4.
void block_limits(const LogicalUnit& lu, ParameterData& data) {
  const Geometry& geometry = lu.geometry;
  const uint32_t block_bytes = std::max<uint32_t>(geometry.block_bytes, 1);
  const uint32_t transfer_max = kTransferBytesMax / block_bytes;
  const uint32_t optimal = std::min(geometry.optimal_transfer_bytes / block_bytes, transfer_max);
  const uint32_t granularity = geometry.unmap_granularity_bytes / block_bytes;
  constexpr uint32_t kAlignmentValid = 0x8000'0000;  // UGAVALID, with alignment 0

  data.u8(0);  // WSNZ: WRITE SAME of no blocks means all that follow
  data.u8(0);  // MAXIMUM COMPARE AND WRITE LENGTH
  const unsigned exponent = std::min<unsigned>(geometry.physical_block_exponent, 15);
  data.u16(static_cast<uint16_t>(1U << exponent));  // OPTIMAL TRANSFER LENGTH GRANULARITY
  data.u32(transfer_max);
  data.u32(optimal);
  data.u32(0);  // MAXIMUM PREFETCH LENGTH
  // SBC-3 §6.6.4: zero where UNMAP is not supported.
  data.u32(geometry.thin ? kUnmapBlocksMax : 0);
  data.u32(geometry.thin ? kUnmapDescriptorsMax : 0);
  data.u32(geometry.thin ? granularity : 0);
  data.u32(geometry.thin && granularity != 0 ? kAlignmentValid : 0);
  data.u64(kWriteSameBlocksMax);
  data.zeros(20);  // atomic writes
}

// Block device characteristics, SBC-3 §6.6.3.
void block_device_characteristics(const LogicalUnit& lu, ParameterData& data) {
  data.u16(lu.geometry.rotation_rate);
  data.zeros(58);
}

// Logical block provisioning, SBC-3 §6.6.5.
void logical_block_provisioning(const LogicalUnit& lu, ParameterData& data) {
  constexpr uint8_t kUnmap = 0x80;          // LBPU
  constexpr uint8_t kWriteSame16 = 0x40;    // LBPWS
  constexpr uint8_t kWriteSame10 = 0x20;    // LBPWS10
  constexpr uint8_t kUnmappedZeros = 0x04;  // LBPRZ
  constexpr uint8_t kThin = 0x02;           // PROVISIONING TYPE
  uint8_t ways = 0;
  if (lu.geometry.thin) {
    ways = kUnmap | kWriteSame16 | kWriteSame10;
    if (lu.geometry.unmapped_reads_zero) ways |= kUnmappedZeros;
  }
  data.u8(0);  // THRESHOLD EXPONENT
  data.u8(ways);
  data.u8(lu.geometry.thin ? kThin : 0);
  data.u8(0);
}

constexpr std::array kPages = {
    VpdPage{0x00, supported_pages},
    VpdPage{0x80, unit_serial_number},
    VpdPage{0x83, device_identification},
    VpdPage{0x86, extended_inquiry},
    VpdPage{0xB0, block_limits},
    VpdPage{0xB1, block_device_characteristics},
    VpdPage{0xB2, logical_block_provisioning},
};
static_assert(std::ranges::is_sorted(kPages, {}, &VpdPage::code));

}  // namespace

std::span<const VpdPage> vpd_pages() {
  return kPages;
}

}  // namespace itgtd::scsi
