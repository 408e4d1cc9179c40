// FORMAT UNIT. SBC-3, FORMAT UNIT command.
//
// The logical block length and the capacity are the configuration's, there is no protection information, and
// defects are the medium's own business: what is left to a format is that all blocks are initialized.
#include <algorithm>

#include "scsi/cdb.h"
#include "scsi/sbc_common.h"
#include "scsi/sbc_rewrite.h"

namespace itgtd::scsi {

namespace {

using namespace sbc;

// Byte 1 of the CDB.
constexpr unsigned kLongListBit = 5;
constexpr unsigned kFormatDataBit = 4;
constexpr uint8_t kDefectListFormat = 0x07;

/// Short parameter list header.
struct FormatHeader {
  uint8_t protection_field_usage = 0;
  uint8_t flags = 0;
  be16 defect_list_length;
};
static_assert(sizeof(FormatHeader) == 4 && WireStruct<FormatHeader>);

/// Long parameter list header.
struct FormatHeaderLong {
  uint8_t protection_field_usage = 0;
  uint8_t flags = 0;
  uint8_t reserved = 0;
  uint8_t protection_interval = 0;  ///< P_I_INFORMATION, PROTECTION INTERVAL EXPONENT
  be32 defect_list_length;
};
static_assert(sizeof(FormatHeaderLong) == 8 && WireStruct<FormatHeaderLong>);

// Bits of FormatHeader::flags. DPRY, DCRT and STPF are about defect lists and certification: taken, and
// without effect on lists that are empty.
constexpr uint8_t kFov = 0x80;
constexpr uint8_t kInitializationPattern = 0x08;  // IP
constexpr uint8_t kObsolete = 0x04;
constexpr uint8_t kImmed = 0x02;
constexpr uint8_t kVendorSpecific = 0x01;
constexpr uint8_t kNeedsFov = 0x78;  // DPRY, DCRT, STPF, IP

/// Initialization pattern descriptor; the pattern follows.
struct InitializationPattern {
  uint8_t modifier = 0;  ///< IP MODIFIER (obsolete), SI
  uint8_t type = 0;
  be16 length;
};
static_assert(sizeof(InitializationPattern) == 4 && WireStruct<InitializationPattern>);
constexpr uint8_t kDefaultPattern = 0x00;
constexpr uint8_t kRepeatedPattern = 0x01;

uint32_t list_bytes_max(const Command& command) {
  return sizeof(FormatHeaderLong) + sizeof(InitializationPattern) + block_bytes(command);
}

Admission admit_format_unit(Command& command) {
  const LuState& state = *command.lu->state;
  // The row runs when the unit is not ready because a format that failed is only got over by another one.
  if (!may_begin_rewrite(state.condition, LuCondition::formatting)) {
    return check_condition(condition_sense(state));
  }
  if (!cdb_bit(command, 1, kFormatDataBit)) {
    if ((command.cdb[1] & kDefectListFormat) != 0) {
      return check_condition(sense::invalid_field_in_cdb(1, uint8_t{2}));
    }
    return DataPhase{DataDirection::none, 0, rewrite_scratch_bytes(command, Fill::zeroes)};
  }
  // The CDB does not tell how long the list is: as much as the initiator announces, which start() looks at.
  return DataPhase{DataDirection::out, list_bytes_max(command),
                   rewrite_scratch_bytes(command, Fill::pattern)};
}

/// The parameter list of one command. Field pointers count from its start.
class FormatList {
 public:
  explicit FormatList(const Command& command)
      : list_(command.data.first(command.data_out_bytes)),
        block_bytes_(block_bytes(command)),
        long_(cdb_bit(command, 1, kLongListBit)) {}

  std::optional<Sense> parse() {
    const size_t header_bytes = long_ ? sizeof(FormatHeaderLong) : sizeof(FormatHeader);
    if (list_.size() < header_bytes) return sense::parameter_list_length_error();
    if (const auto wrong = parse_header()) return wrong;
    used_ = header_bytes;
    if ((flags_ & kInitializationPattern) != 0) return parse_pattern();
    return std::nullopt;
  }

  [[nodiscard]] bool immediate() const { return (flags_ & kImmed) != 0; }
  /// Empty: the default one.
  [[nodiscard]] ConstBytes pattern() const { return pattern_; }
  [[nodiscard]] size_t used() const { return used_; }

