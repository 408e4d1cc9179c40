// Text on a screen of 80 columns: colours, columns, wrapped lines. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace itgtd::ctl {

constexpr size_t kColumns = 80;

enum class Colour { none, good, bad, warn, dim, bold };

struct Style {
  bool colour = false;
  /// `text` in a colour, or as it is.
  [[nodiscard]] std::string paint(std::string_view text, Colour colour) const;
};

/// How many columns `text` takes: UTF-8 characters, without colours.
[[nodiscard]] size_t width_of(std::string_view text);
/// `text` with spaces behind it up to `width`.
[[nodiscard]] std::string padded(std::string_view text, size_t width);
/// `text` broken between words so that each line ends before kColumns; each after the first is indented by
/// `indent`. The first one begins at column `at`. A word that is too long stands alone. No newline at the
/// end.
[[nodiscard]] std::string wrapped(std::string_view text, size_t at, size_t indent);
/// From the daemon to a terminal: control characters are shown as '?'.
[[nodiscard]] std::string printable(std::string_view text);

/// A table with a header; columns are as wide as they need to be, two spaces apart.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  /// Lines that follow the last row, as they are.
  void add_below(std::string lines) { below_.push_back({rows_.size() - 1, std::move(lines)}); }
  [[nodiscard]] std::string to_string(const Style& style) const;

 private:
  struct Below {
    size_t row;
    std::string lines;
  };
  std::vector<std::vector<std::string>> rows_;
  std::vector<Below> below_;
};

}  // namespace itgtd::ctl
