#include "scsi/command_table.h"

#include <algorithm>

#include "base/assert.h"
#include "scsi/cdb.h"
#include "scsi/dispatch.h"

namespace itgtd::scsi {
namespace {

// The only list of the families.
using Family = std::span<const CommandEntry> (*)();
// One a line.
// clang-format off
constexpr Family kFamilies[] = {
    spc_basic_commands,
    spc_inquiry_commands,
    spc_mode_commands,
    spc_report_commands,
    spc_reserve_commands,
    spc_alua_commands,
    spc_identifying_commands,
    spc_persistent_reserve_in_commands,
    spc_persistent_reserve_out_commands,
    spc_copy_commands,
    spc_copy_results_commands,
    spc_log_commands,
    spc_diagnostic_commands,
    spc_rod_token_commands,
    spc_rod_token_information_commands,
    sbc_capacity_commands,
    sbc_read_write_commands,
    sbc_cache_commands,
    sbc_verify_commands,
    sbc_provisioning_commands,
    sbc_removal_commands,
    sbc_atomic_commands,
    sbc_sanitize_commands,
    sbc_defect_commands,
    sbc_format_commands,
};
// clang-format on

bool has_service_action(const CommandEntry& entry) {
  return entry.service_action != kNoServiceAction;
}

bool ordered(const CommandEntry* a, const CommandEntry* b) {
  return a->opcode != b->opcode ? a->opcode < b->opcode : a->service_action < b->service_action;
}

void check(const CommandEntry& entry) {
  ITGTD_ASSERT(entry.cdb_bytes >= 6 && entry.cdb_bytes <= entry.cdb_usage.size());
  ITGTD_ASSERT(entry.cdb_usage[0] == entry.opcode);
  ITGTD_ASSERT(!has_service_action(entry) ||
               (entry.cdb_usage[1] & kServiceActionMask) == entry.service_action);
  ITGTD_ASSERT(entry.admit != nullptr && entry.start != nullptr);
}

}  // namespace

CommandTable::CommandTable() {
  for (const Family family : kFamilies) add(family());
  sort_and_check();
  index();
}

void CommandTable::add(std::span<const CommandEntry> family) {
  ITGTD_ASSERT(family.size() <= kRowsMax - count_);
  for (const CommandEntry& entry : family) entries_[count_++] = &entry;
}

void CommandTable::sort_and_check() {
  std::sort(entries_.begin(), entries_.begin() + count_, ordered);
  for (size_t i = 0; i < count_; ++i) {
    check(*entries_[i]);
    if (i == 0) continue;
    const CommandEntry& before = *entries_[i - 1];
    // Unique, and an opcode either has service actions or has none.
    ITGTD_ASSERT(ordered(&before, entries_[i]));
    ITGTD_ASSERT(before.opcode != entries_[i]->opcode ||
                 (has_service_action(before) && has_service_action(*entries_[i])));
  }
}

void CommandTable::index() {
  for (size_t i = 0; i < count_; ++i) {
    const CommandEntry& entry = *entries_[i];
    IndexedRow& row = rows_[i];
    row.entry = &entry;
    for (size_t byte = 1; byte < entry.cdb_bytes; ++byte) {
      row.illegal_bits[byte] = static_cast<uint8_t>(~entry.cdb_usage[byte]);
    }
    if (has_service_action(entry)) row.illegal_bits[1] &= static_cast<uint8_t>(~kServiceActionMask);

    Range& range = by_opcode_[entry.opcode];
    if (range.count == 0) range.first = static_cast<uint8_t>(i);
    ++range.count;
  }
}

const CommandEntry* find_command(uint8_t opcode, uint32_t service_action) {
  const IndexedRow* row = CommandTable::get().find(opcode, service_action);
  return row == nullptr ? nullptr : row->entry;
}

std::span<const CommandEntry* const> all_commands() {
  return CommandTable::get().entries();
}

}  // namespace itgtd::scsi
