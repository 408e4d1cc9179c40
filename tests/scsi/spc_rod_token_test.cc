#include <algorithm>
#include <cerrno>
#include <cstring>

#include "scsi/dispatch.h"
#include "scsi/rod_tokens.h"
#include "tests/scsi/copy_target.h"

namespace itgtd::scsi::testing {
namespace {

void put(Wire& to, size_t at, size_t bytes, uint64_t value) {
  for (size_t i = 0; i < bytes; ++i) to[at + i] = static_cast<uint8_t>(value >> (8 * (bytes - 1 - i)));
}
uint64_t get(const Wire& from, size_t at, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value = (value << 8) | from.at(at + i);
  return value;
}

using Token = Wire;

class OffloadedCopy : public CopyTarget {
 protected:
  static void append_ranges(Wire& list, size_t length_at, const std::vector<RodRange>& ranges) {
    put(list, length_at, 2, ranges.size() * 16);
    for (const RodRange& range : ranges) {
      list.resize(list.size() + 16);
      put(list, list.size() - 16, 8, range.lba);
      put(list, list.size() - 8, 4, range.blocks);
    }
    put(list, 0, 2, list.size() - 2);
  }
  static Wire populate_list(const std::vector<RodRange>& ranges, uint32_t timeout_seconds = 0) {
    Wire list(16);
    put(list, 4, 4, timeout_seconds);
    append_ranges(list, 14, ranges);
    return list;
  }
  static Wire write_list(const Token& token, const std::vector<RodRange>& ranges, uint64_t offset = 0,
                         uint8_t flags = 0) {
    Wire list(536);
    list[2] = flags;
    put(list, 8, 8, offset);
    std::ranges::copy(token, list.begin() + 16);
    append_ranges(list, 534, ranges);
    return list;
  }
  static Wire cdb(uint8_t service_action, size_t list_bytes, uint32_t list_identifier) {
    Wire made(16);
    made[0] = 0x83;
    made[1] = service_action;
    put(made, 6, 4, list_identifier);
    put(made, 10, 4, list_bytes);
    return made;
  }
  CopyOutcome populate(Nexus& from, uint16_t lun, const Wire& list, uint32_t list_identifier = 1) {
    return run(from, lun, cdb(0x10, list.size(), list_identifier), list);
  }
  CopyOutcome write(Nexus& from, uint16_t lun, const Wire& list, uint32_t list_identifier = 2) {
    return run(from, lun, cdb(0x11, list.size(), list_identifier), list);
  }
  CopyOutcome information(Nexus& from, uint16_t lun, uint32_t list_identifier, uint32_t length = 4096) {
    Wire made(16);
    made[0] = 0x84;
    made[1] = 0x07;
    put(made, 2, 4, list_identifier);
    put(made, 10, 4, length);
    return run(from, lun, made);
  }
  /// Makes a token and fetches it.
  Token make(uint16_t lun, const std::vector<RodRange>& ranges, uint32_t timeout_seconds = 0) {
    EXPECT_TRUE(is_good(populate(nexus, lun, populate_list(ranges, timeout_seconds))));
    const Wire told = information(nexus, lun, 1).data_in;
    EXPECT_EQ(told.size(), 32U + 4 + 2 + 512);
    if (told.size() != 550) return Token(512);
    return {told.begin() + 38, told.end()};
  }
  static Sense illegal(Asc asc) { return sense::illegal_request(asc); }
  static Sense field(uint16_t byte) { return sense::invalid_field_in_parameter_list(byte); }
  void change(size_t index, const std::function<void(LuState&)>& what) {
    LuState state = disk(index).state();
    what(state);
    ++state.generation;
    disk(index).set_state(state);
  }
  /// What the worker does before a write of others.
  void write_of_others(size_t index, uint64_t lba, uint64_t blocks) {
    const Decision decision = on_blocks_written(*unit(index).state, lba, blocks);
    if (decision.state) unit(index).state = decision.state;
  }
};

TEST_F(OffloadedCopy, FromOneUnitToAnother) {
  const Token token = make(0, {{10, 1000}, {1500, 7}});
  ASSERT_TRUE(is_good(write(nexus, 1, write_list(token, {{5, 3}, {100, 1004}}))));
  EXPECT_EQ(disk(1).slice(5, 3), disk(0).slice(10, 3));
  EXPECT_EQ(disk(1).slice(100, 997), disk(0).slice(13, 997));
  EXPECT_EQ(disk(1).slice(1097, 7), disk(0).slice(1500, 7));

  const Wire told = information(nexus, 1, 2).data_in;
  ASSERT_EQ(told.size(), 36U);
  EXPECT_EQ(get(told, 0, 4), 32U);
  EXPECT_EQ(told[4], 0x11);
  EXPECT_EQ(told[5], 0x01);
  EXPECT_EQ(told[12], 0x00);
  EXPECT_EQ(told[15], 0xF1);
  EXPECT_EQ(get(told, 16, 8), 1007U);
  EXPECT_EQ(get(told, 32, 4), 0U);
}

// The fields of SPC-4's ROD token format that an initiator may look at.
TEST_F(OffloadedCopy, Token) {
  ASSERT_TRUE(is_good(populate(nexus, 1, populate_list({{10, 20}}))));
  const Wire told = information(nexus, 1, 1).data_in;
  ASSERT_EQ(told.size(), 550U);
  EXPECT_EQ(get(told, 0, 4), 546U);
  EXPECT_EQ(told[4], 0x10);
  EXPECT_EQ(told[5], 0x01);
  EXPECT_EQ(get(told, 16, 8), 20U);
  EXPECT_EQ(get(told, 32, 4), 514U);
  const Wire token(told.begin() + 38, told.end());
  EXPECT_EQ(get(token, 0, 4), 0x0080'0001U);
  EXPECT_EQ(get(token, 6, 2), 504U);
  EXPECT_EQ(token[16], 0xE4);
  const auto& naa = unit(1).identity.naa;
  EXPECT_TRUE(std::equal(naa.begin(), naa.end(), token.begin() + 24));
  EXPECT_EQ(get(token, 56, 8), 20U * 512);
  EXPECT_EQ(get(token, 96, 4), 512U);
  EXPECT_EQ(std::string(token.begin() + 132, token.begin() + 160), unit(1).identity.target_name);
  EXPECT_TRUE(is_sense(information(nexus, 1, 1), sense::invalid_field_in_cdb(2))) << "it is told once";
}

TEST_F(OffloadedCopy, WhoHadNoRoomForTheTokenAsksAgain) {
  ASSERT_TRUE(is_good(populate(nexus, 0, populate_list({{10, 20}}))));
  for (const uint32_t length : {0U, 4U, 32U, 549U}) {
    EXPECT_EQ(information(nexus, 0, 1, length).data_in.size(), length);
  }
  EXPECT_EQ(information(nexus, 0, 1, 550).data_in.size(), 550U);
}

TEST_F(OffloadedCopy, AnyRangesAreCopiedInOrder) {
  Random pick(5);
  const auto some_ranges = [&](uint64_t blocks_max) {
    std::vector<RodRange> ranges;
    uint64_t lba = 0;
    uint64_t sum = 0;
    for (uint32_t i = 1 + pick.pick(8); i > 0; --i) {
      lba += pick.pick(100);
      const uint64_t blocks = std::min<uint64_t>(pick.pick(150), blocks_max - sum);
      ranges.push_back({lba, blocks});
      lba += blocks;
      sum += blocks;
    }
    std::shuffle(ranges.begin(), ranges.end(), std::mt19937(pick.pick(1000)));
    return ranges;
  };
  for (int round = 0; round < 60; ++round) {
    const auto from = some_ranges(1000);
    Data data;
    for (const RodRange& range : from) {
      const Data part = disk(0).slice(range.lba, range.blocks);
      data.insert(data.end(), part.begin(), part.end());
    }
    const uint64_t blocks = data.size() / 512;
    const uint64_t offset = pick.pick(blocks + 1);
    const auto to = some_ranges(blocks - offset);
    Data model = disk(1).bytes;
    size_t at = offset * 512;
    for (const RodRange& range : to) {
      std::memcpy(model.data() + range.lba * 512, data.data() + at, range.blocks * 512);
      at += range.blocks * 512;
    }
    ASSERT_TRUE(is_good(write(nexus, 1, write_list(make(0, from), to, offset)))) << round;
    ASSERT_EQ(std::memcmp(model.data(), disk(1).bytes.data(), model.size()), 0) << round;
    (void)information(nexus, 1, 2);
  }
}

TEST_F(OffloadedCopy, AsManyRangesAsThereMayBe) {
  std::vector<RodRange> from;
  std::vector<RodRange> to{{0, 3}};
  for (uint64_t i = 0; i < kRodRangesMax; ++i) from.push_back({i * 10, 5});
  for (uint64_t i = 1; i < kRodRangesMax; ++i) to.push_back({i * 10, 5});
  const auto token = make(0, from);
  ASSERT_TRUE(is_good(write(nexus, 1, write_list(token, to))));
  EXPECT_EQ(disk(1).slice(0, 3), disk(0).slice(0, 3));
  EXPECT_EQ(disk(1).slice(10, 2), disk(0).slice(3, 2));
  EXPECT_EQ(disk(1).slice(632, 3), disk(0).slice(630, 3));
  from.push_back({1000, 1});
  const Sense too_many = sense::refused_descriptor(Asc::too_many_segment_descriptors, 14);
  EXPECT_TRUE(is_sense(populate(nexus, 0, populate_list(from)), too_many));
}

TEST_F(OffloadedCopy, WithinOneUnit) {
  const Data data = disk(0).slice(0, 100);
  const Token token = make(0, {{0, 100}});
  EXPECT_TRUE(is_good(write(nexus, 0, write_list(token, {{100, 100}}))));
  EXPECT_EQ(disk(0).slice(100, 100), data);
  // Onto itself it would end the token that it is of.
  EXPECT_TRUE(is_sense(write(nexus, 0, write_list(token, {{500, 10}, {99, 10}})), field(536 + 16)));
  EXPECT_TRUE(is_good(write(nexus, 0, write_list(token, {{300, 10}}))));
}

// The block device zero ROD token is not made by anybody.
TEST_F(OffloadedCopy, Zeros) {
  Token zeros(512);
  put(zeros, 0, 4, 0xFFFF'0001);
  put(zeros, 6, 2, 504);
  Data model = disk(1).bytes;
  std::memset(model.data() + 5 * 512, 0, 1500 * 512);
  std::memset(model.data() + 2000 * 512, 0, 512);
  const CopyOutcome outcome = write(nexus, 1, write_list(zeros, {{5, 1500}, {7, 0}, {2000, 1}}, 77, 0x02));
  ASSERT_TRUE(is_good(outcome));
  EXPECT_EQ(disk(1).bytes, model);
  EXPECT_EQ(disk(1).done.size(), 2U);
  EXPECT_EQ(disk(1).done[0].kind, IoKind::write_zeroes);
  EXPECT_EQ(get(information(nexus, 1, 2).data_in, 16, 8), 1501U);
}

// ---- The life of a token ----

TEST_F(OffloadedCopy, AWriteToItsBlocksRevokesIt) {
  const Token token = make(0, {{10, 100}, {500, 1}});
  write_of_others(0, 0, 10);
  write_of_others(0, 110, 390);
  EXPECT_TRUE(is_good(write(nexus, 1, write_list(token, {{0, 10}}))));
  write_of_others(0, 500, 1);
  EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, {{0, 10}})), illegal(Asc::token_revoked)));
}

