// READ DEFECT DATA(10) and (12). SBC-3, READ DEFECT DATA commands.
//
// The medium below remaps what fails on its own and tells nobody: both lists are there, and empty, in
// whatever format they are asked for.
#include "scsi/cdb.h"
#include "scsi/parameter_data.h"
#include "scsi/sbc_common.h"

namespace itgtd::scsi {

namespace {

/// REQ_PLIST, REQ_GLIST and DEFECT LIST FORMAT of the CDB, and as the header answers them: PLISTV, GLISTV.
template <uint8_t kCdbBytes>
inline constexpr uint16_t kListsByte = kCdbBytes == 10 ? 2 : 1;
constexpr uint8_t kFormatMask = 0x07;
constexpr uint8_t kReservedFormat = 0x07;

template <uint8_t kCdbBytes>
Admission admit_read_defects(Command& command) {
  if ((command.cdb[kListsByte<kCdbBytes>] & kFormatMask) == kReservedFormat) {
    return check_condition(sense::invalid_field_in_cdb(kListsByte<kCdbBytes>, uint8_t{2}));
  }
  return parameter_data_in(kCdbBytes == 10 ? cdb_u16(command, 7) : cdb_u32(command, 6));
}

template <uint8_t kCdbBytes>
Step start_read_defects(Command& command) {
  ParameterData data;
  data.u8(0);
  data.u8(command.cdb[kListsByte<kCdbBytes>]);
  if constexpr (kCdbBytes == 12) {
    data.u16(0);  // GENERATION CODE: not told
    data.u32(0);  // DEFECT LIST LENGTH; whatever the ADDRESS DESCRIPTOR INDEX, there is none from there on
  } else {
    data.u16(0);  // DEFECT LIST LENGTH
  }
  return data.send(command);
}

constexpr auto kIn = DataDirection::in;
constexpr auto kRead = ReservationClass::read;

// clang-format off
constexpr CommandEntry kCommands[] = {
    {"READ DEFECT DATA(10)", 0x37, kNoServiceAction, 10, kIn, kRead, kFlagNone,
     {0x37, 0x00, 0x1F, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0x00},
     admit_read_defects<10>, start_read_defects<10>, nullptr},
    {"READ DEFECT DATA(12)", 0xB7, kNoServiceAction, 12, kIn, kRead, kFlagNone,
     {0xB7, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00},
     admit_read_defects<12>, start_read_defects<12>, nullptr},
};
// clang-format on

}  // namespace

std::span<const CommandEntry> sbc_defect_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
