// What one connection has to send: headers copied here, payloads borrowed, sent by as few sendmsg as it
// takes.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <vector>

#include "base/bytes.h"

namespace itgtd::bench {

class SendQueue {
 public:
  /// Enough for a full window of commands; what is beyond waits for the socket.
  static constexpr size_t kPdusMax = 1024;

  SendQueue(bool header_digest, bool data_digest);

  [[nodiscard]] bool has_room() const { return pdus_ < kPdusMax; }
  [[nodiscard]] bool empty() const { return first_ == iovecs_.size(); }

  /// Appends one PDU; there must be room. `bhs` (48 bytes) is copied. `payload` is borrowed until it has been
  /// sent, which is before the target can have answered for it.
  void push(ConstBytes bhs, ConstBytes payload);

  /// One sendmsg of everything, or as much as the socket takes now. 0, or the errno that ended the
  /// connection.
  int flush(int fd);

 private:
  void append(Bytes part);
  void consume(size_t sent);

  bool header_digest_;
  bool data_digest_;
  std::vector<std::byte> arena_;  // headers, padding and digests; filled from the front, emptied as a whole
  size_t arena_used_ = 0;
  size_t pdus_ = 0;
  std::vector<iovec> iovecs_;
  size_t first_ = 0;  // iovecs before it have been sent
};

}  // namespace itgtd::bench
