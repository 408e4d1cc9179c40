// POPULATE TOKEN and WRITE USING TOKEN: a copy in two commands, which may come through different logical
// units and long after each other. Windows calls it offloaded data transfer (ODX). SBC-3, POPULATE TOKEN
// command and WRITE USING TOKEN command; SPC-4, third-party copy.
//
// Both are over when they are answered, whatever IMMED says: it allows to answer earlier, and an initiator
// that asks for the results finds them there.
#include <algorithm>
#include <array>
#include <optional>

#include "base/assert.h"
#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/copy_plan.h"
#include "scsi/nexus.h"
#include "scsi/rod_tokens.h"
#include "scsi/sbc_common.h"

namespace itgtd::scsi {
namespace {

struct BlockDeviceRangeDescriptor {
  be64 logical_block_address;
  be32 number_of_logical_blocks;
  uint8_t reserved[4] = {};
};
static_assert(sizeof(BlockDeviceRangeDescriptor) == 16 && WireStruct<BlockDeviceRangeDescriptor>);

struct PopulateTokenHeader {
  be16 populate_token_data_length;
  uint8_t flags = 0;  ///< RTV in bit 1, IMMED in bit 0
  uint8_t reserved = 0;
  be32 inactivity_timeout;
  be32 rod_type;
  uint8_t reserved_end[2] = {};
  be16 block_device_range_descriptor_length;
};
static_assert(sizeof(PopulateTokenHeader) == 16 && WireStruct<PopulateTokenHeader>);

struct WriteUsingTokenHeader {
  be16 write_using_token_data_length;
  uint8_t flags = 0;  ///< DEL_TKN in bit 1, IMMED in bit 0
  uint8_t reserved[5] = {};
  be64 offset_into_rod;
  RodTokenWire rod_token;
  uint8_t reserved_end[6] = {};
  be16 block_device_range_descriptor_length;
};
static_assert(sizeof(WriteUsingTokenHeader) == 536 && WireStruct<WriteUsingTokenHeader>);

/// Command::stage.
enum Stage : uint32_t {
  kClaiming,    ///< POPULATE TOKEN: until no write to the blocks is under way
  kPublishing,  ///< POPULATE TOKEN: until every worker knows the token
  kTouching,    ///< WRITE USING TOKEN: until the token's timeout has begun anew
  kCopying,
  kDeleting,  ///< WRITE USING TOKEN with DEL_TKN
};

Sense invalid_field(size_t byte) {
  return sense::invalid_field_in_parameter_list(static_cast<uint16_t>(byte));
}

/// DATA LENGTH is 16 bits wide, so no list is longer.
template <typename Header>
Admission admit_list(Command& command, uint32_t scratch_bytes) {
  constexpr uint32_t kListBytesMax = 0xFFFF + 2;
  const uint32_t list_bytes = cdb_u32(command, 10);
  // SPC-4: no list is no error.
  if (list_bytes == 0) return DataPhase{};
  if (list_bytes < sizeof(Header) || list_bytes > kListBytesMax) {
    return check_condition(sense::parameter_list_length_error());
  }
  return DataPhase{DataDirection::out, list_bytes, scratch_bytes};
}

// ---- Ranges ----

struct Ranges {
  std::array<RodRange, kRodRangesMax> all{};
  size_t count = 0;
  uint64_t blocks = 0;

