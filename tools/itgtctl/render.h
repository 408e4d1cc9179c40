// What the daemon answers, as text for a screen. Pure: JSON in, lines out. What is missing in the JSON
// (another version of the daemon) is left out.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "tools/itgtctl/layout.h"

namespace itgtd::ctl {

[[nodiscard]] std::string render_status(const nlohmann::ordered_json& status, const Style& style);
[[nodiscard]] std::string render_why(const nlohmann::ordered_json& why, const Style& style);
/// `steps`: with the steps of each change, and the notes where there are some.
[[nodiscard]] std::string render_history(const nlohmann::ordered_json& history, bool steps,
                                         const Style& style);

/// "3 d 2 h", "5 min 12 s", "0.8 s".
[[nodiscard]] std::string duration_text(int64_t ms);
/// Of local time: "2026-11-23 12:33:53".
[[nodiscard]] std::string time_text(int64_t unix_ms);

/// Members of a JSON object, or nothing where they are missing or of another type.
[[nodiscard]] std::string text_at(const nlohmann::ordered_json& object, const char* name);
[[nodiscard]] int64_t number_at(const nlohmann::ordered_json& object, const char* name);
[[nodiscard]] bool flag_at(const nlohmann::ordered_json& object, const char* name);
[[nodiscard]] const nlohmann::ordered_json& list_at(const nlohmann::ordered_json& object, const char* name);

}  // namespace itgtd::ctl
