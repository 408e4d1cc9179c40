#include <algorithm>
#include <cerrno>

#include "scsi/dispatch.h"
#include "tests/scsi/model_disk.h"

namespace itgtd::scsi::testing {
namespace {

constexpr uint8_t kImmed = 0x80;
constexpr uint8_t kAuse = 0x20;
constexpr uint8_t kOverwrite = 0x01;
constexpr uint8_t kBlockErase = 0x02;
constexpr uint8_t kExitFailureMode = 0x1F;
constexpr uint8_t kInvert = 0x80;

std::vector<uint8_t> sanitize(uint8_t action, size_t list_bytes = 0, uint8_t flags = 0) {
  std::vector<uint8_t> cdb = cdb10(0x48, 0, static_cast<uint16_t>(list_bytes));
  cdb[1] = action | flags;
  return cdb;
}

Data overwrite_list(uint8_t how, const Data& pattern, std::optional<size_t> pattern_bytes = {}) {
  const size_t length = pattern_bytes.value_or(pattern.size());
  Data list = {std::byte{how}, std::byte{0}, static_cast<std::byte>(length >> 8),
               static_cast<std::byte>(length)};
  list.insert(list.end(), pattern.begin(), pattern.end());
  return list;
}

class Sanitize : public ::testing::Test {
 protected:
  explicit Sanitize(uint64_t blocks = 2000) : disk(blocks), nexus(1, {"iqn.a", {}}, &luns) {
    luns.units[0] = &disk.lu;
    nexus.clear(0);
    disk.nexus = &nexus;
    disk.fill(1);
  }

  void set_condition(LuCondition condition, bool may_be_left = false) {
    LuState state = disk.state();
    state.condition = condition;
    state.sanitize_may_be_left = may_be_left;
    ++state.generation;
    disk.set_state(state);
  }
  Outcome overwrite(uint8_t how, const Data& pattern, uint8_t flags = 0) {
    const Data list = overwrite_list(how, pattern);
    return run(disk, sanitize(kOverwrite, list.size(), flags), list);
  }
  size_t writes() const {
    return static_cast<size_t>(std::ranges::count(disk.done, IoKind::write, &Io::kind));
  }

