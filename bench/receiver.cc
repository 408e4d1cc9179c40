#include "bench/receiver.h"

#include <sys/socket.h>

#include <cerrno>

#include "base/crc32c.h"
#include "bench/pdu.h"

namespace itgtd::bench {
namespace {

constexpr size_t kBufferBytes = size_t{256} << 10;  // fits the second level cache
constexpr size_t kBulkHeaderBytes = size_t{4} << 10;
constexpr size_t kPassOverBytesMin = size_t{16} << 10;  // below that a copy is cheaper than a system call

}  // namespace

Receiver::Receiver(const Shape& shape) : shape_(shape), buffer_(kBufferBytes) {}

Receiver::Fill Receiver::fill(int fd) {
  const size_t missing = in_segment_ ? segment_bytes_ - position_ : 0;
  const bool pass_over = begin_ == end_ && missing >= kPassOverBytesMin && !wanted();
  if (begin_ == end_) {
    begin_ = end_ = 0;
  } else if (end_ == buffer_.size()) {
    std::copy(buffer_.begin() + static_cast<ptrdiff_t>(begin_), buffer_.end(), buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
  }
  size_t asked = buffer_.size() - end_;
  if (pass_over) {
    asked = std::min(missing, asked);
  } else if (shape_.bulk && !(in_segment_ && wanted())) {
    asked = std::min(asked, kBulkHeaderBytes);
  }
  // tcp(7): MSG_TRUNC passes over the data instead of copying it.
  const ssize_t received = recv(fd, &buffer_[end_], asked, MSG_DONTWAIT | (pass_over ? MSG_TRUNC : 0));
  if (received < 0) return errno == EAGAIN || errno == EINTR ? Fill::nothing : Fill::failed;
  if (received == 0) return Fill::closed;
  const auto bytes = static_cast<size_t>(received);
  if (pass_over) {
    position_ += static_cast<uint32_t>(bytes);
  } else {
    end_ += bytes;
  }
  return bytes == asked ? Fill::all : Fill::some;
}

bool Receiver::take_header() {
  const size_t needed = iscsi::kBhsBytes + (shape_.header_digest ? iscsi::kDigestBytes : 0);
  if (!error_.empty() || end_ - begin_ < needed) return false;
  const ConstBytes bytes = buffered();
  if (shape_.header_digest &&
      get_digest(bytes.subspan(iscsi::kBhsBytes)) != crc32c(bytes.first(iscsi::kBhsBytes))) {
    error_ = "the header digest of a PDU is wrong";
    return false;
  }
  header_ = load<iscsi::Bhs>(bytes);
  if (header_.total_ahs_length != 0) {
    error_ = "the target sent a header with an AHS";
    return false;
  }
  begin_ += needed;
  target_ = {};
  position_ = 0;
  crc_ = kCrc32cSeed;
  data_bytes_ = header_.data_segment_length.get();
  segment_bytes_ = 0;
  if (data_bytes_ != 0) {
    segment_bytes_ = data_bytes_ + iscsi::padding_of(data_bytes_);
    if (shape_.data_digest) segment_bytes_ += static_cast<uint32_t>(iscsi::kDigestBytes);
  }
  return true;
}

bool Receiver::take_segment() {
  const size_t taken = std::min<size_t>(end_ - begin_, segment_bytes_ - position_);
  if (wanted() && taken != 0) copy_segment(buffered().first(taken));
  begin_ += taken;
  position_ += static_cast<uint32_t>(taken);
  if (position_ < segment_bytes_) return false;
  if (shape_.check_data_digest && segment_bytes_ != 0 && get_digest(digest_) != crc32c_finish(crc_)) {
    error_ = "the data digest of a PDU is wrong";
    return false;
  }
  return true;
}

void Receiver::copy_segment(ConstBytes part) {
  // `part` starts at position_: data, then padding, then digest.
  const uint32_t covered = data_bytes_ + iscsi::padding_of(data_bytes_);
  size_t at = position_;
  while (!part.empty()) {
    size_t size;
    if (at < data_bytes_) {
      size = std::min<size_t>(part.size(), data_bytes_ - at);
      if (!target_.empty()) std::copy_n(part.begin(), size, target_.begin() + static_cast<ptrdiff_t>(at));
      crc_ = shape_.check_data_digest ? crc32c_update(crc_, part.first(size)) : crc_;
    } else if (at < covered) {
      size = std::min<size_t>(part.size(), covered - at);
      crc_ = shape_.check_data_digest ? crc32c_update(crc_, part.first(size)) : crc_;
    } else {
      size = part.size();
      std::copy_n(part.begin(), size, &digest_[at - covered]);
    }
    part = part.subspan(size);
    at += size;
  }
}

}  // namespace itgtd::bench
