// The result of a run, for a person (at most 100 columns) and for a program.
#pragma once

#include <string>

#include "bench/load.h"
#include "bench/options.h"

namespace itgtd::bench {

[[nodiscard]] std::string report_text(const LoadOptions& options, const LoadResult& result);
/// One JSON object and a newline.
[[nodiscard]] std::string report_json(const LoadOptions& options, const LoadResult& result);

/// "4 KiB", "1.5 GiB", "512 bytes".
[[nodiscard]] std::string size_text(uint64_t bytes);
/// "1,234,567".
[[nodiscard]] std::string grouped(uint64_t number);
/// A JSON string with its quotes. What is not printable ASCII is escaped.
[[nodiscard]] std::string json_string(std::string_view text);

}  // namespace itgtd::bench
