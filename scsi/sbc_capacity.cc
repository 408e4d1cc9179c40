// READ CAPACITY(10) and (16), GET LBA STATUS. SBC-3 §5.15, §5.16, §5.4.
#include <algorithm>
#include <cstring>
#include <limits>

#include "scsi/cdb.h"
#include "scsi/parameter_data.h"
#include "scsi/sbc_common.h"

namespace itgtd::scsi {

namespace {

using namespace sbc;

/// SBC-3 §5.15.2.
struct ReadCapacity10Data {
  be32 returned_logical_block_address;
  be32 block_length_in_bytes;
};
static_assert(sizeof(ReadCapacity10Data) == 8 && WireStruct<ReadCapacity10Data>);

/// SBC-3 §5.16.2.
struct ReadCapacity16Data {
  be64 returned_logical_block_address;
  be32 block_length_in_bytes;
  uint8_t protection = 0;  ///< P_TYPE, PROT_EN: no protection information
  uint8_t exponents = 0;   ///< P_I_EXPONENT, LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT
  be16 provisioning;       ///< LBPME, LBPRZ, LOWEST ALIGNED LOGICAL BLOCK ADDRESS
  uint8_t reserved[16] = {};
};
static_assert(sizeof(ReadCapacity16Data) == 32 && WireStruct<ReadCapacity16Data>);

constexpr uint16_t kLbpme = 0x8000;
constexpr uint16_t kLbprz = 0x4000;
constexpr uint16_t kLowestAlignedLbaMax = 0x3FFF;

/// LOGICAL BLOCK ADDRESS and PMI are obsolete in SBC-3. They are still understood as SBC-2 has them: an
/// address without PMI is an error, and with it the answer is the last block of the medium, because no
/// address is slower than the one before it.
std::optional<Sense> check_partial_medium(const Command& command, uint64_t lba, uint16_t pmi_byte) {
  if (lba != 0 && (command.cdb[pmi_byte] & 0x01) == 0) return sense::invalid_field_in_cdb(2);
  return std::nullopt;
}

Admission admit_read_capacity10(Command& command) {
  if (const auto refused = check_partial_medium(command, cdb_u32(command, 2), 8)) {
    return check_condition(*refused);
  }
  return DataPhase{DataDirection::in, sizeof(ReadCapacity10Data), 0};
}

Admission admit_read_capacity16(Command& command) {
  if (const auto refused = check_partial_medium(command, cdb_u64(command, 2), 14)) {
    return check_condition(*refused);
  }
  // SPC-4 §4.2.5.6: the answer is cut at ALLOCATION LENGTH, and zero is not an error.
  const uint32_t allocation_length = cdb_u32(command, 10);
  const uint32_t bytes = std::min(allocation_length, uint32_t{sizeof(ReadCapacity16Data)});
  return DataPhase{bytes == 0 ? DataDirection::none : DataDirection::in, bytes, 0};
}

/// A medium without a single block has no last one: there is nothing true to answer.
std::optional<Sense> check_not_empty(const Command& command) {
  if (capacity(command) == 0) return sense::not_ready(Asc::manual_intervention_required);
  return std::nullopt;
}

Step start_read_capacity10(Command& command) {
  if (const auto refused = check_not_empty(command)) return check_condition(*refused);
  // SBC-3 §5.15.2: FFFFFFFFh tells the initiator to ask with READ CAPACITY(16).
  constexpr uint64_t kUseReadCapacity16 = std::numeric_limits<uint32_t>::max();
  ReadCapacity10Data answer;
  answer.returned_logical_block_address.set(
      static_cast<uint32_t>(std::min(capacity(command) - 1, kUseReadCapacity16)));
  answer.block_length_in_bytes.set(block_bytes(command));
  store(command.data, answer);
  return good(sizeof(answer));
}

Step start_read_capacity16(Command& command) {
  if (const auto refused = check_not_empty(command)) return check_condition(*refused);
  const Geometry& geometry = command.lu->geometry;
  ReadCapacity16Data answer;
  answer.returned_logical_block_address.set(capacity(command) - 1);
  answer.block_length_in_bytes.set(geometry.block_bytes);
  answer.exponents = geometry.physical_block_exponent & 0x0F;
  uint16_t provisioning = std::min(geometry.lowest_aligned_lba, kLowestAlignedLbaMax);
  if (geometry.thin) provisioning |= kLbpme;
  // SBC-3 §5.16.2: LBPRZ has a meaning only when LBPME is one.
  if (geometry.thin && geometry.unmapped_reads_zero) provisioning |= kLbprz;
  answer.provisioning.set(provisioning);

  const uint32_t bytes = command.phase.transfer_bytes;
  if (bytes != 0) std::memcpy(command.data.data(), bytes_of(answer).data(), bytes);
  return good(bytes);
}

/// SBC-3 §5.4. Every block is reported as mapped, which also stands for "not known" (table 14 there): the
/// medium's holes are not looked up. QEMU 7.2 aborts on a thin disk of 4096-byte blocks that does not know
/// the command.
Admission admit_get_lba_status(Command& command) {
  const uint64_t lba = cdb_u64(command, 2);
  if (lba >= capacity(command)) return check_condition(sense::lba_out_of_range(lba));
  return parameter_data_in(cdb_u32(command, 10));
}

Step start_get_lba_status(Command& command) {
  const uint64_t lba = cdb_u64(command, 2);
  const uint64_t blocks = std::min<uint64_t>(capacity(command) - lba, std::numeric_limits<uint32_t>::max());
  ParameterData data;
  data.u32(4 + 16);  // PARAMETER DATA LENGTH: what follows it, with one descriptor
  data.u32(0);
  data.u64(lba);
  data.u32(static_cast<uint32_t>(blocks));
  data.u32(0);  // PROVISIONING STATUS 0h: mapped or unknown
  return data.send(command);
}

constexpr auto kIn = DataDirection::in;
constexpr auto kQuery = ReservationClass::query;

// clang-format off
constexpr CommandEntry kCommands[] = {
    {"READ CAPACITY(10)", 0x25, kNoServiceAction, 10, kIn, kQuery, kFlagNone,
     {0x25, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x01, 0x00},
     admit_read_capacity10, start_read_capacity10, nullptr},
    {"GET LBA STATUS", 0x9E, 0x12, 16, kIn, kQuery, kFlagNone,
     {0x9E, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     admit_get_lba_status, start_get_lba_status, nullptr},
    {"READ CAPACITY(16)", 0x9E, 0x10, 16, kIn, kQuery, kFlagNone,
     {0x9E, 0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, 0x00},
     admit_read_capacity16, start_read_capacity16, nullptr},
};
// clang-format on

}  // namespace

std::span<const CommandEntry> sbc_capacity_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
