// MODE SENSE and MODE SELECT, SPC-4 §6.9 to §6.12. The pages are in mode_pages.cc.
//
// Either command has two forms that differ in the CDB and in the header of the parameter list; ModeForm is
// that difference.
#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <optional>

#include "base/endian.h"
#include "scsi/cdb.h"
#include "scsi/command_entry.h"
#include "scsi/logical_unit.h"
#include "scsi/mode_pages.h"
#include "scsi/parameter_data.h"

namespace itgtd::scsi {
namespace {

constexpr uint8_t kAllPages = 0x3F;
constexpr uint8_t kAllSubpages = 0xFF;
constexpr size_t kShortDescriptorBytes = 8;
constexpr size_t kLongDescriptorBytes = 16;

bool is_ten(const Command& command) {
  return command.entry->cdb_bytes == 10;
}

/// SPC-4 §7.5.5, mode parameter header. The device-specific parameter follows the medium type.
struct ModeForm {
  size_t header_bytes;
  size_t medium_type_at;
  size_t descriptor_length_at;  ///< of its least significant byte
};
constexpr ModeForm kSixForm = {4, 1, 3};
constexpr ModeForm kTenForm = {8, 2, 7};

const ModeForm& form_of(const Command& command) {
  return is_ten(command) ? kTenForm : kSixForm;
}

// MODE SENSE.

constexpr unsigned kDisableDescriptorsBit = 3;  // DBD
constexpr unsigned kLongLbaAcceptedBit = 4;     // LLBAA, MODE SENSE(10) only
constexpr uint16_t kPageByte = 2;
constexpr uint8_t kPageBit = 5;
constexpr uint16_t kSubpageByte = 3;

PageControl page_control(const Command& command) {
  return static_cast<PageControl>(command.cdb[kPageByte] >> 6);
}

bool is_asked_for(const ModePage& row, const ModeFacts& facts, uint8_t page, uint8_t subpage) {
  if (!row.exists_for(facts)) return false;
  if (page != kAllPages && page != row.page) return false;
  return subpage == kAllSubpages || subpage == row.subpage;
}

Admission admit_mode_sense(Command& command) {
  const auto page = static_cast<uint8_t>(command.cdb[kPageByte] & 0x3F);
  const uint8_t subpage = command.cdb[kSubpageByte];
  // SPC-4 table 192: of all pages, either those without a subpage or all subpages too.
  if (page == kAllPages && subpage != 0 && subpage != kAllSubpages) {
    return check_condition(sense::invalid_field_in_cdb(kSubpageByte, 7));
  }
  const auto rows = mode_pages();
  const ModeFacts facts = mode_facts(*command.lu, *command.lu->state);
  if (std::ranges::none_of(rows,
                           [&](const ModePage& row) { return is_asked_for(row, facts, page, subpage); })) {
    const bool page_known = std::ranges::find(rows, page, &ModePage::page) != rows.end();
    return check_condition(page_known ? sense::invalid_field_in_cdb(kSubpageByte, 7)
                                      : sense::invalid_field_in_cdb(kPageByte, kPageBit));
  }
  return parameter_data_in(is_ten(command) ? cdb_u16(command, 7) : command.cdb[4]);
}

/// SBC-3 §6.5.2: of the blocks that there are, and how long one is.
void block_descriptor(const Command& command, bool long_lba, ParameterData& data) {
  const LuState& state = *command.lu->state;
  const uint64_t blocks = state.condition == LuCondition::ejected ? 0 : state.block_count;
  if (long_lba) {
    data.u64(blocks);
    data.u32(0);
    data.u32(command.lu->geometry.block_bytes);
    return;
  }
  constexpr uint64_t kTooMany = std::numeric_limits<uint32_t>::max();
  data.u32(static_cast<uint32_t>(std::min(blocks, kTooMany)));
  data.u8(0);
  data.u24(command.lu->geometry.block_bytes);
}

/// SBC-3 §6.5.1.
uint8_t device_specific_parameter(const Command& command) {
  constexpr uint8_t kWriteProtected = 0x80;            // WP
  constexpr uint8_t kForceUnitAccessSupported = 0x10;  // DPOFUA
  const bool protect = command.lu->state->write_protected || command.lu->read_only;
  return static_cast<uint8_t>(kForceUnitAccessSupported | (protect ? kWriteProtected : 0));
}

Step start_mode_sense(Command& command) {
  const ModeForm& form = form_of(command);
  const bool descriptor = !cdb_bit(command, 1, kDisableDescriptorsBit);
  const bool long_lba = descriptor && is_ten(command) && cdb_bit(command, 1, kLongLbaAcceptedBit);
  const size_t descriptor_bytes = long_lba ? kLongDescriptorBytes : kShortDescriptorBytes;

  ParameterData data;
  data.zeros(form.header_bytes);
  data.set_u8(form.medium_type_at + 1, device_specific_parameter(command));
  if (is_ten(command)) data.set_u8(4, long_lba ? 1 : 0);
  if (descriptor) {
    data.set_u8(form.descriptor_length_at, static_cast<uint8_t>(descriptor_bytes));
    block_descriptor(command, long_lba, data);
  }
  const auto page = static_cast<uint8_t>(command.cdb[kPageByte] & 0x3F);
  const uint8_t subpage = command.cdb[kSubpageByte];
  const LuState& state = *command.lu->state;
  const ModeFacts facts = mode_facts(*command.lu, state);
  for (const ModePage& row : mode_pages()) {
    if (!is_asked_for(row, facts, page, subpage)) continue;
    write_mode_page(row, page_control(command), facts, state, data.extend(row.bytes));
  }
  if (is_ten(command)) {
    data.set_u16(0, static_cast<uint16_t>(data.size() - 2));
  } else {
    data.set_u8(0, static_cast<uint8_t>(data.size() - 1));
  }
  return data.send(command);
}

// MODE SELECT.

constexpr unsigned kPageFormatBit = 4;  // PF
constexpr unsigned kSavePagesBit = 0;   // SP

Admission admit_mode_select(Command& command) {
  // SPC-4 §6.9: without PF all parameters are vendor specific; there are none.
  const uint32_t length = is_ten(command) ? cdb_u16(command, 7) : command.cdb[4];
  if (length != 0 && !cdb_bit(command, 1, kPageFormatBit)) {
    return check_condition(sense::invalid_field_in_cdb(1, kPageFormatBit));
  }
  return DataPhase{DataDirection::out, length, 0};
}

/// A parameter list on its way into a state. Every function returns what is wrong, if anything is.
class ModeSelect {
 public:
  ModeSelect(const Command& command, const LuState& state)
      : command_(command),
        lu_(*command.lu),
        facts_(mode_facts(lu_, state)),
        state_(state),
        next_(state),
        list_(ConstBytes(command.data).first(command.data_out_bytes)) {}

