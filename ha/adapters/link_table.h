// The links and addresses of this network namespace, as rtnetlink tells of them. Knows nothing of what is
// wanted. Control thread.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ha/adapters/ip_address.h"
#include "ha/adapters/netlink.h"

namespace itgtd::ha {

struct Link {
  uint32_t index = 0;
  std::string name;
  bool up = false;       ///< an administrator's (IFF_UP)
  bool carrier = false;  ///< IFF_RUNNING: carrier, and no port or lower device is missing
  bool loopback = false;
  bool operator==(const Link&) const = default;
  [[nodiscard]] bool works() const { return up && carrier; }
};

/// An address of an interface.
struct PlacedAddress {
  uint32_t interface_index = 0;
  uint8_t prefix_bits = 0;
  bool operator==(const PlacedAddress&) const = default;
};

class LinkTable {
 public:
  enum class Changed : uint8_t { nothing, link, address };

  void clear();
  /// RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR; others are ignored, so is what is malformed.
  Changed on_message(nlmsghdr& message);

  /// Null where there is none.
  [[nodiscard]] const Link* find(uint32_t index) const;
  [[nodiscard]] const Link* find(const std::string& name) const;
  /// Where `address` is; empty: not on this node. Until the next message.
  [[nodiscard]] std::span<const PlacedAddress> places(const IpAddress& address) const;
  [[nodiscard]] const std::map<IpAddress, std::vector<PlacedAddress>>& addresses() const {
    return addresses_;
  }

 private:
  Changed on_link(nlmsghdr& message);
  Changed on_address(nlmsghdr& message);

  std::map<uint32_t, Link> links_;
  std::map<IpAddress, std::vector<PlacedAddress>> addresses_;
};

/// Fills `table` with what there is now. Waits for the kernel: some ms with some thousand addresses.
[[nodiscard]] Result<void> read_links(NetlinkSocket& socket, LinkTable& table);

/// The interface through which packets to `address` leave; nothing without a route, or where it is local.
[[nodiscard]] std::optional<uint32_t> routed_interface(NetlinkSocket& socket, const IpAddress& address);

}  // namespace itgtd::ha
