// The TransportID of an iSCSI initiator port. SPC-4 §7.6.4.6.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "base/bytes.h"
#include "scsi/initiator_port.h"

namespace itgtd::scsi {

inline constexpr size_t kTransportIdBytesMin = 24;
/// The longest iSCSI name. RFC 7143 §4.2.7.1.
inline constexpr size_t kInitiatorNameBytesMax = 223;
/// What write_transport_id() writes at most: four bytes, the name, ",i,0x", twelve digits, a null, padding.
inline constexpr size_t kTransportIdBytesMax = 4 + ((kInitiatorNameBytesMax + 5 + 12 + 1 + 3) / 4) * 4;

struct TransportId {
  std::string_view name;  ///< borrows the bytes parsed
  /// Nothing: FORMAT CODE 00b, every port of the initiator that is known.
  std::optional<std::array<uint8_t, 6>> isid;
  size_t length_bytes = 0;  ///< of the whole TransportID

  [[nodiscard]] bool names(const InitiatorPort& port) const {
    return port.name == name && (!isid || port.isid == *isid);
  }
};

/// Why bytes are no TransportID.
struct TransportIdFault {
  /// True exactly when it goes on behind the end of the bytes.
  bool truncated = false;
  uint16_t byte = 0;  ///< the field at fault
  std::optional<uint8_t> bit;
};

/// The TransportID at the start of `from`, which may go on behind it.
[[nodiscard]] std::variant<TransportId, TransportIdFault> parse_transport_id(ConstBytes from);

/// True exactly when `name` can be an iSCSI name: printable, without a comma, 1 to 223 bytes.
[[nodiscard]] bool is_initiator_name(std::string_view name);

/// How long the TransportID of `port` is; and the TransportID, with FORMAT CODE 01b, into as many bytes.
[[nodiscard]] size_t transport_id_bytes(const InitiatorPort& port);
void write_transport_id(const InitiatorPort& port, Bytes to);

}  // namespace itgtd::scsi
