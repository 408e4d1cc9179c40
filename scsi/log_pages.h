// The log pages of a disk. SPC-4 §7.3, SBC-3 §6.4.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "scsi/logical_unit.h"
#include "scsi/parameter_data.h"

namespace itgtd::scsi {

/// What LOG SENSE returns of counters: the PC field. List parameters have one value only.
enum class LogControl : uint8_t {
  threshold = 0,
  cumulative = 1,
  default_threshold = 2,
  default_cumulative = 3
};

/// The log parameters of a page, by ascending code, from the first one that was asked for on.
class LogParameters {
 public:
  LogParameters(ParameterData& data, LogControl control, uint16_t first)
      : data_(data), control_(control), first_(first) {}

  /// A list parameter, binary or ASCII.
  void binary(uint16_t code, ConstBytes value);
  void ascii(uint16_t code, std::string_view value);
  /// A counter since the start of the daemon; no threshold of it is ever met.
  void counter(uint16_t code, uint64_t value);

  /// The highest code of the page so far, asked for or not.
  [[nodiscard]] uint16_t last() const { return last_; }

 private:
  void add(uint16_t code, uint8_t control_byte, ConstBytes value);

  ParameterData& data_;
  LogControl control_;
  uint16_t first_;
  uint16_t last_ = 0;
};

struct LogPage {
  uint8_t page = 0;
  uint8_t subpage = 0;
  /// Writes the parameters. Null: the page is one of those that list the pages.
  void (*parameters)(const LogicalUnit& lu, LogParameters& to) = nullptr;
  /// Whether the unit has it. Null: every one.
  bool (*exists)(const LogicalUnit& lu) = nullptr;

  [[nodiscard]] bool exists_for(const LogicalUnit& lu) const { return exists == nullptr || exists(lu); }
};

/// Ascending by page, then subpage.
[[nodiscard]] std::span<const LogPage> log_pages();

}  // namespace itgtd::scsi
