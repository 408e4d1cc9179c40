#include "scsi/mode_pages.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "base/assert.h"
#include "base/endian.h"
#include "scsi/thin_provisioning.h"

namespace itgtd::scsi {
namespace {

constexpr std::byte kNoBits{0};

bool is_set(ConstBytes page, size_t byte, std::byte mask) {
  return (page[byte] & mask) != kNoBits;
}

// Read-write error recovery, SBC-3 §6.5.8. How often a block is tried is the medium's own business; what is
// left is whether thresholds of thin provisioning are reported.
constexpr size_t kRecoveryProvisioningByte = 7;
constexpr std::byte kProvisioningErrorsReported{0x80};  // LBPERE

void recovery_values(const ModeFacts& facts, const LuState& state, Bytes page) {
  if (!facts.thresholds || !state.thresholds.reported) return;
  page[kRecoveryProvisioningByte] |= kProvisioningErrorsReported;
}
void recovery_changeable(const ModeFacts& facts, Bytes page) {
  if (facts.thresholds) page[kRecoveryProvisioningByte] |= kProvisioningErrorsReported;
}
void recovery_apply(const ModeFacts& facts, ConstBytes page, LuState& state) {
  if (!facts.thresholds) return;
  state.thresholds.reported = is_set(page, kRecoveryProvisioningByte, kProvisioningErrorsReported);
}

// Caching, SBC-3 §6.5.5. RCD is zero: a read may be answered from a cache.
constexpr size_t kCachingByte = 2;
constexpr std::byte kWriteCacheEnabled{0x04};  // WCE

void caching_values(const ModeFacts& /*facts*/, const LuState& state, Bytes page) {
  if (state.write_cache) page[kCachingByte] |= kWriteCacheEnabled;
}
void caching_changeable(const ModeFacts& /*facts*/, Bytes page) {
  page[kCachingByte] |= kWriteCacheEnabled;
}
void caching_apply(const ModeFacts& /*facts*/, ConstBytes page, LuState& state) {
  state.write_cache = is_set(page, kCachingByte, kWriteCacheEnabled);
}

// Control, SPC-4 §7.5.8. One task set for all nexuses (TST 0), commands may be reordered, aborted commands of
// others end without a word (TAS 0), a unit attention is cleared when it is told (UA_INTLCK_CTRL 0).
constexpr size_t kControlSenseByte = 2;
constexpr std::byte kDescriptorSense{0x04};       // D_SENSE
constexpr std::byte kNoSavedLogParameters{0x02};  // GLTSD
constexpr size_t kControlQueueByte = 3;
constexpr std::byte kUnrestrictedReordering{0x10};  // QUEUE ALGORITHM MODIFIER 1
constexpr size_t kControlProtectByte = 4;
constexpr std::byte kSoftwareWriteProtect{0x08};  // SWP

void control_values(const ModeFacts& facts, const LuState& state, Bytes page) {
  page[kControlSenseByte] |= kNoSavedLogParameters;
  if (state.descriptor_sense) page[kControlSenseByte] |= kDescriptorSense;
  page[kControlQueueByte] |= kUnrestrictedReordering;
  if (state.write_protected || facts.read_only) page[kControlProtectByte] |= kSoftwareWriteProtect;
}
void control_changeable(const ModeFacts& facts, Bytes page) {
  page[kControlSenseByte] |= kDescriptorSense;
  if (!facts.read_only) page[kControlProtectByte] |= kSoftwareWriteProtect;
}
void control_apply(const ModeFacts& facts, ConstBytes page, LuState& state) {
  state.descriptor_sense = is_set(page, kControlSenseByte, kDescriptorSense);
  if (!facts.read_only) {
    state.write_protected = is_set(page, kControlProtectByte, kSoftwareWriteProtect);
  }
}

// Control extension, SPC-4 §7.5.9: the timestamp is the daemon's clock (TCMOS) until SET TIMESTAMP, which
// then counts (SCSIP).
void control_extension_values(const ModeFacts& /*facts*/, const LuState& /*state*/, Bytes page) {
  constexpr std::byte kClockElsewhere{0x04};  // TCMOS
  constexpr std::byte kScsiPrecedence{0x02};  // SCSIP
  page[4] |= kClockElsewhere | kScsiPrecedence;
}

// Informational exceptions control, SPC-4 §7.5.11. None is reported (DEXCPT) unless an initiator wants it.
constexpr size_t kExceptionsByte = 2;
constexpr std::byte kExceptionsWarnings{0x10};  // EWASC
constexpr std::byte kExceptionsDisabled{0x08};  // DEXCPT
constexpr std::byte kExceptionsTest{0x04};      // TEST
constexpr uint8_t kExceptionsTestBit = 2;
constexpr size_t kExceptionsMethodByte = 3;
constexpr std::byte kExceptionsMethod{0x0F};  // MRIE
constexpr size_t kExceptionsReportCountByte = 8;

void exceptions_values(const ModeFacts& /*facts*/, const LuState& state, Bytes page) {
  const InformationalExceptions& exceptions = state.exceptions;
  if (exceptions.warnings) page[kExceptionsByte] |= kExceptionsWarnings;
  if (exceptions.disabled) page[kExceptionsByte] |= kExceptionsDisabled;
  if (exceptions.test) page[kExceptionsByte] |= kExceptionsTest;
  page[kExceptionsMethodByte] = std::byte{exceptions.method};
  store(page.subspan(kExceptionsReportCountByte), be32(exceptions.report_count));
}
void exceptions_changeable(const ModeFacts& /*facts*/, Bytes page) {
  page[kExceptionsByte] |= kExceptionsWarnings | kExceptionsDisabled | kExceptionsTest;
  page[kExceptionsMethodByte] |= kExceptionsMethod;
  store(page.subspan(kExceptionsReportCountByte), be32(std::numeric_limits<uint32_t>::max()));
}
std::optional<PageField> exceptions_refuse(ConstBytes page) {
  // SPC-4 §7.5.11: a test of what is disabled is an error.
  if (is_set(page, kExceptionsByte, kExceptionsTest) && is_set(page, kExceptionsByte, kExceptionsDisabled)) {
    return PageField{kExceptionsByte, kExceptionsTestBit};
  }
  // The other methods end commands otherwise than they ended.
  switch (std::to_integer<uint8_t>(page[kExceptionsMethodByte] & kExceptionsMethod)) {
    case InformationalExceptions::kMethodNone:
    case InformationalExceptions::kMethodUnitAttention:
    case InformationalExceptions::kMethodOnRequest:
      return std::nullopt;
    default:
      return PageField{kExceptionsMethodByte, 3};
  }
}
void exceptions_apply(const ModeFacts& /*facts*/, ConstBytes page, LuState& state) {
  InformationalExceptions& exceptions = state.exceptions;
  exceptions.warnings = is_set(page, kExceptionsByte, kExceptionsWarnings);
  exceptions.disabled = is_set(page, kExceptionsByte, kExceptionsDisabled);
  exceptions.test = is_set(page, kExceptionsByte, kExceptionsTest);
  exceptions.method = std::to_integer<uint8_t>(page[kExceptionsMethodByte] & kExceptionsMethod);
  exceptions.report_count = load<be32>(page.subspan(kExceptionsReportCountByte)).get();
}

// Logical block provisioning, SBC-3: two threshold descriptors behind a header of 16 bytes.
constexpr size_t kProvisioningByte = 4;
constexpr std::byte kSingleInitiator{0x01};  // SITUA
constexpr size_t kProvisioningHeaderBytes = 16;
constexpr std::byte kThresholdEnabled{0x80};  // with THRESHOLD TYPE 0, soft

/// SBC-3, threshold descriptor. Type, arming and resource are what they are.
struct ThresholdDescriptor {
  uint8_t flags = 0;  ///< ENABLED, THRESHOLD TYPE, THRESHOLD ARMING
  uint8_t resource = 0;
  uint8_t reserved[2] = {};
  be32 count;
};
static_assert(sizeof(ThresholdDescriptor) == 8);
constexpr size_t kProvisioningBytes = kProvisioningHeaderBytes + 2 * sizeof(ThresholdDescriptor);
constexpr size_t kAvailableAt = kProvisioningHeaderBytes;
constexpr size_t kUsedAt = kProvisioningHeaderBytes + sizeof(ThresholdDescriptor);

ThresholdDescriptor threshold_descriptor(const ThinThreshold& threshold, uint8_t arming, uint8_t resource) {
  constexpr auto kEnabled = std::to_integer<uint8_t>(kThresholdEnabled);
  ThresholdDescriptor descriptor;
  descriptor.flags = static_cast<uint8_t>(arming | (threshold.enabled ? kEnabled : 0));
  descriptor.resource = resource;
  descriptor.count.set(threshold.count);
  return descriptor;
}
void threshold_apply(ConstBytes page, size_t at, ThinThreshold& threshold) {
  const ThinThreshold before = threshold;
  threshold.enabled = is_set(page, at, kThresholdEnabled);
  threshold.count = load<ThresholdDescriptor>(page.subspan(at)).count.get();
  if (threshold != before) threshold.reached = false;  // another one: not reported yet
}

void provisioning_values(const ModeFacts& /*facts*/, const LuState& state, Bytes page) {
  constexpr uint8_t kArmedIncreasing = 1;
  constexpr uint8_t kArmedDecreasing = 2;
  constexpr uint8_t kAvailable = 0x01;  // LBA mapping resources
  constexpr uint8_t kUsed = 0x02;
  const ThinThresholds& thresholds = state.thresholds;
  if (thresholds.single_initiator) page[kProvisioningByte] |= kSingleInitiator;
  store(page.subspan(kAvailableAt), threshold_descriptor(thresholds.available, kArmedDecreasing, kAvailable));
  store(page.subspan(kUsedAt), threshold_descriptor(thresholds.used, kArmedIncreasing, kUsed));
}
void provisioning_changeable(const ModeFacts& /*facts*/, Bytes page) {
  page[kProvisioningByte] |= kSingleInitiator;
  constexpr ThinThreshold kAll{true, std::numeric_limits<uint32_t>::max()};
  store(page.subspan(kAvailableAt), threshold_descriptor(kAll, 0, 0));
  store(page.subspan(kUsedAt), threshold_descriptor(kAll, 0, 0));
}
void provisioning_apply(const ModeFacts& /*facts*/, ConstBytes page, LuState& state) {
  state.thresholds.single_initiator = is_set(page, kProvisioningByte, kSingleInitiator);
  threshold_apply(page, kAvailableAt, state.thresholds.available);
  threshold_apply(page, kUsedAt, state.thresholds.used);
}
bool provisioning_exists(const ModeFacts& facts) {
  return facts.thresholds;
}

constexpr std::array kPages = {
    ModePage{.page = 0x01,
             .bytes = 12,
             .values = recovery_values,
             .changeable = recovery_changeable,
             .apply = recovery_apply},
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
    ModePage{.page = 0x0A, .subpage = 0x01, .bytes = 32, .values = control_extension_values},
    ModePage{.page = 0x1C,
             .bytes = 12,
             .values = exceptions_values,
             .changeable = exceptions_changeable,
             .refuse = exceptions_refuse,
             .apply = exceptions_apply},
    ModePage{.page = 0x1C,
             .subpage = 0x02,
             .bytes = kProvisioningBytes,
             .values = provisioning_values,
             .changeable = provisioning_changeable,
             .apply = provisioning_apply,
             .exists = provisioning_exists},
};
static_assert(std::ranges::is_sorted(kPages, {},
                                     [](const ModePage& p) { return std::pair(p.page, p.subpage); }));

// What is saved is as of a unit that has all and may change all: the configuration may say otherwise now, and
// otherwise again at the next start.
constexpr ModeFacts kAnyUnit{.read_only = false, .thresholds = true};

/// What the mode values were when the logical unit was configured; nothing else of it is meant.
LuState default_values(const LuState& state) {
  LuState values;
  values.write_cache = state.write_cache_default;
  return values;
}

const ModePage* find_page(ConstBytes at) {
  const bool sub_page_format = is_set(at, 0, std::byte{0x40});
  const auto page = std::to_integer<uint8_t>(at[0] & std::byte{0x3F});
  const uint8_t subpage = sub_page_format ? std::to_integer<uint8_t>(at[1]) : 0;
  const auto* row =
      std::ranges::find_if(kPages, [&](const ModePage& p) { return p.page == page && p.subpage == subpage; });
  if (row == kPages.end() || sub_page_format != (row->subpage != 0)) return nullptr;
  return row;
}

void take_saved(ConstBytes saved, LuState& values) {
  constexpr size_t kHeaderBytesMax = 4;
  while (saved.size() >= kHeaderBytesMax) {
    const bool sub_page_format = is_set(saved, 0, std::byte{0x40});
    const size_t length = sub_page_format ? size_t{4} + load<be16>(saved.subspan(2)).get()
                                          : 2 + std::to_integer<size_t>(saved[1]);
    if (length > saved.size()) return;
    const ModePage* row = find_page(saved);
    const ConstBytes page = saved.first(length);
    saved = saved.subspan(length);
    if (row == nullptr || row->apply == nullptr || row->bytes != length) continue;
    if (row->refuse != nullptr && row->refuse(page)) continue;
    row->apply(kAnyUnit, page, values);
  }
}

LuState saved_values(const LuState& state) {
  LuState values = default_values(state);
  take_saved(state.saved_mode_pages, values);
  return values;
}

}  // namespace

ModeFacts mode_facts(const LogicalUnit& lu, const LuState& state) {
  return {lu.read_only, has_thresholds(lu, state)};
}

std::span<const ModePage> mode_pages() {
  return kPages;
}

void write_mode_page(const ModePage& page, PageControl control, const ModeFacts& facts, const LuState& state,
                     Bytes to) {
  ITGTD_ASSERT(to.size() == page.bytes);
  constexpr std::byte kSaveable{0x80};       // PS
  constexpr std::byte kSubPageFormat{0x40};  // SPF
  to[0] = std::byte{page.page};
  if (page.apply != nullptr) to[0] |= kSaveable;
  if (page.subpage == 0) {
    to[1] = std::byte{static_cast<uint8_t>(page.bytes - 2)};
  } else {
    to[0] |= kSubPageFormat;
    to[1] = std::byte{page.subpage};
    to[3] = std::byte{static_cast<uint8_t>(page.bytes - 4)};
  }
  if (control == PageControl::changeable) {
    if (page.changeable != nullptr) page.changeable(facts, to);
    return;
  }
  if (page.values == nullptr) return;
  switch (control) {
    case PageControl::defaults:
      return page.values(facts, default_values(state), to);
    case PageControl::saved:
      return page.values(facts, saved_values(state), to);
    default:
      return page.values(facts, state, to);
  }
}

void save_mode_pages(LuState& state) {
  std::vector<std::byte> saved;
  for (const ModePage& page : kPages) {
    if (page.apply == nullptr) continue;
    const size_t at = saved.size();
    saved.resize(at + page.bytes);
    write_mode_page(page, PageControl::current, kAnyUnit, state, Bytes(saved).subspan(at));
  }
  state.saved_mode_pages = std::move(saved);
}

void apply_saved_mode_pages(LuState& state) {
  const LuState values = saved_values(state);
  state.write_cache = values.write_cache;
  state.write_protected = values.write_protected;
  state.descriptor_sense = values.descriptor_sense;
  state.exceptions = values.exceptions;
  state.thresholds = values.thresholds;
}

Sense informational_exception(const LuState& state) {
  Sense sense = sense::no_sense();
  // SPC-4 §7.5.11, TEST.
  if (state.exceptions.test && !state.exceptions.disabled) {
    sense.asc = Asc::failure_prediction_threshold_exceeded_false;
  }
  return sense;
}

}  // namespace itgtd::scsi
