// Whole runs against a target that does as it is told.
#include "bench/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/bench/scripted_target.h"

namespace itgtd::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

LoadOptions options_for(const ScriptedTarget& target) {
  LoadOptions options;
  options.host = "127.0.0.1";
  options.port = target.port();
  options.target = "iqn.2017-01.com.example:t";
  options.initiator = "iqn.2017-01.com.example:i";
  options.count = 200;
  options.depth = 4;
  return options;
}

TEST(Load, DoesExactlyTheCountOfReads) {
  ScriptedTarget target({});
  LoadOptions options = options_for(target);
  options.connections = 3;
  const Result<LoadResult> result = run_load(options);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_TRUE(result->clean());
  EXPECT_EQ(result->statistics.reads.total(), 200U);
  EXPECT_EQ(target.ios(), 200U);
  EXPECT_EQ(target.logouts(), 3U);
  EXPECT_EQ(result->capacity.bytes(), ScriptedTarget::kDiskBytes);
}

TEST(Load, SpreadsConnectionsOverThreads) {
  ScriptedTarget target({});
  LoadOptions options = options_for(target);
  options.connections = 3;
  options.threads = 2;
  EXPECT_EQ(run_load(options).value().statistics.reads.total(), 200U);
}

struct TransferCase {
  const char* name;
  Behaviour behaviour;
  uint32_t block_bytes;
  bool digests;
  bool expects_r2t;
};

class Transfer : public ::testing::TestWithParam<TransferCase> {};

// Every way in which data can travel brings back what was written.
TEST_P(Transfer, KeepsTheData) {
  ScriptedTarget target(GetParam().behaviour);
  LoadOptions options = options_for(target);
  options.read_percent = 50;
  options.block_bytes = GetParam().block_bytes;
  options.verify = true;
  options.header_digest = options.data_digest = GetParam().digests;
  options.connections = 2;
  const Result<LoadResult> result = run_load(options);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_THAT(result->failures, IsEmpty());
  EXPECT_EQ(result->statistics.first_error, "");
  EXPECT_TRUE(result->clean());
  EXPECT_EQ(result->statistics.reads.total() + result->statistics.writes.total(), 200U);
  EXPECT_GT(result->read_back, 0U);
  EXPECT_EQ(target.r2ts() > 0, GetParam().expects_r2t);
}

INSTANTIATE_TEST_SUITE_P(
    All, Transfer,
    ::testing::Values(
        TransferCase{"immediate", {}, 4096, false, false}, TransferCase{"digests", {}, 4096, true, false},
        TransferCase{"single_blocks", {}, 512, true, false},
        TransferCase{"unsolicited", {.max_segment = 8192}, 65536, true, false},
        TransferCase{"unsolicited_only", {.immediate_data = false, .max_segment = 4096}, 16384, false, false},
        TransferCase{"r2t", {.initial_r2t = true, .immediate_data = false}, 16384, true, true},
        TransferCase{"r2t_after_immediate", {.initial_r2t = true, .max_segment = 2048}, 16384, false, true},
        TransferCase{"r2t_after_burst",
                     {.first_burst = 8192, .max_burst = 12288, .max_segment = 4096},
                     65536,
                     true,
                     true},
        TransferCase{
            "odd_segments", {.first_burst = 4099, .max_burst = 5001, .max_segment = 1021}, 16384, true, true},
        TransferCase{"separate_status", {.separate_status = true}, 16384, false, false},
        TransferCase{"narrow_window", {.command_window = 1}, 4096, false, false},
        TransferCase{"pings", {.ping_each_command = true}, 4096, true, false}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Load, AnswersPings) {
  ScriptedTarget target({.ping_each_command = true});
  EXPECT_TRUE(run_load(options_for(target)).value().clean());
  EXPECT_GT(target.pings_answered(), 100U);
}

TEST(Load, PassesLargeReadsOver) {
  ScriptedTarget target({});
  LoadOptions options = options_for(target);
  options.block_bytes = 256u << 10;
  const Result<LoadResult> result = run_load(options);
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->clean()) << result->statistics.first_error;
  EXPECT_EQ(result->statistics.reads.total(), 200U);
}

