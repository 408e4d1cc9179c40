// A machine: its clock, its kernel (lease, addresses), and the daemon on it, which is an ha::State whose
// actions take time and whose events wait in queues. What the daemon started ends with it; addresses and the
// role of the storage stay.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ha/core/step.h"
#include "tests/ha/sim/disks.h"
#include "tests/ha/sim/random.h"
#include "tests/ha/sim/schedule.h"
#include "tests/ha/sim/totem.h"

namespace itgtd::ha::sim {

/// What is equal on all machines of a run.
struct Settings {
  size_t nodes = 3;
  Totem::Settings totem;
  Timing timing;
  std::vector<GroupSpec> groups;
  TimeMs processing_max_ms = 5;  ///< how long an event waits until the daemon handles it
  TimeMs promote_max_ms = 40;
  bool clocks_differ = true;
  bool helper_demotes = false;  ///< something demotes the storage of a daemon that died
  /// For proofs that the checks can fail: what a core with that fault would do.
  struct Fault {
    bool ack_before_stop = false;         ///< Acks go out while the service of the old epoch runs on
    bool lease_by_self_delivery = false;  ///< each heartbeat that comes back renews the lease
  } fault;
};

/// What a host needs of the world around it.
class Surroundings {
 public:
  virtual ~Surroundings() = default;
  virtual void log(NodeId node, const std::string& text) = 0;
  virtual void violation(const std::string& text) = 0;
  virtual void mix(uint64_t value) = 0;  ///< into the fingerprint of the run
  /// It is started, or goes on after it was suspended.
  virtual void on_serve(NodeId node, const std::string& group, Epoch epoch) = 0;
  virtual void on_storage_touched(const std::string& group) = 0;
};

class Host {
 public:
  Host(NodeId id, std::string name, const Settings& settings, Schedule& schedule, Random& random,
       Totem& totem, Disks& disks, Surroundings& world);

  // --- The machine and its daemon.
  void boot();
  void crash();
  void start_daemon();
  void kill_daemon();
  void pause();  ///< the whole machine, with its corosync; its clock goes on
  void resume();
  void stall();  ///< the control thread; workers and kernel go on
  void go_on();
  void ask(const Wish& wish) { post(kLocal, Asked{wish}); }
  void stop_daemon() { post(kLocal, StopAsked{}); }

  // --- What may go wrong.
  void set_link(const std::string& group, size_t vip, bool up);
  void set_vip_fails(const std::string& group, size_t vip, bool fails);
  void remove_address(const std::string& group, size_t vip);
  /// The next `count` promotions fail.
  void set_promote_fails(const std::string& group, int count, bool retry_here);
  void set_promote_takes(const std::string& group, TimeMs takes_ms);
  /// The next `count` demotions without force fail.
  void set_demote_fails(const std::string& group, int count) { work_[group].demote_fails = count; }
  /// Facts of the storage may have changed.
  void look_at_storage(const std::string& group);

  // --- From corosync.
  void on_cpg(uint32_t pid, const Event& event);
  void on_quorum(uint32_t pid, const Event& event);
  void on_corosync_lost(uint32_t pid);

  // --- What can be seen.
  [[nodiscard]] NodeId id() const { return id_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool up() const { return up_; }
  [[nodiscard]] bool paused() const { return paused_; }
  [[nodiscard]] bool daemon_runs() const { return state_.has_value(); }
  [[nodiscard]] bool stalled() const { return stalled_; }
  [[nodiscard]] const State* state() const { return state_ ? &*state_ : nullptr; }
  [[nodiscard]] TimeMs clock() const;
  /// True exactly when a command of the group would be carried out now.
  [[nodiscard]] bool serves(const std::string& group) const;
  [[nodiscard]] bool suspended(const std::string& group) const;
  [[nodiscard]] bool running(const std::string& group) const;
  [[nodiscard]] bool vip_present(const std::string& group, size_t vip) const;
  [[nodiscard]] bool vip_reachable(const std::string& group, size_t vip) const;
  [[nodiscard]] bool lease_valid() const { return up_ && clock() < lease_until_; }

 private:
  enum QueueId : size_t { kCpg, kQuorum, kLocal, kQueues };
  struct Waiting {
    TimeMs ready_at;
    Event event;
  };
  struct Address {
    bool present = false;
    TimeMs valid_until = 0;  ///< by this node's clock
    bool link = true;
    bool fails = false;
    bool failed = false;
    VipFacts told;
  };
  struct Service {
    bool running = false;
    bool suspended = false;
    bool lapsed = false;  ///< for the transcript
    Epoch epoch = 0;
  };
  /// What is under way for a group, and what is to go wrong with it.
  struct Work {
    uint64_t service = 0;  ///< grows with each action that overtakes the one under way
    uint64_t addresses = 0;
    TimeMs role_free_at = 0;
    int promote_fails = 0;
    bool promote_retry_here = true;
    int demote_fails = 0;
    TimeMs promote_takes_ms = 0;
    Epoch acked = 0;
    Epoch table_epoch = 0;
    StorageFacts told;
  };

  void post(QueueId queue, Event event);
  void pump(uint32_t pid);
  void handle(const Event& event);
  void check_after_step(const Event& event);
  void arm_tick();
  void perform(const Action& action);
  void perform_send(const Message& message);
  void perform_set_lease(const SetLease& action);
  void perform_promote(const Promote& action);
  void perform_demote(const Demote& action);
  void perform_add_addresses(const AddAddresses& action);
  void perform_remove_addresses(const RemoveAddresses& action);
  void perform_start_service(const StartService& action);
  void perform_stop_service(const StopService& action);
  void perform_suspend(const SuspendService& action);
  void perform_resume(const ResumeService& action);
  void perform_stopped();
  void done(const GroupAction& action, uint32_t pid, bool ok = true, bool retry_here = true,
            std::string text = {});
  void check_epoch(const GroupAction& action, const char* what);
  void tell_vip(const std::string& group, size_t vip);
  void expire_addresses();
  void end_process(const char* how);
  void watch_lease();
  /// Does it after that long; a paused machine does it when it goes on; a machine that crashed, never.
  void later(TimeMs delay_ms, std::function<void()> what);
  [[nodiscard]] TimeMs world_time(TimeMs clock_ms) const;
  void mutate(const Event& event);
  void connect_soon();

  NodeId id_;
  std::string name_;
  const Settings& settings_;
  Schedule& schedule_;
  Random& random_;
  Totem& totem_;
  Disks& disks_;
  Surroundings& world_;

  TimeMs clock_offset_ms_ = 0;
  int64_t clock_ppm_ = 0;
  uint64_t boot_ = 0;  ///< grows with each crash
  bool up_ = false;
  bool paused_ = false;
  bool stalled_ = false;
  std::vector<std::function<void()>> deferred_;

  TimeMs lease_until_ = 0;  ///< the kernel's, by this node's clock
  bool lease_watched_ = false;
  std::map<std::string, std::vector<Address>> addresses_;
  std::map<std::string, Service> services_;
  std::map<std::string, Work> work_;

  std::optional<State> state_;
  Epoch epoch_floor_ = 0;  ///< on its disk: as ha/epoch_file.h keeps it
  uint32_t pid_ = 0;
  uint32_t last_pid_ = 0;
  bool connected_ = false;
  std::array<std::deque<Waiting>, kQueues> queues_;
  TimeMs tick_armed_ = -1;
  std::map<uint64_t, TimeMs> heartbeats_;  ///< when each was sent, for Fault::lease_by_self_delivery
};

}  // namespace itgtd::ha::sim
