#include "target/iscsi/directory.h"

#include <algorithm>

#include "target/iscsi/iscsi_name.h"
#include "target/iscsi/text_keys.h"

namespace itgtd::iscsi {
namespace {

// Linear in pattern and text but for one point to go back to: the last *. No recursion.
bool matches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() &&
               (pattern[p] == '?' || same_name(pattern.substr(p, 1), text.substr(t, 1)))) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

// A wildcard listens in its own family only.
bool stands_for(const Address& portal, const Address& local) {
  return portal.is_wildcard() && portal.is_ipv6() == local.is_ipv6();
}

// As SendTargets says it; empty: not to be said to someone who came to `local`.
std::string portal_address(const Address& portal, const Address& local) {
  if (!portal.is_wildcard()) return portal.to_string();
  if (!stands_for(portal, local)) return {};
  const std::string host = local.is_ipv6() ? "[" + local.host() + "]" : local.host();
  return host + ":" + std::to_string(portal.port());
}

// RFC 7143 Appendix C: TargetName, then its addresses, each with its portal group tag.
void append_target(const DirectoryTarget& target, const Requester& requester, std::string& text) {
  append_pair(text, "TargetName", target.name);
  const std::string tag = "," + std::to_string(target.portal_group_tag);
  std::vector<std::string> said;  // a wildcard and an explicit portal may be the same address
  for (const Address& portal : target.portals) {
    std::string address = portal_address(portal, requester.local);
    if (address.empty() || std::find(said.begin(), said.end(), address) != said.end()) continue;
    append_pair(text, "TargetAddress", address + tag);
    said.push_back(std::move(address));
  }
}

}  // namespace

const DirectoryTarget* find_target(const Directory& directory, std::string_view name) {
  for (const DirectoryTarget& target : directory.targets) {
    if (same_name(target.name, name)) return &target;
  }
  return nullptr;
}

bool may_access(const DirectoryTarget& target, std::string_view initiator, const Address& peer) {
  const bool name_ok = target.initiators.empty() ||
                       std::any_of(target.initiators.begin(), target.initiators.end(),
                                   [&](const std::string& pattern) { return matches(pattern, initiator); });
  const bool address_ok =
      target.networks.empty() || std::any_of(target.networks.begin(), target.networks.end(),
                                             [&](const Network& network) { return network.contains(peer); });
  return name_ok && address_ok;
}

bool is_served_at(const DirectoryTarget& target, const Address& local) {
  return target.portals.empty() ||
         std::any_of(target.portals.begin(), target.portals.end(), [&](const Address& portal) {
           return portal.port() == local.port() && (stands_for(portal, local) || portal.same_host(local));
         });
}

std::string send_targets(const Directory& directory, std::string_view value, const Requester& requester,
                         std::string_view current) {
  std::string text;
  const bool all = value == "All";
  const std::string_view wanted = value.empty() ? current : value;
  for (const DirectoryTarget& target : directory.targets) {
    if (!all && !same_name(target.name, wanted)) continue;
    if (!may_access(target, requester.initiator, requester.peer)) continue;
    append_target(target, requester, text);
  }
  return text;
}

}  // namespace itgtd::iscsi
