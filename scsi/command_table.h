// The index over all rows, by opcode: what dispatch looks up for every command.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "scsi/command_entry.h"

namespace itgtd::scsi {

/// A row, and its CDB's illegal bits ready for the test of a whole CDB at once.
struct IndexedRow {
  const CommandEntry* entry = nullptr;
  /// A one where the CDB must have a zero. Bytes behind the CDB's length and the service action, which chose
  /// the row, are not judged.
  std::array<uint8_t, 16> illegal_bits{};
};

class CommandTable {
 public:
  /// Room for every command of SPC and SBC that could be served; a row is a few dozen bytes.
  static constexpr size_t kRowsMax = 160;

  /// The one table. Built by the first call.
  [[nodiscard]] static const CommandTable& get() {
    static const CommandTable table;
    return table;
  }

  /// The rows of an opcode: one without a service action, or all its service actions.
  [[nodiscard]] std::span<const IndexedRow> rows(uint8_t opcode) const {
    const Range range = by_opcode_[opcode];
    return {rows_.data() + range.first, range.count};
  }
  /// Null: no such command.
  [[nodiscard]] const IndexedRow* find(uint8_t opcode, uint32_t service_action) const {
    for (const IndexedRow& row : rows(opcode)) {
      const uint32_t its_own = row.entry->service_action;
      if (its_own == kNoServiceAction || its_own == service_action) return &row;
    }
    return nullptr;
  }
  [[nodiscard]] std::span<const CommandEntry* const> entries() const { return {entries_.data(), count_}; }

 private:
  struct Range {
    uint8_t first = 0;
    uint8_t count = 0;
  };
  static_assert(kRowsMax <= 255);

  CommandTable();
  void add(std::span<const CommandEntry> family);
  void sort_and_check();
  void index();

  size_t count_ = 0;
  std::array<const CommandEntry*, kRowsMax> entries_{};
  std::array<IndexedRow, kRowsMax> rows_{};
  std::array<Range, 256> by_opcode_{};
};

}  // namespace itgtd::scsi