 private:
  static Sense invalid(size_t byte, std::optional<uint8_t> bit = std::nullopt) {
    return sense::invalid_field_in_parameter_list(static_cast<uint16_t>(byte), bit);
  }

  std::optional<Sense> parse_header() {
    const auto header = load<FormatHeader>(list_);
    // PROTECTION FIELD USAGE: there is no protection information.
    if (header.protection_field_usage != 0) return invalid(0);
    flags_ = header.flags;
    // FOV zero: the options are the target's own choice, and the bits that would choose are zero.
    if ((flags_ & kFov) == 0 && (flags_ & kNeedsFov) != 0) return invalid(1, uint8_t{7});
    if ((flags_ & kObsolete) != 0) return invalid(1, uint8_t{2});
    if ((flags_ & kVendorSpecific) != 0) return invalid(1, uint8_t{0});
    // A list of defects has no place here: no block of the medium can be left out.
    if (!long_) {
      if (header.defect_list_length.get() != 0) return invalid(2);
      return std::nullopt;
    }
    const auto long_header = load<FormatHeaderLong>(list_);
    if (long_header.reserved != 0) return invalid(2);
    if (long_header.protection_interval != 0) return invalid(3);
    if (long_header.defect_list_length.get() != 0) return invalid(4);
    return std::nullopt;
  }

  std::optional<Sense> parse_pattern() {
    const ConstBytes left = list_.subspan(used_);
    if (left.size() < sizeof(InitializationPattern)) return sense::parameter_list_length_error();
    const auto descriptor = load<InitializationPattern>(left);
    const size_t length = descriptor.length.get();
    // SI asks for what no LBA names to be written as well; SANITIZE is for that.
    if (descriptor.modifier != 0) return invalid(used_);
    if (descriptor.type != kDefaultPattern && descriptor.type != kRepeatedPattern) return invalid(used_ + 1);
    const bool repeated = descriptor.type == kRepeatedPattern;
    if (repeated != (length != 0) || length > block_bytes_) return invalid(used_ + 2);
    used_ += sizeof(descriptor);
    if (list_.size() - used_ < length) return sense::parameter_list_length_error();
    pattern_ = list_.subspan(used_, length);
    used_ += length;
    return std::nullopt;
  }

  ConstBytes list_;
  size_t block_bytes_;
  bool long_;
  uint8_t flags_ = 0;
  ConstBytes pattern_;
  size_t used_ = 0;
};

Step start_format_unit(Command& command) {
  const Geometry& geometry = command.lu->geometry;
  Rewrite rewrite;
  // SBC-3 §4.7: what a format initializes of a thin unit, but for a pattern, is unmapped.
  rewrite.fill = geometry.thin && geometry.unmapped_reads_zero ? Fill::unmapped : Fill::zeroes;
  if (command.phase.direction == DataDirection::none) return start_rewrite(command, rewrite, {});

  FormatList list(command);
  const std::optional<Sense> wrong = list.parse();
  // So that the residual is that of the list.
  command.phase.transfer_bytes = static_cast<uint32_t>(wrong ? command.data_out_bytes : list.used());
  if (wrong) return check_condition(*wrong);
  rewrite.immediate = list.immediate() ? 1 : 0;
  if (!list.pattern().empty()) rewrite.fill = Fill::pattern;
  return start_rewrite(command, rewrite, list.pattern());
}

// Byte 1: LONGLIST, FMTDATA, CMPLST, DEFECT LIST FORMAT. FMTPINFO is zero: no protection information; so is
// FFMT: there is no faster format than one that writes.
// clang-format off
constexpr CommandEntry kCommands[] = {
    {"FORMAT UNIT", 0x04, kNoServiceAction, 6, DataDirection::out, ReservationClass::write,
     kWritesMedium | kClaims | kRunsWhenNotReady,
     {0x04, 0x3F, 0x00, 0x00, 0x00, 0x00},
     admit_format_unit, start_format_unit, resume_rewrite},
};
// clang-format on

}  // namespace

std::span<const CommandEntry> sbc_format_commands() {
  return kCommands;
}

}  // namespace itgtd::scsi
