// iSCSI names: what they look like, and in which form they are compared. RFC 7143 §4.2.7.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace itgtd::iscsi {

/// RFC 7143 §4.2.7.2.
inline constexpr size_t kNameBytesMax = 223;

/// iqn.yyyy-mm.domain[:text], eui. with 16 or naa. with 16 or 32 hexadecimal digits; no control characters,
/// spaces or ASCII punctuation but - . : and, because many names in use have it, the underscore; well-formed
/// UTF-8.
[[nodiscard]] bool is_iscsi_name(std::string_view name);

/// The form that names are compared in: ASCII letters in lower case. RFC 7143 §4.2.7.2.
[[nodiscard]] std::string normalised_name(std::string_view name);

/// The same name, whatever the case of its ASCII letters.
[[nodiscard]] bool same_name(std::string_view a, std::string_view b);

}  // namespace itgtd::iscsi
