#include "scsi/nexus.h"

#include <algorithm>
#include <utility>

namespace itgtd::scsi {
namespace {

/// SAM-5 table 49: what a reset of the logical unit tells makes everything told before it void.
bool is_reset(Asc asc) {
  return asc == Asc::power_on_or_reset_occurred || asc == Asc::power_on_occurred ||
         asc == Asc::bus_device_reset_occurred;
}

}  // namespace

Nexus::Nexus(NexusId id, InitiatorPort port, const LunMap* luns)
    : id_(id), port_(std::move(port)), luns_(luns), queues_(kLunsPerTargetMax) {
  for (uint16_t lun = 0; lun < kLunsPerTargetMax; ++lun) raise(lun, Asc::power_on_or_reset_occurred);
}

void Nexus::raise(uint16_t lun, Asc asc) {
  if (lun >= kLunsPerTargetMax) return;
  Queue& queue = queues_[lun];
  const auto end = queue.entries.begin() + queue.count;
  const bool known = std::find(queue.entries.begin(), end, asc) != end;
  if (is_reset(asc)) {
    queue.count = 0;
  } else if (known) {
    return;
  } else if (queue.count == kUnitAttentionsMax) {
    // Which ones are lost can't be told any more; the initiator is told to look at everything again.
    queue.count = 0;
    asc = Asc::power_on_or_reset_occurred;
  }
  queue.entries[queue.count++] = asc;
  pending_[lun / 64] |= uint64_t{1} << (lun % 64);
}

std::optional<Asc> Nexus::take(uint16_t lun) {
  if (lun >= kLunsPerTargetMax || !pending(lun)) return std::nullopt;
  Queue& queue = queues_[lun];
  const Asc oldest = queue.entries[0];
  std::shift_left(queue.entries.begin(), queue.entries.begin() + queue.count, 1);
  if (--queue.count == 0) clear(lun);
  return oldest;
}

void Nexus::clear(uint16_t lun) {
  if (lun >= kLunsPerTargetMax) return;
  queues_[lun].count = 0;
  pending_[lun / 64] &= ~(uint64_t{1} << (lun % 64));
}

void Nexus::clear_reported_luns_changed() {
  for (uint16_t lun = 0; lun < kLunsPerTargetMax; ++lun) {
    if (!pending(lun)) continue;
    Queue& queue = queues_[lun];
    const auto begin = queue.entries.begin();
    const auto kept = std::remove(begin, begin + queue.count, Asc::reported_luns_data_has_changed);
    queue.count = static_cast<uint8_t>(kept - begin);
    if (queue.count == 0) clear(lun);
  }
}

}  // namespace itgtd::scsi