// What is copied is what the token was made of, or nothing: never a mixture.
TEST_F(OffloadedCopy, AWriteBetweenTwoChunksEndsTheCopy) {
  const Token token = make(0, {{0, 1500}});
  size_t claims = 0;
  before_step = [&](const Step& step) {
    if (std::holds_alternative<Claim>(step) && ++claims == 2) write_of_others(0, 1400, 1);
  };
  EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, {{0, 1500}})), illegal(Asc::token_revoked)));
  before_step = nullptr;
  const Wire told = information(nexus, 1, 2).data_in;
  EXPECT_EQ(told[5], 0x02);
  EXPECT_EQ(told[12], 0x02);
  ASSERT_EQ(told[14], 18);
  EXPECT_EQ(told[32 + 12], 0x23);
  EXPECT_EQ(told[32 + 13], 0x06);
  EXPECT_EQ(get(told, 16, 8), (kScratchBytesMax - kCopyPlanBytes) / 512);
  EXPECT_EQ(get(told, 32 + 18, 4), 0U);
}

// A command that claims looks again when it has the blocks: the token may be younger than its wait.
TEST_F(OffloadedCopy, AClaimThatWaitedForATokenRevokesIt) {
  const std::pair<Wire, size_t> writers[] = {
      {{0x89, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0}, 1024},
      {{0x8B, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0}, 512},
      {{0x9C, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0}, 512},
      {{0x8E, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0}, 512},
  };
  for (const auto& [cdb, bytes] : writers) {
    Command command;
    std::copy(cdb.begin(), cdb.end(), command.cdb.begin());
    command.nexus = &other;
    ASSERT_TRUE(std::holds_alternative<DataPhase>(admit(command, 0)));
    Data data(bytes);
    Data scratch(command.phase.scratch_bytes);
    command.data = data;
    command.scratch = scratch;
    command.data_out_bytes = command.expected_data_transfer_length = static_cast<uint32_t>(bytes);
    ASSERT_TRUE(std::holds_alternative<Claim>(start(command)));
    const Token token = make(0, {{5, 1}});
    const Token neighbour = make(0, {{6, 1}, {4, 1}});
    Step step = resume(command, {});
    ASSERT_TRUE(std::holds_alternative<Update>(step)) << command.entry->name;
    const Decision decision = std::get<Update>(step).decide(*unit(0).state, command, {});
    ASSERT_EQ(decision.after, AfterUpdate::resume);
    unit(0).state = decision.state;
    EXPECT_TRUE(std::holds_alternative<Io>(resume(command, {}))) << command.entry->name;
    EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, {{0, 1}})), illegal(Asc::token_revoked)));
    EXPECT_TRUE(is_good(write(nexus, 1, write_list(neighbour, {{0, 1}}))));
  }
}

