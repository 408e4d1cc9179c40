#include "target/config/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace itgtd::config {
namespace {

/// Enough for every iSCSI name (223) and a typical path; more would bury the message.
constexpr size_t kQuotedBytesMax = 256;
/// Distances are quadratic in the lengths; no key is anywhere near this.
constexpr size_t kComparedBytesMax = 256;

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
}

std::string join(std::span<const std::string_view> words, std::string_view last) {
  std::string out;
  for (size_t i = 0; i < words.size(); i++) {
    if (i > 0) out += i + 1 == words.size() ? last : ", ";
    out += words[i];
  }
  return out;
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (is_control(c)) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out;
}

std::string in_quotes(std::string_view text) {
  if (text.size() <= kQuotedBytesMax) return fmt::format("'{}'", escaped(text));
  return fmt::format("'{}...'", escaped(text.substr(0, kQuotedBytesMax)));
}

size_t edit_distance(std::string_view a, std::string_view b) {
  a = a.substr(0, kComparedBytesMax);
  b = b.substr(0, kComparedBytesMax);
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); i++) cost[i][0] = i;
  for (size_t j = 0; j <= b.size(); j++) cost[0][j] = j;
  for (size_t i = 1; i <= a.size(); i++) {
    for (size_t j = 1; j <= b.size(); j++) {
      const size_t replaced = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, replaced});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

std::string_view nearest(std::string_view text, std::span<const std::string_view> words) {
  std::string_view best;
  size_t best_distance = SIZE_MAX;
  const std::string lower = to_lower(text);
  for (const std::string_view word : words) {
    const size_t distance = edit_distance(lower, to_lower(word));
    if (distance >= best_distance) continue;
    best = word;
    best_distance = distance;
  }
  // Half of the letters wrong is another word, not a slip.
  if (best_distance * 2 > std::max(best.size(), text.size())) return {};
  return best;
}

std::string one_of(std::span<const std::string_view> words) {
  return join(words, " or ");
}

std::string all_of(std::span<const std::string_view> words) {
  return join(words, " and ");
}

bool is_printable_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c <= 0x7E; });
}

bool has_control_character(std::string_view text) {
  return std::any_of(text.begin(), text.end(), is_control);
}

std::string to_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

}  // namespace itgtd::config
