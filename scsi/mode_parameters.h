// Values of mode pages that are more than a bit of LuState. mode_pages.cc has their places on the wire.
#pragma once

#include <cstdint>

#include "scsi/command.h"

namespace itgtd::scsi {

/// Informational exceptions control, SPC-4. The only exception there is is the one of TEST.
struct InformationalExceptions {
  bool disabled = true;       ///< DEXCPT
  bool warnings = false;      ///< EWASC; nothing is ever warned of
  bool test = false;          ///< TEST: a failure is predicted, and is not true
  uint8_t method = 0;         ///< MRIE: kMethodNone, kMethodUnitAttention or kMethodOnRequest
  uint32_t report_count = 0;  ///< REPORT COUNT: the most reports; there is never more than one

  static constexpr uint8_t kMethodNone = 0;
  static constexpr uint8_t kMethodUnitAttention = 2;
  static constexpr uint8_t kMethodOnRequest = 6;
  bool operator==(const InformationalExceptions&) const = default;
};

/// A soft threshold of thin provisioning, SBC-3.
struct ThinThreshold {
  bool enabled = false;
  uint32_t count = 0;  ///< of threshold sets
  /// True exactly when usage was beyond it at the last look, and that was reported.
  bool reached = false;
  bool operator==(const ThinThreshold&) const = default;
};

struct ThinThresholds {
  bool reported = true;           ///< LBPERE of the read-write error recovery page
  bool single_initiator = false;  ///< SITUA
  NexusId initiator = 0;          ///< with SITUA, the one that is told: who set it; 0: all are
  ThinThreshold available;        ///< reached when so little is left
  ThinThreshold used;             ///< reached when so much is used
  bool operator==(const ThinThresholds&) const = default;
};

}  // namespace itgtd::scsi
