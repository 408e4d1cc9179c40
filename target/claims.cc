#include "target/claims.h"

#include <algorithm>
#include <span>

#include "base/assert.h"

namespace itgtd::target {

bool overlap(const scsi::Claim& claim, const scsi::ClaimedRange& range) {
  const auto ranges = std::span(claim.ranges).first(claim.count);
  return std::ranges::any_of(ranges, [&](const scsi::ClaimedRange& one) { return one.overlaps(range); });
}

bool overlap(const scsi::Claim& a, const scsi::Claim& b) {
  const auto ranges = std::span(b.ranges).first(b.count);
  return std::ranges::any_of(ranges, [&](const scsi::ClaimedRange& one) { return overlap(a, one); });
}

ClaimTable::Entry* ClaimTable::find(ClaimId claim) {
  const auto found = std::ranges::find(entries_, claim, &Entry::claim);
  return found == entries_.end() ? nullptr : &*found;
}

void ClaimTable::give_turns(Actions& actions) {
  for (size_t i = 0; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    if (entry.has_turn) continue;
    const auto earlier = std::span(entries_).first(i);
    if (std::ranges::any_of(earlier, [&](const Entry& e) { return overlap(e.ranges, entry.ranges); }))
      continue;
    entry.has_turn = true;
    entry.not_quiet = workers_;
    actions.hold.push_back({entry.claim, entry.ranges});
  }
}

ClaimTable::Actions ClaimTable::request(const Owner& owner, const scsi::Claim& ranges) {
  ITGTD_ASSERT(ranges.count <= ranges.ranges.size());
  entries_.push_back({++last_, owner, ranges, false, 0});
  Actions actions;
  give_turns(actions);
  return actions;
}

ClaimTable::Actions ClaimTable::on_quiet(ClaimId claim) {
  Actions actions;
  Entry* entry = find(claim);
  ITGTD_ASSERT(entry != nullptr && entry->not_quiet > 0);  // not released before it is granted
  if (--entry->not_quiet == 0) actions.granted.push_back({entry->owner, claim});
  return actions;
}

ClaimTable::Actions ClaimTable::release(ClaimId claim) {
  Actions actions;
  const size_t released = std::erase_if(entries_, [&](const Entry& entry) { return entry.claim == claim; });
  ITGTD_ASSERT(released == 1);
  actions.lift.push_back(claim);
  give_turns(actions);
  return actions;
}

}  // namespace itgtd::target
