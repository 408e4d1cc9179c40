// An I_T nexus as SCSI sees it: who, which LUNs, and what it has not been told yet. SAM-5 §4.7, §5.14.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "scsi/command.h"
#include "scsi/copy_results.h"
#include "scsi/initiator_port.h"
#include "scsi/logical_unit.h"
#include "scsi/persistent_reservations.h"

namespace itgtd::scsi {

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

  /// Queues a unit attention for `lun`. The same one twice is one. Power on, a reset and the loss of the
  /// nexus come before all others, and only the greatest of them is told; a reset makes void what it implies
  /// (SAM-5 §5.14, §6.2). More than kUnitAttentionsMax collapse into power on.
  void raise(uint16_t lun, Asc asc);
  /// True exactly when a unit attention waits for `lun`.
  [[nodiscard]] bool pending(uint16_t lun) const { return ((pending_[lun / 64] >> (lun % 64)) & 1) != 0; }
  /// Takes the one to be told next: an event, or else the oldest.
  std::optional<Asc> take(uint16_t lun);
  /// A unit attention about reservations that was taken, and of which generation of the unit's state.
  struct Told {
    uint16_t lun = 0;
    Asc asc = Asc::none;
    uint64_t generation = 0;
  };
  /// True exactly when take_told() has something to give.
  [[nodiscard]] bool has_told() const { return !told_.empty(); }
  /// Those of scsi/registrant_attentions.h that were taken since the last call.
  [[nodiscard]] std::vector<Told> take_told() { return std::exchange(told_, {}); }
  /// Forgets what waits for `lun`: it was removed, or is another one now.
  void clear(uint16_t lun);
  /// Takes REPORTED LUNS DATA HAS CHANGED off every LUN: REPORT LUNS was answered. SPC-4 §6.33.
  void clear_reported_luns_changed();

  /// True exactly when dispatch has found, and set_untroubled() noted, that in this generation of the state
  /// of `lun` nothing keeps any command of this nexus from running, and no unit attention has come since: the
  /// one test on the data path.
  [[nodiscard]] bool is_untroubled(uint16_t lun, uint64_t generation) const {
    return untroubled_[lun] == generation;
  }
  void set_untroubled(uint16_t lun, uint64_t generation) { untroubled_[lun] = generation; }
  /// What persistent reservations leave to this nexus on `lu`; looked up once a generation.
  [[nodiscard]] ReservationAccess persistent_access(const LogicalUnit& lu);

  /// What WRITE BUFFER last wrote into the echo buffer, and by way of this LUN; nothing when it has not. The
  /// bytes live until the next set_echo_buffer().
  [[nodiscard]] std::optional<ConstBytes> echo_buffer(uint16_t lun) const;
  /// Allocates. At most kEchoBufferBytesMax.
  void set_echo_buffer(uint16_t lun, ConstBytes content);

  /// Its third-party copies that have a list identifier.
  [[nodiscard]] CopyResults& copies() { return copies_; }

 private:
  struct Queue {
    uint8_t count = 0;
    std::array<Asc, kUnitAttentionsMax> entries{};
  };
  struct Access {
    uint64_t generation = 0;
    ReservationAccess access = ReservationAccess::all;
  };
  NexusId id_;
  InitiatorPort port_;
  const LunMap* luns_;
  std::array<uint64_t, kLunsPerTargetMax / 64> pending_{};
  std::vector<Queue> queues_;                             ///< one per LUN
  std::array<uint64_t, kLunsPerTargetMax> untroubled_{};  ///< a generation of each LUN's state; 0: none
  std::vector<Access> access_;                            ///< one per LUN
  std::optional<uint16_t> echo_lun_;                      ///< through which the echo buffer was written
  std::vector<std::byte> echo_;
  CopyResults copies_;
  std::vector<Told> told_;
};

}  // namespace itgtd::scsi
