// Requests for connections that reach the previous owner while a group moves, given to the new one.
//
// An initiator that is told that its session ends connects anew at once: before the network has heard where
// the address is now, so to the previous owner. Dropped there, the request would be sent again after a
// second, the longest part of the whole move. So it is kept, and sent on, as it came, when the new owner
// serves: the answer goes to the initiator straight from there. Control thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "ha/adapters/packets.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

class SynRelay {
 public:
  explicit SynRelay(control::EventLoop& loop) : loop_(loop) {}

  /// From now on, for kHoldMax at most: requests to these portals ("address:port") are kept.
  void hold(const std::string& group, const std::vector<std::string>& portals);
  /// Another node serves them: what was kept is sent on, to wherever the network says the address is.
  void release(const std::string& group);
  /// This node serves them itself, or nobody: what was kept is forgotten.
  void drop(const std::string& group);
  /// How many requests were sent on.
  [[nodiscard]] uint64_t relayed() const { return relayed_; }

  /// As long as an initiator's own second request takes to come.
  static constexpr std::chrono::milliseconds kHoldMax{1000};

 private:
  struct Held {
    std::vector<IpEndpoint> portals;
    std::map<IpEndpoint, ConnectionRequest> requests;  ///< by the peer
    control::Subscription deadline;
  };
  /// Bounds the memory; more initiators than a group has.
  static constexpr size_t kRequestsMax = 1024;

  void listen();
  void on_packets(const Descriptor& socket);
  void send(const ConnectionRequest& request);

  control::EventLoop& loop_;
  std::map<std::string, Held> held_;
  std::optional<Descriptor> hears_ipv4_;  ///< packet sockets, open while something is held
  std::optional<Descriptor> hears_ipv6_;
  control::Subscription watch_ipv4_;
  control::Subscription watch_ipv6_;
  uint64_t relayed_ = 0;
};

}  // namespace itgtd::ha
