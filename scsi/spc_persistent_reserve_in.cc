// PERSISTENT RESERVE IN: who is registered with the logical unit, and what is reserved. SPC-4 §6.13.
#include <algorithm>
#include <array>

#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/dispatch.h"
#include "scsi/logical_unit.h"
#include "scsi/long_parameter_data.h"
#include "scsi/persistent_reservations.h"
#include "scsi/transport_id.h"

namespace itgtd::scsi {
namespace {

constexpr size_t kLengthAt = 4;
constexpr size_t kHeaderBytes = 8;

Admission admit_in(Command& command) {
  // All 16 bits of it: an answer with every registrant may be that long.
  return DataPhase{DataDirection::in, cdb_u16(command, 7), 0};
}

/// SPC-2 §5.5.1: while the logical unit is reserved by a RESERVE all of PERSISTENT RESERVE conflicts, whoever
/// asks. Dispatch has refused the others.
template <Start* kStart>
Step start_in(Command& command) {
  if (command.lu->state->reserved_by != 0) return Done{Status::reservation_conflict, {}, 0};
  return kStart(command);
}

const PersistentReservations* reservations_of(const Command& command) {
  return command.lu->state->reservations.get();
}

/// PRGENERATION, and ADDITIONAL LENGTH to be set by send_counted().
LongParameterData begin(const Command& command, const PersistentReservations* reservations) {
  LongParameterData data(command);
  data.u32(reservations == nullptr ? 0 : reservations->generation);
  data.u32(0);
  return data;
}

Done send_counted(LongParameterData& data) {
  data.set_u32(kLengthAt, static_cast<uint32_t>(data.size() - kHeaderBytes));
  return data.send();
}

Step read_keys(Command& command) {
  const PersistentReservations* reservations = reservations_of(command);
  LongParameterData data = begin(command, reservations);
  if (reservations != nullptr) {
    for (const Registrant& registrant : reservations->registrants) data.u64(registrant.key);
  }
  return send_counted(data);
}

/// SCOPE is always LU_SCOPE, 0.
uint8_t scope_and_type(const PersistentReservations& reservations) {
  return static_cast<uint8_t>(*reservations.type);
}

Step read_reservation(Command& command) {
  const PersistentReservations* reservations = reservations_of(command);
  LongParameterData data = begin(command, reservations);
  if (reservations != nullptr && reservations->type) {
    // SPC-4 §5.12, Reporting the persistent reservation: no key where every registrant holds it.
    const bool one_holder = !is_all_registrants(*reservations->type);
    data.u64(one_holder ? reservations->registrants[reservations->holder].key : 0);
    data.zeros(5);
    data.u8(scope_and_type(*reservations));
    data.zeros(2);
  }
  return send_counted(data);
}

/// True exactly when the table has `opcode`, and none of its rows is of a class in which it would conflict.
template <typename Conflicts>
bool all_rows(std::span<const uint8_t> opcodes, const Conflicts& conflicts) {
  return std::ranges::none_of(all_commands(), [&](const CommandEntry* entry) {
    return std::ranges::find(opcodes, entry->opcode) != opcodes.end() && conflicts(entry->reservation);
  });
}

/// ALLOW COMMANDS as the rows of the command table have it. SPC-4, REPORT CAPABILITIES, ALLOW COMMANDS field.
uint8_t allow_commands() {
  constexpr std::array<uint8_t, 1> kTestUnitReady = {0x00};
  constexpr std::array<uint8_t, 1> kReceiveCopyResults = {0x84};
  // MODE SENSE, READ ATTRIBUTE, READ BUFFER, RECEIVE DIAGNOSTIC RESULTS, READ DEFECT DATA; and REPORT
  // SUPPORTED OPERATION CODES with its sibling, which are service actions of MAINTENANCE IN.
  constexpr std::array<uint8_t, 8> kReadersOfState = {0x1A, 0x5A, 0x8C, 0x3C, 0x1C, 0x37, 0xB7, 0xA3};
  const auto conflicts_with_any = [](ReservationClass reservation) {
    return reservation == ReservationClass::read || reservation == ReservationClass::write;
  };
  const auto conflicts_with_write_exclusive = [](ReservationClass reservation) {
    return reservation == ReservationClass::write;
  };
  if (!all_rows(kTestUnitReady, conflicts_with_any)) return 0;
  if (!all_rows(kReadersOfState, conflicts_with_write_exclusive)) return 1;
  return all_rows(kReceiveCopyResults, conflicts_with_any) ? 4 : 3;
}

Step report_capabilities(Command& command) {
  constexpr uint8_t kCompatibleHandling = 0x10;     // CRH
  constexpr uint8_t kSpecifyPortsCapable = 0x08;    // SIP_C
  constexpr uint8_t kAllTargetPortsCapable = 0x04;  // ATP_C
  constexpr uint8_t kPersistCapable = 0x01;         // PTPL_C
  constexpr uint8_t kTypeMaskValid = 0x80;          // TMV
  constexpr uint8_t kPersistActive = 0x01;          // PTPL_A
  constexpr uint16_t kAllTypes = 0xEA01;
  const PersistentReservations* reservations = reservations_of(command);
  const bool persists = reservations != nullptr && reservations->persist;
  LongParameterData data(command);
  data.u16(8);
  data.u8(static_cast<uint8_t>(kCompatibleHandling | kSpecifyPortsCapable | kAllTargetPortsCapable |
                               (command.lu->keeps_reservations ? kPersistCapable : 0)));
  data.u8(static_cast<uint8_t>(kTypeMaskValid | allow_commands() << 4 | (persists ? kPersistActive : 0)));
  data.u16(kAllTypes);
  data.zeros(2);
  return data.send();
}

void full_status_descriptor(const PersistentReservations& reservations, uint32_t index,
                            LongParameterData& data) {
  constexpr uint8_t kAllTargetPorts = 0x02;  // ALL_TG_PT
  constexpr uint8_t kHolder = 0x01;          // R_HOLDER
  const Registrant& registrant = reservations.registrants[index];
  const bool holder = is_holder(reservations, index);
  data.u64(registrant.key);
  data.zeros(4);
  data.u8(static_cast<uint8_t>((registrant.all_target_ports ? kAllTargetPorts : 0) | (holder ? kHolder : 0)));
  data.u8(holder ? scope_and_type(reservations) : 0);
  data.zeros(4);
  data.u16(registrant.all_target_ports ? 0 : registrant.relative_target_port);
  const size_t id_bytes = transport_id_bytes(registrant.port);
  data.u32(static_cast<uint32_t>(id_bytes));
  std::array<std::byte, kTransportIdBytesMax> id;
  write_transport_id(registrant.port, id);
  data.bytes(ConstBytes(id).first(id_bytes));
}

Step read_full_status(Command& command) {
  const PersistentReservations* reservations = reservations_of(command);
  LongParameterData data = begin(command, reservations);
  if (reservations != nullptr) {
    for (uint32_t i = 0; i < reservations->registrants.size(); ++i) {
      full_status_descriptor(*reservations, i, data);
    }
  }
  return send_counted(data);
}

constexpr CommandEntry row(std::string_view name, uint8_t service_action, Start* start) {
  return {.name = name,
          .opcode = 0x5E,
          .service_action = service_action,
          .cdb_bytes = 10,
          .direction = DataDirection::in,
          .reservation = ReservationClass::query,
          .flags = kRunsWhenNotReady | kRunsInStandby,
          .cdb_usage = {0x5E, service_action, 0, 0, 0, 0, 0, 0xFF, 0xFF},
          .admit = admit_in,
          .start = start};
}

constexpr std::array kCommands = {
    row("PERSISTENT RESERVE IN, READ KEYS", 0x00, start_in<read_keys>),
    row("PERSISTENT RESERVE IN, READ RESERVATION", 0x01, start_in<read_reservation>),
    row("PERSISTENT RESERVE IN, REPORT CAPABILITIES", 0x02, start_in<report_capabilities>),
    row("PERSISTENT RESERVE IN, READ FULL STATUS", 0x03, start_in<read_full_status>),
};

}  // namespace

std::span<const CommandEntry> spc_persistent_reserve_in_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
