#include "target/iscsi/pdu_receiver.h"

#include <algorithm>

#include "base/assert.h"
#include "base/crc32c.h"

namespace itgtd::iscsi {

namespace {

/// A digest goes over the wire least significant byte first. RFC 7143 §13.1.
uint32_t load_digest(const std::byte* from) {
  uint32_t value = 0;
  for (unsigned i = 0; i < kDigestBytes; ++i) value |= std::to_integer<uint32_t>(from[i]) << (8 * i);
  return value;
}

}  // namespace

PduReceiver::PduReceiver(size_t buffer_bytes)
    : buffer_(std::make_unique<std::byte[]>(buffer_bytes)), capacity_(buffer_bytes) {
  ITGTD_ASSERT(buffer_bytes >= kBhsBytes + kAhsBytesMax + kDigestBytes);
  pdu_.bhs = &bhs_;
}

void PduReceiver::set_digests(bool header, bool data) {
  header_digest_ = header;
  data_digest_ = data;
}

void PduReceiver::set_segment_limit(uint32_t limit_bytes) {
  segment_limit_ = limit_bytes;
}

Bytes PduReceiver::body() {
  if (state_ != State::body || destination_.empty()) return {};
  return destination_.subspan(segment_received_);
}

Bytes PduReceiver::writable() {
  return {buffer_.get() + end_, capacity_ - end_};
}

void PduReceiver::commit(size_t received) {
  const Bytes rest = body();
  const size_t direct = std::min(received, rest.size());
  if (direct > 0) {
    if (data_digest_) crc_ = crc32c_update(crc_, rest.first(direct));
    segment_received_ += static_cast<uint32_t>(direct);
  }
  ITGTD_ASSERT(received - direct <= capacity_ - end_);
  end_ += received - direct;
}

PduReceiver::Event PduReceiver::next() {
  switch (state_) {
    case State::header:
      return on_header_bytes();
    case State::destination:
      state_ = segment_bytes_ > 0 ? State::body : State::header;
      if (segment_bytes_ == 0) return Event::data;
      [[fallthrough]];
    case State::body:
      take_body();
      if (segment_received_ < segment_bytes_) return need_more();
      state_ = State::trailer;
      [[fallthrough]];
    case State::trailer:
      if (!take_trailer()) return need_more();
      state_ = State::header;
      return Event::data;
    case State::broken:
      break;
  }
  return error_;
}

PduReceiver::Event PduReceiver::on_header_bytes() {
  if (held() < kBhsBytes) return need_more();
  const std::byte* start = buffer_.get() + begin_;
  const Bhs& bhs = *view<Bhs>(ConstBytes(start, kBhsBytes));
  const size_t ahs_bytes = size_t{4} * bhs.total_ahs_length;
  const size_t covered = kBhsBytes + ahs_bytes;
  const size_t total = covered + (header_digest_ ? kDigestBytes : 0);
  if (held() < total) return need_more();
  // RFC 7143 §7.8: behind a broken header nothing can be trusted, not even where the next one starts.
  if (header_digest_ && crc32c({start, covered}) != load_digest(start + covered)) {
    return broken(Event::header_digest_error);
  }
  const uint32_t segment_bytes = bhs.data_segment_length.get();
  if (segment_bytes > segment_limit_) return broken(Event::segment_too_long);

  bhs_ = bhs;
  if (ahs_bytes > 0) std::memcpy(ahs_.data(), start + kBhsBytes, ahs_bytes);
  pdu_.ahs = {ahs_.data(), ahs_bytes};
  begin_ += total;
  segment_bytes_ = segment_bytes;
  segment_received_ = 0;
  destination_ = {};
  data_digest_ok_ = true;
  crc_ = kCrc32cSeed;
  state_ = State::destination;
  return Event::header;
}

void PduReceiver::take_body() {
  const size_t count = std::min<size_t>(held(), segment_bytes_ - segment_received_);
  if (count == 0) return;
  const ConstBytes from(buffer_.get() + begin_, count);
  if (!destination_.empty()) std::memcpy(destination_.data() + segment_received_, from.data(), count);
  if (data_digest_) crc_ = crc32c_update(crc_, from);
  begin_ += count;
  segment_received_ += static_cast<uint32_t>(count);
}

bool PduReceiver::take_trailer() {
  const size_t padding = padding_of(segment_bytes_);
  const size_t total = padding + (data_digest_ ? kDigestBytes : 0);
  if (held() < total) return false;
  const std::byte* start = buffer_.get() + begin_;
  if (data_digest_) {
    // The digest covers the padding too. RFC 7143 §13.1.
    crc_ = crc32c_update(crc_, {start, padding});
    data_digest_ok_ = crc32c_finish(crc_) == load_digest(start + padding);
  }
  begin_ += total;
  return true;
}

bool PduReceiver::in_pdu() const {
  return state_ != State::header || held() > 0;
}

PduReceiver::Event PduReceiver::broken(Event error) {
  state_ = State::broken;
  error_ = error;
  return error;
}

PduReceiver::Event PduReceiver::need_more() {
  // What is left over is less than one header or trailer: moving it to the front costs little and makes the
  // whole buffer writable.
  if (begin_ > 0) {
    const size_t rest = held();
    if (rest > 0) std::memmove(buffer_.get(), buffer_.get() + begin_, rest);
    begin_ = 0;
    end_ = rest;
  }
  return Event::need_more;
}

}  // namespace itgtd::iscsi
