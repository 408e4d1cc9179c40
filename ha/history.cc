#include "ha/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ha/status.h"

namespace itgtd::ha {
namespace {

using Json = nlohmann::ordered_json;

/// Of the file. Another one is set aside.
constexpr uint64_t kFormat = 1;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const char* to_string(OwnerChange::Outcome outcome) {
  switch (outcome) {
    case OwnerChange::Outcome::pending:
      return "pending";
    case OwnerChange::Outcome::active:
      return "active";
    case OwnerChange::Outcome::overtaken:
      return "overtaken";
    case OwnerChange::Outcome::lost:
      return "lost";
  }
  return "unknown";
}

const char* to_string(Note::Kind kind) {
  switch (kind) {
    case Note::Kind::step:
      return "step";
    case Note::Kind::decision:
      return "decision";
    case Note::Kind::alarm:
      return "alarm";
    case Note::Kind::info:
      return "info";
  }
  return "unknown";
}

/// The value of an enumeration whose text is `text`; `last` is its last one.
template <typename Enum>
Enum enum_named(const std::string& text, Enum last) {
  for (unsigned value = 0; value <= static_cast<unsigned>(last); ++value) {
    if (to_string(static_cast<Enum>(value)) == text) return static_cast<Enum>(value);
  }
  throw std::invalid_argument("no such word: " + text);
}

Json to_json(const OwnerChange& change) {
  Json json = {{"group", change.group},
               {"epoch", change.epoch},
               {"from", change.from},
               {"to", change.to},
               {"reason", ha::to_string(change.reason)},
               {"decided_at", change.decided_at},
               {"decided_unix_ms", change.decided_unix_ms},
               {"silence_ms", change.silence_ms},
               {"outcome", to_string(change.outcome)},
               {"text", change.text},
               {"active_after_ms", nullptr},
               {"steps", Json::array()}};
  if (change.active_after_ms) json["active_after_ms"] = *change.active_after_ms;
  for (const OwnerChange::Step& step : change.steps) {
    json["steps"].push_back({{"after_ms", step.after_ms}, {"text", step.text}});
  }
  return json;
}

OwnerChange change_of_json(const Json& json) {
  OwnerChange change;
  json.at("group").get_to(change.group);
  json.at("epoch").get_to(change.epoch);
  json.at("from").get_to(change.from);
  json.at("to").get_to(change.to);
  change.reason = enum_named(json.at("reason").get<std::string>(), Reason::renewed);
  json.at("decided_at").get_to(change.decided_at);
  json.at("decided_unix_ms").get_to(change.decided_unix_ms);
  json.at("silence_ms").get_to(change.silence_ms);
  change.outcome = enum_named(json.at("outcome").get<std::string>(), OwnerChange::Outcome::lost);
  json.at("text").get_to(change.text);
  if (const Json& active = json.at("active_after_ms"); !active.is_null()) {
    change.active_after_ms = active.get<TimeMs>();
  }
  for (const Json& step : json.at("steps")) {
    change.steps.push_back({step.at("after_ms").get<TimeMs>(), step.at("text").get<std::string>()});
  }
  return change;
}

Json to_json(const PastNote& past) {
  return {{"unix_ms", past.unix_ms},
          {"kind", to_string(past.note.kind)},
          {"group", past.note.group},
          {"epoch", past.note.epoch},
          {"text", past.note.text}};
}

PastNote note_of_json(const Json& json) {
  PastNote past;
  json.at("unix_ms").get_to(past.unix_ms);
  past.note.kind = enum_named(json.at("kind").get<std::string>(), Note::Kind::info);
  json.at("group").get_to(past.note.group);
  json.at("epoch").get_to(past.note.epoch);
  json.at("text").get_to(past.note.text);
  return past;
}

/// When the owner has served it, if it does.
std::optional<TimeMs> active_since(TimeMs now, const GroupStatus& group) {
  const auto report = group.reports.find(group.ownership.owner);
  if (report == group.reports.end() || report->second.phase != Phase::active) return std::nullopt;
  if (report->second.epoch != group.ownership.epoch) return std::nullopt;
  return now - report->second.since_ms;
}

bool was_lost(Reason reason) {
  return reason == Reason::node_lost || reason == Reason::daemon_lost || reason == Reason::hung;
}

}  // namespace

std::optional<TimeMs> OwnerChange::pause_ms() const {
  // Nobody was served before the first start.
  if (!active_after_ms || from.empty()) return std::nullopt;
  return silence_ms + *active_after_ms;
}

OwnerChange* History::change_of(const std::string& group, Epoch epoch) {
  for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
    if (change->group == group && change->epoch == epoch) return &*change;
  }
  return nullptr;
}