  [[nodiscard]] std::span<const RodRange> get() const { return {all.data(), count}; }
};

/// Where a list of ranges is: `length_at` its length in bytes, which its descriptors follow.
struct RangeList {
  size_t length_at;
  [[nodiscard]] size_t at(size_t index) const {
    return length_at + sizeof(be16) + index * sizeof(BlockDeviceRangeDescriptor);
  }
};

/// The lengths in the header against each other and what came.
std::optional<Sense> check_lengths(const Command& command, RangeList list) {
  if (command.data_out_bytes < command.phase.transfer_bytes) return sense::parameter_list_length_error();
  const size_t data_end = size_t{load<be16>(command.data).get()} + sizeof(be16);
  const size_t descriptor_bytes = load<be16>(command.data.subspan(list.length_at)).get();
  if (data_end > command.phase.transfer_bytes) return sense::parameter_list_length_error();
  if (data_end < list.at(1)) return invalid_field(0);
  if (descriptor_bytes < sizeof(BlockDeviceRangeDescriptor) ||
      descriptor_bytes % sizeof(BlockDeviceRangeDescriptor) != 0 ||
      list.at(0) + descriptor_bytes > data_end) {
    return invalid_field(list.length_at);
  }
  // SBC-3: MAXIMUM RANGE DESCRIPTORS.
  if (descriptor_bytes / sizeof(BlockDeviceRangeDescriptor) > kRodRangesMax) {
    return sense::refused_descriptor(Asc::too_many_segment_descriptors,
                                     static_cast<uint16_t>(list.length_at));
  }
  return std::nullopt;
}

/// Of a list whose lengths are right.
size_t range_count(const Command& command, RangeList list) {
  return load<be16>(command.data.subspan(list.length_at)).get() / sizeof(BlockDeviceRangeDescriptor);
}
RodRange range_at(const Command& command, RangeList list, size_t index) {
  const auto descriptor = load<BlockDeviceRangeDescriptor>(command.data.subspan(list.at(index)));
  return {descriptor.logical_block_address.get(), descriptor.number_of_logical_blocks.get()};
}

/// Takes the ranges out of a list whose lengths are right, and checks them against the medium, against each
/// other and against MAXIMUM TOKEN TRANSFER SIZE.
std::optional<Sense> read_ranges(const Command& command, RangeList list, Ranges& ranges) {
  const uint64_t blocks_max = kCopyBytesMax / sbc::block_bytes(command);
  for (size_t i = 0; i < range_count(command, list); ++i) {
    const RodRange range = range_at(command, list, i);
    if (const auto refused = sbc::check_range(command, {range.lba, range.blocks})) return refused;
    // SBC-3: no block may be in two ranges.
    const auto overlaps = [&](const RodRange& other) { return other.overlaps(range); };
    if (std::ranges::any_of(ranges.get(), overlaps)) return invalid_field(list.at(i));
    ranges.blocks += range.blocks;
    if (ranges.blocks > blocks_max) return invalid_field(list.at(i) + sizeof(be64));
    ranges.all[ranges.count++] = range;
  }
  return std::nullopt;
}

// ---- Results ----

CopyName name_of(const Command& command) {
  return {command.lu->key, false, cdb_u32(command, 6)};
}

Done finish(Command& command, uint64_t ticket, const Done& done) {
  command.nexus->copies().end(ticket, done);
  return done;
}

// ---- POPULATE TOKEN ----
//
// Command::lba is the ticket.

constexpr RangeList kPopulateRanges{14};

Admission admit_populate_token(Command& command) {
  return admit_list<PopulateTokenHeader>(command, 0);
}

std::optional<Sense> check_populate_header(const PopulateTokenHeader& header) {
  constexpr uint8_t kRodTypeValid = 0x02;
  if (header.inactivity_timeout.get() > kRodInactivityMaxSeconds) return invalid_field(4);
  if ((header.flags & kRodTypeValid) == 0) return std::nullopt;
  switch (static_cast<RodType>(header.rod_type.get())) {
    case RodType::unspecified:
    case RodType::point_in_time_default:
    case RodType::point_in_time_change_vulnerable:
    case RodType::point_in_time_any:
      return std::nullopt;
    case RodType::block_device_zero:
      break;
  }
  return invalid_field(8);
}

std::optional<Sense> read_populate_list(const Command& command, Ranges& ranges) {
  if (const auto refused = check_lengths(command, kPopulateRanges)) return refused;
  const auto header = load<PopulateTokenHeader>(command.data);
  if (const auto refused = check_populate_header(header)) return refused;
  return read_ranges(command, kPopulateRanges, ranges);
}

/// The list is checked. The medium may have shrunk since: then the token is of blocks that can't be read.
Decision decide_populate_token(const LuState& state, const Command& command, const DecideContext& context) {
  const uint32_t asked_seconds = load<PopulateTokenHeader>(command.data).inactivity_timeout.get();
  // A token that can be guessed would open the unit to whoever guesses.
  ITGTD_ASSERT(context.random != RodTokenId{});
  RodToken token;
  token.id = context.random;
  token.creator = context.nexus;
  token.ticket = command.lba;
  token.inactivity_timeout_ms = 1000 * (asked_seconds != 0 ? asked_seconds : kRodInactivityDefaultSeconds);
  token.expires_ms = context.time_ms + token.inactivity_timeout_ms;
  for (size_t i = 0; i < range_count(command, kPopulateRanges); ++i) {
    token.ranges.push_back(range_at(command, kPopulateRanges, i));
  }
  return add_rod_token(state, std::move(token), context.time_ms);
}

Step start_populate_token(Command& command) {
  if (command.phase.transfer_bytes == 0) return good();
  Ranges ranges;
  if (const auto refused = read_populate_list(command, ranges)) return check_condition(*refused);
  const auto begun = command.nexus->copies().begin(name_of(command), CopyCommand::populate_token);
  if (begun.refused) return *begun.refused;
  command.lba = begun.ticket;
  command.stage = kClaiming;
  // From the first block to the last: what is claimed is only waited for.
  uint64_t begin = UINT64_MAX;
  uint64_t end = 0;
  for (const RodRange& range : ranges.get()) {
    begin = std::min(begin, range.lba);
    end = std::max(end, range.end());
  }
  Claim claim;
  claim.ranges[0] = {command.lu->key, begin, end - begin};
  return claim;
}

Step resume_populate_token(Command& command, const IoResult& /*result*/) {
  if (command.stage == kClaiming) {
    command.stage = kPublishing;
    return Update{decide_populate_token};
  }
  const uint64_t ticket = command.lba;
  const LuState& state = *command.lu->state;
  if (state.tokens) {
    const auto its_own = [&](const RodToken& token) {
      return token.creator == command.nexus->id() && token.ticket == ticket;
    };
    const auto token = std::ranges::find_if(state.tokens->tokens, its_own);
    if (token != state.tokens->tokens.end()) {
      if (CopyResult* result = command.nexus->copies().find(ticket)) {
        result->blocks = token->blocks();
        result->block_bytes = sbc::block_bytes(command);
        result->token.emplace();
        store(*result->token, encode_rod_token(*command.lu, *token));
      }
      return finish(command, ticket, good());
    }
  }
  const Sense full = sense::illegal_request(Asc::insufficient_resources_to_create_rod_token);
  return finish(command, ticket, check_condition(full));
}

void on_populate_token_aborted(Command& command) {
  command.nexus->copies().end(command.lba, Done{Status::task_aborted, {}, 0});
}

// ---- WRITE USING TOKEN ----
//
// Its plan's unit 0 is the destination, unit 1 the source, if that is another one.

constexpr RangeList kWriteRanges{534};
constexpr size_t kOffsetIntoRodByte = 8;

WriteUsingTokenHeader write_header(const Command& command) {
  return load<WriteUsingTokenHeader>(command.data);
}

Admission admit_write_using_token(Command& command) {
  return admit_list<WriteUsingTokenHeader>(command, kScratchBytesMax);
}

Step step_of(Command& command, const CopyStep& step);

/// The copy is over, or never began: `done` is the answer.
Done finish_write(Command& command, const Done& done) {
  const uint64_t ticket = copy_plan(command).ticket.get();
  return_home(command);
  return finish(command, ticket, done);
}
Done refuse_write(Command& command, Asc asc) {
  return finish_write(command, check_condition(sense::illegal_request(asc)));
}

/// The unit that the token is of, among those that the nexus sees.
LogicalUnit* find_source(const Command& command, const RodTokenWire& token) {
  for (LogicalUnit* lu : command.nexus->luns().units) {
    if (lu != nullptr && names(token.creator, *lu)) return lu;
  }
  return nullptr;
}

Decision decide_touch(const LuState& state, const Command& command, const DecideContext& context) {
  return touch_rod_token(state, copy_plan(command).token, context.time_ms);
}
Decision decide_delete(const LuState& state, const Command& command, const DecideContext& context) {
  return delete_rod_token(state, copy_plan(command).token, context.time_ms);
}

/// Zeros need no source.
Step start_zeros(Command& command, const Ranges& ranges) {
  CopyPlan& plan = copy_plan(command);
  for (const RodRange& range : ranges.get()) {
    CopyExtent extent;
    extent.source = kCopyZeros;
    extent.blocks.set(static_cast<uint32_t>(range.blocks));
    extent.destination_lba.set(range.lba);
    plan_extent(plan, extent);
  }
  command.stage = kCopying;
  return step_of(command, copy_next(command));
}

Step start_write_using_token(Command& command) {
  if (command.phase.transfer_bytes == 0) return good();
  if (const auto refused = check_lengths(command, kWriteRanges)) return check_condition(*refused);
  const WriteUsingTokenHeader header = write_header(command);
  const auto type = static_cast<RodType>(header.rod_token.rod_type.get());
  if (type != RodType::block_device_zero && type != RodType::point_in_time_change_vulnerable) {
    return check_condition(sense::illegal_request(Asc::unsupported_token_type));
  }
  Ranges ranges;
  if (const auto refused = read_ranges(command, kWriteRanges, ranges)) return check_condition(*refused);
  const auto begun = command.nexus->copies().begin(name_of(command), CopyCommand::write_using_token);
  if (begun.refused) return *begun.refused;

  begin_plan(command);
  CopyPlan& plan = copy_plan(command);
  plan.ticket.set(begun.ticket);
  plan.block_bytes.set(sbc::block_bytes(command));
  (void)plan_unit(plan, *command.lu);
  if (type == RodType::block_device_zero) return start_zeros(command, ranges);

  if (header.rod_token.rod_token_length.get() != kRodTokenLength) {
    return refuse_write(command, Asc::token_corrupt);
  }
  LogicalUnit* source = find_source(command, header.rod_token);
  // A token of a unit that this nexus does not see tells it nothing, not even that there is such a unit.
  if (source == nullptr) return refuse_write(command, Asc::token_unknown);
  (void)plan_unit(plan, *source);
  plan.has_token = 1;
  plan.token = header.rod_token.id;
  command.lu = source;
  command.stage = kTouching;
  return Update{decide_touch};
}

/// Lays the ranges of the destination over those of the token, from OFFSET INTO ROD on.
void plan_extents(CopyPlan& plan, uint8_t source, uint64_t skip, std::span<const RodRange> from,
                  std::span<const RodRange> to) {
  size_t range = 0;
  for (const RodRange& destination : to) {
    uint64_t done = 0;
    while (done < destination.blocks) {
      const RodRange& data = from[range];
      if (skip >= data.blocks) {
        skip -= data.blocks;
        ++range;
        continue;
      }
      const uint64_t blocks = std::min(data.blocks - skip, destination.blocks - done);
      CopyExtent extent;
      extent.source = source;
      extent.blocks.set(static_cast<uint32_t>(blocks));
      extent.source_lba.set(data.lba + skip);
      extent.destination_lba.set(destination.lba + done);
      plan_extent(plan, extent);
      skip += blocks;
      done += blocks;
    }
  }
}
// Each extent ends at the end of a range of one or of the other.
static_assert(2 * kRodRangesMax - 1 <= kCopyExtentsMax);

std::optional<Sense> plan_copy(Command& command, uint8_t source_index, const LogicalUnit& source,
                               const RodToken& token) {
  const WriteUsingTokenHeader header = write_header(command);
  const auto rebuilt = encode_rod_token(source, token);
  if (!std::ranges::equal(bytes_of(rebuilt), bytes_of(header.rod_token))) {
    return sense::illegal_request(Asc::token_corrupt);
  }
  Ranges ranges;
  if (const auto refused = read_ranges(command, kWriteRanges, ranges)) return refused;
  if (source.geometry.block_bytes != sbc::block_bytes(command)) {
    return sense::illegal_request(Asc::invalid_token_operation_cause_not_reportable);
  }
  const uint64_t offset = header.offset_into_rod.get();
  const uint64_t blocks = token.blocks();
  // SBC-3: there has to be data for every block.
  if (offset > blocks) return invalid_field(kOffsetIntoRodByte);
  if (ranges.blocks > blocks - offset) return invalid_field(kWriteRanges.length_at);
  if (source.key == command.lu->key) {
    // The copy would end the token that it is of.
    for (size_t i = 0; i < ranges.count; ++i) {
      const auto overlaps = [&](const RodRange& range) { return range.overlaps(ranges.all[i]); };
      if (std::ranges::any_of(token.ranges, overlaps)) return invalid_field(kWriteRanges.at(i));
    }
  }
  plan_extents(copy_plan(command), source_index, offset, token.ranges, ranges.get());
  return std::nullopt;
}

Step on_touched(Command& command) {
  const CopyPlan& plan = copy_plan(command);
  const auto source_index = static_cast<uint8_t>(plan.units_count - 1);
  const LogicalUnit* source = find_unit(command, source_index);
  return_home(command);
  if (command.lu == nullptr)
    return finish_write(command, check_condition(sense::logical_unit_not_supported()));
  if (source == nullptr) return refuse_write(command, Asc::token_unknown);
  const RodToken* token = find_rod_token(*source->state, plan.token);
  if (token == nullptr) return refuse_write(command, why_ended(*source->state, plan.token));
  if (const auto refused = plan_copy(command, source_index, *source, *token)) {
    return finish_write(command, check_condition(*refused));
  }
  command.stage = kCopying;
  return step_of(command, copy_next(command));
}

Step on_ended(Command& command, const CopyEnded& ended) {
  constexpr uint8_t kDeleteToken = 0x02;
  if (ended.failure) return finish_write(command, *ended.failure);
  const CopyPlan& plan = copy_plan(command);
  const bool deletes = plan.has_token != 0 && (write_header(command).flags & kDeleteToken) != 0;
  LogicalUnit* source = deletes ? find_unit(command, static_cast<uint8_t>(plan.units_count - 1)) : nullptr;
  if (source == nullptr) return finish_write(command, good());
  command.lu = source;
  command.stage = kDeleting;
  return Update{decide_delete};
}

Step step_of(Command& command, const CopyStep& step) {
  if (const Io* io = std::get_if<Io>(&step)) return *io;
  if (const Update* update = std::get_if<Update>(&step)) return *update;
  if (const Claim* claim = std::get_if<Claim>(&step)) return *claim;
  return on_ended(command, std::get<CopyEnded>(step));
}

Step resume_write_using_token(Command& command, const IoResult& result) {
  if (command.stage == kTouching) return on_touched(command);
  if (command.stage == kDeleting) return finish_write(command, good());
  return step_of(command, on_copied(command, result));
}

// Byte 14, GROUP NUMBER, is not supported.
constexpr std::array kCommands = {
    CommandEntry{.name = "POPULATE TOKEN",
                 .opcode = 0x83,
                 .service_action = 0x10,
                 .cdb_bytes = 16,
                 .direction = DataDirection::out,
                 .reservation = ReservationClass::read,
                 .flags = kClaims,
                 .cdb_usage = {0x83, 0x10, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0},
                 .admit = admit_populate_token,
                 .start = start_populate_token,
                 .resume = resume_populate_token,
                 .aborted = on_populate_token_aborted},
    CommandEntry{.name = "WRITE USING TOKEN",
                 .opcode = 0x83,
                 .service_action = 0x11,
                 .cdb_bytes = 16,
                 .direction = DataDirection::out,
                 .reservation = ReservationClass::write,
                 .flags = kClaims | kWritesMedium,
                 .cdb_usage = {0x83, 0x11, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0},
                 .admit = admit_write_using_token,
                 .start = start_write_using_token,
                 .resume = resume_write_using_token,
                 .aborted = end_aborted_copy},
};

}  // namespace

std::span<const CommandEntry> spc_rod_token_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
