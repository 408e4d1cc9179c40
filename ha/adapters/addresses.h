// Virtual addresses and links, by rtnetlink (libnl-3). Translates, decides nothing. Control thread.
//
// Each address is added with a limited valid_lft that renew() extends: when the daemon hangs, the kernel
// removes it: in whole seconds, rounded up, and up to 2 s later (docs/adr/0010 counts on no less). IPv6
// without DAD (the cluster has decided who has it), never as a source (preferred_lft 0), and without a prefix
// route: the way back to the initiators is that of the node's own address or routes.
//
// On the interface it is a host address (/32, /128), whatever the prefix in the configuration, which only
// serves to find the interface: of two IPv4 addresses of one network the kernel makes the later one the
// secondary of the first, and removes it with the first, so that a VIP that came first would take the node's
// own address and its route away.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "ha/core/types.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

struct Vip {
  std::string address;
  uint8_t prefix_bits = 0;  ///< 0: not said
  std::string interface;    ///< empty: the one that has an address in the same network, or the route to it
  auto operator<=>(const Vip&) const = default;
};

/// Where an address is, for announcements.
struct VipPlace {
  std::string address;
  uint32_t interface_index = 0;
  std::string interface;
};

class Addresses {
 public:
  /// `on_change` gets the facts of a VIP that was given to follow(), at first and whenever they change: link,
  /// carrier, interface, removed by somebody else (it is re-added within 100 ms as long as it is wanted, and
  /// counted). Both callbacks come from the loop, never from within a call of this class.
  Addresses(control::EventLoop& loop, std::function<void(const Vip&, const VipFacts&)> on_change,
            std::function<void(const VipPlace&)> on_added);
  ~Addresses();
  Addresses(const Addresses&) = delete;
  Addresses& operator=(const Addresses&) = delete;

  [[nodiscard]] Result<void> start();
  /// The VIPs to know about; replaces the list before. One that is no longer in it is removed if it is
  /// wanted.
  void follow(const std::vector<Vip>& vips);
  /// Adds it until now + `lifetime_ms`, or adopts it where it is there; from now on it is wanted. `on_added`
  /// (the constructor's) is called when it is there, each time that it came, and when its link came back.
  /// What goes wrong is in the facts: failed for kFailedFor, or until its link changes or it is added again.
  void add(const Vip& vip, TimeMs lifetime_ms);
  /// Extends the life of every wanted address of which the kernel would end it sooner; those that had gone
  /// come back. Some ms of work at once, the rest in the next turns of the loop: to be called well before
  /// they end.
  void renew(TimeMs lifetime_ms);
  /// Not wanted any more: removed; no error when it is not there.
  void remove(const Vip& vip);
  /// Another machine answers for it (see Announcer): `failed` for a while.
  void on_conflict(const std::string& address, const std::string& hardware_address);
  [[nodiscard]] VipFacts facts(const Vip& vip) const;
  /// How often an address that somebody else removed was put back.
  [[nodiscard]] uint64_t restored() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace itgtd::ha
