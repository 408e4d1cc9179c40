#include "scsi/transport_id.h"

#include "tests/scsi/persistent_reserve_fixture.h"

namespace itgtd::scsi {
namespace {

std::variant<TransportId, TransportIdFault> parse(const Wire& bytes) {
  // On the heap, and no longer than it is: a read behind the end is found by AddressSanitizer.
  return parse_transport_id(std::as_bytes(std::span(bytes)));
}

::testing::AssertionResult is_fault(const Wire& bytes, const TransportIdFault& due) {
  const auto parsed = parse(bytes);
  const auto* fault = std::get_if<TransportIdFault>(&parsed);
  if (fault == nullptr) return ::testing::AssertionFailure() << "parsed";
  if (fault->truncated == due.truncated && fault->byte == due.byte && fault->bit == due.bit) {
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure() << "truncated " << fault->truncated << " byte " << fault->byte;
}

TEST(TransportIdTest, BothFormats) {
  const Wire name = transport_id(0, "iqn.2000-01.com.a:host");
  auto parsed = std::get<TransportId>(parse(name));
  EXPECT_EQ(parsed.name, "iqn.2000-01.com.a:host");
  EXPECT_FALSE(parsed.isid);
  EXPECT_EQ(parsed.length_bytes, name.size());
  const Wire port = transport_id(1, "iqn.2000-01.com.a:host,i,0x0123456789aB");
  parsed = std::get<TransportId>(parse(port));
  EXPECT_EQ(parsed.name, "iqn.2000-01.com.a:host");
  EXPECT_EQ(parsed.isid, (std::array<uint8_t, 6>{0x01, 0x23, 0x45, 0x67, 0x89, 0xAB}));
}

TEST(TransportIdTest, WhatIsWrittenIsRead) {
  for (size_t length = 1; length <= kInitiatorNameBytesMax; ++length) {
    const InitiatorPort port = {std::string(length, 'x'), {0xFE, 1, 0, 0xA0, 9, 0x7F}};
    Wire bytes(transport_id_bytes(port), 0xA5);
    ASSERT_EQ(bytes.size() % 4, 0U);
    ASSERT_LE(bytes.size(), kTransportIdBytesMax);
    write_transport_id(port, std::as_writable_bytes(std::span(bytes)));
    EXPECT_EQ(bytes, transport_id(1, port.name + ",i,0xfe0100a0097f"));
    const auto id = std::get<TransportId>(parse(bytes));
    EXPECT_TRUE(id.names(port));
    EXPECT_EQ(id.length_bytes, bytes.size());
  }
}

TEST(TransportIdTest, TheFirstNullEndsIt) {
  Wire name = transport_id(0, "iqn.a");
  name[4 + 6] = 'z';
  EXPECT_EQ(std::get<TransportId>(parse(name)).name, "iqn.a");
  Wire port = transport_id(1, "iqn.a,i,0x000000000001");
  port.back() = 'z';
  EXPECT_EQ(std::get<TransportId>(parse(port)).name, "iqn.a");
}

TEST(TransportIdTest, Header) {
  const Wire good = transport_id(0, "iqn.a");
  for (const uint8_t format : std::to_array<uint8_t>({2, 3})) {
    EXPECT_TRUE(is_fault(transport_id(format, "iqn.a"), {false, 0, uint8_t{7}}));
  }
  for (uint8_t protocol = 0; protocol < 16; ++protocol) {
    if (protocol == 5) continue;
    Wire bytes = good;
    bytes[0] = protocol;
    EXPECT_TRUE(is_fault(bytes, {false, 0, uint8_t{3}}));
  }
  Wire bytes = good;
  bytes[0] = 0x15;
  EXPECT_TRUE(is_fault(bytes, {false, 0, uint8_t{5}}));
  bytes = good;
  bytes[1] = 1;
  EXPECT_TRUE(is_fault(bytes, {false, 1, std::nullopt}));
}

TEST(TransportIdTest, AdditionalLength) {
  const Wire good = transport_id(0, "iqn.a");
  for (uint32_t length = 0; length <= 0xFFFF; ++length) {
    Wire bytes = good;
    bytes[2] = static_cast<uint8_t>(length >> 8);
    bytes[3] = static_cast<uint8_t>(length);
    if (length == 20) continue;
    const bool odd = length < 20 || length % 4 != 0;
    ASSERT_TRUE(is_fault(bytes, {!odd, 2, std::nullopt})) << length;
  }
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_TRUE(is_fault(Wire(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length)),
                         {true, 0, std::nullopt}));
  }
}

// CVE-2026-72084 of another target: a name that fills the list, without the separator or a null.
TEST(TransportIdTest, HostileText) {
  for (const uint8_t format : std::to_array<uint8_t>({0, 1})) {
    for (size_t length = 20; length <= 8192; length += length < 300 ? 4 : 1004) {
      Wire bytes = {static_cast<uint8_t>(format << 6 | 5), 0};
      append_u16(bytes, length);
      bytes.resize(4 + length, 'a');
      ASSERT_TRUE(is_fault(bytes, {false, 4, std::nullopt})) << length;
    }
    EXPECT_TRUE(is_fault(transport_id(format, ""), {false, 4, std::nullopt}));
    EXPECT_TRUE(is_fault(transport_id(format, std::string(300, 'a')), {false, 4, std::nullopt}));
  }
  EXPECT_TRUE(is_fault(transport_id(0, std::string(224, 'a')), {false, 4, std::nullopt}));
  EXPECT_TRUE(
      is_fault(transport_id(1, std::string(224, 'a') + ",i,0x000000000001"), {false, 4, std::nullopt}));
  EXPECT_TRUE(is_fault(transport_id(0, "iqn.a,i,0x000000000001"), {false, 4, std::nullopt}));
  EXPECT_TRUE(is_fault(transport_id(0, "iqn.a b"), {false, 4, std::nullopt}));
  EXPECT_TRUE(is_fault(transport_id(0, "iqn.a\x01"), {false, 4, std::nullopt}));
  EXPECT_TRUE(is_fault(transport_id(1, ",i,0x000000000001"), {false, 4, std::nullopt}));
  for (const char* text : {"iqn.a", "iqn.a,", "iqn.a,i", "iqn.a,i,0", "iqn.a,I,0x000000000001"}) {
    EXPECT_TRUE(is_fault(transport_id(1, text), {false, 4, std::nullopt})) << text;
  }
  for (const char* digits : {"", "1", "00000000000", "0000000000001", "00000000000g", " 0000000000",
                             "-00000000001", "000000000001,i,0x000000000001"}) {
    EXPECT_TRUE(is_fault(transport_id(1, std::string("iqn.a,i,0x") + digits), {false, 14, std::nullopt}))
        << digits;
  }
}

}  // namespace
}  // namespace itgtd::scsi
