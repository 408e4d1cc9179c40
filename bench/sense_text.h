// Sense data in words, for the one line that a person reads.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"

namespace itgtd::bench {

/// Key and additional code of fixed and descriptor sense data.
struct SenseCodes {
  uint8_t key = 0;
  uint8_t asc = 0;
  uint8_t ascq = 0;
};

/// `sense` begins with the response code, without the SenseLength in front. All zero when it is too short or
/// of an unknown format.
[[nodiscard]] SenseCodes decode_sense(ConstBytes sense);

/// Of the data segment of a SCSI Response: SenseLength, then the sense data. RFC 7143 §11.4.7.2.
[[nodiscard]] ConstBytes sense_of_segment(ConstBytes segment);

/// "CHECK CONDITION, ILLEGAL REQUEST, 21h/00h LBA out of range".
[[nodiscard]] std::string describe_status(uint8_t status, const SenseCodes& codes);

}  // namespace itgtd::bench
