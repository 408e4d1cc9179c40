#include "target/iscsi/pdu_builder.h"

#include "base/crc32c.h"

namespace itgtd::iscsi {

namespace {

/// Least significant byte first. RFC 7143 §13.1.
void store_digest(std::byte* to, uint32_t digest) {
  for (unsigned i = 0; i < kDigestBytes; ++i) to[i] = static_cast<std::byte>(digest >> (8 * i));
}

}  // namespace

void seal_with_trailer(OutPdu& pdu, bool header_digest, bool data_digest) {
  const auto length = static_cast<uint32_t>(pdu.data.size());
  view<Bhs>(Bytes(pdu.header))->data_segment_length.set(length);
  if (header_digest) {
    store_digest(pdu.header.data() + kBhsBytes, crc32c(ConstBytes(pdu.header).first(kBhsBytes)));
    pdu.header_bytes = kBhsBytes + kDigestBytes;
  }
  // RFC 7143 §11.7.4 and §13.1: an empty data segment has neither padding nor a digest.
  if (length == 0) return;
  const uint32_t padding = padding_of(length);
  for (uint32_t i = 0; i < padding; ++i) pdu.trailer[i] = std::byte{0};
  pdu.trailer_bytes = static_cast<uint8_t>(padding);
  if (!data_digest) return;
  uint32_t crc = crc32c_update(kCrc32cSeed, pdu.data);
  crc = crc32c_update(crc, ConstBytes(pdu.trailer).first(padding));
  store_digest(pdu.trailer.data() + padding, crc32c_finish(crc));
  pdu.trailer_bytes = static_cast<uint8_t>(padding + kDigestBytes);
}

}  // namespace itgtd::iscsi
