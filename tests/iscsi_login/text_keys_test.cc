#include "target/iscsi/text_keys.h"

#include <gtest/gtest.h>

#include "target/iscsi/iscsi_name.h"

namespace itgtd::iscsi::testing {
namespace {

using namespace std::string_literals;

TEST(SplitPairs, TakesPairsApart) {
  const std::string text = "A=1\0B=\0C=x=y\0"s;
  const TextPairs result = split_pairs(text);
  ASSERT_EQ(result.error, TextError::none);
  ASSERT_EQ(result.pairs.size(), 3U);
  EXPECT_EQ(result.pairs[0].key, "A");
  EXPECT_EQ(result.pairs[0].value, "1");
  EXPECT_EQ(result.pairs[1].value, "");
  EXPECT_EQ(result.pairs[2].key, "C");
  EXPECT_EQ(result.pairs[2].value, "x=y");
}

TEST(SplitPairs, EmptyAndPadded) {
  EXPECT_TRUE(split_pairs("").pairs.empty());
  EXPECT_EQ(split_pairs("").error, TextError::none);
  const std::string text = "\0\0A=1\0\0\0B=2\0\0"s;
  EXPECT_EQ(split_pairs(text).pairs.size(), 2U);
  EXPECT_EQ(split_pairs(text).error, TextError::none);
}

TEST(SplitPairs, Errors) {
  EXPECT_EQ(split_pairs("A=1").error, TextError::missing_terminator);
  EXPECT_EQ(split_pairs("A").error, TextError::missing_terminator);
  EXPECT_EQ(split_pairs("A\0"s).error, TextError::missing_equals);
  EXPECT_EQ(split_pairs("=1\0"s).error, TextError::empty_key);
  EXPECT_EQ(split_pairs("=\0"s).error, TextError::empty_key);
  EXPECT_EQ(split_pairs("A B=1\0"s).error, TextError::bad_key_character);
  EXPECT_EQ(split_pairs("A\x80=1\0"s).error, TextError::bad_key_character);
  EXPECT_EQ(split_pairs("A\n=1\0"s).error, TextError::bad_key_character);
  for (const TextError error :
       {TextError::missing_terminator, TextError::missing_equals, TextError::empty_key,
        TextError::key_too_long, TextError::bad_key_character}) {
    EXPECT_FALSE(describe(error).empty());
    EXPECT_NE(describe(error), describe(TextError::none));
  }
}

TEST(SplitPairs, KeyLength) {
  for (const size_t length : {1UL, 62UL, 63UL, 64UL, 65UL, 255UL, 8000UL}) {
    const TextPairs result = split_pairs(std::string(length, 'k') + "=1\0"s);
    EXPECT_EQ(result.error, length <= 63 ? TextError::none : TextError::key_too_long) << length;
  }
}

TEST(AppendPair, IsTheInverse) {
  std::string text;
  append_pair(text, "A", "1");
  append_pair(text, "B", "");
  EXPECT_EQ(text, "A=1\0B=\0"s);
}

TEST(TakeListItem, TakesItemsOff) {
  std::string_view list = "a,,b,";
  EXPECT_EQ(take_list_item(list), "a");
  EXPECT_EQ(take_list_item(list), "");
  EXPECT_EQ(take_list_item(list), "b");
  EXPECT_EQ(take_list_item(list), "");
  EXPECT_EQ(take_list_item(list), std::nullopt);
}

TEST(IscsiName, Accepted) {
  for (const std::string_view name :
       {"iqn.2017-01.com.linbit:drbd0", "iqn.1993-08.org.debian:01:abc", "iqn.2001-04.com.example",
        "IQN.2001-04.COM.EXAMPLE:x", "eui.02004567A425678D", "naa.52004567BA64678D",
        "naa.62004567BA64678D0123456789ABCDEF", "iqn.1991-05.com.microsoft:my_host",
        "iqn.2001-04.com.example:\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"}) {
    EXPECT_TRUE(is_iscsi_name(name)) << name;
  }
}

TEST(IscsiName, Refused) {
  for (const std::string& name : {""s,
                                  "iqn"s,
                                  "iqn."s,
                                  "iqn.2001-04."s,
                                  "iqn.2001-04.:x"s,
                                  "iqn.2001-4.com"s,
                                  "iqn.200a-04.com"s,
                                  "iqn.2001-0b.com"s,
                                  "eui.02004567A425678"s,
                                  "eui.02004567A425678G"s,
                                  "eui.02004567A425678D0"s,
                                  "naa.5200"s,
                                  "foo.2001-04.com"s,
                                  "iqn.2001-04.com example"s,
                                  "iqn.2001-04.com\n"s,
                                  "iqn.2001-04.com\0x"s,
                                  "iqn.2001-04.com\x7f"s,
                                  "iqn.2001-04.com:%n"s,
                                  "iqn.2001-04.com:a=b"s,
                                  "iqn.2001-04.com:a,b"s,
                                  "iqn.2001-04.com:\xC3"s,
                                  "iqn.2001-04.com:\xC3x"s,
                                  "iqn.2001-04.com:\x80"s,
                                  "iqn.2001-04.com:\xFF"s,
                                  "iqn.2001-04.com:\xC0\x80"s,
                                  "iqn.2001-04.com:\xE2\x82"s}) {
    EXPECT_FALSE(is_iscsi_name(name)) << name;
  }
  for (unsigned c = 0; c < 0x20; ++c) {
    EXPECT_FALSE(is_iscsi_name("iqn.2001-04.com:"s + static_cast<char>(c))) << c;
  }
}

TEST(IscsiName, Length) {
  const std::string stem = "iqn.2001-04.com:";
  EXPECT_TRUE(is_iscsi_name(stem + std::string(223 - stem.size(), 'a')));
  EXPECT_FALSE(is_iscsi_name(stem + std::string(224 - stem.size(), 'a')));
}

TEST(IscsiName, ComparedInLowerCase) {
  EXPECT_TRUE(same_name("iqn.A", "IQN.a"));
  EXPECT_FALSE(same_name("iqn.a", "iqn.ab"));
  EXPECT_FALSE(same_name("iqn.a", ""));
  EXPECT_EQ(normalised_name("IQN.2001-04.Com:\xC3\x84"), "iqn.2001-04.com:\xC3\x84");
}

}  // namespace
}  // namespace itgtd::iscsi::testing
