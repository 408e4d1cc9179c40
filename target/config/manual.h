// The manual page of the configuration, from the table of keys.
#pragma once

#include <string>
#include <string_view>

namespace itgtd::config {

/// itgtd.toml(5) in roff, with `example` as its example.
[[nodiscard]] std::string manual_page(std::string_view example);

}  // namespace itgtd::config
