// What of a logical unit must survive the end of the daemon, as bytes: for a disk, or for another node.
//
// A version, then sections in the order of their tags; what is as it was at first has no section. So equal
// states give equal bytes, and a writer need only save when they differ from those saved last.
#pragma once

#include <cstddef>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "scsi/logical_unit.h"
#include "scsi/registrant_attentions.h"
#include "scsi/transport_id.h"

namespace itgtd::scsi {

/// Identifying information, its text and the saved mode pages, each: more than any command can set.
inline constexpr size_t kSnapshotTextBytesMax = 4096;
/// A snapshot: three texts of that kind, kRegistrantsMax registrants, and as many ports with unit attentions,
/// each with the longest name; headers of sections.
inline constexpr size_t kSnapshotBytesMax =
    3 * kSnapshotTextBytesMax + kRegistrantsMax * (18 + 8 + 2 * kInitiatorNameBytesMax) + 64;

/// What must survive of `state`:
///   - registrations and reservation, when APTPL asked for it; PRGENERATION does not (SPC-4, READ KEYS);
///   - identifying information and saved mode pages;
///   - that a format or sanitize operation has not ended well.
/// Empty: nothing.
///
/// With `attentions` the unit is one of a group: when another node goes on with it no initiator has seen a
/// loss of power, so registrations and reservation survive whatever APTPL said (READ FULL STATUS and REPORT
/// CAPABILITIES report it as it was set), and so do PRGENERATION and what `attentions` has.
[[nodiscard]] std::vector<std::byte> snapshot(const LuState& state,
                                              const RegistrantAttentions* attentions = nullptr);

/// Puts into `state` what `bytes` hold; what they have no section for stays as it is. A format or sanitize
/// operation that was going on has failed. An error: the bytes are no snapshot, or one with sections or of a
/// version that this program does not know; `state` and `attentions` are untouched.
///
/// Without `attentions` the unit is not one of a group (any more): what only a failover keeps is dropped.
[[nodiscard]] Result<void> restore(ConstBytes bytes, LuState& state,
                                   RegistrantAttentions* attentions = nullptr);

}  // namespace itgtd::scsi
