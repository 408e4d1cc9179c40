// Sends tickle ACKs: see Announcer::tickle(). Control thread; some of them each turn of the loop.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/descriptor.h"
#include "ha/adapters/ip_address.h"
#include "ha/core/message.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

class Tickler {
 public:
  explicit Tickler(control::EventLoop& loop) : loop_(loop) {}

  /// Five ACKs for each pair, within 3.6 s. Pairs that are no two endpoints of one family are left out, and
  /// so is what is beyond kPairsMax.
  void tickle(const std::vector<TcpPair>& pairs);

 private:
  struct Batch {
    std::vector<TcpPair> pairs;
    Instant begun{};
    size_t round = 0;
    size_t next = 0;      ///< of pairs, in this round
    size_t left_out = 0;  ///< pairs that cannot be tickled
  };
  /// More than the connections of a node can be; bounds the memory.
  static constexpr size_t kPairsMax = 100'000;

  void send_due();
  /// Until the turn is over; whether the round is.
  bool send_round(Batch& batch, Instant turn_ends);
  /// Whether it is a pair.
  bool send(const TcpPair& pair, uint32_t seq);

  control::EventLoop& loop_;
  std::optional<Descriptor> ipv4_;  ///< raw sockets; opened with the first pair
  std::optional<Descriptor> ipv6_;
  std::multimap<Instant, Batch> batches_;  ///< by when their round is due
  size_t pairs_ = 0;                       ///< of all batches
  control::Subscription timer_;
};

}  // namespace itgtd::ha
