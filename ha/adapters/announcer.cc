#include "ha/adapters/announcer.h"

// Before the kernel's headers, which then leave out what it defines.
#include <netinet/icmp6.h>
#include <netinet/in.h>

#include <fmt/format.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <set>

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/log.h"
#include "ha/adapters/packets.h"
#include "ha/adapters/tickler.h"

namespace itgtd::ha {
namespace {

using std::chrono::milliseconds;

// A node that hangs may keep the address up to 2 s longer than its lease, and its kernel, while it asks for
// initiators, says that it has it: so not much time between one and the next until that is over.
constexpr std::array<milliseconds, 10> kBurst = {
    milliseconds(0),    milliseconds(50),   milliseconds(200),  milliseconds(500),  milliseconds(1000),
    milliseconds(1500), milliseconds(2000), milliseconds(2500), milliseconds(3500), milliseconds(5000)};
constexpr milliseconds kRefresh{60'000};
constexpr milliseconds kConflictEvery{10'000};
// How long one turn of the loop may be held up by sending, and how much is read in one.
constexpr milliseconds kTurn{2};
constexpr size_t kFramesOfTurn = 256;

template <typename Sockaddr>
const sockaddr* as_sockaddr(const Sockaddr& address) {
  return static_cast<const sockaddr*>(static_cast<const void*>(&address));
}

/// Of an Ethernet interface; nothing: there is no such one.
std::optional<MacAddress> mac_of(const Descriptor& socket, const std::string& interface) {
  ifreq request{};
  if (interface.size() >= sizeof request.ifr_name) return std::nullopt;
  std::memcpy(request.ifr_name, interface.data(), interface.size());
  if (::ioctl(socket.get(), SIOCGIFHWADDR, &request) != 0) return std::nullopt;
  if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) return std::nullopt;
  MacAddress mac{};
  std::memcpy(mac.data(), request.ifr_hwaddr.sa_data, mac.size());
  return mac;
}

/// Whether an interface of this machine has it: by default Linux answers ARP for all its addresses on each.
bool is_own(const Descriptor& socket, const MacAddress& mac) {
  struct FreeNames {
    void operator()(struct if_nameindex* names) const { ::if_freenameindex(names); }
  };
  const std::unique_ptr<struct if_nameindex, FreeNames> names(::if_nameindex());
  if (!names) return false;
  for (const struct if_nameindex* name = names.get(); name->if_index != 0; ++name) {
    if (mac_of(socket, name->if_name) == mac) return true;
  }
  return false;
}

}  // namespace

struct Announcer::Impl {
  struct Item {
    VipPlace place;
    IpAddress ip;
    Instant begun{};
    Instant next{};
    size_t step = 0;  ///< of kBurst; behind its end: refreshing
    Instant conflict_told{};
  };

  Impl(control::EventLoop& events_loop, std::function<void(const std::string&, const std::string&)> conflict)
      : loop(events_loop), on_conflict(std::move(conflict)), tickler(events_loop) {}

  control::EventLoop& loop;
  std::function<void(const std::string&, const std::string&)> on_conflict;
  Tickler tickler;
  bool opened = false;
  std::optional<Descriptor> frames;  ///< sends all, receives ARP
  std::optional<Descriptor> icmp6;   ///< receives neighbour advertisements
  std::map<IpAddress, Item> items;
  std::set<std::pair<Instant, IpAddress>> due;
  control::Subscription watch_arp;
  control::Subscription watch_icmp6;
  control::Subscription timer;

  void open() {
    if (opened) return;
    opened = true;
    // Bound to ARP: the packets of the data path never come by.
    frames.emplace(::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ARP)));
    if (!frames->ok()) {
      log::warning(
          "Announcer: cannot open a packet socket: {}; addresses are not announced; needs CAP_NET_RAW",
          std::strerror(errno));
      return;
    }
    const int yes = 1;
    (void)::setsockopt(frames->get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes);
    watch_arp = loop.watch_readable(frames->get(), [this] { on_arp(); });
    open_icmp6();
  }