bool History::pending() const {
  return std::any_of(changes_.begin(), changes_.end(), [](const OwnerChange& change) {
    return change.outcome == OwnerChange::Outcome::pending;
  });
}

OwnerChange* History::newest(const std::string& group) {
  for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
    if (change->group == group) return &*change;
  }
  return nullptr;
}

void History::begin(TimeMs now, int64_t unix_ms, const GroupStatus& group, const ClusterStatus& status) {
  OwnerChange change;
  change.group = group.name;
  change.epoch = group.ownership.epoch;
  const NodeId previous = group.ownership.previous;
  if (previous != 0) change.from = name_of(status, previous);
  if (group.ownership.owner != 0) change.to = name_of(status, group.ownership.owner);
  change.reason = group.ownership.reason;
  change.decided_at = now;
  change.decided_unix_ms = unix_ms;
  for (const NodeStatus& node : status.nodes) {
    if (node.id == previous && was_lost(change.reason)) change.silence_ms = node.silence_ms;
  }
  if (OwnerChange* before = newest(group.name); before != nullptr) {
    if (before->outcome == OwnerChange::Outcome::pending) before->outcome = OwnerChange::Outcome::overtaken;
  }
  // Served before this node heard of it, as when it joins: how long it took, others know.
  if (const std::optional<TimeMs> since = active_since(now, group)) {
    change.outcome = OwnerChange::Outcome::active;
    change.decided_unix_ms -= now - *since;
    change.decided_at = *since;
    change.silence_ms = 0;
  }
  changes_.push_back(std::move(change));
  if (changes_.size() > kHistoryChangesMax) changes_.pop_front();
  ++version_;
}

void History::learn(TimeMs now, const GroupStatus& group, const ClusterStatus& status) {
  OwnerChange* change = change_of(group.name, group.ownership.epoch);
  if (change == nullptr || change->outcome != OwnerChange::Outcome::pending) return;
  // since_ms was right when the report was sent, so this is late by the time that it took, and no more.
  const std::optional<TimeMs> active_at = active_since(now, group);
  if (!active_at) return;
  change->active_after_ms = std::max<TimeMs>(0, *active_at - change->decided_at);
  // Here, the last step of the start is what made it so.
  const auto is_here = [&group](const NodeStatus& node) {
    return node.self && node.id == group.ownership.owner;
  };
  if (!change->steps.empty() && std::any_of(status.nodes.begin(), status.nodes.end(), is_here)) {
    change->active_after_ms = std::max(*change->active_after_ms, change->steps.back().after_ms);
  }
  change->outcome = OwnerChange::Outcome::active;
  ++version_;
}

/// To the newest change: the steps of a stop are told with the epoch that ends, and belong to the one that
/// begins.
void History::add_step(TimeMs now, const Note& note) {
  OwnerChange* change = newest(note.group);
  if (change == nullptr || note.epoch > change->epoch || change->steps.size() >= kHistoryStepsMax) return;
  const TimeMs after_ms = std::max<TimeMs>(0, now - change->decided_at);
  const TimeMs served_after_ms = change->active_after_ms.value_or(0);
  const bool over = change->outcome != OwnerChange::Outcome::pending;
  if (over && after_ms > served_after_ms + kHistoryStepsAfterMs) return;
  change->steps.push_back({after_ms, note.text});
}

