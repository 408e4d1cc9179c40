// The table of sections and keys: what parsing, messages, the manual page and the tests all work from.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "target/config/config.h"

namespace itgtd::config {

enum class Section : uint8_t { root, daemon, target, chap, lun, cluster, group };

struct SectionInfo {
  Section section = Section::root;
  std::string_view name;  ///< the last word between the brackets
  Section parent = Section::root;
  std::string_view header;  ///< as it is written: "[daemon]", "[[target.lun]]"
  bool repeated = false;    ///< an array of tables, in double brackets
  std::string_view description;
};

enum class ValueType : uint8_t { boolean, integer, text, choice, size, list };

/// A value from the file, already of the key's type and within its range.
struct Value {
  bool boolean = false;
  uint64_t integer = 0;   ///< integer and size; for a choice the index of the word
  std::string_view text;  ///< text, choice, size as written, and one item of a list
};

/// Where values go. A section's pointer is set exactly while the section is being read.
struct Cursor {
  Config& config;
  TargetConfig* target = nullptr;
  LunConfig* lun = nullptr;
  GroupConfig* group = nullptr;
};

/// Stores a value; for a list it is called for every item. The answer is empty, or a complaint that ends the
/// sentence "'key' in [section]: ...".
using Setter = std::string(Cursor& at, const Value& value);

struct KeyInfo {
  Section section = Section::root;
  std::string_view name;
  ValueType type = ValueType::text;
  std::string_view example;        ///< a good value, as TOML
  std::string_view default_value;  ///< for the manual; empty: the key is required
  std::string_view description;    ///< one sentence for the manual
  Setter* set = nullptr;
  std::span<const std::string_view> choices{};  ///< of a choice; the order is that of the enum behind it
  uint64_t min = 0;                             ///< of integers and sizes
  uint64_t max = std::numeric_limits<int64_t>::max();
  bool required = false;
  /// The value may be something that must not be repeated in a message: a secret in the wrong place.
  bool sensitive = false;
};

[[nodiscard]] std::span<const SectionInfo> all_sections();
[[nodiscard]] const SectionInfo& section_info(Section section);
/// Null when there is none of that name under `parent`.
[[nodiscard]] const SectionInfo* find_section(Section parent, std::string_view name);

[[nodiscard]] std::span<const KeyInfo> all_keys();
[[nodiscard]] const KeyInfo* find_key(Section section, std::string_view name);

/// "an integer from 0 to 1024", "a string", "one of ...": what a good value is.
[[nodiscard]] std::string wanted(const KeyInfo& key);

}  // namespace itgtd::config
