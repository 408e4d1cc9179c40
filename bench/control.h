// SCSI commands by turns, before the load: is the unit ready, how large is it. And the logout behind it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "bench/login.h"

namespace itgtd::bench {

struct Capacity {
  uint64_t blocks = 0;
  uint32_t block_bytes = 0;
  [[nodiscard]] uint64_t bytes() const { return blocks * block_bytes; }
};

/// TEST UNIT READY until no unit attention is left (SPC-4 §6.47). Any other status is an error.
[[nodiscard]] Result<void> clear_attentions(Session& session, uint16_t lun, Instant deadline);

/// READ CAPACITY(16). SBC-3 §5.16.
[[nodiscard]] Result<Capacity> read_capacity(Session& session, uint16_t lun, Instant deadline);

/// Ends the session. RFC 7143 §11.14. The caller has no command outstanding.
Result<void> logout(Session& session, Instant deadline);

}  // namespace itgtd::bench
