#include "bench/report.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace itgtd::bench {
namespace {

constexpr std::array<double, 3> kPercentiles = {50.0, 99.0, 99.9};

double per_second(uint64_t number, double seconds) {
  return seconds > 0 ? static_cast<double>(number) / seconds : 0.0;
}

double megabytes_per_second(uint64_t ios, uint32_t block_bytes, double seconds) {
  return per_second(ios * block_bytes, seconds) / 1e6;
}

double microseconds(uint64_t nanoseconds) {
  return static_cast<double>(nanoseconds) / 1e3;
}

std::string row_text(std::string_view name, const Histogram& ios, const LoadOptions& options,
                     double seconds) {
  std::string text =
      fmt::format("{:<7}{:>12}{:>12.1f}", name,
                  grouped(static_cast<uint64_t>(std::llround(per_second(ios.total(), seconds)))),
                  megabytes_per_second(ios.total(), options.block_bytes, seconds));
  text += fmt::format("{:>12.1f}", ios.mean_ns() / 1e3);
  for (const double percent : kPercentiles) {
    text += fmt::format("{:>12.1f}", microseconds(ios.percentile_ns(percent)));
  }
  return text + fmt::format("{:>12.1f}\n", microseconds(ios.max_ns()));
}

std::string mode_text(const LoadOptions& options) {
  const std::string_view order = options.random ? "random" : "sequential";
  if (options.read_percent == 100) return fmt::format("{} read", order);
  if (options.read_percent == 0) return fmt::format("{} write", order);
  return fmt::format("{} {}/{} read/write", order, options.read_percent, 100 - options.read_percent);
}

std::string plural(uint64_t number, std::string_view noun) {
  return fmt::format("{} {}{}", grouped(number), noun, number == 1 ? "" : "s");
}

std::string digests_text(const LoadOptions& options) {
  if (options.header_digest && options.data_digest) return ", header and data digests";
  if (options.header_digest) return ", header digest";
  return options.data_digest ? ", data digest" : "";
}

std::string json_row(std::string_view name, const Histogram& ios, const LoadOptions& options,
                     double seconds) {
  return fmt::format(
      R"("{}":{{"ios":{},"iops":{:.1f},"mb_per_s":{:.3f},"mean_us":{:.3f},"p50_us":{:.3f},"p99_us":{:.3f},)"
      R"("p999_us":{:.3f},"max_us":{:.3f}}})",
      name, ios.total(), per_second(ios.total(), seconds),
      megabytes_per_second(ios.total(), options.block_bytes, seconds), ios.mean_ns() / 1e3,
      microseconds(ios.percentile_ns(kPercentiles[0])), microseconds(ios.percentile_ns(kPercentiles[1])),
      microseconds(ios.percentile_ns(kPercentiles[2])), microseconds(ios.max_ns()));
}

Histogram both(const Statistics& statistics) {
  Histogram all = statistics.reads;
  all.merge(statistics.writes);
  return all;
}

std::string portal_text(const LoadOptions& options) {
  const bool ipv6 = options.host.find(':') != std::string::npos;
  return ipv6 ? fmt::format("[{}]:{}", options.host, options.port)
              : fmt::format("{}:{}", options.host, options.port);
}

}  // namespace

std::string grouped(uint64_t number) {
  std::string text = fmt::format("{}", number);
  for (size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, 1, ',');
  }
  return text;
}

std::string size_text(uint64_t bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return value == std::floor(value) ? fmt::format("{:.0f} {}", value, kUnits[unit])
                                    : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte >= 0x7F) {
      out += fmt::format("\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string report_text(const LoadOptions& options, const LoadResult& result) {
  const Statistics& statistics = result.statistics;
  std::string text =
      fmt::format("{} {} LUN {}, {}, blocks of {}\n", portal_text(options), options.target, options.lun,
                  size_text(result.capacity.bytes()), size_text(result.capacity.block_bytes));
  text += fmt::format(
      "{} of {}, depth {}, {}, {}, {:.2f} s{}{}\n", mode_text(options), size_text(options.block_bytes),
      options.depth, plural(options.connections, "connection"), plural(options.threads, "thread"),
      result.seconds, options.rate == 0 ? "" : fmt::format(", {} a second", grouped(options.rate)),
      digests_text(options));
  text += fmt::format("{:<7}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}\n", "", "IOPS", "MB/s", "mean us",
                      "p50 us", "p99 us", "p99.9 us", "max us");
  if (options.read_percent > 0) text += row_text("read", statistics.reads, options, result.seconds);
  if (options.read_percent < 100) text += row_text("write", statistics.writes, options, result.seconds);
  if (options.read_percent % 100 != 0) text += row_text("both", both(statistics), options, result.seconds);
  const double seconds = result.seconds > 0 ? result.seconds : 1;
  text += fmt::format("load's own CPU: {:.0f} % of one core (user {:.0f} %, system {:.0f} %)\n",
                      100 * (result.user_seconds + result.system_seconds) / seconds,
                      100 * result.user_seconds / seconds, 100 * result.system_seconds / seconds);
  text += fmt::format("errors: {}", grouped(statistics.errors));
  if (options.verify) {
    text +=
        fmt::format(", mismatches: {}, read back: {}, unchecked reads: {}", grouped(statistics.mismatches),
                    grouped(result.read_back), grouped(statistics.unchecked));
  }
  text += '\n';
  if (!statistics.first_error.empty()) text += fmt::format("first error: {}\n", statistics.first_error);
  return text;
}

std::string report_json(const LoadOptions& options, const LoadResult& result) {
  const Statistics& statistics = result.statistics;
  const iscsi::Parameters& agreed = result.parameters;
  std::string text = fmt::format(
      R"({{"portal":{},"target":{},"lun":{},"capacity_bytes":{},"logical_block_bytes":{},"range_bytes":{},)",
      json_string(portal_text(options)), json_string(options.target), options.lun, result.capacity.bytes(),
      result.capacity.block_bytes, result.range_bytes);
  text += fmt::format(
      R"("mode":{},"block_bytes":{},"depth":{},"connections":{},"threads":{},"rate":{},"seconds":{:.6f},)",
      json_string(mode_text(options)), options.block_bytes, options.depth, options.connections,
      options.threads, options.rate, result.seconds);
  text += fmt::format(
      R"("header_digest":{},"data_digest":{},"initial_r2t":{},"immediate_data":{},"first_burst_length":{},)"
      R"("max_burst_length":{},"max_recv_data_segment_length":{},)",
      agreed.header_digest, agreed.data_digest, agreed.initial_r2t, agreed.immediate_data,
      agreed.first_burst_length, agreed.max_burst_length, agreed.max_recv_data_segment_length_target);
  text += json_row("read", statistics.reads, options, result.seconds) + ',';
  text += json_row("write", statistics.writes, options, result.seconds) + ',';
  text += json_row("all", both(statistics), options, result.seconds) + ',';
  text += fmt::format(R"("cpu_user_s":{:.6f},"cpu_system_s":{:.6f},"errors":{},"mismatches":{},)",
                      result.user_seconds, result.system_seconds, statistics.errors, statistics.mismatches);
  text += fmt::format(R"("unchecked":{},"read_back":{},"first_error":{},"failures":[)", statistics.unchecked,
                      result.read_back, json_string(statistics.first_error));
  for (size_t i = 0; i < result.failures.size(); ++i) {
    text += (i == 0 ? "" : ",") + json_string(result.failures[i]);
  }
  return text + "]}\n";
}

}  // namespace itgtd::bench