// The copies of this target are writes too.
TEST_F(OffloadedCopy, CopiesRevokeTheTokensOfWhatTheyWrite) {
  const Token first = make(1, {{0, 10}});
  const Token second = make(1, {{20, 10}});
  const Token third = make(1, {{40, 10}});
  Xcopy xcopy;
  xcopy.cscd(unit(0)).cscd(unit(1)).segment({0, 1, 15, 0, 0});
  EXPECT_TRUE(is_good(this->xcopy(xcopy.list())));
  EXPECT_EQ(disk(1).slice(0, 15), disk(0).slice(0, 15));
  EXPECT_TRUE(is_sense(write(nexus, 2, write_list(first, {{0, 1}})), illegal(Asc::token_revoked)));
  EXPECT_TRUE(is_good(write(nexus, 1, write_list(make(0, {{0, 1}}), {{29, 1}}))));
  EXPECT_TRUE(is_sense(write(nexus, 2, write_list(second, {{0, 1}})), illegal(Asc::token_revoked)));
  EXPECT_TRUE(is_good(write(nexus, 2, write_list(third, {{0, 1}}))));
}

TEST_F(OffloadedCopy, ExpiresWhenItIsNotUsed) {
  const Token of_default = make(0, {{0, 10}});
  const Token of_two_seconds = make(0, {{0, 10}}, 2);
  time_ms += 1'900;
  EXPECT_TRUE(is_good(write(nexus, 1, write_list(of_two_seconds, {{0, 10}}))));
  time_ms += 1'900;
  EXPECT_TRUE(is_good(write(nexus, 1, write_list(of_two_seconds, {{0, 10}}))));
  time_ms += 2'000;
  EXPECT_TRUE(is_sense(write(nexus, 1, write_list(of_two_seconds, {{0, 10}})), illegal(Asc::token_expired)));
  EXPECT_TRUE(is_good(write(nexus, 1, write_list(of_default, {{0, 10}}))));
  time_ms += 60'000;
  EXPECT_TRUE(is_sense(write(nexus, 1, write_list(of_default, {{0, 10}})), illegal(Asc::token_expired)));
  EXPECT_EQ(unit(0).state->tokens, nullptr);
}

