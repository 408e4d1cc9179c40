#include "scsi/sense.h"

#include <algorithm>
#include <limits>

#include "base/assert.h"
#include "base/endian.h"

namespace itgtd::scsi {
namespace {

// SPC-4 §4.5.3: current error, fixed format. §4.5.2: current error, descriptor format.
constexpr uint8_t kFixedCurrent = 0x70;
constexpr uint8_t kDescriptorCurrent = 0x72;
constexpr uint8_t kValid = 0x80;
constexpr size_t kDescriptorHeaderBytes = 8;

/// SPC-4 table 53.
struct FixedSense {
  uint8_t response_code = kFixedCurrent;
  uint8_t obsolete = 0;
  uint8_t sense_key = 0;
  be32 information;
  uint8_t additional_sense_length = kFixedSenseBytes - 8;
  be32 command_specific_information;
  be16 asc;
  uint8_t field_replaceable_unit_code = 0;
  uint8_t sense_key_specific[3] = {};
};
static_assert(sizeof(FixedSense) == kFixedSenseBytes);

/// SPC-4 table 31.
struct DescriptorSense {
  uint8_t response_code = kDescriptorCurrent;
  uint8_t sense_key = 0;
  be16 asc;
  uint8_t reserved[3] = {};
  uint8_t additional_sense_length = 0;
};
static_assert(sizeof(DescriptorSense) == kDescriptorHeaderBytes);

/// SPC-4 §4.5.2.2.
struct InformationDescriptor {
  uint8_t descriptor_type = 0x00;
  uint8_t additional_length = 0x0A;
  uint8_t valid = kValid;
  uint8_t reserved = 0;
  be64 information;
};
static_assert(sizeof(InformationDescriptor) == 12);

/// SPC-4 §4.5.2.3.
struct CommandSpecificDescriptor {
  uint8_t descriptor_type = 0x01;
  uint8_t additional_length = 0x0A;
  uint8_t reserved[2] = {};
  be64 command_specific_information;
};
static_assert(sizeof(CommandSpecificDescriptor) == 12);

/// SPC-4 §4.5.2.4.
struct SenseKeySpecificDescriptor {
  uint8_t descriptor_type = 0x02;
  uint8_t additional_length = 0x06;
  uint8_t reserved[2] = {};
  uint8_t sense_key_specific[3] = {};
  uint8_t reserved_end = 0;
};
static_assert(sizeof(SenseKeySpecificDescriptor) == 8);

size_t encode_fixed(const Sense& sense, Bytes to) {
  FixedSense fixed;
  fixed.sense_key = static_cast<uint8_t>(sense.key);
  fixed.asc.set(static_cast<uint16_t>(sense.asc));
  // SPC-4 §4.5.3: VALID is one only if the value fits the four bytes.
  if (sense.information_valid && sense.information <= std::numeric_limits<uint32_t>::max()) {
    fixed.response_code |= kValid;
    fixed.information.set(static_cast<uint32_t>(sense.information));
  }
  if (sense.command_specific_valid && sense.command_specific <= std::numeric_limits<uint32_t>::max()) {
    fixed.command_specific_information.set(static_cast<uint32_t>(sense.command_specific));
  }
  if (sense.specific_valid) std::ranges::copy(sense.sense_key_specific, fixed.sense_key_specific);
  store(to, fixed);
  return sizeof(fixed);
}

size_t encode_descriptor(const Sense& sense, Bytes to) {
  size_t size = kDescriptorHeaderBytes;
  if (sense.information_valid) {
    InformationDescriptor descriptor;
    descriptor.information.set(sense.information);
    store(to.subspan(size), descriptor);
    size += sizeof(descriptor);
  }
  if (sense.command_specific_valid) {
    CommandSpecificDescriptor descriptor;
    descriptor.command_specific_information.set(sense.command_specific);
    store(to.subspan(size), descriptor);
    size += sizeof(descriptor);
  }
  if (sense.specific_valid) {
    SenseKeySpecificDescriptor descriptor;
    std::ranges::copy(sense.sense_key_specific, descriptor.sense_key_specific);
    store(to.subspan(size), descriptor);
    size += sizeof(descriptor);
  }
  DescriptorSense header;
  header.sense_key = static_cast<uint8_t>(sense.key);
  header.asc.set(static_cast<uint16_t>(sense.asc));
  header.additional_sense_length = static_cast<uint8_t>(size - kDescriptorHeaderBytes);
  store(to, header);
  return size;
}

constexpr size_t kEncodedBytesMax = kDescriptorHeaderBytes + sizeof(InformationDescriptor) +
                                    sizeof(CommandSpecificDescriptor) + sizeof(SenseKeySpecificDescriptor);

Sense plain(SenseKey key, Asc asc) {
  Sense sense;
  sense.key = key;
  sense.asc = asc;
  return sense;
}

Sense with_information(SenseKey key, Asc asc, uint64_t information) {
  Sense sense = plain(key, asc);
  sense.information_valid = true;
  sense.information = information;
  return sense;
}

// SPC-4 §4.5.2.4.2: SKSV, C/D, BPV and the bit pointer, then the field pointer.
Sense with_field_pointer(Asc asc, bool in_cdb, uint16_t byte, std::optional<uint8_t> bit) {
  constexpr uint8_t kSksv = 0x80;
  constexpr uint8_t kCommandData = 0x40;
  constexpr uint8_t kBitPointerValid = 0x08;
  ITGTD_ASSERT(!bit || *bit < 8);
  Sense sense = plain(SenseKey::illegal_request, asc);
  sense.specific_valid = true;
  uint8_t first = kSksv;
  if (in_cdb) first |= kCommandData;
  if (bit) first = static_cast<uint8_t>(first | kBitPointerValid | *bit);
  sense.sense_key_specific[0] = first;
  sense.sense_key_specific[1] = static_cast<uint8_t>(byte >> 8);
  sense.sense_key_specific[2] = static_cast<uint8_t>(byte);
  return sense;
}

}  // namespace

size_t encode_sense(const Sense& sense, bool descriptor_format, Bytes to) {
  static_assert(kEncodedBytesMax <= 64 && kFixedSenseBytes <= 64);
  ITGTD_ASSERT(to.size() >= 64);
  return descriptor_format ? encode_descriptor(sense, to) : encode_fixed(sense, to);
}

namespace sense {

Sense no_sense() {
  return {};
}
Sense unit_attention(Asc asc) {
  return plain(SenseKey::unit_attention, asc);
}
Sense invalid_opcode() {
  return plain(SenseKey::illegal_request, Asc::invalid_command_operation_code);
}
Sense invalid_field_in_cdb(uint16_t byte, std::optional<uint8_t> bit) {
  return with_field_pointer(Asc::invalid_field_in_cdb, true, byte, bit);
}
Sense invalid_field_in_parameter_list(uint16_t byte, std::optional<uint8_t> bit) {
  return with_field_pointer(Asc::invalid_field_in_parameter_list, false, byte, bit);
}
Sense parameter_list_length_error() {
  return plain(SenseKey::illegal_request, Asc::parameter_list_length_error);
}
Sense lba_out_of_range(uint64_t lba) {
  return with_information(SenseKey::illegal_request, Asc::lba_out_of_range, lba);
}
Sense logical_unit_not_supported() {
  return plain(SenseKey::illegal_request, Asc::logical_unit_not_supported);
}
Sense write_protected() {
  return plain(SenseKey::data_protect, Asc::write_protected);
}
Sense space_allocation_failed() {
  return plain(SenseKey::data_protect, Asc::space_allocation_failed_write_protect);
}
Sense not_ready(Asc asc) {
  return plain(SenseKey::not_ready, asc);
}
Sense medium_not_present() {
  return plain(SenseKey::not_ready, Asc::medium_not_present);
}
Sense medium_removal_prevented() {
  return plain(SenseKey::illegal_request, Asc::medium_removal_prevented);
}
Sense unrecovered_read_error(uint64_t lba) {
  return with_information(SenseKey::medium_error, Asc::unrecovered_read_error, lba);
}
Sense write_error(uint64_t lba) {
  return with_information(SenseKey::medium_error, Asc::write_error, lba);
}
Sense miscompare(uint64_t offset) {
  return with_information(SenseKey::miscompare, Asc::miscompare_during_verify, offset);
}
Sense internal_target_failure() {
  return plain(SenseKey::hardware_error, Asc::internal_target_failure);
}
Sense set_target_port_groups_failed() {
  return plain(SenseKey::hardware_error, Asc::set_target_port_groups_command_failed);
}
Sense in_progress(Asc asc, uint16_t progress) {
  Sense sense = not_ready(asc);
  sense.specific_valid = true;
  sense.sense_key_specific[0] = 0x80;  // SKSV
  sense.sense_key_specific[1] = static_cast<uint8_t>(progress >> 8);
  sense.sense_key_specific[2] = static_cast<uint8_t>(progress);
  return sense;
}

Sense format_corrupted() {
  Sense sense;
  sense.key = SenseKey::medium_error;
  sense.asc = Asc::medium_format_corrupted;
  return sense;
}

Sense sanitize_failed() {
  Sense sense;
  sense.key = SenseKey::medium_error;
  sense.asc = Asc::sanitize_command_failed;
  return sense;
}

Sense format_command_failed() {
  return plain(SenseKey::medium_error, Asc::format_command_failed);
}

Sense insufficient_resources() {
  return plain(SenseKey::illegal_request, Asc::insufficient_resources);
}
Sense command_sequence_error() {
  return plain(SenseKey::illegal_request, Asc::command_sequence_error);
}
Sense failed_self_test() {
  return plain(SenseKey::hardware_error, Asc::logical_unit_failed_self_test);
}
Sense insufficient_registration_resources() {
  return plain(SenseKey::illegal_request, Asc::insufficient_registration_resources);
}
Sense invalid_release_of_persistent_reservation() {
  return plain(SenseKey::illegal_request, Asc::invalid_release_of_persistent_reservation);
}
Sense saving_parameters_not_supported() {
  return plain(SenseKey::illegal_request, Asc::saving_parameters_not_supported);
}
Sense illegal_request(Asc asc) {
  return plain(SenseKey::illegal_request, asc);
}
Sense refused_descriptor(Asc asc, uint16_t byte) {
  return with_field_pointer(asc, false, byte, std::nullopt);
}
Sense copy_aborted(Asc asc, uint16_t segment, std::optional<uint16_t> field) {
  constexpr uint8_t kSksv = 0x80;
  constexpr uint8_t kSegmentDescriptor = 0x20;  // SD: the field pointer counts from the segment descriptor
  Sense sense = plain(SenseKey::copy_aborted, asc);
  sense.command_specific_valid = true;
  sense.command_specific = segment;
  if (field) {
    sense.specific_valid = true;
    sense.sense_key_specific[0] = kSksv | kSegmentDescriptor;
    sense.sense_key_specific[1] = static_cast<uint8_t>(*field >> 8);
    sense.sense_key_specific[2] = static_cast<uint8_t>(*field);
  }
  return sense;
}
Sense protocol_service_crc_error() {
  return plain(SenseKey::aborted_command, Asc::protocol_service_crc_error);
}

}  // namespace sense
}  // namespace itgtd::scsi
