#include "tools/itgtctl/layout.h"

#include <algorithm>

namespace itgtd::ctl {
namespace {

const char* code_of(Colour colour) {
  switch (colour) {
    case Colour::none:
      return "";
    case Colour::good:
      return "\033[32m";
    case Colour::bad:
      return "\033[1;31m";
    case Colour::warn:
      return "\033[33m";
    case Colour::dim:
      return "\033[2m";
    case Colour::bold:
      return "\033[1m";
  }
  return "";
}

}  // namespace

std::string Style::paint(std::string_view text, Colour wanted) const {
  if (!colour || wanted == Colour::none || text.empty()) return std::string(text);
  return code_of(wanted) + std::string(text) + "\033[0m";
}

size_t width_of(std::string_view text) {
  size_t width = 0;
  bool in_escape = false;
  for (const char c : text) {
    if (c == '\033') {
      in_escape = true;
    } else if (in_escape) {
      in_escape = c != 'm';
    } else if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) {
      ++width;
    }
  }
  return width;
}

std::string padded(std::string_view text, size_t width) {
  const size_t has = width_of(text);
  return std::string(text) + std::string(has < width ? width - has : 0, ' ');
}

std::string wrapped(std::string_view text, size_t at, size_t indent) {
  std::string out;
  bool line_has_words = false;
  while (!text.empty()) {
    // Runs of spaces are layout: they stay, within a line.
    const size_t begin = std::min(text.find_first_not_of(' '), text.size());
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string_view gap = text.substr(0, begin);
    const std::string_view word = text.substr(begin, end - begin);
    text.remove_prefix(end);
    if (line_has_words && at + gap.size() + width_of(word) > kColumns) {
      out += '\n' + std::string(indent, ' ');
      at = indent;
    } else {
      out += gap;
      at += gap.size();
    }
    out += word;
    at += width_of(word);
    line_has_words = true;
  }
  return out;
}

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) c = '?';
  }
  return out;
}

std::string Table::to_string(const Style& style) const {
  std::vector<size_t> widths(rows_.front().size());
  for (const auto& row : rows_) {
    for (size_t at = 0; at < row.size(); ++at) widths[at] = std::max(widths[at], width_of(row[at]));
  }
  std::string out;
  size_t next_below = 0;
  for (size_t number = 0; number < rows_.size(); ++number) {
    std::string line;
    for (size_t at = 0; at < rows_[number].size(); ++at) {
      line += at + 1 < rows_[number].size() ? padded(rows_[number][at], widths[at] + 2) : rows_[number][at];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += (number == 0 ? style.paint(line, Colour::bold) : line) + '\n';
    for (; next_below < below_.size() && below_[next_below].row == number; ++next_below) {
      out += below_[next_below].lines;
    }
  }
  return out;
}

}  // namespace itgtd::ctl
