// Third-party copy, VPD 8Fh: which copies there are, and their limits. SPC-4, Third-party Copy VPD page.
#include <algorithm>
#include <bit>

#include "scsi/command_table.h"
#include "scsi/copy_list.h"
#include "scsi/limits.h"
#include "scsi/rod_tokens.h"
#include "scsi/vpd.h"

namespace itgtd::scsi {
namespace {

enum class DescriptorType : uint16_t {
  block_device_rod_limits = 0x0000,
  supported_commands = 0x0001,
  parameter_data = 0x0004,
  supported_descriptors = 0x0008,
  supported_cscd_descriptor_ids = 0x000C,
  rod_token_features = 0x0106,
  supported_rod_token_and_rod_types = 0x0108,
  general_copy_operations = 0x8001,
};

/// One descriptor, a multiple of four bytes long: its header, and its length when it goes out of scope.
class Descriptor {
 public:
  Descriptor(DescriptorType type, ParameterData& data) : data_(data) {
    data_.u16(static_cast<uint16_t>(type));
    data_.u16(0);
    begin_ = data_.size();
  }
  ~Descriptor() {
    data_.zeros((4 - (data_.size() - begin_) % 4) % 4);
    data_.set_u16(begin_ - 2, static_cast<uint16_t>(data_.size() - begin_));
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

 private:
  ParameterData& data_;
  size_t begin_ = 0;
};

constexpr uint8_t kThirdPartyCopyOut = 0x83;
constexpr uint8_t kThirdPartyCopyIn = 0x84;

/// An opcode, and its service actions as the command table has them.
void supported_opcode(uint8_t opcode, ParameterData& data) {
  const auto rows = CommandTable::get().rows(opcode);
  data.u8(opcode);
  data.u8(static_cast<uint8_t>(rows.size()));
  for (const IndexedRow& row : rows) data.u8(static_cast<uint8_t>(row.entry->service_action));
}

/// SBC-3, block device ROD limits: the one that Windows asks for.
void block_device_rod_limits(const LogicalUnit& lu, ParameterData& data) {
  const Descriptor descriptor(DescriptorType::block_device_rod_limits, data);
  data.zeros(6);  // vendor specific
  data.u16(kRodRangesMax);
  data.u32(kRodInactivityMaxSeconds);
  data.u32(kRodInactivityDefaultSeconds);
  data.u64(kCopyBytesMax / lu.geometry.block_bytes);     // MAXIMUM TOKEN TRANSFER SIZE
  data.u64(kRodOptimalBytes / lu.geometry.block_bytes);  // OPTIMAL TRANSFER COUNT
}

/// SPC-4, ROD token features, with the part that is about block devices.
void rod_token_features(const LogicalUnit& lu, ParameterData& data) {
  constexpr uint32_t kShortestSeconds = 1;
  constexpr uint16_t kBlockFeaturesBytes = 48;
  const Descriptor descriptor(DescriptorType::rod_token_features, data);
  data.u8(0);  // REMOTE TOKENS: none from other copy managers
  data.zeros(11);
  data.u32(kShortestSeconds);
  data.u32(0xFFFF'FFFF);  // MAXIMUM TOKEN LIFETIME: as long as it is used
  data.u32(kRodInactivityMaxSeconds);
  data.zeros(18);
  data.u16(kBlockFeaturesBytes);
  data.u8(0);  // of block devices
  data.zeros(1);
  data.u16(kBlockFeaturesBytes - 4);
  data.zeros(2);
  data.u16(static_cast<uint16_t>(1U << std::min<unsigned>(lu.geometry.physical_block_exponent, 15)));
  data.u64(kCopyBytesMax);
  data.u64(kRodOptimalBytes);
  data.u64(kRodOptimalBytes);  // to a token, by one segment
  data.u64(kRodOptimalBytes);  // from a token
  data.zeros(8);
}

void supported_rod_type(RodType type, uint8_t uses, ParameterData& data) {
  data.u32(static_cast<uint32_t>(type));
  data.u8(uses);
  data.zeros(1);
  data.u16(0);  // PREFERENCE INDICATOR: not said
  data.zeros(56);
}

void supported_rod_types(ParameterData& data) {
  constexpr uint8_t kTokenIn = 0x02;
  constexpr uint8_t kTokenOut = 0x01;
  const Descriptor descriptor(DescriptorType::supported_rod_token_and_rod_types, data);
  data.zeros(2);
  data.u16(2 * 64);
  supported_rod_type(RodType::point_in_time_change_vulnerable, kTokenIn | kTokenOut, data);
  supported_rod_type(RodType::block_device_zero, kTokenIn, data);
}

void supported_commands(ParameterData& data) {
  const Descriptor descriptor(DescriptorType::supported_commands, data);
  const size_t at = data.size();
  data.u8(0);
  supported_opcode(kThirdPartyCopyOut, data);
  supported_opcode(kThirdPartyCopyIn, data);
  data.set_u8(at, static_cast<uint8_t>(data.size() - at - 1));
}

void parameter_data(ParameterData& data) {
  const Descriptor descriptor(DescriptorType::parameter_data, data);
  data.zeros(4);
  data.u16(kCopyTargetsMax);
  data.u16(kCopySegmentsMax);
  data.u32(kCopyDescriptorListBytesMax);
  data.u32(0);  // MAXIMUM INLINE DATA LENGTH
  data.zeros(12);
}

void supported_descriptors(ParameterData& data) {
  const Descriptor descriptor(DescriptorType::supported_descriptors, data);
  data.u8(2);
  data.u8(kBlockToBlock);
  data.u8(kIdentificationDescriptor);
}

void supported_cscd_descriptor_ids(ParameterData& data) {
  const Descriptor descriptor(DescriptorType::supported_cscd_descriptor_ids, data);
  data.u16(2);
  data.u16(kCscdOfThisUnit);
}

void general_copy_operations(const LogicalUnit& lu, ParameterData& data) {
  const Descriptor descriptor(DescriptorType::general_copy_operations, data);
  data.u32(kCopiesMax);  // TOTAL CONCURRENT COPIES
  data.u32(kCopiesMax);  // MAXIMUM IDENTIFIED CONCURRENT COPIES
  data.u32(kCopySegmentBytesMax);
  // DATA SEGMENT GRANULARITY, a power of two: one block.
  data.u8(static_cast<uint8_t>(std::bit_width(lu.geometry.block_bytes) - 1));
  data.u8(0);  // INLINE DATA GRANULARITY
  data.zeros(18);
}

}  // namespace

void write_third_party_copy_page(const LogicalUnit& lu, ParameterData& data) {
  // SPC-4: ascending by descriptor type.
  block_device_rod_limits(lu, data);
  supported_commands(data);
  parameter_data(data);
  supported_descriptors(data);
  supported_cscd_descriptor_ids(data);
  rod_token_features(lu, data);
  supported_rod_types(data);
  general_copy_operations(lu, data);
}

}  // namespace itgtd::scsi
