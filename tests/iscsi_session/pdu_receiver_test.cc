// Framing, in every split. RFC 7143 §11.1-11.2, §7.8.
#include "target/iscsi/pdu_receiver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/crc32c.h"

namespace itgtd::iscsi {
namespace {

using Data = std::vector<std::byte>;

constexpr size_t kBufferBytes = 4096;

struct Wire {
  Bhs bhs{};
  Data ahs;
  Data segment;
  bool thrown_away = false;
  bool digest_ok = true;
};

void append_digest(Data& to, ConstBytes covered, bool right) {
  const uint32_t crc = crc32c(covered) ^ (right ? 0U : 0x100U);
  for (unsigned i = 0; i < kDigestBytes; ++i) to.push_back(static_cast<std::byte>(crc >> (8 * i)));
}

void append(Data& to, const Wire& wire, bool header_digest, bool data_digest, bool header_ok = true) {
  Data header(bytes_of(wire.bhs).begin(), bytes_of(wire.bhs).end());
  header.insert(header.end(), wire.ahs.begin(), wire.ahs.end());
  to.insert(to.end(), header.begin(), header.end());
  if (header_digest) append_digest(to, header, header_ok);
  if (wire.segment.empty()) return;
  Data padded = wire.segment;
  padded.resize(padded.size() + padding_of(static_cast<uint32_t>(padded.size())), std::byte{0x5A});
  to.insert(to.end(), padded.begin(), padded.end());
  if (data_digest) append_digest(to, padded, wire.digest_ok);
}

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  uint32_t below(uint32_t end) { return static_cast<uint32_t>(engine_() % end); }
  Data bytes(size_t count) {
    Data data(count);
    for (std::byte& byte : data) byte = static_cast<std::byte>(engine_());
    return data;
  }

 private:
  std::mt19937 engine_;
};

Wire random_wire(Random& random, uint32_t segment_max) {
  Wire wire;
  const Data header = random.bytes(kBhsBytes);
  wire.bhs = load<Bhs>(header);
  wire.ahs = random.bytes(random.below(4) == 0 ? 4 * random.below(256) : 0);
  wire.bhs.total_ahs_length = static_cast<uint8_t>(wire.ahs.size() / 4);
  const uint32_t kind = random.below(4);
  wire.segment = random.bytes(kind == 0 ? 0 : random.below(kind == 1 ? 64 : segment_max));
  wire.bhs.data_segment_length.set(static_cast<uint32_t>(wire.segment.size()));
  wire.thrown_away = random.below(3) == 0;
  wire.digest_ok = random.below(4) != 0;
  return wire;
}

/// Feeds `stream` in pieces of 1 to `piece_max` bytes and checks that exactly `wires` come out.
void check(const Data& stream, const std::vector<Wire>& wires, bool header_digest, bool data_digest,
           Random& random, uint32_t piece_max) {
  PduReceiver receiver(kBufferBytes);
  receiver.set_digests(header_digest, data_digest);
  receiver.set_segment_limit(1U << 20);
  size_t fed = 0;
  size_t done = 0;
  Data destination;
  while (true) {
    const PduReceiver::Event event = receiver.next();
    if (event == PduReceiver::Event::need_more) {
      if (fed == stream.size()) break;
      const Bytes body = receiver.body();
      const Bytes writable = receiver.writable();
      ASSERT_FALSE(writable.empty());
      const size_t count =
          std::min({stream.size() - fed, body.size() + writable.size(), size_t{1} + random.below(piece_max)});
      const size_t direct = std::min(count, body.size());
      std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(fed), direct, body.begin());
      std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(fed + direct), count - direct,
                  writable.begin());
      receiver.commit(count);
      fed += count;
      continue;
    }
    ASSERT_LT(done, wires.size());
    const Wire& wire = wires[done];
    ASSERT_TRUE(std::ranges::equal(bytes_of(*receiver.pdu().bhs), bytes_of(wire.bhs)));
    ASSERT_TRUE(std::ranges::equal(receiver.pdu().ahs, wire.ahs));
    if (event == PduReceiver::Event::header) {
      EXPECT_TRUE(receiver.in_pdu());
      destination.assign(wire.thrown_away ? 0 : wire.segment.size(), std::byte{0});
      receiver.set_destination(destination);
      continue;
    }
    ASSERT_EQ(event, PduReceiver::Event::data);
    if (!wire.thrown_away) {
      ASSERT_TRUE(std::ranges::equal(receiver.segment(), wire.segment));
    } else {
      ASSERT_TRUE(receiver.segment().empty());
    }
    ASSERT_EQ(receiver.data_digest_ok(), wire.digest_ok || !data_digest || wire.segment.empty());
    ++done;
  }
  EXPECT_EQ(done, wires.size());
  EXPECT_FALSE(receiver.in_pdu());
}

