#include "ha/adapters/gate.h"

// Before the kernel's headers, which then leave out what it defines.
#include <netinet/in.h>

#include <fmt/format.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>

#include "base/clock.h"
#include "base/log.h"
#include "ha/adapters/ip_address.h"
#include "ha/adapters/nft_sets.h"

namespace itgtd::ha {
namespace {

using std::chrono::milliseconds;
using Keys = std::vector<std::vector<std::byte>>;

constexpr const char* kTable = "itgtd";
// For changes of which no event was heard.
constexpr milliseconds kCheckEvery{1'000};
constexpr int kEventBytes = 4 * 1024 * 1024;
constexpr int kAnswerBytes = 1024 * 1024;
// A lease that ends this soon may have ended in the kernel already.
constexpr milliseconds kLeaseSlack{100};

struct SetNames {
  const char* portals;
  const char* open;
  const char* held;
};
constexpr SetNames kSets4{"portals4", "open4", "held4"};
constexpr SetNames kSets6{"portals6", "open6", "held6"};
const SetNames& sets_of(bool ipv6) {
  return ipv6 ? kSets6 : kSets4;
}

// A concatenation: each part in whole 32-bit registers.
std::vector<std::byte> key_of(const IpEndpoint& portal) {
  const ConstBytes address = portal.address.bytes();
  std::vector<std::byte> key(address.begin(), address.end());
  key.push_back(static_cast<std::byte>(portal.port >> 8));
  key.push_back(static_cast<std::byte>(portal.port & 0xFF));
  key.resize(key.size() + 2);
  return key;
}

std::optional<IpEndpoint> portal_of(ConstBytes key) {
  if (key.size() < 4) return std::nullopt;
  const auto address = IpAddress::of(key.first(key.size() - 4));
  if (!address) return std::nullopt;
  const ConstBytes port = key.last(4);
  return IpEndpoint{*address, static_cast<uint16_t>(std::to_integer<unsigned>(port[0]) << 8 |
                                                    std::to_integer<unsigned>(port[1]))};
}

// One of each family, so that a rule can look the packet's own up.
Keys lease_keys() {
  return {std::vector(1, std::byte{NFPROTO_IPV4}), std::vector(1, std::byte{NFPROTO_IPV6})};
}

Result<std::set<IpEndpoint>> parse(const std::vector<std::string>& texts) {
  std::set<IpEndpoint> portals;
  for (const std::string& text : texts) {
    Result<IpEndpoint> portal = IpEndpoint::parse(text);
    if (!portal.ok()) return portal.error();
    portals.insert(*portal);
  }
  return portals;
}

Keys keys_of(const std::set<IpEndpoint>& portals, bool ipv6) {
  Keys keys;
  for (const IpEndpoint& portal : portals) {
    if (portal.address.ipv6 == ipv6) keys.push_back(key_of(portal));
  }
  return keys;
}

// "add element ..." of the members of one family; empty: nothing to add.
std::string add_text(const char* set, const std::set<IpEndpoint>& portals, bool ipv6) {
  std::string elements;
  for (const IpEndpoint& portal : portals) {
    if (portal.address.ipv6 != ipv6) continue;
    elements +=
        fmt::format("{}{} . {}", elements.empty() ? "" : ",", portal.address.to_string(), portal.port);
  }
  if (elements.empty()) return {};
  return fmt::format("add element inet {} {} {{{}}}\n", kTable, set, elements);
}

// To delete and make a table is one transaction: no packet sees what is between. `return` and not `accept`:
// what others have to say about the packet stays theirs.
constexpr const char* kRuleset = R"(
add table inet itgtd
delete table inet itgtd
table inet itgtd {
  set portals4 { type ipv4_addr . inet_service; }
  set portals6 { type ipv6_addr . inet_service; }
  set open4 { type ipv4_addr . inet_service; }
  set open6 { type ipv6_addr . inet_service; }
  set held4 { type ipv4_addr . inet_service; }
  set held6 { type ipv6_addr . inet_service; }
  set lease { type nf_proto; flags timeout; }
  chain to4 {
    tcp flags & (syn | ack) == syn ip daddr . tcp dport @held4 drop
    ip daddr . tcp dport @open4 meta nfproto @lease return
    counter drop
  }
  chain to6 {
    tcp flags & (syn | ack) == syn ip6 daddr . tcp dport @held6 drop
    ip6 daddr . tcp dport @open6 meta nfproto @lease return
    counter drop
  }
  chain from4 {
    ip saddr . tcp sport @open4 meta nfproto @lease return
    counter drop
  }
  chain from6 {
    ip6 saddr . tcp sport @open6 meta nfproto @lease return
    counter drop
  }
  chain input {
    type filter hook input priority -10; policy accept;
    ip daddr . tcp dport @portals4 jump to4
    ip6 daddr . tcp dport @portals6 jump to6
  }
  chain output {
    type filter hook output priority -10; policy accept;
    ip saddr . tcp sport @portals4 jump from4
    ip6 saddr . tcp sport @portals6 jump from6
  }
}
)";

struct FreeContext {
  void operator()(nft_ctx* context) const { nft_ctx_free(context); }
};

}  // namespace

struct Gate::Impl {
  explicit Impl(control::EventLoop& events_loop) : loop(events_loop) {}

