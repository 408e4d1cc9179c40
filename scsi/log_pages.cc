#include "scsi/log_pages.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "base/endian.h"
#include "scsi/mode_pages.h"
#include "scsi/thin_provisioning.h"

namespace itgtd::scsi {
namespace {

// FORMAT AND LINKING of the control byte, SPC-4 §7.3.2.2.
constexpr uint8_t kBoundedCounter = 0x00;
constexpr uint8_t kAsciiList = 0x01;
constexpr uint8_t kBinaryList = 0x03;

// Write and read error counters, SPC-4 §7.3.8. The other ways in which a medium may err are its own business.
constexpr uint16_t kBytesProcessed = 0x0005;
constexpr uint16_t kUncorrectedErrors = 0x0006;

void write_error_counters(const LogicalUnit& lu, LogParameters& to) {
  to.counter(kBytesProcessed,
             lu.statistics->sum(&WorkerStatistics::written_blocks) * lu.geometry.block_bytes);
  to.counter(kUncorrectedErrors, lu.statistics->sum(&WorkerStatistics::write_errors));
}
void read_error_counters(const LogicalUnit& lu, LogParameters& to) {
  to.counter(kBytesProcessed, lu.statistics->sum(&WorkerStatistics::read_blocks) * lu.geometry.block_bytes);
  to.counter(kUncorrectedErrors, lu.statistics->sum(&WorkerStatistics::read_errors));
}

// Logical block provisioning, SBC-3: counts of threshold sets.
struct ResourceCount {
  be32 count;
  uint8_t scope = 0;
  uint8_t reserved[3] = {};
};
static_assert(sizeof(ResourceCount) == 8);

void provisioning(const LogicalUnit& lu, LogParameters& to) {
  constexpr uint16_t kAvailable = 0x0001;
  constexpr uint16_t kUsed = 0x0002;
  constexpr uint8_t kDedicated = 1;  // to this logical unit
  constexpr uint8_t kShared = 2;
  const ThinUsage& usage = lu.state->thin_usage;
  to.binary(kAvailable, bytes_of(ResourceCount{be32(available_sets(usage)), kShared}));
  to.binary(kUsed, bytes_of(ResourceCount{be32(used_sets(usage)), kDedicated}));
}
bool provisioning_exists(const LogicalUnit& lu) {
  return has_thresholds(lu, *lu.state);
}

// Temperature, SPC-4 §7.3.21: FFh is one that can't be told.
constexpr std::byte kNoTemperature{0xFF};

void temperature(const LogicalUnit& /*lu*/, LogParameters& to) {
  to.binary(0x0000, std::array{std::byte{0}, kNoTemperature});
}

// Start-stop cycle counter, SPC-4 §7.3.20. Dates that are not known are spaces.
void start_stop_cycles(const LogicalUnit& lu, LogParameters& to) {
  constexpr std::string_view kNoDate = "      ";
  to.ascii(0x0001, kNoDate);  // of manufacture
  to.ascii(0x0002, kNoDate);  // accounting date
  to.binary(0x0004, bytes_of(be32(lu.state->start_stop_cycles)));
}

// General statistics and performance, SPC-4 §7.3.9. How long commands take is not measured.
struct AccessStatistics {
  be64 read_commands;
  be64 write_commands;
  be64 logical_blocks_received;
  be64 logical_blocks_transmitted;
  be64 read_command_processing_intervals;
  be64 write_command_processing_intervals;
  be64 weighted_number_of_commands;
  be64 weighted_command_processing;
};
static_assert(sizeof(AccessStatistics) == 64);
// In which the intervals above are counted: 10^-3 s. There are none, but the page is not whole without it.
struct TimeInterval {
  be32 exponent = be32(3);
  be32 integer = be32(1);
};
static_assert(sizeof(TimeInterval) == 8);

void general_statistics(const LogicalUnit& lu, LogParameters& to) {
  const LuStatistics& statistics = *lu.statistics;
  AccessStatistics access;
  access.read_commands.set(statistics.sum(&WorkerStatistics::read_commands));
  access.write_commands.set(statistics.sum(&WorkerStatistics::write_commands));
  access.logical_blocks_received.set(statistics.sum(&WorkerStatistics::written_blocks));
  access.logical_blocks_transmitted.set(statistics.sum(&WorkerStatistics::read_blocks));
  to.binary(0x0001, bytes_of(access));
  to.binary(0x0002, bytes_of(be64()));  // idle time intervals
  to.binary(0x0003, bytes_of(TimeInterval{}));
}

// Informational exceptions, SPC-4 §7.3.13: ASC, ASCQ, temperature, and a byte of the vendor's.
void informational_exceptions(const LogicalUnit& lu, LogParameters& to) {
  const be16 asc(static_cast<uint16_t>(informational_exception(*lu.state).asc));
  std::array<std::byte, 4> value{};
  store(Bytes(value), asc);
  value[2] = kNoTemperature;
  to.binary(0x0000, value);
}

constexpr std::array kPages = {
    LogPage{.page = 0x00},
    LogPage{.page = 0x00, .subpage = 0xFF},
    LogPage{.page = 0x02, .parameters = write_error_counters},
    LogPage{.page = 0x03, .parameters = read_error_counters},
    LogPage{.page = 0x0C, .parameters = provisioning, .exists = provisioning_exists},
    LogPage{.page = 0x0D, .parameters = temperature},
    LogPage{.page = 0x0E, .parameters = start_stop_cycles},
    LogPage{.page = 0x19, .parameters = general_statistics},
    LogPage{.page = 0x2F, .parameters = informational_exceptions},
};
static_assert(std::ranges::is_sorted(kPages, {},
                                     [](const LogPage& p) { return std::pair(p.page, p.subpage); }));

}  // namespace

void LogParameters::binary(uint16_t code, ConstBytes value) {
  add(code, kBinaryList, value);
}

void LogParameters::ascii(uint16_t code, std::string_view value) {
  add(code, kAsciiList, as_bytes(value));
}

void LogParameters::counter(uint16_t code, uint64_t value) {
  switch (control_) {
    case LogControl::threshold:
    case LogControl::default_threshold:
      value = std::numeric_limits<uint64_t>::max();
      break;
    case LogControl::default_cumulative:
      value = 0;
      break;
    case LogControl::cumulative:
      break;
  }
  add(code, kBoundedCounter, bytes_of(be64(value)));
}

void LogParameters::add(uint16_t code, uint8_t control_byte, ConstBytes value) {
  last_ = code;
  if (code < first_) return;
  data_.u16(code);
  data_.u8(control_byte);
  data_.u8(static_cast<uint8_t>(value.size()));
  data_.bytes(value);
}

std::span<const LogPage> log_pages() {
  return kPages;
}

}  // namespace itgtd::scsi
