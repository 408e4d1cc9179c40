#include "target/iscsi/login_stage.h"

#include <gtest/gtest.h>

#include "target/iscsi/text_keys.h"
#include "tests/iscsi_login/login_fixture.h"

namespace itgtd::iscsi::testing {
namespace {

// RFC 7143 §11.12.1 to §11.12.3, written out anew and not from the table.
bool expect_legal(LoginPosition position, unsigned csg, unsigned nsg, bool t, bool c) {
  if (t && c) return false;
  if (csg > 1) return false;
  if (position == LoginPosition::security && csg != 0) return false;
  if (position == LoginPosition::operational && csg != 1) return false;
  if (!t) return true;
  return nsg == 3 || (csg == 0 && nsg == 1);
}

TEST(LoginStage, FlagsComeApartAndTogether) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    const LoginFlags flags = decode_login_flags(static_cast<uint8_t>(byte));
    EXPECT_EQ(flags.transit, (byte & 0x80) != 0);
    EXPECT_EQ(flags.continues, (byte & 0x40) != 0);
    EXPECT_EQ(static_cast<unsigned>(flags.current), byte >> 2 & 3);
    EXPECT_EQ(static_cast<unsigned>(flags.next), byte & 3);
    // Reserved bits are zero in what we send, and so is NSG without T.
    EXPECT_EQ(encode_login_flags(flags), flags.transit ? byte & 0xCF : byte & 0xCC);
  }
}

TEST(LoginStage, EveryCombinationFromEveryPosition) {
  unsigned legal = 0;
  for (const auto position : {LoginPosition::start, LoginPosition::security, LoginPosition::operational}) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      const bool expected =
          expect_legal(position, byte >> 2 & 3, byte & 3, (byte & 0x80) != 0, (byte & 0x40) != 0);
      EXPECT_EQ(is_legal(position, decode_login_flags(static_cast<uint8_t>(byte))), expected) << byte;
      legal += expected ? 1 : 0;
    }
  }
  EXPECT_GT(legal, 0U);
}

// The same through login_step: an open target and a CHAP target, each position reached by a real request.
class EveryFlags : public ::testing::TestWithParam<std::string_view> {};

void expect_outcome(LoginPosition position, bool chap, const Request& request, const LoginStep& step) {
  SCOPED_TRACE(::testing::Message() << "T" << request.transit << " C" << request.continues << " CSG"
                                    << int{request.csg} << " NSG" << int{request.nsg} << " position "
                                    << static_cast<int>(position));
  if (!expect_legal(position, request.csg, request.nsg, request.transit, request.continues)) {
    EXPECT_EQ(status_of(step), LoginStatus::initiator_error);
    EXPECT_EQ(step.verdict, LoginVerdict::fail);
    return;
  }
  const bool unauthenticated = chap && !request.continues && (request.csg == 1 || request.transit);
  if (unauthenticated) {
    EXPECT_EQ(status_of(step), LoginStatus::authentication_failure);
    EXPECT_EQ(step.verdict, LoginVerdict::fail);
    return;
  }
  EXPECT_EQ(status_of(step), LoginStatus::success) << step.reason;
  EXPECT_EQ(step.verdict,
            request.transit && request.nsg == 3 ? LoginVerdict::full_feature : LoginVerdict::more);
  EXPECT_EQ((step.response.bhs.flags & 0x80) != 0, request.transit);
  EXPECT_EQ(step.response.bhs.flags >> 2 & 3, request.csg);
}

TEST_P(EveryFlags, ThroughLoginStep) {
  const bool chap = GetParam() == kChap;
  for (const auto position : {LoginPosition::start, LoginPosition::security, LoginPosition::operational}) {
    if (chap && position == LoginPosition::operational) continue;  // not to be reached without CHAP
    for (uint8_t bits = 0; bits < 64; ++bits) {
      LoginState state;
      const bool start = position == LoginPosition::start;
      if (position == LoginPosition::security) (void)send(state, {.csg = 0, .text = names(GetParam())});
      if (position == LoginPosition::operational) (void)send(state, {.csg = 1, .text = names(GetParam())});
      const Request request{.transit = (bits & 32) != 0,
                            .continues = (bits & 16) != 0,
                            .csg = static_cast<uint8_t>(bits >> 2 & 3),
                            .nsg = static_cast<uint8_t>(bits & 3),
                            .text = start ? names(GetParam()) : ""};
      expect_outcome(position, chap, request, send(state, request));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(LoginStage, EveryFlags, ::testing::Values(kOpen, kChap),
                         [](const auto& target) { return target.param == kChap ? "Chap" : "Open"; });

}  // namespace
}  // namespace itgtd::iscsi::testing
