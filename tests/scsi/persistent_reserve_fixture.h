// PERSISTENT RESERVE IN and OUT as an initiator sends them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {

enum PrIn : uint8_t { kReadKeys, kReadReservation, kReportCapabilities, kReadFullStatus };
enum PrOut : uint8_t {
  kRegister,
  kReserve,
  kRelease,
  kClear,
  kPreempt,
  kPreemptAndAbort,
  kRegisterAndIgnore,
  kRegisterAndMove,
};
enum PrFlags : uint8_t { kNoFlags = 0, kAptpl = 1, kAllTgPt = 4, kSpecIPt = 8 };
enum PrType : uint8_t { kWe = 1, kEa = 3, kWeRo = 5, kEaRo = 6, kWeAr = 7, kEaAr = 8 };
inline constexpr std::array<uint8_t, 6> kPrTypes = {kWe, kEa, kWeRo, kEaRo, kWeAr, kEaAr};

using Wire = std::vector<uint8_t>;

inline void append_u16(Wire& to, uint64_t value) {
  to.insert(to.end(), {static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)});
}
inline void append_u32(Wire& to, uint64_t value) {
  append_u16(to, value >> 16);
  append_u16(to, value);
}
inline void append_u64(Wire& to, uint64_t value) {
  append_u32(to, value >> 32);
  append_u32(to, value);
}
inline uint64_t number_at(const Wire& from, size_t at, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value = value << 8 | from.at(at + i);
  return value;
}

/// A TransportID whose text is `text`, null-terminated and padded.
inline Wire transport_id(uint8_t format, const std::string& text) {
  Wire id = {static_cast<uint8_t>(format << 6 | 5), 0};
  const size_t padded = std::max<size_t>(20, (text.size() + 1 + 3) / 4 * 4);
  append_u16(id, padded);
  id.insert(id.end(), text.begin(), text.end());
  id.resize(4 + padded);
  return id;
}

inline Wire basic_list(uint64_t key, uint64_t action_key, uint8_t flags = kNoFlags,
                       const std::vector<Wire>& ids = {}) {
  Wire list;
  append_u64(list, key);
  append_u64(list, action_key);
  append_u32(list, 0);
  list.insert(list.end(), {flags, 0, 0, 0});
  if ((flags & kSpecIPt) == 0) return list;
  Wire ports;
  for (const Wire& id : ids) ports.insert(ports.end(), id.begin(), id.end());
  append_u32(list, ports.size());
  list.insert(list.end(), ports.begin(), ports.end());
  return list;
}

inline Wire move_list(uint64_t key, uint64_t action_key, uint8_t flags, uint16_t port, const Wire& id) {
  Wire list;
  append_u64(list, key);
  append_u64(list, action_key);
  list.insert(list.end(), {0, flags});
  append_u16(list, port);
  append_u32(list, id.size());
  list.insert(list.end(), id.begin(), id.end());
  return list;
}

class PersistentReserveFixture : public TargetFixture {
 protected:
  static constexpr uint64_t kKeyA = 0x1122334455667788;
  static constexpr uint64_t kKeyB = 0xA0B0C0D0E0F00102;

  Outcome in(Nexus& from, uint8_t action, uint16_t allocation = 0xFFFF) {
    return run(from, kLun0,
               {0x5E, action, 0, 0, 0, 0, 0, static_cast<uint8_t>(allocation >> 8),
                static_cast<uint8_t>(allocation), 0});
  }
  Outcome out(Nexus& from, uint8_t action, uint8_t type, const Wire& list) {
    return out(from, action, type, list, static_cast<uint32_t>(list.size()));
  }
  Outcome out(Nexus& from, uint8_t action, uint8_t type, const Wire& list, uint32_t length) {
    Wire cdb = {0x5F, action, type, 0, 0};
    append_u32(cdb, length);
    Command command;
    std::copy(cdb.begin(), cdb.end(), command.cdb.begin());
    return run(from, kLun0, command, list);
  }
  Outcome register_key(Nexus& from, uint64_t key, uint8_t flags = kNoFlags) {
    return out(from, kRegisterAndIgnore, 0, basic_list(0, key, flags));
  }
  Outcome reserve(Nexus& from, uint64_t key, uint8_t type) {
    return out(from, kReserve, type, basic_list(key, 0));
  }
  void register_both() {
    EXPECT_TRUE(is_good(register_key(nexus, kKeyA)));
    EXPECT_TRUE(is_good(register_key(other, kKeyB)));
  }
  [[nodiscard]] const PersistentReservations& reservations() const { return *disk.state->reservations; }

  static ::testing::AssertionResult conflicts(const Outcome& outcome) {
    if (outcome.status == Status::reservation_conflict) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "status " << static_cast<int>(outcome.status);
  }
};

}  // namespace itgtd::scsi
