#include "ha/adapters/addresses.h"

#include <fmt/format.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <map>
#include <optional>
#include <set>

#include "base/clock.h"
#include "base/log.h"
#include "ha/adapters/link_table.h"
#include "ha/adapters/netlink.h"

namespace itgtd::ha {
namespace {

using std::chrono::milliseconds;

// How long a VIP that could not be added, or that another machine claims, counts as failed.
constexpr milliseconds kFailedFor{60'000};
// Between two attempts to put back an address that goes away again: somebody else's mistake must not become a
// busy loop of ours.
constexpr milliseconds kRestoreStep{50};
// A route to a VIP that has no interface may come without any event that is heard here.
constexpr milliseconds kLookAgain{5'000};
// Renewing 1,600 addresses brings as many notifications, of about 1 KiB each as the kernel counts.
constexpr int kEventBytes = 16 * 1024 * 1024;
constexpr int kAnswerBytes = 4 * 1024 * 1024;
// What is sent before the clock is looked at: some ten addresses. kernel 6.18: one IPv4 address takes 20 us,
// but one IPv6 address up to 350 us where there are 800, since addrconf_verify_rtnl() walks through all.
constexpr size_t kBatchBytes = 1024;
// How long one turn of the loop may be held up; what is left goes on in the next.
constexpr milliseconds kTurn{8};
// "proto 0x49" of `ip addr`: whose address it is.
constexpr uint8_t kOwner = 0x49;
constexpr int kSettleRounds = 3;

std::string address_error(const Error& error, const std::string& address, const std::string& interface) {
  const std::string what =
      fmt::format("cannot add {} to {}: {}{}{}", address, interface, std::strerror(error.code),
                  error.message.empty() ? "" : ": ", error.message);
  if (error.code == EPERM) return what + "; run the daemon with CAP_NET_ADMIN";
  if (error.code == EACCES || error.code == EADDRNOTAVAIL) {
    return fmt::format("{}; look at /proc/sys/net/ipv6/conf/{}/disable_ipv6", what, interface);
  }
  return fmt::format("{}; try `ip address add {} dev {}`", what, address, interface);
}

}  // namespace

struct Addresses::Impl {
  struct Entry {
    Vip vip;
    std::optional<IpAddress> ip;   ///< nothing: the configuration's text is no address
    bool wanted = false;           ///< true exactly between add() and remove()
    bool send = false;             ///< to be sent though it is there: its life must be extended
    bool in_place = false;         ///< it is where and as we put it
    bool announced = false;        ///< on_added was called since it came
    bool reported = false;         ///< on_change was called at least once
    bool failed_to_add = false;    ///< the failure is the kernel's, not another machine's
    uint32_t interface_index = 0;  ///< where it is or would be; 0: nowhere
    Link link;                     ///< that interface, as last seen
    Instant deadline{};            ///< until when it may be here
    Instant kernel_until{};        ///< until when the kernel keeps it
    Instant sent{};                ///< the last attempt to add it
    Instant failed_until{};
    std::string failure;
    VipFacts facts;  ///< as last reported
  };
  struct Batch {
    std::vector<std::byte> bytes;
    std::map<uint32_t, std::string> names;  ///< by sequence number, whose message it is
  };

  Impl(control::EventLoop& events_loop, std::function<void(const Vip&, const VipFacts&)> change,
       std::function<void(const VipPlace&)> added)
      : loop(events_loop), on_change(std::move(change)), on_added(std::move(added)) {}

  control::EventLoop& loop;
  std::function<void(const Vip&, const VipFacts&)> on_change;
  std::function<void(const VipPlace&)> on_added;
  std::optional<NetlinkSocket> events;
  std::optional<NetlinkSocket> requests;
  LinkTable table;
  /// The node's own addresses: those that are no VIPs.
  std::vector<std::pair<IpAddress, PlacedAddress>> own;
  bool own_is_old = true;
  std::map<std::string, Entry> entries;  ///< by address, as the configuration writes it
  std::set<IpAddress> vips;
  uint64_t restored = 0;
  bool unfinished = false;  ///< true exactly when the turn was over before all was asked for
  control::Subscription watch;
  control::Subscription soon;   ///< settle() when the caller has returned
  control::Subscription later;  ///< at the next deadline

  Entry& entry_of(const Vip& vip) {
    Entry& entry = entries[vip.address];
    if (entry.vip != vip) {
      entry.vip = vip;
      entry.ip = IpAddress::parse(vip.address);
      entry.interface_index = 0;
      if (entry.ip) vips.insert(*entry.ip);
      own_is_old = true;
    }
    return entry;
  }

  // --- what the kernel says ---

  void read_events() {
    const auto received = events->receive([this](nlmsghdr& message) {
      if (table.on_message(message) != LinkTable::Changed::nothing) own_is_old = true;
    });
    if (received == NetlinkSocket::Received::drained) return;
    if (const Result<void> read = read_links(*requests, table); !read.ok()) {
      log::warning("Addresses: cannot read links and addresses anew: {}", read.error().to_string());
    }
    own_is_old = true;
  }

  void find_own() {
    own.clear();
    for (const auto& [address, places] : table.addresses()) {
      if (vips.contains(address)) continue;
      for (const PlacedAddress& place : places) {
        const Link* link = table.find(place.interface_index);
        if (link != nullptr && !link->loopback) own.emplace_back(address, place);
      }
    }
    own_is_old = false;
  }

  // --- where a VIP belongs ---

  /// The interface with an own address in the VIP's network: the longest prefix, then one whose link works.
  [[nodiscard]] const Link* in_network(const Entry& entry) const {
    const Link* best = nullptr;
    uint8_t best_bits = 0;
    for (const auto& [address, place] : own) {
      // A host address says nothing of a network; the VIP's own prefix may.
      const bool host = place.prefix_bits == address.bits();
      const uint8_t bits = host ? entry.vip.prefix_bits : place.prefix_bits;
      if (bits == 0 || !address.same_network(*entry.ip, bits)) continue;
      const Link* link = table.find(place.interface_index);
      if (best == nullptr || bits > best_bits || (bits == best_bits && link->works() && !best->works())) {
        best = link;
        best_bits = bits;
      }
    }
    return best;
  }

  [[nodiscard]] const Link* choose(const Entry& entry) {
    if (!entry.ip) return nullptr;
    if (!entry.vip.interface.empty()) return table.find(entry.vip.interface);
    if (const auto places = table.places(*entry.ip); !places.empty()) {
      return table.find(places.front().interface_index);
    }
    const Link* link = entry.wanted ? table.find(entry.interface_index) : nullptr;
    if (link == nullptr) link = in_network(entry);
    if (link != nullptr) return link;
    const std::optional<uint32_t> routed = routed_interface(*requests, *entry.ip);
    return routed ? table.find(*routed) : nullptr;
  }

  // --- what we ask of the kernel ---

  void append(Batch& batch, const NetlinkMessage& message, uint32_t sequence, const Entry& entry) {
    const ConstBytes bytes = message.bytes();
    if (batch.bytes.size() + bytes.size() > kBatchBytes) flush(batch);
    batch.bytes.insert(batch.bytes.end(), bytes.begin(), bytes.end());
    batch.names.emplace(sequence, entry.vip.address);
  }

  void append_add(Batch& batch, Entry& entry, Instant at) {
    const auto left = std::chrono::duration_cast<milliseconds>(entry.deadline - at);
    // Whole seconds, and never less than what was asked for.
    const auto valid_s = static_cast<uint32_t>(left.count() / 1000 + 1);
    // Without NLM_F_ACK the kernel answers only what went wrong; that it is there, its notification says.
    const uint32_t sequence = requests->next_sequence();
    NetlinkMessage message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sequence, 256);
    ifaddrmsg header{};
    header.ifa_family = entry.ip->family();
    header.ifa_prefixlen = entry.ip->bits();
    header.ifa_scope = RT_SCOPE_UNIVERSE;
    header.ifa_index = entry.interface_index;
    message.put_header(&header, sizeof header);
    message.put(IFA_LOCAL, entry.ip->bytes());
    message.put(IFA_ADDRESS, entry.ip->bytes());
    message.put_u32(IFA_FLAGS, entry.ip->ipv6 ? IFA_F_NODAD | IFA_F_NOPREFIXROUTE : IFA_F_NOPREFIXROUTE);
    ifa_cacheinfo life{};
    life.ifa_valid = valid_s;
    message.put(IFA_CACHEINFO, &life, sizeof life);
    message.put(IFA_PROTO, &kOwner, sizeof kOwner);
    append(batch, message, sequence, entry);
    entry.send = false;
    entry.sent = at;
    entry.kernel_until = at + std::chrono::seconds(valid_s);
  }

  void append_delete(Batch& batch, const Entry& entry, const PlacedAddress& place) {
    const uint32_t sequence = requests->next_sequence();
    NetlinkMessage message(RTM_DELADDR, 0, sequence, 128);
    ifaddrmsg header{};
    header.ifa_family = entry.ip->family();
    header.ifa_prefixlen = place.prefix_bits;
    header.ifa_index = place.interface_index;
    message.put_header(&header, sizeof header);
    message.put(IFA_LOCAL, entry.ip->bytes());
    append(batch, message, sequence, entry);
  }

  void flush(Batch& batch) {
    if (batch.bytes.empty()) return;
    if (const Result<void> sent = requests->send(batch.bytes); !sent.ok()) {
      for (const auto& [sequence, name] : batch.names) on_refused(name, sent.error());
    }
    (void)requests->receive([&](nlmsghdr& message) {
      const auto name = batch.names.find(message.nlmsg_seq);
      if (message.nlmsg_type != NLMSG_ERROR || name == batch.names.end()) return;
      if (const Error error = netlink_error(message); error.code != 0) on_refused(name->second, error);
    });
    batch.bytes.clear();
    batch.names.clear();
  }

  void on_refused(const std::string& name, const Error& error) {
    const auto found = entries.find(name);
    // It was being removed, and is not there or its interface has gone.
    if (found == entries.end() || !found->second.wanted) return;
    Entry& entry = found->second;
    // The interface went away under us; its return is an event.
    if (error.code == ENODEV) return;
    entry.failed_to_add = true;
    entry.failed_until = now() + kFailedFor;
    entry.failure = address_error(error, name, entry.link.name);
    log::warning("Addresses: {}", entry.failure);
  }

  // --- from what is to what is wanted ---

  void look(Entry& entry, Instant at, std::vector<const Entry*>& lost) {
    const Link* link = choose(entry);
    if (link == nullptr) {
      entry.interface_index = 0;
      entry.in_place = false;
      entry.link = Link{};
      return;
    }
    if (entry.link != *link) {
      entry.failed_until = {};
      // Who is behind the link may have changed with it.
      if (link->works() && !entry.link.works()) entry.announced = false;
      entry.link = *link;
    }
    entry.interface_index = link->index;
    const bool was_in_place = entry.in_place;
    entry.in_place = is_in_place(entry);
    if (!entry.in_place) entry.announced = false;
    if (entry.wanted && was_in_place && !entry.in_place && link->up && at < entry.deadline) {
      ++restored;
      lost.push_back(&entry);
    }
  }

  [[nodiscard]] bool is_in_place(const Entry& entry) const {
    if (!entry.ip) return false;
    const auto places = table.places(*entry.ip);
    return std::any_of(places.begin(), places.end(),
                       [&](const auto& place) { return is_ours(entry, place); });
  }
  /// IPv4 may have the address once for each prefix, IPv6 only once an interface.
  [[nodiscard]] static bool is_ours(const Entry& entry, const PlacedAddress& place) {
    return place.interface_index == entry.interface_index &&
           (entry.ip->ipv6 || place.prefix_bits == entry.ip->bits());
  }

  void want(Entry& entry, Instant at, Batch& batch) {
    if (!entry.wanted || !entry.ip) return;
    if (entry.in_place) {
      // What is left of another way to have it would outlive the lease.
      for (const PlacedAddress& place : table.places(*entry.ip)) {
        if (!is_ours(entry, place)) append_delete(batch, entry, place);
      }
    }
    if (entry.in_place && !entry.send) return;
    if (entry.failed_to_add && at < entry.failed_until) return;
    if (entry.interface_index == 0 || !entry.link.up || at >= entry.deadline) return;
    if (!entry.send && at - entry.sent < kRestoreStep) return;
    if (now() - at > kTurn) {
      unfinished = true;
      return;
    }
    append_add(batch, entry, at);
  }

  /// Asks the kernel for what is missing, until nothing is or the turn is over. Calls nobody.
  void work() {
    if (!events) return;
    for (int round = 0; round < kSettleRounds; ++round) {
      read_events();
      if (own_is_old) find_own();
      if (!ask_for_missing(now())) break;
      if (unfinished) break;
    }
    if (unfinished) settle_soon();
    wake_later();
  }

  /// Whether anything was asked for.
  bool ask_for_missing(Instant at) {
    std::vector<const Entry*> lost;
    for (auto& [name, entry] : entries) look(entry, at, lost);
    if (!lost.empty()) {
      log::warning("Addresses: {} removed by somebody else, put back; the first is {} on {}", lost.size(),
                   lost.front()->vip.address, lost.front()->link.name);
    }
    unfinished = false;
    Batch batch;
    const uint32_t before = requests->last_sequence();
    // Who waits for an address comes before those that only live on.
    for (const bool in_place : {false, true}) {
      for (auto& [name, entry] : entries) {
        if (entry.in_place == in_place) want(entry, at, batch);
      }
    }
    flush(batch);
    return requests->last_sequence() != before;
  }

  void wake_later() {
    const Instant at = now();
    Duration next = Duration::max();
    for (const auto& [name, entry] : entries) {
      if (entry.failed_until > at) next = std::min(next, entry.failed_until - at);
      if (entry.ip && entry.interface_index == 0) next = std::min<Duration>(next, kLookAgain);
      if (entry.wanted && !entry.in_place && entry.interface_index != 0 && at < entry.deadline) {
        next = std::min<Duration>(next, kRestoreStep);
      }
    }
    if (next == Duration::max()) {
      later.reset();
      return;
    }
    later =
        loop.timer(std::chrono::duration_cast<milliseconds>(next) + milliseconds(1), [this] { settle(); });
  }

  void settle() {
    work();
    report();
  }

  void settle_soon() {
    if (!events || soon) return;
    soon = loop.timer(milliseconds(0), [this] {
      soon.reset();
      settle();
    });
  }

  [[nodiscard]] VipFacts facts_of(const Entry& entry) const {
    VipFacts facts;
    if (!entry.ip) {
      facts.failed = true;
      facts.detail = fmt::format("\"{}\" is not an IPv4 or IPv6 address", entry.vip.address);
      return facts;
    }
    facts.interface = entry.interface_index != 0 ? entry.link.name : entry.vip.interface;
    facts.link = entry.link.works();
    facts.present = !table.places(*entry.ip).empty();
    facts.failed = now() < entry.failed_until;
    if (facts.failed) {
      facts.detail = entry.failure;
    } else if (entry.interface_index == 0) {
      facts.detail = facts.interface.empty()
                         ? fmt::format("no interface has an address in the network of {} or a route to it",
                                       entry.vip.address)
                         : fmt::format("there is no interface {}", facts.interface);
    } else if (!entry.link.up) {
      facts.detail = fmt::format("interface {0} is down; `ip link set {0} up`", facts.interface);
    } else if (!entry.link.carrier) {
      facts.detail = fmt::format("interface {} has no carrier", facts.interface);
    }
    return facts;
  }

  void report() {
    std::vector<std::pair<Vip, VipFacts>> changed;
    std::vector<VipPlace> added;
    for (auto& [name, entry] : entries) {
      VipFacts facts = facts_of(entry);
      if (!entry.reported || facts != entry.facts) {
        entry.reported = true;
        entry.facts = facts;
        changed.emplace_back(entry.vip, std::move(facts));
      }
      if (entry.wanted && entry.in_place && !entry.announced) {
        entry.announced = true;
        added.push_back({entry.vip.address, entry.interface_index, entry.link.name});
      }
    }
    // Only now: they may change the list.
    for (const auto& [vip, facts] : changed) on_change(vip, facts);
    for (const VipPlace& place : added) on_added(place);
  }
};

Addresses::Addresses(control::EventLoop& loop, std::function<void(const Vip&, const VipFacts&)> on_change,
                     std::function<void(const VipPlace&)> on_added)
    : impl_(std::make_unique<Impl>(loop, std::move(on_change), std::move(on_added))) {}
Addresses::~Addresses() = default;

Result<void> Addresses::start() {
  auto requests = NetlinkSocket::open(NETLINK_ROUTE, {}, kAnswerBytes);
  if (!requests.ok()) return requests.error();
  auto events = NetlinkSocket::open(NETLINK_ROUTE, {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR},
                                    kEventBytes);
  if (!events.ok()) return events.error();
  if (auto read = read_links(*requests, impl_->table); !read.ok()) return read;
  impl_->requests = std::move(*requests);
  impl_->events = std::move(*events);
  impl_->watch = impl_->loop.watch_readable(impl_->events->fd(), [this] { impl_->settle(); });
  impl_->settle_soon();
  return {};
}

void Addresses::follow(const std::vector<Vip>& vips) {
  std::set<std::string> kept;
  for (const Vip& vip : vips) kept.insert(vip.address);
  std::vector<Vip> dropped;
  for (const auto& [name, entry] : impl_->entries) {
    if (!kept.contains(name)) dropped.push_back(entry.vip);
  }
  for (const Vip& vip : dropped) {
    const Impl::Entry& entry = impl_->entries[vip.address];
    if (entry.wanted) remove(vip);
    if (entry.ip) impl_->vips.erase(*entry.ip);
    impl_->entries.erase(vip.address);
  }
  for (const Vip& vip : vips) impl_->entry_of(vip).reported = false;
  impl_->own_is_old = true;
  impl_->settle_soon();
}

void Addresses::add(const Vip& vip, TimeMs lifetime_ms) {
  Impl::Entry& entry = impl_->entry_of(vip);
  entry.wanted = true;
  entry.send = true;
  entry.announced = false;
  entry.failed_until = {};
  entry.failed_to_add = false;
  entry.deadline = now() + milliseconds(lifetime_ms);
  impl_->settle_soon();
}

void Addresses::renew(TimeMs lifetime_ms) {
  const Instant deadline = now() + milliseconds(lifetime_ms);
  for (auto& [name, entry] : impl_->entries) {
    if (!entry.wanted) continue;
    entry.deadline = deadline;
    // The kernel counts whole seconds: most renewals find that it keeps the address long enough already.
    if (!entry.in_place || deadline > entry.kernel_until) entry.send = true;
  }
  impl_->work();
  impl_->settle_soon();
}

void Addresses::remove(const Vip& vip) {
  Impl::Entry& entry = impl_->entry_of(vip);
  entry.wanted = false;
  entry.send = false;
  entry.announced = false;
  entry.failed_until = {};
  if (!impl_->events || !entry.ip) return;
  impl_->read_events();
  Impl::Batch batch;
  for (const PlacedAddress& place : impl_->table.places(*entry.ip)) impl_->append_delete(batch, entry, place);
  impl_->flush(batch);
  // So that facts() says so from now on.
  impl_->read_events();
  impl_->settle_soon();
}

void Addresses::on_conflict(const std::string& address, const std::string& hardware_address) {
  const auto found = impl_->entries.find(address);
  if (found == impl_->entries.end()) return;
  Impl::Entry& entry = found->second;
  entry.failed_to_add = false;
  entry.failed_until = now() + kFailedFor;
  entry.failure = fmt::format("another machine ({}) answers for {} on {}; take the address away from it",
                              hardware_address, address, entry.link.name);
  impl_->settle_soon();
}

VipFacts Addresses::facts(const Vip& vip) const {
  const auto found = impl_->entries.find(vip.address);
  if (found == impl_->entries.end()) return {};
  return impl_->facts_of(found->second);
}

uint64_t Addresses::restored() const {
  return impl_->restored;
}

}  // namespace itgtd::ha
