// LOG SENSE, SPC-4 §6.6. The pages are in log_pages.cc.
#include <algorithm>
#include <array>

#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/log_pages.h"
#include "scsi/logical_unit.h"
#include "scsi/parameter_data.h"

namespace itgtd::scsi {
namespace {

constexpr uint16_t kPageByte = 2;
constexpr uint8_t kPageBit = 5;
constexpr uint16_t kSubpageByte = 3;
constexpr uint16_t kPointerByte = 5;
constexpr size_t kAllocationLengthByte = 7;
constexpr uint8_t kAllSubpages = 0xFF;

uint8_t page_code(const Command& command) {
  return static_cast<uint8_t>(command.cdb[kPageByte] & 0x3F);
}

const LogPage* find_page(const Command& command) {
  for (const LogPage& page : log_pages()) {
    if (page.page != page_code(command) || page.subpage != command.cdb[kSubpageByte]) continue;
    return page.exists_for(*command.lu) ? &page : nullptr;
  }
  return nullptr;
}

Admission admit_log_sense(Command& command) {
  if (find_page(command) == nullptr) {
    const bool page_known = std::ranges::any_of(log_pages(), [&](const LogPage& page) {
      return page.page == page_code(command) && page.exists_for(*command.lu);
    });
    return check_condition(page_known ? sense::invalid_field_in_cdb(kSubpageByte, 7)
                                      : sense::invalid_field_in_cdb(kPageByte, kPageBit));
  }
  return parameter_data_in(cdb_u16(command, kAllocationLengthByte));
}

/// SPC-4 §7.3.17, §7.3.18: the pages without subpages, or all, each with its subpage.
void list_pages(const LogicalUnit& lu, bool subpages, ParameterData& data) {
  for (const LogPage& page : log_pages()) {
    if (!page.exists_for(lu) || (!subpages && page.subpage != 0)) continue;
    data.u8(page.page);
    if (subpages) data.u8(page.subpage);
  }
}

Step start_log_sense(Command& command) {
  constexpr size_t kHeaderBytes = 4;
  constexpr uint8_t kNotSaved = 0x80;       // DS
  constexpr uint8_t kSubPageFormat = 0x40;  // SPF
  // It may be gone since admit(): with the usage of its medium.
  const LogPage* page = find_page(command);
  if (page == nullptr) return check_condition(sense::invalid_field_in_cdb(kPageByte, kPageBit));
  const uint16_t first = cdb_u16(command, kPointerByte);
  ParameterData data;
  data.u8(static_cast<uint8_t>(page->page | (page->parameters != nullptr ? kNotSaved : 0) |
                               (page->subpage != 0 ? kSubPageFormat : 0)));
  data.u8(page->subpage);
  data.u16(0);
  uint16_t last = 0;
  if (page->parameters == nullptr) {
    list_pages(*command.lu, page->subpage == kAllSubpages, data);
  } else {
    LogParameters parameters(data, static_cast<LogControl>(command.cdb[kPageByte] >> 6), first);
    page->parameters(*command.lu, parameters);
    last = parameters.last();
  }
  // SPC-4 §6.6: a PARAMETER POINTER behind the last parameter of the page.
  if (first > last) return check_condition(sense::invalid_field_in_cdb(kPointerByte, 7));
  data.set_u16(2, static_cast<uint16_t>(data.size() - kHeaderBytes));
  return data.send(command);
}

// PPC is obsolete, and SP asks for what can't be saved.
constexpr std::array kCommands = {
    CommandEntry{.name = "LOG SENSE",
                 .opcode = 0x4D,
                 .cdb_bytes = 10,
                 .direction = DataDirection::in,
                 .reservation = ReservationClass::allowed,
                 .flags = kRunsWhenNotReady | kRunsInStandby,
                 .cdb_usage = {0x4D, 0, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0},
                 .admit = admit_log_sense,
                 .start = start_log_sense},
};

}  // namespace

std::span<const CommandEntry> spc_log_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
