// What an administrator sees: golden/NAME.txt has `itgtctl status` and `itgtctl why` of each situation, from
// the cluster's state to the screen. `ha_operation_golden_test --rewrite` writes them anew, for a person to
// read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>

#include "ha/status.h"
#include "tests/ha/operation/situations.h"
#include "tools/itgtctl/render.h"

namespace itgtd::ha {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string text_of(const Situation& situation, const ctl::Style& style) {
  const StatusSource source{"0.1.0", situation.trouble, "2 targets, 3 units, 5 sessions", situation.shown};
  std::string text = ctl::render_status(Json::parse(status_json(situation.status, source)), style);
  if (situation.candidates.empty()) return text;
  return text + "\n" +
         ctl::render_why(Json::parse(why_json(situation.status, "drbd0", situation.candidates)), style);
}

class Golden : public testing::Test {
 public:
  Golden(Situation situation, bool rewrite) : situation_(std::move(situation)), rewrite_(rewrite) {}

  void TestBody() override {
    const std::string got = text_of(situation_, {});
    const fs::path file = fs::path(ITGTD_GOLDEN) / (situation_.name + ".txt");
    if (rewrite_) {
      std::ofstream(file, std::ios::binary) << got;
      return;
    }
    std::ifstream expected(file, std::ios::binary);
    ASSERT_TRUE(expected.good()) << "run with --rewrite once: " << file;
    EXPECT_EQ(got, std::string(std::istreambuf_iterator<char>(expected), {}));
    std::istringstream lines(got);
    // A device's name may be longer than a screen; nothing else is.
    for (std::string line; std::getline(lines, line);) {
      EXPECT_LE(ctl::width_of(line), situation_.name == "shared_and_wide" ? 100u : ctl::kColumns) << line;
      EXPECT_TRUE(line.empty() || line.back() != ' ') << line;
    }
    // Colours change nothing but colours.
    std::string coloured = text_of(situation_, {true});
    EXPECT_NE(coloured, got);
    for (size_t at = 0; (at = coloured.find('\033')) != std::string::npos;) {
      coloured.erase(at, coloured.find('m', at) - at + 1);
    }
    EXPECT_EQ(coloured, got);
  }

 private:
  Situation situation_;
  bool rewrite_;
};

}  // namespace
}  // namespace itgtd::ha

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  const bool rewrite =
      std::any_of(argv + 1, argv + argc, [](std::string_view word) { return word == "--rewrite"; });
  for (const itgtd::ha::Situation& situation : itgtd::ha::all_situations()) {
    testing::RegisterTest(
        "OperationGolden", situation.name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
        [situation, rewrite]() -> testing::Test* { return new itgtd::ha::Golden(situation, rewrite); });
  }
  return RUN_ALL_TESTS();
}
