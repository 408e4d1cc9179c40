// REPORT TARGET PORT GROUPS and SET TARGET PORT GROUPS, SPC-4 §5.15. The states themselves, and changes from
// outside, are in port_groups.h; what a state keeps from running is in dispatch.
#include <algorithm>
#include <array>
#include <bit>
#include <optional>

#include "base/endian.h"
#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/logical_unit.h"
#include "scsi/parameter_data.h"
#include "scsi/port_groups.h"

namespace itgtd::scsi {
namespace {

constexpr uint16_t kLengthByte = 6;  // ALLOCATION LENGTH, PARAMETER LIST LENGTH
constexpr uint8_t kHighestBit = 7;

// REPORT TARGET PORT GROUPS.

constexpr size_t kGroupDescriptorBytes = 8;
constexpr size_t kPortDescriptorBytes = 4;
constexpr size_t kExtendedHeaderBytes = 8;
static_assert(kExtendedHeaderBytes +
                  kPortGroupsMax * (kGroupDescriptorBytes + kPortsPerGroupMax * kPortDescriptorBytes) <=
              kParameterDataBytesMax);

enum ParameterDataFormat : uint8_t { kLengthOnly = 0, kExtended = 1 };

uint8_t parameter_data_format(const Command& command) {
  return static_cast<uint8_t>(command.cdb[1] >> 5);
}

Admission admit_report_groups(Command& command) {
  if (parameter_data_format(command) > kExtended) {
    return check_condition(sense::invalid_field_in_cdb(1, kHighestBit));
  }
  return parameter_data_in(cdb_u32(command, kLengthByte));
}

/// SPC-4, REPORT TARGET PORT GROUPS, target port group descriptor.
void group_descriptor(const PortGroup& group, ParameterData& data) {
  constexpr uint8_t kPreferred = 0x80;
  // T_SUP, O_SUP, U_SUP, S_SUP, AN_SUP, AO_SUP: all states but logical block dependent.
  constexpr uint8_t kStatesSupported = 0xCF;
  data.u8(static_cast<uint8_t>((group.preferred ? kPreferred : 0) | static_cast<unsigned>(group.state)));
  data.u8(kStatesSupported);
  data.u16(group.id);
  data.u8(0);
  data.u8(static_cast<uint8_t>(group.status));
  data.u8(0);
  data.u8(static_cast<uint8_t>(group.relative_target_ports.size()));
  for (const uint16_t port : group.relative_target_ports) {
    data.u16(0);
    data.u16(port);
  }
}

Step start_report_groups(Command& command) {
  const PortGroups& groups = port_groups_of(*command.lu->state);
  ParameterData data;
  data.u32(0);
  if (parameter_data_format(command) == kExtended) {
    data.u8(kExtended << 4);  // FORMAT TYPE
    data.u8(groups.transition_seconds);
    data.u16(0);
  }
  for (const PortGroup& group : groups.groups) group_descriptor(group, data);
  data.set_u32(0, static_cast<uint32_t>(data.size() - 4));
  return data.send(command);
}

// SET TARGET PORT GROUPS.

constexpr size_t kSetHeaderBytes = 4;
constexpr size_t kSetDescriptorBytes = 4;

/// The parameter list, applied to a copy of the groups. Every function returns what is wrong, if anything is.
class SetTargetPortGroups {
 public:
  SetTargetPortGroups(const Command& command, const LuState& state)
      : before_(port_groups_of(state)),
        next_(before_),
        transfer_bytes_(command.phase.transfer_bytes),
        list_(ConstBytes(command.data).first(command.data_out_bytes)) {}

  std::optional<Sense> parse() {
    if (list_.size() != transfer_bytes_ || list_.size() < kSetHeaderBytes ||
        list_.size() % kSetDescriptorBytes != 0) {
      return sense::parameter_list_length_error();
    }
    for (size_t at = 0; at < kSetHeaderBytes; ++at) {
      if (const auto wrong = refuse_reserved(at, 0xFF)) return wrong;
    }
    for (size_t at = kSetHeaderBytes; at < list_.size(); at += kSetDescriptorBytes) {
      if (const auto wrong = take_descriptor(at)) return wrong;
    }
    return std::nullopt;
  }
  [[nodiscard]] bool changed() const { return next_ != before_; }
  [[nodiscard]] const PortGroups& next() const { return next_; }

 private:
  [[nodiscard]] uint8_t byte(size_t at) const { return std::to_integer<uint8_t>(list_[at]); }
  static Sense invalid(size_t at, uint8_t bit) {
    return sense::invalid_field_in_parameter_list(static_cast<uint16_t>(at), bit);
  }
  [[nodiscard]] std::optional<Sense> refuse_reserved(size_t at, uint8_t mask) const {
    const auto wrong = static_cast<uint8_t>(byte(at) & mask);
    if (wrong == 0) return std::nullopt;
    return invalid(at, static_cast<uint8_t>(std::bit_width(wrong) - 1));
  }

