// The configuration as values. What each key means: docs/itgtd.toml.5 and the table in config/keys.
//
//   text -> parse -> Config -> validate -> plan(running, wanted) -> apply
//
// Parsing never touches what runs. All errors are collected, each with its file and line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace itgtd::config {

/// Where a section and its keys stand in the file, for messages. Not part of its identity: two configurations
/// that differ only in lines are equal.
struct Place {
  uint32_t line = 0;  ///< of the section's header
  /// The lines of each key that was given: one for a plain value, one for every accepted item of a list.
  std::map<std::string, std::vector<uint32_t>, std::less<>> keys;

  /// The key was given, whether its value was good or not.
  [[nodiscard]] bool has(std::string_view key) const { return keys.contains(key); }
  /// The line of a key, or of an item of a list; the section's own when the key was not given.
  [[nodiscard]] uint32_t line_of(std::string_view key, size_t item = 0) const;
  bool operator==(const Place&) const { return true; }
};

/// One error of the configuration.
struct Problem {
  std::string file;
  uint32_t line = 0;
  std::string message;  ///< where, why and what to do next, in one sentence
  /// "file:line: message"
  [[nodiscard]] std::string to_string() const;
};

enum class LogLevel { error, warning, info, debug };
enum class Polling { off, adaptive, always };
enum class DigestPolicy { off, optional, required };
enum class ThinPolicy { automatic, on, off };
enum class Failback { never, immediate };

struct DaemonConfig {
  uint32_t workers = 0;
  Polling polling = Polling::adaptive;
  std::string control_socket = "/run/itgtd/control.sock";
  std::string state_dir = "/var/lib/itgtd";
  std::string http;  ///< empty: off
  LogLevel log_level = LogLevel::info;
  Place place;
  bool operator==(const DaemonConfig&) const = default;
};

/// Secrets are read from their files while the configuration is loaded; they are never printed.
struct ChapConfig {
  std::string user;
  std::string secret;
  std::string secret_file;
  std::string mutual_user;  ///< empty: one-way
  std::string mutual_secret;
  std::string mutual_secret_file;
  Place place;
  bool operator==(const ChapConfig&) const = default;
};

struct LunConfig {
  uint16_t id = 0;
  std::string path;     ///< absolute, or "ram:SIZE", "null:SIZE"
  std::string serial;   ///< empty: one is made once and kept in state_dir
  std::string product;  ///< never empty after validation
  std::string vendor = "LIO-ORG";
  uint32_t block_size = 512;
  uint32_t physical_block_size = 0;  ///< 0: what the backend says
  bool removable = false;
  ThinPolicy thin = ThinPolicy::automatic;
  bool read_only = false;
  bool write_cache = true;
  uint64_t create_bytes = 0;  ///< 0: a file must be there
  Place place;
  bool operator==(const LunConfig&) const = default;
};

struct TargetConfig {
  std::string name;
  std::string alias;
  std::vector<std::string>
      portals;        ///< "address:port" in canonical form; the group's VIPs at 3260 when none were given
  std::string group;  ///< empty: always served by this node
  std::vector<std::string> initiators;  ///< patterns; empty: any name
  std::vector<std::string> networks;    ///< CIDR; empty: any address
  DigestPolicy header_digest = DigestPolicy::optional;
  DigestPolicy data_digest = DigestPolicy::optional;
  std::optional<ChapConfig> chap;
  std::vector<LunConfig> luns;
  Place place;
  bool operator==(const TargetConfig&) const = default;
};

struct VipConfig {
  std::string address;  ///< without prefix length
  uint8_t prefix_bits = 0;
  std::string interface;  ///< empty: by route
  bool operator==(const VipConfig&) const = default;
};

struct GroupConfig {
  std::string name;
  std::string drbd;  ///< resource; empty with shared storage
  bool shared_storage = false;
  std::vector<VipConfig> vips;
  std::vector<std::string> nodes;
  Failback failback = Failback::never;
  std::string state;
  Place place;
  bool operator==(const GroupConfig&) const = default;
};

struct ClusterConfig {
  bool corosync = true;
  std::string name = "itgtd";  ///< of the process group: two clusters on one ring do not meet
  Place place;
  bool operator==(const ClusterConfig&) const = default;
};

struct Config {
  DaemonConfig daemon;
  std::optional<ClusterConfig> cluster;
  std::vector<GroupConfig> groups;
  std::vector<TargetConfig> targets;
  bool operator==(const Config&) const = default;
};

}  // namespace itgtd::config
