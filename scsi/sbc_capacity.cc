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

// ---- GET LBA STATUS, SBC-3 §5.4 ----
//
// The answer is made in scratch, descriptor by descriptor, as the medium tells how it holds one stretch after
// the other. Command::lba is where the next one begins, stage how many descriptors there are, blocks_left how
// often the medium may still be asked.

struct LbaStatusHeader {
  be32 parameter_data_length;
  uint8_t reserved[4] = {};
};
static_assert(sizeof(LbaStatusHeader) == 8 && WireStruct<LbaStatusHeader>);

struct LbaStatusDescriptor {
  be64 lba_status_logical_block_address;
  be32 number_of_logical_blocks;
  uint8_t provisioning_status = 0;
  uint8_t reserved[3] = {};
};
static_assert(sizeof(LbaStatusDescriptor) == 16 && WireStruct<LbaStatusDescriptor>);

// SBC-3 §5.4.2, PROVISIONING STATUS.
constexpr uint8_t kMappedOrUnknown = 0;
constexpr uint8_t kDeallocated = 1;
/// Of one answer: bounds its memory and its time.
constexpr uint32_t kLbaStatusDescriptorsMax = 255;

uint32_t lba_status_descriptors(uint32_t allocation_length) {
  if (allocation_length < sizeof(LbaStatusHeader)) return 1;
  const size_t room = (allocation_length - sizeof(LbaStatusHeader)) / sizeof(LbaStatusDescriptor);
  return static_cast<uint32_t>(std::clamp<size_t>(room, 1, kLbaStatusDescriptorsMax));
}

Admission admit_get_lba_status(Command& command) {
  const uint64_t lba = cdb_u64(command, 2);
  if (lba >= capacity(command)) return check_condition(sense::lba_out_of_range(lba));
  const uint32_t descriptors = lba_status_descriptors(cdb_u32(command, 10));
  const size_t answer_bytes = sizeof(LbaStatusHeader) + descriptors * sizeof(LbaStatusDescriptor);
  command.lba = lba;
  command.stage = 0;
  command.blocks_left = 2 * descriptors;
  DataPhase phase = parameter_data_in(cdb_u32(command, 10));
  phase.scratch_bytes = static_cast<uint32_t>(answer_bytes);
  return phase;
}

Bytes lba_status_area(const Command& command, uint32_t index) {
  return command.scratch.subspan(sizeof(LbaStatusHeader) + index * sizeof(LbaStatusDescriptor),
                                 sizeof(LbaStatusDescriptor));
}

/// True exactly when there is no room for more.
bool add_lba_status(Command& command, uint64_t blocks, uint8_t status) {
  constexpr uint64_t kBlocksMax = std::numeric_limits<uint32_t>::max();
  while (blocks > 0) {
    LbaStatusDescriptor last;
    if (command.stage > 0) last = load<LbaStatusDescriptor>(lba_status_area(command, command.stage - 1));
    const uint64_t there = last.number_of_logical_blocks.get();
    if (command.stage == 0 || last.provisioning_status != status || there == kBlocksMax) {
      if (lba_status_area(command, 0).size() * (command.stage + 1) + sizeof(LbaStatusHeader) >
          command.scratch.size()) {
        return true;
      }
      last = {be64(command.lba), be32(0), status};
      ++command.stage;
    }
    const uint64_t room = kBlocksMax - last.number_of_logical_blocks.get();
    const uint64_t part = std::min(blocks, room);
    last.number_of_logical_blocks.set(static_cast<uint32_t>(last.number_of_logical_blocks.get() + part));
    store(lba_status_area(command, command.stage - 1), last);
    command.lba += part;
    blocks -= part;
  }
  return false;
}

Done send_lba_status(Command& command) {
  const size_t answer_bytes = sizeof(LbaStatusHeader) + command.stage * sizeof(LbaStatusDescriptor);
  LbaStatusHeader header;
  header.parameter_data_length.set(
      static_cast<uint32_t>(answer_bytes - sizeof(header.parameter_data_length)));
  store(command.scratch, header);
  const size_t bytes = std::min(answer_bytes, command.data.size());
  std::copy_n(command.scratch.begin(), bytes, command.data.begin());
  return good(static_cast<uint32_t>(bytes));
}

Step next_lba_status_step(Command& command) {
  const uint64_t end = capacity(command);
  if (command.lba >= end || command.blocks_left == 0) return send_lba_status(command);
  --command.blocks_left;
  return make_io(command, IoKind::extent, {command.lba, end - command.lba});
}

Step start_get_lba_status(Command& command) {
  if (command.lu->geometry.thin) return next_lba_status_step(command);
  // SBC-3 §4.7: of a fully provisioned unit every block is mapped.
  add_lba_status(command, capacity(command) - command.lba, kMappedOrUnknown);
  return send_lba_status(command);
}

Step resume_get_lba_status(Command& command, const IoResult& result) {
  const uint64_t end = capacity(command);
  const uint64_t blocks = result.bytes_done / block_bytes(command);
  if (!succeeded(result) || blocks == 0) return io_failed(command, IoKind::extent, command.lba, result);
  const uint64_t left = end - std::min(command.lba, end);
  if (add_lba_status(command, std::min(blocks, left), result.mapped ? kMappedOrUnknown : kDeallocated)) {
    return send_lba_status(command);
  }
  return next_lba_status_step(command);
}

constexpr auto kIn = DataDirection::in;
constexpr auto kQuery = ReservationClass::query;
constexpr auto kRead = ReservationClass::read;

// clang-format off
constexpr CommandEntry kCommands[] = {
    {"READ CAPACITY(10)", 0x25, kNoServiceAction, 10, kIn, kQuery, kRunsInStandby,
     {0x25, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x01, 0x00},
     admit_read_capacity10, start_read_capacity10, nullptr},
    {"GET LBA STATUS", 0x9E, 0x12, 16, kIn, kRead, kFlagNone,
     {0x9E, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     admit_get_lba_status, start_get_lba_status, resume_get_lba_status},
    {"READ CAPACITY(16)", 0x9E, 0x10, 16, kIn, kQuery, kRunsInStandby,
     {0x9E, 0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, 0x00},
     admit_read_capacity16, start_read_capacity16, nullptr},
};
// clang-format on

}  // namespace

std::span<const CommandEntry> sbc_capacity_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
