// What is unsafe about a setting outside of our own configuration.
#pragma once

#include <string>

namespace itgtd::ha {

struct Finding {
  enum class Severity { refuse, warn };
  Severity severity = Severity::refuse;  ///< refuse: the daemon does not start
  std::string text;                      ///< a sentence, with the setting to change
  bool operator==(const Finding&) const = default;
};

}  // namespace itgtd::ha
