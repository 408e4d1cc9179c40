#include "target/iscsi/negotiation.h"

#include <gtest/gtest.h>

#include <set>

namespace itgtd::iscsi::testing {
namespace {

constexpr NegotiationPolicy kNormal{};
constexpr NegotiationPolicy kDiscovery{.session_type = SessionType::discovery};

std::string answer(Key key, std::string_view offer, const NegotiationPolicy& policy = kNormal) {
  Parameters parameters;
  return answer_offer(entry_of(key), offer, policy, parameters);
}

TEST(KeyTable, IsCompleteAndUnambiguous) {
  std::set<std::string_view> names;
  for (const KeyEntry& entry : key_table()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    EXPECT_EQ(find_key(entry.name), &entry);
    EXPECT_EQ(&entry_of(entry.key), &entry);
    EXPECT_FALSE(entry.section.empty());
    EXPECT_NE(entry.phases, 0);
    EXPECT_LE(entry.name.size(), 63U);
  }
  EXPECT_EQ(names.size(), kKeys);
  EXPECT_EQ(find_key("Headerdigest"), nullptr);  // RFC 7143 §6.1: keys are case-sensitive
  EXPECT_EQ(find_key(""), nullptr);
}

// What the rules can come to fits the member, and the member starts with the default.
TEST(KeyTable, MembersHoldTheirRangeAndDefault) {
  const Parameters defaults;
  unsigned members = 0;
  for (const KeyEntry& entry : key_table()) {
    std::visit(
        [&](auto member) {
          if constexpr (!std::is_same_v<decltype(member), std::monostate>) {
            ++members;
            using Field = std::remove_cvref_t<decltype(defaults.*member)>;
            EXPECT_LE(entry.max, std::numeric_limits<Field>::max()) << entry.name;
            EXPECT_EQ(static_cast<uint32_t>(defaults.*member), entry.default_value) << entry.name;
            EXPECT_GE(entry.default_value, entry.min) << entry.name;
            EXPECT_LE(entry.ours, entry.max) << entry.name;
          }
        },
        entry.member);
  }
  EXPECT_EQ(members, 15U);
}

// What we put against an offer is itself a legal value.
TEST(KeyTable, OurValuesAreLegal) {
  for (const KeyEntry& entry : key_table()) {
    if (entry.rule == KeyRule::number_min || entry.rule == KeyRule::number_max) {
      EXPECT_GE(entry.ours, entry.min) << entry.name;
    }
  }
  EXPECT_LE(entry_of(Key::first_burst_length).ours, entry_of(Key::max_burst_length).ours);
}

TEST(Rules, NumberMin) {
  const KeyEntry& entry = entry_of(Key::max_burst_length);
  EXPECT_EQ(number_min(entry, "512"), 512U);
  EXPECT_EQ(number_min(entry, "0x200"), 512U);
  EXPECT_EQ(number_min(entry, "16777215"), entry.ours);
  for (const std::string_view bad : {"511", "16777216", "", " 512", "512 ", "-1", "0x", "512,1024",
                                     "Irrelevant", "99999999999999999999999999"}) {
    EXPECT_EQ(number_min(entry, bad), std::nullopt) << bad;
  }
}

TEST(Rules, NumberMax) {
  KeyEntry entry = entry_of(Key::default_time2wait);
  EXPECT_EQ(number_max(entry, "0"), 0U);
  EXPECT_EQ(number_max(entry, "3600"), 3600U);
  EXPECT_EQ(number_max(entry, "3601"), std::nullopt);
  entry.ours = 5;
  EXPECT_EQ(number_max(entry, "2"), 5U);
  EXPECT_EQ(number_max(entry, "6"), 6U);
}

TEST(Rules, BoolAndOr) {
  KeyEntry entry = entry_of(Key::immediate_data);
  for (const uint32_t ours : {0U, 1U}) {
    entry.ours = ours;
    EXPECT_EQ(bool_and(entry, "Yes"), ours);
    EXPECT_EQ(bool_and(entry, "No"), 0U);
    EXPECT_EQ(bool_or(entry, "Yes"), 1U);
    EXPECT_EQ(bool_or(entry, "No"), ours);
  }
  for (const std::string_view bad : {"yes", "YES", "1", "", "Yes ", "Yes,No"}) {
    EXPECT_EQ(bool_and(entry, bad), std::nullopt) << bad;
    EXPECT_EQ(bool_or(entry, bad), std::nullopt) << bad;
  }
}

TEST(Rules, ListFirst) {
  EXPECT_EQ(list_first("None,CRC32C", "CRC32C,None"), "CRC32C");
  EXPECT_EQ(list_first("CRC32C,None", "None,CRC32C"), "None");
  EXPECT_EQ(list_first("None", "a,,CRC32C,None,"), "None");
  EXPECT_EQ(list_first("None", "none"), std::nullopt);
  EXPECT_EQ(list_first("None", ""), std::nullopt);
  EXPECT_EQ(list_first("", ""), std::nullopt);
  EXPECT_EQ(list_first("", ","), std::nullopt);
}

TEST(Rules, Declare) {
  Parameters parameters;
  const KeyEntry& entry = entry_of(Key::max_recv_data_segment_length);
  EXPECT_EQ(declare(entry, "16777215"), 16777215U);
  EXPECT_EQ(declare(entry, "511"), std::nullopt);
  EXPECT_EQ(answer_offer(entry, "1024", kNormal, parameters), "");  // a declaration is not answered
  EXPECT_EQ(parameters.max_recv_data_segment_length_initiator, 1024U);
}

struct Case {
  Key key;
  std::string_view offer;
  std::string_view answer;
};

TEST(Answer, EachKey) {
  const Case cases[] = {
      {Key::header_digest, "CRC32C", "CRC32C"},
      {Key::header_digest, "None", "None"},
      {Key::header_digest, "X", "Reject"},
      {Key::data_digest, "None,CRC32C", "None"},
      {Key::max_connections, "65535", "1"},
      {Key::max_connections, "0", "Reject"},
      {Key::initial_r2t, "No", "No"},
      {Key::initial_r2t, "Yes", "Yes"},
      {Key::immediate_data, "Yes", "Yes"},
      {Key::immediate_data, "No", "No"},
      {Key::max_burst_length, "16776192", "1048576"},
      {Key::max_burst_length, "4096", "4096"},
      {Key::first_burst_length, "16777215", "262144"},
      {Key::first_burst_length, "512", "512"},
      {Key::default_time2wait, "2", "2"},
      {Key::default_time2retain, "3600", "0"},
      {Key::max_outstanding_r2t, "65535", "8"},
      {Key::max_outstanding_r2t, "1", "1"},
      {Key::data_pdu_in_order, "No", "Yes"},
      {Key::data_sequence_in_order, "No", "Yes"},
      {Key::error_recovery_level, "2", "0"},
      {Key::error_recovery_level, "3", "Reject"},
      {Key::protocol_level, "31", "2"},
      {Key::protocol_level, "1", "1"},
      {Key::protocol_level, "32", "Reject"},
      {Key::task_reporting, "RFC3720", "RFC3720"},
      {Key::if_marker, "Yes", "No"},
      {Key::of_marker, "No", "No"},
      {Key::if_mark_int, "8192~65536", "Reject"},
      {Key::of_mark_int, "2048", "Reject"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(answer(c.key, c.offer), c.answer) << entry_of(c.key).name << "=" << c.offer;
  }
}

TEST(Answer, DigestsFollowThePolicy) {
  NegotiationPolicy policy;
  policy.header_digest = DigestPolicy::off;
  EXPECT_EQ(answer(Key::header_digest, "CRC32C,None", policy), "None");
  EXPECT_EQ(answer(Key::header_digest, "CRC32C", policy), "Reject");
  policy.header_digest = DigestPolicy::required;
  EXPECT_EQ(answer(Key::header_digest, "None,CRC32C", policy), "CRC32C");
  EXPECT_EQ(answer(Key::header_digest, "None", policy), "Reject");
  EXPECT_EQ(answer(Key::data_digest, "None", policy), "None");  // each has its own policy
}

TEST(Answer, DiscoveryHasKeysWithoutMeaning) {
  unsigned irrelevant = 0;
  for (const KeyEntry& entry : key_table()) {
    if (entry.in_discovery) continue;
    ++irrelevant;
    Parameters parameters;
    EXPECT_EQ(answer_offer(entry, "No", kDiscovery, parameters), "Irrelevant") << entry.name;
  }
  EXPECT_EQ(irrelevant, 10U);
}

TEST(Answer, OnlyObsoleteKeysMayBeRejectedWithoutFailure) {
  EXPECT_TRUE(is_failure(entry_of(Key::header_digest), "Reject"));
  EXPECT_TRUE(is_failure(entry_of(Key::max_burst_length), "Reject"));
  EXPECT_FALSE(is_failure(entry_of(Key::max_burst_length), "512"));
  EXPECT_FALSE(is_failure(entry_of(Key::if_mark_int), "Reject"));
}

TEST(CrossChecks, FirstBurstAgainstMaxBurst) {
  Parameters parameters;
  EXPECT_EQ(check_parameters(kNormal, parameters), nullptr);
  parameters.max_burst_length = parameters.first_burst_length - 1;
  EXPECT_NE(check_parameters(kNormal, parameters), nullptr);
  EXPECT_EQ(check_parameters(kDiscovery, parameters), nullptr);
  parameters.immediate_data = false;
  parameters.initial_r2t = true;
  EXPECT_EQ(check_parameters(kNormal, parameters), nullptr);
  parameters.initial_r2t = false;
  EXPECT_NE(check_parameters(kNormal, parameters), nullptr);
}

TEST(CrossChecks, RequiredDigests) {
  NegotiationPolicy policy;
  Parameters parameters;
  policy.header_digest = DigestPolicy::required;
  EXPECT_NE(check_parameters(policy, parameters), nullptr);
  parameters.header_digest = true;
  EXPECT_EQ(check_parameters(policy, parameters), nullptr);
  policy.data_digest = DigestPolicy::required;
  EXPECT_NE(check_parameters(policy, parameters), nullptr);
  parameters.data_digest = true;
  EXPECT_EQ(check_parameters(policy, parameters), nullptr);
}

}  // namespace
}  // namespace itgtd::iscsi::testing
