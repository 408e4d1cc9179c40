// EXTENDED COPY(LID1): blocks are copied from one logical unit to another, or within one, without going
// through the initiator. SPC-4, EXTENDED COPY(LID1) command; SPC-3 §6.3.
//
// What a descriptor names is looked up among the logical units that this nexus sees, and nowhere else: to
// copy is to read and to write.
//
// The whole list is checked before anything is copied, but what is wrong with a segment (its unit is not
// there, its blocks are not) is told when the segments before it are done: COPY ABORTED with the number of a
// segment means that those before it are copied.
#include <algorithm>
#include <array>
#include <optional>

#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/copy_list.h"
#include "scsi/copy_plan.h"
#include "scsi/nexus.h"

namespace itgtd::scsi {
namespace {

constexpr size_t kHeaderBytes = sizeof(ExtendedCopyHeader);
constexpr uint32_t kListBytesMax = kHeaderBytes + kCopyDescriptorListBytesMax;

static_assert(kCopySegmentsMax <= kCopyExtentsMax);

Admission admit_extended_copy(Command& command) {
  const uint32_t list_bytes = cdb_u32(command, 10);
  // SPC-4: no list is no error.
  if (list_bytes == 0) return DataPhase{};
  if (list_bytes < kHeaderBytes || list_bytes > kListBytesMax) {
    return check_condition(sense::parameter_list_length_error());
  }
  return DataPhase{DataDirection::out, list_bytes, kScratchBytesMax};
}

// ---- The list ----

/// Where the parts of the list are. All of it is there.
struct CopyList {
  ExtendedCopyHeader header;
  uint16_t cscds = 0;
  uint16_t segments = 0;