  std::optional<Sense> parse() {
    // The initiator announced less than the CDB says: whatever is missing would have to be guessed.
    if (list_.size() != command_.phase.transfer_bytes) return sense::parameter_list_length_error();
    if (const auto wrong = parse_header()) return wrong;
    while (at_ < list_.size()) {
      if (const auto wrong = parse_page()) return wrong;
    }
    return std::nullopt;
  }
  [[nodiscard]] const LuState& next() const { return next_; }

 private:
  [[nodiscard]] uint8_t byte(size_t at) const { return std::to_integer<uint8_t>(list_[at]); }
  static Sense invalid(size_t at, std::optional<uint8_t> bit = std::nullopt) {
    return sense::invalid_field_in_parameter_list(static_cast<uint16_t>(at), bit);
  }

  std::optional<Sense> parse_header() {
    const ModeForm& form = form_of(command_);
    if (list_.size() < form.header_bytes) return sense::parameter_list_length_error();
    if (byte(form.medium_type_at) != 0) return invalid(form.medium_type_at, 7);
    const bool long_lba = is_ten(command_) && (byte(4) & 1) != 0;
    const size_t length =
        is_ten(command_) ? load<be16>(list_.subspan(6)).get() : size_t{byte(form.descriptor_length_at)};
    at_ = form.header_bytes;
    if (length == 0) return std::nullopt;
    // One descriptor, as MODE SENSE returns it.
    const size_t expected = long_lba ? kLongDescriptorBytes : kShortDescriptorBytes;
    if (length != expected) return invalid(is_ten(command_) ? 6 : 3, 7);
    if (list_.size() - at_ < length) return sense::parameter_list_length_error();
    return parse_block_descriptor(long_lba);
  }

