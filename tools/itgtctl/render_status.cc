#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tools/itgtctl/render.h"

namespace itgtd::ctl {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLabel = 9;  ///< "storage  ", "problem  "
/// A space that no line ends at. No text of the daemon has it: see printable().
constexpr char kHardSpace = '\x01';

std::string upper(std::string text) {
  for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return text;
}

size_t widest(const Json& list, const char* member, size_t least) {
  size_t width = least;
  for (const Json& item : list) width = std::max(width, width_of(text_at(item, member)));
  return width;
}

std::string row(size_t indent, std::string_view label, std::string_view text, const Style& style,
                Colour colour = Colour::none) {
  const std::string before = std::string(indent, ' ') + padded(label, kLabel);
  std::string lines = wrapped(text, indent + kLabel, indent + kLabel);
  std::replace(lines.begin(), lines.end(), kHardSpace, ' ');
  return before + style.paint(lines, colour) + '\n';
}

std::string problems(const Json& list, size_t indent, const Style& style) {
  std::string out;
  for (const Json& problem : list) {
    out += row(indent, "problem", text_at(problem, "what"), style, Colour::bad);
    const std::string advice = text_at(problem, "advice");
    if (!advice.empty()) out += row(indent, "  do", advice, style, Colour::warn);
  }
  return out;
}

/// The parts, with space between them, on as many lines as it takes.
std::string spread(const std::vector<std::string>& parts) {
  std::string out;
  size_t at = 0;
  for (const std::string& part : parts) {
    if (at != 0 && at + 4 + width_of(part) > kColumns) {
      out += "\n         ";
      at = 9;
    } else if (at != 0) {
      out += "    ";
      at += 4;
    }
    out += part;
    at += width_of(part);
  }
  return out + '\n';
}

std::string header(const Json& status, const Style& style) {
  const size_t nodes = list_at(status, "nodes").size();
  std::string quorum = style.paint("NOT CONNECTED to corosync", Colour::bad);
  if (flag_at(status, "connected")) {
    quorum = flag_at(status, "quorate") ? style.paint("quorate", Colour::good)
                                        : style.paint("NO QUORUM", Colour::bad);
    const Json ring = status.value("ring", Json::object());
    quorum += fmt::format(", ring {}.{}", number_at(ring, "representative"), number_at(ring, "seq"));
  }
  const bool maintenance = flag_at(status, "maintenance");
  const std::string count = nodes == 0 ? "" : fmt::format("{} node{}, ", nodes, nodes == 1 ? "" : "s");
  std::string out =
      spread({style.paint("Cluster: ", Colour::bold) + count + quorum,
              "maintenance: " + (maintenance ? style.paint("ON", Colour::warn) : "off"),
              "this node: " + (text_at(status, "node").empty() ? "unknown" : text_at(status, "node"))});
  if (maintenance) {
    out += row(2, "note", "groups stay where they are; afterwards: itgtctl maintenance off", style,
               Colour::warn);
  }
  return out + problems(list_at(status, "problems"), 2, style);
}

std::string node_line(const Json& node, bool connected, size_t width, const Style& style) {
  const int64_t silence = number_at(node, "silence_ms");
  std::string state;
  std::string more;
  Colour colour = Colour::bad;
  if (flag_at(node, "member")) {
    state = flag_at(node, "drained") ? "online, drained" : "online";
    colour = flag_at(node, "drained") ? Colour::warn : Colour::good;
    if (!text_at(node, "version").empty()) more = "itgtd " + text_at(node, "version");
  } else if (!connected) {
    state = flag_at(node, "self") ? "NOT CONNECTED" : "unknown";
    colour = flag_at(node, "self") ? Colour::bad : Colour::none;
  } else {
    state = flag_at(node, "in_quorum") ? "NO ITGTD" : "OFFLINE";
    if (flag_at(node, "drained")) state += ", drained";
    if (silence > 0) more = fmt::format("(silent for {})", duration_text(silence));
  }
  std::string line = "  " + padded(text_at(node, "name"), width) + "  ";
  line += more.empty() ? style.paint(state, colour) : padded(style.paint(state, colour), 18) + more;
  return line + '\n';
}

std::string headline(const Json& group) {
  const std::string state = text_at(group, "state");
  const std::string owner = text_at(group, "owner");
  const std::string since = duration_text(number_at(group, "since_ms"));
  if (state == "active") return fmt::format("active on {} for {}", owner, since);
  if (owner.empty()) return state == "unknown" ? "NOT SERVED HERE" : upper(state);
  if (state == "owner lost") return fmt::format("NOT SERVED: its owner {} is gone", owner);
  // Without quorum this node can't tell: the other side may well serve it.
  if (state == "unknown") return fmt::format("NOT SERVED HERE: {} had it last", owner);
  if (state == "waiting") return fmt::format("WAITING to start on {}", owner);
  return fmt::format("{} on {} for {}", upper(state), owner, since);
}

std::string storage_of(const Json& node) {
  const Json storage = node.value("storage", Json::object());
  const std::string role = text_at(storage, "role");
  if (role.empty() || role == "-") return text_at(storage, "fitness");
  return role + '/' + text_at(storage, "disk");
}

std::string storage_text(const Json& group) {
  const std::string owner = text_at(group, "owner");
  std::string mine;
  std::string others;
  for (const Json& node : list_at(group, "nodes")) {
    const std::string name = text_at(node, "node");
    if (!flag_at(node, "reported")) continue;
    if (name == owner) {
      mine = storage_of(node);
    } else {
      others += (others.empty() ? "" : ", ") + name + ':' + kHardSpace + storage_of(node);
    }
  }
  std::string text = text_at(group, "storage");
  if (!mine.empty()) text += "  " + mine;
  if (!others.empty()) text += mine.empty() ? "  " + others : "   (" + others + ")";
  return text;
}

/// The node whose VIPs are shown: the owner, or the best that there is.
const Json* shown_node(const Json& group) {
  const Json* first = nullptr;
  for (const Json& node : list_at(group, "nodes")) {
    if (!flag_at(node, "reported")) continue;
    if (text_at(node, "node") == text_at(group, "owner")) return &node;
    if (first == nullptr) first = &node;
  }
  return first;
}

std::string vip_rows(const Json& group, size_t indent, const Style& style) {
  const Json* node = shown_node(group);
  if (node == nullptr) return "";
  const Json& vips = list_at(*node, "vips");
  const size_t addresses = widest(vips, "address", 0);
  const size_t interfaces = widest(vips, "interface", 1);
  std::string out;
  for (const Json& vip : vips) {
    const std::string state = text_at(vip, "state");
    const bool good = state == "up" || state == "ready";
    const std::string interface = text_at(vip, "interface");
    std::string text = padded(text_at(vip, "address"), addresses + 2) +
                       padded(interface.empty() ? "-" : interface, interfaces + 2);
    text += style.paint(good ? state : upper(state), state == "up" ? Colour::good
                                                     : good        ? Colour::none
                                                                   : Colour::bad);
    if (text_at(*node, "node") != text_at(group, "owner")) text += " on " + text_at(*node, "node");
    out += std::string(indent, ' ') + padded("vip", kLabel) + text + '\n';
  }
  return out;
}

std::string group_text(const Json& group, size_t width, const Style& style) {
  const std::string state = text_at(group, "state");
  const size_t indent = 2 + width + 2;
  const std::string head = headline(group);
  std::string tail = fmt::format("epoch {}", number_at(group, "epoch"));
  if (state == "active") tail += fmt::format("    sessions {}", number_at(group, "sessions"));
  std::string out = "  " + style.paint(padded(text_at(group, "name"), width), Colour::bold) + "  ";
  out += style.paint(head, state == "active" ? Colour::good : Colour::bad);
  const bool fits = indent + width_of(head) + 4 + width_of(tail) <= kColumns;
  out += (fits ? "    " : '\n' + std::string(indent, ' ')) + tail + '\n';
  out += row(indent, "storage", storage_text(group), style);
  out += vip_rows(group, indent, style);
  return out + problems(list_at(group, "problems"), indent, style);
}

}  // namespace

std::string render_status(const Json& raw, const Style& style) {
  if (!flag_at(raw, "configured")) {
    std::string out = "No [cluster] in the configuration: this node is on its own.\n";
    if (!text_at(raw, "summary").empty()) out += text_at(raw, "summary") + '\n';
    return out + "itgtd " + text_at(raw, "version") + '\n';
  }
  const Json& nodes = list_at(raw, "nodes");
  const Json& groups = list_at(raw, "groups");
  std::string out = header(raw, style) + style.paint("Nodes:", Colour::bold) + '\n';
  const size_t node_width = widest(nodes, "name", 8);
  for (const Json& node : nodes) out += node_line(node, flag_at(raw, "connected"), node_width, style);
  if (nodes.empty()) out += "  none: corosync has not named them yet\n";
  out += style.paint("Groups:", Colour::bold) + '\n';
  const size_t group_width = widest(groups, "name", 8);
  for (const Json& group : groups) out += group_text(group, group_width, style);
  if (groups.empty()) out += "  none: the configuration has no [[group]]\n";
  if (!text_at(raw, "summary").empty()) out += "This node: " + text_at(raw, "summary") + '\n';
  return out;
}

}  // namespace itgtd::ctl
