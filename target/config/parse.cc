#include "target/config/parse.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/parse.h"
#include "target/config/keys.h"
#include "target/config/text.h"

namespace itgtd::config {

/// The TOML library met something that it took for impossible.
struct TomlGaveUp {};
[[noreturn]] inline void give_up() {
  throw TomlGaveUp();
}

}  // namespace itgtd::config

// The only place that knows the TOML library. It asserts on some malformed texts ("[=" in 3.3.0), and a text
// is an operator's, so that its assertions throw; an assertion and an error are both caught in parse_toml.
#undef TOML_ASSERT
#define TOML_ASSERT(expression) (static_cast<bool>(expression) ? void() : ::itgtd::config::give_up())
#ifdef NDEBUG
#error the TOML library drops its checks with NDEBUG
#endif
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

namespace itgtd::config {
namespace {

/// What the library says, with the usual cause behind it where there is one. None of it repeats more of the
/// text than a character or a key: a value may be a secret.
std::string explained(std::string_view description) {
  struct Cause {
    std::string_view part;
    std::string_view cause;
  };
  constexpr Cause kCauses[] = {
      {"could not determine value type", "; a string stands between quotes, as in: path = \"/dev/drbd0\""},
      {"parsing string: unescaped control characters", "; a quote may be missing in the line before"},
      {"expected value, saw", "; a value stands behind '=', in the same line"},
      {"cannot redefine existing table", "; write what belongs to it below its first header"},
  };
  for (const Cause& cause : kCauses) {
    if (description.find(cause.part) != std::string_view::npos)
      return fmt::format("{}{}", description, cause.cause);
  }
  return std::string(description);
}

uint32_t line_of(const toml::source_region& region) {
  return region.begin.line;
}

std::string_view type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a number with a point";
    case toml::node_type::boolean:
      return "a boolean";
    case toml::node_type::date:
      return "a date";
    case toml::node_type::time:
      return "a time";
    case toml::node_type::date_time:
      return "a date with a time";
    case toml::node_type::none:
      break;
  }
  return "nothing";
}

class Reader {
 public:
  Reader(Config& config, Problems& problems) : at_{config}, problems_(problems) {}

  void read_section(const toml::table& table, Section section, Place& place);

 private:
  /// A place in the file's tree, for messages.
  std::string in(const KeyInfo& key) const {
    return fmt::format("'{}' in {}", key.name, section_info(key.section).header);
  }

  void read_subsection(const toml::node& node, const SectionInfo& info, uint32_t line);
  void read_one(const toml::table& table, const SectionInfo& info, uint32_t line);
  void read_key(const toml::node& node, const KeyInfo& key, Place& place, uint32_t line);
  void read_list(const toml::node& node, const KeyInfo& key, Place& place, uint32_t line);
  /// False: the node is not what the key wants, and a problem says so.
  bool convert(const toml::node& node, const KeyInfo& key, uint32_t line, Value& value);
  bool convert_integer(int64_t number, const KeyInfo& key, uint32_t line, Value& value);
  bool convert_choice(std::string_view word, const KeyInfo& key, uint32_t line, Value& value);
  bool convert_size(std::string_view text, const KeyInfo& key, uint32_t line, Value& value);
  void set(const KeyInfo& key, const Value& value, Place& place, uint32_t line);
  void on_unknown(std::string_view name, const toml::node& node, Section section, uint32_t line);
  void on_wrong_type(const toml::node& node, const KeyInfo& key, uint32_t line);

  Cursor at_;
  Problems& problems_;
};

void Reader::read_section(const toml::table& table, Section section, Place& place) {
  for (const auto& [name, node] : table) {
    const uint32_t line = line_of(name.source());
    if (const KeyInfo* key = find_key(section, name.str())) {
      read_key(node, *key, place, line);
    } else if (const SectionInfo* info = find_section(section, name.str())) {
      read_subsection(node, *info, line);
    } else {
      on_unknown(name.str(), node, section, line);
    }
  }
  for (const KeyInfo& key : all_keys()) {
    if (key.section != section || !key.required || place.has(key.name)) continue;
    problems_.add(place.line, fmt::format("{} has no '{}'; add a line as: {} = {}",
                                          section_info(section).header, key.name, key.name, key.example));
  }
}