  /// SBC-3 §6.5.2: the format is what it is. Blocks may be given as 0 or all ones: as many as there are.
  std::optional<Sense> parse_block_descriptor(bool long_lba) {
    const ConstBytes from = list_.subspan(at_);
    const uint64_t blocks = long_lba ? load<be64>(from).get() : load<be32>(from).get();
    const uint64_t all_ones =
        long_lba ? std::numeric_limits<uint64_t>::max() : std::numeric_limits<uint32_t>::max();
    const size_t block_bytes_at = long_lba ? 12 : 5;
    const uint32_t block_bytes =
        long_lba ? load<be32>(from.subspan(12)).get() : load<be24>(from.subspan(5)).get();
    if (blocks != 0 && blocks != all_ones && blocks != state_.block_count) return invalid(at_, 7);
    if (block_bytes != lu_.geometry.block_bytes) return invalid(at_ + block_bytes_at, 7);
    at_ += long_lba ? kLongDescriptorBytes : kShortDescriptorBytes;
    return std::nullopt;
  }

  std::optional<Sense> parse_page() {
    constexpr uint8_t kPageMask = 0x3F;
    constexpr uint8_t kSubPageFormat = 0x40;
    const size_t left = list_.size() - at_;
    const bool sub_page_format = (byte(at_) & kSubPageFormat) != 0;
    const size_t header = sub_page_format ? 4 : 2;
    if (left < header) return sense::parameter_list_length_error();
    const auto page = static_cast<uint8_t>(byte(at_) & kPageMask);
    const uint8_t subpage = sub_page_format ? byte(at_ + 1) : 0;
    const auto rows = mode_pages();
    const auto row = std::ranges::find_if(rows, [&](const ModePage& r) {
      return r.page == page && r.subpage == subpage && r.exists_for(facts_);
    });
    if (row == rows.end()) {
      const bool page_known = std::ranges::find(rows, page, &ModePage::page) != rows.end();
      return page_known && subpage != 0 ? invalid(at_ + 1, 7) : invalid(at_, 5);
    }
    if (sub_page_format != (row->subpage != 0)) return invalid(at_, 6);
    // SPC-4 §7.5.7: PAGE LENGTH is the one of the page.
    const size_t length = header == 4 ? load<be16>(list_.subspan(at_ + 2)).get() : size_t{byte(at_ + 1)};
    if (header + length != row->bytes) return invalid(at_ + (header == 4 ? 2 : 1), 7);
    if (left < row->bytes) return sense::parameter_list_length_error();
    return take_page(*row);
  }

  /// SPC-4 §6.9: changing what can't be changed is an error, named by its highest bit.
  std::optional<Sense> take_page(const ModePage& row) {
    std::array<std::byte, std::numeric_limits<uint8_t>::max()> current{};
    std::array<std::byte, std::numeric_limits<uint8_t>::max()> changeable{};
    write_mode_page(row, PageControl::current, facts_, next_, Bytes(current).first(row.bytes));
    write_mode_page(row, PageControl::changeable, facts_, next_, Bytes(changeable).first(row.bytes));
    for (size_t i = row.header_bytes(); i < row.bytes; ++i) {
      const auto wrong = std::to_integer<uint8_t>((list_[at_ + i] ^ current[i]) & ~changeable[i]);
      if (wrong != 0) return invalid(at_ + i, static_cast<uint8_t>(std::bit_width(wrong) - 1));
    }
    const ConstBytes page = list_.subspan(at_, row.bytes);
    if (row.refuse != nullptr) {
      if (const auto field = row.refuse(page)) return invalid(at_ + field->byte, field->bit);
    }
    if (row.apply != nullptr) row.apply(facts_, page, next_);
    at_ += row.bytes;
    return std::nullopt;
  }

