// What lets a portal's traffic pass: an nftables table of our own (libnftables), no connection tracking.
// Control thread.
//
//   table inet itgtd: packets to (and from) a portal of the set `portals` are dropped unless the portal is in
//   the set `open` and the lease stands: an element with a timeout, renewed by lease(), that the kernel takes
//   away when nobody renews it. One element (of each family) whatever the number of portals, so that a
//   renewal costs the same for 1 and 1,600. The sets are two each, for IPv4 and IPv6: `portals4`, `portals6`,
//   ...
//
// The table outlives the daemon: what it guards stays closed once the lease has run out.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "ha/core/types.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

class Gate {
 public:
  explicit Gate(control::EventLoop& loop);
  ~Gate();
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  /// Opens what it needs, while the process has few descriptors: libnftables waits by select(2), which ends
  /// the process for one above 1023. An error is told by guard() again.
  [[nodiscard]] Result<void> prepare();
  /// Makes the table, or takes over the one that an earlier daemon left: `portals` ("192.168.222.35:3260",
  /// "[2001:db8::35]:3260") are guarded from now on; what is open of them stays open. Called again when the
  /// configuration changes. A table that somebody flushed or deleted is put back within a second, as it was.
  [[nodiscard]] Result<void> guard(const std::vector<std::string>& portals);
  /// Lets all traffic of these pass, as long as the lease stands.
  [[nodiscard]] Result<void> open(const std::vector<std::string>& portals);
  /// New connections are not let in any more, those that are there go on: for a portal that is about to
  /// leave, and whose initiators are told so.
  [[nodiscard]] Result<void> hold_new(const std::vector<std::string>& portals);
  /// From when this returns nothing of these enters or leaves.
  [[nodiscard]] Result<void> close(const std::vector<std::string>& portals);
  /// The lease stands for `left_ms` from now; 0 or less: it ends at once.
  [[nodiscard]] Result<void> lease(TimeMs left_ms);
  /// Removes the table: for a daemon that serves nothing guarded any more.
  void remove();
  /// How often the table was put back.
  [[nodiscard]] uint64_t restored() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace itgtd::ha
