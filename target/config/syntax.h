// The syntax of single values: names, addresses, patterns, serials. Each check_* returns an empty text when
// the value is good and otherwise a complaint that ends the sentence "'key' in [section]: ...".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "target/config/config.h"

namespace itgtd::config {

/// RFC 7143 §4.2.7.
inline constexpr size_t kIscsiNameBytesMax = 223;
/// RFC 7143 §6.1: a text value without another limit. TargetAlias (§13.6), CHAP_N.
inline constexpr size_t kTextValueBytesMax = 255;
/// A UUID, which is what LIO gives a backstore by itself, so every disk that moves here keeps its own; VPD
/// 80h and a T10 designator of VPD 83h with the vendor in front both hold it with room to spare.
inline constexpr size_t kSerialBytesMax = 36;
/// PRODUCT IDENTIFICATION and T10 VENDOR IDENTIFICATION of INQUIRY. SPC-4 §6.6.2.
inline constexpr size_t kProductBytesMax = 16;
inline constexpr size_t kVendorBytesMax = 8;
/// sun_path has 108 bytes, one of them for the final zero.
inline constexpr size_t kSocketPathBytesMax = 107;
/// IFNAMSIZ without the final zero.
inline constexpr size_t kInterfaceBytesMax = 15;
/// A host name label, and what DRBD and nftables take for a name.
inline constexpr size_t kGroupNameBytesMax = 63;
/// PATH_MAX without the final zero.
inline constexpr size_t kPathBytesMax = 4095;

/// The longest IPv6 address with brackets, port and prefix, and then some.
inline constexpr size_t kAddressBytesMax = 64;

inline constexpr uint16_t kIscsiPort = 3260;
inline constexpr uint16_t kHttpPort = 9860;

/// RFC 7143 §4.2.7.
[[nodiscard]] std::string check_iscsi_name(std::string_view name);
/// A name in which * stands for any characters and ? for one.
[[nodiscard]] std::string check_initiator_pattern(std::string_view pattern);
[[nodiscard]] std::string check_absolute_path(std::string_view path);
[[nodiscard]] std::string check_lun_path(std::string_view path);
[[nodiscard]] std::string check_serial(std::string_view serial);
/// An ASCII field of INQUIRY. SPC-4 §4.4.1.
[[nodiscard]] std::string check_inquiry_text(std::string_view text, size_t bytes_max);
/// A UTF-8 text for people or for CHAP_N.
[[nodiscard]] std::string check_text(std::string_view text, size_t bytes_max);
/// Letters, digits, '-', '_' and '.': groups, DRBD resources, nodes.
[[nodiscard]] std::string check_plain_name(std::string_view name, size_t bytes_max);

/// "192.168.222.35/24" or "192.168.222.35/24@eth0".
[[nodiscard]] Result<VipConfig> parse_vip(std::string_view text);
/// The canonical form of a portal: "address:port".
[[nodiscard]] Result<std::string> parse_portal(std::string_view text, uint16_t default_port);

/// The canonical form of a network: "address/prefix".
[[nodiscard]] Result<std::string> parse_network(std::string_view text);

/// The size behind "ram:" or "null:"; nothing for a path or for a size that can't be read.
[[nodiscard]] std::optional<uint64_t> memory_size(std::string_view path);
[[nodiscard]] bool is_memory_path(std::string_view path);

/// The 25 hexadecimal digits that the serial puts into the NAA designator: two LUNs with the same digits are
/// the same disk to an initiator, whatever else their serials hold.
[[nodiscard]] std::string naa_digits(std::string_view serial);

}  // namespace itgtd::config
