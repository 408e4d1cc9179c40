#include "bench/options.h"

#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <string>

#include "base/parse.h"

namespace itgtd::bench {
namespace {

Error bad(std::string_view option, std::string_view text, std::string_view wanted) {
  return {0, fmt::format("{}: '{}' is not {}", option, text, wanted)};
}

/// Collects the first error while numbers are read one after the other.
class Reader {
 public:
  uint64_t number(std::string_view option, std::string_view text, uint64_t min, uint64_t max) {
    const auto value = parse_u64(text);
    if (value && *value >= min && *value <= max) return *value;
    fail(bad(option, text, fmt::format("a number from {} to {}", min, max)));
    return min;
  }
  uint64_t size(std::string_view option, std::string_view text, uint64_t min, uint64_t max) {
    const auto value = parse_size(text);
    if (value && *value >= min && *value <= max && *value % kIoBytesMin == 0) return *value;
    fail(bad(option, text, fmt::format("a multiple of 512 bytes from {} to {}, as 4k or 1M", min, max)));
    return min;
  }
  double seconds(std::string_view option, std::string_view text, bool zero_allowed) {
    const auto value = parse_seconds(text);
    if (value && (zero_allowed || *value > 0)) return *value;
    fail(bad(option, text, fmt::format("a number of seconds up to {}, as 10 or 0.5", kSecondsMax)));
    return 0;
  }
  void fail(Error error) {
    if (!first_) first_ = std::move(error);
  }
  void require(bool holds, std::string_view message) {
    if (!holds) fail({0, std::string(message)});
  }
  [[nodiscard]] const std::optional<Error>& first() const { return first_; }

 private:
  std::optional<Error> first_;
};

Result<std::string> read_secret(const std::string& path) {
  std::ifstream file(path);
  if (!file) return Error{errno, fmt::format("--secret-file: cannot read {}", path)};
  std::string secret;
  std::getline(file, secret);
  if (secret.ends_with('\r')) secret.pop_back();
  if (secret.empty()) return Error{0, fmt::format("--secret-file: {} is empty", path)};
  return secret;
}

/// CHAP_A's values, best first. Some targets mean something else by 7 than IANA does; then md5 has to be
/// asked for.
std::optional<std::string> chap_algorithms(std::string_view name) {
  if (name == "any") return "7,5";
  if (name == "sha256") return "7";
  if (name == "md5") return "5";
  return std::nullopt;
}

void check_numbers(const RawLoadOptions& raw, LoadOptions& out, Reader& reader) {
  out.lun = static_cast<uint16_t>(reader.number("LUN", raw.lun, 0, 16383));
  if (!raw.mix.empty()) out.read_percent = static_cast<uint32_t>(reader.number("--mix", raw.mix, 0, 100));
  out.block_bytes =
      static_cast<uint32_t>(reader.size("--block-size", raw.block_size, kIoBytesMin, kIoBytesMax));
  out.depth = static_cast<uint32_t>(reader.number("--depth", raw.depth, 1, kDepthMax));
  out.connections =
      static_cast<uint32_t>(reader.number("--connections", raw.connections, 1, kConnectionsMax));
  out.threads = static_cast<uint32_t>(reader.number("--threads", raw.threads, 1, kThreadsMax));
  out.seconds = reader.seconds("--seconds", raw.seconds, false);
  out.warmup_seconds = reader.seconds("--warmup", raw.warmup, true);
  if (!raw.count.empty()) out.count = reader.number("--count", raw.count, 1, UINT64_MAX >> 16);
  if (!raw.rate.empty()) out.rate = reader.number("--rate", raw.rate, 1, 1'000'000'000);
  if (!raw.range.empty()) out.range_bytes = reader.size("--range", raw.range, kIoBytesMin, UINT64_MAX >> 1);
  out.seed = reader.number("--seed", raw.seed, 0, UINT64_MAX);
  // RFC 7143 §13.12: 512 to 2^24 - 1.
  out.max_segment_bytes = static_cast<uint32_t>(reader.size("--max-segment", raw.max_segment, 512, 8u << 20));
}

void check_relations(const RawLoadOptions& raw, const LoadOptions& out, Reader& reader) {
  const int modes = int{raw.read} + int{raw.write} + int{!raw.mix.empty()};
  reader.require(modes == 1, "give one of --read, --write and --mix PERCENT");
  reader.require(!(raw.random && raw.sequential), "give one of --random and --sequential");
  reader.require(!(out.count != 0 && raw.seconds_given), "give one of --seconds and --count");
  reader.require(!(out.count != 0 && out.warmup_seconds > 0), "--warmup goes with --seconds, not --count");
  reader.require(out.threads <= out.connections, "--threads: more than --connections");
  reader.require(out.count == 0 || out.count >= out.connections, "--count: fewer than --connections");
  reader.require(raw.user.empty() == raw.secret_file.empty(), "--user and --secret-file go together");
  reader.require(!out.verify || !raw.read || out.fill,
                 "--verify with --read: nothing would have been written; add --fill (which overwrites)");
  reader.require(!out.fill || out.verify, "--fill goes with --verify");
  const uint64_t payload = uint64_t{out.block_bytes} * out.depth * out.connections;
  reader.require(!out.verify || payload <= kBufferBytesMax,
                 "--verify: block size times depth times connections is over 8 GiB");
}

}  // namespace

std::optional<double> parse_seconds(std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  if (error != std::errc() || stop != end || text.empty()) return std::nullopt;
  if (!(value >= 0) || value > static_cast<double>(kSecondsMax)) return std::nullopt;
  return value;
}

Result<HostPort> parse_portal(std::string_view text) {
  const Error error = bad("HOST:PORT", text, "HOST:PORT or [ADDRESS]:PORT");
  std::string_view host = text;
  std::string_view port = "3260";
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return error;
    host = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') return error;
    if (!rest.empty()) port = rest.substr(1);
  } else if (const size_t colon = text.rfind(':'); colon != std::string_view::npos) {
    if (text.find(':') != colon) return error;  // an IPv6 address needs its brackets
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  const auto number = parse_u64(port);
  if (host.empty() || !number || *number == 0 || *number > UINT16_MAX) return error;
  return HostPort{std::string(host), std::string(port)};
}

Result<LoadOptions> check_options(const RawLoadOptions& raw) {
  Reader reader;
  LoadOptions out;
  const Result<HostPort> portal = parse_portal(raw.portal);
  if (!portal) return portal.error();
  out.host = portal->host;
  out.port = portal->port;
  out.target = raw.target;
  out.initiator = raw.initiator;
  out.user = raw.user;
  out.random = !raw.sequential;
  out.read_percent = raw.write ? 0 : 100;
  out.header_digest = raw.header_digest;
  out.data_digest = raw.data_digest;
  out.initial_r2t = raw.initial_r2t;
  out.immediate_data = !raw.no_immediate_data;
  out.verify = raw.verify;
  out.fill = raw.fill;
  out.spin = raw.spin;
  out.json = raw.json;
  check_numbers(raw, out, reader);
  check_relations(raw, out, reader);
  const auto algorithms = chap_algorithms(raw.chap_algorithm);
  reader.require(algorithms.has_value(), "--chap-algorithm: give md5, sha256 or any");
  out.chap_algorithms = algorithms.value_or("");
  reader.require(!out.target.empty(), "IQN: the target's name is empty");
  if (reader.first()) return *reader.first();
  if (!raw.secret_file.empty()) {
    Result<std::string> secret = read_secret(raw.secret_file);
    if (!secret) return secret.error();
    out.secret = std::move(*secret);
  }
  return out;
}

}  // namespace itgtd::bench
