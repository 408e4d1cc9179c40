// Tells the network where an address is now: gratuitous ARP (request and reply) and unsolicited neighbour
// advertisements, in bursts and then now and then; and hears when another machine claims the same. Raw
// sockets. Control thread; sends, never waits.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "ha/adapters/addresses.h"
#include "ha/core/message.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

class Announcer {
 public:
  /// `on_conflict`: another machine (its hardware address) answers for an address that is announced here.
  Announcer(control::EventLoop& loop,
            std::function<void(const std::string& address, const std::string& hardware_address)> on_conflict);
  ~Announcer();
  Announcer(const Announcer&) = delete;
  Announcer& operator=(const Announcer&) = delete;

  /// At 0, 50, 200, 500 ms, 1, 1.5, 2, 2.5, 3.5, 5 s, then every minute (RFC 5227 §3, RFC 4861 §7.2.6) until
  /// withdraw(). Again: from the start. Only on Ethernet; elsewhere nobody asks for hardware addresses. A
  /// conflict is told at most every 10 s of each address, and the address is announced once more (RFC 5227
  /// §2.4 b).
  void announce(const VipPlace& place);
  void withdraw(const std::string& address);
  /// Sends five tickle ACKs for each pair, over 800 ms: the initiator answers with its real sequence
  /// numbers, our kernel knows no such connection and resets it, and the initiator logs in anew at once. The
  /// local addresses are on this node by now, and the gate is open for them: it would drop the ACKs as well
  /// as the answers. IPv4 and IPv6.
  void tickle(const std::vector<TcpPair>& pairs);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace itgtd::ha
