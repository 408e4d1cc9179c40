// Each key, driven by the table: its example is taken, each wrong type is told with that example, and the
// words that the table promises are the ones that the file takes.
#include "target/config/keys.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "target/config/parse.h"

namespace itgtd::config {
namespace {

using testing::HasSubstr;

/// A file in which `line` stands below the header of its section.
std::string file_with(Section section, const std::string& line) {
  const SectionInfo& info = section_info(section);
  std::string text;
  if (info.parent != Section::root) text += std::string(section_info(info.parent).header) + "\n";
  return text + std::string(info.header) + "\n" + line + "\n";
}

/// The problems that name the key: others come of what a file of one key lacks.
std::vector<std::string> problems_of(const KeyInfo& key, const std::string& line) {
  Problems problems("f");
  static_cast<void>(parse(file_with(key.section, line), problems));
  std::vector<std::string> messages;
  for (const Problem& problem : problems.take()) {
    if (problem.message.find(fmt::format("has no '{}'", key.name)) != std::string::npos) continue;
    if (problem.message.find(fmt::format("'{}'", key.name)) == std::string::npos) continue;
    messages.push_back(problem.message);
  }
  return messages;
}

std::vector<std::string> problems_with(const KeyInfo& key, std::string_view value) {
  return problems_of(key, fmt::format("{} = {}", key.name, value));
}

struct NameOfKey {
  std::string operator()(const testing::TestParamInfo<KeyInfo>& info) const {
    return fmt::format("{}_{}", section_info(info.param.section).name, info.param.name);
  }
};

class EachKey : public testing::TestWithParam<KeyInfo> {};

TEST_P(EachKey, TakesItsExample) {
  EXPECT_THAT(problems_with(GetParam(), GetParam().example), testing::IsEmpty());
}

TEST_P(EachKey, TellsAWrongTypeWithAnExample) {
  const KeyInfo& key = GetParam();
  const std::vector<std::pair<ValueType, std::string_view>> values = {{ValueType::boolean, "true"},
                                                                      {ValueType::integer, "1"},
                                                                      {ValueType::text, "\"x\""},
                                                                      {ValueType::list, "[1]"}};
  for (const auto& [type, value] : values) {
    const bool takes_strings =
        key.type == ValueType::text || key.type == ValueType::choice || key.type == ValueType::size;
    if (type == key.type || (type == ValueType::text && takes_strings)) {
      if (type != ValueType::list) continue;
    }
    const auto problems = problems_with(key, value);
    ASSERT_EQ(problems.size(), 1u) << value;
    EXPECT_THAT(problems[0],
                HasSubstr(fmt::format("'{}' in {}", key.name, section_info(key.section).header)));
    EXPECT_THAT(problems[0], HasSubstr(fmt::format("{} = {}", key.name, key.example)));
  }
  for (const std::string_view value :
       {"1.5", "2017-01-01", "10:00:00", "2017-01-01T10:00:00Z", "{}", "inf"}) {
    EXPECT_EQ(problems_with(key, value).size(), 1u) << value;
  }
}

TEST_P(EachKey, IsNearestToASlipOfIt) {
  const KeyInfo& key = GetParam();
  if (key.name.size() < 3) return;  // "id": a slip of two letters may be anything
  std::string slip(key.name);
  std::swap(slip[1], slip[2]);
  if (slip == key.name) slip += slip.back();
  const auto problems = problems_of(key, slip + " = 1");
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_THAT(problems[0], HasSubstr(fmt::format("unknown key '{}'", slip)));
  EXPECT_THAT(problems[0], HasSubstr(fmt::format("did you mean '{}'?", key.name)));
}

TEST_P(EachKey, KeepsItsRange) {
  const KeyInfo& key = GetParam();
  if (key.type == ValueType::integer) {
    EXPECT_EQ(problems_with(key, "-1").size(), 1u);
    EXPECT_EQ(problems_with(key, "-9223372036854775808").size(), 1u);
    EXPECT_EQ(problems_with(key, "9223372036854775807").size(), 1u);
  } else if (key.type == ValueType::choice) {
    for (const std::string_view word : key.choices) {
      EXPECT_THAT(problems_with(key, fmt::format("\"{}\"", word)), testing::IsEmpty()) << word;
    }
    EXPECT_EQ(problems_with(key, "\"\"").size(), 1u);
  } else if (key.type == ValueType::list || key.type == ValueType::text || key.type == ValueType::size) {
    const std::string_view empty = key.type == ValueType::list ? "[]" : "\"\"";
    EXPECT_EQ(problems_with(key, empty).size(), 1u);
    const std::string long_text = fmt::format("{}", std::string(5000, 'x'));
    const std::string value =
        key.type == ValueType::list ? "[\"" + long_text + "\"]" : "\"" + long_text + "\"";
    const auto problems = problems_with(key, value);
    ASSERT_EQ(problems.size(), 1u);
    EXPECT_LT(problems[0].size(), 1000u) << "a message fits a screen";
  }
}

TEST_P(EachKey, IsDocumented) {
  const KeyInfo& key = GetParam();
  EXPECT_TRUE(key.description.ends_with('.'));
  EXPECT_FALSE(key.example.empty());
  EXPECT_EQ(key.required, key.default_value.empty());
  EXPECT_EQ(find_key(key.section, key.name)->description, key.description)
      << "no key stands in the table twice";
}

INSTANTIATE_TEST_SUITE_P(Table, EachKey, testing::ValuesIn(all_keys().begin(), all_keys().end()),
                         NameOfKey());

}  // namespace
}  // namespace itgtd::config