  const Command& command_;
  const LogicalUnit& lu_;  ///< its fixed parts only: its state belongs to another thread
  const ModeFacts facts_;
  const LuState& state_;
  LuState next_;
  ConstBytes list_;
  size_t at_ = 0;
};

/// SPC-4 §7.5.11, MRIE 2: every nexus is told of an exception that was not there before.
void raise_exception(const LuState& before, const LuState& now, Decision& decision) {
  const auto raised = [](const LuState& state) {
    const bool is_told = state.exceptions.method == InformationalExceptions::kMethodUnitAttention;
    return is_told ? informational_exception(state).asc : Asc::none;
  };
  if (raised(now) == Asc::none || raised(now) == raised(before)) return;
  decision.unit_attentions.push_back({UnitAttentionRaise::Scope::all, 0, raised(now)});
}

Decision decide_mode_select(const LuState& state, const Command& command, const DecideContext& context) {
  LuState next = state;
  // SPC-4 §6.9: a PARAMETER LIST LENGTH of zero is no error.
  if (command.phase.transfer_bytes != 0) {
    ModeSelect select(command, state);
    if (const std::optional<Sense> wrong = select.parse()) {
      Decision decision;
      decision.done = check_condition(*wrong);
      return decision;
    }
    next = select.next();
  }
  if (next.thresholds.single_initiator && !state.thresholds.single_initiator) {
    next.thresholds.initiator = context.nexus;
  }
  const bool changed = next != state;
  // SPC-4 §6.9, SP: all pages that can be saved are, whether they were sent or not.
  if (cdb_bit(command, 1, kSavePagesBit)) save_mode_pages(next);
  Decision decision = publish(state, next);
  // SPC-4 §6.9: all others are told.
  if (changed) {
    decision.unit_attentions.push_back(
        {UnitAttentionRaise::Scope::all_but, context.nexus, Asc::mode_parameters_changed});
  }
  raise_exception(state, next, decision);
  return decision;
}

Step start_mode_select(Command& command) {
  if (command.phase.transfer_bytes == 0 && !cdb_bit(command, 1, kSavePagesBit)) return good();
  return Update{decide_mode_select};
}

constexpr std::array kCommands = {
    CommandEntry{.name = "MODE SELECT(6)",
                 .opcode = 0x15,
                 .direction = DataDirection::out,
                 .reservation = ReservationClass::write,
                 .flags = kRunsWhenNotReady | kRunsInStandby,
                 .cdb_usage = {0x15, 0x11, 0, 0, 0xFF, 0},
                 .admit = admit_mode_select,
                 .start = start_mode_select},
    CommandEntry{.name = "MODE SENSE(6)",
                 .opcode = 0x1A,
                 .direction = DataDirection::in,
                 .reservation = ReservationClass::read,
                 .flags = kRunsWhenNotReady | kRunsInStandby,
                 .cdb_usage = {0x1A, 0x08, 0xFF, 0xFF, 0xFF, 0},
                 .admit = admit_mode_sense,
                 .start = start_mode_sense},
    CommandEntry{.name = "MODE SELECT(10)",
                 .opcode = 0x55,
                 .cdb_bytes = 10,
                 .direction = DataDirection::out,
                 .reservation = ReservationClass::write,
                 .flags = kRunsWhenNotReady | kRunsInStandby,
                 .cdb_usage = {0x55, 0x11, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0},
                 .admit = admit_mode_select,
                 .start = start_mode_select},
    CommandEntry{.name = "MODE SENSE(10)",
                 .opcode = 0x5A,
                 .cdb_bytes = 10,
                 .direction = DataDirection::in,
                 .reservation = ReservationClass::read,
                 .flags = kRunsWhenNotReady | kRunsInStandby,
                 .cdb_usage = {0x5A, 0x18, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0},
                 .admit = admit_mode_sense,
                 .start = start_mode_sense},
};

}  // namespace

std::span<const CommandEntry> spc_mode_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
