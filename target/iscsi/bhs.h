// The basic header segments of RFC 7143 §11, one struct each, on one page.
//
// 48 bytes, no alignment, no bit-fields. as<T>() gives the typed view of a header only when its opcode is
// T's.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "base/endian.h"

namespace itgtd::iscsi {

inline constexpr size_t kBhsBytes = 48;
inline constexpr size_t kDigestBytes = 4;

/// RFC 7143 §11.2.1.2.
enum class Opcode : uint8_t {
  nop_out = 0x00,
  scsi_command = 0x01,
  task_management_request = 0x02,
  login_request = 0x03,
  text_request = 0x04,
  scsi_data_out = 0x05,
  logout_request = 0x06,
  snack_request = 0x10,

  nop_in = 0x20,
  scsi_response = 0x21,
  task_management_response = 0x22,
  login_response = 0x23,
  text_response = 0x24,
  scsi_data_in = 0x25,
  logout_response = 0x26,
  r2t = 0x31,
  async_message = 0x32,
  reject = 0x3F,
};

inline constexpr uint8_t kOpcodeMask = 0x3F;
inline constexpr uint8_t kImmediateBit = 0x40;
inline constexpr uint32_t kReservedTag = 0xFFFF'FFFF;

/// The first 24 bytes, which most PDUs share, and the rest as bytes.
struct Bhs {
  uint8_t opcode;  ///< with the I bit
  uint8_t flags;
  uint8_t specific[2];
  uint8_t total_ahs_length;  ///< in 4-byte words
  be24 data_segment_length;  ///< in bytes, without padding
  be64 lun;
  be32 initiator_task_tag;
  uint8_t rest[28];

