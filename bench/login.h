// Login of one session: connect, CHAP where asked for, operational keys. RFC 7143 §6.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "bench/options.h"
#include "bench/stream.h"
#include "target/iscsi/parameters.h"

namespace itgtd::bench {

/// A session in full feature phase: its connection, what was agreed, and its serial numbers.
struct Session {
  Stream stream;
  iscsi::Parameters parameters;
  uint32_t cmd_sn = 1;       ///< of the next command
  uint32_t max_cmd_sn = 0;   ///< the target takes commands up to this one
  uint32_t exp_stat_sn = 0;  ///< of the next status
};

/// `number` tells the sessions of one run apart: it is the qualifier of the ISID. The error says which step
/// failed and what the target answered.
[[nodiscard]] Result<Session> login(const LoadOptions& options, uint32_t number, Instant deadline);

/// The keys of a text segment: "KEY=VALUE\0..." (RFC 7143 §6.1).
using TextKeys = std::map<std::string, std::string, std::less<>>;
[[nodiscard]] Result<TextKeys> parse_keys(std::string_view text);
/// Appends one pair with its terminating zero.
void append_key(std::string& text, std::string_view key, std::string_view value);

/// What the answers to our offer mean: the keys' defaults where nothing was answered.
[[nodiscard]] Result<iscsi::Parameters> agree(const LoadOptions& options, const TextKeys& answered);

/// The words of a login status. RFC 7143 §11.13.5.
[[nodiscard]] std::string login_status_text(uint8_t status_class, uint8_t status_detail);

}  // namespace itgtd::bench
