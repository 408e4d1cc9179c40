#include "ha/adapters/link_table.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace itgtd::ha {
namespace {

// A dump that raced with a change is asked for again, this often.
constexpr int kDumpTries = 5;

/// The family's header and the attributes behind it; false: cut short.
template <typename Header, size_t kCount>
bool parse(nlmsghdr& message, Header& header, std::array<nlattr*, kCount>& attributes) {
  if (message.nlmsg_len < NLMSG_LENGTH(sizeof(Header))) return false;
  std::memcpy(&header, nlmsg_data(&message), sizeof header);
  return nlmsg_parse(&message, static_cast<int>(sizeof header), attributes.data(),
                     static_cast<int>(kCount) - 1, nullptr) == 0;
}

Result<void> dump(NetlinkSocket& socket, int type, const void* header, size_t bytes, LinkTable& table) {
  NetlinkMessage request(type, NLM_F_DUMP, socket.next_sequence());
  request.put_header(header, bytes);
  return socket.ask(request.bytes(), [&](nlmsghdr& message) { (void)table.on_message(message); });
}

}  // namespace

void LinkTable::clear() {
  links_.clear();
  addresses_.clear();
}

LinkTable::Changed LinkTable::on_message(nlmsghdr& message) {
  switch (message.nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return on_link(message);
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return on_address(message);
    default:
      return Changed::nothing;
  }
}

LinkTable::Changed LinkTable::on_link(nlmsghdr& message) {
  ifinfomsg header{};
  std::array<nlattr*, IFLA_MAX + 1> attributes{};
  if (!parse(message, header, attributes)) return Changed::nothing;
  // A bridge tells of its ports by messages of its own family: not what the link itself is.
  if (header.ifi_family != AF_UNSPEC) return Changed::nothing;
  const auto index = static_cast<uint32_t>(header.ifi_index);
  if (message.nlmsg_type == RTM_DELLINK) {
    // Its addresses go with it; the kernel does not always say so for each.
    for (auto& [address, places] : addresses_) {
      std::erase_if(places, [&](const PlacedAddress& place) { return place.interface_index == index; });
    }
    std::erase_if(addresses_, [](const auto& entry) { return entry.second.empty(); });
    return links_.erase(index) == 0 ? Changed::nothing : Changed::link;
  }
  Link link;
  link.index = index;
  if (attributes[IFLA_IFNAME] != nullptr) link.name = nla_get_string(attributes[IFLA_IFNAME]);
  link.up = (header.ifi_flags & IFF_UP) != 0;
  link.carrier = (header.ifi_flags & IFF_RUNNING) != 0;
  link.loopback = (header.ifi_flags & IFF_LOOPBACK) != 0;
  Link& known = links_[index];
  if (known == link) return Changed::nothing;
  known = std::move(link);
  return Changed::link;
}

LinkTable::Changed LinkTable::on_address(nlmsghdr& message) {
  ifaddrmsg header{};
  std::array<nlattr*, IFA_MAX + 1> attributes{};
  if (!parse(message, header, attributes)) return Changed::nothing;
  // IFA_LOCAL is the own address; IFA_ADDRESS is the same but on a point-to-point link, and alone with IPv6.
  const nlattr* octets = attributes[IFA_LOCAL] != nullptr ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
  if (octets == nullptr) return Changed::nothing;
  const std::optional<IpAddress> address = IpAddress::of(netlink_bytes(*octets));
  if (!address) return Changed::nothing;
  const PlacedAddress place{header.ifa_index, header.ifa_prefixlen};
  if (message.nlmsg_type == RTM_DELADDR) {
    const auto found = addresses_.find(*address);
    if (found == addresses_.end()) return Changed::nothing;
    const size_t erased = std::erase(found->second, place);
    if (found->second.empty()) addresses_.erase(found);
    return erased == 0 ? Changed::nothing : Changed::address;
  }
  std::vector<PlacedAddress>& places = addresses_[*address];
  if (std::find(places.begin(), places.end(), place) != places.end()) return Changed::nothing;
  places.push_back(place);
  return Changed::address;
}

const Link* LinkTable::find(uint32_t index) const {
  const auto found = links_.find(index);
  return found == links_.end() ? nullptr : &found->second;
}

const Link* LinkTable::find(const std::string& name) const {
  for (const auto& [index, link] : links_) {
    if (link.name == name) return &link;
  }
  return nullptr;
}

std::span<const PlacedAddress> LinkTable::places(const IpAddress& address) const {
  const auto found = addresses_.find(address);
  if (found == addresses_.end()) return {};
  return found->second;
}

Result<void> read_links(NetlinkSocket& socket, LinkTable& table) {
  Result<void> result;
  for (int tries = 0; tries < kDumpTries; ++tries) {
    table.clear();
    const ifinfomsg link{};
    result = dump(socket, RTM_GETLINK, &link, sizeof link, table);
    const ifaddrmsg address{};
    if (result.ok()) result = dump(socket, RTM_GETADDR, &address, sizeof address, table);
    if (result.ok() || result.error().code != EINTR) return result;
  }
  return result;
}

std::optional<uint32_t> routed_interface(NetlinkSocket& socket, const IpAddress& address) {
  rtmsg header{};
  header.rtm_family = address.family();
  header.rtm_dst_len = address.bits();
  NetlinkMessage request(RTM_GETROUTE, NLM_F_ACK, socket.next_sequence());
  request.put_header(&header, sizeof header);
  request.put(RTA_DST, address.bytes());
  std::optional<uint32_t> interface;
  const Result<void> asked = socket.ask(request.bytes(), [&](nlmsghdr& message) {
    rtmsg route{};
    std::array<nlattr*, RTA_MAX + 1> attributes{};
    if (message.nlmsg_type != RTM_NEWROUTE || !parse(message, route, attributes)) return;
    if (route.rtm_type == RTN_UNICAST && attributes[RTA_OIF] != nullptr) {
      interface = nla_get_u32(attributes[RTA_OIF]);
    }
  });
  return asked.ok() ? interface : std::nullopt;
}

}  // namespace itgtd::ha