TEST(PduReceiver, RandomStreamsInRandomPieces) {
  for (uint32_t seed = 0; seed < 120; ++seed) {
    Random random(seed);
    const bool header_digest = (seed & 1) != 0;
    const bool data_digest = (seed & 2) != 0;
    Data stream;
    std::vector<Wire> wires;
    for (int i = 0; i < 20; ++i) {
      wires.push_back(random_wire(random, 20000));
      append(stream, wires.back(), header_digest, data_digest);
    }
    const uint32_t pieces[] = {7, 100, 3000, 100000};
    check(stream, wires, header_digest, data_digest, random, pieces[(seed >> 2) & 3]);
    ASSERT_FALSE(HasFatalFailure()) << "seed " << seed;
  }
}

TEST(PduReceiver, ByteByByte) {
  Random random(99);
  Data stream;
  std::vector<Wire> wires;
  for (int i = 0; i < 20; ++i) {
    wires.push_back(random_wire(random, 300));
    append(stream, wires.back(), true, true);
  }
  check(stream, wires, true, true, random, 1);
}

TEST(PduReceiver, HeaderDigestErrorIsFinal) {
  Random random(1);
  for (const size_t ahs_bytes : {size_t{0}, size_t{1020}}) {
    Wire wire;
    wire.ahs = random.bytes(ahs_bytes);
    wire.bhs.total_ahs_length = static_cast<uint8_t>(ahs_bytes / 4);
    Data stream;
    append(stream, wire, true, false, false);
    append(stream, wire, true, false, true);
    PduReceiver receiver(kBufferBytes);
    receiver.set_digests(true, false);
    std::copy(stream.begin(), stream.end(), receiver.writable().begin());
    receiver.commit(stream.size());
    EXPECT_EQ(receiver.next(), PduReceiver::Event::header_digest_error);
    EXPECT_EQ(receiver.next(), PduReceiver::Event::header_digest_error);
  }
}

TEST(PduReceiver, SegmentBeyondTheLimitEndsIt) {
  for (const uint32_t length : {8192U, 8193U, 0xFF'FFFFU}) {
    Bhs bhs{};
    bhs.data_segment_length.set(length);
    PduReceiver receiver(kBufferBytes);
    receiver.set_segment_limit(8192);
    std::copy_n(bytes_of(bhs).begin(), kBhsBytes, receiver.writable().begin());
    receiver.commit(kBhsBytes);
    EXPECT_EQ(receiver.next(),
              length > 8192 ? PduReceiver::Event::segment_too_long : PduReceiver::Event::header);
  }
}

TEST(PduReceiver, DigestsApplyFromTheNextHeader) {
  Random random(3);
  Wire plain = random_wire(random, 100);
  Wire covered = random_wire(random, 100);
  covered.digest_ok = true;
  Data stream;
  append(stream, plain, false, false);
  append(stream, covered, true, true);
  PduReceiver receiver(kBufferBytes);
  std::copy(stream.begin(), stream.end(), receiver.writable().begin());
  receiver.commit(stream.size());
  ASSERT_EQ(receiver.next(), PduReceiver::Event::header);
  receiver.set_destination({});
  ASSERT_EQ(receiver.next(), PduReceiver::Event::data);
  receiver.set_digests(true, true);
  ASSERT_EQ(receiver.next(), PduReceiver::Event::header);
  receiver.set_destination({});
  ASSERT_EQ(receiver.next(), PduReceiver::Event::data);
  EXPECT_TRUE(receiver.data_digest_ok());
  EXPECT_EQ(receiver.next(), PduReceiver::Event::need_more);
}

}  // namespace
}  // namespace itgtd::iscsi
