// Golden transcripts: tests/iscsi_login/transcripts. To write them anew after a change that is meant:
//   ITGTD_REWRITE=1 iscsi_login_test --gtest_filter='*Transcript*'
#include "tests/iscsi_login/transcript.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace itgtd::iscsi::testing {
namespace {

std::vector<std::string> all_transcripts() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(ITGTD_TRANSCRIPTS)) {
    if (entry.path().extension() == ".txt") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class Transcript : public ::testing::TestWithParam<std::string> {};

TEST_P(Transcript, IsAsWritten) {
  const std::string path = std::string(ITGTD_TRANSCRIPTS) + "/" + GetParam() + ".txt";
  std::stringstream golden;
  golden << std::ifstream(path).rdbuf();
  const std::string now = run_transcript(golden.str());
  if (std::getenv("ITGTD_REWRITE") != nullptr) {
    std::ofstream(path) << now;
  } else {
    EXPECT_EQ(now, golden.str());
  }
}

INSTANTIATE_TEST_SUITE_P(Login, Transcript, ::testing::ValuesIn(all_transcripts()),
                         [](const auto& name) { return name.param; });

TEST(Transcripts, AreThere) {
  EXPECT_GE(all_transcripts().size(), 30U);
}

}  // namespace
}  // namespace itgtd::iscsi::testing
