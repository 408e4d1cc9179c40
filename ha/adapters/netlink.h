// A netlink socket (libnl-3) and batches of messages for it. Control thread. The kernel works off what is
// sent before send() returns: what it has to say is there to be received then.
#pragma once

#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/socket.h>

#include <functional>
#include <initializer_list>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace itgtd::ha {

/// One message while it is built.
class NetlinkMessage {
 public:
  /// Room for `bytes` with all headers; running out of it is a bug.
  NetlinkMessage(int type, int flags, uint32_t sequence, size_t bytes = 512);
  /// The family's header, a struct of the kernel's.
  void put_header(const void* header, size_t bytes);
  void put(int attribute, const void* value, size_t bytes);
  void put(int attribute, ConstBytes value) { put(attribute, value.data(), value.size()); }
  void put_u32(int attribute, uint32_t value) { put(attribute, &value, sizeof value); }
  void put_text(int attribute, const char* text);
  /// Attributes within `attribute`, until end().
  [[nodiscard]] nlattr* begin(int attribute);
  void end(nlattr* nest);
  [[nodiscard]] ConstBytes bytes() const;

 private:
  struct Free {
    void operator()(nl_msg* message) const { nlmsg_free(message); }
  };
  std::unique_ptr<nl_msg, Free> message_;
};

class NetlinkSocket {
 public:
  /// `groups`: multicast groups to hear. `receive_bytes`: what the kernel keeps for us; beyond that it drops
  /// and says so (Received::overrun). The error says what is missing.
  static Result<NetlinkSocket> open(int protocol, std::initializer_list<int> groups, int receive_bytes);

  [[nodiscard]] int fd() const { return nl_socket_get_fd(socket_.get()); }
  /// Messages that answer or echo our requests carry this.
  [[nodiscard]] uint32_t port() const { return nl_socket_get_local_port(socket_.get()); }
  [[nodiscard]] uint32_t next_sequence() { return ++sequence_; }
  [[nodiscard]] uint32_t last_sequence() const { return sequence_; }

  /// Sends messages, one behind the other, as one datagram. At most kSendBytesMax.
  Result<void> send(ConstBytes messages);

  enum class Received {
    drained,  ///< nothing more for now
    overrun,  ///< messages were lost: ask for everything anew
  };
  /// Gives every message that has arrived to `on_message`; never waits. Messages live as long as the call.
  Received receive(const std::function<void(nlmsghdr&)>& on_message);
  /// Sends a request (with NLM_F_ACK or NLM_F_DUMP) and gives its answers to `on_answer` until its end; waits
  /// for the kernel, some ms at most.
  Result<void> ask(ConstBytes request, const std::function<void(nlmsghdr&)>& on_answer);

  /// A transaction is one datagram: this is some 12,000 portals of IPv6 that close at once.
  static constexpr size_t kSendBytesMax = 1024 * 1024;

 private:
  struct Free {
    void operator()(nl_sock* socket) const { nl_socket_free(socket); }
  };
  explicit NetlinkSocket(nl_sock* socket) : socket_(socket) {}
  std::unique_ptr<nl_sock, Free> socket_;
  std::vector<std::byte> buffer_;
  uint32_t sequence_ = 0;
};

/// The errno of an NLMSG_ERROR (0: an acknowledgement) and the kernel's own words, if it has any.
[[nodiscard]] Error netlink_error(nlmsghdr& message);

/// The payload of an attribute.
[[nodiscard]] ConstBytes netlink_bytes(const nlattr& attribute);

}  // namespace itgtd::ha
