#include "target/config/config.h"

#include <fmt/core.h>

namespace itgtd::config {

uint32_t Place::line_of(std::string_view key, size_t item) const {
  const auto found = keys.find(key);
  if (found == keys.end() || found->second.empty()) return line;
  return item < found->second.size() ? found->second[item] : found->second.back();
}

std::string Problem::to_string() const {
  return fmt::format("{}:{}: {}", file, line, message);
}

}  // namespace itgtd::config
