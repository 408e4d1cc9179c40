// The vital product data pages. SPC-4 §7.8, SBC-3 §6.6.
#pragma once

#include <cstdint>
#include <span>

#include "scsi/logical_unit.h"
#include "scsi/parameter_data.h"

namespace itgtd::scsi {

struct VpdPage {
  uint8_t code = 0;
  /// Appends what follows the four bytes of the page's header.
  void (*write)(const LogicalUnit& lu, ParameterData& data) = nullptr;
};

/// Third-party copy, in a file of its own.
void write_third_party_copy_page(const LogicalUnit& lu, ParameterData& data);

/// Ascending by code (SPC-4 §7.8.15).
[[nodiscard]] std::span<const VpdPage> vpd_pages();

}  // namespace itgtd::scsi