// DEL_TKN: when the copy went well.
TEST_F(OffloadedCopy, IsDeletedOnDemand) {
  const Token token = make(0, {{0, 10}});
  disk(1).fail_at = 0;
  disk(1).failure = {EIO, 0};
  EXPECT_FALSE(write(nexus, 1, write_list(token, {{0, 10}}, 0, 0x02)).good());
  disk(1).fail_at.reset();
  EXPECT_TRUE(is_good(write(nexus, 1, write_list(token, {{0, 10}}, 0, 0x02))));
  EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, {{0, 10}})), illegal(Asc::token_deleted)));
}

TEST_F(OffloadedCopy, IsMadeWhenNoWriteIsUnderWay) {
  const CopyOutcome outcome = populate(nexus, 0, populate_list({{500, 10}, {20, 5}, {100, 0}}));
  ASSERT_TRUE(is_good(outcome));
  ASSERT_EQ(outcome.claims.size(), 1U);
  EXPECT_EQ(outcome.claims[0].count, 1);
  EXPECT_EQ(outcome.claims[0].ranges[0].lu_key, unit(0).key);
  EXPECT_EQ(outcome.claims[0].ranges[0].lba, 20U);
  EXPECT_EQ(outcome.claims[0].ranges[0].blocks, 490U);
}

