#include "scsi/registrant_attentions.h"

#include <algorithm>
#include <utility>

namespace itgtd::scsi {
namespace {

/// Index of the kind; the number of kinds: it is none of them.
size_t kind_of(Asc asc) {
  return static_cast<size_t>(std::ranges::find(kRegistrantAttentions, asc) - kRegistrantAttentions.begin());
}

bool has_none(const RegistrantAttentions::Pending& pending) {
  return std::ranges::none_of(pending.kinds, &RegistrantAttentions::Pending::Kind::waits);
}

}  // namespace

bool is_registrant_attention(Asc asc) {
  return kind_of(asc) != kRegistrantAttentions.size();
}

void RegistrantAttentions::raise(std::span<const UnitAttentionRaise> raises, uint64_t generation) {
  for (const UnitAttentionRaise& raise : raises) {
    const size_t kind = kind_of(raise.asc);
    if (raise.scope != UnitAttentionRaise::Scope::port || kind == kRegistrantAttentions.size()) continue;
    auto found = std::ranges::find(pending_, raise.port, &Pending::port);
    if (found == pending_.end()) {
      if (pending_.size() == kRegistrantsMax) pending_.erase(pending_.begin());
      pending_.push_back({raise.port, {}});
      found = std::prev(pending_.end());
    }
    found->kinds[kind] = {true, generation, std::nullopt};
  }
}

void RegistrantAttentions::on_told(const InitiatorPort& port, Asc asc, uint64_t generation, uint64_t now_ms) {
  const size_t kind = kind_of(asc);
  const auto found = std::ranges::find(pending_, port, &Pending::port);
  if (kind == kRegistrantAttentions.size() || found == pending_.end()) return;
  Pending::Kind& told = found->kinds[kind];
  if (told.waits && !told.told_ms && generation >= told.generation) told.told_ms = now_ms;
}

void RegistrantAttentions::settle(uint64_t now_ms) {
  for (Pending& pending : pending_) {
    for (Pending::Kind& kind : pending.kinds) {
      // A clock that stepped back: it was told in what is the future now.
      if (kind.told_ms && *kind.told_ms > now_ms) kind.told_ms = now_ms;
      if (kind.told_ms && now_ms - *kind.told_ms >= kSettledMs) kind = {};
    }
  }
  std::erase_if(pending_, has_none);
}

std::vector<Asc> RegistrantAttentions::waiting_for(const InitiatorPort& port) const {
  std::vector<Asc> waiting;
  const auto found = std::ranges::find(pending_, port, &Pending::port);
  if (found == pending_.end()) return waiting;
  for (size_t kind = 0; kind < found->kinds.size(); ++kind) {
    if (found->kinds[kind].waits) waiting.push_back(kRegistrantAttentions[kind]);
  }
  return waiting;
}

bool RegistrantAttentions::add(Pending pending) {
  if (pending_.size() == kRegistrantsMax || has_none(pending)) return false;
  if (std::ranges::find(pending_, pending.port, &Pending::port) != pending_.end()) return false;
  pending_.push_back(std::move(pending));
  return true;
}

}  // namespace itgtd::scsi
