#include "scsi/transport_id.h"

#include <algorithm>

#include "base/assert.h"
#include "base/endian.h"
#include "base/parse.h"

namespace itgtd::scsi {
namespace {

constexpr uint8_t kProtocolIscsi = 0x5;
constexpr uint8_t kFormatName = 0;
constexpr uint8_t kFormatPort = 1;
constexpr std::string_view kSeparator = ",i,0x";
constexpr size_t kIsidDigits = 12;

struct TransportIdHeader {
  uint8_t format_and_protocol;
  uint8_t reserved;
  be16 additional_length;
};
static_assert(WireStruct<TransportIdHeader> && sizeof(TransportIdHeader) == 4);

constexpr uint16_t kAdditionalLengthAt = 2;
constexpr uint16_t kNameAt = 4;

std::optional<TransportIdFault> check_header(const TransportIdHeader& header) {
  const auto format = static_cast<uint8_t>(header.format_and_protocol >> 6);
  if (format != kFormatName && format != kFormatPort) return TransportIdFault{false, 0, uint8_t{7}};
  if ((header.format_and_protocol & 0x30) != 0) return TransportIdFault{false, 0, uint8_t{5}};
  if ((header.format_and_protocol & 0x0F) != kProtocolIscsi) return TransportIdFault{false, 0, uint8_t{3}};
  if (header.reserved != 0) return TransportIdFault{false, 1, std::nullopt};
  const uint16_t length = header.additional_length.get();
  // At least 20 and a multiple of four.
  if (length + sizeof(header) < kTransportIdBytesMin || length % 4 != 0) {
    return TransportIdFault{false, kAdditionalLengthAt, std::nullopt};
  }
  return std::nullopt;
}

std::optional<std::array<uint8_t, 6>> parse_isid(std::string_view digits) {
  if (digits.size() != kIsidDigits) return std::nullopt;
  std::array<uint8_t, 6> isid{};
  for (size_t i = 0; i < digits.size(); ++i) {
    const std::optional<uint8_t> digit = hex_digit(digits[i]);
    if (!digit) return std::nullopt;
    isid[i / 2] = static_cast<uint8_t>(isid[i / 2] << 4 | *digit);
  }
  return isid;
}

}  // namespace

bool is_initiator_name(std::string_view name) {
  const auto legal = [](char c) {
    const auto byte = static_cast<uint8_t>(c);
    return byte > 0x20 && byte != 0x7F && c != ',';
  };
  return !name.empty() && name.size() <= kInitiatorNameBytesMax && std::ranges::all_of(name, legal);
}

std::variant<TransportId, TransportIdFault> parse_transport_id(ConstBytes from) {
  if (from.size() < kTransportIdBytesMin) return TransportIdFault{true, 0, std::nullopt};
  const auto header = load<TransportIdHeader>(from);
  if (const auto fault = check_header(header)) return *fault;
  const size_t additional_bytes = header.additional_length.get();
  if (additional_bytes > from.size() - sizeof(header)) {
    return TransportIdFault{true, kAdditionalLengthAt, std::nullopt};
  }

  const TransportIdFault bad_name = {false, kNameAt, std::nullopt};
  const std::string_view field = as_text(from.subspan(sizeof(header), additional_bytes));
  // The first null ends it, whatever stands behind; one there must be.
  const size_t end = field.find('\0');
  if (end == std::string_view::npos) return bad_name;
  TransportId id;
  id.name = field.substr(0, end);
  id.length_bytes = sizeof(header) + additional_bytes;
  if (header.format_and_protocol >> 6 == kFormatPort) {
    const std::string_view text = id.name;
    const size_t separator = text.find(kSeparator);
    if (separator == std::string_view::npos) return bad_name;
    id.name = text.substr(0, separator);
    const size_t digits_at = separator + kSeparator.size();
    id.isid = parse_isid(text.substr(digits_at));
    if (!id.isid) return TransportIdFault{false, static_cast<uint16_t>(kNameAt + digits_at), std::nullopt};
  }
  if (!is_initiator_name(id.name)) return bad_name;
  return id;
}

size_t transport_id_bytes(const InitiatorPort& port) {
  // With the null, and padded to a multiple of four.
  const size_t text_bytes = port.name.size() + kSeparator.size() + kIsidDigits + 1;
  return std::max(kTransportIdBytesMin, sizeof(TransportIdHeader) + (text_bytes + 3) / 4 * 4);
}

void write_transport_id(const InitiatorPort& port, Bytes to) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const size_t length_bytes = transport_id_bytes(port);
  ITGTD_ASSERT(to.size() >= length_bytes);
  std::fill_n(to.begin(), length_bytes, std::byte{0});
  TransportIdHeader header{};
  header.format_and_protocol = kFormatPort << 6 | kProtocolIscsi;
  header.additional_length.set(static_cast<uint16_t>(length_bytes - sizeof(header)));
  store(to, header);
  auto at = to.begin() + sizeof(header);
  at = std::ranges::copy(as_bytes(port.name), at).out;
  at = std::ranges::copy(as_bytes(kSeparator), at).out;
  for (const uint8_t byte : port.isid) {
    *at++ = static_cast<std::byte>(kDigits[byte >> 4]);
    *at++ = static_cast<std::byte>(kDigits[byte & 0xF]);
  }
}

}  // namespace itgtd::scsi
