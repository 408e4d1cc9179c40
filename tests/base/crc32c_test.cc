#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <vector>

namespace itgtd {
namespace {

std::vector<std::byte> bytes_from(size_t count, int first, int step) {
  std::vector<std::byte> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(first + static_cast<int>(i) * step);
  return bytes;
}

// RFC 3720 Appendix B.4 lists the digests in the order of the wire, least significant byte first.
TEST(Crc32cTest, Rfc3720AppendixB4) {
  EXPECT_EQ(crc32c(bytes_from(32, 0, 0)), 0x8A9136AAU);     // aa 36 91 8a
  EXPECT_EQ(crc32c(bytes_from(32, 0xFF, 0)), 0x62A8AB43U);  // 43 ab a8 62
  EXPECT_EQ(crc32c(bytes_from(32, 0, 1)), 0x46DD794EU);     // 4e 79 dd 46
  EXPECT_EQ(crc32c(bytes_from(32, 31, -1)), 0x113FDB5CU);   // 5c db 3f 11
  std::array<uint8_t, 48> read_pdu = {0x01, 0xC0};          // an iSCSI SCSI Read (10) command PDU
  read_pdu[16] = 0x14;
  read_pdu[22] = 0x04;
  read_pdu[27] = 0x14;
  read_pdu[31] = 0x18;
  read_pdu[32] = 0x28;
  read_pdu[40] = 0x02;
  EXPECT_EQ(crc32c(std::as_bytes(std::span(read_pdu))), 0xD9963A56U);  // 56 3a 96 d9
}

TEST(Crc32cTest, EmptyAndKnown) {
  EXPECT_EQ(crc32c({}), 0U);
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xE3069283U);
}

TEST(Crc32cTest, AnyPartsGiveTheSame) {
  std::mt19937 random(1);
  std::vector<std::byte> data(70'000);
  for (auto& byte : data) byte = static_cast<std::byte>(random());
  const uint32_t whole = crc32c(data);
  for (int round = 0; round < 50; ++round) {
    uint32_t crc = kCrc32cSeed;
    for (size_t at = 0; at < data.size();) {
      const size_t part = std::min<size_t>(random() % 5000, data.size() - at);
      crc = crc32c_update(crc, ConstBytes(data).subspan(at, part));
      at += part;
    }
    ASSERT_EQ(crc32c_finish(crc), whole);
  }
}

TEST(Crc32cTest, EveryBitMatters) {
  std::vector<std::byte> data(48, std::byte{0x5A});
  const uint32_t right = crc32c(data);
  for (size_t bit = 0; bit < data.size() * 8; ++bit) {
    data[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_NE(crc32c(data), right);
    data[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

}  // namespace
}  // namespace itgtd
