// Which targets there are, where, and for whom: what login and discovery decide from. Made by the control
// thread from the configuration, immutable, replaced as a whole by a reload.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"

namespace itgtd::iscsi {

/// Whether a digest may, must or must not be used. off: None is chosen; optional: what the initiator prefers;
/// required: CRC32C or no login.
enum class DigestPolicy : uint8_t { off, optional, required };

struct ChapCredentials {
  std::string user;
  std::string secret;
  /// Empty: one-way. Otherwise the initiator may ask us to authenticate with these.
  std::string mutual_user;
  std::string mutual_secret;
  bool operator==(const ChapCredentials&) const = default;
};

struct DirectoryTarget {
  std::string name;
  std::string alias;
  std::vector<Address>
      portals;  ///< of one portal group; a wildcard stands for whichever local address the initiator reached
  uint16_t portal_group_tag = 1;
  std::vector<std::string> initiators;  ///< names, with * and ?; empty: any
  std::vector<Network> networks;        ///< empty: any
  std::optional<ChapCredentials> chap;
  DigestPolicy header_digest = DigestPolicy::optional;
  DigestPolicy data_digest = DigestPolicy::optional;
};

struct Directory {
  std::vector<DirectoryTarget> targets;
};

/// The target of that name, or null. iSCSI names compare without regard to case as they are normalised to
/// lower case (RFC 7143 §4.2.7.2).
[[nodiscard]] const DirectoryTarget* find_target(const Directory& directory, std::string_view name);

/// The initiator may know of this target: its name and address are on the lists.
[[nodiscard]] bool may_access(const DirectoryTarget& target, std::string_view initiator, const Address& peer);

/// One of its portals is the address and port that the initiator reached, or it has none listed (then it is
/// wherever we are).
[[nodiscard]] bool is_served_at(const DirectoryTarget& target, const Address& local);

/// Who asks, from where, through which of our addresses.
struct Requester {
  std::string initiator;
  Address peer;
  Address local;
};

/// A discovery session needs no authentication, so this is what anyone may learn: names and addresses of the
/// targets whose lists admit the name that the initiator claims and the address that it has. Targets with
/// CHAP are listed too, since initiators discover before they have credentials to give; CHAP guards the
/// login.
///
/// The answer to SendTargets=`value` (RFC 7143 Appendix C): TargetName and TargetAddress keys, each ended by
/// a zero byte, for every portal of every target that the requester may see. "All": all of them (discovery
/// session only); a name: that one; empty: `current` (normal session). Nothing found: an empty text.
[[nodiscard]] std::string send_targets(const Directory& directory, std::string_view value,
                                       const Requester& requester, std::string_view current);

}  // namespace itgtd::iscsi
