// What is committed in docs/ is what the code says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "target/config/keys.h"
#include "target/config/load.h"
#include "target/config/manual.h"
#include "target/config/validate.h"
#include "tests/config/fixture.h"

namespace itgtd::config {
namespace {

const std::string kDocs = std::string(ITGTD_CONFIG_TESTS) + "/../../docs/";

TEST(Docs, TheManualIsThatOfTheTable) {
  EXPECT_EQ(read_text(kDocs + "itgtd.toml.5"), manual_page(read_text(kDocs + "example.toml")))
      << "run: itgt-config-doc docs/example.toml > docs/itgtd.toml.5";
}

TEST(Docs, TheManualHasEveryKeyAndSection) {
  const std::string page = manual_page("");
  for (const KeyInfo& key : all_keys())
    EXPECT_THAT(page, testing::HasSubstr("\\fB" + std::string(key.name) + "\\fR "));
  for (const SectionInfo& section : all_sections()) {
    EXPECT_THAT(page, testing::HasSubstr("\"SECTION " + std::string(section.header) + "\""));
  }
}

TEST(Docs, TheExampleCanBeServed) {
  const Loaded loaded = load_file(kDocs + "example.toml");
  EXPECT_EQ(to_text(loaded.problems), "");
  EXPECT_EQ(refuse_at_start(loaded.config), std::nullopt);
}

TEST(Docs, TheExampleIsRightWithItsCommentsTakenAway) {
  const TemporaryDirectory directory;
  directory.write("vms.secret", "Correct-Horse-1");
  std::string text = read_text(kDocs + "example.toml");
  for (const std::string line : {"[target.chap]", "user =", "secret_file ="}) {
    ASSERT_NE(text.find("# " + line), std::string::npos);
    text = replace_all(text, "# " + line, line);
  }
  text = replace_all(text, "/etc/itgtd", directory.path());
  const Loaded loaded = load_text(text, "example.toml");
  EXPECT_EQ(to_text(loaded.problems), "");
  ASSERT_EQ(loaded.config.targets.size(), 2u);
  EXPECT_TRUE(loaded.config.targets[1].chap.has_value());
}

}  // namespace
}  // namespace itgtd::config
