#include "scsi/copy_plan.h"

#include <algorithm>

#include "base/assert.h"
#include "scsi/dispatch.h"
#include "scsi/nexus.h"
#include "scsi/sbc_common.h"

namespace itgtd::scsi {
namespace {

/// Zeros take no memory, but other commands wait for the blocks.
constexpr uint32_t kZerosChunkBytes = uint32_t{8} << 20;

struct Chunk {
  uint64_t source_lba = 0;
  uint64_t destination_lba = 0;
  uint64_t blocks = 0;
};

const CopyExtent& present_extent(const CopyPlan& plan) {
  return plan.extents[plan.extent];
}

/// True exactly when the extent has to be copied from its end, or it would overwrite what it has yet to read.
bool is_backward(const CopyExtent& extent) {
  const uint64_t from = extent.source_lba.get();
  const uint64_t to = extent.destination_lba.get();
  return extent.source == extent.destination && to > from && to - from < extent.blocks.get();
}

/// The blocks that the present steps are about. There is something left to do.
Chunk present_chunk(const Command& command) {
  const CopyPlan& plan = copy_plan(command);
  const CopyExtent& extent = present_extent(plan);
  const bool zeros = extent.source == kCopyZeros;
  const uint64_t bytes = zeros ? kZerosChunkBytes : command.scratch.size() - kCopyPlanBytes;
  const uint64_t left = extent.blocks.get() - plan.done.get();
  Chunk chunk;
  chunk.blocks = std::min(left, bytes / plan.block_bytes.get());
  const uint64_t offset = is_backward(extent) ? left - chunk.blocks : plan.done.get();
  chunk.source_lba = extent.source_lba.get() + offset;
  chunk.destination_lba = extent.destination_lba.get() + offset;
  return chunk;
}

CopyEnded not_reachable() {
  return {check_condition(sense::logical_unit_not_supported()), Asc::copy_target_device_not_reachable};
}

CopyEnded device_failed(const Done& done) {
  return {done, Asc::third_party_device_failure};
}

/// What keeps the nexus from using the blocks now, though it could when the plan was made.
std::optional<CopyEnded> check(const Command& command, uint8_t index, uint64_t lba, uint64_t blocks,
                               ReservationClass reservation, uint16_t flags) {
  const LogicalUnit* lu = find_unit(command, index);
  if (lu == nullptr) return not_reachable();
  if (const auto refused = check_unit(*command.nexus, *lu, reservation, flags))
    return device_failed(*refused);
  const uint64_t capacity = lu->state->block_count;
  if (lba > capacity || blocks > capacity - lba) {
    return device_failed(check_condition(sense::lba_out_of_range(std::max(lba, capacity))));
  }
  return std::nullopt;
}

std::byte* chunk_memory(const Command& command) {
  return command.scratch.data() + kCopyPlanBytes;
}

CopyStep write_chunk(Command& command) {
  CopyPlan& plan = copy_plan(command);
  const Chunk chunk = present_chunk(command);
  const CopyExtent& extent = present_extent(plan);
  const bool zeros = extent.source == kCopyZeros;
  LogicalUnit* lu = find_unit(command, extent.destination);
  if (lu == nullptr) return not_reachable();
  command.lu = lu;
  plan.phase = CopyPlan::Phase::writing;
  // As durable as a WRITE without FUA: WCE of the destination decides.
  return sbc::make_write(command, zeros ? IoKind::write_zeroes : IoKind::write,
                         {chunk.destination_lba, chunk.blocks}, zeros ? nullptr : chunk_memory(command),
                         false);
}

CopyStep read_chunk(Command& command) {
  CopyPlan& plan = copy_plan(command);
  const Chunk chunk = present_chunk(command);
  command.lu = find_unit(command, present_extent(plan).source);
  plan.phase = CopyPlan::Phase::reading;
  return sbc::make_io(command, IoKind::read, {chunk.source_lba, chunk.blocks}, chunk_memory(command));
}

Decision decide_break_tokens(const LuState& state, const Command& command, const DecideContext&) {
  const Chunk chunk = present_chunk(command);
  Decision decision = on_blocks_written(state, chunk.destination_lba, chunk.blocks);
  decision.after = AfterUpdate::resume;
  return decision;
}

/// Nothing while the token that the copy is of stands.
std::optional<CopyEnded> check_token(const Command& command, uint8_t source) {
  const CopyPlan& plan = copy_plan(command);
  if (plan.has_token == 0) return std::nullopt;
  const LuState& state = *find_unit(command, source)->state;
  if (find_rod_token(state, plan.token) != nullptr) return std::nullopt;
  const Asc why = why_ended(state, plan.token);
  return CopyEnded{check_condition(sense::illegal_request(why)), why};
}

CopyStep on_claimed(Command& command) {
  CopyPlan& plan = copy_plan(command);
  const CopyExtent& extent = present_extent(plan);
  const Chunk chunk = present_chunk(command);
  if (const auto ended = check(command, extent.destination, chunk.destination_lba, chunk.blocks,
                               ReservationClass::write, kWritesMedium)) {
    return *ended;
  }
  LogicalUnit* destination = find_unit(command, extent.destination);
  if (overlaps_token(*destination->state, chunk.destination_lba, chunk.blocks)) {
    // No new one can be made while the blocks are claimed.
    command.lu = destination;
    plan.phase = CopyPlan::Phase::breaking_tokens;
    return Update{decide_break_tokens};
  }
  if (extent.source == kCopyZeros) return write_chunk(command);
  if (const auto ended =
          check(command, extent.source, chunk.source_lba, chunk.blocks, ReservationClass::read, kFlagNone)) {
    return *ended;
  }
  if (const auto ended = check_token(command, extent.source)) return *ended;
  return read_chunk(command);
}

CopyStep on_read(Command& command, const IoResult& result) {
  const Chunk chunk = present_chunk(command);
  if (!sbc::succeeded(result, chunk.blocks * sbc::block_bytes(command))) {
    return device_failed(sbc::io_failed(command, IoKind::read, chunk.source_lba, result));
  }
  return write_chunk(command);
}

CopyStep on_written(Command& command, const IoResult& result) {
  CopyPlan& plan = copy_plan(command);
  const Chunk chunk = present_chunk(command);
  const bool zeros = present_extent(plan).source == kCopyZeros;
  const IoKind kind = zeros ? IoKind::write_zeroes : IoKind::write;
  if (!sbc::succeeded(result, zeros ? 0 : chunk.blocks * sbc::block_bytes(command))) {
    return device_failed(sbc::io_failed(command, kind, chunk.destination_lba, result));
  }
  plan.done.set(plan.done.get() + static_cast<uint32_t>(chunk.blocks));
  plan.blocks.set(plan.blocks.get() + chunk.blocks);
  return copy_next(command);
}

/// For whoever asks how far the copy is.
void note_progress(const Command& command) {
  const CopyPlan& plan = copy_plan(command);
  CopyResult* result = command.nexus->copies().find(plan.ticket.get());
  if (result == nullptr) return;
  result->segments = plan.extent;
  result->blocks = plan.blocks.get();
  result->block_bytes = plan.block_bytes.get();
}

}  // namespace

void begin_plan(Command& command) {
  CopyPlan plan;
  plan.sent_to.set(command.lu->key);
  store(command.scratch, plan);
}

uint8_t plan_unit(CopyPlan& plan, const LogicalUnit& lu) {
  for (uint8_t i = 0; i < plan.units_count; ++i) {
    if (plan.units[i].key.get() == lu.key) return i;
  }
  ITGTD_ASSERT(plan.units_count < plan.units.size());
  CopyUnit& unit = plan.units[plan.units_count];
  unit.lun.set(lu.lun);
  unit.key.set(lu.key);
  return plan.units_count++;
}

void plan_extent(CopyPlan& plan, const CopyExtent& extent) {
  ITGTD_ASSERT(plan.extents_count < plan.extents.size());
  plan.extents[plan.extents_count++] = extent;
}

CopyStep copy_next(Command& command) {
  CopyPlan& plan = copy_plan(command);
  while (plan.extent < plan.extents_count && plan.done.get() == present_extent(plan).blocks.get()) {
    ++plan.extent;
    plan.done.set(0);
  }
  note_progress(command);
  if (plan.extent == plan.extents_count) return CopyEnded{};

  const CopyExtent& extent = present_extent(plan);
  const Chunk chunk = present_chunk(command);
  plan.phase = CopyPlan::Phase::claiming;
  Claim claim;
  claim.ranges[0] = {plan.units[extent.destination].key.get(), chunk.destination_lba, chunk.blocks};
  if (extent.source != kCopyZeros) {
    claim.ranges[1] = {plan.units[extent.source].key.get(), chunk.source_lba, chunk.blocks};
    claim.count = 2;
  }
  return claim;
}

CopyStep on_copied(Command& command, const IoResult& result) {
  switch (copy_plan(command).phase) {
    case CopyPlan::Phase::claiming:
    case CopyPlan::Phase::breaking_tokens:
      return on_claimed(command);
    case CopyPlan::Phase::reading:
      return on_read(command, result);
    case CopyPlan::Phase::writing:
      return on_written(command, result);
  }
  ITGTD_ASSERT(false);
}

LogicalUnit* find_unit(const Command& command, uint8_t index) {
  const CopyUnit& unit = copy_plan(command).units[index];
  LogicalUnit* lu = command.nexus->find(unit.lun.get());
  return lu != nullptr && lu->key == unit.key.get() ? lu : nullptr;
}

void end_aborted_copy(Command& command) {
  if (command.scratch.size() < kCopyPlanBytes) return;  // there was no list, so there is no plan
  command.nexus->copies().end(copy_plan(command).ticket.get(), Done{Status::task_aborted, {}, 0});
}

void return_home(Command& command) {
  LogicalUnit* lu = command.nexus->find(command.lun);
  command.lu = lu != nullptr && lu->key == copy_plan(command).sent_to.get() ? lu : nullptr;
}

}  // namespace itgtd::scsi
