#include "tests/scsi/copy_target.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "scsi/dispatch.h"

namespace itgtd::scsi::testing {

void append(Wire& to, ConstBytes bytes) {
  for (const std::byte byte : bytes) to.push_back(std::to_integer<uint8_t>(byte));
}

Xcopy& Xcopy::cscd(const LogicalUnit& lu) {
  cscds.push_back(cscd_descriptor(lu));
  return *this;
}

Xcopy& Xcopy::segment(const Segment& segment) {
  BlockToBlockSegment descriptor;
  descriptor.header.descriptor_type_code = kBlockToBlock;
  descriptor.header.descriptor_length.set(24);
  descriptor.source_cscd_descriptor_id.set(segment.source);
  descriptor.destination_cscd_descriptor_id.set(segment.destination);
  descriptor.block_device_number_of_blocks.set(segment.blocks);
  descriptor.source_block_device_logical_block_address.set(segment.source_lba);
  descriptor.destination_block_device_logical_block_address.set(segment.destination_lba);
  segments.push_back(descriptor);
  return *this;
}

Wire Xcopy::list() const {
  ExtendedCopyHeader header;
  header.list_identifier = list_identifier;
  header.flags = flags;
  header.cscd_descriptor_list_length.set(static_cast<uint16_t>(cscds.size() * sizeof(CscdDescriptor)));
  header.segment_descriptor_list_length.set(
      static_cast<uint32_t>(segments.size() * sizeof(BlockToBlockSegment)));
  Wire list;
  append(list, header);
  for (const auto& descriptor : cscds) append(list, descriptor);
  for (const auto& descriptor : segments) append(list, descriptor);
  return list;
}

CopyTarget::CopyTarget(size_t count, uint32_t block_bytes)
    : nexus(1, {"iqn.a", {}}, &luns), other(2, {"iqn.b", {}}, &other_luns) {
  for (size_t i = 0; i < count; ++i) {
    disks.push_back(make_disk(static_cast<uint16_t>(i), 100 + i, block_bytes));
    disks.back()->fill(static_cast<uint8_t>(17 * i + 1));
    luns.units[i] = &disks[i]->lu;
    other_luns.units[i] = &disks[i]->lu;
    nexus.clear(static_cast<uint16_t>(i));
    other.clear(static_cast<uint16_t>(i));
  }
}

std::unique_ptr<ModelDisk> CopyTarget::make_disk(uint16_t lun, uint64_t key, uint32_t block_bytes) {
  auto made = std::make_unique<ModelDisk>(kBlocks, block_bytes);
  made->lu.lun = lun;
  made->lu.key = key;
  made->lu.identity.naa = make_naa("abc" + std::to_string(key));
  made->lu.identity.target_name = "iqn.2017-01.com.linbit:drbd0";
  return made;
}

CopyOutcome CopyTarget::run(Nexus& from, uint16_t lun, const Wire& cdb, const Wire& data_out) {
  Command command;
  std::copy(cdb.begin(), cdb.end(), command.cdb.begin());
  command.nexus = &from;
  CopyOutcome outcome;
  const Admission admission = admit(command, encode_lun(lun));
  if (const Done* refused = std::get_if<Done>(&admission)) {
    outcome.done = *refused;
    return outcome;
  }
  EXPECT_LE(command.phase.transfer_bytes, kTransferBytesMax);
  EXPECT_LE(command.phase.scratch_bytes, kScratchBytesMax);
  // Exactly as long as asked for, so that a sanitizer sees what is read or written beyond.
  Data data(command.phase.transfer_bytes, std::byte{0xEE});
  Data scratch(command.phase.scratch_bytes, std::byte{0xEE});
  if (command.phase.direction == DataDirection::out) {
    const size_t arrived = std::min(data_out.size(), data.size());
    std::ranges::copy(std::as_bytes(std::span(data_out)).first(arrived), data.begin());
    command.data_out_bytes = static_cast<uint32_t>(arrived);
  }
  command.data = data;
  command.scratch = scratch;
  LogicalUnit* const home = command.lu;
  outcome.done = carry_out(command, start(command), outcome);
  if (outcome.ended) {
    EXPECT_TRUE(command.lu == home || command.lu == nullptr) << "not at the unit it was sent to";
    append(outcome.data_in, ConstBytes(data).first(outcome.done.data_in_bytes));
  }
  return outcome;
}

Done CopyTarget::carry_out(Command& command, Step step, CopyOutcome& outcome) {
  while (true) {
    if (const Done* done = std::get_if<Done>(&step)) return *done;
    if (stop_at == outcome.steps) {
      outcome.ended = false;
      EXPECT_NE(command.entry->aborted, nullptr);
      command.entry->aborted(command);
      return {};
    }
    if (++outcome.steps > 10'000) {
      ADD_FAILURE() << command.entry->name << " does not end";
      return {};
    }
    if (before_step) before_step(step);
    IoResult result;
    if (const Claim* claim = std::get_if<Claim>(&step)) {
      EXPECT_NE(command.entry->flags & kClaims, 0);
      outcome.claims.push_back(*claim);
    } else if (const Io* io = std::get_if<Io>(&step)) {
      result = execute(command, *io, outcome);
    } else {
      std::optional<Done> done;
      decide(command, std::get<Update>(step), done);
      if (done) return *done;
    }
    step = resume(command, result);
  }
}

IoResult CopyTarget::execute(const Command& command, const Io& io, const CopyOutcome& outcome) {
  const uint64_t block_bytes = command.lu->geometry.block_bytes;
  const ClaimedRange range{command.lu->key, io.offset_bytes / block_bytes, io.length_bytes / block_bytes};
  bool claimed = false;
  if (!outcome.claims.empty()) {
    const Claim& claim = outcome.claims.back();
    for (size_t i = 0; i < claim.count; ++i) {
      const ClaimedRange& its = claim.ranges[i];
      claimed = claimed || (its.lu_key == range.lu_key && its.lba <= range.lba && range.end() <= its.end());
    }
  }
  EXPECT_TRUE(claimed) << "an Io without a claim";
  const Bytes memory[] = {command.scratch.subspan(kCopyPlanBytes)};
  for (auto& candidate : disks) {
    if (&candidate->lu == command.lu) return candidate->execute(io, memory);
  }
  ADD_FAILURE() << "an Io to an unknown unit";
  return {EIO, 0};
}

void CopyTarget::decide(Command& command, const Update& update, std::optional<Done>& done) {
  DecideContext context{command.nexus->id(), time_ms};
  store(context.random, be64(++random));
  const Decision decision = update.decide(*command.lu->state, command, context);
  if (decision.state) {
    EXPECT_GT(decision.state->generation, command.lu->state->generation);
    command.lu->state = decision.state;
  }
  if (decision.after == AfterUpdate::done) done = decision.done;
}

CopyOutcome CopyTarget::xcopy(Nexus& from, uint16_t lun, const Wire& list) {
  Wire cdb(16);
  cdb[0] = 0x83;
  cdb[12] = static_cast<uint8_t>(list.size() >> 8);
  cdb[13] = static_cast<uint8_t>(list.size());
  return run(from, lun, cdb, list);
}

CopyOutcome CopyTarget::receive(uint8_t service_action, uint8_t list_identifier, uint32_t allocation_length) {
  Wire cdb(16);
  cdb[0] = 0x84;
  cdb[1] = service_action;
  cdb[2] = list_identifier;
  cdb[12] = static_cast<uint8_t>(allocation_length >> 8);
  cdb[13] = static_cast<uint8_t>(allocation_length);
  return run(cdb);
}

namespace {

::testing::AssertionResult describe(const CopyOutcome& outcome) {
  const Sense& sense = outcome.done.sense;
  return ::testing::AssertionFailure()
         << std::hex << "status " << int{static_cast<uint8_t>(outcome.done.status)} << " key "
         << int{static_cast<uint8_t>(sense.key)} << " asc " << static_cast<uint16_t>(sense.asc)
         << " command specific " << sense.command_specific << " specific " << int{sense.sense_key_specific[0]}
         << ' ' << int{sense.sense_key_specific[1]} << ' ' << int{sense.sense_key_specific[2]};
}

}  // namespace

::testing::AssertionResult is_good(const CopyOutcome& outcome) {
  return outcome.good() ? ::testing::AssertionSuccess() : describe(outcome);
}

::testing::AssertionResult is_sense(const CopyOutcome& outcome, const Sense& sense) {
  const bool equal = outcome.done.status == Status::check_condition && outcome.done.sense == sense &&
                     outcome.done.data_in_bytes == 0;
  return equal ? ::testing::AssertionSuccess() : describe(outcome);
}

}  // namespace itgtd::scsi::testing
