// The sense data that RFC 7143 §11.4.7.2 defines for what goes wrong in the transport.
#pragma once

#include "scsi/command.h"

namespace itgtd::iscsi {

/// Unsolicited data although it was not allowed.
[[nodiscard]] inline scsi::Done unexpected_unsolicited_data() {
  return scsi::check_condition({.key = scsi::SenseKey::aborted_command, .asc = scsi::Asc{0x0C0C}});
}
/// More or less data than was announced, allowed or asked for.
[[nodiscard]] inline scsi::Done incorrect_amount_of_data() {
  return scsi::check_condition({.key = scsi::SenseKey::aborted_command, .asc = scsi::Asc{0x0C0D}});
}
/// Data that was lost or mangled on the way.
[[nodiscard]] inline scsi::Done protocol_service_crc_error() {
  return scsi::check_condition(
      {.key = scsi::SenseKey::aborted_command, .asc = scsi::Asc::protocol_service_crc_error});
}

}  // namespace itgtd::iscsi