  control::EventLoop& loop;
  std::unique_ptr<nft_ctx, FreeContext> context;
  std::optional<NetlinkSocket> requests;
  std::optional<NetlinkSocket> events;
  bool guarding = false;  ///< true exactly when the table is to be there
  std::set<IpEndpoint> guarded;
  std::set<IpEndpoint> opened;
  std::set<IpEndpoint> held;
  Instant lease_until{};
  std::set<uint64_t> rules;  ///< handles of our rules
  uint32_t generation = 0;   ///< of the ruleset when it was last known to be right, and our changes since
  uint64_t restored = 0;
  control::Subscription watch;
  control::Subscription check;

  Result<void> start() {
    if (events) return {};
    auto asks = NetlinkSocket::open(NETLINK_NETFILTER, {}, kAnswerBytes);
    if (!asks.ok()) return without_nftables(asks.error());
    auto hears = NetlinkSocket::open(NETLINK_NETFILTER, {NFNLGRP_NFTABLES}, kEventBytes);
    if (!hears.ok()) return without_nftables(hears.error());
    context.reset(nft_ctx_new(NFT_CTX_DEFAULT));
    if (!context) return Error{ENOMEM, "libnftables gives no context"};
    nft_ctx_buffer_output(context.get());
    nft_ctx_buffer_error(context.get());
    requests = std::move(*asks);
    events = std::move(*hears);
    watch = loop.watch_readable(events->fd(), [this] { on_events(); });
    return {};
  }

  static Error without_nftables(const Error& error) {
    return {error.code,
            fmt::format(
                "portals cannot be guarded without nftables: {}; the daemon needs CAP_NET_ADMIN and a kernel "
                "with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET (modprobe nf_tables)",
                error.message)};
  }

  Result<void> run(const std::string& commands) {
    const int failed = nft_run_cmd_from_buffer(context.get(), commands.c_str());
    const char* said = nft_ctx_get_error_buffer(context.get());
    if (failed == 0) return {};
    // The first line says what; those behind it show where in the commands.
    const std::string_view words = said == nullptr ? std::string_view() : std::string_view(said);
    return without_nftables({0, std::string(words.substr(0, words.find('\n')))});
  }

  /// Makes the table as it ought to be, in one transaction.
  Result<void> put() {
    std::string commands = kRuleset;
    for (const bool ipv6 : {false, true}) {
      commands += add_text(sets_of(ipv6).portals, guarded, ipv6);
      commands += add_text(sets_of(ipv6).open, opened, ipv6);
      commands += add_text(sets_of(ipv6).held, held, ipv6);
    }
    if (const auto left = lease_left(); left.count() > 0) {
      commands += fmt::format("add element inet {0} lease {{ipv4 timeout {1}ms, ipv6 timeout {1}ms}}\n",
                              kTable, left.count());
    }
    if (auto done = run(commands); !done.ok()) return done;
    auto handles = nft_rules(*requests, kTable);
    if (!handles.ok()) return handles.error();
    rules = std::move(*handles);
    // Events of what we have just done; those of somebody else in between are found by the next check.
    (void)events->receive([](nlmsghdr&) {});
    note_generation();
    return {};
  }

  [[nodiscard]] milliseconds lease_left() const {
    return std::chrono::duration_cast<milliseconds>(lease_until - now());
  }

  void note_generation() {
    Result<uint32_t> present = nft_generation(*requests);
    generation = present.ok() ? *present : 0;
  }

  /// What an earlier daemon left open, and its lease.
  void adopt() {
    for (const bool ipv6 : {false, true}) {
      auto elements = nft_elements(*requests, kTable, sets_of(ipv6).open);
      if (!elements.ok()) return;
      for (const NftElement& element : *elements) {
        if (const auto portal = portal_of(element.key)) opened.insert(*portal);
      }
    }
    auto lease = nft_elements(*requests, kTable, "lease");
    if (!lease.ok()) return;
    for (const NftElement& element : *lease) {
      if (element.left) lease_until = std::max(lease_until, now() + *element.left);
    }
  }

  /// Commits what was appended; where the table has gone, makes it anew with all that is wanted by now.
  Result<void> commit(NftTransaction& transaction) {
    const Result<void> done = transaction.commit();
    if (done.ok()) {
      ++generation;
      return done;
    }
    if (done.error().code != ENOENT) return done;
    return put_back();
  }

  Result<void> put_back() {
    ++restored;
    log::warning("Gate: table inet {} was changed by somebody else; put back", kTable);
    return put();
  }

