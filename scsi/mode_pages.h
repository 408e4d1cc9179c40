// The mode pages of a disk. SPC-4 §7.5, SBC-3 §6.5.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "scsi/logical_unit.h"

namespace itgtd::scsi {

struct ModePage {
  uint8_t page = 0;
  uint8_t subpage = 0;  ///< 0: the page_0 format, with a header of two bytes; else the sub_page format, four
  uint8_t bytes = 0;    ///< of the whole page, header included
  /// Write what follows the header into a page that is zero: the values in `state`, and a one for each bit
  /// that MODE SELECT may change. Null: all zero.
  void (*values)(const LogicalUnit& lu, const LuState& state, Bytes page) = nullptr;
  void (*changeable)(const LogicalUnit& lu, Bytes page) = nullptr;
  /// Takes the changeable bits of `page` over into `state`. Null: there are none.
  void (*apply)(ConstBytes page, LuState& state) = nullptr;

  [[nodiscard]] size_t header_bytes() const { return subpage == 0 ? 2 : 4; }
};

/// Ascending by page, then subpage (SPC-4 §6.11.1: the order in which all of them are returned).
[[nodiscard]] std::span<const ModePage> mode_pages();

/// What MODE SENSE returns of a page: the PAGE CONTROL field of SPC-4 §6.11.1. Saved values do not exist.
enum class PageControl : uint8_t { current = 0, changeable = 1, defaults = 2, saved = 3 };

/// Writes all of `page` into `to`, which is zero and exactly page.bytes long. `state` are the current values.
void write_mode_page(const ModePage& page, PageControl control, const LogicalUnit& lu, const LuState& state,
                     Bytes to);

}  // namespace itgtd::scsi
