#include "bench/sense_text.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

#include "base/endian.h"
#include "scsi/sense.h"

namespace itgtd::bench {
namespace {

constexpr std::array<std::string_view, 16> kKeyNames = {
    "NO SENSE",       "RECOVERED ERROR", "NOT READY",   "MEDIUM ERROR", "HARDWARE ERROR", "ILLEGAL REQUEST",
    "UNIT ATTENTION", "DATA PROTECT",    "BLANK CHECK", "VENDOR",       "COPY ABORTED",   "ABORTED COMMAND",
    "RESERVED (0Ch)", "VOLUME OVERFLOW", "MISCOMPARE",  "COMPLETED"};

struct CodeName {
  uint16_t code;
  std::string_view text;
};
constexpr CodeName kCodeNames[] = {
    {0x0401, "becoming ready"},
    {0x040A, "asymmetric access state transition"},
    {0x040B, "target port in standby state"},
    {0x040C, "target port in unavailable state"},
    {0x0C00, "write error"},
    {0x1100, "unrecovered read error"},
    {0x1D00, "miscompare during verify"},
    {0x2000, "invalid command operation code"},
    {0x2100, "LBA out of range"},
    {0x2400, "invalid field in CDB"},
    {0x2500, "logical unit not supported"},
    {0x2700, "write protected"},
    {0x2707, "space allocation failed"},
    {0x2900, "power on, reset or bus device reset"},
    {0x2901, "power on"},
    {0x2907, "I_T nexus loss"},
    {0x2A09, "capacity data has changed"},
    {0x3A00, "medium not present"},
    {0x3F0E, "reported LUNs data has changed"},
    {0x4400, "internal target failure"},
    {0x4705, "protocol service CRC error"},
    {0x5503, "insufficient resources"},
};

struct StatusName {
  scsi::Status status;
  std::string_view text;
};
constexpr StatusName kStatusNames[] = {
    {scsi::Status::good, "GOOD"},
    {scsi::Status::check_condition, "CHECK CONDITION"},
    {scsi::Status::condition_met, "CONDITION MET"},
    {scsi::Status::busy, "BUSY"},
    {scsi::Status::reservation_conflict, "RESERVATION CONFLICT"},
    {scsi::Status::task_set_full, "TASK SET FULL"},
    {scsi::Status::task_aborted, "TASK ABORTED"},
};

uint8_t byte_at(ConstBytes bytes, size_t at) {
  return static_cast<uint8_t>(bytes[at]);
}

}  // namespace

SenseCodes decode_sense(ConstBytes sense) {
  if (sense.empty()) return {};
  const uint8_t response = byte_at(sense, 0) & 0x7F;
  // SPC-4 §4.5.3: fixed format has 70h (current) and 71h (deferred).
  if ((response == 0x70 || response == 0x71) && sense.size() >= 14) {
    return {static_cast<uint8_t>(byte_at(sense, 2) & 0x0F), byte_at(sense, 12), byte_at(sense, 13)};
  }
  // SPC-4 §4.5.2: descriptor format has 72h and 73h.
  if ((response == 0x72 || response == 0x73) && sense.size() >= 4) {
    return {static_cast<uint8_t>(byte_at(sense, 1) & 0x0F), byte_at(sense, 2), byte_at(sense, 3)};
  }
  return {};
}

ConstBytes sense_of_segment(ConstBytes segment) {
  if (segment.size() < 2) return {};
  const size_t length = load<be16>(segment).get();
  segment = segment.subspan(2);
  return segment.first(std::min(length, segment.size()));
}

std::string describe_status(uint8_t status, const SenseCodes& codes) {
  std::string text = fmt::format("status {:02x}h", status);
  for (const StatusName& row : kStatusNames) {
    if (static_cast<uint8_t>(row.status) == status) text = row.text;
  }
  if (status != static_cast<uint8_t>(scsi::Status::check_condition)) return text;
  text += fmt::format(", {}, {:02x}h/{:02x}h", kKeyNames[codes.key], codes.asc, codes.ascq);
  const auto code = static_cast<uint16_t>(codes.asc << 8 | codes.ascq);
  for (const CodeName& row : kCodeNames) {
    if (row.code == code) text += fmt::format(" {}", row.text);
  }
  return text;
}

}  // namespace itgtd::bench
