// The third-party copies of a nexus that have a list identifier: under way, or over with results that the
// initiator may still ask for. SPC-4, third-party copy commands.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "scsi/command.h"
#include "scsi/limits.h"

namespace itgtd::scsi {

inline constexpr size_t kRodTokenBytes = 512;

/// Service actions of THIRD-PARTY COPY OUT (83h) that this holds results of.
enum class CopyCommand : uint8_t {
  extended_copy_lid1 = 0x00,
  populate_token = 0x10,
  write_using_token = 0x11,
};

/// What names a copy to the initiator: it chose `list_identifier`, for the copy manager of one logical unit.
/// EXTENDED COPY(LID1) has identifiers of its own, of one byte.
struct CopyName {
  uint64_t lu_key = 0;  ///< LogicalUnit::key of the unit that the command was sent to
  bool lid1 = false;
  uint32_t list_identifier = 0;
  bool operator==(const CopyName&) const = default;
};

struct CopyResult {
  CopyName name;
  uint64_t ticket = 0;  ///< names it within the nexus
  CopyCommand command = CopyCommand::extended_copy_lid1;
  bool running = true;  ///< true exactly until the command is over, however it ended
  /// True exactly while the results of a finished LID1 copy wait for COPY STATUS, and for FAILED SEGMENT
  /// DETAILS: each is told once.
  bool status_held = true;
  bool details_held = true;
  Done done;              ///< how it ended
  uint16_t segments = 0;  ///< segment descriptors that are done
  uint64_t blocks = 0;    ///< that were copied
  uint32_t block_bytes = 0;
  /// Of POPULATE TOKEN that ended well.
  std::optional<std::array<std::byte, kRodTokenBytes>> token;
};

class CopyResults {
 public:
  /// Notes that a copy begins; results under the same name are forgotten. The ticket, or why not: one of that
  /// name is still under way, or too many others are.
  struct Begun {
    uint64_t ticket = 0;
    std::optional<Done> refused;
  };
  [[nodiscard]] Begun begin(const CopyName& name, CopyCommand command);

  /// Null: none, or forgotten. Valid until the next begin() or forget().
  [[nodiscard]] CopyResult* find(const CopyName& name);
  [[nodiscard]] CopyResult* find(uint64_t ticket);
  /// The copy is over. No effect on one that is not known.
  void end(uint64_t ticket, const Done& done);
  void forget(uint64_t ticket);

 private:
  /// Oldest first, at most kCopiesMax. Empty, without memory, for a nexus that never copies.
  std::vector<CopyResult> results_;
  uint64_t last_ticket_ = 0;
};

}  // namespace itgtd::scsi
