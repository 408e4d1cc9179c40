// The options of `itgt-bench load`: as they were typed, and as values that have been checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace itgtd::bench {

/// What the command line said, before any of it is understood.
struct RawLoadOptions {
  std::string portal;
  std::string target;
  std::string lun = "0";
  bool read = false;
  bool write = false;
  std::string mix;  ///< percent of reads; empty: not given
  bool random = false;
  bool sequential = false;
  std::string block_size = "4k";
  std::string depth = "32";
  std::string connections = "1";
  std::string threads = "1";
  std::string seconds = "10";
  std::string warmup = "0";
  std::string count;  ///< empty: by time
  std::string rate;   ///< empty: as fast as it goes
  std::string range;  ///< empty: the whole unit
  std::string seed = "1";
  std::string initiator = "iqn.2017-01.com.linbit:itgt-bench";
  std::string user;
  std::string secret_file;
  std::string chap_algorithm = "any";
  std::string max_segment = "256k";
  bool seconds_given = false;
  bool header_digest = false;
  bool data_digest = false;
  bool initial_r2t = false;
  bool no_immediate_data = false;
  bool verify = false;
  bool fill = false;
  bool spin = false;
  bool json = false;
};

struct LoadOptions {
  std::string host;
  std::string port;
  std::string target;
  uint16_t lun = 0;
  uint32_t read_percent = 100;
  bool random = true;
  uint32_t block_bytes = 4096;
  uint32_t depth = 32;  ///< per connection
  uint32_t connections = 1;
  uint32_t threads = 1;
  double seconds = 10;
  double warmup_seconds = 0;
  uint64_t count = 0;        ///< I/Os in all; 0: by time
  uint64_t rate = 0;         ///< I/Os per second in all; 0: closed loop
  uint64_t range_bytes = 0;  ///< 0: the whole unit
  uint64_t seed = 1;
  std::string initiator;
  std::string user;  ///< empty: no CHAP
  std::string secret;
  std::string chap_algorithms = "7,5";  ///< what we offer as CHAP_A. RFC 7143 §12.1.3
  uint32_t max_segment_bytes = 262144;  ///< what we declare as MaxRecvDataSegmentLength
  bool header_digest = false;
  bool data_digest = false;
  bool initial_r2t = false;  ///< ask for InitialR2T=Yes
  bool immediate_data = true;
  bool verify = false;
  bool fill = false;  ///< write the whole range once before the measurement
  bool spin = false;  ///< poll instead of sleeping
  bool json = false;
};

/// Limits, each with its reason.
inline constexpr uint32_t kIoBytesMin = 512;                // the smallest logical block
inline constexpr uint32_t kIoBytesMax = 16u << 20;          // MaxBurstLength that we offer
inline constexpr uint32_t kDepthMax = 4096;                 // the slot number has 12 bits of the task tag
inline constexpr uint32_t kConnectionsMax = 16384;          // the ISID's qualifier has 16 bits
inline constexpr uint32_t kThreadsMax = 256;                // more than cores
inline constexpr uint64_t kSecondsMax = 30ull * 24 * 3600;  // a month
inline constexpr uint64_t kBufferBytesMax = 8ull << 30;     // what --verify may hold for payloads

/// Checks everything, reads the secret; the error names the option.
[[nodiscard]] Result<LoadOptions> check_options(const RawLoadOptions& raw);

/// "HOST:PORT", "[ADDRESS]:PORT", or either without a port.
struct HostPort {
  std::string host;
  std::string port;
};
[[nodiscard]] Result<HostPort> parse_portal(std::string_view text);

/// Seconds with an optional fraction: "10", "0.5".
[[nodiscard]] std::optional<double> parse_seconds(std::string_view text);

}  // namespace itgtd::bench
