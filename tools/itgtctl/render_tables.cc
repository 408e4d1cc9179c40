#include <fmt/chrono.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tools/itgtctl/render.h"

namespace itgtd::ctl {
namespace {

using Json = nlohmann::ordered_json;

std::string yes_or_no(bool yes) {
  return yes ? "yes" : "no";
}

std::string pause_text(const Json& change) {
  const std::string outcome = text_at(change, "outcome");
  if (outcome == "pending") return "not served yet";
  if (outcome == "overtaken") return "not seen served";
  if (outcome == "lost") return "not known";
  // Served before the node that was asked heard of it.
  if (!change.contains("active_after_ms") || !change["active_after_ms"].is_number()) return "not known";
  const bool first = text_at(change, "from").empty();
  const int64_t ms = number_at(change, first ? "active_after_ms" : "pause_ms");
  const std::string text = ms < 10'000 ? fmt::format("{} ms", ms) : duration_text(ms);
  return first ? "started in " + text : text;
}

std::string step_line(int64_t ms, std::string_view text) {
  const std::string before = fmt::format("    {:>+8} ms  ", ms);
  return before + wrapped(text, width_of(before), width_of(before)) + '\n';
}

std::string steps_of(const Json& change) {
  std::string out;
  if (const int64_t silence = number_at(change, "silence_ms"); silence > 0) {
    out += step_line(-silence, "last sign of " + text_at(change, "from"));
  }
  for (const Json& step : list_at(change, "steps")) {
    out += step_line(number_at(step, "after_ms"), text_at(step, "text"));
  }
  if (text_at(change, "outcome") == "active" && pause_text(change) != "not known") {
    out += step_line(number_at(change, "active_after_ms"), "served by " + text_at(change, "to"));
  }
  if (!text_at(change, "text").empty()) out += "    " + wrapped(text_at(change, "text"), 4, 4) + '\n';
  return out;
}

std::string notes_text(const Json& notes) {
  std::string out = "\nNotes:\n";
  for (const Json& note : notes) {
    const std::string group = text_at(note, "group");
    const std::string before = time_text(number_at(note, "unix_ms")) + "  ";
    out += before + wrapped((group.empty() ? "" : group + ": ") + text_at(note, "text"), before.size(), 21) +
           '\n';
  }
  return out;
}

}  // namespace

std::string render_why(const Json& why, const Style& style) {
  const std::string owner = text_at(why, "owner");
  Table table({"NODE", "MEMBER", "DRAINED", "STORAGE", "FAILURES", "VIPS", "PREF", ""});
  for (const Json& node : list_at(why, "candidates")) {
    const std::string name = text_at(node, "node");
    const double failures =
        node.contains("failures") && node["failures"].is_number() ? node["failures"].get<double>() : 0.0;
    std::string mark = name == owner ? "owner" : flag_at(node, "last_owner") ? "was last" : "";
    if (!flag_at(node, "eligible"))
      mark = style.paint(mark.empty() ? "can't" : mark + ", can't", Colour::bad);
    table.add({name, yes_or_no(flag_at(node, "member")), yes_or_no(flag_at(node, "drained")),
               text_at(node, "storage"), fmt::format("{:.1f}", failures),
               fmt::format("{}", number_at(node, "live_vips")),
               fmt::format("{}", number_at(node, "preference") + 1), mark});
    const std::string reason = text_at(node, "reason");
    if (!reason.empty()) table.add_below("    " + wrapped(reason, 4, 4) + '\n');
  }
  return table.to_string(style) + wrapped(text_at(why, "sentence"), 0, 0) + '\n';
}

std::string render_history(const Json& history, bool steps, const Style& style) {
  const Json& changes = list_at(history, "changes");
  const std::string node = text_at(history, "node");
  std::string out;
  if (changes.empty()) {
    out = "No group has changed its owner, as far as this node remembers.\n";
  } else {
    Table table({"TIME", "GROUP", "FROM -> TO", "REASON", "PAUSE"});
    for (const Json& change : changes) {
      const std::string from = text_at(change, "from").empty() ? "-" : text_at(change, "from");
      const std::string to = text_at(change, "to").empty() ? "-" : text_at(change, "to");
      table.add({time_text(number_at(change, "decided_unix_ms")), text_at(change, "group"),
                 from + " -> " + to, text_at(change, "reason"), pause_text(change)});
      if (steps) table.add_below(steps_of(change));
    }
    out = table.to_string(style);
  }
  if (history.contains("notes")) out += notes_text(list_at(history, "notes"));
  const std::string who = node.empty() ? "this node" : node;
  std::string foot = "As " + who + " saw it.";
  if (steps)
    foot += " The steps of a start or stop are known only to the node that took them: ask there too.";
  return out + style.paint(wrapped(foot, 0, 0), Colour::dim) + '\n';
}

std::string duration_text(int64_t ms) {
  if (ms < 0) ms = 0;
  if (ms < 10'000) return fmt::format("{}.{} s", ms / 1000, ms % 1000 / 100);
  const int64_t seconds = ms / 1000;
  if (seconds < 60) return fmt::format("{} s", seconds);
  const int64_t minutes = seconds / 60;
  if (minutes < 60) return fmt::format("{} min {} s", minutes, seconds % 60);
  const int64_t hours = minutes / 60;
  if (hours < 24) return fmt::format("{} h {} min", hours, minutes % 60);
  return fmt::format("{} d {} h", hours / 24, hours % 24);
}

std::string time_text(int64_t unix_ms) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(std::time_t{unix_ms / 1000}));
}

std::string text_at(const Json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() && found->is_string()
             ? printable(found->get_ref<const std::string&>())
             : "";
}
int64_t number_at(const Json& object, const char* name) {
  if (!object.is_object() || !object.contains(name) || !object[name].is_number()) return 0;
  return object[name].get<int64_t>();
}
bool flag_at(const Json& object, const char* name) {
  return object.is_object() && object.contains(name) && object[name].is_boolean() && object[name].get<bool>();
}
const Json& list_at(const Json& object, const char* name) {
  static const Json kNothing = Json::array();
  return object.is_object() && object.contains(name) && object[name].is_array() ? object[name] : kNothing;
}

}  // namespace itgtd::ctl
