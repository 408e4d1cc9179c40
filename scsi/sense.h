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
  copy_aborted = 0xA,
  aborted_command = 0xB,
  miscompare = 0xE,
};

/// An additional sense code with its qualifier, as SPC-4 annex F lists them: asc << 8 | ascq.
enum class Asc : uint16_t {
  none = 0x0000,
  operation_in_progress = 0x0016,
  logical_unit_not_ready_cause_not_reportable = 0x0400,
  becoming_ready = 0x0401,
  initializing_command_required = 0x0402,
  manual_intervention_required = 0x0403,
  format_in_progress = 0x0404,
  asymmetric_access_state_transition = 0x040A,
  target_port_in_standby_state = 0x040B,
  target_port_in_unavailable_state = 0x040C,
  sanitize_in_progress = 0x041B,
  unreachable_copy_target = 0x0804,
  write_error = 0x0C00,
  third_party_device_failure = 0x0D01,
  copy_target_device_not_reachable = 0x0D02,
  incorrect_copy_target_device_type = 0x0D03,
  unrecovered_read_error = 0x1100,
  miscompare_during_verify = 0x1D00,
  parameter_list_length_error = 0x1A00,
  invalid_command_operation_code = 0x2000,
  lba_out_of_range = 0x2100,
  invalid_token_operation_cause_not_reportable = 0x2300,
  unsupported_token_type = 0x2301,
  remote_token_usage_not_supported = 0x2302,
  token_unknown = 0x2304,
  token_corrupt = 0x2305,
  token_revoked = 0x2306,
  token_expired = 0x2307,
  token_cancelled = 0x2308,
  token_deleted = 0x2309,
  invalid_field_in_cdb = 0x2400,
  logical_unit_not_supported = 0x2500,
  invalid_field_in_parameter_list = 0x2600,
  invalid_release_of_persistent_reservation = 0x2604,
  too_many_target_descriptors = 0x2606,
  unsupported_target_descriptor_type_code = 0x2607,
  too_many_segment_descriptors = 0x2608,
  unsupported_segment_descriptor_type_code = 0x2609,
  unexpected_inexact_segment = 0x260A,
  inline_data_length_exceeded = 0x260B,
  command_sequence_error = 0x2C00,
  write_protected = 0x2700,
  space_allocation_failed_write_protect = 0x2707,
  not_ready_to_ready_medium_may_have_changed = 0x2800,
  power_on_or_reset_occurred = 0x2900,
  power_on_occurred = 0x2901,
  bus_device_reset_occurred = 0x2903,
  i_t_nexus_loss_occurred = 0x2907,
  mode_parameters_changed = 0x2A01,
  reservations_preempted = 0x2A03,
  reservations_released = 0x2A04,
  registrations_preempted = 0x2A05,
  asymmetric_access_state_changed = 0x2A06,
  implicit_asymmetric_access_state_transition_failed = 0x2A07,
  capacity_data_has_changed = 0x2A09,
  timestamp_changed = 0x2A10,
  commands_cleared_by_another_initiator = 0x2F00,
  medium_format_corrupted = 0x3100,
  format_command_failed = 0x3101,
  sanitize_command_failed = 0x3103,
  thin_provisioning_soft_threshold_reached = 0x3807,
  saving_parameters_not_supported = 0x3900,
  medium_not_present = 0x3A00,
  logical_unit_failed_self_test = 0x3E03,
  target_operating_conditions_changed = 0x3F00,
  inquiry_data_has_changed = 0x3F03,
  reported_luns_data_has_changed = 0x3F0E,
  device_identifier_changed = 0x3F05,
  internal_target_failure = 0x4400,
  overlapped_commands_attempted = 0x4E00,
  medium_removal_prevented = 0x5302,
  failure_prediction_threshold_exceeded_false = 0x5DFF,
  insufficient_resources = 0x5503,
  insufficient_registration_resources = 0x5504,
  insufficient_resources_to_create_rod_token = 0x550D,
  protocol_service_crc_error = 0x4705,
  initiator_detected_error_message_received = 0x4800,
  set_target_port_groups_command_failed = 0x670A,
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
  /// True exactly when `command_specific` is meaningful (the number of a segment). SPC-4 §4.5.2.3.
  bool command_specific_valid = false;
  uint64_t command_specific = 0;

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
Sense medium_removal_prevented();
/// `lba`: the first block that could not be read or written.
Sense unrecovered_read_error(uint64_t lba);
Sense write_error(uint64_t lba);
/// `offset`: of the first byte that differs, within the data-out buffer. SBC-3 §5.3.
Sense miscompare(uint64_t offset);
Sense internal_target_failure();
Sense set_target_port_groups_failed();
/// NOT READY with PROGRESS INDICATION, parts of 65536. SPC-4 §4.5.2.4.4.
Sense in_progress(Asc asc, uint16_t progress);
Sense format_corrupted();
Sense sanitize_failed();
/// Of the FORMAT UNIT itself, while what follows it is told format_corrupted().
Sense format_command_failed();
Sense insufficient_resources();
Sense command_sequence_error();
/// SEND DIAGNOSTIC, the default self-test. SPC-4 §6.42.
Sense failed_self_test();
Sense insufficient_registration_resources();
Sense invalid_release_of_persistent_reservation();
Sense saving_parameters_not_supported();
/// ILLEGAL REQUEST with `asc`, for a token or a list identifier that can't be used.
Sense illegal_request(Asc asc);
/// ILLEGAL REQUEST with `asc`, at a byte of the parameter list: a descriptor that is not supported, or one
/// too many.
Sense refused_descriptor(Asc asc, uint16_t byte);
/// A third-party copy ended at `segment`: what came before it is done. `field`: the byte of that segment
/// descriptor that is at fault. SPC-4 §4.5.2.4.5.
Sense copy_aborted(Asc asc, uint16_t segment, std::optional<uint16_t> field = std::nullopt);
/// Data of a write that could not be had: the transport lost or mangled it.
Sense protocol_service_crc_error();
}  // namespace sense

}  // namespace itgtd::scsi
