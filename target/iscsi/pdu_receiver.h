// Bytes into PDUs: framing, AHS, padding and digests of RFC 7143 §11.1-11.2, and nothing else.
//
// The owner receives bytes into writable() or straight into what body() names, tells how many came, and calls
// next() until it says need_more. Headers and small segments are parsed in place in a buffer of fixed size;
// the rest of a large segment goes directly to its destination.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/assert.h"
#include "base/bytes.h"
#include "target/iscsi/bhs.h"

namespace itgtd::iscsi {

/// TotalAHSLength counts words of four bytes in one byte. RFC 7143 §11.2.1.5.
inline constexpr size_t kAhsBytesMax = 255 * 4;

/// A received header with its additional segments; valid until
/// next() is called after the data event of the same PDU.
struct Pdu {
  const Bhs* bhs = nullptr;
  ConstBytes ahs;  ///< total_ahs_length * 4 bytes
};

class PduReceiver {
 public:
  enum class Event : uint8_t {
    need_more,  ///< every byte that is here has been used
    header,     ///< pdu() is there; the owner must call set_destination() before next()
    data,  ///< the segment is complete (also when it is empty): segment() and data_digest_ok() tell about it
    header_digest_error,  ///< framing is lost: close. RFC 7143 §7.8
    segment_too_long,     ///< data_segment_length above the limit: close
  };

  /// `buffer_bytes`: of the parse buffer; it bounds how much one receive can bring beside a body. At least
  /// the longest header: kBhsBytes + kAhsBytesMax + kDigestBytes.
  explicit PduReceiver(size_t buffer_bytes);

  /// Digests are expected from the next header on.
  void set_digests(bool header, bool data);
  /// The longest data segment that the next headers may announce: MaxRecvDataSegmentLength.
  void set_segment_limit(uint32_t limit_bytes);

  /// Where the next bytes go: first body() (may be empty), then writable(); both borrowed until commit().
  [[nodiscard]] Bytes body();
  [[nodiscard]] Bytes writable();
  /// `received` bytes came, filling body() first and then writable().
  void commit(size_t received);

  [[nodiscard]] Event next();
  [[nodiscard]] const Pdu& pdu() const { return pdu_; }
  /// Where the segment of the present header goes: exactly data_segment_length bytes, or empty to have it
  /// thrown away.
  void set_destination(Bytes destination) {
    ITGTD_ASSERT(state_ == State::destination);
    ITGTD_ASSERT(destination.empty() || destination.size() == segment_bytes_);
    destination_ = destination;
  }
  /// The complete segment, within the destination; empty when it was thrown away.
  [[nodiscard]] ConstBytes segment() const { return destination_; }
  [[nodiscard]] bool data_digest_ok() const { return data_digest_ok_; }
  /// True exactly when bytes of an unfinished PDU are held: a peer that stops now has left us in the middle.
  [[nodiscard]] bool in_pdu() const;

 private:
  enum class State : uint8_t {
    header,       ///< the next header, its additional segments or its digest are awaited
    destination,  ///< a header was handed out, its destination is not known yet
    body,         ///< bytes of the segment are missing
    trailer,      ///< padding and data digest are missing
    broken,       ///< after an error: every further next() repeats it
  };

  [[nodiscard]] size_t held() const { return end_ - begin_; }
  Event on_header_bytes();
  void take_body();
  bool take_trailer();
  Event broken(Event error);
  Event need_more();

  // The parse buffer: bytes [begin_, end_) have come and are not used yet.
  std::unique_ptr<std::byte[]> buffer_;
  size_t capacity_;
  size_t begin_ = 0;
  size_t end_ = 0;

  State state_ = State::header;
  Event error_ = Event::need_more;
  bool header_digest_ = false;
  bool data_digest_ = false;
  bool data_digest_ok_ = true;
  uint32_t segment_limit_ = 8192;

  // The present PDU. Copies, so that the parse buffer can be refilled while a segment is on its way.
  Bhs bhs_{};
  std::array<std::byte, kAhsBytesMax> ahs_;
  Pdu pdu_;
  Bytes destination_;
  uint32_t segment_bytes_ = 0;
  uint32_t segment_received_ = 0;
  uint32_t crc_ = 0;
};

}  // namespace itgtd::iscsi
