// The sets of one nftables table by nfnetlink, for what is done often: libnftables reads the whole ruleset
// before each command, and takes milliseconds where this takes microseconds. Tables, chains and rules are its
// business, not this one's. Control thread.
#pragma once

#include <linux/netfilter/nf_tables.h>

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ha/adapters/netlink.h"

namespace itgtd::ha {

/// An element as the kernel has it.
struct NftElement {
  std::vector<std::byte> key;
  std::optional<std::chrono::milliseconds> left;  ///< until its timeout; nothing: it has none
};

/// Changes that the kernel makes all at once or not at all.
class NftTransaction {
 public:
  NftTransaction(NetlinkSocket& socket, std::string table);
  /// Adds elements; one that is there already stays as it is.
  void add(const char* set, const std::vector<std::vector<std::byte>>& keys,
           std::optional<std::chrono::milliseconds> timeout = std::nullopt);
  /// Removes elements, whether they are there or not.
  void remove(const char* set, const std::vector<std::vector<std::byte>>& keys);
  /// Empties a set.
  void flush(const char* set);
  /// ENOENT: the table or the set is not there.
  Result<void> commit();

 private:
  void append(const NetlinkMessage& message);
  void elements(int type, const char* set, const std::vector<std::vector<std::byte>>& keys,
                std::optional<std::chrono::milliseconds> timeout);

  NetlinkSocket& socket_;
  std::string table_;
  std::vector<std::byte> bytes_;
};

/// The elements of a set of an inet table. ENOENT: it is not there.
[[nodiscard]] Result<std::vector<NftElement>> nft_elements(NetlinkSocket& socket, const std::string& table,
                                                           const char* set);
/// The handles of all rules of an inet table: one that is changed gets another.
[[nodiscard]] Result<std::set<uint64_t>> nft_rules(NetlinkSocket& socket, const std::string& table);
/// False: there is no such table, or it is dormant.
[[nodiscard]] bool nft_table_works(NetlinkSocket& socket, const std::string& table);
/// Counts the transactions of this network namespace.
[[nodiscard]] Result<uint32_t> nft_generation(NetlinkSocket& socket);
/// Whether a message (a notification) is about something in an inet table of this name.
[[nodiscard]] bool nft_is_about(nlmsghdr& message, const std::string& table);

}  // namespace itgtd::ha
