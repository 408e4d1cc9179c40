// What a login agreed on. RFC 7143 §13. The negotiation writes it once; the session reads it.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace itgtd::iscsi {

enum class SessionType : uint8_t { normal, discovery };

/// Results of the operational negotiation, with the defaults of RFC 7143 §13 where nothing was said.
struct Parameters {
  bool header_digest = false;  ///< true: CRC32C. §13.1
  bool data_digest = false;
  uint16_t max_connections = 1;                            ///< §13.2: always 1 here
  bool initial_r2t = true;                                 ///< §13.10
  bool immediate_data = true;                              ///< §13.11
  uint32_t max_recv_data_segment_length_target = 8192;     ///< what we declared. §13.12
  uint32_t max_recv_data_segment_length_initiator = 8192;  ///< what the initiator declared
  uint32_t max_burst_length = 262144;                      ///< §13.13
  uint32_t first_burst_length = 65536;                     ///< §13.14
  uint16_t default_time2wait = 2;                          ///< §13.15
  uint16_t default_time2retain = 20;                       ///< §13.16
  uint16_t max_outstanding_r2t = 1;                        ///< §13.17
  bool data_pdu_in_order = true;                           ///< §13.18
  bool data_sequence_in_order = true;                      ///< §13.19
  uint8_t error_recovery_level = 0;                        ///< §13.20
  uint8_t protocol_level = 1;                              ///< iSCSIProtocolLevel, RFC 7144 §7.1.1
};

/// Who logged in, where, as what.
struct SessionIdentity {
  SessionType type = SessionType::normal;
  std::string initiator_name;
  std::string initiator_alias;
  std::string target_name;  ///< empty in a discovery session
  std::string chap_user;    ///< empty: not authenticated
  std::array<uint8_t, 6> isid{};
  uint16_t tsih = 0;
  uint16_t cid = 0;
  uint16_t target_portal_group_tag = 1;
};

}  // namespace itgtd::iscsi
