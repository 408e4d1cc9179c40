// What an application client may write onto a logical unit beside its blocks: REPORT and SET IDENTIFYING
// INFORMATION, REPORT and SET TIMESTAMP. SPC-4.
#include <algorithm>
#include <array>
#include <optional>

#include "base/endian.h"
#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/limits.h"
#include "scsi/logical_unit.h"
#include "scsi/parameter_data.h"

namespace itgtd::scsi {
namespace {

constexpr uint16_t kLengthByte = 6;  // ALLOCATION LENGTH, PARAMETER LIST LENGTH
constexpr uint8_t kHighestBit = 7;

Decision refuse(const Sense& sense) {
  Decision decision;
  decision.done = check_condition(sense);
  return decision;
}

// Identifying information.

constexpr uint16_t kTypeByte = 10;
constexpr size_t kHeaderBytes = 4;

/// INFORMATION TYPE: bits 7 to 1 of byte 10.
constexpr uint8_t kSupportedTypes = 0x7F;

struct InformationType {
  uint8_t code = 0;
  uint16_t bytes_max = 0;
  std::vector<std::byte> LuState::*value = nullptr;
  bool is_text = false;  ///< UTF-8, ended by a zero
};
constexpr std::array kTypes = {
    InformationType{0x00, kIdentifyingInformationBytesMax, &LuState::identifying_information, false},
    InformationType{0x02, kIdentifyingTextBytesMax, &LuState::identifying_text, true},
};
static_assert(kHeaderBytes + kIdentifyingInformationBytesMax <= kParameterDataBytesMax);
static_assert(kHeaderBytes + kIdentifyingTextBytesMax <= kParameterDataBytesMax);

uint8_t type_code(const Command& command) {
  return static_cast<uint8_t>(command.cdb[kTypeByte] >> 1);
}

/// Null: none of those that have a value.
const InformationType* find_type(const Command& command) {
  const auto found = std::ranges::find(kTypes, type_code(command), &InformationType::code);
  return found == kTypes.end() ? nullptr : &*found;
}

Admission admit_report_information(Command& command) {
  if (type_code(command) != kSupportedTypes && find_type(command) == nullptr) {
    return check_condition(sense::invalid_field_in_cdb(kTypeByte, kHighestBit));
  }
  return parameter_data_in(cdb_u32(command, kLengthByte));
}

/// SPC-4, REPORT IDENTIFYING INFORMATION, identifying information supported parameter data.
void supported_types(ParameterData& data) {
  for (const InformationType& type : kTypes) {
    data.u8(static_cast<uint8_t>(type.code << 1));
    data.u8(0);
    data.u16(type.bytes_max);
  }
}

Step start_report_information(Command& command) {
  const InformationType* type = find_type(command);
  ParameterData data;
  data.zeros(kHeaderBytes);
  if (type == nullptr) {
    supported_types(data);
  } else {
    const std::vector<std::byte>& value = (*command.lu->state).*(type->value);
    // Longer only if it came from elsewhere than SET IDENTIFYING INFORMATION.
    data.bytes(ConstBytes(value).first(std::min<size_t>(value.size(), type->bytes_max)));
  }
  data.set_u16(2, static_cast<uint16_t>(data.size() - kHeaderBytes));
  return data.send(command);
}

Admission admit_set_information(Command& command) {
  const InformationType* type = find_type(command);
  if (type == nullptr) return check_condition(sense::invalid_field_in_cdb(kTypeByte, kHighestBit));
  const uint32_t length = cdb_u32(command, kLengthByte);
  // SPC-4, SET IDENTIFYING INFORMATION: more than fits is an invalid field.
  if (length > type->bytes_max) {
    return check_condition(sense::invalid_field_in_cdb(kLengthByte, kHighestBit));
  }
  return DataPhase{DataDirection::out, length, 0};
}

Decision decide_set_information(const LuState& state, const Command& command, const DecideContext& context) {
  const InformationType& type = *find_type(command);
  if (command.data_out_bytes != command.phase.transfer_bytes) {
    return refuse(sense::parameter_list_length_error());
  }
  const ConstBytes value = ConstBytes(command.data).first(command.data_out_bytes);
  // SPC-4, SET IDENTIFYING INFORMATION: text that does not end in a zero is none.
  if (type.is_text && !value.empty() && value.back() != std::byte{0}) {
    return refuse(sense::invalid_field_in_parameter_list(static_cast<uint16_t>(value.size() - 1)));
  }
  LuState next = state;
  (next.*type.value).assign(value.begin(), value.end());
  Decision decision = publish(state, next);
  // SPC-4, SET IDENTIFYING INFORMATION: all others are told of a change.
  if (decision.state) {
    decision.unit_attentions.push_back(
        {UnitAttentionRaise::Scope::all_but, context.nexus, Asc::device_identifier_changed});
  }
  return decision;
}

Step start_set_information(Command& /*command*/) {
  // A length of zero takes the information away.
  return Update{decide_set_information};
}

// Timestamp, SPC-4 §5.2.

/// SPC-4, SET TIMESTAMP, parameter list; REPORT TIMESTAMP has the same behind a length and an origin.
struct TimestampParameters {
  uint8_t reserved[4] = {};
  be48 timestamp;
  uint8_t reserved_end[2] = {};
};
static_assert(WireStruct<TimestampParameters> && sizeof(TimestampParameters) == 12);

struct TimestampData {
  be16 length = be16(10);
  uint8_t timestamp_origin = 0;
  uint8_t reserved = 0;
  be48 timestamp;
  uint8_t reserved_end[2] = {};
};
static_assert(WireStruct<TimestampData> && sizeof(TimestampData) == 12);

/// SPC-4 table 78, TIMESTAMP ORIGIN.
constexpr uint8_t kByOtherMeans = 0x3;
constexpr uint8_t kBySetTimestamp = 0x2;

Admission admit_report_timestamp(Command& command) {
  return parameter_data_in(cdb_u32(command, kLengthByte));
}

Decision decide_report_timestamp(const LuState& state, const Command& /*command*/,
                                 const DecideContext& context) {
  TimestampData data;
  data.timestamp_origin = state.timestamp_was_set ? kBySetTimestamp : kByOtherMeans;
  // Modulo 2^64, as the offset was made; TIMESTAMP takes the lower six bytes.
  data.timestamp.set(context.time_ms + static_cast<uint64_t>(state.timestamp_offset_ms));
  Decision decision;
  decision.data_in.resize(sizeof(data));
  store(decision.data_in, data);
  return decision;
}

Step start_report_timestamp(Command& /*command*/) {
  // Only the writer of the state has a clock.
  return Update{decide_report_timestamp};
}

Admission admit_set_timestamp(Command& command) {
  const uint32_t length = cdb_u32(command, kLengthByte);
  // SPC-4, SET TIMESTAMP: a list that cuts the timestamp is an error; so is one that says more than there is.
  if (length != 0 && length != sizeof(TimestampParameters)) {
    return check_condition(sense::parameter_list_length_error());
  }
  return DataPhase{DataDirection::out, length, 0};
}

/// The first byte of `list` that is not zero although it is reserved.
std::optional<uint16_t> reserved_byte(ConstBytes list) {
  for (const uint16_t at : std::to_array<uint16_t>({0, 1, 2, 3, 10, 11})) {
    if (list[at] != std::byte{0}) return at;
  }
  return std::nullopt;
}

Decision decide_set_timestamp(const LuState& state, const Command& command, const DecideContext& context) {
  if (command.data_out_bytes != sizeof(TimestampParameters)) {
    return refuse(sense::parameter_list_length_error());
  }
  const ConstBytes list = ConstBytes(command.data).first(command.data_out_bytes);
  if (const auto wrong = reserved_byte(list)) return refuse(sense::invalid_field_in_parameter_list(*wrong));
  const uint64_t wanted = load<TimestampParameters>(list).timestamp.get();
  LuState next = state;
  next.timestamp_offset_ms = static_cast<int64_t>(wanted - context.time_ms);
  next.timestamp_was_set = true;
  Decision decision = publish(state, next);
  // SPC-4, SET TIMESTAMP: all others are told.
  decision.unit_attentions.push_back(
      {UnitAttentionRaise::Scope::all_but, context.nexus, Asc::timestamp_changed});
  return decision;
}

Step start_set_timestamp(Command& command) {
  // SPC-4, SET TIMESTAMP: a PARAMETER LIST LENGTH of zero is no error, and nothing happens.
  if (command.phase.transfer_bytes == 0) return good();
  return Update{decide_set_timestamp};
}

constexpr std::array kCommands = {
    CommandEntry{.name = "REPORT IDENTIFYING INFORMATION",
                 .opcode = 0xA3,
                 .service_action = 0x05,
                 .cdb_bytes = 12,
                 .direction = DataDirection::in,
                 .reservation = ReservationClass::allowed,
                 .flags = kRunsWhenNotReady,
                 .cdb_usage = {0xA3, 0x05, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0},
                 .admit = admit_report_information,
                 .start = start_report_information},
    CommandEntry{.name = "REPORT TIMESTAMP",
                 .opcode = 0xA3,
                 .service_action = 0x0F,
                 .cdb_bytes = 12,
                 .direction = DataDirection::in,
                 .reservation = ReservationClass::allowed,
                 .flags = kRunsWhenNotReady,
                 .cdb_usage = {0xA3, 0x0F, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0},
                 .admit = admit_report_timestamp,
                 .start = start_report_timestamp},
    CommandEntry{.name = "SET IDENTIFYING INFORMATION",
                 .opcode = 0xA4,
                 .service_action = 0x06,
                 .cdb_bytes = 12,
                 .direction = DataDirection::out,
                 .reservation = ReservationClass::write,
                 .flags = kRunsWhenNotReady,
                 .cdb_usage = {0xA4, 0x06, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0},
                 .admit = admit_set_information,
                 .start = start_set_information},
    CommandEntry{.name = "SET TIMESTAMP",
                 .opcode = 0xA4,
                 .service_action = 0x0F,
                 .cdb_bytes = 12,
                 .direction = DataDirection::out,
                 .reservation = ReservationClass::write,
                 .flags = kRunsWhenNotReady,
                 .cdb_usage = {0xA4, 0x0F, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0},
                 .admit = admit_set_timestamp,
                 .start = start_set_timestamp},
};

}  // namespace

std::span<const CommandEntry> spc_identifying_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
