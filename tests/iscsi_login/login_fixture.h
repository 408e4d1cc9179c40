// What the tests of login share: targets to log in to, and requests to make.
#pragma once

#include <string>
#include <string_view>

#include "target/iscsi/login.h"

namespace itgtd::iscsi::testing {

inline constexpr std::string_view kInitiator = "iqn.1993-08.org.debian:01:abcdef";
inline constexpr std::string_view kOpen = "iqn.2017-01.com.linbit:open";
inline constexpr std::string_view kChap = "iqn.2017-01.com.linbit:chap";
inline constexpr std::string_view kSecret = "initiatorsecret";
inline constexpr std::string_view kMutualSecret = "targetsecret1234";

/// One target per policy that a login can meet: open, chap, mutual, short, same, digest-required, digest-off,
/// listed, networked, elsewhere, alias, prefixed.
const Directory& directory();

/// Judged from 10.0.0.2, connected to 10.0.0.1:3260.
LoginPolicy policy();

/// Identifier 7, challenge 00 01 02 ...
FreshChallenge challenge();

struct Request {
  bool transit = false;
  bool continues = false;
  uint8_t csg = 1;
  uint8_t nsg = 3;
  std::string text;
  uint8_t opcode = 0x43;
  uint8_t version_min = 0;
  uint8_t total_ahs_length = 0;
  uint64_t isid = 0x400001370001;
  uint16_t tsih = 0;
  uint16_t cid = 1;
  uint32_t initiator_task_tag = 0x1234;
  uint32_t cmd_sn = 100;
};

LoginStep send(LoginState& state, const Request& request, const LoginPolicy& judged_by = policy());

/// "a=b" "c=d" with a zero byte behind each.
std::string pairs(std::initializer_list<std::string_view> list);
/// InitiatorName, SessionType=Normal and the TargetName.
std::string names(std::string_view target);

LoginStatus status_of(const LoginStep& step);
/// The value of a key in an answer, or "(none)".
std::string value_of(const LoginStep& step, std::string_view key);

}  // namespace itgtd::iscsi::testing
