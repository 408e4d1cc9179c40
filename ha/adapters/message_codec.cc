#include "ha/adapters/message_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <limits>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

// The bytes: "itgh", the version and the kind as big-endian 16 bits, and one item of CBOR (RFC 8949): a
// struct is an array of its members in the order of fields() below, a map's keys ascend, an enumeration is
// its number. All lengths are definite. Changing any of it is a new kProtocolVersion.
//
// The CBOR is read straight into the structs by the few lines here and not by a general parser: those recurse
// as deep as the input says.

namespace itgtd::ha {
namespace {

constexpr std::string_view kMagic = "itgh";
constexpr size_t kHeaderBytes = 8;
/// Of a name or a sentence. What a tool says that is longer is cut.
constexpr size_t kTextBytesMax = 8192;
/// Of any list or map; ones of nodes: as many as corosync can have, with room.
constexpr uint64_t kListMax = 65536;
constexpr uint64_t kNodesMax = 1024;
/// Times that are no nonsense: 1,000 years. Their sums are far from overflowing.
constexpr TimeMs kTimeMsMax = TimeMs{1} << 45;

// RFC 8949 §3.1.
enum Major : uint8_t { kUnsigned = 0, kBytes = 2, kText = 3, kArray = 4, kMap = 5, kSimple = 7 };
constexpr uint8_t kFalse = 20;
constexpr uint8_t kTrue = 21;
constexpr uint8_t kOneByteFollows = 24;
constexpr uint8_t kEightBytesFollow = 27;

template <typename M, typename T>
concept Is = std::same_as<std::remove_const_t<M>, T>;
template <typename T>
concept Enum = std::is_enum_v<T>;
template <typename T>
concept Number = std::unsigned_integral<T> &&(!std::same_as<T, bool>);

// --- The members of each struct, for both directions.

auto fields(Is<RingId> auto& m) {
  return std::tie(m.representative, m.seq);
}
auto fields(Is<Ownership> auto& m) {
  return std::tie(m.epoch, m.owner, m.previous, m.reason);
}
auto fields(Is<Table::Standing> auto& m) {
  return std::tie(m.version, m.drained, m.maintenance);
}
auto fields(Is<Table> auto& m) {
  return std::tie(m.groups, m.standing);
}
auto fields(Is<StorageFacts> auto& m) {
  return std::tie(m.fitness, m.primary, m.peer_primary, m.quorate, m.peers_connected, m.role, m.disk,
                  m.detail);
}
auto fields(Is<VipFacts> auto& m) {
  return std::tie(m.interface, m.link, m.present, m.failed, m.detail);
}
auto fields(Is<GroupReport> auto& m) {
  return std::tie(m.digest, m.storage, m.vips, m.phase, m.epoch, m.sessions, m.failure, m.since_ms);
}
auto fields(Is<TcpPair> auto& m) {
  return std::tie(m.local, m.peer);
}
auto fields(Is<UnitVersions::Version> auto& m) {
  return std::tie(m.epoch, m.version);
}
auto fields(Is<Heartbeat> auto& m) {
  return std::tie(m.seq, m.acks);
}
auto fields(Is<Report> auto& m) {
  return std::tie(m.node_name, m.version, m.ring, m.quorate, m.settled, m.epoch_floor, m.table, m.groups);
}
auto fields(Is<Assign> auto& m) {
  return std::tie(m.group, m.expected, m.ownership);
}
auto fields(Is<Ack> auto& m) {
  return std::tie(m.group, m.epoch, m.silence);
}
auto fields(Is<Outcome> auto& m) {
  return std::tie(m.group, m.epoch, m.active, m.retry_here, m.text);
}
auto fields(Is<Wish> auto& m) {
  return std::tie(m.kind, m.group, m.node);
}
auto fields(Is<Connections> auto& m) {
  return std::tie(m.group, m.epoch, m.whole, m.opened, m.closed);
}
auto fields(Is<UnitRecord> auto& m) {
  return std::tie(m.group, m.unit, m.epoch, m.version, m.bytes);
}
auto fields(Is<UnitStored> auto& m) {
  return std::tie(m.unit, m.epoch, m.version, m.stored);
}
auto fields(Is<UnitVersions> auto& m) {
  return std::tie(m.ask, m.units);
}

template <typename T>
concept Struct = requires(T& m) {
  fields(m);
};

// The last value of each enumeration.
constexpr uint64_t last_of(StorageFitness) {
  return static_cast<uint64_t>(StorageFitness::usable);
}
constexpr uint64_t last_of(Phase) {
  return static_cast<uint64_t>(Phase::stopping);
}
constexpr uint64_t last_of(Reason) {
  return static_cast<uint64_t>(Reason::renewed);
}
constexpr uint64_t last_of(Wish::Kind) {
  return static_cast<uint64_t>(Wish::Kind::maintenance_off);
}

/// By the kind's number on the wire.
constexpr std::array<std::string_view, std::variant_size_v<Message>> kKinds = {
    "Heartbeat", "Report",      "Assign",     "Ack",        "Outcome",
    "Wish",      "Connections", "UnitRecord", "UnitStored", "UnitVersions"};
static_assert(std::same_as<std::variant_alternative_t<0, Message>, Heartbeat> &&
              std::same_as<std::variant_alternative_t<4, Message>, Outcome> &&
              std::same_as<std::variant_alternative_t<9, Message>, UnitVersions>);

/// How many bytes the UTF-8 sequence at the start of `text` has; 0: it is none (RFC 3629 §4).
size_t utf8_length(std::string_view text) {
  const auto at = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  const auto follows = [&](size_t i) { return (at(i) & 0xC0U) == 0x80U; };
  const uint8_t first = at(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if ((first & 0xF0U) == 0xE0U) {
    if ((first == 0xE0 && at(1) < 0xA0) || (first == 0xED && at(1) > 0x9F)) return 0;
    return follows(1) && follows(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if ((first == 0xF0 && at(1) < 0x90) || (first == 0xF4 && at(1) > 0x8F)) return 0;
    return follows(1) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

/// `text` as UTF-8 of at most kTextBytesMax: what tools say may be anything.
std::string clean(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (out.size() + std::max<size_t>(length, 1) > kTextBytesMax) break;
    if (length == 0)
      out += '?';
    else
      out += text.substr(0, length);
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}

  void bytes(ConstBytes bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
  void u16(uint16_t value) {
    u8(static_cast<uint8_t>(value >> 8U));
    u8(static_cast<uint8_t>(value & 0xFFU));
  }

  void put(Number auto value) { head(kUnsigned, value); }
  void put(bool value) { head(kSimple, value ? kTrue : kFalse); }
  void put(TimeMs value) { head(kUnsigned, static_cast<uint64_t>(std::clamp(value, TimeMs{0}, kTimeMsMax))); }
  void put(Enum auto value) { head(kUnsigned, static_cast<uint64_t>(value)); }
  void put(const std::string& value) {
    const std::string text = clean(value);
    head(kText, text.size());
    bytes(as_bytes(text));
  }
  void put(const std::vector<std::byte>& value) {
    head(kBytes, value.size());
    bytes(value);
  }
  template <typename T>
  void put(const std::vector<T>& list) {
    head(kArray, list.size());
    for (const T& item : list) put(item);
  }
  template <typename T>
  void put(const std::set<T>& set) {
    head(kArray, set.size());
    for (const T& item : set) put(item);
  }
  template <typename K, typename V>
  void put(const std::map<K, V>& map) {
    head(kMap, map.size());
    for (const auto& [key, value] : map) {
      put(key);
      put(value);
    }
  }
  void put(const Struct auto& value) {
    std::apply(
        [&](const auto&... members) {
          head(kArray, sizeof...(members));
          (put(members), ...);
        },
        fields(value));
  }

 private:
  void u8(uint8_t value) { out_.push_back(static_cast<std::byte>(value)); }
  /// RFC 8949 §4.2.1: the shortest form.
  void head(Major major, uint64_t argument) {
    const auto first = static_cast<uint8_t>(major << 5U);
    if (argument < kOneByteFollows) return u8(static_cast<uint8_t>(first | argument));
    unsigned log = 0;
    while (log < 3 && argument >> (8U << log) != 0) log++;
    u8(static_cast<uint8_t>(first | (kOneByteFollows + log)));
    for (unsigned shift = 8U << log; shift != 0; shift -= 8)
      u8(static_cast<uint8_t>(argument >> (shift - 8)));
  }

  std::vector<std::byte>& out_;
};

/// Reads until the first thing that is wrong; then every get() is false and error() says what it was.
class Reader {
 public:
  explicit Reader(ConstBytes bytes) : all_(bytes.size()), bytes_(bytes) {}

  [[nodiscard]] const std::string& error() const { return error_; }

  /// The whole input is one T.
  template <typename T>
  bool whole(T& value) {
    if (!get(value)) return false;
    return bytes_.empty() || wrong(fmt::format("{} bytes too many", bytes_.size()));
  }

 private:
  bool get(Number auto& value) {
    uint64_t argument = 0;
    if (!head(kUnsigned, "a number", argument)) return false;
    constexpr uint64_t kMax = std::numeric_limits<std::remove_reference_t<decltype(value)>>::max();
    if (argument > kMax) return wrong(fmt::format("{}, at most {} is possible", argument, kMax));
    value = static_cast<std::remove_reference_t<decltype(value)>>(argument);
    return true;
  }
  bool get(bool& value) {
    uint64_t argument = 0;
    if (!head(kSimple, "a boolean", argument)) return false;
    if (argument != kFalse && argument != kTrue) return wrong("neither true nor false");
    value = argument == kTrue;
    return true;
  }
  bool get(TimeMs& value) {
    uint64_t argument = 0;
    if (!head(kUnsigned, "a time", argument)) return false;
    if (argument > static_cast<uint64_t>(kTimeMsMax)) return wrong(fmt::format("a time of {} ms", argument));
    value = static_cast<TimeMs>(argument);
    return true;
  }
  template <Enum T>
  bool get(T& value) {
    uint64_t argument = 0;
    if (!head(kUnsigned, "a number", argument)) return false;
    if (argument > last_of(T{})) return wrong(fmt::format("{}, at most {} is known", argument, last_of(T{})));
    value = static_cast<T>(argument);
    return true;
  }
  bool get(std::string& value) {
    ConstBytes bytes;
    if (!counted(kText, "a text", kTextBytesMax, bytes)) return false;
    if (!is_utf8(as_text(bytes))) return wrong("a text that is not UTF-8");
    value = as_text(bytes);
    return true;
  }
  bool get(std::vector<std::byte>& value) {
    ConstBytes bytes;
    if (!counted(kBytes, "bytes", kMessageBytesMax, bytes)) return false;
    value.assign(bytes.begin(), bytes.end());
    return true;
  }
  template <typename T>
  bool get(std::vector<T>& list) {
    uint64_t count = 0;
    if (!head(kArray, "a list", count) || !few(count, kListMax)) return false;
    for (uint64_t i = 0; i < count; i++) {
      if (!get(list.emplace_back())) return false;
    }
    return true;
  }
  template <typename T>
  bool get(std::set<T>& set) {
    uint64_t count = 0;
    if (!head(kArray, "a list", count) || !few(count, keys_max<T>())) return false;
    for (uint64_t i = 0; i < count; i++) {
      T item{};
      if (!get(item) || !ascends(set.empty() || *set.rbegin() < item)) return false;
      set.insert(set.end(), item);
    }
    return true;
  }
  template <typename K, typename V>
  bool get(std::map<K, V>& map) {
    uint64_t count = 0;
    if (!head(kMap, "a map", count) || !few(count, keys_max<K>())) return false;
    for (uint64_t i = 0; i < count; i++) {
      K key{};
      if (!get(key) || !ascends(map.empty() || map.rbegin()->first < key)) return false;
      if (!get(map.emplace_hint(map.end(), std::move(key), V{})->second)) return false;
    }
    return true;
  }
  template <Struct T>
  bool get(T& value) {
    return std::apply(
        [&](auto&... members) {
          uint64_t count = 0;
          if (!head(kArray, "a list", count)) return false;
          if (count != sizeof...(members)) {
            return wrong(fmt::format("a list of {} where one of {} is wanted", count, sizeof...(members)));
          }
          return (get(members) && ...);
        },
        fields(value));
  }

  template <typename K>
  static constexpr uint64_t keys_max() {
    return std::same_as<K, NodeId> ? kNodesMax : kListMax;
  }
  bool ascends(bool does) { return does || wrong("a key that does not follow the one before"); }
  /// Each item has at least a byte, so that nothing grows beyond what the input has.
  bool few(uint64_t count, uint64_t max) {
    if (count > max) return wrong(fmt::format("a list of {}, at most {} are possible", count, max));
    return count <= bytes_.size() || wrong("it ends too early");
  }
  bool counted(Major major, std::string_view what, uint64_t max, ConstBytes& bytes) {
    uint64_t count = 0;
    if (!head(major, what, count)) return false;
    if (count > max) return wrong(fmt::format("{} of {} bytes, at most {} are possible", what, count, max));
    if (count > bytes_.size()) return wrong("it ends too early");
    bytes = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return true;
  }
  bool head(Major major, std::string_view what, uint64_t& argument) {
    if (bytes_.empty()) return wrong("it ends too early");
    const auto first = static_cast<uint8_t>(bytes_[0]);
    if (first >> 5U != major) return wrong(fmt::format("{:#04x} where {} is wanted", first, what));
    bytes_ = bytes_.subspan(1);
    argument = first & 0x1FU;
    if (argument < kOneByteFollows) return true;
    // Simple values in one byte are all that is used; the longer forms are floating point numbers.
    if (argument > kEightBytesFollow || major == kSimple) return wrong(fmt::format("{:#04x}", first));
    const size_t length = size_t{1} << (argument - kOneByteFollows);
    if (bytes_.size() < length) return wrong("it ends too early");
    argument = 0;
    for (size_t i = 0; i < length; i++) argument = argument << 8U | static_cast<uint8_t>(bytes_[i]);
    bytes_ = bytes_.subspan(length);
    return true;
  }
  bool wrong(std::string_view what) {
    if (error_.empty()) error_ = fmt::format("byte {}: {}", all_ - bytes_.size() + kHeaderBytes, what);
    return false;
  }

  size_t all_;
  ConstBytes bytes_;
  std::string error_;
};

uint16_t u16_at(ConstBytes bytes, size_t at) {
  return static_cast<uint16_t>(static_cast<unsigned>(bytes[at]) << 8U | static_cast<unsigned>(bytes[at + 1]));
}

template <size_t N = 0>
Result<Message> decode_kind(size_t kind, ConstBytes body) {
  if constexpr (N < std::variant_size_v<Message>) {
    if (kind != N) return decode_kind<N + 1>(kind, body);
    std::variant_alternative_t<N, Message> message;
    Reader reader(body);
    if (!reader.whole(message))
      return Error{0, fmt::format("a message of the cluster, {}, {}", kKinds[N], reader.error())};
    return Message(std::move(message));
  }
  return Error{0, fmt::format("a message of the cluster of the unknown kind {}", kind)};
}

}  // namespace

std::vector<std::byte> encode(const Message& message) {
  std::vector<std::byte> out;
  Writer writer(out);
  writer.bytes(as_bytes(kMagic));
  writer.u16(kProtocolVersion);
  writer.u16(static_cast<uint16_t>(message.index()));
  std::visit([&](const auto& body) { writer.put(body); }, message);
  return out;
}

Result<Message> decode(ConstBytes bytes) {
  if (bytes.size() < kHeaderBytes || as_text(bytes.first(kMagic.size())) != kMagic)
    return Error{0, fmt::format("{} bytes that are no message of itgtd's", bytes.size())};
  if (const uint16_t version = u16_at(bytes, 4); version != kProtocolVersion) {
    return Error{0,
                 fmt::format("version {} of the cluster's protocol, this is {}: the nodes have versions of "
                             "itgtd that do not understand each other",
                             version, kProtocolVersion)};
  }
  if (bytes.size() > kMessageBytesMax) {
    return Error{0, fmt::format("a message of the cluster of {} bytes, at most {} are possible", bytes.size(),
                                kMessageBytesMax)};
  }
  return decode_kind(u16_at(bytes, 6), bytes.subspan(kHeaderBytes));
}

}  // namespace itgtd::ha
