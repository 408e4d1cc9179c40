// Every golden/NAME.toml gives exactly the problems of golden/NAME.expected. `config_golden_test --rewrite`
// writes the latter anew, for a person to read what changed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/config/fixture.h"

namespace itgtd::config {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kHere = "@DIR@";
bool rewrite_wanted(int argc, char** argv) {
  return std::any_of(argv + 1, argv + argc, [](std::string_view word) { return word == "--rewrite"; });
}

class Golden : public testing::Test {
 public:
  Golden(fs::path input, bool rewrite) : input_(std::move(input)), rewrite_(rewrite) {}

  void TestBody() override {
    const TemporaryDirectory directory;
    write_secrets(directory);
    const std::string text = replace_all(read_text(input_), kHere, directory.path());
    const Loaded loaded = load_text(text, input_.filename().string());
    const std::string got = replace_all(to_text(loaded.problems), directory.path(), kHere);
    fs::path expected = input_;
    expected.replace_extension(".expected");
    if (rewrite_) {
      std::ofstream(expected, std::ios::binary) << got;
      return;
    }
    ASSERT_TRUE(fs::exists(expected)) << "run with --rewrite once: " << expected;
    EXPECT_EQ(got, read_text(expected));
    // Whatever went wrong, no secret is told.
    EXPECT_THAT(got, testing::Not(testing::HasSubstr("hunter2")));
    EXPECT_THAT(got, testing::Not(testing::HasSubstr(std::string(kSecret))));
    EXPECT_THAT(got, testing::Not(testing::HasSubstr(std::string(kOtherSecret))));
    // One line each.
    EXPECT_EQ(static_cast<size_t>(std::count(got.begin(), got.end(), '\n')), loaded.problems.size());
  }

 private:
  fs::path input_;
  bool rewrite_;
};

}  // namespace
}  // namespace itgtd::config

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  const bool rewrite = itgtd::config::rewrite_wanted(argc, argv);
  for (const auto& entry : std::filesystem::directory_iterator(ITGTD_CONFIG_TESTS "/golden")) {
    if (entry.path().extension() != ".toml") continue;
    testing::RegisterTest("Golden", entry.path().stem().c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          [path = entry.path(), rewrite]() -> testing::Test* {
                            return new itgtd::config::Golden(path, rewrite);
                          });
  }
  return RUN_ALL_TESTS();
}