  /// Puts portals into the sets, or takes them out, in one transaction.
  Result<void> change(const std::vector<std::string>& portals, bool is_open, bool is_held) {
    auto parsed = parse(portals);
    if (!parsed.ok()) return parsed.error();
    if (!guarding) return Error{0, "the gate guards nothing yet"};
    NftTransaction transaction(*requests, kTable);
    for (const bool ipv6 : {false, true}) {
      const Keys keys = keys_of(*parsed, ipv6);
      if (keys.empty()) continue;
      const SetNames& sets = sets_of(ipv6);
      is_open ? transaction.add(sets.open, keys) : transaction.remove(sets.open, keys);
      is_held ? transaction.add(sets.held, keys) : transaction.remove(sets.held, keys);
    }
    for (const IpEndpoint& portal : *parsed) {
      is_open ? void(opened.insert(portal)) : void(opened.erase(portal));
      is_held ? void(held.insert(portal)) : void(held.erase(portal));
    }
    return commit(transaction);
  }

  // --- what others do ---

  void on_events() {
    bool ours = false;
    const auto received = events->receive([&](nlmsghdr& message) {
      if (message.nlmsg_pid != requests->port() && nft_is_about(message, kTable)) ours = true;
    });
    if (ours || received == NetlinkSocket::Received::overrun) verify();
  }

  void check_later() {
    check = loop.timer(kCheckEvery, [this] {
      Result<uint32_t> present = nft_generation(*requests);
      if (!present.ok() || *present != generation) verify();
      check_later();
    });
  }

  void verify() {
    if (!guarding) return;
    if (is_right()) {
      note_generation();
      return;
    }
    if (const Result<void> put = put_back(); !put.ok()) {
      // The next check tries again; until then generation differs.
      generation = 0;
      log::error("Gate: cannot put the table back: {}", put.error().to_string());
    }
  }

  [[nodiscard]] bool is_right() {
    if (!nft_table_works(*requests, kTable)) return false;
    auto handles = nft_rules(*requests, kTable);
    if (!handles.ok() || *handles != rules) return false;
    for (const bool ipv6 : {false, true}) {
      const SetNames& sets = sets_of(ipv6);
      if (!holds(sets.portals, guarded, ipv6) || !holds(sets.open, opened, ipv6) ||
          !holds(sets.held, held, ipv6)) {
        return false;
      }
    }
    auto lease = nft_elements(*requests, kTable, "lease");
    if (!lease.ok()) return false;
    if (lease_left() > kLeaseSlack) return lease->size() == lease_keys().size();
    return lease_left().count() > 0 || lease->empty();
  }

  [[nodiscard]] bool holds(const char* set, const std::set<IpEndpoint>& portals, bool ipv6) {
    auto elements = nft_elements(*requests, kTable, set);
    if (!elements.ok()) return false;
    const Keys wanted = keys_of(portals, ipv6);
    const std::set<std::vector<std::byte>> missing(wanted.begin(), wanted.end());
    return elements->size() == missing.size() &&
           std::all_of(elements->begin(), elements->end(),
                       [&](const NftElement& element) { return missing.contains(element.key); });
  }
};

Gate::Gate(control::EventLoop& loop) : impl_(std::make_unique<Impl>(loop)) {}
Gate::~Gate() = default;

Result<void> Gate::prepare() {
  return impl_->start();
}

Result<void> Gate::guard(const std::vector<std::string>& portals) {
  auto parsed = parse(portals);
  if (!parsed.ok()) return parsed.error();
  if (auto started = impl_->start(); !started.ok()) return started;
  if (!impl_->guarding) impl_->adopt();
  impl_->guarded = std::move(*parsed);
  const auto gone = [&](const IpEndpoint& portal) { return !impl_->guarded.contains(portal); };
  std::erase_if(impl_->opened, gone);
  std::erase_if(impl_->held, gone);
  if (auto done = impl_->put(); !done.ok()) return done;
  impl_->guarding = true;
  impl_->check_later();
  return {};
}

Result<void> Gate::open(const std::vector<std::string>& portals) {
  return impl_->change(portals, true, false);
}

Result<void> Gate::hold_new(const std::vector<std::string>& portals) {
  return impl_->change(portals, true, true);
}

Result<void> Gate::close(const std::vector<std::string>& portals) {
  return impl_->change(portals, false, false);
}

Result<void> Gate::lease(TimeMs left_ms) {
  if (!impl_->guarding) return Error{0, "the gate guards nothing yet"};
  impl_->lease_until = now() + milliseconds(left_ms);
  // A timeout cannot be changed in place before kernel 6.12: out and in again, at once for every packet.
  NftTransaction transaction(*impl_->requests, kTable);
  transaction.flush("lease");
  if (left_ms > 0) transaction.add("lease", lease_keys(), milliseconds(left_ms));
  return impl_->commit(transaction);
}

void Gate::remove() {
  if (!impl_->events) {
    if (!impl_->start().ok()) return;
  }
  impl_->guarding = false;
  impl_->check.reset();
  impl_->guarded.clear();
  impl_->opened.clear();
  impl_->lease_until = {};
  if (const auto done = impl_->run(fmt::format("add table inet {0}\ndelete table inet {0}\n", kTable));
      !done.ok()) {
    log::warning("Gate: cannot remove table inet {}: {}", kTable, done.error().to_string());
  }
}

uint64_t Gate::restored() const {
  return impl_->restored;
}

}  // namespace itgtd::ha
