#include "target/iscsi/login_stage.h"

#include <array>

#include "target/iscsi/bhs.h"

namespace itgtd::iscsi {
namespace {

constexpr uint8_t stage_bit(LoginStage stage) {
  return static_cast<uint8_t>(1U << static_cast<unsigned>(stage));
}

struct StageRow {
  LoginPosition position;
  LoginStage current;
  uint8_t next;  // stage_bit of each that T may lead to
};

// RFC 7143 §11.12.3: from security to operational or full feature, from operational to full feature; never
// back, never the same, never 2.
constexpr uint8_t kFromSecurity = stage_bit(LoginStage::operational) | stage_bit(LoginStage::full_feature);
constexpr uint8_t kFromOperational = stage_bit(LoginStage::full_feature);
constexpr std::array<StageRow, 4> kStages{{
    {LoginPosition::start, LoginStage::security, kFromSecurity},
    {LoginPosition::start, LoginStage::operational, kFromOperational},
    {LoginPosition::security, LoginStage::security, kFromSecurity},
    {LoginPosition::operational, LoginStage::operational, kFromOperational},
}};

constexpr unsigned kCurrentShift = 2;
constexpr uint8_t kStageMask = 0x03;

}  // namespace

LoginFlags decode_login_flags(uint8_t flags) {
  return {(flags & LoginRequestBhs::kTransit) != 0, (flags & LoginRequestBhs::kContinue) != 0,
          static_cast<LoginStage>(flags >> kCurrentShift & kStageMask),
          static_cast<LoginStage>(flags & kStageMask)};
}

uint8_t encode_login_flags(const LoginFlags& flags) {
  unsigned value = static_cast<unsigned>(flags.current) << kCurrentShift;
  if (flags.transit) value |= LoginRequestBhs::kTransit | static_cast<unsigned>(flags.next);
  if (flags.continues) value |= LoginRequestBhs::kContinue;
  return static_cast<uint8_t>(value);
}

bool is_legal(LoginPosition position, const LoginFlags& flags) {
  if (flags.transit && flags.continues) return false;  // RFC 7143 §11.12.2
  for (const StageRow& row : kStages) {
    if (row.position != position || row.current != flags.current) continue;
    // Without T, NSG is reserved, and reserved bits are not looked at. RFC 7143 §11.12.3
    return !flags.transit || (row.next & stage_bit(flags.next)) != 0;
  }
  return false;
}

}  // namespace itgtd::iscsi