TEST_F(OffloadedCopy, TooManyTokens) {
  for (size_t i = 0; i < kRodTokensMax; ++i) (void)make(0, {{i, 1}});
  EXPECT_TRUE(is_sense(populate(other, 0, populate_list({{0, 1}})),
                       illegal(Asc::insufficient_resources_to_create_rod_token)));
  EXPECT_TRUE(is_good(write(nexus, 1, write_list(make(0, {{0, 1}}), {{0, 1}}))));
}

// ---- Who may use it ----

TEST_F(OffloadedCopy, OnlyWhereTheSourceIsSeen) {
  const Token token = make(0, {{0, 10}});
  other_luns.units[0] = nullptr;
  const Data before = disk(1).bytes;
  EXPECT_TRUE(is_sense(write(other, 1, write_list(token, {{0, 10}})), illegal(Asc::token_unknown)));
  EXPECT_EQ(disk(1).bytes, before);
  other_luns.units[0] = &unit(0);
  EXPECT_TRUE(is_good(write(other, 1, write_list(token, {{0, 10}})))) << "who has the token may use it";
}

TEST_F(OffloadedCopy, ReservationsHold) {
  const Token token = make(0, {{0, 10}});
  change(0, [&](LuState& state) { state.reserved_by = other.id(); });
  EXPECT_EQ(write(nexus, 1, write_list(token, {{0, 10}})).done.status, Status::reservation_conflict);
  EXPECT_EQ(populate(nexus, 0, populate_list({{0, 10}})).done.status, Status::reservation_conflict);
  EXPECT_TRUE(is_good(write(other, 1, write_list(token, {{0, 10}}))));
  change(1, [&](LuState& state) { state.write_protected = true; });
  EXPECT_TRUE(is_sense(write(other, 1, write_list(token, {{0, 10}})), sense::write_protected()));
  EXPECT_TRUE(is_sense(write(other, 1, {}), sense::write_protected()));
}

TEST_F(OffloadedCopy, ASourceThatGoes) {
  const Token token = make(0, {{0, 1500}});
  for (const size_t at : {1U, 2U, 5U}) {
    size_t steps = 0;
    before_step = [&](const Step&) {
      if (++steps == at) luns.units[0] = nullptr;
    };
    const Asc expected = at == 1 ? Asc::token_unknown : Asc::logical_unit_not_supported;
    EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, {{0, 1500}})), illegal(expected))) << at;
    luns.units[0] = &unit(0);
  }
  before_step = [&](const Step&) { luns.units[1] = nullptr; };
  EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, {{0, 10}})), sense::logical_unit_not_supported()));
}

