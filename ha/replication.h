// ha::UnitReplication over the messages of the cluster: the shell around ha/core/units.h.
//
// Control thread. Who owns it feeds it what the cluster says (set_options, on_members, on_delivered) and
// gives it a way to send; it asks the event loop for time.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ha/core/units.h"
#include "ha/group_service.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

/// Where this node keeps values with their versions. target/replicated_lu_store.h implements it.
class UnitStore {
 public:
  using Bytes = std::vector<std::byte>;
  struct Value {
    UnitVersion version;
    std::string group;
    Bytes bytes;
  };

  UnitStore() = default;
  virtual ~UnitStore() = default;
  UnitStore(const UnitStore&) = delete;
  UnitStore& operator=(const UnitStore&) = delete;

  /// `done` with what is durable then: the value, or what is newer and was there already, or on its way
  /// there; perhaps before this returns. An older value never overwrites a newer one.
  using SaveDone = std::function<void(Result<UnitVersion>)>;
  virtual void save(const std::string& unit, Value value, SaveDone done) = 0;
  /// Every unit that is stored. A unit that can't be read is logged and left out: others' are newer than
  /// none.
  virtual Result<UnitVersionMap> load_versions() = 0;
  /// Nothing: it was never stored.
  virtual Result<std::optional<Value>> load(const std::string& unit) = 0;
};

class Replication final : public UnitReplication {
 public:
  using Send = std::function<void(Message)>;
  /// CLOCK_BOOTTIME in milliseconds, or a test's.
  using Now = std::function<TimeMs()>;
  /// All outlive it. Reads the versions from the store: at start.
  Replication(control::EventLoop& loop, UnitStore& store, Send send, Now now, const UnitsOptions& options);

  void set_options(const UnitsOptions& options);
  /// As MembersChanged::members; empty when corosync is lost.
  void on_members(const std::vector<Member>& members);
  /// Each message of the group, in order; those of other kinds are ignored.
  void on_delivered(const Member& from, const Message& message);
  /// The group is stopped here: what it still waits for ends with an error.
  void abandon(const std::string& group);

  void replicate(const std::string& group, const std::string& unit, Epoch epoch, uint64_t version,
                 Bytes bytes, std::function<void(Result<void>)> done) override;
  void fetch(const std::string& group, const std::vector<std::string>& units,
             std::function<void(Result<void>)> done) override;

  [[nodiscard]] const Units& units() const { return units_; }

 private:
  using Done = std::function<void(Result<void>)>;
  void step(UnitEvent event);
  void carry_out(SendUnit& action);
  void carry_out(const SendStoredUnit& action);
  void carry_out(SaveUnit& action);
  void carry_out(const UnitDone& action);
  void set_timer();

  control::EventLoop& loop_;
  UnitStore& store_;
  Send send_;
  Now now_;
  Units units_;
  uint64_t last_id_ = 0;
  std::map<uint64_t, Done> waiting_;
  /// What came while a step was carried out (a save that is done at once): taken after it.
  std::deque<UnitEvent> events_;
  bool stepping_ = false;
  control::Subscription timer_;
  std::optional<TimeMs> timer_at_;
};

}  // namespace itgtd::ha
