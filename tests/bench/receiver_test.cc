#include "bench/receiver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/address.h"
#include "base/crc32c.h"
#include "bench/pdu.h"

namespace itgtd::bench {
namespace {

using ::testing::HasSubstr;

// TCP, because only there MSG_TRUNC passes data over.
class ReceiverTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    const Address any = Address::parse("127.0.0.1", 0).value();
    ASSERT_EQ(bind(listener, any.data(), any.size()), 0);
    ASSERT_EQ(listen(listener, 1), 0);
    sockaddr_storage bound{};
    socklen_t size = sizeof(bound);
    ASSERT_EQ(getsockname(listener, static_cast<sockaddr*>(static_cast<void*>(&bound)), &size), 0);
    const Address address = Address::from_sockaddr(bound);
    sender_ = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(connect(sender_, address.data(), address.size()), 0);
    receiver_ = accept(listener, nullptr, nullptr);
    ASSERT_GE(receiver_, 0);
    close(listener);
  }
  void TearDown() override {
    close(sender_);
    close(receiver_);
  }

  static std::vector<std::byte> pdu(uint32_t data_bytes, bool header_digest = false,
                                    bool data_digest = false) {
    iscsi::Bhs bhs{.opcode = 0x25};
    bhs.data_segment_length.set(data_bytes);
    std::vector<std::byte> wire(iscsi::kBhsBytes);
    store(wire, bhs);
    std::array<std::byte, 4> digest;
    if (header_digest) {
      put_digest(digest, crc32c(wire));
      wire.insert(wire.end(), digest.begin(), digest.end());
    }
    if (data_bytes == 0) return wire;
    const size_t start = wire.size();
    for (uint32_t i = 0; i < data_bytes; ++i) wire.push_back(static_cast<std::byte>(i * 7));
    wire.resize(wire.size() + iscsi::padding_of(data_bytes));
    if (data_digest) {
      put_digest(digest, crc32c(ConstBytes(wire).subspan(start)));
      wire.insert(wire.end(), digest.begin(), digest.end());
    }
    return wire;
  }

  void send_all(ConstBytes bytes) {
    ASSERT_EQ(send(sender_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }

  /// Sends `wire` in pieces and counts the PDUs that come out.
  int count(Receiver& receiver, ConstBytes wire, size_t piece, Bytes target) {
    int pdus = 0;
    for (size_t at = 0; at < wire.size(); at += piece) {
      send_all(wire.subspan(at, std::min(piece, wire.size() - at)));
      for (int i = 0; i < 3; ++i) {
        receiver.fill(receiver_);
        while (receiver.next([&](const iscsi::Bhs& bhs) {
          return target.empty() ? Bytes() : target.first(bhs.data_segment_length.get());
        }) != nullptr) {
          ++pdus;
        }
      }
    }
    return pdus;
  }

  int sender_ = -1;
  int receiver_ = -1;
};

TEST_F(ReceiverTest, CutsAtAnyBoundary) {
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{48}, size_t{53}, size_t{1000}}) {
    Receiver receiver({.header_digest = true, .data_digest = true, .check_data_digest = true});
    std::vector<std::byte> wire = pdu(5, true, true);
    for (const uint32_t size : {0U, 3U, 100U}) {
      const auto more = pdu(size, true, true);
      wire.insert(wire.end(), more.begin(), more.end());
    }
    std::vector<std::byte> target(100);
    EXPECT_EQ(count(receiver, wire, piece, target), 4) << piece;
    EXPECT_EQ(receiver.error(), "");
    for (size_t i = 0; i < target.size(); ++i) EXPECT_EQ(target[i], static_cast<std::byte>(i * 7));
  }
}

TEST_F(ReceiverTest, PassesLargeDataOverAndFindsTheNextHeader) {
  for (const bool bulk : {false, true}) {
    Receiver receiver({.bulk = bulk});
    std::vector<std::byte> wire = pdu(100'000);
    const auto more = pdu(50'001);
    wire.insert(wire.end(), more.begin(), more.end());
    EXPECT_EQ(count(receiver, wire, 30'000, {}), 2);
  }
}

TEST_F(ReceiverTest, SeesAWrongHeaderDigest) {
  Receiver receiver({.header_digest = true});
  std::vector<std::byte> wire = pdu(0, true);
  wire[20] ^= std::byte{1};
  EXPECT_EQ(count(receiver, wire, wire.size(), {}), 0);
  EXPECT_THAT(receiver.error(), HasSubstr("header digest"));
}

TEST_F(ReceiverTest, SeesAWrongDataDigestWhenItChecks) {
  std::vector<std::byte> wire = pdu(10, false, true);
  wire[50] ^= std::byte{1};
  Receiver careless({.data_digest = true});
  EXPECT_EQ(count(careless, wire, wire.size(), {}), 1);
  Receiver careful({.data_digest = true, .check_data_digest = true});
  EXPECT_EQ(count(careful, wire, wire.size(), {}), 0);
  EXPECT_THAT(careful.error(), HasSubstr("data digest"));
}

TEST_F(ReceiverTest, RefusesAnAhs) {
  Receiver receiver({});
  std::vector<std::byte> wire = pdu(0);
  wire[4] = std::byte{1};
  EXPECT_EQ(count(receiver, wire, wire.size(), {}), 0);
  EXPECT_THAT(receiver.error(), HasSubstr("AHS"));
}

TEST_F(ReceiverTest, TellsTheEndOfTheStream) {
  Receiver receiver({});
  EXPECT_EQ(receiver.fill(dup(receiver_)), Receiver::Fill::nothing);
  shutdown(sender_, SHUT_WR);
  EXPECT_EQ(receiver.fill(receiver_), Receiver::Fill::closed);
}

}  // namespace
}  // namespace itgtd::bench