TEST_F(OffloadedCopy, EveryBitOfTheTokenCounts) {
  const Token token = make(0, {{0, 10}});
  for (size_t bit = 0; bit < 512 * 8; ++bit) {
    Token wrong = token;
    wrong[bit / 8] = static_cast<uint8_t>(wrong[bit / 8] ^ (1U << (bit % 8)));
    const CopyOutcome outcome = write(nexus, 1, write_list(wrong, {{0, 10}}));
    ASSERT_EQ(outcome.done.status, Status::check_condition) << bit;
    const Asc asc = outcome.done.sense.asc;
    ASSERT_TRUE(asc == Asc::token_corrupt || asc == Asc::token_unknown || asc == Asc::unsupported_token_type)
        << bit;
  }
  EXPECT_TRUE(disk(1).done.empty());
  EXPECT_TRUE(is_good(write(nexus, 1, write_list(token, {{0, 10}}))));
}

// ---- Lists that are no lists ----

TEST_F(OffloadedCopy, EveryTruncationIsRefused) {
  const Token token = make(0, {{0, 10}});
  const Wire populates = populate_list({{0, 10}, {20, 4}});
  const Wire writes = write_list(token, {{0, 3}, {20, 4}});
  for (size_t bytes = 1; bytes < populates.size(); ++bytes) {
    const Wire part(populates.begin(), populates.begin() + static_cast<std::ptrdiff_t>(bytes));
    EXPECT_TRUE(is_sense(populate(nexus, 0, part), sense::parameter_list_length_error()));
    EXPECT_TRUE(
        is_sense(run(nexus, 0, cdb(0x10, populates.size(), 1), part), sense::parameter_list_length_error()));
  }
  for (size_t bytes = 1; bytes < writes.size(); ++bytes) {
    const Wire part(writes.begin(), writes.begin() + static_cast<std::ptrdiff_t>(bytes));
    EXPECT_TRUE(is_sense(write(nexus, 1, part), sense::parameter_list_length_error()));
    EXPECT_TRUE(
        is_sense(run(nexus, 1, cdb(0x11, writes.size(), 1), part), sense::parameter_list_length_error()));
  }
  EXPECT_TRUE(is_good(populate(nexus, 0, {})));
  EXPECT_TRUE(is_good(write(nexus, 0, {})));
  for (const size_t bytes : {size_t{0x1'0002}, size_t{0xFFFF'FFFF}}) {
    EXPECT_TRUE(is_sense(run(cdb(0x10, bytes, 1)), sense::parameter_list_length_error()));
    EXPECT_TRUE(is_sense(run(cdb(0x11, bytes, 1)), sense::parameter_list_length_error()));
  }
}

TEST_F(OffloadedCopy, LengthsThatLie) {
  const Wire whole = populate_list({{0, 10}, {20, 4}});
  const auto with = [&](size_t at, uint64_t value) {
    Wire list = whole;
    put(list, at, 2, value);
    return populate(nexus, 0, list);
  };
  EXPECT_TRUE(is_sense(with(0, whole.size() - 1), sense::parameter_list_length_error()));
  EXPECT_TRUE(is_sense(with(0, 0xFFFF), sense::parameter_list_length_error()));
  EXPECT_TRUE(is_sense(with(0, whole.size() - 3), field(14)));
  for (const uint64_t length : {0U, 15U, 29U}) EXPECT_TRUE(is_sense(with(0, length), field(0)));
  for (const uint64_t length : {0U, 1U, 15U, 17U, 31U, 33U, 48U, 0xFFFFU, 0xFFF0U}) {
    EXPECT_TRUE(is_sense(with(14, length), field(14))) << length;
  }
  EXPECT_TRUE(is_good(with(14, 16)));
}