  [[nodiscard]] ListIdUsage list_id_usage() const {
    return static_cast<ListIdUsage>((header.flags >> 3) & 0x03);
  }
  [[nodiscard]] size_t cscd_at(size_t index) const { return kHeaderBytes + index * sizeof(CscdDescriptor); }
  /// Only segments of one length are supported.
  [[nodiscard]] size_t segment_at(size_t index) const {
    return cscd_at(cscds) + index * sizeof(BlockToBlockSegment);
  }
};

Sense invalid_field(size_t byte) {
  return sense::invalid_field_in_parameter_list(static_cast<uint16_t>(byte));
}
Sense invalid_bit(size_t byte, uint8_t bit) {
  return sense::invalid_field_in_parameter_list(static_cast<uint16_t>(byte), bit);
}

/// The lengths in the header against each other, the limits and what came.
std::optional<Sense> check_header(const Command& command, const CopyList& list) {
  const uint64_t cscd_bytes = list.header.cscd_descriptor_list_length.get();
  const uint64_t segment_bytes = list.header.segment_descriptor_list_length.get();
  const uint64_t inline_bytes = list.header.inline_data_length.get();
  // SPC-4: more than MAXIMUM DESCRIPTOR LIST LENGTH, or a list that ends before what its header announces.
  if (cscd_bytes + segment_bytes > kCopyDescriptorListBytesMax ||
      kHeaderBytes + cscd_bytes + segment_bytes + inline_bytes > command.phase.transfer_bytes) {
    return sense::parameter_list_length_error();
  }
  // MAXIMUM INLINE DATA LENGTH is zero.
  if (inline_bytes != 0) return sense::refused_descriptor(Asc::inline_data_length_exceeded, 12);
  if (cscd_bytes % sizeof(CscdDescriptor) != 0) return invalid_field(2);
  if (cscd_bytes / sizeof(CscdDescriptor) > kCopyTargetsMax) {
    return sense::refused_descriptor(Asc::too_many_target_descriptors, 2);
  }
  if (list.list_id_usage() == ListIdUsage::reserved) return invalid_bit(1, 4);
  if (list.list_id_usage() == ListIdUsage::none && list.header.list_identifier != 0) return invalid_field(0);
  return std::nullopt;
}

std::optional<Sense> check_cscd(const Command& command, size_t at) {
  const auto cscd = load<CscdDescriptor>(command.data.subspan(at));
  if (cscd.descriptor_type_code != kIdentificationDescriptor) {
    return sense::refused_descriptor(Asc::unsupported_target_descriptor_type_code, static_cast<uint16_t>(at));
  }
  // SPC-4, identification descriptor CSCD descriptor: it has no logical unit identifier, and LU ID TYPE is
  // ignored.
  if (cscd.designator_length > sizeof(cscd.designator)) return invalid_field(at + 7);
  return std::nullopt;
}

/// Walks the segment descriptors, which tell their own lengths, and counts them.
std::optional<Sense> check_segments(const Command& command, CopyList& list) {
  size_t at = list.cscd_at(list.cscds);
  const size_t end = at + list.header.segment_descriptor_list_length.get();
  while (at != end) {
    if (end - at < sizeof(SegmentHeader)) return invalid_field(8);
    const auto header = load<SegmentHeader>(command.data.subspan(at));
    if (list.segments == kCopySegmentsMax) {
      return sense::refused_descriptor(Asc::too_many_segment_descriptors, static_cast<uint16_t>(at));
    }
    if (header.descriptor_type_code != kBlockToBlock) {
      return sense::refused_descriptor(Asc::unsupported_segment_descriptor_type_code,
                                       static_cast<uint16_t>(at));
    }
    const size_t bytes = sizeof(header) + header.descriptor_length.get();
    if (bytes != sizeof(BlockToBlockSegment)) return invalid_field(at + 2);
    if (end - at < bytes) return invalid_field(8);
    ++list.segments;
    at += bytes;
  }
  return std::nullopt;
}

std::optional<Sense> check_list(const Command& command, CopyList& list) {
  if (command.data_out_bytes < command.phase.transfer_bytes) return sense::parameter_list_length_error();
  list.header = load<ExtendedCopyHeader>(command.data);
  if (const auto refused = check_header(command, list)) return refused;
  list.cscds = static_cast<uint16_t>(list.header.cscd_descriptor_list_length.get() / sizeof(CscdDescriptor));
  for (size_t i = 0; i < list.cscds; ++i) {
    if (const auto refused = check_cscd(command, list.cscd_at(i))) return refused;
  }
  return check_segments(command, list);
}

// ---- The plan ----

/// What a CSCD descriptor ID stands for: a unit, or why there is none.
struct Cscd {
  const LogicalUnit* lu = nullptr;
  Asc failure = Asc::none;
};

Cscd resolve(const Command& command, const CopyList& list, uint16_t id) {
  constexpr uint8_t kNul = 0x20;
  constexpr uint8_t kDeviceType = 0x1F;
  constexpr uint8_t kBlockDevice = 0x00;
  if (id == kCscdOfThisUnit) return {command.lu, Asc::none};
  if (id >= list.cscds) return {nullptr, Asc::unreachable_copy_target};
  const auto cscd = load<CscdDescriptor>(command.data.subspan(list.cscd_at(id)));
  // SPC-4: nothing can be sent to a null device.
  if ((cscd.device & kNul) != 0) return {nullptr, Asc::unreachable_copy_target};
  if ((cscd.device & kDeviceType) != kBlockDevice) return {nullptr, Asc::incorrect_copy_target_device_type};
  for (const LogicalUnit* lu : command.nexus->luns().units) {
    if (lu != nullptr && names(cscd, *lu)) return {lu, Asc::none};
  }
  return {nullptr, Asc::copy_target_device_not_reachable};
}

/// DISK BLOCK LENGTH against the unit that was found; zero leaves it open.
std::optional<Sense> check_block_lengths(const Command& command, const CopyList& list) {
  for (uint16_t i = 0; i < list.cscds; ++i) {
    const size_t at = list.cscd_at(i);
    const uint32_t said = load<CscdDescriptor>(command.data.subspan(at)).disk_block_length.get();
    const Cscd cscd = resolve(command, list, i);
    if (cscd.lu != nullptr && said != 0 && said != cscd.lu->geometry.block_bytes)
      return invalid_field(at + 29);
  }
  return std::nullopt;
}

/// Why a segment can't be copied: `field` is where its descriptor is at fault.
struct SegmentFault {
  Asc asc = Asc::none;
  uint16_t field = 0;
};

bool is_on_medium(const LogicalUnit& lu, uint64_t lba, uint64_t blocks) {
  const uint64_t capacity = lu.state->block_count;
  return lba <= capacity && blocks <= capacity - lba;
}

/// Adds the extent of a segment to the plan. DC, CAT and PAD say what to do when blocks differ in length, and
/// those that do are not copied.
std::optional<SegmentFault> plan_segment(Command& command, const CopyList& list,
                                         const BlockToBlockSegment& segment) {
  CopyPlan& plan = copy_plan(command);
  const Cscd source = resolve(command, list, segment.source_cscd_descriptor_id.get());
  if (source.lu == nullptr) return SegmentFault{source.failure, 4};
  const Cscd destination = resolve(command, list, segment.destination_cscd_descriptor_id.get());
  if (destination.lu == nullptr) return SegmentFault{destination.failure, 6};
  const uint32_t block_bytes = source.lu->geometry.block_bytes;
  const bool first = plan.extents_count == 0;
  if (block_bytes != destination.lu->geometry.block_bytes ||
      (!first && block_bytes != plan.block_bytes.get())) {
    return SegmentFault{Asc::unexpected_inexact_segment, 6};
  }
  const uint64_t source_lba = segment.source_block_device_logical_block_address.get();
  const uint64_t destination_lba = segment.destination_block_device_logical_block_address.get();
  const uint16_t blocks = segment.block_device_number_of_blocks.get();
  if (!is_on_medium(*source.lu, source_lba, blocks)) return SegmentFault{Asc::none, 12};
  if (!is_on_medium(*destination.lu, destination_lba, blocks)) return SegmentFault{Asc::none, 20};

  plan.block_bytes.set(block_bytes);
  CopyExtent extent;
  extent.source = plan_unit(plan, *source.lu);
  extent.destination = plan_unit(plan, *destination.lu);
  extent.blocks.set(blocks);
  extent.source_lba.set(source_lba);
  extent.destination_lba.set(destination_lba);
  plan_extent(plan, extent);
  return std::nullopt;
}

/// MAXIMUM SEGMENT LENGTH, in bytes of the source.
std::optional<Sense> check_segment_length(const Command& command, const CopyList& list, size_t at) {
  const auto segment = load<BlockToBlockSegment>(command.data.subspan(at));
  const Cscd source = resolve(command, list, segment.source_cscd_descriptor_id.get());
  if (source.lu == nullptr) return std::nullopt;
  const uint64_t blocks = segment.block_device_number_of_blocks.get();
  if (blocks * source.lu->geometry.block_bytes > kCopySegmentBytesMax) return invalid_field(at + 10);
  return std::nullopt;
}

/// Plans all segments up to the first that can't be copied.
std::optional<Sense> make_plan(Command& command, const CopyList& list) {
  if (const auto refused = check_block_lengths(command, list)) return refused;
  for (size_t i = 0; i < list.segments; ++i) {
    if (const auto refused = check_segment_length(command, list, list.segment_at(i))) return refused;
  }
  begin_plan(command);
  for (size_t i = 0; i < list.segments; ++i) {
    const auto segment = load<BlockToBlockSegment>(command.data.subspan(list.segment_at(i)));
    if (const auto fault = plan_segment(command, list, segment)) {
      CopyPlan& plan = copy_plan(command);
      plan.fails = 1;
      plan.failed_asc.set(static_cast<uint16_t>(fault->asc));
      plan.failed_field.set(fault->field);
      break;
    }
  }
  return std::nullopt;
}

// ---- The command ----

/// Each extent is one segment, so the plan tells which segment the copy stopped at.
Done done_of(const CopyPlan& plan, const CopyEnded& ended) {
  if (ended.failure) return check_condition(sense::copy_aborted(ended.asc, plan.extent));
  if (plan.fails == 0) return good();
  const auto asc = static_cast<Asc>(plan.failed_asc.get());
  return check_condition(sense::copy_aborted(asc, plan.extent, plan.failed_field.get()));
}

Step step_of(Command& command, const CopyStep& step) {
  if (const Io* io = std::get_if<Io>(&step)) return *io;
  if (const Update* update = std::get_if<Update>(&step)) return *update;
  if (const Claim* claim = std::get_if<Claim>(&step)) return *claim;
  const CopyPlan& plan = copy_plan(command);
  const Done done = done_of(plan, std::get<CopyEnded>(step));
  command.nexus->copies().end(plan.ticket.get(), done);
  return_home(command);
  return done;
}

Step start_extended_copy(Command& command) {
  if (command.phase.transfer_bytes == 0) return good();
  CopyList list;
  if (const auto refused = check_list(command, list)) return check_condition(*refused);
  if (const auto refused = make_plan(command, list)) return check_condition(*refused);
  if (list.list_id_usage() != ListIdUsage::none) {
    const CopyName name{command.lu->key, true, list.header.list_identifier};
    const auto begun = command.nexus->copies().begin(name, CopyCommand::extended_copy_lid1);
    if (begun.refused) return *begun.refused;
    copy_plan(command).ticket.set(begun.ticket);
  }
  return step_of(command, copy_next(command));
}

Step resume_extended_copy(Command& command, const IoResult& result) {
  return step_of(command, on_copied(command, result));
}

constexpr std::array kCommands = {
    // The unit that it is sent to need not be one that is written: a destination that is protected is found
    // when it is written.
    CommandEntry{.name = "EXTENDED COPY(LID1)",
                 .opcode = 0x83,
                 .service_action = 0x00,
                 .cdb_bytes = 16,
                 .direction = DataDirection::out,
                 .reservation = ReservationClass::write,
                 .flags = kClaims,
                 .cdb_usage = {0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0},
                 .admit = admit_extended_copy,
                 .start = start_extended_copy,
                 .resume = resume_extended_copy,
                 .aborted = end_aborted_copy},
};

}  // namespace

std::span<const CommandEntry> spc_copy_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
