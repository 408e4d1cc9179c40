#include "tests/scsi/copy_target.h"

namespace itgtd::scsi::testing {
namespace {

class ThirdPartyCopyPage : public CopyTarget {
 protected:
  Wire page() { return run({0x12, 0x01, 0x8F, 0x10, 0x00, 0x00}).data_in; }

  /// The descriptors, by type.
  static std::vector<std::pair<uint16_t, Wire>> descriptors(const Wire& page) {
    std::vector<std::pair<uint16_t, Wire>> all;
    size_t at = 4;
    while (at + 4 <= page.size()) {
      const auto type = static_cast<uint16_t>((page[at] << 8) | page[at + 1]);
      const size_t length = static_cast<size_t>((page[at + 2] << 8) | page[at + 3]);
      EXPECT_EQ(length % 4, 0U) << type;
      const auto begin = page.begin() + static_cast<std::ptrdiff_t>(at) + 4;
      if (at + 4 + length > page.size()) break;
      all.emplace_back(type, Wire(begin, begin + static_cast<std::ptrdiff_t>(length)));
      at += 4 + length;
    }
    EXPECT_EQ(at, page.size());
    return all;
  }
  Wire descriptor(uint16_t type) {
    for (auto& [its, body] : descriptors(page())) {
      if (its == type) return body;
    }
    return {};
  }
};

TEST_F(ThirdPartyCopyPage, DescriptorsAreInOrder) {
  const Wire whole = page();
  ASSERT_GT(whole.size(), 4U);
  EXPECT_EQ(whole[1], 0x8F);
  EXPECT_EQ(static_cast<size_t>((whole[2] << 8) | whole[3]), whole.size() - 4);
  uint16_t last = 0;
  for (const auto& [type, body] : descriptors(whole)) {
    EXPECT_TRUE(type > last || type == 0) << type;
    last = type;
  }
  EXPECT_EQ(last, 0x8001);
}

// Every service action that it names is one that the target answers.
TEST_F(ThirdPartyCopyPage, SupportedCommands) {
  EXPECT_EQ(descriptor(0x0001),
            (Wire{12, 0x83, 3, 0x00, 0x10, 0x11, 0x84, 5, 0x00, 0x01, 0x03, 0x04, 0x07, 0, 0, 0}));
}

TEST_F(ThirdPartyCopyPage, LimitsOfExtendedCopy) {
  EXPECT_EQ(descriptor(0x0004), (Wire{0, 0, 0, 0, 0, 16, 0, 16, 0, 0, 0x03, 0xC0, 0, 0,
                                      0, 0, 0, 0, 0, 0,  0, 0,  0, 0, 0,    0,    0, 0}));
  EXPECT_EQ(descriptor(0x0008), (Wire{2, 0x02, 0xE4, 0}));
  EXPECT_EQ(descriptor(0x000C), (Wire{0, 2, 0xFF, 0xFF}));
  EXPECT_EQ(descriptor(0x8001), (Wire{0, 0, 0, 32, 0, 0, 0, 32, 1, 0, 0, 0, 9, 0, 0, 0,
                                      0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0}));
}

// What Windows asks for before it makes a token.
TEST_F(ThirdPartyCopyPage, LimitsOfTokens) {
  EXPECT_EQ(descriptor(0x0000), (Wire{0, 0, 0, 0,    0, 0, 0, 64,    // ranges
                                      0, 0, 2, 0x58, 0, 0, 0, 60,    // timeouts
                                      0, 0, 0, 0,    0, 8, 0, 0,     // 256 MiB in blocks
                                      0, 0, 0, 0,    0, 2, 0, 0}));  // 64 MiB
  const Wire features = descriptor(0x0106);
  ASSERT_EQ(features.size(), 44U + 48);
  EXPECT_EQ(features[43], 48);
  EXPECT_EQ(features[44 + 3], 44);
  const Wire types = descriptor(0x0108);
  ASSERT_EQ(types.size(), 4U + 2 * 64);
  EXPECT_EQ(Wire(types.begin(), types.begin() + 9), (Wire{0, 0, 0, 128, 0x00, 0x80, 0x00, 0x01, 0x03}));
  EXPECT_EQ(Wire(types.begin() + 68, types.begin() + 73), (Wire{0xFF, 0xFF, 0x00, 0x01, 0x02}));
}

}  // namespace
}  // namespace itgtd::scsi::testing
