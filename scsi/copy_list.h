// The parameter list of EXTENDED COPY(LID1). SPC-4, EXTENDED COPY(LID1) command.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "base/bytes.h"
#include "base/endian.h"
#include "scsi/limits.h"
#include "scsi/logical_unit.h"

namespace itgtd::scsi {

struct ExtendedCopyHeader {
  uint8_t list_identifier = 0;
  uint8_t flags = 0;  ///< STR in bit 5, LIST ID USAGE in bits 4 and 3, PRIORITY in bits 2 to 0
  be16 cscd_descriptor_list_length;
  uint8_t reserved[4] = {};
  be32 segment_descriptor_list_length;
  be32 inline_data_length;
};
static_assert(sizeof(ExtendedCopyHeader) == 16 && WireStruct<ExtendedCopyHeader>);

enum class ListIdUsage : uint8_t {
  hold = 0,
  reserved = 1,
  discard = 2,  ///< held data need not be kept: there is none here anyway
  none = 3,     ///< the list has no identifier, so nothing about it can be asked for
};

/// CSCD descriptor types (copy source and copy destination; SPC-3 says target descriptor).
inline constexpr uint8_t kIdentificationDescriptor = 0xE4;
/// Segment descriptor types.
inline constexpr uint8_t kBlockToBlock = 0x02;

/// Identification descriptor CSCD descriptor, of a block device.
struct CscdDescriptor {
  uint8_t descriptor_type_code = kIdentificationDescriptor;
  uint8_t device = 0;  ///< LU ID TYPE in bits 7 and 6, NUL in bit 5, PERIPHERAL DEVICE TYPE in bits 4 to 0
  be16 relative_initiator_port_identifier;
  uint8_t code_set = 0;
  uint8_t designator_type = 0;  ///< ASSOCIATION in bits 5 and 4, DESIGNATOR TYPE in bits 3 to 0
  uint8_t reserved = 0;
  uint8_t designator_length = 0;
  uint8_t designator[20] = {};
  uint8_t pad = 0;  ///< PAD in bit 2
  be24 disk_block_length;
};
static_assert(sizeof(CscdDescriptor) == 32 && WireStruct<CscdDescriptor>);

/// VPD 83h: code set binary, association logical unit, designator type NAA.
inline constexpr uint8_t kCodeSetBinary = 1;
inline constexpr uint8_t kNaaOfLogicalUnit = 0x03;

/// The descriptor that names `lu`.
[[nodiscard]] inline CscdDescriptor cscd_descriptor(const LogicalUnit& lu) {
  CscdDescriptor cscd;
  cscd.code_set = kCodeSetBinary;
  cscd.designator_type = kNaaOfLogicalUnit;
  cscd.designator_length = static_cast<uint8_t>(lu.identity.naa.size());
  std::copy(lu.identity.naa.begin(), lu.identity.naa.end(), std::begin(cscd.designator));
  cscd.disk_block_length.set(lu.geometry.block_bytes);
  return cscd;
}
/// True exactly when the designator of `cscd` is that of `lu`.
[[nodiscard]] inline bool names(const CscdDescriptor& cscd, const LogicalUnit& lu) {
  const auto& naa = lu.identity.naa;
  return (cscd.code_set & 0x0F) == kCodeSetBinary && (cscd.designator_type & 0x3F) == kNaaOfLogicalUnit &&
         cscd.designator_length == naa.size() &&
         std::equal(naa.begin(), naa.end(), std::begin(cscd.designator));
}

struct SegmentHeader {
  uint8_t descriptor_type_code = 0;
  uint8_t flags = 0;  ///< DC in bit 1, CAT in bit 0
  be16 descriptor_length;
};
static_assert(sizeof(SegmentHeader) == 4 && WireStruct<SegmentHeader>);

/// Block device to block device.
struct BlockToBlockSegment {
  SegmentHeader header;
  be16 source_cscd_descriptor_id;
  be16 destination_cscd_descriptor_id;
  uint8_t reserved[2] = {};
  be16 block_device_number_of_blocks;
  be64 source_block_device_logical_block_address;
  be64 destination_block_device_logical_block_address;
};
static_assert(sizeof(BlockToBlockSegment) == 28 && WireStruct<BlockToBlockSegment>);

/// CSCD DESCRIPTOR ID: the logical unit that the command was sent to.
inline constexpr uint16_t kCscdOfThisUnit = 0xFFFF;

/// MAXIMUM DESCRIPTOR LIST LENGTH: as many of both as there may be.
inline constexpr uint32_t kCopyDescriptorListBytesMax =
    kCopyTargetsMax * sizeof(CscdDescriptor) + kCopySegmentsMax * sizeof(BlockToBlockSegment);

}  // namespace itgtd::scsi
