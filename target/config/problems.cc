#include "target/config/problems.h"

#include <algorithm>

#include "target/config/text.h"

namespace itgtd::config {

void Problems::add(uint32_t line, std::string_view message) {
  list_.push_back({file_, line, escaped(message)});
}

std::vector<Problem> Problems::take() {
  std::stable_sort(list_.begin(), list_.end(),
                   [](const Problem& a, const Problem& b) { return a.line < b.line; });
  return std::move(list_);
}

}  // namespace itgtd::config