TEST(Load, SeesALostWrite) {
  ScriptedTarget target({.lose_lba = 8});
  LoadOptions options = options_for(target);
  options.read_percent = 0;
  options.random = false;
  options.verify = true;
  options.range_bytes = 64 << 10;
  const Result<LoadResult> result = run_load(options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->statistics.mismatches, 1U);
  EXPECT_THAT(result->statistics.first_error, HasSubstr("block 0x8"));
  EXPECT_THAT(result->statistics.first_error, HasSubstr("all zeros"));
  EXPECT_FALSE(result->clean());
}

TEST(Load, FillsBeforeItVerifiesReads) {
  ScriptedTarget target({});
  LoadOptions options = options_for(target);
  options.verify = options.fill = true;
  options.range_bytes = 64 << 10;
  const Result<LoadResult> result = run_load(options);
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->clean());
  EXPECT_EQ(result->statistics.unchecked, 0U);
  EXPECT_EQ(result->read_back, 16U);
  EXPECT_EQ(result->statistics.reads.total(), 200U);
}

TEST(Load, CountsFailedCommandsAndTellsTheFirstSense) {
  ScriptedTarget target({.fail_lba = 16});
  LoadOptions options = options_for(target);
  options.random = false;
  options.range_bytes = 64 << 10;
  options.count = 32;
  const Result<LoadResult> result = run_load(options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->statistics.errors, 2U);
  EXPECT_EQ(result->statistics.reads.total(), 30U);
  EXPECT_THAT(result->statistics.first_error, HasSubstr("read of LBA 0x10: CHECK CONDITION, MEDIUM ERROR"));
}

TEST(Load, CountsAResidualAsAnError) {
  ScriptedTarget target({.short_reads = true});
  const Result<LoadResult> result = run_load(options_for(target));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->statistics.errors, 200U);
  EXPECT_THAT(result->statistics.first_error, HasSubstr("residual 2048"));
}

TEST(Load, TellsThatTheTargetClosed) {
  ScriptedTarget target({.close_after = 50});
  const Result<LoadResult> result = run_load(options_for(target));
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(result->failures, ElementsAre(HasSubstr("closed the connection")));
}

TEST(Load, TellsThatTheTargetRejects) {
  ScriptedTarget target({.reject_after = 50});
  EXPECT_THAT(run_load(options_for(target)).value().failures,
              ElementsAre("the target rejected a PDU, reason 0x04"));
}

// RFC 7143 §4.2.2.2: a gap in StatSN is a lost status.
TEST(Load, TellsThatAStatusIsMissing) {
  ScriptedTarget target({.separate_status = true, .skip_stat_sn = true});
  EXPECT_THAT(run_load(options_for(target)).value().failures,
              ElementsAre(HasSubstr("the target sent StatSN")));
}

TEST(Load, GivesUpOnAUnitThatIsNeverReady) {
  ScriptedTarget target({.unit_attentions = 1000});
  EXPECT_THAT(run_load(options_for(target)).error().message,
              HasSubstr("LUN 0 is not ready: CHECK CONDITION"));
}

TEST(Load, RefusesARangeThatDoesNotFit) {
  ScriptedTarget target({});
  LoadOptions options = options_for(target);
  options.range_bytes = 8 << 20;
  EXPECT_THAT(run_load(options).error().message, HasSubstr("--range"));
  options.range_bytes = 0;
  options.verify = true;
  options.depth = 4096;
  EXPECT_THAT(run_load(options).error().message, HasSubstr("longer than its depth"));
}

TEST(Load, TellsThatNobodyListens) {
  LoadOptions options;
  {
    const ScriptedTarget target({});
    options = options_for(target);
  }
  EXPECT_THAT(run_load(options).error().to_string(), HasSubstr("Connection refused"));
}

TEST(Load, KeepsItsRate) {
  ScriptedTarget target({});
  LoadOptions options = options_for(target);
  options.count = 50;
  options.rate = 500;
  const Result<LoadResult> result = run_load(options);
  ASSERT_TRUE(result.ok());
  EXPECT_GE(result->seconds, 0.095);  // 49 intervals of 2 ms
}

TEST(Load, MeasuresForItsTimeAfterTheWarmUp) {
  ScriptedTarget target({});
  LoadOptions options = options_for(target);
  options.count = 0;
  options.seconds = 0.1;
  options.warmup_seconds = 0.05;
  const Result<LoadResult> result = run_load(options);
  ASSERT_TRUE(result.ok());
  EXPECT_GE(result->seconds, 0.1);
  EXPECT_LT(result->statistics.reads.total(), target.ios());
}

}  // namespace
}  // namespace itgtd::bench
