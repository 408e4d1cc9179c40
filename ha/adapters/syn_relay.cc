#include "ha/adapters/syn_relay.h"

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/address.h"
#include "base/log.h"

namespace itgtd::ha {
namespace {

constexpr size_t kPacketBytesMax = 2048;
constexpr int kPacketsEachTurn = 64;

// TCP alone, so that a busy node is not woken for everything: parse_syn() looks at the rest. Offsets of the
// IP header.
constexpr std::array<sock_filter, 4> tcp_at(uint32_t offset) {
  return {{{BPF_LD | BPF_B | BPF_ABS, 0, 0, offset},
           {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, IPPROTO_TCP},
           {BPF_RET | BPF_K, 0, 0, kPacketBytesMax},
           {BPF_RET | BPF_K, 0, 0, 0}}};
}
constexpr uint32_t kProtocolOfIpv4 = 9;
constexpr uint32_t kNextHeaderOfIpv6 = 6;

/// Below 0: it can't be had, and requests of that family are sent again by the initiators themselves.
int open_listener(uint16_t ether_type, uint32_t protocol_offset) {
  // Without a protocol it hears nothing until the filter is in place.
  Descriptor socket(::socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  std::array<sock_filter, 4> code = tcp_at(protocol_offset);
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  sockaddr_ll any{};
  any.sll_family = AF_PACKET;
  any.sll_protocol = htons(ether_type);
  const int yes = 1;
  if (!socket.ok() ||
      ::setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0 ||
      ::setsockopt(socket.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes) != 0 ||
      ::bind(socket.get(), static_cast<const sockaddr*>(static_cast<const void*>(&any)), sizeof any) != 0) {
    return -1;
  }
  return socket.release();
}

}  // namespace

void SynRelay::listen() {
  if (held_.empty()) {
    watch_ipv4_.reset();
    watch_ipv6_.reset();
    hears_ipv4_.reset();
    hears_ipv6_.reset();
    return;
  }
  if (hears_ipv4_ || hears_ipv6_) return;
  hears_ipv4_.emplace(open_listener(ETH_P_IP, kProtocolOfIpv4));
  hears_ipv6_.emplace(open_listener(ETH_P_IPV6, kNextHeaderOfIpv6));
  if (hears_ipv4_->ok())
    watch_ipv4_ = loop_.watch_readable(hears_ipv4_->get(), [this] { on_packets(*hears_ipv4_); });
  if (hears_ipv6_->ok())
    watch_ipv6_ = loop_.watch_readable(hears_ipv6_->get(), [this] { on_packets(*hears_ipv6_); });
}

void SynRelay::hold(const std::string& group, const std::vector<std::string>& portals) {
  Held& held = held_[group];
  held.requests.clear();
  held.portals.clear();
  for (const std::string& text : portals) {
    if (Result<IpEndpoint> portal = IpEndpoint::parse(text)) held.portals.push_back(*portal);
  }
  held.deadline = loop_.timer(kHoldMax, [this, group] { drop(group); });
  listen();
}

void SynRelay::drop(const std::string& group) {
  if (held_.erase(group) != 0) listen();
}

void SynRelay::release(const std::string& group) {
  const auto found = held_.find(group);
  if (found == held_.end()) return;
  // What has come by now and was not read yet.
  on_packets(*hears_ipv4_);
  on_packets(*hears_ipv6_);
  for (const auto& [peer, request] : found->second.requests) send(request);
  drop(group);
}

void SynRelay::on_packets(const Descriptor& socket) {
  std::array<std::byte, kPacketBytesMax> bytes{};
  for (int i = 0; i < kPacketsEachTurn; ++i) {
    const ssize_t received = ::recv(socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (received < 0) return;
    auto request = parse_syn(ConstBytes(bytes).first(static_cast<size_t>(received)));
    if (!request) continue;
    for (auto& [group, held] : held_) {
      if (std::ranges::find(held.portals, request->local) == held.portals.end()) continue;
      // Sent again by the initiator, it is the same request.
      if (held.requests.size() < kRequestsMax) held.requests.insert_or_assign(request->peer, *request);
    }
  }
}

void SynRelay::send(const ConnectionRequest& request) {
  // With IPPROTO_RAW the IP header goes as it is; the kernel looks the way up by the destination alone.
  const int family = request.local.address.ipv6 ? AF_INET6 : AF_INET;
  const Descriptor socket(::socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW));
  const auto to = Address::parse(request.local.address.to_string(), 0);
  if (!socket.ok() || !to) return;
  const ssize_t sent = ::sendto(socket.get(), request.packet.data(), request.packet.size(),
                                MSG_DONTWAIT | MSG_NOSIGNAL, to.value().data(), to.value().size());
  if (sent > 0) ++relayed_;
  log::debug("SynRelay: the request of {} for {} is sent on{}", request.peer.to_string(),
             request.local.to_string(), sent > 0 ? "" : ": failed");
}

}  // namespace itgtd::ha
