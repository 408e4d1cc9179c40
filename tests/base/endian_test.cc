#include "base/endian.h"

#include <gtest/gtest.h>

#include <array>

#include "base/bytes.h"

namespace itgtd {
namespace {

struct Wire {
  uint8_t first;
  be24 length;
  be16 half;
  be32 word;
  be48 six;
  be64 eight;
};
static_assert(sizeof(Wire) == 1 + 3 + 2 + 4 + 6 + 8);
static_assert(alignof(Wire) == 1);
static_assert(WireStruct<Wire>);

TEST(EndianTest, MostSignificantByteFirst) {
  Wire wire{};
  wire.length.set(0x010203);
  wire.half.set(0x0405);
  wire.word.set(0x06070809);
  wire.six.set(0x0A0B0C0D0E0FULL);
  wire.eight.set(0x1011121314151617ULL);
  const ConstBytes bytes = bytes_of(std::as_const(wire));
  for (size_t i = 1; i < 16; ++i) EXPECT_EQ(std::to_integer<size_t>(bytes[i]), i);
  for (size_t i = 16; i < 24; ++i) EXPECT_EQ(std::to_integer<size_t>(bytes[i]), i);
  EXPECT_EQ(wire.length.get(), 0x010203U);
  EXPECT_EQ(wire.half.get(), 0x0405U);
  EXPECT_EQ(wire.word.get(), 0x06070809U);
  EXPECT_EQ(wire.six.get(), 0x0A0B0C0D0E0FULL);
  EXPECT_EQ(wire.eight.get(), 0x1011121314151617ULL);
}

TEST(EndianTest, ExtremesAndDroppedBits) {
  EXPECT_EQ(be24(0xFFFF'FFFF).get(), 0x00FF'FFFFU);
  EXPECT_EQ(be48(UINT64_MAX).get(), 0xFFFF'FFFF'FFFFULL);
  EXPECT_EQ(be16(0xFFFF).get(), 0xFFFFU);
  EXPECT_EQ(be64(UINT64_MAX).get(), UINT64_MAX);
  EXPECT_EQ(be32().get(), 0U);
  EXPECT_EQ(be32(7), be32(7));
  EXPECT_FALSE(be32(7) == be32(8));
}

TEST(BytesTest, LoadStoreAndView) {
  std::array<std::byte, sizeof(Wire) + 1> memory{};
  const Bytes odd = Bytes(memory).subspan(1);  // no alignment needed
  Wire wire{};
  wire.word.set(0xCAFE);
  store(odd, wire);
  EXPECT_EQ(load<Wire>(odd).word.get(), 0xCAFEU);
  view<Wire>(odd)->word.set(0xBEEF);
  EXPECT_EQ(view<Wire>(ConstBytes(odd))->word.get(), 0xBEEFU);
}

TEST(BytesTest, TextThereAndBack) {
  EXPECT_EQ(as_text(as_bytes("iqn.x")), "iqn.x");
  EXPECT_TRUE(as_text({}).empty());
}

TEST(BytesDeathTest, TooShortIsABug) {
  std::array<std::byte, sizeof(Wire) - 1> memory{};
  EXPECT_DEATH(static_cast<void>(load<Wire>(memory)), "assertion failed");
  EXPECT_DEATH(store(memory, Wire{}), "assertion failed");
  EXPECT_DEATH(static_cast<void>(view<Wire>(Bytes(memory))), "assertion failed");
}

}  // namespace
}  // namespace itgtd
