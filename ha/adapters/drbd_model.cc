#include "ha/adapters/drbd_model.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

namespace itgtd::ha {

namespace {

using Action = DrbdEvent::Action;
using Object = DrbdEvent::Object;
using Fields = std::map<std::string, std::string, std::less<>>;

std::string_view value(const Fields& fields, std::string_view key) {
  const auto found = fields.find(key);
  return found == fields.end() ? std::string_view() : found->second;
}

void merge(Fields& into, const DrbdEvent& event) {
  // sync-state stands only in the lines of a connection that is StandAlone, and only when it says something.
  if (event.object == Object::connection) into.erase("sync-state");
  for (const auto& [key, text] : event.fields) into.insert_or_assign(key, text);
}

/// How bad a local disk state is: drbd.h's order, worst first. What is not known is the worst.
size_t disk_rank(std::string_view disk) {
  constexpr std::array<std::string_view, 10> kDisks{"Diskless",    "Attaching",    "Detaching", "Failed",
                                                    "Negotiating", "Inconsistent", "Outdated",  "DUnknown",
                                                    "Consistent",  "UpToDate"};
  const auto* found = std::find(kDisks.begin(), kDisks.end(), disk);
  return found == kDisks.end() ? 0 : static_cast<size_t>(found - kDisks.begin());
}

std::string connection_name(const Fields& connection) {
  const std::string_view name = value(connection, "conn-name");
  return name.empty() ? "its peer" : std::string(name);
}

}  // namespace

void DrbdModel::reset() {
  for (const auto& [name, resource] : resources_) changed_.insert(name);
  resources_.clear();
  complete_ = false;
  lost_events_ = false;
}

void DrbdModel::apply(const DrbdEvent& event) {
  if (event.action == Action::dump_complete) complete_ = true;
  if (event.action == Action::skipped) lost_events_ = true;
  // DRBD calls this helper exactly when it gives up a connection for good; initial-split-brain comes before
  // it has tried its after-sb policies.
  if (event.field("helper") == "split-brain" && has(std::string(event.field("name"))))
    resources_[std::string(event.field("name"))].split_brain = true;
  const std::string name(event.field("name"));
  if (name.empty()) return;
  switch (event.action) {
    case Action::exists:
    case Action::create:
    case Action::change:
      change(event, name);
      break;
    case Action::destroy:
      destroy(event, name);
      break;
    case Action::rename:
      if (auto node = resources_.extract(name); !node.empty()) {
        node.key() = std::string(event.field("new_name"));
        changed_.insert(node.key());
        resources_.insert(std::move(node));
      }
      break;
    case Action::dump_complete:
    case Action::skipped:
    case Action::other:
      return;
  }
  changed_.insert(name);
}

void DrbdModel::change(const DrbdEvent& event, const std::string& name) {
  const std::string volume(event.field("volume"));
  const std::string peer(event.field("peer-node-id"));
  switch (event.object) {
    case Object::resource:
      return merge(resources_[name].fields, event);
    case Object::device:
      return merge(resources_[name].devices[volume], event);
    case Object::connection:
      return merge(resources_[name].connections[peer].fields, event);
    case Object::peer_device:
      if (event.field("replication") == "Established") resources_[name].split_brain = false;
      return merge(resources_[name].connections[peer].peer_devices[volume], event);
    case Object::none:
    case Object::other:
      return;
  }
}

void DrbdModel::destroy(const DrbdEvent& event, const std::string& name) {
  const auto found = resources_.find(name);
  if (found == resources_.end()) return;
  Resource& resource = found->second;
  const std::string volume(event.field("volume"));
  const std::string peer(event.field("peer-node-id"));
  switch (event.object) {
    case Object::resource:
      resources_.erase(found);
      return;
    case Object::device:
      resource.devices.erase(volume);
      return;
    case Object::connection:
      resource.connections.erase(peer);
      return;
    case Object::peer_device:
      if (const auto connection = resource.connections.find(peer); connection != resource.connections.end())
        connection->second.peer_devices.erase(volume);
      return;
    case Object::none:
    case Object::other:
      return;
  }
}

bool DrbdModel::has(const std::string& resource) const {
  return resources_.contains(resource);
}

bool DrbdModel::connecting(const std::string& resource) const {
  const auto found = resources_.find(resource);
  if (found == resources_.end()) return false;
  return std::any_of(
      found->second.connections.begin(), found->second.connections.end(), [](const auto& entry) {
        const std::string_view state = value(entry.second.fields, "connection");
        if (state == "StandAlone" || state == "Disconnecting") return false;
        if (state != "Connected") return true;
        // Connected, but what the peer's disks are has not been agreed on: "Off" until the handshake of the
        // volume.
        return std::any_of(entry.second.peer_devices.begin(), entry.second.peer_devices.end(),
                           [](const auto& device) { return value(device.second, "replication") == "Off"; });
      });
}

std::set<std::string> DrbdModel::take_changed() {
  return std::exchange(changed_, {});
}

bool DrbdModel::peer_up_to_date(const Resource& resource, const std::string& volume) {
  return std::any_of(resource.connections.begin(), resource.connections.end(), [&](const auto& entry) {
    if (value(entry.second.fields, "connection") != "Connected") return false;
    const auto device = entry.second.peer_devices.find(volume);
    return device != entry.second.peer_devices.end() && value(device->second, "peer-disk") == "UpToDate";
  });
}

/// A connected peer that has all volumes UpToDate: what this node writes is there too, and it could take
/// over.
bool DrbdModel::has_replica(const Resource& resource) {
  return std::any_of(resource.connections.begin(), resource.connections.end(), [&](const auto& entry) {
    if (value(entry.second.fields, "connection") != "Connected" || entry.second.peer_devices.empty())
      return false;
    return std::all_of(entry.second.peer_devices.begin(), entry.second.peer_devices.end(),
                       [](const auto& device) { return value(device.second, "peer-disk") == "UpToDate"; });
  });
}

DrbdModel::VolumeFitness DrbdModel::volume_fitness(const Resource& resource, const std::string& volume) {
  const Fields& device = resource.devices.at(volume);
  const std::string_view disk = value(device, "disk");
  const bool peer_has_it = peer_up_to_date(resource, volume);
  if (disk == "UpToDate") return {StorageFitness::usable, ""};
  // It might be out of date: DRBD finds out when it is to be promoted (it fences or asks the peer). Behind
  // one that is UpToDate, before one that is known to be old.
  if (disk == "Consistent")
    return {StorageFitness::diskless,
            fmt::format("volume {} is Consistent: DRBD has not been able to say whether it is up to date",
                        volume)};
  if (disk == "Inconsistent" || disk == "Outdated")
    return {StorageFitness::inconsistent,
            fmt::format("volume {} is {}{}", volume, disk,
                        peer_has_it ? "" : ", and no connected peer is UpToDate: connect one that is")};
  if (disk == "Attaching" || disk == "Negotiating")
    return {StorageFitness::inconsistent, fmt::format("volume {} is {}", volume, disk)};
  const bool intended = value(device, "client") == "yes";
  if (peer_has_it)
    return {StorageFitness::diskless,
            intended
                ? ""
                : fmt::format("volume {} is {}: see the kernel's log, then drbdadm attach", volume, disk)};
  return {StorageFitness::unusable,
          fmt::format("volume {} is {}, and no connected peer is UpToDate", volume, disk)};
}

void DrbdModel::judge_volumes(const Resource& resource, StorageFacts& facts) {
  facts.fitness = StorageFitness::usable;
  facts.disk = "UpToDate";
  for (const auto& [volume, device] : resource.devices) {
    const VolumeFitness judged = volume_fitness(resource, volume);
    if (judged.fitness < facts.fitness) facts.fitness = judged.fitness;
    if (facts.detail.empty()) facts.detail = judged.detail;
    const std::string_view disk = value(device, "disk");
    if (disk_rank(disk) < disk_rank(facts.disk)) facts.disk = disk;
    if (value(device, "quorum") == "no") {
      facts.quorate = false;
      if (facts.detail.empty()) facts.detail = "DRBD has no quorum: too few of its nodes are connected";
    }
  }
  if (resource.devices.empty()) {
    facts.fitness = StorageFitness::unusable;
    facts.disk = "Diskless";
    facts.detail = "it has no volumes: drbdadm adjust";
  }
}

/// What is true of the resource as a whole, and worse than its volumes look.
void DrbdModel::judge_resource(const Resource& resource, StorageFacts& facts) {
  // After drbdsetup secondary --force every I/O fails until the last opener has closed; drbd-utils
  // before 9.28 says may_promote:yes all the same.
  if (value(resource.fields, "force-io-failures") == "yes") {
    facts.fitness = StorageFitness::unusable;
    facts.detail = "it was made Secondary by force: its I/O fails until every program has closed it";
    return;
  }
  const bool connected =
      std::any_of(resource.connections.begin(), resource.connections.end(),
                  [](const auto& entry) { return value(entry.second.fields, "connection") == "Connected"; });
  // 8.4 destroys a connection that is made StandAlone, in the events; in a dump it is there.
  std::string alone = resource.connections.empty() ? "its peer" : "";
  bool split_brain = resource.split_brain;
  for (const auto& [peer, connection] : resource.connections) {
    if (value(connection.fields, "connection") == "StandAlone") alone = connection_name(connection.fields);
    if (value(connection.fields, "sync-state") == "SplitBrain") split_brain = true;
  }
  if (!alone.empty() && facts.primary) {
    // It serves the data that it has served: stopping would help nobody.
    facts.detail = fmt::format("StandAlone towards {}{}: nothing is replicated there", alone,
                               split_brain ? " after a split brain" : "");
  } else if (!alone.empty() && (split_brain || !connected)) {
    facts.fitness = StorageFitness::unusable;
    facts.detail = fmt::format(
        "StandAlone towards {}: {}; decide whose data is kept, then drbdadm connect (--discard-my-data on "
        "the "
        "other)",
        alone, split_brain ? "split brain" : "a split brain, or disconnected by hand");
  }
  const std::string_view suspended = value(resource.fields, "suspended");
  if (facts.primary && !suspended.empty() && suspended != "no")
    facts.detail = fmt::format("DRBD has suspended its I/O ({})", suspended);
  // The tools know more than the disk states where there is no disk here: whether the peer's is stable. A
  // "yes" is not taken for more than the states say.
  if (facts.fitness == StorageFitness::diskless && !facts.primary && !facts.peer_primary && facts.quorate &&
      value(resource.fields, "may_promote") == "no") {
    facts.fitness = StorageFitness::inconsistent;
  }
}

StorageFacts DrbdModel::facts(const std::string& name) const {
  StorageFacts facts;
  facts.role = "Unknown";
  const auto found = resources_.find(name);
  if (!complete_ || found == resources_.end()) {
    if (complete_) facts.detail = fmt::format("the resource is down: drbdadm up {}", name);
    return facts;
  }
  const Resource& resource = found->second;
  facts.role = value(resource.fields, "role");
  facts.primary = facts.role == "Primary";
  for (const auto& [peer, connection] : resource.connections) {
    if (value(connection.fields, "connection") == "Connected" &&
        value(connection.fields, "role") == "Primary")
      facts.peer_primary = true;
  }
  facts.peers_connected = has_replica(resource);
  judge_volumes(resource, facts);
  judge_resource(resource, facts);
  return facts;
}

}  // namespace itgtd::ha
