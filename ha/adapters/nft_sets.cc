#include "ha/adapters/nft_sets.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/endian.h"

namespace itgtd::ha {
namespace {

// An attribute's length is a u16; an element takes up to 40 bytes.
constexpr size_t kElementsOfMessageMax = 1000;
constexpr size_t kMessageBytes = 48 * 1024;

int nft_type(int message) {
  return (NFNL_SUBSYS_NFTABLES << 8) | message;
}

NetlinkMessage nft_message(NetlinkSocket& socket, int message, int flags, const std::string& table,
                           size_t bytes = 256) {
  NetlinkMessage built(nft_type(message), flags, socket.next_sequence(), bytes);
  nfgenmsg header{};
  header.nfgen_family = NFPROTO_INET;
  built.put_header(&header, sizeof header);
  // Of every kind of object the first attribute is the name of its table.
  static_assert(NFTA_TABLE_NAME == 1 && NFTA_CHAIN_TABLE == 1 && NFTA_RULE_TABLE == 1 &&
                NFTA_SET_TABLE == 1 && NFTA_SET_ELEM_LIST_TABLE == 1);
  if (!table.empty()) built.put_text(NFTA_TABLE_NAME, table.c_str());
  return built;
}

NetlinkMessage batch_message(NetlinkSocket& socket, int type) {
  NetlinkMessage built(type, 0, socket.next_sequence(), 64);
  nfgenmsg header{};
  header.res_id = htons(NFNL_SUBSYS_NFTABLES);
  built.put_header(&header, sizeof header);
  return built;
}

template <size_t kCount>
bool parse(nlmsghdr& message, std::array<nlattr*, kCount>& attributes) {
  return message.nlmsg_len >= NLMSG_LENGTH(sizeof(nfgenmsg)) &&
         nlmsg_parse(&message, sizeof(nfgenmsg), attributes.data(), static_cast<int>(kCount) - 1, nullptr) ==
             0;
}

template <typename BigEndian>
std::optional<BigEndian> integer(const nlattr* attribute) {
  if (attribute == nullptr || netlink_bytes(*attribute).size() < sizeof(BigEndian)) return std::nullopt;
  return load<BigEndian>(netlink_bytes(*attribute));
}

std::optional<NftElement> parse_element(nlattr* attribute) {
  std::array<nlattr*, NFTA_SET_ELEM_MAX + 1> element{};
  if (nla_parse_nested(element.data(), NFTA_SET_ELEM_MAX, attribute, nullptr) != 0) return std::nullopt;
  if (element[NFTA_SET_ELEM_KEY] == nullptr) return std::nullopt;
  std::array<nlattr*, NFTA_DATA_MAX + 1> data{};
  if (nla_parse_nested(data.data(), NFTA_DATA_MAX, element[NFTA_SET_ELEM_KEY], nullptr) != 0)
    return std::nullopt;
  if (data[NFTA_DATA_VALUE] == nullptr) return std::nullopt;
  const ConstBytes key = netlink_bytes(*data[NFTA_DATA_VALUE]);
  NftElement parsed{{key.begin(), key.end()}, std::nullopt};
  if (const auto left = integer<be64>(element[NFTA_SET_ELEM_EXPIRATION])) {
    parsed.left = std::chrono::milliseconds(static_cast<int64_t>(left->get()));
  }
  return parsed;
}

}  // namespace

NftTransaction::NftTransaction(NetlinkSocket& socket, std::string table)
    : socket_(socket), table_(std::move(table)) {
  append(batch_message(socket_, NFNL_MSG_BATCH_BEGIN));
}

void NftTransaction::append(const NetlinkMessage& message) {
  const ConstBytes bytes = message.bytes();
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

void NftTransaction::elements(int type, const char* set, const std::vector<std::vector<std::byte>>& keys,
                              std::optional<std::chrono::milliseconds> timeout) {
  for (size_t from = 0; from < keys.size(); from += kElementsOfMessageMax) {
    const size_t to = std::min(keys.size(), from + kElementsOfMessageMax);
    NetlinkMessage message = nft_message(socket_, type, type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0, table_,
                                         keys.size() < 16 ? 2048 : kMessageBytes);
    message.put_text(NFTA_SET_ELEM_LIST_SET, set);
    nlattr* list = message.begin(NFTA_SET_ELEM_LIST_ELEMENTS);
    for (size_t i = from; i < to; ++i) {
      nlattr* element = message.begin(NFTA_LIST_ELEM);
      if (timeout) {
        const be64 timeout_ms(static_cast<uint64_t>(timeout->count()));
        message.put(NFTA_SET_ELEM_TIMEOUT, bytes_of(timeout_ms));
      }
      nlattr* key = message.begin(NFTA_SET_ELEM_KEY);
      message.put(NFTA_DATA_VALUE, ConstBytes(keys[i]));
      message.end(key);
      message.end(element);
    }
    message.end(list);
    append(message);
  }
}

void NftTransaction::add(const char* set, const std::vector<std::vector<std::byte>>& keys,
                         std::optional<std::chrono::milliseconds> timeout) {
  elements(NFT_MSG_NEWSETELEM, set, keys, timeout);
}

void NftTransaction::remove(const char* set, const std::vector<std::vector<std::byte>>& keys) {
  // To remove what is not there is an error that would undo the rest; to add what is there is none.
  elements(NFT_MSG_NEWSETELEM, set, keys, std::nullopt);
  elements(NFT_MSG_DELSETELEM, set, keys, std::nullopt);
}

void NftTransaction::flush(const char* set) {
  // Without a list of elements: all of them.
  NetlinkMessage message = nft_message(socket_, NFT_MSG_DELSETELEM, 0, table_);
  message.put_text(NFTA_SET_ELEM_LIST_SET, set);
  append(message);
}

Result<void> NftTransaction::commit() {
  append(batch_message(socket_, NFNL_MSG_BATCH_END));
  if (bytes_.size() > NetlinkSocket::kSendBytesMax) {
    return Error{EMSGSIZE, fmt::format("a change of table {} is too large", table_)};
  }
  if (auto sent = socket_.send(bytes_); !sent.ok()) return sent;
  Result<void> result;
  (void)socket_.receive([&](nlmsghdr& message) {
    if (message.nlmsg_type != NLMSG_ERROR || !result.ok()) return;
    const Error error = netlink_error(message);
    if (error.code != 0) {
      result = Error{error.code, fmt::format("nftables refuses to change a set of table inet {}{}{}", table_,
                                             error.message.empty() ? "" : ": ", error.message)};
    }
  });
  return result;
}

Result<std::vector<NftElement>> nft_elements(NetlinkSocket& socket, const std::string& table,
                                             const char* set) {
  NetlinkMessage request = nft_message(socket, NFT_MSG_GETSETELEM, NLM_F_DUMP, table);
  request.put_text(NFTA_SET_ELEM_LIST_SET, set);
  std::vector<NftElement> elements;
  const Result<void> asked = socket.ask(request.bytes(), [&](nlmsghdr& message) {
    std::array<nlattr*, NFTA_SET_ELEM_LIST_MAX + 1> attributes{};
    if (!parse(message, attributes) || attributes[NFTA_SET_ELEM_LIST_ELEMENTS] == nullptr) return;
    nlattr* list = attributes[NFTA_SET_ELEM_LIST_ELEMENTS];
    int left = nla_len(list);
    auto* element = static_cast<nlattr*>(nla_data(list));
    for (; nla_ok(element, left) != 0; element = nla_next(element, &left)) {
      if (auto parsed = parse_element(element)) elements.push_back(std::move(*parsed));
    }
  });
  if (!asked.ok()) return asked.error();
  return elements;
}

Result<std::set<uint64_t>> nft_rules(NetlinkSocket& socket, const std::string& table) {
  const NetlinkMessage request = nft_message(socket, NFT_MSG_GETRULE, NLM_F_DUMP, table);
  std::set<uint64_t> handles;
  const Result<void> asked = socket.ask(request.bytes(), [&](nlmsghdr& message) {
    std::array<nlattr*, NFTA_RULE_MAX + 1> attributes{};
    if (!parse(message, attributes) || !nft_is_about(message, table)) return;
    if (const auto handle = integer<be64>(attributes[NFTA_RULE_HANDLE])) handles.insert(handle->get());
  });
  if (!asked.ok()) return asked.error();
  return handles;
}

bool nft_table_works(NetlinkSocket& socket, const std::string& table) {
  const NetlinkMessage request = nft_message(socket, NFT_MSG_GETTABLE, NLM_F_ACK, table);
  bool works = false;
  const Result<void> asked = socket.ask(request.bytes(), [&](nlmsghdr& message) {
    std::array<nlattr*, NFTA_TABLE_MAX + 1> attributes{};
    if (!parse(message, attributes)) return;
    const auto flags = integer<be32>(attributes[NFTA_TABLE_FLAGS]);
    works = flags && (flags->get() & NFT_TABLE_F_DORMANT) == 0;
  });
  return asked.ok() && works;
}

Result<uint32_t> nft_generation(NetlinkSocket& socket) {
  const NetlinkMessage request = nft_message(socket, NFT_MSG_GETGEN, NLM_F_ACK, "");
  uint32_t generation = 0;
  const Result<void> asked = socket.ask(request.bytes(), [&](nlmsghdr& message) {
    std::array<nlattr*, NFTA_GEN_MAX + 1> attributes{};
    if (!parse(message, attributes)) return;
    if (const auto id = integer<be32>(attributes[NFTA_GEN_ID])) generation = id->get();
  });
  if (!asked.ok()) return asked.error();
  return generation;
}

bool nft_is_about(nlmsghdr& message, const std::string& table) {
  if (NFNL_SUBSYS_ID(message.nlmsg_type) != NFNL_SUBSYS_NFTABLES) return false;
  if (NFNL_MSG_TYPE(message.nlmsg_type) == NFT_MSG_NEWGEN) return false;
  std::array<nlattr*, 2> attributes{};
  if (!parse(message, attributes) || attributes[NFTA_TABLE_NAME] == nullptr) return false;
  nfgenmsg header{};
  std::memcpy(&header, nlmsg_data(&message), sizeof header);
  const ConstBytes name = netlink_bytes(*attributes[NFTA_TABLE_NAME]);
  return header.nfgen_family == NFPROTO_INET &&
         as_text(name) == std::string_view(table.c_str(), table.size() + 1);
}

}  // namespace itgtd::ha
