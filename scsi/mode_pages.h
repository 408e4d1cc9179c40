// The mode pages of a disk. SPC-4 §7.5, SBC-3 §6.5.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/bytes.h"
#include "scsi/logical_unit.h"

namespace itgtd::scsi {

/// What the pages of a logical unit depend on beside the values in them.
struct ModeFacts {
  bool read_only = false;   ///< of the configuration: it is write protected, and SWP can't be cleared
  bool thresholds = false;  ///< of thin provisioning: scsi/thin_provisioning.h
};
[[nodiscard]] ModeFacts mode_facts(const LogicalUnit& lu, const LuState& state);

/// Where a page is wrong.
struct PageField {
  size_t byte = 0;
  uint8_t bit = 7;
};

struct ModePage {
  uint8_t page = 0;
  uint8_t subpage = 0;  ///< 0: the page_0 format, with a header of two bytes; else the sub_page format, four
  uint8_t bytes = 0;    ///< of the whole page, header included
  /// Write what follows the header into a page that is zero: the values in `state`, and a one for each bit
  /// that MODE SELECT may change. Null: all zero.
  void (*values)(const ModeFacts& facts, const LuState& state, Bytes page) = nullptr;
  void (*changeable)(const ModeFacts& facts, Bytes page) = nullptr;
  /// What `page`, which differs from the current one in changeable bits only, says that can't be. Null: all
  /// can.
  std::optional<PageField> (*refuse)(ConstBytes page) = nullptr;
  /// Takes the changeable bits of `page` over into `state`. Null: there are none, and nothing is saved.
  void (*apply)(const ModeFacts& facts, ConstBytes page, LuState& state) = nullptr;
  /// Whether the unit has it. Null: every one.
  bool (*exists)(const ModeFacts& facts) = nullptr;

  [[nodiscard]] size_t header_bytes() const { return subpage == 0 ? 2 : 4; }
  [[nodiscard]] bool exists_for(const ModeFacts& facts) const { return exists == nullptr || exists(facts); }
};

/// Ascending by page, then subpage (SPC-4 §6.11.1: the order in which all of them are returned).
[[nodiscard]] std::span<const ModePage> mode_pages();

/// What MODE SENSE returns of a page: the PAGE CONTROL field of SPC-4 §6.11.1.
enum class PageControl : uint8_t { current = 0, changeable = 1, defaults = 2, saved = 3 };

/// Writes all of `page` into `to`, which is zero and exactly page.bytes long. `state` has the current and the
/// saved values.
void write_mode_page(const ModePage& page, PageControl control, const ModeFacts& facts, const LuState& state,
                     Bytes to);

/// Sets LuState::saved_mode_pages to the current values of every page that can be saved.
void save_mode_pages(LuState& state);

/// Makes the saved values current, and the default ones where nothing is saved: at start, and by a reset.
/// What is in LuState::saved_mode_pages and is no page of ours, or says what can't be, is passed over.
void apply_saved_mode_pages(LuState& state);

/// The exception that the informational exceptions control page lets be reported: NO SENSE with its ASC, or
/// without when there is none.
[[nodiscard]] Sense informational_exception(const LuState& state);

}  // namespace itgtd::scsi
