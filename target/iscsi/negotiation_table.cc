#include "target/iscsi/negotiation.h"

namespace itgtd::iscsi {
namespace {

constexpr uint32_t kLengthMax = 16777215;  // 2**24 - 1. RFC 7143 §13.12 to §13.14

// One R2T or one Data-In sequence covers 1 MiB: the largest transfer that Linux and ESXi make of one command
// by default. More would only let a single command hold more of the buffer memory at once.
constexpr uint32_t kMaxBurstLength = 1U << 20;
// What open-iscsi offers: writes up to this size need no R2T.
constexpr uint32_t kFirstBurstLength = 262144;
// No state outlives a connection at ErrorRecoveryLevel 0: there is nothing to wait for and nothing retained.
constexpr uint32_t kTime2Wait = 0;
constexpr uint32_t kTime2Retain = 0;
// Eight R2Ts in flight hide a round trip of 8 MiB; more only ties up buffers.
constexpr uint32_t kMaxOutstandingR2t = 8;
// RFC 7144: the session answers QUERY TASK, QUERY TASK SET, I_T NEXUS RESET, QUERY ASYNCHRONOUS EVENT and
// carries the command priority.
constexpr uint32_t kProtocolLevel = 2;

using enum Key;
using enum KeyRule;
constexpr auto kConnection = KeyScope::connection;
constexpr auto kSession = KeyScope::session;
constexpr auto kInitiator = KeySender::initiator;
constexpr auto kTarget = KeySender::target;
constexpr auto kBoth = KeySender::both;
constexpr KeyMember kNoMember{};
using P = Parameters;

// key, name, rule, phases, scope, sender, default, min, max, ours, in_discovery, repeatable, choices, member,
// section. The identity keys are repeatable because libiscsi sends them in each stage.
constexpr std::array<KeyEntry, kKeys> kTable{{
    {initiator_name, "InitiatorName", declare, kInLogin, kSession, kInitiator, 0, 0, 0, 0, true, true, "",
     kNoMember, "§13.5"},
    {initiator_alias, "InitiatorAlias", declare, kInAll, kSession, kInitiator, 0, 0, 0, 0, true, true, "",
     kNoMember, "§13.7"},
    {target_name, "TargetName", declare, kInAll, kSession, kBoth, 0, 0, 0, 0, true, true, "", kNoMember,
     "§13.4"},
    {target_alias, "TargetAlias", declare, kInAll, kSession, kTarget, 0, 0, 0, 0, true, false, "", kNoMember,
     "§13.6"},
    {target_address, "TargetAddress", declare, kInAll, kSession, kTarget, 0, 0, 0, 0, true, false, "",
     kNoMember, "§13.8"},
    {target_portal_group_tag, "TargetPortalGroupTag", declare, kInLogin, kSession, kTarget, 0, 0, 65535, 0,
     true, false, "", kNoMember, "§13.9"},
    {session_type, "SessionType", declare, kInLogin, kSession, kInitiator, 0, 0, 0, 0, true, true, "",
     kNoMember, "§13.21"},
    {send_targets, "SendTargets", declare, kInFullFeature, kSession, kInitiator, 0, 0, 0, 0, true, false, "",
     kNoMember, "§13.3"},
    {auth_method, "AuthMethod", list_first, kInSecurity, kConnection, kBoth, 0, 0, 0, 0, true, false, "",
     kNoMember, "§12.1"},
    {chap_a, "CHAP_A", list_first, kInSecurity, kConnection, kBoth, 0, 0, 0, 0, true, false, "", kNoMember,
     "§12.1.3"},
    {chap_i, "CHAP_I", declare, kInSecurity, kConnection, kBoth, 0, 0, 255, 0, true, false, "", kNoMember,
     "§12.1.3"},
    {chap_c, "CHAP_C", declare, kInSecurity, kConnection, kBoth, 0, 0, 0, 0, true, false, "", kNoMember,
     "§12.1.3"},
    {chap_n, "CHAP_N", declare, kInSecurity, kConnection, kBoth, 0, 0, 0, 0, true, false, "", kNoMember,
     "§12.1.3"},
    {chap_r, "CHAP_R", declare, kInSecurity, kConnection, kBoth, 0, 0, 0, 0, true, false, "", kNoMember,
     "§12.1.3"},
    {header_digest, "HeaderDigest", list_first, kInOperational, kConnection, kBoth, 0, 0, 1, 0, true, false,
     "", &P::header_digest, "§13.1"},
    {data_digest, "DataDigest", list_first, kInOperational, kConnection, kBoth, 0, 0, 1, 0, true, false, "",
     &P::data_digest, "§13.1"},
    {max_connections, "MaxConnections", number_min, kInOperational, kSession, kBoth, 1, 1, 65535, 1, false,
     false, "", &P::max_connections, "§13.2"},
    {initial_r2t, "InitialR2T", bool_or, kInOperational, kSession, kBoth, 1, 0, 1, 0, false, false, "",
     &P::initial_r2t, "§13.10"},
    {immediate_data, "ImmediateData", bool_and, kInOperational, kSession, kBoth, 1, 0, 1, 1, false, false, "",
     &P::immediate_data, "§13.11"},
    {max_recv_data_segment_length, "MaxRecvDataSegmentLength", declare, kInOperational | kInFullFeature,
     kConnection, kBoth, 8192, 512, kLengthMax, 0, true, false, "",
     &P::max_recv_data_segment_length_initiator, "§13.12"},
    {max_burst_length, "MaxBurstLength", number_min, kInOperational, kSession, kBoth, 262144, 512, kLengthMax,
     kMaxBurstLength, false, false, "", &P::max_burst_length, "§13.13"},
    {first_burst_length, "FirstBurstLength", number_min, kInOperational, kSession, kBoth, 65536, 512,
     kLengthMax, kFirstBurstLength, false, false, "", &P::first_burst_length, "§13.14"},
    {default_time2wait, "DefaultTime2Wait", number_max, kInOperational, kSession, kBoth, 2, 0, 3600,
     kTime2Wait, true, false, "", &P::default_time2wait, "§13.15"},
    {default_time2retain, "DefaultTime2Retain", number_min, kInOperational, kSession, kBoth, 20, 0, 3600,
     kTime2Retain, true, false, "", &P::default_time2retain, "§13.16"},
    {max_outstanding_r2t, "MaxOutstandingR2T", number_min, kInOperational, kSession, kBoth, 1, 1, 65535,
     kMaxOutstandingR2t, false, false, "", &P::max_outstanding_r2t, "§13.17"},
    {data_pdu_in_order, "DataPDUInOrder", bool_or, kInOperational, kSession, kBoth, 1, 0, 1, 1, false, false,
     "", &P::data_pdu_in_order, "§13.18"},
    {data_sequence_in_order, "DataSequenceInOrder", bool_or, kInOperational, kSession, kBoth, 1, 0, 1, 1,
     false, false, "", &P::data_sequence_in_order, "§13.19"},
    {error_recovery_level, "ErrorRecoveryLevel", number_min, kInOperational, kSession, kBoth, 0, 0, 2, 0,
     true, false, "", &P::error_recovery_level, "§13.20"},
    {protocol_level, "iSCSIProtocolLevel", number_min, kInOperational, kSession, kBoth, 1, 0, 31,
     kProtocolLevel, false, false, "", &P::protocol_level, "RFC 7144 §7.1.1"},
    {task_reporting, "TaskReporting", list_first, kInOperational, kSession, kBoth, 0, 0, 0, 0, false, false,
     "RFC3720", kNoMember, "§13.23"},
    // RFC 7143 §13.25: obsolete. "No", which is allowed beside Reject, does not make initiators that follow
    // RFC 3720 give up.
    {if_marker, "IFMarker", bool_and, kInOperational, kConnection, kBoth, 0, 0, 1, 0, true, false, "",
     kNoMember, "§13.25"},
    {of_marker, "OFMarker", bool_and, kInOperational, kConnection, kBoth, 0, 0, 1, 0, true, false, "",
     kNoMember, "§13.25"},
    {if_mark_int, "IFMarkInt", list_first, kInOperational, kConnection, kBoth, 0, 0, 0, 0, true, false, "",
     kNoMember, "§13.25"},
    {of_mark_int, "OFMarkInt", list_first, kInOperational, kConnection, kBoth, 0, 0, 0, 0, true, false, "",
     kNoMember, "§13.25"},
}};

constexpr bool rows_match_keys() {
  for (size_t i = 0; i < kKeys; ++i) {
    if (static_cast<size_t>(kTable[i].key) != i) return false;
    if (kTable[i].default_value > kTable[i].max || kTable[i].name.empty()) return false;
  }
  return true;
}
static_assert(rows_match_keys());

}  // namespace

const std::array<KeyEntry, kKeys>& key_table() {
  return kTable;
}

const KeyEntry& entry_of(Key key) {
  return kTable[static_cast<size_t>(key)];
}

const KeyEntry* find_key(std::string_view name) {
  for (const KeyEntry& entry : kTable) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

}  // namespace itgtd::iscsi