void History::note(TimeMs now, int64_t unix_ms, const Note& note, const ClusterStatus& status) {
  for (const GroupStatus& group : status.groups) {
    if (note.kind != Note::Kind::decision || group.name != note.group) continue;
    // One line for each epoch, however often it is told.
    if (change_of(group.name, group.ownership.epoch) == nullptr) begin(now, unix_ms, group, status);
  }
  if (note.kind == Note::Kind::step) add_step(now, note);
  OwnerChange* change = note.group.empty() ? nullptr : change_of(note.group, note.epoch);
  if (change != nullptr && note.kind == Note::Kind::alarm) change->text = note.text;
  notes_.push_back({unix_ms, note});
  if (notes_.size() > kHistoryNotesMax) notes_.pop_front();
  ++version_;
  observe(now, unix_ms, status);
}

void History::observe(TimeMs now, int64_t unix_ms, const ClusterStatus& status) {
  for (const GroupStatus& group : status.groups) {
    const OwnerChange* known = newest(group.name);
    // Learnt from another node's table, as after a partition: what is known now is when this node heard of
    // it. The first sight of a group is no change.
    if (known != nullptr && known->epoch < group.ownership.epoch) begin(now, unix_ms, group, status);
    learn(now, group, status);
  }
}

std::string History::shown(const std::string& group, size_t count, bool with_notes,
                           const std::string& this_node) const {
  Json json = {{"node", this_node}, {"changes", Json::array()}};
  std::vector<const OwnerChange*> newest_first;
  for (auto change = changes_.rbegin(); change != changes_.rend() && newest_first.size() < count; ++change) {
    if (group.empty() || change->group == group) newest_first.push_back(&*change);
  }
  for (auto change = newest_first.rbegin(); change != newest_first.rend(); ++change) {
    Json one = ha::to_json(**change);
    one.erase("decided_at");  // a clock that nobody else has
    const std::optional<TimeMs> pause = (*change)->pause_ms();
    one["pause_ms"] = pause ? Json(*pause) : Json(nullptr);
    json["changes"].push_back(std::move(one));
  }
  if (!with_notes) return dump(json);
  json["notes"] = Json::array();
  std::vector<const PastNote*> notes;
  for (auto past = notes_.rbegin(); past != notes_.rend() && notes.size() < count; ++past) {
    if (group.empty() || past->note.group == group || past->note.group.empty()) notes.push_back(&*past);
  }
  for (auto past = notes.rbegin(); past != notes.rend(); ++past) json["notes"].push_back(ha::to_json(**past));
  return dump(json);
}

std::string History::to_json() const {
  Json json = {{"format", kFormat}, {"changes", Json::array()}, {"notes", Json::array()}};
  for (const OwnerChange& change : changes_) json["changes"].push_back(ha::to_json(change));
  for (const PastNote& past : notes_) json["notes"].push_back(ha::to_json(past));
  return dump(json);
}

Result<void> History::from_json(std::string_view text) {
  std::deque<OwnerChange> changes;
  std::deque<PastNote> notes;
  try {
    const Json json = Json::parse(text);
    if (json.at("format") != kFormat) return Error{0, "it is of another version"};
    for (const Json& change : json.at("changes")) {
      changes.push_back(change_of_json(change));
      if (changes.back().outcome == OwnerChange::Outcome::pending) {
        changes.back().outcome = OwnerChange::Outcome::lost;
      }
      if (changes.size() > kHistoryChangesMax) changes.pop_front();
    }
    for (const Json& note : json.at("notes")) {
      notes.push_back(note_of_json(note));
      if (notes.size() > kHistoryNotesMax) notes.pop_front();
    }
  } catch (const std::exception& error) {
    return Error{0, error.what()};
  }
  changes_ = std::move(changes);
  notes_ = std::move(notes);
  ++version_;
  return {};
}

}  // namespace itgtd::ha
