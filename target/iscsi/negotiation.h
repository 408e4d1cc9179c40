// Text keys of login: one table that says everything about each, six rules that judge an offer, and the
// checks that concern several keys. RFC 7143 §6.2, §13.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "target/iscsi/directory.h"
#include "target/iscsi/parameters.h"

namespace itgtd::iscsi {

/// Every key we know, in the order of the table.
enum class Key : uint8_t {
  initiator_name,
  initiator_alias,
  target_name,
  target_alias,
  target_address,
  target_portal_group_tag,
  session_type,
  send_targets,
  auth_method,
  chap_a,
  chap_i,
  chap_c,
  chap_n,
  chap_r,
  header_digest,
  data_digest,
  max_connections,
  initial_r2t,
  immediate_data,
  max_recv_data_segment_length,
  max_burst_length,
  first_burst_length,
  default_time2wait,
  default_time2retain,
  max_outstanding_r2t,
  data_pdu_in_order,
  data_sequence_in_order,
  error_recovery_level,
  protocol_level,
  task_reporting,
  if_marker,
  of_marker,
  if_mark_int,
  of_mark_int,
};
inline constexpr size_t kKeys = static_cast<size_t>(Key::of_mark_int) + 1;

/// How the result follows from the offer. RFC 7143 §6.2.
enum class KeyRule : uint8_t { number_min, number_max, bool_and, bool_or, list_first, declare };

/// Where a key may appear. RFC 7143 §13, "Use".
inline constexpr uint8_t kInSecurity = 1, kInOperational = 2, kInFullFeature = 4;
inline constexpr uint8_t kInLogin = kInSecurity | kInOperational;
inline constexpr uint8_t kInAll = kInLogin | kInFullFeature;

enum class KeyScope : uint8_t { connection, session };
enum class KeySender : uint8_t { initiator, target, both };

using KeyMember = std::variant<std::monostate, bool Parameters::*, uint8_t Parameters::*,
                               uint16_t Parameters::*, uint32_t Parameters::*>;

/// One row. Booleans are 0 and 1 in the numbers; lists and texts leave them 0.
struct KeyEntry {
  Key key;
  std::string_view name;
  KeyRule rule;
  uint8_t phases;
  KeyScope scope;
  KeySender sender;
  uint32_t default_value;
  uint32_t min;  ///< legal values
  uint32_t max;
  uint32_t ours;             ///< what we put against the offer
  bool in_discovery;         ///< false: the answer there is Irrelevant
  bool repeatable;           ///< the same value again in a later text is let pass
  std::string_view choices;  ///< list_first: what we can do; digests take theirs from the policy
  KeyMember member;
  std::string_view section;  ///< of RFC 7143 unless it says otherwise
};

[[nodiscard]] const std::array<KeyEntry, kKeys>& key_table();
[[nodiscard]] const KeyEntry& entry_of(Key key);
/// The row of that name, or null: the key is NotUnderstood. Names are case-sensitive (RFC 7143 §6.1).
[[nodiscard]] const KeyEntry* find_key(std::string_view name);

// The rules. Each gets the offer as it came; nullopt: the offer is not legal, the answer is Reject.
[[nodiscard]] std::optional<uint32_t> number_min(const KeyEntry& entry, std::string_view offer);
[[nodiscard]] std::optional<uint32_t> number_max(const KeyEntry& entry, std::string_view offer);
[[nodiscard]] std::optional<uint32_t> bool_and(const KeyEntry& entry, std::string_view offer);
[[nodiscard]] std::optional<uint32_t> bool_or(const KeyEntry& entry, std::string_view offer);
/// The first item of the initiator's list that is one of `choices`.
[[nodiscard]] std::optional<std::string_view> list_first(std::string_view choices, std::string_view offer);
/// A number that the initiator states about itself.
[[nodiscard]] std::optional<uint32_t> declare(const KeyEntry& entry, std::string_view offer);

/// What an operational negotiation is judged by.
struct NegotiationPolicy {
  SessionType session_type = SessionType::normal;
  DigestPolicy header_digest = DigestPolicy::optional;
  DigestPolicy data_digest = DigestPolicy::optional;
};

/// Judges the offer of one operational key: writes the result to `parameters` and gives the value to answer
/// with; empty: no answer is due. "Reject" ends the login, except for the obsolete keys (see
/// is_failure()).
[[nodiscard]] std::string answer_offer(const KeyEntry& entry, std::string_view offer,
                                       const NegotiationPolicy& policy, Parameters& parameters);

/// A Reject of this key fails the login. RFC 7143 §7.12; not so §13.25.
[[nodiscard]] bool is_failure(const KeyEntry& entry, std::string_view answer);

/// The checks that concern several keys, once all are known. Null when they hold, else what does not.
[[nodiscard]] const char* check_parameters(const NegotiationPolicy& policy, const Parameters& parameters);

}  // namespace itgtd::iscsi
