// A group's `state` device: a small volume that moves with the group's disks, for what must survive of its
// logical units.
//
//   0        superblock: magic, version, CRC, the group's name; one block
//   1 MiB    areas of 2 MiB, one for each unit in the order in which they were first saved:
//            two slots of target/slot_format.h; in each the epoch, the unit's name, the value.
//            An area is never given to another unit
//
// So it has 1 MiB and 2 MiB for each logical unit: 64 MiB are enough for 31. A value is durable when save()
// returns: O_DIRECT and O_DSYNC, whole blocks. Every call blocks, for as long as the device hangs: not for
// the control thread (target/device_lu_store.h). One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/descriptor.h"
#include "base/result.h"
#include "ha/core/types.h"
#include "scsi/lu_snapshot.h"
#include "target/slot_format.h"

namespace itgtd::target {

/// Units of one device: those of four targets. Bounds how long open() reads: a block of each slot that there
/// is room for.
inline constexpr size_t kStateDeviceUnitsMax = 1024;
inline constexpr size_t kStateDeviceValueBytesMax = kSlotPayloadBytesMax - 256;
// All registrants and unit attentions that there can be.
static_assert(scsi::kSnapshotBytesMax <= kStateDeviceValueBytesMax);

/// How large a device for `units` logical units must be.
[[nodiscard]] constexpr uint64_t state_device_bytes(size_t units) {
  return kSlotStrideBytes * (1 + kSlotCount * units);
}

class StateDevice {
 public:
  using Value = std::vector<std::byte>;
  struct Options {
    std::string path;
    std::string group;
    ha::Epoch epoch = 0;
    std::vector<std::string> units;  ///< there must be room for these
  };
  /// Reads everything. A device with nothing but zeros where this writes is formatted; one that holds
  /// anything else, of another group or of a later epoch is refused, and nothing is written to it. The error
  /// says what to do.
  static Result<std::unique_ptr<StateDevice>> open(const Options& options);

  /// As of open() and of the saves since.
  [[nodiscard]] const std::map<std::string, Value, std::less<>>& values() const { return values_; }
  /// After an error either value may be found by the next open().
  Result<void> save(const std::string& unit, ConstBytes value);

 private:
  struct Area {
    size_t index = 0;
    std::optional<Slot> newest;
  };
  StateDevice(Options options, int fd) : options_(std::move(options)), fd_(fd) {}

  Result<void> load();
  Result<void> check_size();
  Result<bool> is_formatted();
  Result<void> format();
  Result<void> load_area(size_t index);
  [[nodiscard]] size_t free_index() const;
  Result<void> write_slot(Area& area, ConstBytes payload);
  Result<void> write(uint64_t offset_bytes, ConstBytes bytes);
  Result<Value> read(uint64_t offset_bytes, size_t bytes);
  [[nodiscard]] Error wrong(const std::string& what, const std::string& remedy) const;

  Options options_;
  Descriptor fd_;
  size_t capacity_ = 0;  ///< areas
  std::map<std::string, Area, std::less<>> areas_;
  std::map<std::string, Value, std::less<>> values_;
};

}  // namespace itgtd::target
