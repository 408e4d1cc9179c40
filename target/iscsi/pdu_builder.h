// Filling an OutPdu: header, padding, digests.
#pragma once

#include "target/iscsi/out_pdu.h"

namespace itgtd::iscsi {

/// Makes `pdu` a T with every field zero but the opcode, no data and no owner. What is written into the
/// result counts until seal_pdu().
template <typename T>
[[nodiscard]] T& begin_pdu(OutPdu& pdu) {
  T& header = *view<T>(Bytes(pdu.header));
  header = T{};
  header.opcode = static_cast<uint8_t>(T::kOpcode);
  pdu.header_bytes = kBhsBytes;
  pdu.trailer_bytes = 0;
  pdu.data = {};
  pdu.task = nullptr;
  pdu.owned = {};
  return header;
}

/// The header and `pdu.data` are complete: sets the data segment length, the padding and the digests.
void seal_with_trailer(OutPdu& pdu, bool header_digest, bool data_digest);
inline void seal_pdu(OutPdu& pdu, bool header_digest, bool data_digest) {
  const auto length = static_cast<uint32_t>(pdu.data.size());
  if (header_digest || data_digest || padding_of(length) != 0) {
    seal_with_trailer(pdu, header_digest, data_digest);
  } else {
    view<Bhs>(Bytes(pdu.header))->data_segment_length.set(length);
  }
}

}  // namespace itgtd::iscsi