  [[nodiscard]] Opcode op() const { return static_cast<Opcode>(opcode & kOpcodeMask); }
  [[nodiscard]] bool immediate() const { return (opcode & kImmediateBit) != 0; }
};

/// RFC 7143 §11.3.
struct ScsiCommandBhs {
  static constexpr Opcode kOpcode = Opcode::scsi_command;
  static constexpr uint8_t kFinal = 0x80, kRead = 0x40, kWrite = 0x20, kAttributeMask = 0x07;
  uint8_t opcode;
  uint8_t flags;
  uint8_t reserved[2];
  uint8_t total_ahs_length;
  be24 data_segment_length;
  be64 lun;
  be32 initiator_task_tag;
  be32 expected_data_transfer_length;
  be32 cmd_sn;
  be32 exp_stat_sn;
  std::array<uint8_t, 16> cdb;
};

/// RFC 7143 §11.4.
struct ScsiResponseBhs {
  static constexpr Opcode kOpcode = Opcode::scsi_response;
  static constexpr uint8_t kFinal = 0x80;
  static constexpr uint8_t kBidiOverflow = 0x10, kBidiUnderflow = 0x08, kOverflow = 0x04, kUnderflow = 0x02;
  uint8_t opcode;
  uint8_t flags;
  uint8_t response;  ///< 0: command completed at target; 1: target failure
  uint8_t status;
  uint8_t total_ahs_length;
  be24 data_segment_length;
  uint8_t reserved[8];
  be32 initiator_task_tag;
  be32 snack_tag;
  be32 stat_sn;
  be32 exp_cmd_sn;
  be32 max_cmd_sn;
  be32 exp_data_sn;
  be32 bidi_read_residual_count;
  be32 residual_count;
};

/// RFC 7143 §11.5.1.
enum class TaskManagementFunction : uint8_t {
  abort_task = 1,
  abort_task_set = 2,
  clear_aca = 3,
  clear_task_set = 4,
  logical_unit_reset = 5,
  target_warm_reset = 6,
  target_cold_reset = 7,
  task_reassign = 8,
  // RFC 7144 §4, with iSCSIProtocolLevel 2 or higher.
  query_task = 9,
  query_task_set = 10,
  i_t_nexus_reset = 11,
  query_asynchronous_event = 12,
};

/// RFC 7143 §11.5.
struct TaskManagementRequestBhs {
  static constexpr Opcode kOpcode = Opcode::task_management_request;
  static constexpr uint8_t kFunctionMask = 0x7F;
  uint8_t opcode;
  uint8_t function;  ///< with the F bit, which is always 1
  uint8_t reserved[2];
  uint8_t total_ahs_length;
  be24 data_segment_length;
  be64 lun;
  be32 initiator_task_tag;
  be32 referenced_task_tag;
  be32 cmd_sn;
  be32 exp_stat_sn;
  be32 ref_cmd_sn;
  be32 exp_data_sn;
  uint8_t reserved2[8];
};

/// RFC 7143 §11.6.1.
enum class TaskManagementOutcome : uint8_t {
  function_complete = 0,
  task_does_not_exist = 1,
  lun_does_not_exist = 2,
  task_still_allegiant = 3,
  task_allegiance_reassignment_not_supported = 4,
  function_not_supported = 5,
  function_authorization_failed = 6,
  function_succeeded = 7,  ///< RFC 7144 §4: the queried task, task set or event exists
  function_rejected = 255,
};

/// RFC 7143 §11.6.
struct TaskManagementResponseBhs {
  static constexpr Opcode kOpcode = Opcode::task_management_response;
  uint8_t opcode;
  uint8_t flags;
  uint8_t response;
  uint8_t reserved;
  uint8_t total_ahs_length;
  be24 data_segment_length;
  uint8_t additional_response_information[8];
  be32 initiator_task_tag;
  uint8_t reserved2[4];
  be32 stat_sn;
  be32 exp_cmd_sn;
  be32 max_cmd_sn;
  uint8_t reserved3[12];
};

/// RFC 7143 §11.7.
struct ScsiDataOutBhs {
  static constexpr Opcode kOpcode = Opcode::scsi_data_out;
  static constexpr uint8_t kFinal = 0x80;
  uint8_t opcode;
  uint8_t flags;
  uint8_t reserved[2];
  uint8_t total_ahs_length;
  be24 data_segment_length;
  be64 lun;
  be32 initiator_task_tag;
  be32 target_transfer_tag;
  uint8_t reserved2[4];
  be32 exp_stat_sn;
  uint8_t reserved3[4];
  be32 data_sn;
  be32 buffer_offset;
  uint8_t reserved4[4];
};

/// RFC 7143 §11.7.
struct ScsiDataInBhs {
  static constexpr Opcode kOpcode = Opcode::scsi_data_in;
  static constexpr uint8_t kFinal = 0x80, kAcknowledge = 0x40, kOverflow = 0x04, kUnderflow = 0x02,
                           kStatus = 0x01;
  uint8_t opcode;
  uint8_t flags;
  uint8_t reserved;
  uint8_t status;  ///< valid with kStatus
  uint8_t total_ahs_length;
  be24 data_segment_length;
  be64 lun;
  be32 initiator_task_tag;
  be32 target_transfer_tag;
  be32 stat_sn;
  be32 exp_cmd_sn;
  be32 max_cmd_sn;
  be32 data_sn;
  be32 buffer_offset;
  be32 residual_count;
};

/// RFC 7143 §11.8.
struct R2tBhs {
  static constexpr Opcode kOpcode = Opcode::r2t;
  uint8_t opcode;
  uint8_t flags;
  uint8_t reserved[2];
  uint8_t total_ahs_length;
  be24 data_segment_length;
  be64 lun;
  be32 initiator_task_tag;
  be32 target_transfer_tag;
  be32 stat_sn;
  be32 exp_cmd_sn;
  be32 max_cmd_sn;
  be32 r2t_sn;
  be32 buffer_offset;
  be32 desired_data_transfer_length;
};

/// RFC 7143 §11.9.1.
enum class AsyncEvent : uint8_t {
  scsi_event = 0,
  logout_requested = 1,
  connection_dropped = 2,
  session_dropped = 3,
  negotiation_requested = 4,
};

/// RFC 7143 §11.9.
struct AsyncMessageBhs {
  static constexpr Opcode kOpcode = Opcode::async_message;
  uint8_t opcode;
  uint8_t flags;
  uint8_t reserved[2];
  uint8_t total_ahs_length;
  be24 data_segment_length;
  be64 lun;
  be32 all_ones;
  uint8_t reserved2[4];
  be32 stat_sn;
  be32 exp_cmd_sn;
  be32 max_cmd_sn;
  uint8_t async_event;
  uint8_t async_vcode;
  be16 parameter1;
  be16 parameter2;
  be16 parameter3;
  uint8_t reserved3[4];
};

/// RFC 7143 §11.10, §11.11: Text Request and Text Response.
struct TextRequestBhs {
  static constexpr Opcode kOpcode = Opcode::text_request;
  static constexpr uint8_t kFinal = 0x80, kContinue = 0x40;
  uint8_t opcode;
  uint8_t flags;
  uint8_t reserved[2];
  uint8_t total_ahs_length;
  be24 data_segment_length;
  be64 lun;
  be32 initiator_task_tag;
  be32 target_transfer_tag;
  be32 cmd_sn;
  be32 exp_stat_sn;
  uint8_t reserved2[16];
};
struct TextResponseBhs {
  static constexpr Opcode kOpcode = Opcode::text_response;
  static constexpr uint8_t kFinal = 0x80, kContinue = 0x40;
  uint8_t opcode;
  uint8_t flags;
  uint8_t reserved[2];
  uint8_t total_ahs_length;
  be24 data_segment_length;
  be64 lun;
  be32 initiator_task_tag;
  be32 target_transfer_tag;
  be32 stat_sn;
  be32 exp_cmd_sn;
  be32 max_cmd_sn;
  uint8_t reserved2[12];
};

/// RFC 7143 §11.12.
struct LoginRequestBhs {
  static constexpr Opcode kOpcode = Opcode::login_request;
  static constexpr uint8_t kTransit = 0x80, kContinue = 0x40;
  uint8_t opcode;
  uint8_t flags;  ///< T, C, CSG (bits 3-2), NSG (bits 1-0)
  uint8_t version_max;
  uint8_t version_min;
  uint8_t total_ahs_length;
  be24 data_segment_length;
  std::array<uint8_t, 6> isid;
  be16 tsih;
  be32 initiator_task_tag;
  be16 cid;
  uint8_t reserved[2];
  be32 cmd_sn;
  be32 exp_stat_sn;
  uint8_t reserved2[16];
};

/// RFC 7143 §11.13.
struct LoginResponseBhs {
  static constexpr Opcode kOpcode = Opcode::login_response;
  static constexpr uint8_t kTransit = 0x80, kContinue = 0x40;
  uint8_t opcode;
  uint8_t flags;
  uint8_t version_max;
  uint8_t version_active;
  uint8_t total_ahs_length;
  be24 data_segment_length;
  std::array<uint8_t, 6> isid;
  be16 tsih;
  be32 initiator_task_tag;
  uint8_t reserved[4];
  be32 stat_sn;
  be32 exp_cmd_sn;
  be32 max_cmd_sn;
  uint8_t status_class;
  uint8_t status_detail;
  uint8_t reserved2[10];
};

/// RFC 7143 §11.14, §11.15.
struct LogoutRequestBhs {
  static constexpr Opcode kOpcode = Opcode::logout_request;
  static constexpr uint8_t kReasonMask = 0x7F;
  uint8_t opcode;
  uint8_t reason;  ///< with the F bit: 0 close the session, 1 close the connection, 2 remove it for recovery
  uint8_t reserved[2];
  uint8_t total_ahs_length;
  be24 data_segment_length;
  uint8_t reserved2[8];
  be32 initiator_task_tag;
  be16 cid;
  uint8_t reserved3[2];
  be32 cmd_sn;
  be32 exp_stat_sn;
  uint8_t reserved4[16];
};
struct LogoutResponseBhs {
  static constexpr Opcode kOpcode = Opcode::logout_response;
  uint8_t opcode;
  uint8_t flags;
  uint8_t response;  ///< 0 closed, 1 CID not found, 2 recovery not supported, 3 cleanup failed
  uint8_t reserved;
  uint8_t total_ahs_length;
  be24 data_segment_length;
  uint8_t reserved2[8];
  be32 initiator_task_tag;
  uint8_t reserved3[4];
  be32 stat_sn;
  be32 exp_cmd_sn;
  be32 max_cmd_sn;
  uint8_t reserved4[4];
  be16 time2wait;
  be16 time2retain;
  uint8_t reserved5[4];
};

/// RFC 7143 §11.16.
struct SnackRequestBhs {
  static constexpr Opcode kOpcode = Opcode::snack_request;
  uint8_t opcode;
  uint8_t type;
  uint8_t reserved[2];
  uint8_t total_ahs_length;
  be24 data_segment_length;
  be64 lun;
  be32 initiator_task_tag;
  be32 target_transfer_tag;
  uint8_t reserved2[4];
  be32 exp_stat_sn;
  uint8_t reserved3[8];
  be32 beg_run;
  be32 run_length;
};

/// RFC 7143 §11.17.1.
enum class RejectReason : uint8_t {
  data_digest_error = 0x02,
  snack_reject = 0x03,
  protocol_error = 0x04,
  command_not_supported = 0x05,
  immediate_command_reject = 0x06,
  task_in_progress = 0x07,
  invalid_data_ack = 0x08,
  invalid_pdu_field = 0x09,
  long_operation_reject = 0x0A,
  negotiation_reset = 0x0B,  ///< named "Deprecated" there
  waiting_for_logout = 0x0C,
};

/// RFC 7143 §11.17.
struct RejectBhs {
  static constexpr Opcode kOpcode = Opcode::reject;
  uint8_t opcode;
  uint8_t flags;
  uint8_t reason;
  uint8_t reserved;
  uint8_t total_ahs_length;
  be24 data_segment_length;
  uint8_t reserved2[8];
  be32 all_ones;
  uint8_t reserved3[4];
  be32 stat_sn;
  be32 exp_cmd_sn;
  be32 max_cmd_sn;
  be32 data_sn_or_r2t_sn;
  uint8_t reserved4[8];
};

/// RFC 7143 §11.18, §11.19.
struct NopOutBhs {
  static constexpr Opcode kOpcode = Opcode::nop_out;
  uint8_t opcode;
  uint8_t flags;
  uint8_t reserved[2];
  uint8_t total_ahs_length;
  be24 data_segment_length;
  be64 lun;
  be32 initiator_task_tag;
  be32 target_transfer_tag;
  be32 cmd_sn;
  be32 exp_stat_sn;
  uint8_t reserved2[16];
};
struct NopInBhs {
  static constexpr Opcode kOpcode = Opcode::nop_in;
  uint8_t opcode;
  uint8_t flags;
  uint8_t reserved[2];
  uint8_t total_ahs_length;
  be24 data_segment_length;
  be64 lun;
  be32 initiator_task_tag;
  be32 target_transfer_tag;
  be32 stat_sn;
  be32 exp_cmd_sn;
  be32 max_cmd_sn;
  uint8_t reserved2[12];
};

template <typename T>
inline constexpr bool kIsBhs = sizeof(T) == kBhsBytes && alignof(T) == 1 && std::is_trivially_copyable_v<T>;

static_assert(kIsBhs<Bhs> && kIsBhs<ScsiCommandBhs> && kIsBhs<ScsiResponseBhs>);
static_assert(kIsBhs<TaskManagementRequestBhs> && kIsBhs<TaskManagementResponseBhs>);
static_assert(kIsBhs<ScsiDataOutBhs> && kIsBhs<ScsiDataInBhs> && kIsBhs<R2tBhs> && kIsBhs<AsyncMessageBhs>);
static_assert(kIsBhs<TextRequestBhs> && kIsBhs<TextResponseBhs> && kIsBhs<LoginRequestBhs>);
static_assert(kIsBhs<LoginResponseBhs> && kIsBhs<LogoutRequestBhs> && kIsBhs<LogoutResponseBhs>);
static_assert(kIsBhs<SnackRequestBhs> && kIsBhs<RejectBhs> && kIsBhs<NopOutBhs> && kIsBhs<NopInBhs>);

/// The header as a T, or null when its opcode is another one. Borrows `bhs`.
template <typename T>
[[nodiscard]] const T* as(const Bhs& bhs) {
  return bhs.op() == T::kOpcode ? view<T>(bytes_of(bhs)) : nullptr;
}

/// Bytes to a multiple of four. RFC 7143 §11.1.
[[nodiscard]] constexpr uint32_t padding_of(uint32_t length_bytes) {
  return (4 - (length_bytes & 3)) & 3;
}

}  // namespace itgtd::iscsi
