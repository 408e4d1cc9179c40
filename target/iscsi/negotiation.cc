#include "target/iscsi/negotiation.h"

#include <algorithm>

#include "base/parse.h"
#include "target/iscsi/text_keys.h"

namespace itgtd::iscsi {
namespace {

constexpr std::string_view kReject = "Reject";
constexpr std::string_view kIrrelevant = "Irrelevant";

std::optional<bool> parse_bool(std::string_view text) {
  if (text == "Yes") return true;
  if (text == "No") return false;
  return std::nullopt;
}

std::string_view digest_choices(DigestPolicy policy) {
  switch (policy) {
    case DigestPolicy::off:
      return "None";
    case DigestPolicy::optional:
      return "None,CRC32C";
    case DigestPolicy::required:
      return "CRC32C";
  }
  return "None";
}

std::string_view choices_of(const KeyEntry& entry, const NegotiationPolicy& policy) {
  if (entry.key == Key::header_digest) return digest_choices(policy.header_digest);
  if (entry.key == Key::data_digest) return digest_choices(policy.data_digest);
  return entry.choices;
}

// The table's range keeps `value` within the member's type: see the tests of the table.
void write_member(const KeyEntry& entry, uint32_t value, Parameters& parameters) {
  std::visit(
      [&](auto member) {
        if constexpr (!std::is_same_v<decltype(member), std::monostate>) {
          using Field = std::remove_reference_t<decltype(parameters.*member)>;
          parameters.*member = static_cast<Field>(value);
        }
      },
      entry.member);
}

std::string answer_list(const KeyEntry& entry, std::string_view offer, const NegotiationPolicy& policy,
                        Parameters& parameters) {
  const auto chosen = list_first(choices_of(entry, policy), offer);
  if (!chosen) return std::string(kReject);
  write_member(entry, *chosen == "CRC32C" ? 1 : 0, parameters);
  return std::string(*chosen);
}

// RFC 7143 §13.14: FirstBurstLength must not exceed MaxBurstLength. As the responder we may go below the
// offer, so an offer that is too large for what MaxBurstLength came to is answered with that.
uint32_t bounded_first_burst(const KeyEntry& entry, uint32_t value, const Parameters& parameters) {
  return entry.key == Key::first_burst_length ? std::min(value, parameters.max_burst_length) : value;
}

}  // namespace

std::optional<uint32_t> declare(const KeyEntry& entry, std::string_view offer) {
  const auto value = parse_number(offer);
  if (!value || *value < entry.min || *value > entry.max) return std::nullopt;
  return static_cast<uint32_t>(*value);
}

std::optional<uint32_t> number_min(const KeyEntry& entry, std::string_view offer) {
  const auto value = declare(entry, offer);
  if (!value) return std::nullopt;
  return std::min(*value, entry.ours);
}

std::optional<uint32_t> number_max(const KeyEntry& entry, std::string_view offer) {
  const auto value = declare(entry, offer);
  if (!value) return std::nullopt;
  return std::max(*value, entry.ours);
}

std::optional<uint32_t> bool_and(const KeyEntry& entry, std::string_view offer) {
  const auto value = parse_bool(offer);
  if (!value) return std::nullopt;
  return *value && entry.ours != 0 ? 1 : 0;
}

std::optional<uint32_t> bool_or(const KeyEntry& entry, std::string_view offer) {
  const auto value = parse_bool(offer);
  if (!value) return std::nullopt;
  return *value || entry.ours != 0 ? 1 : 0;
}

std::optional<std::string_view> list_first(std::string_view choices, std::string_view offer) {
  while (const auto item = take_list_item(offer)) {
    std::string_view rest = choices;
    while (const auto choice = take_list_item(rest)) {
      if (*item == *choice && !item->empty()) return choice;
    }
  }
  return std::nullopt;
}

std::string answer_offer(const KeyEntry& entry, std::string_view offer, const NegotiationPolicy& policy,
                         Parameters& parameters) {
  // RFC 7143 §6.2: "Irrelevant" for a key that has no meaning in this kind of session.
  if (policy.session_type == SessionType::discovery && !entry.in_discovery) return std::string(kIrrelevant);

  std::optional<uint32_t> value;
  switch (entry.rule) {
    case KeyRule::list_first:
      return answer_list(entry, offer, policy, parameters);
    case KeyRule::number_min:
      value = number_min(entry, offer);
      break;
    case KeyRule::number_max:
      value = number_max(entry, offer);
      break;
    case KeyRule::bool_and:
      value = bool_and(entry, offer);
      break;
    case KeyRule::bool_or:
      value = bool_or(entry, offer);
      break;
    case KeyRule::declare:
      value = declare(entry, offer);
      break;
  }
  if (!value) return std::string(kReject);
  const uint32_t result = bounded_first_burst(entry, *value, parameters);
  write_member(entry, result, parameters);
  if (entry.rule == KeyRule::declare) return {};
  if (entry.rule == KeyRule::bool_and || entry.rule == KeyRule::bool_or) return result != 0 ? "Yes" : "No";
  return std::to_string(result);
}

bool is_failure(const KeyEntry& entry, std::string_view answer) {
  // RFC 7143 §13.25: Reject is the prescribed answer to the obsolete keys and no failure.
  const bool obsolete = entry.key == Key::if_marker || entry.key == Key::of_marker ||
                        entry.key == Key::if_mark_int || entry.key == Key::of_mark_int;
  return answer == kReject && !obsolete;
}

const char* check_parameters(const NegotiationPolicy& policy, const Parameters& parameters) {
  if (policy.header_digest == DigestPolicy::required && !parameters.header_digest) {
    return "the target requires HeaderDigest=CRC32C";
  }
  if (policy.data_digest == DigestPolicy::required && !parameters.data_digest) {
    return "the target requires DataDigest=CRC32C";
  }
  // RFC 7143 §13.14; without unsolicited data FirstBurstLength means nothing.
  const bool unsolicited = !parameters.initial_r2t || parameters.immediate_data;
  if (policy.session_type == SessionType::normal && unsolicited &&
      parameters.first_burst_length > parameters.max_burst_length) {
    return "FirstBurstLength is greater than MaxBurstLength";
  }
  return nullptr;
}

}  // namespace itgtd::iscsi