  std::optional<Sense> take_descriptor(size_t at) {
    constexpr uint8_t kStateMask = 0x0F;
    constexpr uint8_t kStateBit = 3;
    if (const auto wrong = refuse_reserved(at, static_cast<uint8_t>(~kStateMask))) return wrong;
    const auto wanted = static_cast<AccessState>(byte(at) & kStateMask);
    // SPC-4, SET TARGET PORT GROUPS: transitioning is never asked for. Offline is nothing that one initiator
    // may do to the others, and what a port that is offline needs is no command.
    if (wanted > AccessState::unavailable) return invalid(at, kStateBit);
    if (const auto wrong = refuse_reserved(at + 1, 0xFF)) return wrong;
    const uint16_t id = load<be16>(list_.subspan(at + 2)).get();
    const auto group = std::ranges::find(next_.groups, id, &PortGroup::id);
    if (group == next_.groups.end() || is_named_before(id, at)) return invalid(at + 2, kHighestBit);
    return set(*group, wanted);
  }

  [[nodiscard]] bool is_named_before(uint16_t id, size_t end) const {
    for (size_t at = kSetHeaderBytes; at < end; at += kSetDescriptorBytes) {
      if (load<be16>(list_.subspan(at + 2)).get() == id) return true;
    }
    return false;
  }

  static std::optional<Sense> set(PortGroup& group, AccessState wanted) {
    // Somebody else is at it, or there is nobody to serve it.
    if (group.state == AccessState::transitioning) return access_sense(group.state);
    if (group.state == AccessState::offline) return sense::set_target_port_groups_failed();
    if (group.state == wanted) return std::nullopt;
    group.state = wanted;
    group.status = AccessStatus::by_command;
    return std::nullopt;
  }

  const PortGroups& before_;
  PortGroups next_;
  size_t transfer_bytes_;
  ConstBytes list_;
};

Admission admit_set_groups(Command& command) {
  const uint32_t length = cdb_u32(command, kLengthByte);
  // SPC-4, SET TARGET PORT GROUPS: a length that the device server can't take is an invalid field.
  if (length > kSetHeaderBytes + kPortGroupsMax * kSetDescriptorBytes) {
    return check_condition(sense::invalid_field_in_cdb(kLengthByte, kHighestBit));
  }
  return DataPhase{DataDirection::out, length, 0};
}

Decision decide_set_groups(const LuState& state, const Command& command, const DecideContext& context) {
  SetTargetPortGroups set(command, state);
  Decision decision;
  if (const std::optional<Sense> wrong = set.parse()) {
    decision.done = check_condition(*wrong);
    return decision;
  }
  if (!set.changed()) return decision;
  LuState next = state;
  next.port_groups = std::make_shared<const PortGroups>(set.next());
  decision = publish(state, next);
  // SPC-4 §5.15.2: whoever asked knows.
  decision.unit_attentions.push_back(
      {UnitAttentionRaise::Scope::all_but, context.nexus, Asc::asymmetric_access_state_changed});
  return decision;
}

Step start_set_groups(Command& command) {
  // SPC-4, SET TARGET PORT GROUPS: a PARAMETER LIST LENGTH of zero is no error, and nothing happens.
  if (command.phase.transfer_bytes == 0) return good();
  return Update{decide_set_groups};
}

constexpr std::array kCommands = {
    CommandEntry{.name = "REPORT TARGET PORT GROUPS",
                 .opcode = 0xA3,
                 .service_action = 0x0A,
                 .cdb_bytes = 12,
                 .direction = DataDirection::in,
                 .reservation = ReservationClass::allowed,
                 .flags = kRunsWhenNotReady | kRunsInEveryAccessState,
                 .cdb_usage = {0xA3, 0xEA, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0},
                 .admit = admit_report_groups,
                 .start = start_report_groups},
    CommandEntry{.name = "SET TARGET PORT GROUPS",
                 .opcode = 0xA4,
                 .service_action = 0x0A,
                 .cdb_bytes = 12,
                 .direction = DataDirection::out,
                 .reservation = ReservationClass::write,
                 .flags = kRunsWhenNotReady | kRunsInStandby | kRunsInUnavailable,
                 .cdb_usage = {0xA4, 0x0A, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0},
                 .admit = admit_set_groups,
                 .start = start_set_groups},
};

}  // namespace

std::span<const CommandEntry> spc_alua_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
