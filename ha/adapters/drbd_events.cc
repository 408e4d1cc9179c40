#include "ha/adapters/drbd_events.h"

#include <array>
#include <utility>

namespace itgtd::ha {

namespace {

using Action = DrbdEvent::Action;
using Object = DrbdEvent::Object;

constexpr std::array<std::pair<std::string_view, Action>, 7> kActions{{{"exists", Action::exists},
                                                                       {"create", Action::create},
                                                                       {"change", Action::change},
                                                                       {"destroy", Action::destroy},
                                                                       {"rename", Action::rename},
                                                                       {"call", Action::other},
                                                                       {"response", Action::other}}};
constexpr std::array<std::pair<std::string_view, Object>, 4> kObjects{{{"resource", Object::resource},
                                                                       {"device", Object::device},
                                                                       {"connection", Object::connection},
                                                                       {"peer-device", Object::peer_device}}};

std::string_view next_word(std::string_view& text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) {
    text = {};
    return {};
  }
  const size_t end = std::min(text.find_first_of(kBlank, begin), text.size());
  const std::string_view word = text.substr(begin, end - begin);
  text.remove_prefix(end);
  return word;
}

}  // namespace

std::string_view DrbdEvent::field(std::string_view key) const {
  const auto found = fields.find(key);
  return found == fields.end() ? std::string_view() : found->second;
}

std::optional<DrbdEvent> parse_drbd_event(std::string_view line) {
  const std::string_view first = next_word(line);
  const std::string_view second = next_word(line);
  DrbdEvent event;
  if (first == "-") {
    if (second != "skipped") return std::nullopt;
    event.action = Action::skipped;
    return event;
  }
  const auto* action = kActions.begin();
  while (action != kActions.end() && action->first != first) ++action;
  if (action == kActions.end() || second.empty()) return std::nullopt;
  event.action = action->second;
  if (second == "-") {
    event.action = event.action == Action::exists ? Action::dump_complete : Action::other;
    return event;
  }
  event.object = Object::other;
  for (const auto& [name, object] : kObjects) {
    if (name == second) event.object = object;
  }
  for (std::string_view word = next_word(line); !word.empty(); word = next_word(line)) {
    const size_t colon = word.find(':');
    if (colon == std::string_view::npos) continue;
    event.fields.insert_or_assign(std::string(word.substr(0, colon)), std::string(word.substr(colon + 1)));
  }
  return event;
}

}  // namespace itgtd::ha