void Reader::read_subsection(const toml::node& node, const SectionInfo& info, uint32_t line) {
  if (const toml::table* table = node.as_table()) {
    if (!info.repeated) return read_one(*table, info, line);
    problems_.add(
        line, fmt::format("there can be several of {}: write its header in double brackets, and the header "
                          "of what it belongs to before it",
                          info.header));
    return;
  }
  const toml::array* array = node.as_array();
  const bool tables = array != nullptr && array->is_homogeneous(toml::node_type::table) && !array->empty();
  if (!tables) {
    problems_.add(line, fmt::format("'{}' is {}; it is a section that begins with a line {}", info.name,
                                    type_name(node), info.header));
    return;
  }
  if (!info.repeated) {
    problems_.add(
        line, fmt::format("there is only one {}: write its header in single brackets, once", info.header));
    return;
  }
  for (const toml::node& element : *array) {
    if (const toml::table* table = element.as_table()) read_one(*table, info, line_of(element.source()));
  }
}

void Reader::read_one(const toml::table& table, const SectionInfo& info, uint32_t line) {
  const auto begin = [&](auto& section) -> Place& {
    section.place.line = line;
    return section.place;
  };
  switch (info.section) {
    case Section::daemon:
      return read_section(table, info.section, begin(at_.config.daemon));
    case Section::cluster:
      return read_section(table, info.section, begin(at_.config.cluster.emplace()));
    case Section::target:
      at_.target = &at_.config.targets.emplace_back();
      return read_section(table, info.section, begin(*at_.target));
    case Section::chap:
      return read_section(table, info.section, begin(at_.target->chap.emplace()));
    case Section::lun:
      at_.lun = &at_.target->luns.emplace_back();
      return read_section(table, info.section, begin(*at_.lun));
    case Section::group:
      at_.group = &at_.config.groups.emplace_back();
      return read_section(table, info.section, begin(*at_.group));
    case Section::root:
      return;
  }
}

void Reader::read_key(const toml::node& node, const KeyInfo& key, Place& place, uint32_t line) {
  place.keys[std::string(key.name)];
  if (key.type == ValueType::list) return read_list(node, key, place, line);
  Value value;
  if (convert(node, key, line, value)) set(key, value, place, line);
}

void Reader::read_list(const toml::node& node, const KeyInfo& key, Place& place, uint32_t line) {
  const toml::array* array = node.as_array();
  if (array == nullptr) return on_wrong_type(node, key, line);
  if (array->empty()) {
    problems_.add(line, fmt::format("{} is an empty list; {}", in(key),
                                    key.required ? fmt::format("write one as: {} = {}", key.name, key.example)
                                                 : fmt::format("leave the key out for the default: {}",
                                                               key.default_value)));
    return;
  }
  for (const toml::node& item : *array) {
    const uint32_t item_line = line_of(item.source());
    const auto* text = item.as_string();
    if (text == nullptr) {
      problems_.add(item_line, fmt::format("{} has {} as an item; it is a list of strings, as in: {} = {}",
                                           in(key), type_name(item), key.name, key.example));
      continue;
    }
    Value value;
    value.text = text->get();
    set(key, value, place, item_line);
  }
}

void Reader::set(const KeyInfo& key, const Value& value, Place& place, uint32_t line) {
  const std::string complaint = key.set(at_, value);
  if (complaint.empty()) {
    place.keys[std::string(key.name)].push_back(line);
  } else if (key.sensitive) {
    // What stands here may be the secret itself.
    problems_.add(
        line,
        fmt::format("{} is not an absolute path; it names the file that holds the secret, as in: {} = {}",
                    in(key), key.name, key.example));
  } else {
    // A complaint is a predicate or a sentence of its own.
    const bool predicate = complaint.starts_with("is ") || complaint.starts_with("has ");
    problems_.add(line, fmt::format("{}{} {}", in(key), predicate ? "" : ":", complaint));
  }
}

bool Reader::convert(const toml::node& node, const KeyInfo& key, uint32_t line, Value& value) {
  if (key.type == ValueType::boolean) {
    if (const auto* boolean = node.as_boolean()) {
      value.boolean = boolean->get();
      return true;
    }
  } else if (key.type == ValueType::integer) {
    if (const auto* integer = node.as_integer()) return convert_integer(integer->get(), key, line, value);
  } else if (const auto* text = node.as_string()) {
    value.text = text->get();
    if (key.type == ValueType::choice) return convert_choice(value.text, key, line, value);
    if (key.type == ValueType::size) return convert_size(value.text, key, line, value);
    return true;
  }
  on_wrong_type(node, key, line);
  return false;
}

bool Reader::convert_integer(int64_t number, const KeyInfo& key, uint32_t line, Value& value) {
  if (number >= 0) {
    value.integer = static_cast<uint64_t>(number);
    if (value.integer >= key.min && value.integer <= key.max) return true;
  }
  problems_.add(line, fmt::format("{} is {}; it is {}, as in: {} = {}", in(key), number,
                                  number < 0 && wanted(key) == "an integer" ? "not negative" : wanted(key),
                                  key.name, key.example));
  return false;
}

