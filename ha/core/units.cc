#include "ha/core/units.h"

#include <algorithm>
#include <utility>

namespace itgtd::ha {
namespace {

/// Each failed try to send what a member lacks doubles the time to the next one, so often.
constexpr uint32_t kDoublingsMax = 6;

bool is_sound(const UnitRecord& record) {
  return is_unit_name(record.unit) && record.epoch != 0 && record.bytes.size() <= kUnitBytesMax;
}

}  // namespace

bool is_unit_name(std::string_view name) {
  const auto legal = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'); };
  return !name.empty() && name.size() <= kUnitNameBytesMax && std::ranges::all_of(name, legal);
}

size_t unit_copies_min(size_t nodes) {
  return nodes <= 2 ? 1 : nodes / 2 + 1;
}

UnitActions Units::step(TimeMs now, const UnitEvent& event) {
  now_ = now;
  std::visit([this](const auto& content) { on(content); }, event);
  check_requests();
  return std::exchange(actions_, {});
}

std::optional<TimeMs> Units::wake_at() const {
  std::optional<TimeMs> at;
  const auto by = [&at](TimeMs due) { at = at ? std::min(*at, due) : due; };
  const auto by_request = [&](TimeMs since) {
    const TimeMs late = since + options_.member_ms;
    by(now_ < late ? late : since + options_.give_up_ms);
  };
  for (const auto& [id, request] : replications_) by_request(request.since);
  for (const auto& [id, request] : fetches_) by_request(request.since);
  for (const auto& [unit, missing] : missing_) by(missing.due);
  return at;
}

// --- Who is there
// ------------------------------------------------------------------------------------------------------

void Units::on(const UnitsLoaded& event) {
  stored_ = event.versions;
}

void Units::on(const UnitsConfigured& event) {
  const bool is_another = options_.self != event.options.self;
  options_ = event.options;
  // Who this node is may be known only after who is there.
  if (is_another) on(UnitsMembers{members_});
}

void Units::on(const UnitsMembers& event) {
  members_ = event;
  bool joined = false;
  std::map<NodeId, Peer> peers;
  bool is_member = false;
  for (const Member& member : event.members) {
    if (member.node == options_.self.node) {
      is_member = is_member || member == options_.self;
      continue;
    }
    const auto known = peers_.find(member.node);
    const bool same = known != peers_.end() && known->second.pid == member.pid;
    // A node that is named twice has a new process, and one that is dead.
    if (peers.contains(member.node) && same) continue;
    Peer peer;
    peer.pid = member.pid;
    peers[member.node] = same ? known->second : peer;
    joined = joined || !same;
  }
  joined = joined || (is_member && !is_member_);
  peers_ = std::move(peers);
  is_member_ = is_member;
  if (!is_member_) ask_on_its_way_ = false;
  if (joined && is_member_) on_joined();
}

/// Whoever is new has heard nothing of what goes on, and what this node has sent before it joined is lost.
void Units::on_joined() {
  missing_.clear();
  for (const auto& [id, request] : replications_) send(request.record);
  for (auto& [id, request] : fetches_) {
    request.asked = false;
    request.ordered = false;
    request.fresh.clear();
  }
  ask_on_its_way_ = false;
  if (fetches_.empty()) {
    send(UnitVersions{false, stored_});
  } else {
    ask();
  }
  review_all(false);
}

// --- What others say
// ---------------------------------------------------------------------------------------------------

void Units::on(const UnitsDelivered& event) {
  if (event.from == options_.self) {
    if (const auto* versions = std::get_if<UnitVersions>(&event.message)) on_own(*versions);
    return;
  }
  const auto peer = peers_.find(event.from.node);
  if (peer == peers_.end() || peer->second.pid != event.from.pid) return;  // its process has ended
  std::visit(
      [&](const auto& message) {
        if constexpr (requires { on_message(event.from.node, message); }) {
          peer->second.late = false;
          on_message(event.from.node, message);
        }
      },
      event.message);
}

void Units::on_message(NodeId from, const UnitRecord& record) {
  if (!is_sound(record) || (stored_.size() >= kUnitsMax && !stored_.contains(record.unit))) {
    ++dropped_;
    return;
  }
  const UnitVersion version{record.epoch, record.version};
  UnitVersion& theirs = peers_.at(from).units[record.unit];
  theirs = std::max(theirs, version);
  if (stored_version(record.unit) >= version) {
    confirm(record.unit);
    return;
  }
  const auto is_newer_than = [&](const std::map<std::string, UnitRecord>& others) {
    const auto other = others.find(record.unit);
    return other == others.end() || version > UnitVersion{other->second.epoch, other->second.version};
  };
  if (!saving_.contains(record.unit)) {
    saving_[record.unit] = record;
    actions_.emplace_back(SaveUnit{record});
  } else if (is_newer_than(saving_) && is_newer_than(waiting_)) {
    waiting_[record.unit] = record;
  }
}

void Units::on(const UnitSaved& event) {
  const auto saving = saving_.find(event.unit);
  if (saving == saving_.end() || UnitVersion{saving->second.epoch, saving->second.version} != event.version) {
    return;
  }
  saving_.erase(saving);
  if (event.ok) {
    note_stored(event.unit, event.stored);
    confirm(event.unit);
  } else {
    send(UnitStored{event.unit, event.version.epoch, event.version.version, false});
  }
  auto next = waiting_.extract(event.unit);
  if (next.empty()) return;
  if (UnitVersion{next.mapped().epoch, next.mapped().version} <= stored_version(event.unit)) return;
  actions_.emplace_back(SaveUnit{next.mapped()});
  saving_.insert(std::move(next));
}

void Units::on_message(NodeId from, const UnitStored& stored) {
  Peer& peer = peers_.at(from);
  if (!is_unit_name(stored.unit) || (peer.units.size() >= kUnitsMax && !peer.units.contains(stored.unit))) {
    ++dropped_;
    return;
  }
  const UnitVersion version{stored.epoch, stored.version};
  for (auto& [id, request] : replications_) {
    if (request.record.unit != stored.unit) continue;
    const bool same_epoch = version.epoch == request.record.epoch;
    if (!stored.stored && same_epoch && version.version == request.record.version) {
      request.refused.insert(from);
    } else if (stored.stored && same_epoch && version.version >= request.record.version) {
      request.stored.insert(from);
    } else if (stored.stored && version.epoch > request.record.epoch) {
      request.overtaken_by = from;
    }
  }
  if (!stored.stored) return;
  UnitVersion& theirs = peer.units[stored.unit];
  theirs = std::max(theirs, version);
  review(stored.unit, false);
}

void Units::on_message(NodeId from, const UnitVersions& versions) {
  const auto is_name = [](const auto& unit) { return is_unit_name(unit.first); };
  if (versions.units.size() > kUnitsMax || !std::ranges::all_of(versions.units, is_name)) {
    ++dropped_;
    return;
  }
  Peer& peer = peers_.at(from);
  peer.told = true;
  peer.units = versions.units;
  for (auto& [id, request] : fetches_) {
    if (request.ordered) request.fresh.insert(from);
  }
  if (versions.ask) send(UnitVersions{false, stored_});
  review_all(true);
}

/// What is delivered behind this node's question was said after it had been asked, or could not be known to
/// whoever served before: he had delivered it, too, before he counted a later answer of the same member.
void Units::on_own(const UnitVersions& versions) {
  if (!versions.ask) return;
  ask_on_its_way_ = false;
  bool more = false;
  for (auto& [id, request] : fetches_) {
    if (request.asked) request.ordered = true;
    more = more || !request.asked;
  }
  if (more) ask();
}

// --- What this node has
// ------------------------------------------------------------------------------------------------

UnitVersion Units::stored_version(const std::string& unit) const {
  const auto found = stored_.find(unit);
  return found == stored_.end() ? UnitVersion{} : found->second;
}

void Units::note_stored(const std::string& unit, UnitVersion version) {
  UnitVersion& newest = stored_[unit];
  newest = std::max(newest, version);
  review(unit, false);
}

void Units::confirm(const std::string& unit) {
  const UnitVersion version = stored_version(unit);
  send(UnitStored{unit, version.epoch, version.version, true});
}

void Units::ask() {
  if (ask_on_its_way_ || !is_member_) return;
  ask_on_its_way_ = true;
  for (auto& [id, request] : fetches_) request.asked = true;
  send(UnitVersions{true, stored_});
}

void Units::review_all(bool at_once) {
  for (const auto& [unit, version] : stored_) review(unit, at_once);
}

void Units::review(const std::string& unit, bool at_once) {
  const UnitVersion version = stored_version(unit);
  bool lacking = false;
  bool newest = version != UnitVersion{};
  TimeMs place = 0;
  for (const auto& [node, peer] : peers_) {
    const auto known = peer.units.find(unit);
    const UnitVersion theirs = known == peer.units.end() ? UnitVersion{} : known->second;
    newest = newest && theirs <= version;
    lacking = lacking || (peer.told && theirs < version);
    if (theirs == version && !peer.late && node < options_.self.node) ++place;
  }
  if (!newest || !lacking) {
    missing_.erase(unit);
    return;
  }
  const TimeMs due = now_ + (place + (at_once ? 0 : 1)) * options_.member_ms;
  Missing& missing = missing_.try_emplace(unit, Missing{version, due, 0}).first->second;
  if (missing.version != version) missing = {version, due, 0};
  // Who was sent it once has it, or it will not help him to get it again so soon.
  if (missing.sends == 0) missing.due = std::min(missing.due, due);
  send_what_is_due(unit, missing);
}

void Units::send_what_is_due(const std::string& unit, Missing& missing) {
  if (now_ < missing.due || !is_member_) return;
  actions_.emplace_back(SendStoredUnit{unit});
  missing.due = now_ + (options_.member_ms << std::min(missing.sends, kDoublingsMax));
  ++missing.sends;
}

void Units::on(const UnitsTick& /*event*/) {
  for (auto& [unit, missing] : missing_) {
    send_what_is_due(unit, missing);
    // Not a member: nobody can be sent anything, and joining begins anew.
    if (missing.due <= now_) missing.due = now_ + options_.member_ms;
  }
}

}  // namespace itgtd::ha
