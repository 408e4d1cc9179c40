// A PDU on its way out: header, data and trailer as the connection's sendmsg will gather them.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "base/intrusive_list.h"
#include "target/iscsi/bhs.h"

namespace itgtd::iscsi {

struct Task;
struct SendTag;

/// From a slab of the worker. Frozen from the moment the connection has handed it to the kernel until the
/// session's on_sent().
struct OutPdu : ListLink<SendTag> {
  /// The BHS, and its digest behind it when header digests are on.
  std::array<std::byte, kBhsBytes + kDigestBytes> header{};
  uint8_t header_bytes = kBhsBytes;
  /// Padding, then the data digest when data digests are on.
  uint8_t trailer_bytes = 0;
  std::array<std::byte, 3 + kDigestBytes> trailer{};
  /// The data segment: the task's buffer, `small` or `owned`.
  ConstBytes data;
  /// Null, or the task whose memory `data` points into; it is released when its last PDU has been sent.
  Task* task = nullptr;
  /// Empty, or a buffer of the pool that goes back when this has been sent (text, NOP data).
  Bytes owned;
  /// Sense data behind its two bytes of length, and the header that a Reject returns.
  std::array<std::byte, 72> small{};

  [[nodiscard]] size_t size_bytes() const { return header_bytes + data.size() + trailer_bytes; }
};

using SendList = IntrusiveList<OutPdu, SendTag>;

}  // namespace itgtd::iscsi
