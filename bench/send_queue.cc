#include "bench/send_queue.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/crc32c.h"
#include "bench/pdu.h"

namespace itgtd::bench {
namespace {

constexpr size_t kIovecsPerPdu = 3;      // header, payload, padding with digest
constexpr size_t kIovecsPerCall = 1024;  // UIO_MAXIOV
constexpr size_t kTailBytesMax = 3 + iscsi::kDigestBytes;
constexpr size_t kArenaPerPdu = iscsi::kBhsBytes + iscsi::kDigestBytes + kTailBytesMax;

}  // namespace

SendQueue::SendQueue(bool header_digest, bool data_digest)
    : header_digest_(header_digest), data_digest_(data_digest), arena_(kPdusMax * kArenaPerPdu) {
  iovecs_.reserve(kPdusMax * kIovecsPerPdu);
}

void SendQueue::append(Bytes part) {
  // What follows its predecessor in the arena goes out with it: many reads are one iovec.
  if (iovecs_.size() > first_) {
    iovec& last = iovecs_.back();
    if (static_cast<std::byte*>(last.iov_base) + last.iov_len == part.data()) {
      last.iov_len += part.size();
      return;
    }
  }
  iovecs_.push_back({part.data(), part.size()});
}

void SendQueue::push(ConstBytes bhs, ConstBytes payload) {
  ITGTD_ASSERT(has_room());
  ++pdus_;
  Bytes header = Bytes(arena_).subspan(arena_used_, iscsi::kBhsBytes);
  std::copy(bhs.begin(), bhs.end(), header.begin());
  arena_used_ += header.size();
  if (header_digest_) {
    const Bytes digest = Bytes(arena_).subspan(arena_used_, iscsi::kDigestBytes);
    put_digest(digest, crc32c(header));
    arena_used_ += digest.size();
    header = Bytes(header.data(), header.size() + digest.size());
  }
  append(header);
  if (payload.empty()) return;
  // sendmsg only reads; iovec has no const.
  iovecs_.push_back({const_cast<std::byte*>(payload.data()), payload.size()});
  const size_t padding = iscsi::padding_of(static_cast<uint32_t>(payload.size()));
  const size_t tail_bytes = padding + (data_digest_ ? iscsi::kDigestBytes : 0);
  if (tail_bytes == 0) return;
  const Bytes tail = Bytes(arena_).subspan(arena_used_, tail_bytes);
  arena_used_ += tail_bytes;
  std::fill_n(tail.begin(), padding, std::byte{0});
  if (data_digest_) {
    // RFC 7143 §11.2.3: the digest covers the padding.
    const uint32_t crc = crc32c_update(crc32c_update(kCrc32cSeed, payload), tail.first(padding));
    put_digest(tail.subspan(padding), crc32c_finish(crc));
  }
  append(tail);
}

void SendQueue::consume(size_t sent) {
  while (sent > 0) {
    iovec& front = iovecs_[first_];
    const size_t taken = std::min(sent, front.iov_len);
    front.iov_base = static_cast<std::byte*>(front.iov_base) + taken;
    front.iov_len -= taken;
    sent -= taken;
    if (front.iov_len == 0) ++first_;
  }
  if (first_ < iovecs_.size()) return;
  iovecs_.clear();
  first_ = 0;
  arena_used_ = 0;
  pdus_ = 0;
}

int SendQueue::flush(int fd) {
  while (!empty()) {
    msghdr message{};
    message.msg_iov = &iovecs_[first_];
    message.msg_iovlen = std::min(iovecs_.size() - first_, kIovecsPerCall);
    const ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      consume(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      return 0;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace itgtd::bench
