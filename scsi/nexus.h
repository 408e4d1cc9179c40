// An I_T nexus as SCSI sees it: who, which LUNs, and what it has not been told yet. SAM-5 §4.7, §5.14.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "scsi/command.h"
#include "scsi/logical_unit.h"

namespace itgtd::scsi {

/// The initiator port: iSCSI name and ISID. What reservations are bound to. SPC-4 §7.6.4.6.
struct InitiatorPort {
  std::string name;
  std::array<uint8_t, 6> isid{};
  bool operator==(const InitiatorPort&) const = default;
};

class Nexus {
 public:
  /// `luns` outlives the nexus. Each LUN starts with POWER ON, RESET, OR BUS DEVICE RESET OCCURRED pending.
  Nexus(NexusId id, InitiatorPort port, const LunMap* luns);

  [[nodiscard]] NexusId id() const { return id_; }
  [[nodiscard]] const InitiatorPort& port() const { return port_; }
  [[nodiscard]] LogicalUnit* find(uint16_t lun) const {
    return lun < kLunsPerTargetMax ? luns_->units[lun] : nullptr;
  }
  [[nodiscard]] const LunMap& luns() const { return *luns_; }

  /// Queues a unit attention for `lun`. The same one twice is one; a reset clears those before it (SAM-5
  /// §5.14).
  void raise(uint16_t lun, Asc asc);
  /// True exactly when a unit attention waits for `lun`: the one test on the data path.
  [[nodiscard]] bool pending(uint16_t lun) const { return ((pending_[lun / 64] >> (lun % 64)) & 1) != 0; }
  /// Takes the oldest one.
  std::optional<Asc> take(uint16_t lun);
  /// Forgets what waits for `lun`: it was removed, or is another one now.
  void clear(uint16_t lun);
  /// Takes REPORTED LUNS DATA HAS CHANGED off every LUN: REPORT LUNS was answered. SPC-4 §6.33.
  void clear_reported_luns_changed();

 private:
  struct Queue {
    uint8_t count = 0;
    std::array<Asc, kUnitAttentionsMax> entries{};
  };
  NexusId id_;
  InitiatorPort port_;
  const LunMap* luns_;
  std::array<uint64_t, kLunsPerTargetMax / 64> pending_{};
  std::vector<Queue> queues_;  ///< one per LUN
};

}  // namespace itgtd::scsi
