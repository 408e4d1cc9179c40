#include "tests/scsi/model_disk.h"

#include <algorithm>
#include <cstdlib>
#include <variant>

#include "scsi/dispatch.h"

namespace itgtd::scsi::testing {

namespace {

/// Aligned memory whose bytes are not zero before a command writes them, so that what leaks is seen.
Data dirty(size_t bytes) {
  return Data(bytes, std::byte{0xEE});
}

bool within(const std::byte* at, uint64_t bytes, std::span<const Bytes> memory) {
  return std::any_of(memory.begin(), memory.end(), [&](Bytes area) {
    return !area.empty() && at >= area.data() && at + bytes <= area.data() + area.size();
  });
}

}  // namespace

ModelDisk::ModelDisk(uint64_t blocks, uint32_t block_bytes) : bytes(blocks * block_bytes) {
  lu.geometry.block_bytes = block_bytes;
  LuState initial;
  initial.block_count = blocks;
  set_state(initial);
}

void ModelDisk::fill(uint8_t seed) {
  bytes = pattern(bytes.size(), seed);
}

Data ModelDisk::slice(uint64_t lba, uint64_t blocks) const {
  const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(lba * block_bytes());
  return {from, from + static_cast<std::ptrdiff_t>(blocks * block_bytes())};
}

IoResult ModelDisk::extent(const Io& io) const {
  IoResult result;
  const uint64_t first = io.offset_bytes / block_bytes();
  const uint64_t end = (io.offset_bytes + io.length_bytes) / block_bytes();
  uint64_t lba = first;
  result.mapped = !holes.contains(first);
  while (lba < end && lba - first < extent_blocks_max && holes.contains(lba) != result.mapped) ++lba;
  result.bytes_done = (lba - first) * block_bytes();
  return result;
}

IoResult ModelDisk::execute(const Io& io, std::span<const Bytes> command_memory) {
  const size_t number = done.size();
  done.push_back(io);
  if (fail_at == number) return failure;
  if (io.kind == IoKind::flush) {
    ++flushes;
    return {};
  }
  if (before_io) before_io(io);
  EXPECT_GT(io.length_bytes, 0U);
  EXPECT_EQ(io.offset_bytes % block_bytes(), 0U);
  EXPECT_EQ(io.length_bytes % block_bytes(), 0U);
  EXPECT_LE(io.offset_bytes + io.length_bytes, bytes.size()) << "an Io beyond the medium";
  if (io.offset_bytes + io.length_bytes > bytes.size()) return {EIO, 0};

  uint64_t length = io.length_bytes;
  if (shrunk_to_bytes) {
    length = std::min(length, *shrunk_to_bytes - std::min(*shrunk_to_bytes, io.offset_bytes));
  }
  const bool moves_data = io.kind == IoKind::read || io.kind == IoKind::write;
  if (moves_data) {
    EXPECT_TRUE(within(io.data, io.length_bytes, command_memory)) << "an Io outside the command's memory";
    if (!within(io.data, io.length_bytes, command_memory)) return {EFAULT, 0};
  }
  if (io.kind == IoKind::extent) return extent(io);
  std::byte* at = bytes.data() + io.offset_bytes;
  if (io.kind == IoKind::read && io.may_borrow && lends) return {0, length, at};
  if (io.kind == IoKind::read) {
    std::memcpy(io.data, at, length);
  } else if (io.kind == IoKind::write) {
    std::memcpy(at, io.data, length);
  } else {
    std::memset(at, 0, length);
  }
  return {0, moves_data ? length : 0};
}

namespace {

/// The disk, as the steps of one command see it.
class Around final : public Surroundings {
 public:
  Around(ModelDisk& disk, Outcome& outcome) : disk_(disk), outcome_(outcome) {}

  IoResult execute(const Command& command, const Io& io) override {
    ++outcome_.ios;
    const Bytes memory[] = {command.data, command.scratch};
    return disk_.execute(io, memory);
  }
  void on_claim(const Command& /*command*/, const Claim& claim) override { outcome_.claims.push_back(claim); }
  void on_decision(const Command& /*command*/, const Decision& decision) override {
    if (decision.state) outcome_.states.push_back(*decision.state);
    outcome_.unit_attentions.insert(outcome_.unit_attentions.end(), decision.unit_attentions.begin(),
                                    decision.unit_attentions.end());
  }
  void on_detached(const Done& end) override { outcome_.detached_end = end; }

