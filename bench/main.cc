// itgt-bench: the command line. CLI11 stays in this file.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "bench/load.h"
#include "bench/options.h"
#include "bench/report.h"
#include "version.h"

namespace itgtd::bench {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

void add_workload(CLI::App& load, RawLoadOptions& raw) {
  load.add_flag("--read", raw.read, "read only");
  load.add_flag("--write", raw.write, "write only: destroys what is there");
  load.add_option("--mix", raw.mix, "percent of reads; the rest writes, which destroy what is there");
  load.add_flag("--random", raw.random, "any order (default)");
  load.add_flag("--sequential", raw.sequential, "one after the other, each connection in its own part");
  load.add_option("--block-size", raw.block_size, "of one I/O: 4k, 1M")->capture_default_str();
  load.add_option("--depth", raw.depth, "I/Os outstanding per connection")->capture_default_str();
  load.add_option("--connections", raw.connections, "sessions of one connection")->capture_default_str();
  load.add_option("--threads", raw.threads, "that share the connections")->capture_default_str();
  load.add_option("--range", raw.range, "from the unit's start (default: all; with --verify up to 1G)");
  load.add_option("--seed", raw.seed, "of the random order")->capture_default_str();
}

void add_duration(CLI::App& load, RawLoadOptions& raw) {
  load.add_option("--seconds", raw.seconds, "of the measurement")->capture_default_str();
  load.add_option("--warmup", raw.warmup, "seconds before it")->capture_default_str();
  load.add_option("--count", raw.count, "exactly so many I/Os, in place of --seconds");
  load.add_option("--rate", raw.rate, "I/Os a second in all; latency counts from when each is due");
}

void add_protocol(CLI::App& load, RawLoadOptions& raw) {
  load.add_option("--initiator", raw.initiator, "our name")->capture_default_str();
  load.add_option("--user", raw.user, "for CHAP");
  load.add_option("--secret-file", raw.secret_file, "the CHAP secret, in a file");
  load.add_option("--chap-algorithm", raw.chap_algorithm, "md5, sha256 or any")->capture_default_str();
  load.add_flag("--header-digest", raw.header_digest, "CRC32C of headers");
  load.add_flag("--data-digest", raw.data_digest, "CRC32C of data; checked on reads with --verify only");
  load.add_option("--max-segment", raw.max_segment, "MaxRecvDataSegmentLength")->capture_default_str();
  load.add_flag("--initial-r2t", raw.initial_r2t, "ask for InitialR2T=Yes");
  load.add_flag("--no-immediate-data", raw.no_immediate_data, "ask for ImmediateData=No");
}

void add_behaviour(CLI::App& load, RawLoadOptions& raw) {
  load.add_flag("--verify", raw.verify, "write stamped blocks, check what is read, read all back at the end");
  load.add_flag("--fill", raw.fill, "with --verify: write the whole range first");
  load.add_flag("--spin", raw.spin, "poll in place of sleeping: takes a core, halves the wake-ups");
  load.add_flag("--json", raw.json, "one JSON object in place of the table");
}

int fail(int status, std::string_view message) {
  fmt::print(stderr, "itgt-bench: {}\n", message);
  return status;
}

int run(const RawLoadOptions& raw) {
  const Result<LoadOptions> options = check_options(raw);
  if (!options) return fail(kExitUsage, options.error().to_string());
  const Result<LoadResult> result = run_load(options.value());
  if (!result) return fail(kExitFailed, result.error().to_string());
  const LoadResult& outcome = result.value();
  const std::string text =
      raw.json ? report_json(options.value(), outcome) : report_text(options.value(), outcome);
  std::fputs(text.c_str(), stdout);
  for (const std::string& failure : outcome.failures) fail(kExitFailed, failure);
  return outcome.clean() ? 0 : kExitFailed;
}

int main_checked(int argc, char** argv) {
  CLI::App app("Load and measurement of iSCSI targets");
  app.set_version_flag("--version", ITGTD_VERSION);
  app.require_subcommand(1);
  CLI::App* load =
      app.add_subcommand("load", "Reads and writes as fast as a target answers, and says how fast");
  RawLoadOptions raw;
  load->add_option("portal", raw.portal, "HOST:PORT or [ADDRESS]:PORT")->required();
  load->add_option("target", raw.target, "the target's name")->required();
  load->add_option("lun", raw.lun, "logical unit number")->required();
  add_workload(*load, raw);
  add_duration(*load, raw);
  add_protocol(*load, raw);
  add_behaviour(*load, raw);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : kExitUsage;
  }
  raw.seconds_given = load->count("--seconds") > 0;
  return run(raw);
}

}  // namespace
}  // namespace itgtd::bench

int main(int argc, char** argv) {
  return itgtd::bench::main_checked(argc, argv);
}
