// All of a run: machines, network, disks, initiators; and what must hold at each instant.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/ha/sim/disks.h"
#include "tests/ha/sim/host.h"
#include "tests/ha/sim/random.h"
#include "tests/ha/sim/schedule.h"
#include "tests/ha/sim/totem.h"

namespace itgtd::ha::sim {

struct Line {
  TimeMs at = 0;
  std::string text;
};

class World : private Totem::Clients, private Surroundings {
 public:
  World(Settings settings, uint64_t seed);

  /// False: something that must hold does not; violation() says what, and nothing goes on.
  bool run(TimeMs duration_ms);
  [[nodiscard]] TimeMs now() const { return schedule_.now(); }
  [[nodiscard]] const std::optional<std::string>& violation() const { return violation_; }
  [[nodiscard]] const std::vector<Line>& transcript() const { return transcript_; }
  /// Of everything that happened, heartbeats too.
  [[nodiscard]] uint64_t fingerprint() const { return fingerprint_; }
  void say(const std::string& text) { transcript_.push_back({now(), text}); }
  void fail(const std::string& text) { violation(text); }

  [[nodiscard]] const Settings& settings() const { return settings_; }
  [[nodiscard]] Host& host(NodeId node) { return *hosts_.at(node); }
  [[nodiscard]] const std::map<NodeId, std::unique_ptr<Host>>& hosts() const { return hosts_; }
  [[nodiscard]] Totem& totem() { return totem_; }
  [[nodiscard]] Disks& disks() { return disks_; }
  [[nodiscard]] Random& random() { return random_; }
  [[nodiscard]] Schedule& schedule() { return schedule_; }

  // --- Faults that concern more than one machine.
  /// Nodes with one number reach each other.
  void cut_cluster(const std::map<NodeId, int>& component) { totem_.connect(component); }
  void cut_disks(const std::map<NodeId, int>& component);
  void heal();  ///< both networks
  void set_fitness(const std::string& group, NodeId node, StorageFitness fitness);
  /// An operator's wish, at any node whose daemon runs.
  void ask(const Wish& wish);

  // --- What is so.
  /// Who serves it now; 0: nobody.
  [[nodiscard]] NodeId server(const std::string& group) const;
  [[nodiscard]] std::optional<Ownership> ownership(const std::string& group, NodeId node) const;
  /// What is wrong with a cluster that has had time; empty: nothing.
  [[nodiscard]] std::string unsettled() const;
  /// What each daemon thinks, a line each.
  [[nodiscard]] std::vector<std::string> describe() const;
  /// The longest time since `mark_pause()` in which no write of the group was acknowledged.
  void mark_pause(const std::string& group);
  [[nodiscard]] TimeMs pause(const std::string& group) const;
  /// Every acknowledged write is on the disk of who serves; otherwise says which is not.
  [[nodiscard]] std::string lost_write(const std::string& group) const;

 private:
  struct Initiator {
    uint64_t next_version = 1;
  };
  struct Watched {
    std::map<uint32_t, uint64_t> acknowledged;
    std::vector<Initiator> initiators;
    std::vector<TimeMs> overlap_since;  ///< per VIP; -1: on one node at most
    Epoch served_epoch = 0;
    NodeId served_by = 0;
    TimeMs last_ack_at = 0;
    TimeMs longest_pause_ms = 0;
  };

  void on_cpg(NodeId node, uint32_t pid, const Event& event) override { host(node).on_cpg(pid, event); }
  void on_quorum(NodeId node, uint32_t pid, const Event& event) override { host(node).on_quorum(pid, event); }
  void on_corosync_lost(NodeId node, uint32_t pid) override { host(node).on_corosync_lost(pid); }
  void log(NodeId node, const std::string& text) override { say(host(node).name() + " " + text); }
  void violation(const std::string& text) override;
  void mix(uint64_t value) override { fingerprint_ = (fingerprint_ ^ value) * 0x100000001b3; }
  void on_serve(NodeId node, const std::string& group, Epoch epoch) override;
  void on_storage_touched(const std::string& group) override;

  void check();
  void check_vips(const GroupSpec& spec, Watched& watched);
  void initiator_turn(const std::string& group, size_t initiator);
  void write_ends(const std::string& group, size_t initiator, NodeId node, uint64_t version);

  Settings settings_;
  Random random_;
  Schedule schedule_;
  Totem totem_;
  Disks disks_;
  std::map<NodeId, std::unique_ptr<Host>> hosts_;
  std::map<std::string, Watched> watched_;
  TimeMs vips_checked_at_ = 0;  ///< an overlap is counted in seconds
  std::optional<std::string> violation_;
  std::vector<Line> transcript_;
  uint64_t fingerprint_ = 0xcbf29ce484222325;
};

}  // namespace itgtd::ha::sim
