#include "ha/adapters/tickler.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/log.h"
#include "ha/adapters/packets.h"

namespace itgtd::ha {
namespace {

using std::chrono::milliseconds;

struct Round {
  milliseconds after;
  uint32_t seq;
};
// The answer goes to whom the initiator takes for the owner: the first round waits until the announcement of
// the address, which is sent at the same time, has been heard. Linux answers one segment out of the window in
// 500 ms (tcp_invalid_ratelimit): an answer that is lost comes again only after that. Of the sequence numbers
// at most one can be in a window.
// The late rounds are for an address that its former owner, which hangs, claimed a while longer.
constexpr std::array<Round, 5> kRounds = {{{milliseconds(30), 0x10000000},
                                           {milliseconds(560), 0x40000000},
                                           {milliseconds(1100), 0x70000000},
                                           {milliseconds(2550), 0xA0000000},
                                           {milliseconds(3550), 0xD0000000}}};
// How long one turn of the loop may be held up.
constexpr milliseconds kTurn{2};

}  // namespace

void Tickler::tickle(const std::vector<TcpPair>& pairs) {
  const size_t taken = std::min(pairs.size(), kPairsMax - pairs_);
  if (taken < pairs.size()) log::warning("Tickler: {} connections left out: too many", pairs.size() - taken);
  if (taken == 0) return;
  Batch batch;
  batch.pairs.assign(pairs.begin(), pairs.begin() + static_cast<ptrdiff_t>(taken));
  batch.begun = now();
  pairs_ += taken;
  batches_.emplace(batch.begun + kRounds.front().after, std::move(batch));
  timer_ = loop_.timer(milliseconds(0), [this] { send_due(); });
}

void Tickler::send_due() {
  const Instant at = now();
  while (!batches_.empty() && batches_.begin()->first <= at) {
    const auto first = batches_.begin();
    Batch& batch = first->second;
    if (!send_round(batch, at + kTurn)) break;
    if (batch.round == 0 && batch.left_out != 0) {
      log::warning("Tickler: {} of {} connections left out: no two addresses with ports", batch.left_out,
                   batch.pairs.size());
    }
    batch.next = 0;
    ++batch.round;
    if (batch.round == kRounds.size()) {
      pairs_ -= batch.pairs.size();
    } else {
      batches_.emplace(batch.begun + kRounds.at(batch.round).after, std::move(batch));
    }
    batches_.erase(first);
  }
  if (batches_.empty()) return;
  // Rounded up: what is due must be due when the timer says so.
  const auto wait = std::chrono::ceil<milliseconds>(batches_.begin()->first - now());
  timer_ = loop_.timer(std::max(wait, milliseconds(0)), [this] { send_due(); });
}

bool Tickler::send_round(Batch& batch, Instant turn_ends) {
  for (; batch.next < batch.pairs.size(); ++batch.next) {
    if (now() >= turn_ends) return false;
    const bool sent = send(batch.pairs[batch.next], kRounds.at(batch.round).seq);
    if (!sent && batch.round == 0) ++batch.left_out;
  }
  return true;
}

bool Tickler::send(const TcpPair& texts, uint32_t seq) {
  Result<IpEndpoint> local = IpEndpoint::parse(texts.local);
  Result<IpEndpoint> peer = IpEndpoint::parse(texts.peer);
  if (!local.ok() || !peer.ok() || local->address.ipv6 != peer->address.ipv6) return false;
  const bool ipv6 = local->address.ipv6;
  std::optional<Descriptor>& socket = ipv6 ? ipv6_ : ipv4_;
  if (!socket) {
    // With IPPROTO_RAW the IP header is ours as well, for both families, and nothing is received.
    socket.emplace(::socket(ipv6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW));
    if (!socket->ok()) {
      log::warning("Tickler: cannot open a raw socket: {}; needs CAP_NET_RAW", std::strerror(errno));
    }
  }
  if (!socket->ok()) return true;
  // A raw IPv6 socket takes the port for a protocol: none.
  Result<Address> to = Address::parse(peer->address.to_string(), 0);
  if (!to.ok()) return false;
  const std::vector<std::byte> packet = tickle_ack(*local, *peer, seq);
  // What cannot be sent now is sent in the next round, and the initiator's own timers come after that.
  (void)::sendto(socket->get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL, to->data(),
                 to->size());
  return true;
}

}  // namespace itgtd::ha
