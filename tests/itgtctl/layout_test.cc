#include "tools/itgtctl/layout.h"

#include <gtest/gtest.h>

namespace itgtd::ctl {
namespace {

TEST(Layout, WidthIsInCharacters) {
  EXPECT_EQ(width_of("abc"), 3u);
  EXPECT_EQ(width_of("\xC3\xA4"), 1u);
  EXPECT_EQ(width_of("\033[1;31mab\033[0m"), 2u);
  EXPECT_EQ(padded("\033[32ma\033[0m", 3), "\033[32ma\033[0m  ");
  EXPECT_EQ(padded("abc", 2), "abc");
}

TEST(Layout, LinesAreBrokenBetweenWords) {
  const std::string word(30, 'a');
  EXPECT_EQ(wrapped(word + " " + word + " " + word, 0, 2), word + " " + word + "\n  " + word);
  EXPECT_EQ(wrapped(word + " " + word, 20, 4), word + "\n    " + word) << "81 columns are too many";
  EXPECT_EQ(wrapped(word + " " + word, 19, 4), word + " " + word) << "80 are not";
  EXPECT_EQ(wrapped("a   b", 0, 0), "a   b");
  EXPECT_EQ(wrapped("", 0, 0), "");
  const std::string endless(200, 'x');
  EXPECT_EQ(wrapped(endless, 10, 4), endless);
}

TEST(Layout, ControlCharactersDoNotReachATerminal) {
  EXPECT_EQ(printable("a\033[2Jb\n\x7F"), "a?[2Jb??");
}

TEST(Layout, ATableIsAsWideAsItNeedsToBe) {
  Table table({"A", "LONG", ""});
  table.add({"first", "1", ""});
  table.add_below("    below\n");
  table.add({"b", "2", "x"});
  EXPECT_EQ(table.to_string({}), "A      LONG\nfirst  1\n    below\nb      2     x\n");
}

TEST(Layout, ColoursAreAsked) {
  EXPECT_EQ(Style{false}.paint("a", Colour::bad), "a");
  EXPECT_EQ(Style{true}.paint("a", Colour::bad), "\033[1;31ma\033[0m");
  EXPECT_EQ(Style{true}.paint("", Colour::bad), "");
}

}  // namespace
}  // namespace itgtd::ctl
