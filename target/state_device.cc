#include "target/state_device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "base/crc32c.h"
#include "base/endian.h"

namespace itgtd::target {
namespace {

/// Every write is of whole ones: of any disk there is.
constexpr size_t kBlockBytes = 4096;
constexpr uint64_t kMagic = 0x4974'6774'645F'7374;  // "Itgtd_st"
constexpr uint32_t kVersion = 1;
constexpr size_t kGroupBytesMax = 255;

/// Zeros behind the name, up to the end of the block.
struct Superblock {
  be64 magic;
  be32 version;
  be32 crc32c;  ///< of the block, with zeros here
  uint8_t group_bytes;
  uint8_t group[kGroupBytesMax];
};
static_assert(WireStruct<Superblock> && sizeof(Superblock) <= kBlockBytes);

/// In front of the value in a slot; the unit's name follows.
struct ValueHeader {
  be64 epoch;
  uint8_t name_bytes;
};
static_assert(WireStruct<ValueHeader> && sizeof(ValueHeader) == 9);
constexpr size_t kNameBytesMax = 64;
static_assert(kStateDeviceValueBytesMax + sizeof(ValueHeader) + kNameBytesMax <= kSlotPayloadBytesMax);

constexpr uint64_t kAreaBytes = kSlotCount * kSlotStrideBytes;

bool is_zero(ConstBytes bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

/// Memory as O_DIRECT wants it.
class Blocks {
 public:
  explicit Blocks(size_t bytes)
      : size_((bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes),
        data_(static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, size_))) {
    ITGTD_ASSERT(data_ != nullptr);
    std::ranges::fill(all(), std::byte{0});
  }
  [[nodiscard]] Bytes all() { return {data_.get(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  size_t size_;
  std::unique_ptr<std::byte, Free> data_;
};

uint32_t crc_of(ConstBytes block) {
  Blocks copy(kBlockBytes);
  std::ranges::copy(block, copy.all().begin());
  view<Superblock>(copy.all())->crc32c.set(0);
  return crc32c(copy.all());
}

}  // namespace

Error StateDevice::wrong(const std::string& what, const std::string& remedy) const {
  return {0,
          fmt::format("state device \"{}\" of group {} {}; {}", options_.path, options_.group, what, remedy)};
}

Result<std::unique_ptr<StateDevice>> StateDevice::open(const Options& options) {
  // O_EXCL: not one that is mounted or part of something else.
  constexpr int kFlags = O_RDWR | O_DSYNC | O_EXCL | O_CLOEXEC;
  int fd = ::open(options.path.c_str(), kFlags | O_DIRECT);
  // File systems in memory can't: there is no disk to go directly to.
  if (fd < 0 && errno == EINVAL) fd = ::open(options.path.c_str(), kFlags);
  if (fd < 0) {
    return Error{errno,
                 fmt::format("cannot open state device \"{}\" of group {}", options.path, options.group)};
  }
  auto device = std::unique_ptr<StateDevice>(new StateDevice(options, fd));
  if (auto loaded = device->load(); !loaded) return loaded.error();
  return device;
}

Result<void> StateDevice::load() {
  if (auto checked = check_size(); !checked) return checked;
  const auto formatted = is_formatted();
  if (!formatted) return formatted.error();
  if (!formatted.value()) return format();
  for (size_t index = 0; index < capacity_; ++index) {
    if (auto loaded = load_area(index); !loaded) return loaded;
  }
  size_t due = areas_.size();
  for (const std::string& unit : options_.units) due += areas_.contains(unit) ? 0U : 1U;
  if (due <= capacity_) return {};
  return wrong(fmt::format("has room for {} logical units and {} need it", capacity_, due),
               fmt::format("make it at least {} bytes long", state_device_bytes(due)));
}

Result<void> StateDevice::check_size() {
  const off_t end = ::lseek(fd_.get(), 0, SEEK_END);
  if (end < 0) return Error{errno, fmt::format("cannot find the size of \"{}\"", options_.path)};
  const auto bytes = static_cast<uint64_t>(end);
  const uint64_t due = state_device_bytes(std::max<size_t>(options_.units.size(), 1));
  if (options_.units.size() > kStateDeviceUnitsMax) {
    return wrong(fmt::format("can't keep {} logical units", options_.units.size()),
                 fmt::format("{} are the most for one group", kStateDeviceUnitsMax));
  }
  if (bytes < due) {
    return wrong(
        fmt::format("is too small: {} bytes", bytes),
        fmt::format("for {} logical units it must have at least {} bytes", options_.units.size(), due));
  }
  capacity_ = std::min<uint64_t>((bytes - kSlotStrideBytes) / kAreaBytes, kStateDeviceUnitsMax);
  return {};
}

Result<bool> StateDevice::is_formatted() {
  // As far as the first area: whatever else keeps something on a disk has it there, or at the end.
  const auto head = read(0, kSlotStrideBytes);
  if (!head) return head.error();
  if (is_zero(head.value())) return false;
  const ConstBytes block = ConstBytes(head.value()).first(kBlockBytes);
  const auto superblock = itgtd::load<Superblock>(block);
  const std::string other =
      "give the group another device, or, if what is on it may be lost, fill it with zeros";
  if (superblock.magic.get() != kMagic) return wrong("holds something else", other);
  if (superblock.version.get() != kVersion) {
    return wrong(fmt::format("is of version {}", superblock.version.get()),
                 fmt::format("this program knows version {}", kVersion));
  }
  if (superblock.crc32c.get() != crc_of(block))
    return wrong("can't be trusted: its first block is damaged", other);
  const std::string_view group = as_text(block.subspan(offsetof(Superblock, group), superblock.group_bytes));
  if (group != options_.group) return wrong(fmt::format("is that of group {}", group), other);
  return true;
}

Result<void> StateDevice::format() {
  if (options_.group.size() > kGroupBytesMax) return wrong("can't be used", "the group's name is too long");
  for (size_t slot = 0; slot < capacity_ * kSlotCount; ++slot) {
    const uint64_t offset_bytes = (1 + slot) * kSlotStrideBytes;
    const auto block = read(offset_bytes, kBlockBytes);
    if (!block) return block.error();
    if (!is_zero(block.value())) {
      return wrong(fmt::format("holds something else, at byte {}", offset_bytes),
                   "give the group another device, or, if what is on it may be lost, fill it with zeros");
    }
  }
  Blocks block(kBlockBytes);
  auto* superblock = view<Superblock>(block.all());
  superblock->magic.set(kMagic);
  superblock->version.set(kVersion);
  superblock->group_bytes = static_cast<uint8_t>(options_.group.size());
  std::ranges::copy(options_.group, superblock->group);
  superblock->crc32c.set(crc_of(block.all()));
  return write(0, block.all());
}

Result<void> StateDevice::load_area(size_t index) {
  const uint64_t offset_bytes = kSlotStrideBytes + index * kAreaBytes;
  std::array<Value, kSlotCount> slots;
  for (size_t i = 0; i < kSlotCount; ++i) {
    auto head = read(offset_bytes + i * kSlotStrideBytes, kBlockBytes);
    if (!head) return head.error();
    auto slot = read(offset_bytes + i * kSlotStrideBytes, std::max(slot_bytes(head.value()), kBlockBytes));
    if (!slot) return slot.error();
    slots[i] = std::move(slot.value());
  }
  auto newest = newest_slot({slots[0], slots[1]});
  if (!newest) {
    // Both are written before a unit's first save is done: without the second none ever was.
    if (is_zero(slots[1])) return {};
    return wrong(fmt::format("can't be trusted at byte {}: {}", offset_bytes, newest.error().message),
                 "restore it, or fill it with zeros to start without the reservations and settings in it");
  }
  const ConstBytes payload = newest->payload;
  const auto damaged = wrong(fmt::format("can't be trusted at byte {}", offset_bytes),
                             "it was not written by this version of the program");
  if (payload.size() < sizeof(ValueHeader)) return damaged;
  const auto header = itgtd::load<ValueHeader>(payload);
  if (payload.size() < sizeof(ValueHeader) + header.name_bytes) return damaged;
  const std::string name(as_text(payload.subspan(sizeof(ValueHeader), header.name_bytes)));
  if (areas_.contains(name)) return damaged;
  if (header.epoch.get() > options_.epoch) {
    return wrong(
        fmt::format("was written in epoch {}", header.epoch.get()),
        fmt::format("this node has the group in epoch {}: another one serves it now", options_.epoch));
  }
  const ConstBytes value = payload.subspan(sizeof(ValueHeader) + header.name_bytes);
  values_[name].assign(value.begin(), value.end());
  areas_[name] = Area{index, Slot{newest->index, newest->generation, {}}};
  return {};
}

Result<void> StateDevice::save(const std::string& unit, ConstBytes value) {
  if (unit.empty() || unit.size() > kNameBytesMax || value.size() > kStateDeviceValueBytesMax) {
    return Error{EINVAL, fmt::format("unit \"{}\" can't be kept on \"{}\"", unit, options_.path)};
  }
  auto found = areas_.find(unit);
  if (found == areas_.end()) {
    if (areas_.size() == capacity_) {
      return wrong("is full",
                   fmt::format("make it at least {} bytes long", state_device_bytes(capacity_ + 1)));
    }
    found = areas_.emplace(unit, Area{free_index(), {}}).first;
  }
  ValueHeader header;
  header.epoch.set(options_.epoch);
  header.name_bytes = static_cast<uint8_t>(unit.size());
  Value payload;
  for (const ConstBytes part : {bytes_of(std::as_const(header)), as_bytes(unit), value}) {
    payload.insert(payload.end(), part.begin(), part.end());
  }
  const bool first = !found->second.newest;
  if (auto written = write_slot(found->second, payload); !written) return written;
  if (first) {
    if (auto written = write_slot(found->second, payload); !written) {
      found->second.newest.reset();  // as load_area() would see it
      return written;
    }
  }
  values_[unit].assign(value.begin(), value.end());
  return {};
}

size_t StateDevice::free_index() const {
  std::vector<bool> used(capacity_);
  for (const auto& [unit, area] : areas_) used[area.index] = true;
  return static_cast<size_t>(std::ranges::find(used, false) - used.begin());
}

Result<void> StateDevice::write_slot(Area& area, ConstBytes payload) {
  const SlotWrite next = next_slot_write(area.newest ? &*area.newest : nullptr, payload);
  const uint64_t offset_bytes = kSlotStrideBytes + area.index * kAreaBytes + next.offset_bytes;
  if (auto written = write(offset_bytes, next.bytes); !written) return written;
  area.newest = Slot{next.index, next.generation, {}};
  return {};
}

Result<void> StateDevice::write(uint64_t offset_bytes, ConstBytes bytes) {
  Blocks blocks(bytes.size());
  std::ranges::copy(bytes, blocks.all().begin());
  ConstBytes left = blocks.all();
  while (!left.empty()) {
    const ssize_t written = ::pwrite(fd_.get(), left.data(), left.size(), static_cast<off_t>(offset_bytes));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      return Error{written == 0 ? ENOSPC : errno, fmt::format("cannot write \"{}\"", options_.path)};
    }
    left = left.subspan(static_cast<size_t>(written));
    offset_bytes += static_cast<uint64_t>(written);
  }
  return {};
}

Result<StateDevice::Value> StateDevice::read(uint64_t offset_bytes, size_t bytes) {
  Blocks blocks(bytes);
  size_t size = 0;
  while (size < bytes) {
    const Bytes left = blocks.all().subspan(size);
    const ssize_t got = ::pread(fd_.get(), left.data(), left.size(), static_cast<off_t>(offset_bytes + size));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return Error{got == 0 ? EIO : errno, fmt::format("cannot read \"{}\"", options_.path)};
    }
    size += static_cast<size_t>(got);
  }
  const ConstBytes whole = ConstBytes(blocks.all()).first(bytes);
  return Value(whole.begin(), whole.end());
}

}  // namespace itgtd::target
