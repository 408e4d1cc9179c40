// Building of the PDUs that an initiator sends: headers to be patched per I/O, LUNs, digests.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "target/iscsi/bhs.h"

namespace itgtd::bench {

/// A LUN in its 8 bytes: peripheral addressing below 256, flat space addressing above. SAM-5 §4.7.
[[nodiscard]] uint64_t lun_field(uint16_t lun);

/// The header of READ(16) or WRITE(16) (SBC-3 §5.11, §5.33) without what differs from one I/O to the next:
/// task tag, CmdSN, ExpStatSN and LBA. `immediate_bytes` of a write ride with the command; `final` says that
/// no unsolicited Data-Out follows.
struct IoShape {
  uint16_t lun = 0;
  bool write = false;
  uint32_t length_bytes = 0;
  uint32_t length_blocks = 0;
  uint32_t immediate_bytes = 0;
  bool final = true;
};
[[nodiscard]] iscsi::ScsiCommandBhs io_template(const IoShape& shape);

/// What differs per I/O.
struct IoPatch {
  uint32_t initiator_task_tag = 0;
  uint32_t cmd_sn = 0;
  uint32_t exp_stat_sn = 0;
  uint64_t lba = 0;
};
void patch(iscsi::ScsiCommandBhs& bhs, const IoPatch& patch);

/// One Data-Out of a sequence. RFC 7143 §11.7.
struct DataOutFields {
  uint16_t lun = 0;
  uint32_t initiator_task_tag = 0;
  uint32_t target_transfer_tag = iscsi::kReservedTag;
  uint32_t exp_stat_sn = 0;
  uint32_t data_sn = 0;
  uint32_t buffer_offset = 0;
  uint32_t length_bytes = 0;
  bool final = false;
};
[[nodiscard]] iscsi::ScsiDataOutBhs data_out(const DataOutFields& fields);

/// The answer to a NOP-In that wants one. RFC 7143 §11.18: ITT reserved, I bit set, the target's tag and LUN
/// as they came.
[[nodiscard]] iscsi::NopOutBhs nop_out_answer(const iscsi::NopInBhs& ping, uint32_t cmd_sn,
                                              uint32_t exp_stat_sn);

/// A digest in its four bytes of the wire, least significant first. RFC 7143 §13.1.
void put_digest(Bytes to, uint32_t crc);
[[nodiscard]] uint32_t get_digest(ConstBytes from);

/// Serial number arithmetic of 32 bits, as CmdSN and StatSN use it. RFC 1982, RFC 7143 §4.2.2.1.
[[nodiscard]] constexpr bool serial_greater_or_equal(uint32_t a, uint32_t b) {
  return a - b < 0x8000'0000u;
}

}  // namespace itgtd::bench