TEST_F(OffloadedCopy, RangesThatCanNotBe) {
  const Token token = make(0, {{0, 10}});
  const auto refused = [&](const std::vector<RodRange>& ranges, const Sense& on_populate,
                           const Sense& on_write) {
    EXPECT_TRUE(is_sense(populate(nexus, 0, populate_list(ranges)), on_populate));
    EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, ranges)), on_write));
  };
  const Sense beyond = sense::lba_out_of_range(kBlocks);
  refused({{0, 1}, {kBlocks, 1}}, beyond, beyond);
  refused({{kBlocks - 1, 2}}, beyond, beyond);
  refused({{0, 0xFFFF'FFFF}}, beyond, beyond);
  refused({{~uint64_t{0}, 2}}, sense::lba_out_of_range(~uint64_t{0}), sense::lba_out_of_range(~uint64_t{0}));
  refused({{0, 5}, {10, 3}, {4, 1}}, field(16 + 32), field(536 + 32));
  change(0, [](LuState& state) { state.block_count = 1 << 20; });
  change(1, [](LuState& state) { state.block_count = 1 << 20; });
  const uint64_t most = kCopyBytesMax / 512;
  refused({{0, most - 1}, {600'000, 2}}, field(16 + 16 + 8), field(536 + 16 + 8));
  EXPECT_TRUE(is_good(populate(nexus, 0, populate_list({{0, most - 1}, {600'000, 1}}))));
}

TEST_F(OffloadedCopy, MoreThanTheTokenStandsFor) {
  const Token token = make(0, {{0, 10}, {50, 10}});
  EXPECT_TRUE(is_good(write(nexus, 1, write_list(token, {{0, 20}}))));
  EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, {{0, 21}})), field(534)));
  EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, {{0, 15}}, 6)), field(534)));
  EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, {{0, 0}}, 21)), field(8)));
  EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, {{0, 1}}, ~uint64_t{0})), field(8)));
  EXPECT_TRUE(is_good(write(nexus, 1, write_list(token, {{0, 0}}, 20))));
}

TEST_F(OffloadedCopy, FieldsOfPopulateToken) {
  const auto with = [&](auto edit) {
    Wire list = populate_list({{0, 10}});
    edit(list);
    return populate(nexus, 0, list);
  };
  EXPECT_TRUE(is_sense(with([](Wire& list) { put(list, 4, 4, 601); }), field(4)));
  EXPECT_TRUE(is_good(with([](Wire& list) { put(list, 4, 4, 600); })));
  // ROD TYPE counts with RTV only.
  for (const uint64_t type : {0x0001'0000ULL, 0x0080'0002ULL, 0xFFFF'0001ULL, 0xFFFF'FFFFULL}) {
    EXPECT_TRUE(is_good(with([&](Wire& list) { put(list, 8, 4, type); })));
    EXPECT_TRUE(is_sense(with([&](Wire& list) {
                           list[2] = 0x02;
                           put(list, 8, 4, type);
                         }),
                         field(8)));
  }
  for (const uint64_t type : {0ULL, 0x0080'0000ULL, 0x0080'0001ULL, 0x0080'FFFFULL}) {
    EXPECT_TRUE(is_good(with([&](Wire& list) {
      list[2] = 0x03;
      put(list, 8, 4, type);
    })));
  }
}

TEST_F(OffloadedCopy, OtherTokens) {
  Token token = make(0, {{0, 10}});
  put(token, 0, 4, 0x0001'0000);
  EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, {{0, 1}})), illegal(Asc::unsupported_token_type)));
  EXPECT_TRUE(
      is_sense(write(nexus, 1, write_list(Token(512), {{0, 1}})), illegal(Asc::unsupported_token_type)));
  disks.push_back(make_disk(3, 103, 4096));
  luns.units[3] = &unit(3);
  nexus.clear(3);
  EXPECT_TRUE(is_sense(write(nexus, 3, write_list(make(0, {{0, 8}}), {{0, 1}})),
                       illegal(Asc::invalid_token_operation_cause_not_reportable)));
}

