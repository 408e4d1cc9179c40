#include "ha/adapters/netlink.h"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace itgtd::ha {
namespace {

// More than any message that the kernel builds: dumps come in pieces of up to 32 KiB.
constexpr size_t kReceiveBytes = 64 * 1024;
constexpr int kAnswerMsMax = 1000;

void set_option(int fd, int level, int name, int value) {
  // Best effort: without it, messages are less clear or are lost (and asked for again) sooner.
  (void)::setsockopt(fd, level, name, &value, sizeof value);
}

}  // namespace

NetlinkMessage::NetlinkMessage(int type, int flags, uint32_t sequence, size_t bytes)
    : message_(nlmsg_alloc_size(bytes)) {
  ITGTD_ASSERT(message_ != nullptr);
  nlmsghdr* header = nlmsg_put(message_.get(), 0, sequence, type, 0, flags | NLM_F_REQUEST);
  ITGTD_ASSERT(header != nullptr);
}

void NetlinkMessage::put_header(const void* header, size_t bytes) {
  void* room = nlmsg_reserve(message_.get(), bytes, NLMSG_ALIGNTO);
  ITGTD_ASSERT(room != nullptr);
  std::memcpy(room, header, bytes);
}

void NetlinkMessage::put(int attribute, const void* value, size_t bytes) {
  ITGTD_ASSERT(nla_put(message_.get(), attribute, static_cast<int>(bytes), value) == 0);
}

void NetlinkMessage::put_text(int attribute, const char* text) {
  ITGTD_ASSERT(nla_put_string(message_.get(), attribute, text) == 0);
}

nlattr* NetlinkMessage::begin(int attribute) {
  nlattr* nest = nla_nest_start(message_.get(), attribute | NLA_F_NESTED);
  ITGTD_ASSERT(nest != nullptr);
  return nest;
}

void NetlinkMessage::end(nlattr* nest) {
  nla_nest_end(message_.get(), nest);
}

ConstBytes NetlinkMessage::bytes() const {
  const nlmsghdr* header = nlmsg_hdr(message_.get());
  return {static_cast<const std::byte*>(static_cast<const void*>(header)),
          size_t{NLMSG_ALIGN(header->nlmsg_len)}};
}

Result<NetlinkSocket> NetlinkSocket::open(int protocol, std::initializer_list<int> groups,
                                          int receive_bytes) {
  NetlinkSocket opened(nl_socket_alloc());
  if (!opened.socket_) return Error{ENOMEM, "cannot make a netlink socket"};
  if (const int failed = nl_connect(opened.socket_.get(), protocol); failed < 0) {
    return Error{0, fmt::format("cannot open netlink (protocol {}): {}", protocol, nl_geterror(failed))};
  }
  for (const int group : groups) {
    if (const int failed = nl_socket_add_memberships(opened.socket_.get(), group, 0); failed < 0) {
      return Error{0, fmt::format("cannot hear netlink group {} (protocol {}): {}", group, protocol,
                                  nl_geterror(failed))};
    }
  }
  const int fd = opened.fd();
  // The limit of SO_RCVBUF is the machine's; FORCE needs CAP_NET_ADMIN, which whoever changes addresses has.
  set_option(fd, SOL_SOCKET, SO_RCVBUF, receive_bytes);
  set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, receive_bytes);
  set_option(fd, SOL_SOCKET, SO_SNDBUF, 2 * static_cast<int>(kSendBytesMax));
  set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, 2 * static_cast<int>(kSendBytesMax));
  set_option(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
  set_option(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
  set_option(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
  opened.buffer_.resize(kReceiveBytes);
  return opened;
}

Result<void> NetlinkSocket::send(ConstBytes messages) {
  ITGTD_ASSERT(messages.size() <= kSendBytesMax);
  ssize_t sent = 0;
  do {
    sent = ::send(fd(), messages.data(), messages.size(), MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return Error{errno, "cannot send to netlink"};
  return {};
}

NetlinkSocket::Received NetlinkSocket::receive(const std::function<void(nlmsghdr&)>& on_message) {
  bool lost = false;
  for (;;) {
    const ssize_t received = ::recv(fd(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (received < 0) {
      if (errno == EINTR) continue;
      if (errno != ENOBUFS) break;
      lost = true;
      continue;
    }
    int left = static_cast<int>(received);
    auto* header = static_cast<nlmsghdr*>(static_cast<void*>(buffer_.data()));
    for (; nlmsg_ok(header, left) != 0; header = nlmsg_next(header, &left)) on_message(*header);
  }
  return lost ? Received::overrun : Received::drained;
}

Result<void> NetlinkSocket::ask(ConstBytes request, const std::function<void(nlmsghdr&)>& on_answer) {
  nlmsghdr asked{};
  std::memcpy(&asked, request.data(), sizeof asked);
  if (auto sent = send(request); !sent.ok()) return sent;
  bool ended = false;
  Result<void> result;
  while (!ended) {
    pollfd readable{fd(), POLLIN, 0};
    if (::poll(&readable, 1, kAnswerMsMax) <= 0) return Error{ETIMEDOUT, "netlink does not answer"};
    const Received received = receive([&](nlmsghdr& message) {
      if (message.nlmsg_seq != asked.nlmsg_seq || ended) return;
      if ((message.nlmsg_flags & NLM_F_DUMP_INTR) != 0) {
        result = Error{EINTR, "what netlink tells changed while it told it"};
      }
      if (message.nlmsg_type == NLMSG_DONE) {
        ended = true;
      } else if (message.nlmsg_type == NLMSG_ERROR) {
        ended = true;
        if (Error error = netlink_error(message); error.code != 0) result = std::move(error);
      } else {
        on_answer(message);
      }
    });
    if (received == Received::overrun) return Error{ENOBUFS, "answers of netlink were lost"};
  }
  return result;
}

Error netlink_error(nlmsghdr& message) {
  Error error;
  if (message.nlmsg_len < NLMSG_LENGTH(sizeof(nlmsgerr))) return {EBADMSG, "netlink's error is cut short"};
  nlmsgerr details{};
  std::memcpy(&details, nlmsg_data(&message), sizeof details);
  error.code = -details.error;
  if ((message.nlmsg_flags & NLM_F_ACK_TLVS) == 0) return error;
  // With NETLINK_CAP_ACK nothing of the request but its header stands before the attributes.
  const nlattr* text = nlmsg_find_attr(&message, sizeof(nlmsgerr), NLMSGERR_ATTR_MSG);
  if (text != nullptr && nla_len(text) > 1) {
    const ConstBytes words = netlink_bytes(*text);
    error.message = as_text(words.first(words.size() - 1));
  }
  return error;
}

ConstBytes netlink_bytes(const nlattr& attribute) {
  return {static_cast<const std::byte*>(nla_data(&attribute)), static_cast<size_t>(nla_len(&attribute))};
}

}  // namespace itgtd::ha