 private:
  ModelDisk& disk_;
  Outcome& outcome_;
};

}  // namespace

Outcome run(ModelDisk& disk, std::span<const uint8_t> cdb, std::span<const std::byte> data_out) {
  const CommandEntry* row = find_command(cdb[0], cdb[1] & 0x1FU);
  if (row == nullptr) {
    ADD_FAILURE() << "no row for opcode " << int{cdb[0]};
    return {};
  }
  EXPECT_EQ(row->cdb_bytes, cdb.size());

  Command command;
  std::copy(cdb.begin(), cdb.end(), command.cdb.begin());
  command.lu = &disk.lu;
  command.entry = row;
  Outcome outcome;
  command.nexus = disk.nexus;
  const Admission admission = disk.nexus != nullptr ? admit(command, 0) : row->admit(command);
  if (const Done* refused = std::get_if<Done>(&admission)) {
    outcome.done = *refused;
    return outcome;
  }
  command.phase = std::get<DataPhase>(admission);
  outcome.phase = command.phase;
  EXPECT_LE(command.phase.transfer_bytes, kTransferBytesMax);
  EXPECT_LE(command.phase.scratch_bytes, kScratchBytesMax);

  Data data = dirty(command.phase.transfer_bytes);
  Data scratch = dirty(command.phase.scratch_bytes);
  if (command.phase.direction == DataDirection::out) {
    const size_t arrived = std::min<size_t>(data_out.size(), data.size());
    std::copy_n(data_out.begin(), arrived, data.begin());
    command.data_out_bytes = static_cast<uint32_t>(arrived);
  }
  command.data = data;
  command.scratch = scratch;
  Around around(disk, outcome);
  outcome.done = carry_out(around, command, row->start(command));
  outcome.transfer_bytes_at_end = command.phase.transfer_bytes;
  EXPECT_LE(outcome.done.data_in_bytes, data.size());
  EXPECT_TRUE(command.phase.direction == DataDirection::in || outcome.done.data_in_bytes == 0);
  const ConstBytes sent = command.data_in(0, outcome.done.data_in_bytes);
  outcome.data_in.assign(sent.begin(), sent.end());
  return outcome;
}

namespace {

/// Writes the low `bytes` bytes of `value` at `at`, most significant first.
void put(std::vector<uint8_t>& cdb, size_t at, size_t bytes, uint64_t value) {
  for (size_t i = 0; i < bytes; ++i) cdb[at + i] = static_cast<uint8_t>(value >> (8 * (bytes - 1 - i)));
}

}  // namespace

std::vector<uint8_t> cdb6(uint8_t opcode, uint32_t lba, uint8_t blocks) {
  std::vector<uint8_t> cdb(6);
  put(cdb, 1, 3, lba & 0x1F'FFFF);
  cdb[0] = opcode;
  cdb[4] = blocks;
  return cdb;
}

std::vector<uint8_t> cdb10(uint8_t opcode, uint32_t lba, uint16_t blocks, uint8_t byte1) {
  std::vector<uint8_t> cdb(10);
  cdb[0] = opcode;
  cdb[1] = byte1;
  put(cdb, 2, 4, lba);
  put(cdb, 7, 2, blocks);
  return cdb;
}

std::vector<uint8_t> cdb12(uint8_t opcode, uint32_t lba, uint32_t blocks, uint8_t byte1) {
  std::vector<uint8_t> cdb(12);
  cdb[0] = opcode;
  cdb[1] = byte1;
  put(cdb, 2, 4, lba);
  put(cdb, 6, 4, blocks);
  return cdb;
}

std::vector<uint8_t> cdb16(uint8_t opcode, uint64_t lba, uint32_t blocks, uint8_t byte1) {
  std::vector<uint8_t> cdb(16);
  cdb[0] = opcode;
  cdb[1] = byte1;
  put(cdb, 2, 8, lba);
  put(cdb, 10, 4, blocks);
  return cdb;
}

std::vector<std::vector<uint8_t>> cdbs(const Family& family, uint64_t lba, uint32_t blocks, uint8_t byte1) {
  std::vector<std::vector<uint8_t>> all;
  const bool short_lba = lba <= 0xFFFF'FFFF;
  if (family.op10 != 0 && short_lba && blocks <= 0xFFFF) {
    all.push_back(cdb10(family.op10, static_cast<uint32_t>(lba), static_cast<uint16_t>(blocks), byte1));
  }
  if (family.op12 != 0 && short_lba) {
    all.push_back(cdb12(family.op12, static_cast<uint32_t>(lba), blocks, byte1));
  }
  if (family.op16 != 0) all.push_back(cdb16(family.op16, lba, blocks, byte1));
  return all;
}

Data pattern(size_t bytes, uint8_t seed) {
  // Eight bytes at a time: the tests fill a lot of memory.
  Data data(bytes);
  uint64_t x = 0x9E37'79B9'7F4A'7C15ULL * (seed + 1U);
  for (size_t at = 0; at < bytes; at += sizeof(x)) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    std::memcpy(data.data() + at, &x, std::min(sizeof(x), bytes - at));
  }
  return data;
}

namespace {

::testing::AssertionResult describe(const Outcome& outcome) {
  const Sense& sense = outcome.done.sense;
  return ::testing::AssertionFailure()
         << std::hex << "status " << int{static_cast<uint8_t>(outcome.done.status)} << " key "
         << int{static_cast<uint8_t>(sense.key)} << " asc " << static_cast<uint16_t>(sense.asc)
         << " information " << sense.information << " specific " << int{sense.sense_key_specific[0]} << ' '
         << int{sense.sense_key_specific[1]} << ' ' << int{sense.sense_key_specific[2]};
}

}  // namespace

::testing::AssertionResult is_good(const Outcome& outcome) {
  return outcome.good() ? ::testing::AssertionSuccess() : describe(outcome);
}

::testing::AssertionResult is_sense(const Outcome& outcome, const Sense& sense) {
  const bool equal = outcome.done.status == Status::check_condition && outcome.done.sense == sense &&
                     outcome.done.data_in_bytes == 0;
  return equal ? ::testing::AssertionSuccess() : describe(outcome);
}

::testing::AssertionResult is_lba_out_of_range(const Outcome& outcome, uint64_t lba) {
  return is_sense(outcome, sense::lba_out_of_range(lba));
}

::testing::AssertionResult is_invalid_field(const Outcome& outcome, uint16_t byte,
                                            std::optional<uint8_t> bit) {
  return is_sense(outcome, sense::invalid_field_in_cdb(byte, bit));
}

}  // namespace itgtd::scsi::testing