  // Not the packet socket: that would look at every packet of IPv6. The kernel hands ICMPv6 to a raw socket
  // only after it has been told apart and its checksum has been verified.
  void open_icmp6() {
    icmp6.emplace(::socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMPV6));
    if (!icmp6->ok()) return;  // a machine without IPv6
    icmp6_filter filter{};
    ICMP6_FILTER_SETBLOCKALL(&filter);
    ICMP6_FILTER_SETPASS(ND_NEIGHBOR_ADVERT, &filter);
    (void)::setsockopt(icmp6->get(), IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter);
    // RFC 4861 §7.1.2: what was forwarded is no neighbour's. The kernel drops it itself where this is set.
    const int hops = 255;
    (void)::setsockopt(icmp6->get(), IPPROTO_IPV6, IPV6_MINHOPCOUNT, &hops, sizeof hops);
    watch_icmp6 = loop.watch_readable(icmp6->get(), [this] { on_icmp6(); });
  }

  // --- announcing ---

  void schedule(Item& item, Instant next) {
    due.erase({item.next, item.ip});
    item.next = next;
    due.emplace(item.next, item.ip);
  }

  void arm() {
    if (due.empty()) return timer.reset();
    const auto wait = std::chrono::ceil<milliseconds>(due.begin()->first - now());
    timer = loop.timer(std::max(wait, milliseconds(0)), [this] { send_due(); });
  }

  void send_due() {
    const Instant at = now();
    std::map<std::string, std::optional<MacAddress>> macs;  // a bond's may change: asked for in each turn
    while (!due.empty() && due.begin()->first <= at && now() - at < kTurn) {
      Item& item = items.at(due.begin()->second);
      const auto [mac, unknown] = macs.try_emplace(item.place.interface);
      if (unknown) mac->second = mac_of(*frames, item.place.interface);
      if (mac->second) send(item, *mac->second);
      item.step = std::min(item.step + 1, kBurst.size());
      schedule(item, item.step < kBurst.size() ? item.begun + kBurst[item.step] : at + kRefresh);
    }
    arm();
  }

  void send(const Item& item, const MacAddress& mac) {
    if (item.ip.ipv6) return send_frame(item, neighbour_advertisement(item.ip, mac));
    send_frame(item, arp_announcement(ArpOperation::request, item.ip, mac));
    send_frame(item, arp_announcement(ArpOperation::reply, item.ip, mac));
  }

  void send_frame(const Item& item, const std::vector<std::byte>& frame) {
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = static_cast<int>(item.place.interface_index);
    // A link that is down, or has gone: its return is announced anew.
    (void)::sendto(frames->get(), frame.data(), frame.size(), MSG_DONTWAIT, as_sockaddr(to), sizeof to);
  }

  // --- hearing others ---

  void on_arp() {
    std::array<std::byte, 128> frame{};
    for (size_t i = 0; i < kFramesOfTurn; ++i) {
      sockaddr_ll from{};
      socklen_t size = sizeof from;
      const ssize_t received = ::recvfrom(frames->get(), frame.data(), frame.size(), MSG_DONTWAIT,
                                          static_cast<sockaddr*>(static_cast<void*>(&from)), &size);
      if (received < 0) return;
      const auto claim = parse_arp(ConstBytes(frame).first(static_cast<size_t>(received)));
      if (claim) on_claim(*claim, static_cast<uint32_t>(from.sll_ifindex));
    }
  }

  void on_icmp6() {
    std::array<std::byte, 256> message{};
    for (size_t i = 0; i < kFramesOfTurn; ++i) {
      sockaddr_in6 from{};
      socklen_t size = sizeof from;
      const ssize_t received = ::recvfrom(icmp6->get(), message.data(), message.size(), MSG_DONTWAIT,
                                          static_cast<sockaddr*>(static_cast<void*>(&from)), &size);
      if (received < 0) return;
      const auto claim =
          parse_neighbour_advertisement(ConstBytes(message).first(static_cast<size_t>(received)));
      // The scope is only told of link-local senders.
      if (claim) on_claim(*claim, from.sin6_scope_id);
    }
  }

  /// `interface_index`: where it was heard; 0: not known.
  void on_claim(const NeighbourClaim& claim, uint32_t interface_index) {
    const auto found = items.find(claim.address);
    if (found == items.end()) return;
    Item& item = found->second;
    // The same address in another network is another's.
    if (interface_index != 0 && interface_index != item.place.interface_index) return;
    const Instant at = now();
    if (item.conflict_told != Instant{} && at - item.conflict_told < kConflictEvery) return;
    if (is_own(*frames, claim.mac)) return;
    item.conflict_told = at;
    schedule(item, at);
    arm();
    const std::string address = item.place.address;  // the callback may withdraw it
    log::warning("Announcer: {} claims {} on {}", to_string(claim.mac), address, item.place.interface);
    on_conflict(address, to_string(claim.mac));
  }
};

Announcer::Announcer(control::EventLoop& loop,
                     std::function<void(const std::string&, const std::string&)> on_conflict)
    : impl_(std::make_unique<Impl>(loop, std::move(on_conflict))) {}
Announcer::~Announcer() = default;

void Announcer::announce(const VipPlace& place) {
  const std::optional<IpAddress> ip = IpAddress::parse(place.address);
  if (!ip) return;
  impl_->open();
  if (!impl_->frames->ok()) return;
  Impl::Item& item = impl_->items[*ip];
  item.place = place;
  item.ip = *ip;
  item.step = 0;
  item.begun = now();
  impl_->schedule(item, item.begun);
  impl_->arm();
}

void Announcer::withdraw(const std::string& address) {
  const std::optional<IpAddress> ip = IpAddress::parse(address);
  const auto found = ip ? impl_->items.find(*ip) : impl_->items.end();
  if (found == impl_->items.end()) return;
  impl_->due.erase({found->second.next, found->second.ip});
  impl_->items.erase(found);
  impl_->arm();
}

void Announcer::tickle(const std::vector<TcpPair>& pairs) {
  impl_->tickler.tickle(pairs);
}

}  // namespace itgtd::ha
