#include "scsi/mode_pages.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/assert.h"

namespace itgtd::scsi {
namespace {

// Caching, SBC-3 §6.5.5.
constexpr size_t kCachingByte = 2;
constexpr std::byte kWriteCacheEnabled{0x04};  // WCE

void caching_values(const LogicalUnit& /*lu*/, const LuState& state, Bytes page) {
  if (state.write_cache) page[kCachingByte] |= kWriteCacheEnabled;
}
void caching_changeable(const LogicalUnit& /*lu*/, Bytes page) {
  page[kCachingByte] |= kWriteCacheEnabled;
}
void caching_apply(ConstBytes page, LuState& state) {
  state.write_cache = (page[kCachingByte] & kWriteCacheEnabled) != std::byte{0};
}

// Control, SPC-4 §7.5.8. One task set for all nexuses (TST 0), commands may be reordered, aborted commands of
// others end without a word (TAS 0).
constexpr size_t kControlSenseByte = 2;
constexpr std::byte kDescriptorSense{0x04};       // D_SENSE
constexpr std::byte kNoSavedLogParameters{0x02};  // GLTSD
constexpr size_t kControlQueueByte = 3;
constexpr std::byte kUnrestrictedReordering{0x10};  // QUEUE ALGORITHM MODIFIER 1
constexpr size_t kControlProtectByte = 4;
constexpr std::byte kSoftwareWriteProtect{0x08};  // SWP

void control_values(const LogicalUnit& lu, const LuState& state, Bytes page) {
  page[kControlSenseByte] |= kNoSavedLogParameters;
  if (state.descriptor_sense) page[kControlSenseByte] |= kDescriptorSense;
  page[kControlQueueByte] |= kUnrestrictedReordering;
  if (state.write_protected || lu.read_only) page[kControlProtectByte] |= kSoftwareWriteProtect;
}
void control_changeable(const LogicalUnit& lu, Bytes page) {
  page[kControlSenseByte] |= kDescriptorSense;
  if (!lu.read_only) page[kControlProtectByte] |= kSoftwareWriteProtect;
}
void control_apply(ConstBytes page, LuState& state) {
  state.descriptor_sense = (page[kControlSenseByte] & kDescriptorSense) != std::byte{0};
  state.write_protected = (page[kControlProtectByte] & kSoftwareWriteProtect) != std::byte{0};
}

// Informational exceptions control, SPC-4 §7.5.11: none are reported (DEXCPT).
void informational_exceptions_values(const LogicalUnit& /*lu*/, const LuState& /*state*/, Bytes page) {
  constexpr std::byte kDisabled{0x08};
  page[2] |= kDisabled;
}

constexpr std::array kPages = {
    ModePage{.page = 0x01,
             .bytes = 12},  // read-write error recovery, SBC-3 §6.5.8: the medium's own business
    ModePage{.page = 0x08,
             .bytes = 20,
             .values = caching_values,
             .changeable = caching_changeable,
             .apply = caching_apply},
    ModePage{.page = 0x0A,
             .bytes = 12,
             .values = control_values,
             .changeable = control_changeable,
             .apply = control_apply},
    ModePage{.page = 0x0A, .subpage = 0x01, .bytes = 32},  // control extension, SPC-4 §7.5.9
    ModePage{.page = 0x1C, .bytes = 12, .values = informational_exceptions_values},
};
static_assert(std::ranges::is_sorted(kPages, {},
                                     [](const ModePage& p) { return std::pair(p.page, p.subpage); }));

/// What the state was when the logical unit was configured.
LuState default_state(const LogicalUnit& lu) {
  LuState state;
  state.write_cache = lu.write_cache_default;
  state.write_protected = lu.read_only;
  return state;
}

}  // namespace

std::span<const ModePage> mode_pages() {
  return kPages;
}

void write_mode_page(const ModePage& page, PageControl control, const LogicalUnit& lu, const LuState& state,
                     Bytes to) {
  ITGTD_ASSERT(to.size() == page.bytes);
  constexpr std::byte kSubPageFormat{0x40};  // SPF
  to[0] = std::byte{page.page};
  if (page.subpage == 0) {
    to[1] = std::byte{static_cast<uint8_t>(page.bytes - 2)};
  } else {
    to[0] |= kSubPageFormat;
    to[1] = std::byte{page.subpage};
    to[3] = std::byte{static_cast<uint8_t>(page.bytes - 4)};
  }
  if (control == PageControl::changeable) {
    if (page.changeable != nullptr) page.changeable(lu, to);
  } else if (page.values != nullptr) {
    page.values(lu, control == PageControl::defaults ? default_state(lu) : state, to);
  }
}

}  // namespace itgtd::scsi
