#include "tests/ha/operation/situations.h"

namespace itgtd::ha {
namespace {

constexpr Epoch kEpoch = 2752513;
constexpr TimeMs kSince = ((3 * 24 + 2) * 60 + 17) * 60'000;

NodeStatus node(NodeId id) {
  NodeStatus status;
  status.id = id;
  status.name = "iscsi-" + std::to_string(id - 1);
  status.self = id == 3;
  status.member = true;
  status.in_quorum = true;
  status.version = "0.1.0";
  return status;
}

GroupReport report(bool active) {
  GroupReport report;
  report.digest = 77;
  report.storage.fitness = StorageFitness::usable;
  report.storage.primary = active;
  report.storage.role = active ? "Primary" : "Secondary";
  report.storage.disk = "UpToDate";
  report.storage.peers_connected = true;
  report.vips = {{"enp0s8", true, active, false, ""}, {"enp0s9", true, active, false, ""}};
  report.phase = active ? Phase::active : Phase::idle;
  report.epoch = active ? kEpoch : 0;
  report.sessions = active ? 2 : 0;
  report.since_ms = kSince;
  return report;
}

Candidate candidate(NodeId id) {
  Candidate candidate;
  candidate.node = id;
  candidate.name = "iscsi-" + std::to_string(id - 1);
  candidate.eligible = true;
  candidate.member = true;
  candidate.fitness = StorageFitness::usable;
  candidate.live_vips = 2;
  candidate.preference = id - 1;
  return candidate;
}

GroupStatus& drbd0(Situation& situation) {
  return situation.status.groups.front();
}

/// Nobody serves it, and no node reports.
void abandon(Situation& situation) {
  drbd0(situation).ownership.previous = 1;
  drbd0(situation).ownership.owner = 0;
  drbd0(situation).reports[1].phase = Phase::idle;
  drbd0(situation).reports[1].storage.role = "Secondary";
  for (VipFacts& vip : drbd0(situation).reports[1].vips) vip.present = false;
}

void lose(Situation& situation, NodeId id, TimeMs silence) {
  NodeStatus& lost = situation.status.nodes[id - 1];
  lost.member = lost.in_quorum = false;
  lost.version.clear();
  lost.silence_ms = silence;
  drbd0(situation).reports.erase(id);
  for (Candidate& known : situation.candidates) {
    if (known.node != id) continue;
    known.member = known.eligible = false;
    known.fitness = StorageFitness::unknown;
    known.live_vips = 0;
    known.reason = "it is not in the ring";
  }
}

Situation one_vip_down() {
  Situation situation = healthy();
  situation.name = "one_vip_down";
  VipFacts& vip = drbd0(situation).reports[1].vips[1];
  vip.link = false;
  situation.candidates[0].live_vips = 1;
  situation.status.nodes[1].drained = true;
  situation.candidates[1].drained = true;
  situation.candidates[1].eligible = false;
  situation.candidates[1].reason = "it is drained";
  std::swap(situation.candidates[1], situation.candidates[2]);
  situation.candidates[1].reason = "would serve more paths, for less than 5 s so far";
  lose(situation, 3, 12'400);
  situation.status.nodes[2].self = false;
  situation.status.nodes[0].self = true;
  return situation;
}

Situation no_quorum() {
  Situation situation = healthy();
  situation.name = "no_quorum";
  lose(situation, 1, 44'000);
  lose(situation, 2, 44'000);
  situation.status.quorate = false;
  situation.status.lease_left_ms = 0;
  return situation;
}

Situation no_corosync() {
  Situation situation = healthy();
  situation.name = "no_corosync";
  situation.status.connected = situation.status.quorate = false;
  situation.status.nodes[2].member = situation.status.nodes[2].in_quorum = false;
  lose(situation, 1, 0);
  lose(situation, 2, 0);
  drbd0(situation).problem = "its owner iscsi-0 is not heard";
  situation.trouble = "corosync can't be reached: cpg_model_initialize: CS_ERR_LIBRARY";
  return situation;
}

/// As the daemon starts, before corosync could be reached.
Situation not_joined() {
  Situation situation = healthy();
  situation.name = "not_joined";
  situation.status = {};
  situation.candidates.clear();
  situation.trouble = "corosync can't be reached: is it running?";
  return situation;
}

Situation nobody_can() {
  Situation situation = healthy();
  situation.name = "nobody_can_serve";
  abandon(situation);
  for (auto& [id, known] : drbd0(situation).reports) {
    known.storage.fitness = StorageFitness::inconsistent;
    known.storage.disk = "Outdated";
  }
  drbd0(situation).reports[2].storage.detail =
      "split brain: the data of both nodes have changed, DRBD does not connect them any more";
  drbd0(situation).reports[1].failure =
      "drbdadm primary r0: exit 17: need access to UpToDate data (state -2)";
  for (Candidate& known : situation.candidates) {
    known.eligible = false;
    known.fitness = StorageFitness::inconsistent;
    known.reason = "its storage is inconsistent: its disk is Outdated";
  }
  situation.candidates[0].failures = 1.7;
  situation.candidates[0].last_owner = true;
  return situation;
}

Situation configuration_differs() {
  Situation situation = healthy();
  situation.name = "configuration_differs";
  abandon(situation);
  drbd0(situation).reports[3].digest = 78;
  drbd0(situation).problem = "not started: its configuration differs on iscsi-2";
  for (Candidate& known : situation.candidates) {
    known.eligible = false;
    known.reason = "its configuration of this group differs";
  }
  return situation;
}

Situation maintenance() {
  Situation situation = healthy();
  situation.name = "maintenance";
  situation.status.maintenance = true;
  situation.status.nodes[1].member = false;
  situation.status.nodes[1].version.clear();
  drbd0(situation).reports.erase(2);
  situation.status.nodes[0].version = "0.2.0";
  return situation;
}

Situation never_started() {
  Situation situation = healthy();
  situation.name = "never_started";
  abandon(situation);
  drbd0(situation).ownership = {};
  drbd0(situation).problem = "not started yet: not all nodes are there";
  situation.candidates[0].last_owner = false;
  return situation;
}

Situation suspended() {
  Situation situation = healthy();
  situation.name = "suspended";
  GroupReport& owner = drbd0(situation).reports[1];
  owner.phase = Phase::suspended;
  owner.since_ms = 2300;
  situation.status.messages_dropped = 3;
  return situation;
}

Situation starting() {
  Situation situation = healthy();
  situation.name = "starting";
  lose(situation, 1, 4200);
  drbd0(situation).ownership = {kEpoch + 65536, 2, 1, Reason::node_lost};
  GroupReport& owner = drbd0(situation).reports[2];
  owner.phase = Phase::starting;
  owner.epoch = kEpoch + 65536;
  owner.since_ms = 310;
  return situation;
}

/// A shared disk, long names, many nodes: what does not fit on a line.
Situation wide() {
  Situation situation = healthy();
  situation.name = "shared_and_wide";
  GroupStatus& group = drbd0(situation);
  group.name = "backup-of-building-7";
  situation.shown.clear();
  GroupShown& shown = situation.shown[group.name];
  shown = {"/dev/disk/by-id/scsi-36001405a0b1c2d3e4f5061728394a5b6c",
           {"2001:db8:1234:5678::1:35", "192.168.222.35"},
           {"storage-node-building-7a", "iscsi-1", "iscsi-2"}};
  situation.status.nodes[0].name = "storage-node-building-7a";
  for (auto& [id, known] : group.reports) known.storage.role = known.storage.disk = "-";
  group.reports[1].vips[0] = {"", false, false, false, ""};
  group.reports[1].vips[1] = {"bond0.2220", true, true, true, "02:00:00:00:00:07 answers for it"};
  situation.candidates.clear();
  return situation;
}

}  // namespace

Situation healthy() {
  Situation situation;
  situation.name = "healthy";
  ClusterStatus& status = situation.status;
  status.connected = status.quorate = true;
  status.ring = {1, 42};
  status.lease_left_ms = 1900;
  status.nodes = {node(1), node(2), node(3)};
  GroupStatus group;
  group.name = "drbd0";
  group.ownership = {kEpoch, 1, 0, Reason::first_start};
  group.reports = {{1, report(true)}, {2, report(false)}, {3, report(false)}};
  status.groups = {group};
  situation.shown["drbd0"] = {"r0", {"192.168.222.35", "192.168.221.35"}, {"iscsi-0", "iscsi-1", "iscsi-2"}};
  situation.candidates = {candidate(1), candidate(2), candidate(3)};
  situation.candidates[0].last_owner = true;
  situation.candidates[1].reason = "it is less preferred";
  situation.candidates[2].reason = "it is less preferred";
  return situation;
}

std::vector<Situation> all_situations() {
  return {healthy(),
          one_vip_down(),
          no_quorum(),
          no_corosync(),
          not_joined(),
          nobody_can(),
          configuration_differs(),
          maintenance(),
          never_started(),
          suspended(),
          starting(),
          wide()};
}

}  // namespace itgtd::ha
