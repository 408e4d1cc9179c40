#include "ha/adapters/drbd_reply.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/parse.h"

namespace itgtd::ha {

namespace {

using Verdict = DrbdReply::Verdict;

constexpr size_t kTextBytesMax = 600;
/// What Command tells of a program that is not there.
constexpr int kNotStarted = 127;

/// drbd.h's enum drbd_state_rv (negative) and enum drbd_ret_code: what they mean for whoever asked.
constexpr std::array<std::pair<int32_t, Verdict>, 16> kVerdicts{{
    {-1, Verdict::again},      // SS_TWO_PRIMARIES: the peer is, or DRBD has not noticed yet that it is gone
    {-2, Verdict::not_here},   // SS_NO_UP_TO_DATE_DISK
    {-4, Verdict::not_here},   // SS_NO_LOCAL_DISK
    {-10, Verdict::again},     // SS_CW_FAILED_BY_PEER
    {-11, Verdict::not_here},  // SS_IS_DISKLESS
    {-12, Verdict::in_use},    // SS_DEVICE_IN_USE
    {-16, Verdict::not_here},  // SS_LOWER_THAN_OUTDATED
    {-18, Verdict::again},     // SS_IN_TRANSIENT_STATE
    {-19, Verdict::again},     // SS_CONCURRENT_ST_CHG
    {-20, Verdict::again},     // SS_O_VOL_PEER_PRI
    {-21, Verdict::again},     // SS_INTERRUPTED
    {-22, Verdict::again},     // SS_PRIMARY_READER
    {-23, Verdict::again},     // SS_TIMEOUT
    {-25, Verdict::not_here},  // SS_NO_QUORUM
    {127, Verdict::down},      // ERR_MINOR_INVALID: what 8.4 says of a resource that is down
    {158, Verdict::down},      // ERR_RES_NOT_KNOWN
}};

/// The number in "failed: (-12) ..." or "Failure: (127) ...".
int32_t parse_number_of(std::string_view text) {
  for (const std::string_view before : {std::string_view("ailed: ("), std::string_view("ailure: (")}) {
    const size_t at = text.find(before);
    if (at == std::string_view::npos) continue;
    std::string_view digits = text.substr(at + before.size());
    digits = digits.substr(0, digits.find(')'));
    const bool negative = digits.starts_with('-');
    if (negative) digits.remove_prefix(1);
    const auto number = static_cast<int32_t>(std::min<uint64_t>(parse_u64(digits).value_or(0), 100000));
    return negative ? -number : number;
  }
  return 0;
}

/// The lines that say something, with what drbdadm adds of itself and the usage texts left out.
std::string condense(std::string_view text) {
  std::string line;
  while (!text.empty() && line.size() < kTextBytesMax) {
    std::string_view next = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(next.size() + 1, text.size()));
    next.remove_prefix(std::min(next.find_first_not_of(" \t"), next.size()));
    if (next.starts_with("USAGE:")) break;
    if (next.empty() || next.starts_with("Command '") || next.starts_with("additional info from kernel"))
      continue;
    if (!line.empty()) line += "; ";
    line += next;
  }
  return line.substr(0, kTextBytesMax);
}

Verdict verdict_of(const CommandResult& result, int32_t number) {
  for (const auto& [known, verdict] : kVerdicts) {
    if (known == number) return verdict;
  }
  if (number != 0) return Verdict::failed;
  if (result.err.find("unrecognized option") != std::string::npos) return Verdict::unknown_option;
  if (result.err.find("not defined in your config") != std::string::npos) return Verdict::absent;
  if (result.err.find("'drbd' generic netlink family") != std::string::npos) return Verdict::absent;
  if (result.status == kNotStarted) return Verdict::absent;
  // The exit statuses that drbdsetup has for SS_LOWER_THAN_OUTDATED, SS_NO_LOCAL_DISK and
  // SS_NO_UP_TO_DATE_DISK.
  if (result.status == 5 || result.status == 16 || result.status == 17) return Verdict::not_here;
  return Verdict::failed;
}

}  // namespace

DrbdReply parse_drbd_reply(std::string_view command, const CommandResult& result) {
  DrbdReply reply;
  if (result.status == 0) return reply;
  if (result.timed_out) {
    reply.verdict = Verdict::failed;
    reply.text = fmt::format("{} did not end in time", command);
    return reply;
  }
  reply.number = parse_number_of(result.err);
  reply.verdict = verdict_of(result, reply.number);
  const std::string said = condense(result.err);
  reply.text = said.empty() ? fmt::format("{} ended with status {}", command, result.status)
                            : fmt::format("{}: {}", command, said);
  return reply;
}

}  // namespace itgtd::ha
