// What the owner of a group asks for: when a value is stored by enough nodes, and when what is here is the
// newest there is.
#include <algorithm>
#include <string>
#include <utility>

#include "ha/core/units.h"

namespace itgtd::ha {
namespace {

std::string of_nodes(size_t count, size_t nodes) {
  return std::to_string(count) + " of " + std::to_string(nodes) + " nodes";
}

}  // namespace

void Units::on(const UnitReplicate& event) {
  const UnitRecord& record = event.record;
  if (!is_unit_name(record.unit) || record.epoch == 0 || record.bytes.size() > kUnitBytesMax) {
    finish(event.id, false,
           "\"" + record.unit + "\" can't be kept by the members: its name or size is wrong");
    return;
  }
  Replication request;
  request.record = record;
  request.since = now_;
  replications_.insert_or_assign(event.id, std::move(request));
  note_stored(record.unit, {record.epoch, record.version});
  if (is_member_) send(record);
}

void Units::on(const UnitFetch& event) {
  Fetch request;
  request.group = event.group;
  request.units = event.units;
  request.since = now_;
  fetches_.insert_or_assign(event.id, std::move(request));
  ask();
}

void Units::on(const UnitsAbandoned& event) {
  const std::string text = "group " + event.group + " is stopped here";
  std::erase_if(replications_, [&](const auto& request) {
    if (request.second.record.group != event.group) return false;
    finish(request.first, false, text);
    return true;
  });
  std::erase_if(fetches_, [&](const auto& request) {
    if (request.second.group != event.group) return false;
    finish(request.first, false, text);
    return true;
  });
}

void Units::check_requests() {
  std::erase_if(replications_, [&](const auto& request) { return is_over(request.first, request.second); });
  std::erase_if(fetches_, [&](const auto& request) { return is_over(request.first, request.second); });
}

bool Units::all_answered(TimeMs since, const std::set<NodeId>& a, const std::set<NodeId>& b) {
  bool all = true;
  for (auto& [node, peer] : peers_) {
    if (a.contains(node) || b.contains(node)) continue;
    if (now_ - since >= options_.member_ms) peer.late = true;
    all = all && peer.late;
  }
  return all;
}

bool Units::is_over(uint64_t id, const Replication& request) {
  const size_t copies = 1 + request.stored.size();
  const size_t due = unit_copies_min(options_.nodes);
  if (request.overtaken_by != 0) {
    finish(id, false, "node " + std::to_string(request.overtaken_by) + " has it from a later owner");
    return true;
  }
  const bool all = all_answered(request.since, request.stored, request.refused);
  if (is_member_ && all && copies >= due) {
    finish(id, true);
    return true;
  }
  // Whoever there is has said no: to wait for a majority helps when one is missing, not when one refuses.
  const bool refused = is_member_ && all && !request.refused.empty() && 1 + peers_.size() >= due &&
                       std::ranges::none_of(peers_, [](const auto& peer) { return peer.second.late; });
  if (!refused && !has_given_up(request.since)) return false;
  finish(id, false,
         "only " + of_nodes(copies, options_.nodes) + " could store it, " + std::to_string(due) + " must");
  return true;
}

bool Units::is_over(uint64_t id, const Fetch& request) {
  const auto fresh = static_cast<size_t>(
      std::ranges::count_if(peers_, [&](const auto& peer) { return request.fresh.contains(peer.first); }));
  const size_t due = unit_copies_min(options_.nodes);
  const bool all = is_member_ && request.ordered && all_answered(request.since, request.fresh, {});
  std::string behind;
  for (const auto& [node, peer] : peers_) {
    if (!request.fresh.contains(node)) continue;
    for (const std::string& unit : request.units) {
      const auto theirs = peer.units.find(unit);
      if (theirs != peer.units.end() && theirs->second > stored_version(unit)) behind = unit;
    }
  }
  if (all && 1 + fresh >= due && behind.empty()) {
    finish(id, true);
    return true;
  }
  if (!has_given_up(request.since)) return false;
  finish(id, false,
         behind.empty() ? "only " + of_nodes(1 + fresh, options_.nodes) +
                              " said what they have of its units, " + std::to_string(due) + " must"
                        : "nobody sent the newest state of unit " + behind);
  return true;
}

void Units::finish(uint64_t id, bool ok, std::string text) {
  actions_.emplace_back(UnitDone{id, ok, std::move(text)});
}

}  // namespace itgtd::ha
