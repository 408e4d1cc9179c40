#include "target/cluster_setup.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/address.h"
#include "base/digest.h"

namespace itgtd::target {
namespace {

/// Whether a portal is at one of the group's addresses.
bool is_at(const config::GroupConfig& group, const std::string& portal) {
  const Address address = Address::parse(portal, 0).value();
  return std::ranges::any_of(group.vips, [&](const config::VipConfig& vip) {
    const auto at = Address::parse(vip.address, 0);
    return at && at->same_host(address);
  });
}

std::string chap_text(const config::ChapConfig& chap) {
  // A digest, so that a secret never stands in a text that might be shown.
  const uint64_t secrets = digest64(chap.secret + '\n' + chap.mutual_secret);
  return fmt::format("chap {:?} {:?} {:016x}\n", chap.user, chap.mutual_user, secrets);
}

std::string lun_text(const config::LunConfig& lun) {
  return fmt::format("lun {} {:?} {:?} {:?} {} {} {} {} {} {}\n", lun.id, lun.serial, lun.product, lun.vendor,
                     lun.block_size, lun.physical_block_size, lun.removable, static_cast<int>(lun.thin),
                     lun.read_only, lun.write_cache);
}

}  // namespace

std::string group_text(const config::Config& config, const config::GroupConfig& group) {
  std::string text =
      fmt::format("group {:?} {:?} {} {} {} {}\n", group.name, group.drbd, group.shared_storage, group.nodes,
                  static_cast<int>(group.failback), group.state.empty() ? "replicated" : "device");
  for (const config::VipConfig& vip : group.vips)
    text += fmt::format("vip {}/{}\n", vip.address, vip.prefix_bits);
  for (const config::TargetConfig& target : config.targets) {
    if (target.group != group.name) continue;
    text += fmt::format("target {:?} {:?} {} {} {} {} {}\n", target.name, target.alias, target.portals,
                        target.initiators, target.networks, static_cast<int>(target.header_digest),
                        static_cast<int>(target.data_digest));
    if (target.chap) text += chap_text(*target.chap);
    for (const config::LunConfig& lun : target.luns) text += lun_text(lun);
  }
  return text;
}

std::vector<ha::GroupSetup> group_setups(const config::Config& config) {
  std::vector<ha::GroupSetup> setups;
  for (const config::GroupConfig& group : config.groups) {
    ha::GroupSetup setup;
    setup.name = group.name;
    setup.drbd = group.drbd;
    for (const config::VipConfig& vip : group.vips)
      setup.vips.push_back({vip.address, vip.prefix_bits, vip.interface});
    setup.nodes = group.nodes;
    setup.failback = group.failback == config::Failback::immediate;
    setup.digest = digest64(group_text(config, group));
    for (const config::TargetConfig& target : config.targets) {
      if (target.group != group.name) continue;
      for (const std::string& portal : target.portals) {
        if (is_at(group, portal) && std::ranges::find(setup.portals, portal) == setup.portals.end())
          setup.portals.push_back(portal);
      }
      for (const config::LunConfig& lun : target.luns) {
        if (group.shared_storage) setup.disks.push_back(lun.path);
      }
    }
    setups.push_back(std::move(setup));
  }
  return setups;
}

ha::ReleaseWork release_work(const config::Config& config) {
  ha::ReleaseWork work;
  for (const ha::GroupSetup& setup : group_setups(config)) {
    if (!setup.drbd.empty()) work.drbd_resources.push_back(setup.drbd);
    work.vips.insert(work.vips.end(), setup.vips.begin(), setup.vips.end());
    work.portals.insert(work.portals.end(), setup.portals.begin(), setup.portals.end());
  }
  return work;
}

}  // namespace itgtd::target
