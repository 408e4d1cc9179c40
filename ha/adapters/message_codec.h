// Messages as bytes: a magic, the version of the protocol, and CBOR. Both directions are siblings here.
// Whatever the bytes are, decode() answers with a message or an error, and takes memory in proportion to
// them. Texts are sent as UTF-8 of at most 8 KiB: what does not fit is cut, what is no character is a '?'.
#pragma once

#include <cstddef>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "ha/core/message.h"

namespace itgtd::ha {

inline constexpr uint16_t kProtocolVersion = 1;
/// Longer ones are not sent, and not looked at.
inline constexpr size_t kMessageBytesMax = 900U * 1024;

[[nodiscard]] std::vector<std::byte> encode(const Message& message);
[[nodiscard]] Result<Message> decode(ConstBytes bytes);

}  // namespace itgtd::ha
