#include "ha/adapters/drbd_settings.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/parse.h"

namespace itgtd::ha {

namespace {

constexpr uint32_t kDrbd9 = 0x090000;

/// The next word, or one of { } ; by itself; empty at the end.
std::string_view next_token(std::string_view& text) {
  for (;;) {
    const size_t begin = text.find_first_not_of(" \t\r\n");
    if (begin == std::string_view::npos) return {};
    text.remove_prefix(begin);
    if (text.front() != '#') break;
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end);
  }
  size_t length = 1;
  if (text.front() == '"') {
    const size_t end = text.find('"', 1);
    length = end == std::string_view::npos ? text.size() : end + 1;
  } else if (std::string_view("{};").find(text.front()) == std::string_view::npos) {
    length = std::min(text.find_first_of(" \t\r\n{};\"#"), text.size());
  }
  const std::string_view token = text.substr(0, length);
  text.remove_prefix(length);
  return token;
}

bool holds_options(std::string_view section) {
  return section == "net" || section == "disk" || section == "options";
}

std::string unquoted(std::string_view word) {
  if (word.size() >= 2 && word.front() == '"') word = word.substr(1, word.size() - 2);
  return std::string(word);
}

/// Whether any section says something else than `wanted`, where saying nothing means `otherwise`.
std::string deviation(const DrbdSettings& settings, std::string_view key, std::string_view wanted,
                      std::string_view otherwise) {
  const auto found = settings.find(key);
  if (found == settings.end()) return otherwise == wanted ? std::string() : std::string(otherwise);
  for (const std::string& value : found->second) {
    if (value != wanted) return value;
  }
  return {};
}

}  // namespace

std::map<std::string, DrbdSettings, std::less<>> parse_drbd_dump(std::string_view dump) {
  std::map<std::string, DrbdSettings, std::less<>> resources;
  DrbdSettings common;
  DrbdSettings ignored;
  DrbdSettings* target = &ignored;
  std::vector<std::string> sections;
  std::vector<std::string> words;
  for (std::string_view token = next_token(dump); !token.empty(); token = next_token(dump)) {
    if (token == "{") {
      if (sections.empty()) {
        const std::string kind = words.empty() ? "" : words.front();
        if (kind == "resource" && words.size() > 1) target = &resources[words[1]];
        if (kind == "common") target = &common;
      }
      sections.push_back(words.empty() ? "" : words.front());
      words.clear();
    } else if (token == "}") {
      if (!sections.empty()) sections.pop_back();
      if (sections.empty()) target = &ignored;
      words.clear();
    } else if (token == ";") {
      if (!words.empty() && !sections.empty() && holds_options(sections.back()))
        (*target)[words.front()].push_back(words.size() > 1 ? words[1] : "yes");
      words.clear();
    } else {
      words.push_back(unquoted(token));
    }
  }
  for (auto& [name, settings] : resources) {
    for (const auto& [key, values] : common) settings.try_emplace(key, values);
  }
  return resources;
}

std::vector<Finding> judge_drbd_settings(const std::string& resource, const DrbdSettings& settings,
                                         uint32_t kernel_version) {
  using Severity = Finding::Severity;
  std::vector<Finding> findings;
  const auto find = [&](Severity severity, std::string text) {
    findings.push_back({severity, fmt::format("DRBD resource {} {}", resource, text)});
  };
  if (!deviation(settings, "allow-two-primaries", "no", "no").empty())
    find(Severity::refuse, "allows two primaries: remove allow-two-primaries from its net section");
  if (const std::string protocol = deviation(settings, "protocol", "C", "C"); !protocol.empty())
    find(Severity::refuse,
         fmt::format(
             "uses protocol {}, which acknowledges writes that its peer does not have: set protocol C in "
             "its net section",
             protocol));
  const bool fencing = !deviation(settings, "fencing", "dont-care", "dont-care").empty();
  if (kernel_version != 0 && kernel_version < kDrbd9) {
    // The seed's cluster is like that, so it is served: the lease keeps two nodes from writing,
    // ha/data_guard.h old data from being promoted.
    if (!fencing)
      find(Severity::warn,
           "has no fencing, and DRBD 8.4 has no quorum: itgtd keeps old data from being served, but what "
           "was acknowledged in the milliseconds in which the replication link was lost may be on one node "
           "only; DRBD 9 with quorum majority does not have this gap");
    return findings;
  }
  if (deviation(settings, "quorum", "off", "off").empty() && !fencing)
    find(Severity::refuse,
         "has neither quorum nor fencing: set quorum majority in its options section, with a third node, "
         "which may "
         "be diskless");
  if (!deviation(settings, "auto-promote", "no", "yes").empty())
    find(Severity::warn,
         "is promoted by whatever opens it for writing: set auto-promote no in its options section");
  return findings;
}

uint32_t parse_drbd_kernel_version(std::string_view version) {
  constexpr std::string_view kKey = "DRBD_KERNEL_VERSION_CODE=";
  const size_t at = version.find(kKey);
  if (at == std::string_view::npos) return 0;
  version.remove_prefix(at + kKey.size());
  return static_cast<uint32_t>(parse_number(version.substr(0, version.find('\n'))).value_or(0));
}

}  // namespace itgtd::ha
