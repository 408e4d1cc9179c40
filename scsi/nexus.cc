#include "scsi/nexus.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/assert.h"
#include "scsi/registrant_attentions.h"

namespace itgtd::scsi {
namespace {

/// SAM-5 §6.2, unit attention condition precedence: what happened to the logical unit or the nexus as a whole
/// is told before anything else, and the greater event stands for the smaller one. 0: all others.
unsigned precedence(Asc asc) {
  constexpr std::array kGreatestFirst = {Asc::power_on_or_reset_occurred, Asc::power_on_occurred,
                                         Asc::bus_device_reset_occurred, Asc::i_t_nexus_loss_occurred};
  const auto found = std::ranges::find(kGreatestFirst, asc);
  return static_cast<unsigned>(kGreatestFirst.end() - found);
}

/// True exactly when an initiator that is told of a reset has no use for `asc` any more: its commands are
/// gone and mode parameters are to be looked at again, whoever was behind it. What a reset does not say
/// (capacity, LUNs, reservations preempted, access states) is told beside it.
bool is_void_after_reset(Asc asc) {
  return asc == Asc::mode_parameters_changed || asc == Asc::commands_cleared_by_another_initiator;
}

}  // namespace

Nexus::Nexus(NexusId id, InitiatorPort port, const LunMap* luns)
    : id_(id), port_(std::move(port)), luns_(luns), queues_(kLunsPerTargetMax), access_(kLunsPerTargetMax) {
  for (uint16_t lun = 0; lun < kLunsPerTargetMax; ++lun) raise(lun, Asc::power_on_or_reset_occurred);
}

void Nexus::raise(uint16_t lun, Asc asc) {
  if (lun >= kLunsPerTargetMax) return;
  Queue& queue = queues_[lun];
  const auto begin = queue.entries.begin();
  const unsigned rank = precedence(asc);
  if (rank >= precedence(Asc::bus_device_reset_occurred)) {
    const auto kept = std::remove_if(begin, begin + queue.count, [rank](Asc queued) {
      return is_void_after_reset(queued) || (precedence(queued) != 0 && precedence(queued) < rank);
    });
    queue.count = static_cast<uint8_t>(kept - begin);
  }
  // The same, or, of events, a greater one.
  const auto says_it = [&](Asc queued) { return queued == asc || (rank != 0 && precedence(queued) >= rank); };
  if (std::any_of(begin, begin + queue.count, says_it)) return;
  if (queue.count == kUnitAttentionsMax) {
    // Which ones are lost can't be told any more; the initiator is told to look at everything again.
    queue.count = 0;
    asc = Asc::power_on_or_reset_occurred;
  }
  // Events first. There is never more than one: the greater stands for both.
  const auto at = rank != 0 ? begin : begin + queue.count;
  std::shift_right(at, begin + queue.count + 1, 1);
  *at = asc;
  ++queue.count;
  untroubled_[lun] = 0;
  pending_[lun / 64] |= uint64_t{1} << (lun % 64);
}

std::optional<Asc> Nexus::take(uint16_t lun) {
  if (lun >= kLunsPerTargetMax || !pending(lun)) return std::nullopt;
  Queue& queue = queues_[lun];
  const Asc oldest = queue.entries[0];
  std::shift_left(queue.entries.begin(), queue.entries.begin() + queue.count, 1);
  if (--queue.count == 0) clear(lun);
  if (const LogicalUnit* lu = find(lun); lu != nullptr && is_registrant_attention(oldest)) {
    told_.push_back({lun, oldest, lu->state->generation});
  }
  return oldest;
}

void Nexus::clear(uint16_t lun) {
  if (lun >= kLunsPerTargetMax) return;
  queues_[lun].count = 0;
  pending_[lun / 64] &= ~(uint64_t{1} << (lun % 64));
  untroubled_[lun] = 0;  // another unit counts its generations anew
  access_[lun].generation = 0;
}

ReservationAccess Nexus::persistent_access(const LogicalUnit& lu) {
  const LuState& state = *lu.state;
  if (state.reservations == nullptr) return ReservationAccess::all;
  Access& known = access_[lu.lun];
  if (known.generation != state.generation) {
    known = {state.generation, reservation_access(*state.reservations, port_, lu.relative_target_port)};
  }
  return known.access;
}

std::optional<ConstBytes> Nexus::echo_buffer(uint16_t lun) const {
  if (echo_lun_ != lun) return std::nullopt;
  return ConstBytes(echo_);
}

void Nexus::set_echo_buffer(uint16_t lun, ConstBytes content) {
  ITGTD_ASSERT(content.size() <= kEchoBufferBytesMax);
  echo_.assign(content.begin(), content.end());
  echo_lun_ = lun;
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
