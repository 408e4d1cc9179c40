// docs/itgtctl.8 has what the command line has.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

namespace itgtd::ctl {
namespace {

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TEST(Manual, HasEveryCommandAndOption) {
  const std::string page = read(std::string(ITGTD_DOCS) + "/itgtctl.8");
  const std::string source = read(std::string(ITGTD_DOCS) + "/../tools/itgtctl/main.cc");
  ASSERT_FALSE(page.empty());
  size_t commands = 0;
  for (size_t at = source.find("add(\""); at != std::string::npos; at = source.find("add(\"", at + 1)) {
    const std::string name = source.substr(at + 5, source.find('"', at + 5) - at - 5);
    EXPECT_THAT(page, testing::HasSubstr("\\fB" + name + "\\fR")) << name;
    ++commands;
  }
  EXPECT_EQ(commands, 7u);
  for (const std::string option :
       {"socket", "json", "no\\-wait", "timeout", "count", "verbose", "version", "help"}) {
    EXPECT_THAT(page, testing::HasSubstr("\\-\\-" + option)) << option;
  }
}

}  // namespace
}  // namespace itgtd::ctl
