#include "target/config/validate.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/assert.h"
#include "scsi/limits.h"
#include "target/config/syntax.h"
#include "target/config/text.h"

namespace itgtd::config {
namespace {

// LunConfig::product must hold the default whatever the path.
static_assert(kProductBytesMax >= 4);

/// How a target is called in a message: its name may be what is missing.
std::string title(const TargetConfig& target) {
  return target.name.empty() ? fmt::format("the target of line {}", target.place.line)
                             : "target " + target.name;
}

std::string title(const TargetConfig& target, const LunConfig& lun) {
  return fmt::format("LUN {} of {} (line {})", lun.id, title(target), lun.place.line);
}

Address to_address(const std::string& portal) {
  const auto address = Address::parse(portal, kIscsiPort);
  ITGTD_ASSERT(address.ok());  // it was printed by Address
  return address.value();
}

/// One disk, however it is written: through links, and with more slashes than needed.
std::string identity_of(const std::string& path) {
  std::error_code error;
  const auto canonical = std::filesystem::weakly_canonical(path, error);
  return error ? std::filesystem::path(path).lexically_normal().string() : canonical.string();
}

/// drivers/block/drbd: of every DRBD device, 8.4 and 9. Documentation/admin-guide/devices.txt.
constexpr unsigned kDrbdMajor = 147;

/// Why what is at `path` can be no DRBD device, with the verb; empty when it may be one. A device that is not
/// there (its resource is down) may be anything in /dev.
std::string not_drbd(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    if (!S_ISBLK(status.st_mode)) return "is no block device";
    return major(status.st_rdev) == kDrbdMajor ? "" : "is another block device than one of DRBD";
  }
  std::error_code ignored;
  const bool link = std::filesystem::is_symlink(path, ignored);
  return link || identity_of(path).starts_with("/dev/") ? "" : "is outside /dev";
}

std::string default_product(const std::string& path) {
  if (is_memory_path(path)) return path.substr(0, path.find(':'));
  std::string name = std::filesystem::path(path).lexically_normal().filename().string();
  for (char& c : name) {
    if (c <= ' ' || c > '~') c = '_';
  }
  name.resize(std::min(name.size(), kProductBytesMax));
  return name.empty() ? "disk" : name;
}

class Validator {
 public:
  Validator(Config& config, Problems& problems) : config_(config), problems_(problems) {}
  void run();

 private:
  void check_group(GroupConfig& group);
  void check_group_storage(const GroupConfig& group);
  void check_group_addresses(const GroupConfig& group);
  void check_cluster();
  void check_target(TargetConfig& target);
  void check_group_reference(TargetConfig& target);
  void check_portals(TargetConfig& target);
  void check_chap(const TargetConfig& target);
  void number_luns(TargetConfig& target);
  void check_lun(const TargetConfig& target, LunConfig& lun);
  void check_group_disk(const TargetConfig& target, const LunConfig& lun);
  void check_sizes(const LunConfig& lun);
  void check_wildcards();
  void check_http();

  const GroupConfig* find_group(std::string_view name) const;

  struct LunRef {
    const TargetConfig* target = nullptr;
    const LunConfig* lun = nullptr;
  };
  struct Vip {
    std::string group;
    uint32_t line = 0;
  };