bool Reader::convert_choice(std::string_view word, const KeyInfo& key, uint32_t line, Value& value) {
  for (size_t i = 0; i < key.choices.size(); i++) {
    if (key.choices[i] != word) continue;
    value.integer = i;
    return true;
  }
  const std::string_view near = nearest(word, key.choices);
  problems_.add(line, fmt::format("{} is {}; it is {}{}", in(key), in_quotes(word), wanted(key),
                                  near.empty() ? "" : fmt::format(": did you mean '{}'?", near)));
  return false;
}

bool Reader::convert_size(std::string_view text, const KeyInfo& key, uint32_t line, Value& value) {
  const auto size = parse_size(text);
  if (size && *size >= key.min && *size <= key.max) {
    value.integer = *size;
    return true;
  }
  problems_.add(
      line,
      fmt::format("{} is {}; it is a number of bytes, or one with k, M, G or T behind it, as in: {} = {}",
                  in(key), in_quotes(text), key.name, key.example));
  return false;
}

void Reader::on_wrong_type(const toml::node& node, const KeyInfo& key, uint32_t line) {
  problems_.add(line, fmt::format("{} is {}; it must be {}, as in: {} = {}", in(key), type_name(node),
                                  wanted(key), key.name, key.example));
}

void Reader::on_unknown(std::string_view name, const toml::node& node, Section section, uint32_t line) {
  const SectionInfo& here = section_info(section);
  const bool is_section = node.is_table() || node.is_array_of_tables();
  std::vector<std::string_view> words;
  if (is_section) {
    for (const SectionInfo& info : all_sections()) {
      if (info.parent == section) words.push_back(info.name);
    }
  } else {
    for (const KeyInfo& key : all_keys()) {
      if (key.section == section) words.push_back(key.name);
    }
  }
  const std::string what =
      fmt::format("unknown {} {} in {}", is_section ? "section" : "key", in_quotes(name), here.header);
  if (const std::string_view near = nearest(name, words); !near.empty()) {
    problems_.add(line, fmt::format("{}: did you mean '{}'?", what, near));
    return;
  }
  // The right word in the wrong place: most often a key below the header of another section.
  std::vector<std::string_view> elsewhere;
  for (const SectionInfo& info : all_sections()) {
    if (is_section ? info.name == name : find_key(info.section, name) != nullptr)
      elsewhere.push_back(info.header);
  }
  if (!elsewhere.empty()) {
    problems_.add(line, is_section ? fmt::format("{}: its header is {}", what, one_of(elsewhere))
                                   : fmt::format("{}: it belongs under {}", what, one_of(elsewhere)));
    return;
  }
  if (section == Section::root && !is_section) {
    problems_.add(
        line, fmt::format("{}: keys stand below the header of a section, as [daemon] or [[target]]", what));
    return;
  }
  if (words.empty()) {
    problems_.add(line, fmt::format("{}, which has no sections in it", what));
    return;
  }
  problems_.add(line, fmt::format("{}; known are {}", what, all_of(words)));
}

bool gives_up_on(std::string_view text) {
  try {
    static_cast<void>(toml::parse(text));
  } catch (const TomlGaveUp&) {
    return true;
  } catch (const toml::parse_error&) {
    return false;
  }
  return false;
}

/// The line in which the library gives up: it reads from left to right, so the first lines up to some number
/// do not trouble it, and more of them do.
uint32_t line_of_trouble(std::string_view text) {
  std::vector<size_t> ends;
  for (size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1))
    ends.push_back(at + 1);
  const auto trouble = std::partition_point(ends.begin(), ends.end(),
                                            [&](size_t end) { return !gives_up_on(text.substr(0, end)); });
  return static_cast<uint32_t>(trouble - ends.begin()) + 1;
}

/// Of what is wrong with the syntax, the first thing only is told: nobody can know how the text goes on.
std::optional<toml::table> parse_toml(std::string_view text, Problems& problems) {
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    problems.add(line_of(error.source()), fmt::format("not TOML: {}", explained(error.description())));
  } catch (const TomlGaveUp&) {
    problems.add(line_of_trouble(text), "not TOML: this line can't be understood");
  }
  return std::nullopt;
}

}  // namespace

Config parse(std::string_view text, Problems& problems) {
  Config config;
  const std::optional<toml::table> table = parse_toml(text, problems);
  if (!table) return config;
  Place root{.line = 1, .keys = {}};
  Reader(config, problems).read_section(*table, Section::root, root);
  return config;
}

}  // namespace itgtd::config
