// WRITE SAME(10), WRITE SAME(16) and UNMAP. SBC-3 §5.43, §5.44, §5.28, §4.7.3.
#include <algorithm>
#include <cstring>

#include "scsi/sbc_common.h"

namespace itgtd::scsi {

namespace {

using namespace sbc;

constexpr uint8_t kAnchorBit = 0x10;
constexpr uint8_t kUnmapBit = 0x08;
constexpr uint8_t kNdobBit = 0x01;

// ---- WRITE SAME ----

/// Command::stage of WRITE SAME: what becomes of the range. Command::lba and blocks_left are what is left of
/// it.
enum WriteSameStage : uint32_t {
  kPattern,        ///< the block, repeated in scratch, is written step by step
  kZeroes,         ///< the block is zero
  kUnmapping,      ///< UNMAP allows to give the range back, which then reads as zeros
  kMakingDurable,  ///< all is done; with WCE off what was unmapped has yet to reach the medium
};

/// One Io of the work.
struct Piece {
  IoKind kind;
  uint64_t blocks;
};

/// The part of what is left that can be unmapped in one go, or what is not aligned to the granularity of the
/// medium and has to be written instead: after WRITE SAME the range reads as its data whichever it was.
/// SBC-3 §4.7.3.4.3.
Piece next_unmap_piece(const Command& command) {
  const Geometry& geometry = command.lu->geometry;
  const uint64_t granularity = std::max<uint64_t>(1, geometry.unmap_granularity_bytes / geometry.block_bytes);
  const uint64_t misaligned = command.lba % granularity;
  if (misaligned != 0) {
    return {IoKind::write_zeroes, std::min(granularity - misaligned, command.blocks_left)};
  }
  const uint64_t aligned = command.blocks_left - command.blocks_left % granularity;
  if (aligned != 0) return {IoKind::unmap, aligned};
  return {IoKind::write_zeroes, command.blocks_left};
}

Piece next_piece(const Command& command) {
  if (command.stage == kUnmapping) return next_unmap_piece(command);
  if (command.stage == kZeroes) return {IoKind::write_zeroes, command.blocks_left};
  const uint64_t step = command.phase.scratch_bytes / block_bytes(command);
  return {IoKind::write, std::min(step, command.blocks_left)};
}

Step next_write_same_step(Command& command) {
  if (command.blocks_left == 0) {
    if (command.stage != kUnmapping || !write_through(command)) return good();
    command.stage = kMakingDurable;
    return make_flush();
  }
  const Piece piece = next_piece(command);
  const BlockRange range{command.lba, piece.blocks};
  if (piece.kind == IoKind::unmap) return make_io(command, piece.kind, range);
  std::byte* data = piece.kind == IoKind::write ? command.scratch.data() : nullptr;
  return make_write(command, piece.kind, range, data, false);
}

/// NUMBER OF LOGICAL BLOCKS zero: to the end of the medium (WSNZ is zero). SBC-3 §5.43.
template <uint8_t kCdbBytes>
Admission admit_write_same(Command& command) {
  const uint8_t flags = command.cdb[1];
  if (const auto refused = check_protect(command)) return check_condition(*refused);
  // Anchored blocks do not exist here: ANC_SUP is zero. SBC-3 §5.43.
  if ((flags & kAnchorBit) != 0) return check_condition(sense::invalid_field_in_cdb(1, uint8_t{4}));
  if ((flags & kUnmapBit) != 0 && !command.lu->geometry.thin) {
    return check_condition(sense::invalid_field_in_cdb(1, uint8_t{3}));
  }
  BlockRange range = decode_range<kCdbBytes>(command);
  if (const auto refused = check_range(command, range)) return check_condition(*refused);
  if (range.blocks == 0) range.blocks = capacity(command) - range.lba;
  if (range.blocks == 0) return check_condition(sense::lba_out_of_range(range.lba));
  // SBC-3 §6.6, MAXIMUM WRITE SAME LENGTH.
  if (range.blocks > kWriteSameBlocksMax) {
    return check_condition(sense::invalid_field_in_cdb(kLengthByte<kCdbBytes>));
  }
  command.lba = range.lba;
  command.blocks_left = range.blocks;
  if (kCdbBytes == 16 && (flags & kNdobBit) != 0) return DataPhase{};
  const uint64_t bytes = range.blocks * block_bytes(command);
  const auto scratch_bytes = static_cast<uint32_t>(std::min<uint64_t>(bytes, kScratchBytesMax));
  return DataPhase{DataDirection::out, block_bytes(command), scratch_bytes};
}

bool all_zero(ConstBytes bytes) {
  return bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

template <uint8_t kCdbBytes>
Step start_write_same(Command& command) {
  // With NDOB, which leaves nothing to transfer, the block is zero.
  bool zero = true;
  if (command.phase.transfer_bytes != 0) {
    // One block, not less and not more, or it is not clear what to repeat.
    const uint32_t announced = std::max(command.data_out_bytes, command.expected_data_transfer_length);
    if (announced != block_bytes(command)) {
      return check_condition(sense::invalid_field_in_cdb(kLengthByte<kCdbBytes>));
    }
    zero = all_zero(command.data);
  }
  const Geometry& geometry = command.lu->geometry;
  // With UNMAP the range is given back whatever the block holds, as LIO, tgt, SCST and CTL do it and
  // initiators rely on it; docs/adr/0005.
  const bool unmap = (command.cdb[1] & kUnmapBit) != 0 && geometry.unmapped_reads_zero;
  if (!zero && !unmap) {
    command.stage = kPattern;
    for (size_t at = 0; at < command.phase.scratch_bytes; at += command.data.size()) {
      std::memcpy(command.scratch.data() + at, command.data.data(), command.data.size());
    }
  } else if (unmap) {
    command.stage = kUnmapping;
  } else {
    command.stage = kZeroes;
  }
  return next_write_same_step(command);
}

Step resume_write_same(Command& command, const IoResult& result) {
  if (command.stage == kMakingDurable) {
    if (!succeeded(result)) return io_failed(command, IoKind::flush, 0, result);
    return good();
  }
  const Piece piece = next_piece(command);
  const uint64_t moved = piece.kind == IoKind::write ? piece.blocks * block_bytes(command) : 0;
  if (!succeeded(result, moved)) return io_failed(command, piece.kind, command.lba, result);
  command.lba += piece.blocks;
  command.blocks_left -= piece.blocks;
  return next_write_same_step(command);
}

// ---- UNMAP ----

/// SBC-3 §5.28.2, UNMAP parameter list.
struct UnmapHeader {
  be16 unmap_data_length;
  be16 unmap_block_descriptor_data_length;
  uint8_t reserved[4] = {};
};
static_assert(sizeof(UnmapHeader) == 8 && WireStruct<UnmapHeader>);

/// SBC-3 §5.28.2, UNMAP block descriptor.
struct UnmapBlockDescriptor {
  be64 unmap_logical_block_address;
  be32 number_of_logical_blocks;
  uint8_t reserved[4] = {};
};
static_assert(sizeof(UnmapBlockDescriptor) == 16 && WireStruct<UnmapBlockDescriptor>);

/// Command::stage of UNMAP counts the descriptors that are done; beyond them all it waits for the flush that
/// makes them durable. blocks_left is how many descriptors there are.
constexpr uint32_t kUnmapFlushing = kUnmapDescriptorsMax + 1;

BlockRange unmap_descriptor(const Command& command, uint64_t index) {
  const auto at = sizeof(UnmapHeader) + index * sizeof(UnmapBlockDescriptor);
  const auto descriptor = load<UnmapBlockDescriptor>(command.data.subspan(at));
  return {descriptor.unmap_logical_block_address.get(), descriptor.number_of_logical_blocks.get()};
}

Admission admit_unmap(Command& command) {
  if (!command.lu->geometry.thin) return check_condition(sense::invalid_opcode());
  if ((command.cdb[1] & 0x01) != 0) return check_condition(sense::invalid_field_in_cdb(1, uint8_t{0}));
  const uint32_t list_bytes = cdb_u16(command, 7);
  // SBC-3 §5.28.1: no list is no error, a list without a whole header is one.
  if (list_bytes == 0) return DataPhase{};
  if (list_bytes < sizeof(UnmapHeader)) return check_condition(sense::parameter_list_length_error());
  return DataPhase{DataDirection::out, list_bytes, 0};
}

/// Checks the whole list before any of it is done. Sets blocks_left to the number of descriptors.
std::optional<Sense> check_unmap_list(Command& command) {
  const uint32_t list_bytes = command.phase.transfer_bytes;
  if (command.data_out_bytes < list_bytes) return sense::parameter_list_length_error();
  const auto header = load<UnmapHeader>(command.data);
  const size_t descriptor_bytes = header.unmap_block_descriptor_data_length.get();
  if (header.unmap_data_length.get() + sizeof(header.unmap_data_length) > list_bytes ||
      descriptor_bytes + sizeof(UnmapHeader) > list_bytes) {
    return sense::parameter_list_length_error();
  }
  // A last descriptor that is not whole is ignored. SBC-3 §5.28.2.
  const size_t count = descriptor_bytes / sizeof(UnmapBlockDescriptor);
  // SBC-3 §6.6, MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT and MAXIMUM UNMAP LBA COUNT.
  if (count > kUnmapDescriptorsMax) return sense::invalid_field_in_parameter_list(2);
  uint64_t blocks = 0;
  for (size_t i = 0; i < count; ++i) {
    const BlockRange range = unmap_descriptor(command, i);
    if (const auto refused = check_range(command, range)) return refused;
    blocks += range.blocks;
    if (blocks > kUnmapBlocksMax) {
      const size_t at = sizeof(UnmapHeader) + i * sizeof(UnmapBlockDescriptor) + sizeof(be64);
      return sense::invalid_field_in_parameter_list(static_cast<uint16_t>(at));
    }
  }
  command.blocks_left = count;
  return std::nullopt;
}

/// The next descriptor that names any block. A descriptor of none is no error. SBC-3 §5.28.2.
Step next_unmap_step(Command& command) {
  for (; command.stage < command.blocks_left; ++command.stage) {
    const BlockRange range = unmap_descriptor(command, command.stage);
    if (range.blocks == 0) continue;
    command.lba = range.lba;
    return make_io(command, IoKind::unmap, range);
  }
  // With WCE off GOOD means durable, for blocks that read as zeros now as for others.
  if (!write_through(command)) return good();
  command.stage = kUnmapFlushing;
  return make_flush();
}

Step start_unmap(Command& command) {
  if (command.phase.transfer_bytes == 0) return good();
  if (const auto refused = check_unmap_list(command)) return check_condition(*refused);
  command.stage = 0;
  return next_unmap_step(command);
}

Step resume_unmap(Command& command, const IoResult& result) {
  const bool flushing = command.stage == kUnmapFlushing;
  if (!succeeded(result)) {
    return io_failed(command, flushing ? IoKind::flush : IoKind::unmap, command.lba, result);
  }
  if (flushing) return good();
  ++command.stage;
  return next_unmap_step(command);
}

constexpr auto kOut = DataDirection::out;
constexpr auto kWrite = ReservationClass::write;

// WRITE SAME, byte 1: WRPROTECT, ANCHOR, UNMAP, NDOB (16 only); PBDATA and LBDATA are obsolete. UNMAP:
// ANCHOR.
// clang-format off
constexpr CommandEntry kCommands[] = {
    {"WRITE SAME(10)", 0x41, kNoServiceAction, 10, kOut, kWrite, kWritesMedium,
     {0x41, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0xFF, 0xFF, 0x00},
     admit_write_same<10>, start_write_same<10>, resume_write_same},
    {"WRITE SAME(16)", 0x93, kNoServiceAction, 16, kOut, kWrite, kWritesMedium,
     {0x93, 0xF9, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     admit_write_same<16>, start_write_same<16>, resume_write_same},
    {"UNMAP", 0x42, kNoServiceAction, 10, kOut, kWrite, kWritesMedium | kThinOnly,
     {0x42, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00},
     admit_unmap, start_unmap, resume_unmap},
};
// clang-format on

}  // namespace

std::span<const CommandEntry> sbc_provisioning_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