  LunMap luns;
  ModelDisk disk;
  Nexus nexus;
};

Data repeated(const Data& pattern, size_t block_bytes, size_t blocks) {
  Data all(block_bytes * blocks);
  for (size_t i = 0; i < all.size(); ++i) all[i] = pattern[i % block_bytes % pattern.size()];
  return all;
}

TEST_F(Sanitize, OverwriteRepeatsThePatternInEachBlock) {
  for (const size_t bytes : {1U, 3U, 4U, 256U, 511U, 512U}) {
    disk.fill(1);
    const Data wanted = pattern(bytes, 5);
    const Outcome outcome = overwrite(1, wanted);
    EXPECT_TRUE(is_good(outcome));
    EXPECT_TRUE(disk.bytes == repeated(wanted, 512, 2000)) << bytes;
    EXPECT_EQ(disk.state().condition, LuCondition::ready);
    EXPECT_EQ(disk.state().progress, 0);
    EXPECT_EQ(disk.done.back().kind, IoKind::flush);
    ASSERT_EQ(outcome.claims.size(), 1U);
    EXPECT_EQ(outcome.claims[0].ranges[0].end(), UINT64_MAX);
    EXPECT_FALSE(outcome.detached_end) << "without IMMED the answer is the end";
  }
}

TEST_F(Sanitize, OverwriteAsOftenAsAsked) {
  for (const uint8_t passes : {uint8_t{1}, uint8_t{2}, uint8_t{3}, uint8_t{31}}) {
    for (const bool invert : {false, true}) {
      disk.done.clear();
      disk.flushes = 0;
      const Data wanted = pattern(512, 5);
      Data inverse = wanted;
      for (std::byte& byte : inverse) byte = ~byte;
      // What stands there when the first pass is over: the second one begins with a write to block 0.
      Data after_first_pass;
      disk.before_io = [&](const Io& io) {
        if (io.offset_bytes == 0 && disk.flushes == 1 && after_first_pass.empty()) {
          after_first_pass = disk.slice(1999, 1);
        }
      };
      EXPECT_TRUE(is_good(overwrite(invert ? passes | kInvert : passes, wanted)));
      EXPECT_EQ(disk.slice(0, 1), wanted);
      EXPECT_EQ(disk.slice(1999, 1), wanted) << "the last pass leaves the pattern as given";
      EXPECT_EQ(disk.flushes, passes) << "each pass reaches the medium";
      EXPECT_EQ(writes(), 4U * passes);
      if (passes > 1) {
        EXPECT_EQ(after_first_pass, invert && passes % 2 == 0 ? inverse : wanted);
      }
      disk.before_io = nullptr;
    }
  }
}

TEST_F(Sanitize, BlockEraseUnmapsWhatItCan) {
  disk.lu.geometry.thin = true;
  disk.lu.geometry.unmapped_reads_zero = true;
  disk.lu.geometry.unmap_granularity_bytes = 4096 * 3;
  EXPECT_TRUE(is_good(run(disk, sanitize(kBlockErase))));
  EXPECT_TRUE(disk.bytes == Data(disk.bytes.size()));
  ASSERT_EQ(disk.done.size(), 3U);
  EXPECT_EQ(disk.done[0].kind, IoKind::unmap);
  EXPECT_EQ(disk.done[0].length_bytes, 1992U * 512);
  EXPECT_EQ(disk.done[1].kind, IoKind::write_zeroes);
  EXPECT_EQ(disk.done[1].length_bytes, 8U * 512);
  EXPECT_EQ(disk.done[2].kind, IoKind::flush);
}

TEST_F(Sanitize, BlockEraseOfAThickOneWritesZeros) {
  EXPECT_TRUE(is_good(run(disk, sanitize(kBlockErase))));
  EXPECT_TRUE(disk.bytes == Data(disk.bytes.size()));
  EXPECT_EQ(disk.done[0].kind, IoKind::write_zeroes);
  disk.fill(3);
  disk.done.clear();
  disk.lu.geometry.thin = true;  // but what is unmapped may read as anything
  EXPECT_TRUE(is_good(run(disk, sanitize(kBlockErase))));
  EXPECT_TRUE(disk.bytes == Data(disk.bytes.size()));
}

TEST_F(Sanitize, ImmediateAnswersWhenItHasBegun) {
  const Outcome outcome = overwrite(1, Data(512), kImmed);
  EXPECT_TRUE(is_good(outcome));
  ASSERT_TRUE(outcome.detached_end);
  EXPECT_EQ(outcome.detached_end->status, Status::good);
  EXPECT_EQ(outcome.states.front().condition, LuCondition::sanitizing);
  EXPECT_EQ(outcome.states.back().condition, LuCondition::ready);
}

TEST_F(Sanitize, OthersHearOfTheProgress) {
  ModelDisk large(200'000);
  large.lu.key = 3;
  luns.units[0] = &large.lu;
  large.nexus = &nexus;
  uint16_t last = 0;
  size_t asked = 0;
  large.before_io = [&](const Io&) {
    Command command;
    command.nexus = &nexus;
    const Admission admission = admit(command, 0);  // TEST UNIT READY
    ASSERT_TRUE(std::holds_alternative<Done>(admission));
    const Sense sense = std::get<Done>(admission).sense;
    EXPECT_EQ(sense, sense::in_progress(Asc::sanitize_in_progress, large.lu.state->progress));
    EXPECT_GE(large.lu.state->progress, last);
    last = large.lu.state->progress;
    ++asked;
  };
  const Data list = overwrite_list(3, pattern(512, 1));
  const Outcome outcome = run(large, sanitize(kOverwrite, list.size()), list);
  EXPECT_TRUE(is_good(outcome));
  EXPECT_GT(asked, 1000U);
  EXPECT_GT(last, 65536 * 62 / 64);
  EXPECT_LT(last, 65535);
  EXPECT_GE(outcome.states.size(), 60U);
  EXPECT_LE(outcome.states.size(), 66U) << "each one is an update on all workers";
}

TEST_F(Sanitize, OnlyAFewCommandsRunMeanwhile) {
  set_condition(LuCondition::sanitizing);
  std::vector<std::string_view> running;
  for (const CommandEntry* row : all_commands()) {
    if (!check_unit(nexus, disk.lu, row->reservation, row->flags)) running.push_back(row->name);
  }
  // The rows of SANITIZE and FORMAT UNIT look at the condition themselves.
  std::erase_if(running, [](std::string_view name) {
    return name.starts_with("SANITIZE") || name.starts_with("FORMAT UNIT");
  });
  EXPECT_EQ(running, (std::vector<std::string_view>{"REQUEST SENSE", "INQUIRY", "REPORT LUNS"}));
  const Sense busy = sense::in_progress(Asc::sanitize_in_progress, 0);
  EXPECT_TRUE(is_sense(overwrite(1, Data(512)), busy));
  EXPECT_TRUE(is_sense(run(disk, sanitize(kBlockErase)), busy));
  EXPECT_TRUE(is_sense(run(disk, sanitize(kExitFailureMode)), busy));
  EXPECT_TRUE(is_sense(run(disk, cdb6(0x1B, 0, 1)), busy)) << "START";
  EXPECT_TRUE(disk.done.empty());
}

TEST_F(Sanitize, NothingElseEndsItsCondition) {
  for (const LuCondition condition : {LuCondition::sanitizing, LuCondition::formatting,
                                      LuCondition::sanitize_failed, LuCondition::format_failed}) {
    set_condition(condition);
    EXPECT_NE(run(disk, cdb6(0x1B, 0, 1)).done.status, Status::good);
    EXPECT_NE(run(disk, cdb6(0x1B, 0, 0)).done.status, Status::good);
    EXPECT_EQ(disk.state().condition, condition);
    const Decision reset = on_logical_unit_reset(disk.state(), 1);
    EXPECT_TRUE(!reset.state || reset.state->condition == condition);
  }
}

TEST_F(Sanitize, AFailureStays) {
  for (const size_t at : {0U, 1U, 3U, 4U}) {
    set_condition(LuCondition::ready);
    disk.done.clear();
    disk.fail_at = at;
    disk.failure = {EIO, 0};
    EXPECT_TRUE(is_sense(overwrite(1, Data(512)), sense::sanitize_failed())) << at;
    EXPECT_EQ(disk.state().condition, LuCondition::sanitize_failed);
    disk.fail_at.reset();
    EXPECT_TRUE(is_sense(run(disk, cdb10(0x28, 0, 1)), sense::sanitize_failed()));
    EXPECT_TRUE(is_sense(run(disk, sanitize(kExitFailureMode)), sense::invalid_field_in_cdb(1, uint8_t{4})))
        << "restricted completion mode";
    EXPECT_TRUE(is_invalid_field(run(disk, sanitize(kBlockErase, 0, kAuse)), 1, uint8_t{5}));
    EXPECT_TRUE(is_good(run(disk, sanitize(kBlockErase))));
    EXPECT_TRUE(is_good(run(disk, cdb10(0x28, 0, 1))));
  }
}

TEST_F(Sanitize, AShortWriteIsAFailure) {
  disk.shrunk_to_bytes = 700 * 512;
  EXPECT_TRUE(is_sense(overwrite(1, Data(512)), sense::sanitize_failed()));
}

TEST_F(Sanitize, UnrestrictedFailuresCanBeLeft) {
  disk.fail_at = 1;
  disk.failure = {EIO, 0};
  const Outcome outcome = overwrite(1, Data(512), kAuse | kImmed);
  EXPECT_TRUE(is_good(outcome)) << "answered before it failed";
  ASSERT_TRUE(outcome.detached_end);
  EXPECT_EQ(outcome.detached_end->sense, sense::sanitize_failed());
  disk.fail_at.reset();
  EXPECT_TRUE(is_sense(run(disk, cdb10(0x28, 0, 1)), sense::sanitize_failed()));
  EXPECT_TRUE(is_good(run(disk, sanitize(kExitFailureMode))));
  EXPECT_TRUE(is_good(run(disk, cdb10(0x28, 0, 1))));
  EXPECT_TRUE(is_good(run(disk, sanitize(kExitFailureMode)))) << "nothing to exit from";
}

TEST_F(Sanitize, ParameterListLengths) {
  for (const size_t bytes : {0U, 1U, 3U, 4U, 517U, 0xFFFFU}) {
    EXPECT_TRUE(is_invalid_field(run(disk, sanitize(kOverwrite, bytes), Data(bytes)), 7)) << bytes;
  }
  for (const uint8_t action : {kBlockErase, kExitFailureMode}) {
    EXPECT_TRUE(is_invalid_field(run(disk, sanitize(action, 8), Data(8)), 7));
  }
  Data list = overwrite_list(1, Data(512));
  EXPECT_TRUE(is_sense(run(disk, sanitize(kOverwrite, list.size()), std::span(list).first(515)),
                       sense::parameter_list_length_error()));
  EXPECT_TRUE(is_sense(run(disk, sanitize(kOverwrite, 5), overwrite_list(1, Data(1), 2)),
                       sense::parameter_list_length_error()));
  EXPECT_TRUE(disk.done.empty());
  EXPECT_EQ(disk.state().condition, LuCondition::ready);
}

TEST_F(Sanitize, ParameterListFields) {
  const auto refused = [&](const Data& list) { return run(disk, sanitize(kOverwrite, list.size()), list); };
  const Data block(512);
  const auto invalid = [](uint16_t byte, std::optional<uint8_t> bit = {}) {
    return sense::invalid_field_in_parameter_list(byte, bit);
  };
  EXPECT_TRUE(is_sense(refused(overwrite_list(0, block)), invalid(0, uint8_t{4})));
  EXPECT_TRUE(is_sense(refused(overwrite_list(0x21, block)), invalid(0, uint8_t{6})));
  EXPECT_TRUE(is_sense(refused(overwrite_list(0x41, block)), invalid(0, uint8_t{6})));
  EXPECT_TRUE(is_sense(refused(overwrite_list(1, block, 0)), invalid(2)));
  EXPECT_TRUE(is_sense(refused(overwrite_list(1, block, 513)), invalid(2)));
  Data list = overwrite_list(1, block);
  list[1] = std::byte{1};
  EXPECT_TRUE(is_sense(refused(list), invalid(1)));
  EXPECT_TRUE(disk.done.empty());
}

TEST_F(Sanitize, ReservedBitsAndServiceActions) {
  for (const uint8_t action : {kOverwrite, kBlockErase, kExitFailureMode}) {
    EXPECT_TRUE(is_invalid_field(run(disk, sanitize(action, 0, 0x40)), 1, uint8_t{6}));
    for (uint16_t byte = 2; byte < 7; ++byte) {
      std::vector<uint8_t> cdb = sanitize(action, action == kOverwrite ? 516 : 0);
      cdb[byte] = 1;
      EXPECT_TRUE(is_invalid_field(run(disk, cdb, Data(516)), byte, uint8_t{0}));
    }
  }
  for (unsigned action = 0; action < 0x20; ++action) {
    if (action == kOverwrite || action == kBlockErase || action == kExitFailureMode) continue;
    EXPECT_EQ(find_command(0x48, action), nullptr) << action;
  }
}

TEST_F(Sanitize, WriteProtectedAndReserved) {
  LuState state = disk.state();
  state.write_protected = true;
  ++state.generation;
  disk.set_state(state);
  EXPECT_TRUE(is_sense(overwrite(1, Data(512)), sense::write_protected()));
  EXPECT_TRUE(is_sense(run(disk, sanitize(kBlockErase)), sense::write_protected()));
  state.write_protected = false;
  state.reserved_by = 99;
  ++state.generation;
  disk.set_state(state);
  EXPECT_EQ(overwrite(1, Data(512)).done.status, Status::reservation_conflict);
  EXPECT_EQ(run(disk, sanitize(kBlockErase)).done.status, Status::reservation_conflict);
}

TEST_F(Sanitize, WhatHappenedWhileItWaitedForItsClaim) {
  struct Change {
    LuCondition condition;
    bool write_protected;
    Sense sense;
  };
  const Change changes[] = {
      {LuCondition::stopped, false, sense::not_ready(Asc::initializing_command_required)},
      {LuCondition::sanitizing, false, sense::in_progress(Asc::sanitize_in_progress, 0)},
      {LuCondition::ready, true, sense::write_protected()},
  };
  for (const Change& change : changes) {
    Command command;
    const auto cdb = sanitize(kBlockErase);
    std::copy(cdb.begin(), cdb.end(), command.cdb.begin());
    command.lu = &disk.lu;
    command.entry = find_command(0x48, kBlockErase);
    command.phase = std::get<DataPhase>(command.entry->admit(command));
    Data scratch(command.phase.scratch_bytes);
    command.scratch = scratch;
    ASSERT_TRUE(std::holds_alternative<Claim>(command.entry->start(command)));
    const Step step = command.entry->resume(command, {});
    ASSERT_TRUE(std::holds_alternative<Update>(step));
    LuState state = disk.state();
    state.condition = change.condition;
    state.write_protected = change.write_protected;
    const Decision decision = std::get<Update>(step).decide(state, command, {});
    EXPECT_EQ(decision.after, AfterUpdate::done);
    EXPECT_EQ(decision.done.sense, change.sense);
    EXPECT_EQ(decision.state, nullptr);
  }
}

TEST_F(Sanitize, AMediumThatGrowsIsDoneToItsNewEnd) {
  ModelDisk grown(3000);
  grown.fill(1);
  luns.units[0] = &grown.lu;
  LuState small = grown.state();
  small.block_count = 1000;
  grown.set_state(small);
  size_t seen = 0;
  grown.before_io = [&](const Io&) {
    if (++seen != 2) return;
    LuState state = grown.state();
    state.block_count = 3000;
    grown.set_state(state);
  };
  const Data list = overwrite_list(1, pattern(512, 4));
  EXPECT_TRUE(is_good(run(grown, sanitize(kOverwrite, list.size()), list)));
  EXPECT_TRUE(grown.bytes == repeated(pattern(512, 4), 512, 3000));
}

}  // namespace
}  // namespace itgtd::scsi::testing
