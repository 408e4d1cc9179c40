// SYNCHRONIZE CACHE and PRE-FETCH (10, 16). SBC-3 §5.26, §5.27, §5.9, §5.10.
#include "scsi/sbc_common.h"

namespace itgtd::scsi {

namespace {

using namespace sbc;

/// The range, where a number of zero blocks means: to the end of the medium (SBC-3 §5.26), which
/// check_range() has seen to be there.
template <uint8_t kCdbBytes>
Admission admit_cache_range(Command& command) {
  const BlockRange range = decode_range<kCdbBytes>(command);
  if (const auto refused = check_range(command, range)) return check_condition(*refused);
  return DataPhase{};
}

/// IMMED allows an answer before the blocks are durable and does not forbid one after: waiting keeps an error
/// with the command that it belongs to instead of deferring it. The whole medium is flushed whatever the
/// range: a disk has no smaller flush.
Step start_synchronize(Command& /*command*/) {
  return make_flush();
}

Step resume_synchronize(Command& command, const IoResult& result) {
  if (!succeeded(result)) return io_failed(command, IoKind::flush, 0, result);
  return good();
}

/// There is no cache here that blocks could be brought into: GOOD, and not CONDITION MET, says that they are
/// not all in it (SBC-3 §5.9).
Step start_prefetch(Command& /*command*/) {
  return good();
}

constexpr auto kNone = DataDirection::none;
constexpr auto kRead = ReservationClass::read;
constexpr auto kWrite = ReservationClass::write;

// Byte 1: IMMED, and SYNC_NV, which is obsolete: initiators still set it, and it asks for nothing that is not
// done. RELADR is obsolete, too, and no initiator sets it.
// clang-format off
constexpr CommandEntry kCommands[] = {
    {"SYNCHRONIZE CACHE(10)", 0x35, kNoServiceAction, 10, kNone, kWrite, kFlagNone,
     {0x35, 0x06, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0xFF, 0xFF, 0x00},
     admit_cache_range<10>, start_synchronize, resume_synchronize},
    {"SYNCHRONIZE CACHE(16)", 0x91, kNoServiceAction, 16, kNone, kWrite, kFlagNone,
     {0x91, 0x06, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     admit_cache_range<16>, start_synchronize, resume_synchronize},
    // GROUP NUMBER is taken and means nothing here: what it would be counted for does not exist.
    {"PRE-FETCH(10)", 0x34, kNoServiceAction, 10, kNone, kRead, kFlagNone,
     {0x34, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0x00},
     admit_cache_range<10>, start_prefetch, nullptr},
    {"PRE-FETCH(16)", 0x90, kNoServiceAction, 16, kNone, kRead, kFlagNone,
     {0x90, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0x00},
     admit_cache_range<16>, start_prefetch, nullptr},
};
// clang-format on

}  // namespace

std::span<const CommandEntry> sbc_cache_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
