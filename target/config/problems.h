// Collects the errors of one file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "target/config/config.h"

namespace itgtd::config {

class Problems {
 public:
  explicit Problems(std::string file) : file_(std::move(file)) {}
  /// Control characters in `message` are escaped, so that nothing in a file can forge a line.
  void add(uint32_t line, std::string_view message);
  [[nodiscard]] bool empty() const { return list_.empty(); }
  /// All of them, in the order of their lines.
  [[nodiscard]] std::vector<Problem> take();

 private:
  std::string file_;
  std::vector<Problem> list_;
};

}  // namespace itgtd::config
