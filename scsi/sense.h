// Status and sense data: one function per outcome, so that no handler spells sense bytes.
// SPC-4 §4.5 (sense data), SAM-5 §5.3 (status codes).
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"

namespace itgtd::scsi {

/// SAM-5 §5.3.1.
enum class Status : uint8_t {
  good = 0x00,
  check_condition = 0x02,
  condition_met = 0x04,
  busy = 0x08,
  reservation_conflict = 0x18,
  task_set_full = 0x28,
  task_aborted = 0x40,
};

/// SPC-4 table 43.
enum class SenseKey : uint8_t {
  no_sense = 0x0,
  recovered_error = 0x1,
  not_ready = 0x2,
  medium_error = 0x3,
  hardware_error = 0x4,
  illegal_request = 0x5,
  unit_attention = 0x6,
  data_protect = 0x7,
  aborted_command = 0xB,
  miscompare = 0xE,
};

/// An additional sense code with its qualifier, as SPC-4 annex F lists them: asc << 8 | ascq.
enum class Asc : uint16_t {
  none = 0x0000,
  logical_unit_not_ready_cause_not_reportable = 0x0400,
  becoming_ready = 0x0401,
  initializing_command_required = 0x0402,
  manual_intervention_required = 0x0403,
  write_error = 0x0C00,
  unrecovered_read_error = 0x1100,
  miscompare_during_verify = 0x1D00,
  parameter_list_length_error = 0x1A00,
  invalid_command_operation_code = 0x2000,
  lba_out_of_range = 0x2100,
  invalid_field_in_cdb = 0x2400,
  logical_unit_not_supported = 0x2500,
  invalid_field_in_parameter_list = 0x2600,
  write_protected = 0x2700,
  space_allocation_failed_write_protect = 0x2707,
  not_ready_to_ready_medium_may_have_changed = 0x2800,
  power_on_or_reset_occurred = 0x2900,
  power_on_occurred = 0x2901,
  bus_device_reset_occurred = 0x2903,
  i_t_nexus_loss_occurred = 0x2907,
  mode_parameters_changed = 0x2A01,
  capacity_data_has_changed = 0x2A09,
  commands_cleared_by_another_initiator = 0x2F00,
  saving_parameters_not_supported = 0x3900,
  medium_not_present = 0x3A00,
  target_operating_conditions_changed = 0x3F00,
  inquiry_data_has_changed = 0x3F03,
  reported_luns_data_has_changed = 0x3F0E,
  internal_target_failure = 0x4400,
  overlapped_commands_attempted = 0x4E00,
  insufficient_resources = 0x5503,
  protocol_service_crc_error = 0x4705,
  initiator_detected_error_message_received = 0x4800,
};

/// Sense data as a value; encode_sense() turns it into bytes. Trivially copyable.
struct Sense {
  SenseKey key = SenseKey::no_sense;
  Asc asc = Asc::none;
  /// True exactly when `sense_key_specific` holds the three bytes of SPC-4 §4.5.2.4 (SKSV included).
  bool specific_valid = false;
  uint8_t sense_key_specific[3] = {};
  /// True exactly when `information` is meaningful (an LBA, an offset of a miscompare).
  bool information_valid = false;
  uint64_t information = 0;

  bool operator==(const Sense&) const = default;
};

inline constexpr size_t kFixedSenseBytes = 18;
inline constexpr size_t kSenseBytesMax = 252;

/// Writes fixed (SPC-4 §4.5.3) or descriptor format (§4.5.2) sense data into `to` (at least 64 bytes);
/// returns the number of bytes written.
size_t encode_sense(const Sense& sense, bool descriptor_format, Bytes to);

namespace sense {
Sense no_sense();
Sense unit_attention(Asc asc);
Sense invalid_opcode();
/// `byte` and `bit` of the CDB that is at fault; bit 7 is the most significant; no bit: the whole byte. SPC-4
/// §4.5.2.4.2.
Sense invalid_field_in_cdb(uint16_t byte, std::optional<uint8_t> bit = std::nullopt);
Sense invalid_field_in_parameter_list(uint16_t byte, std::optional<uint8_t> bit = std::nullopt);
Sense parameter_list_length_error();
Sense lba_out_of_range(uint64_t lba);
Sense logical_unit_not_supported();
Sense write_protected();
Sense space_allocation_failed();
Sense not_ready(Asc asc);
Sense medium_not_present();
/// `lba`: the first block that could not be read or written.
Sense unrecovered_read_error(uint64_t lba);
Sense write_error(uint64_t lba);
/// `offset`: of the first byte that differs, within the data-out buffer. SBC-3 §5.3.
Sense miscompare(uint64_t offset);
Sense internal_target_failure();
Sense insufficient_resources();
Sense saving_parameters_not_supported();
/// Data of a write that could not be had: the transport lost or mangled it.
Sense protocol_service_crc_error();
}  // namespace sense

}  // namespace itgtd::scsi