TEST_F(OffloadedCopy, AnyBytesAreAnswered) {
  Random pick(11);
  const Wire populates = populate_list({{0, 10}, {20, 4}, {90, 7}});
  for (int round = 0; round < 2'000; ++round) {
    Wire list = populates;
    for (uint32_t changes = 1 + pick.pick(3); changes > 0; --changes) {
      list[pick.pick(list.size())] = static_cast<uint8_t>(pick.pick(256));
    }
    (void)populate(nexus, 0, list);
    Wire writes = write_list(make(0, {{0, 40}}), {{0, 10}, {20, 4}}, 3);
    for (uint32_t changes = pick.pick(3); changes > 0; --changes) {
      // Mostly around the token, which would not be one any more.
      const size_t at = pick.pick(8) == 0   ? pick.pick(writes.size())
                        : pick.pick(2) == 0 ? pick.pick(16)
                                            : 528 + pick.pick(writes.size() - 528);
      writes[at] = static_cast<uint8_t>(pick.pick(256));
    }
    (void)write(nexus, 1, writes);
  }
}

// ---- Results ----

TEST_F(OffloadedCopy, WhileItGoesOn) {
  const Token token = make(0, {{0, 1500}});
  size_t ios = 0;
  before_step = [&](const Step& step) {
    if (!std::holds_alternative<Io>(step) || ++ios != 4) return;
    const Wire told = information(nexus, 1, 2).data_in;
    EXPECT_EQ(told[5], 0x11);
    EXPECT_EQ(get(told, 16, 8), 504U);
    EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, {{0, 1}})), illegal(Asc::operation_in_progress)));
    EXPECT_TRUE(
        is_sense(populate(nexus, 1, populate_list({{0, 1}}), 2), illegal(Asc::operation_in_progress)));
  };
  EXPECT_TRUE(is_good(write(nexus, 1, write_list(token, {{0, 1500}}))));
  EXPECT_EQ(information(nexus, 1, 2).data_in[5], 0x01);
}

TEST_F(OffloadedCopy, ThatWasAborted) {
  const Token token = make(0, {{0, 1500}});
  for (size_t steps = 0; steps < 8; ++steps) {
    stop_at = steps;
    EXPECT_FALSE(write(nexus, 1, write_list(token, {{0, 1500}})).ended);
    if (steps < 2) {
      EXPECT_FALSE(populate(nexus, 1, populate_list({{0, 1500}}), 3).ended);
    }
    stop_at.reset();
    EXPECT_EQ(information(nexus, 1, 2).data_in[5], 0x60);
    if (steps < 2) {
      EXPECT_EQ(information(nexus, 1, 3).data_in[5], 0x60);
    }
  }
}

TEST_F(OffloadedCopy, ErrorsOfTheMedia) {
  const Token token = make(0, {{100, 10}});
  disk(0).fail_at = 0;
  disk(0).failure = {EIO, 0};
  EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, {{0, 10}})), sense::unrecovered_read_error(100)));
  disk(0).fail_at.reset();
  disk(1).fail_at = 0;
  disk(1).failure = {ENOSPC, 0};
  EXPECT_TRUE(is_sense(write(nexus, 1, write_list(token, {{0, 10}})), sense::space_allocation_failed()));
}

TEST_F(OffloadedCopy, UnknownListIdentifiers) {
  EXPECT_TRUE(is_sense(information(nexus, 0, 1), sense::invalid_field_in_cdb(2)));
  ASSERT_TRUE(is_good(populate(nexus, 0, populate_list({{0, 1}}))));
  EXPECT_TRUE(is_sense(information(nexus, 0, 2), sense::invalid_field_in_cdb(2)));
  EXPECT_TRUE(is_sense(information(nexus, 1, 1), sense::invalid_field_in_cdb(2)));
  EXPECT_TRUE(is_sense(information(other, 0, 1), sense::invalid_field_in_cdb(2)));
  EXPECT_TRUE(is_sense(copy_status(1), sense::invalid_field_in_cdb(2))) << "EXTENDED COPY has its own";
  EXPECT_TRUE(is_good(information(nexus, 0, 1)));
}

}  // namespace
}  // namespace itgtd::scsi::testing
