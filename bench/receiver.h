// Cuts the received stream into PDUs. Data that nobody wants is passed over, large data without being copied.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "target/iscsi/bhs.h"

namespace itgtd::bench {

class Receiver {
 public:
  struct Shape {
    bool header_digest = false;
    bool data_digest = false;
    bool check_data_digest = false;  ///< false: data digests are passed over
    bool bulk = false;               ///< most data is large and unwanted: receive headers in small pieces
  };
  explicit Receiver(const Shape& shape);

  enum class Fill { some, all, nothing, closed, failed };
  /// One recv. `some`: less than was asked for, so the socket is empty now; `all`: there may be more;
  /// `nothing`: the socket had nothing; `failed`: errno has why.
  Fill fill(int fd);

  /// The header of the next PDU whose data segment has wholly been received, or null: then fill() again, or
  /// look at error(). `place` (Bytes(const iscsi::Bhs&)) is asked where a data segment goes as soon as its
  /// header is there: to a span of the segment's length, or an empty one to pass it over. Borrowed until the
  /// next call.
  template <typename Place>
  [[nodiscard]] const iscsi::Bhs* next(Place&& place) {
    if (!in_segment_) {
      if (!take_header()) return nullptr;
      if (segment_bytes_ != 0) target_ = place(std::as_const(header_));
      in_segment_ = true;
    }
    if (!take_segment()) return nullptr;
    in_segment_ = false;
    return &header_;
  }

  /// What is wrong with the stream; empty: nothing. It can't be read on after that.
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  bool take_header();
  bool take_segment();
  void copy_segment(ConstBytes part);
  [[nodiscard]] bool wanted() const { return !target_.empty() || shape_.check_data_digest; }
  [[nodiscard]] ConstBytes buffered() const { return ConstBytes(buffer_).subspan(begin_, end_ - begin_); }

  Shape shape_;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0;  // of what has been received and not taken
  size_t end_ = 0;

  // True exactly when header_ is of a PDU whose data segment is not complete.
  bool in_segment_ = false;
  iscsi::Bhs header_{};
  Bytes target_;                // where the data goes; empty: nowhere
  uint32_t data_bytes_ = 0;     // of the segment, without padding and digest
  uint32_t segment_bytes_ = 0;  // with them
  uint32_t position_ = 0;       // within the segment
  uint32_t crc_ = 0;
  std::byte digest_[iscsi::kDigestBytes] = {};
  std::string error_;
};

}  // namespace itgtd::bench
