// The SCSI initiator port of iSCSI.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace itgtd::scsi {

/// iSCSI name and ISID: what reservations are bound to, beyond the life of a session. SPC-4 §7.6.4.6.
struct InitiatorPort {
  std::string name;
  std::array<uint8_t, 6> isid{};
  bool operator==(const InitiatorPort&) const = default;
};

}  // namespace itgtd::scsi