  Config& config_;
  Problems& problems_;
  std::map<std::string, uint32_t> group_lines_;
  std::map<std::string, uint32_t> drbd_lines_;
  std::map<std::string, uint32_t> state_lines_;  // by identity
  std::map<std::string, Vip> vips_;              // by address
  std::map<std::string, uint32_t> target_lines_;
  std::map<std::string, LunRef> paths_;  // by identity
  std::map<std::string, LunRef> wwids_;  // by the digits of the serial
};

void Validator::run() {
  for (GroupConfig& group : config_.groups) check_group(group);
  check_cluster();
  for (TargetConfig& target : config_.targets) check_target(target);
  check_wildcards();
  check_http();
}

const GroupConfig* Validator::find_group(std::string_view name) const {
  const auto found = std::find_if(config_.groups.begin(), config_.groups.end(),
                                  [&](const GroupConfig& group) { return group.name == name; });
  return found == config_.groups.end() ? nullptr : &*found;
}

void Validator::check_group(GroupConfig& group) {
  if (!group.name.empty()) {
    const auto [found, added] = group_lines_.try_emplace(group.name, group.place.line_of("name"));
    if (!added) {
      problems_.add(group.place.line_of("name"), fmt::format("there is a group {} already, in line {}",
                                                             in_quotes(group.name), found->second));
    }
  }
  check_group_storage(group);
  check_group_addresses(group);
  std::set<std::string_view> nodes;
  for (size_t i = 0; i < group.nodes.size(); i++) {
    if (nodes.insert(group.nodes[i]).second) continue;
    problems_.add(group.place.line_of("nodes", i),
                  fmt::format("node {} is in the list twice; its first place tells how much it is preferred",
                              in_quotes(group.nodes[i])));
  }
}

void Validator::check_group_storage(const GroupConfig& group) {
  const bool drbd = group.place.has("drbd");
  const bool shared = group.place.has("storage");
  if (drbd && shared) {
    problems_.add(group.place.line_of("storage"),
                  "a group has either drbd or storage: drbd = \"r0\" for a DRBD resource, storage = "
                  "\"shared\" for a disk "
                  "that every node sees");
  } else if (!drbd && !shared) {
    problems_.add(
        group.place.line,
        "the group has no storage; add drbd = \"r0\" for a DRBD resource, or storage = \"shared\" for a disk "
        "that every node sees");
  }
  if (!group.drbd.empty()) {
    const auto [found, added] = drbd_lines_.try_emplace(group.drbd, group.place.line_of("drbd"));
    if (!added) {
      problems_.add(
          group.place.line_of("drbd"),
          fmt::format("the group of line {} has DRBD resource {} already; a resource moves with one group",
                      found->second, in_quotes(group.drbd)));
    }
  }
  if (!group.state.empty()) {
    const auto [found, added] =
        state_lines_.try_emplace(identity_of(group.state), group.place.line_of("state"));
    if (!added) {
      problems_.add(group.place.line_of("state"),
                    fmt::format("{} is the state device of another group already, in line {}",
                                in_quotes(group.state), found->second));
    }
    const std::string other = drbd && !shared ? not_drbd(group.state) : std::string();
    if (!other.empty()) {
      problems_.add(
          group.place.line_of("state"),
          fmt::format("{} {}, and would not move with the group's DRBD resource; name a volume of "
                      "that resource as \"/dev/drbd1\", or remove the key to keep reservations with "
                      "every node",
                      in_quotes(group.state), other));
    }
  }
}

void Validator::check_group_addresses(const GroupConfig& group) {
  for (size_t i = 0; i < group.vips.size(); i++) {
    const uint32_t line = group.place.line_of("vips", i);
    const auto [found, added] = vips_.try_emplace(group.vips[i].address, Vip{group.name, line});
    if (added) continue;
    problems_.add(line, fmt::format("VIP {} is in line {} already{}; an address moves with one group",
                                    group.vips[i].address, found->second.line,
                                    found->second.group == group.name
                                        ? ""
                                        : fmt::format(", in group {}", in_quotes(found->second.group))));
  }
}

void Validator::check_cluster() {
  if (!config_.cluster && !config_.groups.empty()) {
    problems_.add(config_.groups.front().place.line,
                  "a [[group]] moves between the nodes of a cluster, and there is none; add a line "
                  "[cluster], or remove "
                  "the group to serve from this node alone");
  }
  if (config_.cluster && config_.groups.empty()) {
    problems_.add(config_.cluster->place.line,
                  "a [cluster] has nothing to do without a [[group]], which says what moves between its "
                  "nodes; add one, "
                  "or remove [cluster] to serve from this node alone");
  }
}

void Validator::check_target(TargetConfig& target) {
  if (!target.name.empty()) {
    const auto [found, added] = target_lines_.try_emplace(target.name, target.place.line_of("name"));
    if (!added) {
      problems_.add(target.place.line_of("name"),
                    fmt::format("there is a target {} already, in line {}", target.name, found->second));
    }
  }
  check_group_reference(target);
  check_portals(target);
  check_chap(target);
  number_luns(target);
  for (LunConfig& lun : target.luns) check_lun(target, lun);
}

void Validator::check_group_reference(TargetConfig& target) {
  if (target.group.empty() || find_group(target.group) != nullptr) return;
  std::vector<std::string_view> names;
  for (const GroupConfig& group : config_.groups) {
    if (!group.name.empty()) names.push_back(group.name);
  }
  const std::string_view near = nearest(target.group, names);
  std::string way_out = fmt::format(
      "add a [[group]] with name = \"{}\", or remove the key to serve the target from "
      "this node alone",
      target.group);
  if (!near.empty()) way_out = fmt::format("did you mean '{}'?", near);
  problems_.add(target.place.line_of("group"), fmt::format("{} names group {}, which is not there: {}",
                                                           title(target), in_quotes(target.group), way_out));
}

void Validator::check_portals(TargetConfig& target) {
  if (!target.place.has("portals")) {
    const GroupConfig* group = find_group(target.group);
    if (group != nullptr) {
      for (const VipConfig& vip : group->vips) {
        const auto portal = parse_portal(vip.address, kIscsiPort);
        if (portal) target.portals.push_back(portal.value());
      }
    } else if (!target.place.has("group")) {
      problems_.add(
          target.place.line,
          fmt::format(
              "{} has no address: add portals = [\"ADDRESS:3260\"] to serve it from this node, or group "
              "= \"NAME\" to serve it at the VIPs of a [[group]]",
              title(target)));
    }
    return;
  }
  std::map<std::string, uint32_t> lines;
  for (size_t i = 0; i < target.portals.size(); i++) {
    const uint32_t line = target.place.line_of("portals", i);
    const auto [found, added] = lines.try_emplace(target.portals[i], line);
    if (!added) problems_.add(line, fmt::format("portal {} is in the list twice", target.portals[i]));
  }
}

void Validator::check_chap(const TargetConfig& target) {
  if (!target.chap) return;
  const ChapConfig& chap = *target.chap;
  const bool user = chap.place.has("mutual_user");
  const bool file = chap.place.has("mutual_secret_file");
  if (user != file) {
    problems_.add(
        chap.place.line_of(user ? "mutual_user" : "mutual_secret_file"),
        fmt::format("mutual_user and mutual_secret_file go together; add {}, or remove {} for one-way "
                    "authentication",
                    user ? "mutual_secret_file" : "mutual_user",
                    user ? "mutual_user" : "mutual_secret_file"));
  }
  // RFC 7143 §9.2.1: the same secret MUST NOT serve both directions.
  if (!chap.secret.empty() && chap.secret == chap.mutual_secret) {
    problems_.add(
        chap.place.line_of("mutual_secret_file"),
        "the secrets of the two directions are the same, which lets an attacker reflect a login; put another "
        "one into mutual_secret_file");
  }
}

void Validator::number_luns(TargetConfig& target) {
  std::map<uint16_t, uint32_t> lines;
  for (const LunConfig& lun : target.luns) {
    if (!lun.place.has("id")) continue;
    const auto [found, added] = lines.try_emplace(lun.id, lun.place.line_of("id"));
    if (!added && !lun.place.keys.find("id")->second.empty()) {
      problems_.add(
          lun.place.line_of("id"),
          fmt::format("there is a LUN {} of this target already, in line {}", lun.id, found->second));
    }
  }
  uint16_t next = 0;
  for (LunConfig& lun : target.luns) {
    if (lun.place.has("id")) continue;
    while (lines.contains(next)) next++;
    if (next >= scsi::kLunsPerTargetMax) {
      problems_.add(lun.place.line, fmt::format("no number is left for this LUN: {} has {} already",
                                                title(target), scsi::kLunsPerTargetMax));
      return;
    }
    lun.id = next++;
    lines.emplace(lun.id, lun.place.line);
  }
}

void Validator::check_lun(const TargetConfig& target, LunConfig& lun) {
  if (lun.product.empty() && !lun.path.empty()) lun.product = default_product(lun.path);
  check_sizes(lun);
  check_group_disk(target, lun);
  if (!lun.path.empty() && !is_memory_path(lun.path)) {
    const std::string identity = identity_of(lun.path);
    const auto [found, added] = paths_.try_emplace(identity, LunRef{&target, &lun});
    if (!added) {
      problems_.add(
          lun.place.line_of("path"),
          fmt::format(
              "{} is served as {} already; two LUNs on one disk would be two writers that don't know of "
              "each other",
              in_quotes(lun.path), title(*found->second.target, *found->second.lun)));
    }
    if (const auto state = state_lines_.find(identity); state != state_lines_.end()) {
      problems_.add(
          lun.place.line_of("path"),
          fmt::format("{} is the state device of the group in line {}; it can't be served as a disk",
                      in_quotes(lun.path), state->second));
    }
  }
  if (lun.serial.empty()) {
    // One that was made here would be another one there. A serial that was refused has been named already.
    if (target.place.has("group") && !lun.place.has("serial")) {
      problems_.add(lun.place.line,
                    fmt::format("{} has no serial; each node would make another one, and initiators would "
                                "find another disk after a move: add serial = \"aaaaaaa0\" with digits of "
                                "your own, the same on every node",
                                title(target, lun)));
    }
    return;
  }
  const auto [found, added] = wwids_.try_emplace(naa_digits(lun.serial), LunRef{&target, &lun});
  if (!added) {
    problems_.add(
        lun.place.line_of("serial"),
        fmt::format(
            "serial {} gives the WWID 36001405{} of {} too; initiators would take the two for one disk",
            in_quotes(lun.serial), found->first, title(*found->second.target, *found->second.lun)));
  }
}

/// Whoever takes over must find there what was written here.
void Validator::check_group_disk(const TargetConfig& target, const LunConfig& lun) {
  const GroupConfig* group = find_group(target.group);
  if (group == nullptr || lun.path.empty()) return;
  const bool shared = group->shared_storage;
  if (is_memory_path(lun.path)) {
    problems_.add(
        lun.place.line_of("path"),
        fmt::format("{} is memory of this node, and group {} moves between nodes: what was written would "
                    "be lost; name {}, or remove group from {} to serve it from this node alone",
                    in_quotes(lun.path), in_quotes(group->name),
                    shared ? "a disk that every node sees" : "the group's DRBD device as \"/dev/drbd0\"",
                    title(target)));
    return;
  }
  if (lun.create_bytes != 0) {
    problems_.add(lun.place.line_of("create"),
                  fmt::format("create would make an empty disk on a node that misses the disk of group {}; "
                              "remove the key, and make the disk once by hand",
                              in_quotes(group->name)));
  }
  if (shared || group->drbd.empty()) return;
  if (const std::string other = not_drbd(lun.path); !other.empty()) {
    problems_.add(
        lun.place.line_of("path"),
        fmt::format("{} {}, and group {} has DRBD resource {}: what is written there would stay on this "
                    "node; name the device of the resource as \"/dev/drbd0\", or, for a disk that every "
                    "node sees, put storage = \"shared\" in place of drbd",
                    in_quotes(lun.path), other, in_quotes(group->name), in_quotes(group->drbd)));
  }
}

void Validator::check_sizes(const LunConfig& lun) {
  if (const auto size = memory_size(lun.path); size && *size % lun.block_size != 0) {
    problems_.add(lun.place.line_of("path"), fmt::format("{} is not a multiple of the block size of {} bytes",
                                                         in_quotes(lun.path), lun.block_size));
  }
  if (lun.physical_block_size != 0 && lun.physical_block_size < lun.block_size) {
    problems_.add(lun.place.line_of("physical_block_size"),
                  fmt::format("physical_block_size is {}, less than the block_size of {}",
                              lun.physical_block_size, lun.block_size));
  }
  // LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT has 4 bits. SBC-3 §5.16.2.
  if (lun.physical_block_size > uint64_t{lun.block_size} << 15) {
    problems_.add(lun.place.line_of("physical_block_size"),
                  fmt::format("physical_block_size is {}; at most {} can be told to initiators",
                              lun.physical_block_size, uint64_t{lun.block_size} << 15));
  }
  if (lun.create_bytes == 0) return;
  if (lun.create_bytes % lun.block_size != 0) {
    problems_.add(lun.place.line_of("create"),
                  fmt::format("create is {} bytes, which is not a multiple of the block size of {} bytes",
                              lun.create_bytes, lun.block_size));
  }
  if (is_memory_path(lun.path) || lun.path.starts_with("/dev/")) {
    problems_.add(lun.place.line_of("create"),
                  fmt::format("create makes a file, and {} is none; remove the key, or name a file as path",
                              in_quotes(lun.path)));
  }
}

/// A socket on every address takes the port of each single one.
void Validator::check_wildcards() {
  struct Bound {
    Address address;
    const TargetConfig* target;
  };
  std::vector<Bound> wildcards;
  for (const TargetConfig& target : config_.targets) {
    for (const std::string& portal : target.portals) {
      const Address address = to_address(portal);
      if (address.is_wildcard()) wildcards.push_back({address, &target});
    }
  }
  for (const TargetConfig& target : config_.targets) {
    for (size_t i = 0; i < target.portals.size() && !wildcards.empty(); i++) {
      const Address address = to_address(target.portals[i]);
      if (address.is_wildcard()) continue;
      for (const Bound& wildcard : wildcards) {
        const bool covered =
            wildcard.address.port() == address.port() && wildcard.address.is_ipv6() == address.is_ipv6();
        if (!covered) continue;
        problems_.add(
            target.place.line_of("portals", i),
            fmt::format("portal {} is covered by {} of {}; name single addresses everywhere or nowhere",
                        target.portals[i], wildcard.address.to_string(), title(*wildcard.target)));
        break;
      }
    }
  }
}

void Validator::check_http() {
  if (config_.daemon.http.empty()) return;
  const Address http = to_address(config_.daemon.http);
  for (const TargetConfig& target : config_.targets) {
    for (size_t i = 0; i < target.portals.size(); i++) {
      const Address portal = to_address(target.portals[i]);
      const bool same =
          portal == http || (portal.port() == http.port() && portal.is_ipv6() == http.is_ipv6() &&
                             (portal.is_wildcard() || http.is_wildcard()));
      if (!same) continue;
      problems_.add(config_.daemon.place.line_of("http"),
                    fmt::format("{} is a portal of {} too; choose another port for http", config_.daemon.http,
                                title(target)));
      return;
    }
  }
}

}  // namespace

void validate(Config& config, Problems& problems) {
  Validator(config, problems).run();
}

std::optional<std::string> refuse_at_start(const Config& config) {
  if (config.cluster && !config.cluster->corosync) {
    return fmt::format(
        "line {}: corosync = false leaves the nodes no way to find each other; set it to true, or remove "
        "[cluster] and "
        "the groups to serve from this node alone",
        config.cluster->place.line_of("corosync"));
  }
  return std::nullopt;
}

}  // namespace itgtd::config
