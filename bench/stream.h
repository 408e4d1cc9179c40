// A TCP connection used by turns, for what happens before and after the load: PDUs whole, with deadlines.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "target/iscsi/bhs.h"

namespace itgtd::bench {

/// One received PDU. The data segment is without padding and digests.
struct Pdu {
  iscsi::Bhs bhs;
  std::vector<std::byte> data;
};

/// Owns the socket, which is non-blocking; every call waits at most until its deadline.
class Stream {
 public:
  /// To each address that `host` has, in turn.
  static Result<Stream> connect(const std::string& host, const std::string& port, Instant deadline);

  /// Owns `fd`, a connected, non-blocking socket.
  explicit Stream(int fd) : fd_(fd) {}
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&& other) noexcept;
  ~Stream();

  [[nodiscard]] int fd() const { return fd_; }
  /// From here on both directions carry these digests. RFC 7143 §6.2.2: behind the last login PDU.
  void set_digests(bool header, bool data);

  /// Sends header and data segment with padding and digests. The data segment's length is set in `bhs`.
  Result<void> send(iscsi::Bhs bhs, ConstBytes data, Instant deadline);
  /// Receives one PDU and checks its digests.
  Result<Pdu> receive(Instant deadline);

 private:
  Result<void> send_all(ConstBytes bytes, Instant deadline);
  Result<void> receive_exact(Bytes bytes, Instant deadline);
  Result<void> wait(short events, Instant deadline) const;

  int fd_ = -1;
  bool header_digest_ = false;
  bool data_digest_ = false;
};

}  // namespace itgtd::bench
