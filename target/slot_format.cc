#include "target/slot_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/endian.h"

namespace itgtd::target {
namespace {

constexpr uint64_t kMagic = 0x4974'6774'645F'6C75;  // "Itgtd_lu"
constexpr uint32_t kVersion = 1;

/// Magic, CRC and length keep their places in every version, so that a slot of a later one is known as such.
struct SlotHeader {
  be64 magic;
  be32 version;
  be32 crc32c;  ///< of header and payload, with zeros here
  be64 generation;
  be64 payload_bytes;
};
static_assert(WireStruct<SlotHeader> && sizeof(SlotHeader) == kSlotHeaderBytes);
static_assert(kSlotStrideBytes % 4096 == 0);

uint32_t crc_of(SlotHeader header, ConstBytes payload) {
  header.crc32c.set(0);
  return crc32c_finish(crc32c_update(crc32c_update(kCrc32cSeed, bytes_of(header)), payload));
}

/// The header, when the slot is valid whatever its version is.
std::optional<SlotHeader> check(ConstBytes slot) {
  const size_t bytes = slot_bytes(slot);
  if (bytes == 0 || bytes > slot.size()) return std::nullopt;
  const auto header = load<SlotHeader>(slot);
  const ConstBytes payload = slot.subspan(kSlotHeaderBytes, bytes - kSlotHeaderBytes);
  if (crc_of(header, payload) != header.crc32c.get()) return std::nullopt;
  return header;
}

}  // namespace

size_t slot_bytes(ConstBytes header) {
  if (header.size() < sizeof(SlotHeader)) return 0;
  const auto slot = load<SlotHeader>(header);
  const uint64_t payload_bytes = slot.payload_bytes.get();
  if (slot.magic.get() != kMagic || payload_bytes > kSlotPayloadBytesMax) return 0;
  return kSlotHeaderBytes + payload_bytes;
}

Result<Slot> newest_slot(std::array<ConstBytes, kSlotCount> slots) {
  std::optional<Slot> newest;
  for (size_t i = 0; i < slots.size(); ++i) {
    const std::optional<SlotHeader> header = check(slots[i]);
    if (!header) continue;
    const uint32_t version = header->version.get();
    if (version != kVersion) {
      return Error{0,
                   fmt::format("it is of version {}, and this program knows version {}", version, kVersion)};
    }
    const uint64_t generation = header->generation.get();
    if (newest && newest->generation >= generation) continue;
    const ConstBytes payload = slots[i].subspan(kSlotHeaderBytes, slot_bytes(slots[i]) - kSlotHeaderBytes);
    newest = Slot{i, generation, {payload.begin(), payload.end()}};
  }
  if (!newest) return Error{0, "neither of its two slots is whole"};
  return std::move(*newest);
}

SlotWrite next_slot_write(const Slot* newest, ConstBytes payload) {
  ITGTD_ASSERT(payload.size() <= kSlotPayloadBytesMax);
  SlotWrite write;
  if (newest != nullptr) {
    write.index = (newest->index + 1) % kSlotCount;
    write.generation = newest->generation;
  }
  ++write.generation;
  write.offset_bytes = write.index * kSlotStrideBytes;
  SlotHeader header;
  header.magic.set(kMagic);
  header.version.set(kVersion);
  header.generation.set(write.generation);
  header.payload_bytes.set(payload.size());
  header.crc32c.set(crc_of(header, payload));
  write.bytes.resize(sizeof(header) + payload.size());
  store(write.bytes, header);
  std::ranges::copy(payload, write.bytes.begin() + sizeof(header));
  return write;
}

}  // namespace itgtd::target
