#include <algorithm>
#include <array>

#include "base/assert.h"
#include "scsi/limits.h"
#include "scsi/port_groups.h"
#include "scsi/sbc_atomic.h"
#include "scsi/thin_provisioning.h"
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

/// SPC-4 §7.8.6.11, RFC 7143 §4.4.1: the iSCSI name, ",t,0x" and the portal group tag. A portal group is a
/// SCSI target port, so its tag is the relative port identifier.
std::string target_port_name(const LogicalUnit& lu, uint16_t relative_target_port) {
  std::string name = lu.identity.target_name + ",t,0x";
  for (const unsigned shift : {12U, 8U, 4U, 0U}) {
    name += "0123456789abcdef"[(relative_target_port >> shift) & 0xF];
  }
  return name;
}

void device_identification(const LogicalUnit& lu, ParameterData& data) {
  naa_designator(lu, data);
  t10_designator(lu, data);
  port_number_designator(DesignatorType::relative_target_port, lu.relative_target_port, data);
  port_number_designator(DesignatorType::target_port_group, lu.port_group, data);
  name_designator(Association::target_port, target_port_name(lu, lu.relative_target_port), data);
  name_designator(Association::target_device, lu.identity.target_name, data);
}

// Extended INQUIRY data, SPC-4 §7.8.7. Zero because it is so: protection information (SPT, the three checks,
// P_I_I_SUP), GROUP_SUP, PRIOR_SUP, UASK_SUP, referrals (R_SUP), microcode; HEADSUP and ORDSUP, since
// commands are begun as they come, whatever their task attribute; LUICLR, since each unit tells that LUNs
// have changed. EXTENDED SELF-TEST COMPLETION MINUTES and MAXIMUM SUPPORTED SENSE DATA LENGTH are not
// reported.
void extended_inquiry(const LogicalUnit& /*lu*/, ParameterData& data) {
  constexpr uint8_t kSimple = 0x01;         // SIMPSUP
  constexpr uint8_t kVolatileCache = 0x01;  // V_SUP
  const Bytes page = data.extend(60);
  page[1] = std::byte{kSimple};
  page[2] = std::byte{kVolatileCache};
}

// Mode page policy, SPC-4, VPD page 87h: every page is one for all initiators and ports.
void mode_page_policy(const LogicalUnit& /*lu*/, ParameterData& data) {
  constexpr uint8_t kAllPages = 0x3F;
  constexpr uint8_t kAllSubpages = 0xFF;
  constexpr uint8_t kShared = 0x00;
  data.u8(kAllPages);
  data.u8(kAllSubpages);
  data.u8(kShared);
  data.u8(0);
}

/// SPC-4, SCSI Ports VPD page, SCSI port designation descriptor: no initiator port, one name.
void scsi_port(const LogicalUnit& lu, uint16_t relative_target_port, ParameterData& data) {
  data.u16(0);
  data.u16(relative_target_port);
  data.zeros(4);
  data.u16(0);
  const size_t length_at = data.size();
  data.u16(0);
  name_designator(Association::target_port, target_port_name(lu, relative_target_port), data);
  data.set_u16(length_at, static_cast<uint16_t>(data.size() - length_at - 2));
}

void scsi_ports(const LogicalUnit& lu, ParameterData& data) {
  constexpr size_t kPortBytesMax = 12 + 4 + kDesignatorBytesMax;
  for (const PortGroup& group : port_groups_of(*lu.state).groups) {
    for (const uint16_t port : group.relative_target_ports) {
      // With the longest names not all of the most ports fit; at least 15 do.
      if (kParameterDataBytesMax - data.size() < kPortBytesMax) return;
      scsi_port(lu, port, data);
    }
  }
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
  data.u8(compare_and_write_blocks_max(block_bytes));
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
  const uint32_t atomic_unit = atomic_unit_blocks(geometry);
  data.u32(atomic_unit);  // MAXIMUM ATOMIC TRANSFER LENGTH
  data.u32(atomic_unit);  // ATOMIC ALIGNMENT
  data.u32(atomic_unit);  // ATOMIC TRANSFER LENGTH GRANULARITY
  data.zeros(8);          // with ATOMIC BOUNDARY, which there is none of
}

// Block device characteristics, SBC-3 §6.6.3. PRODUCT TYPE and NOMINAL FORM FACTOR are not reported.
void block_device_characteristics(const LogicalUnit& lu, ParameterData& data) {
  constexpr uint8_t kReadableAfterBlockErase = 0x40;  // WABEREQ 01b; WACEREQ 00b: no CRYPTOGRAPHIC ERASE
  constexpr uint8_t kForceUnitAccessBehavior = 0x02;  // FUAB: FUA and SYNCHRONIZE CACHE as SBC-3 has them
  constexpr uint8_t kVerifiesUnmapped = 0x01;         // VBULS
  const bool unmapped_is_known = lu.geometry.thin && lu.geometry.unmapped_reads_zero;
  data.u16(lu.geometry.rotation_rate);
  data.u8(0);
  data.u8(kReadableAfterBlockErase);
  data.u8(static_cast<uint8_t>(kForceUnitAccessBehavior | (unmapped_is_known ? kVerifiesUnmapped : 0)));
  data.zeros(55);
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
  data.u8(has_thresholds(lu, *lu.state) ? kThresholdExponent : 0);
  data.u8(ways);
  data.u8(lu.geometry.thin ? kThin : 0);
  data.u8(0);
}

// Not here: 85h, there is no management service to name. B3h (referrals) applies where parts of one logical
// unit are reached through different ports; here a port group reaches all of it or nothing.
constexpr std::array kPages = {
    VpdPage{0x00, supported_pages},
    VpdPage{0x80, unit_serial_number},
    VpdPage{0x83, device_identification},
    VpdPage{0x86, extended_inquiry},
    VpdPage{0x87, mode_page_policy},
    VpdPage{0x88, scsi_ports},
    VpdPage{0x8F, write_third_party_copy_page},
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
