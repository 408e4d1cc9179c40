// Keeps old data from being served. DRBD 8.4 without fencing calls a disk UpToDate that has been away while
// the other one was written to, and makes it Primary when the other one is not there.
//
// So each group on DRBD has a claim: who lacks data. It is kept as reservations are (docs/adr/0012): durable
// on a majority of the nodes before what made it true is answered to an initiator, and read by whoever takes
// the group over before it promotes. While its replica is lost and the claim is not durable yet, an owner
// answers nothing. docs/adr/0014 has the reasons.
//
// Control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "ha/core/message.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

struct DataClaim {
  enum class Kind : uint8_t {
    all,      ///< every disk that DRBD calls UpToDate has all data
    only,     ///< only `node` has, and whoever is in sync with it
    all_but,  ///< `node` has not; it serves, or served, with its peer's disk
  };
  Kind kind = Kind::all;
  NodeId node = 0;
  bool operator==(const DataClaim&) const = default;
  /// By itself, without a replica, this node must not serve.
  [[nodiscard]] bool lacks(NodeId self) const;
  /// "all", "only 2", "all_but 1".
  [[nodiscard]] std::string to_text() const;
  /// Nothing: it is none. An empty text is `all`: nothing was ever claimed.
  [[nodiscard]] static std::optional<DataClaim> parse(std::string_view text);
};

/// The name of a group's claim among the units that every member keeps (ha/core/units.h).
[[nodiscard]] std::string claim_unit(const std::string& group);

/// Where claims are kept. target/group_stores.h implements it.
class ClaimStore {
 public:
  ClaimStore() = default;
  virtual ~ClaimStore() = default;
  ClaimStore(const ClaimStore&) = delete;
  ClaimStore& operator=(const ClaimStore&) = delete;

  /// Newer ones are greater.
  using Version = std::pair<Epoch, uint64_t>;
  /// This node owns the group by `epoch`, and nobody else serves it: the newest claim of a majority.
  virtual void start(const std::string& group, Epoch epoch, std::function<void(Result<DataClaim>)> done) = 0;
  /// `done` when a majority has it durable.
  virtual void save(const std::string& group, const DataClaim& claim,
                    std::function<void(Result<void>)> done) = 0;
  virtual void stop(const std::string& group) = 0;
  /// What this node has, which may be old.
  [[nodiscard]] virtual std::pair<Version, DataClaim> known(const std::string& group) = 0;
};

class DataGuard {
 public:
  struct Hooks {
    std::function<void(const std::string& group)> hold;    ///< answer nothing until `go_on`
    std::function<void(const std::string& group)> go_on;   ///< never for a group that was not held
    std::function<void(const std::string& group)> judged;  ///< judge() may say something else now
    std::function<std::string(NodeId)> name_of;
  };
  DataGuard(control::EventLoop& loop, Hooks hooks) : loop_(loop), hooks_(std::move(hooks)) {}

  /// Outlives this; before there is one, everything is allowed.
  void set_store(ClaimStore& store) { store_ = &store; }
  void set_self(NodeId self) { self_ = self; }

  /// What DRBD says of the group's resource now.
  void on_storage(const std::string& group, const StorageFacts& facts);
  /// A claim that another node told, or this one.
  void on_claim(const std::string& group, ClaimStore::Version version, const DataClaim& claim);
  /// The facts, worse where this node lacks data.
  [[nodiscard]] StorageFacts judge(const std::string& group, const StorageFacts& facts);

  struct Outcome {
    bool ok = true;
    bool retry_here = true;  ///< as ActionDone::retry_here
    std::string text;
  };
  /// This node owns the group by `epoch` and wants to promote. Once, perhaps before this returns; never after
  /// give_up().
  void take_over(const std::string& group, Epoch epoch, std::function<void(const Outcome&)> done);
  /// Nothing of the group is answered here any more.
  void give_up(const std::string& group);
  [[nodiscard]] bool holds(const std::string& group) const;

 private:
  struct Group {
    StorageFacts facts;
    bool facts_known = false;
    bool loaded = false;  ///< true once `version` and `told` are what this node had stored, or newer
    ClaimStore::Version version{};
    DataClaim told;
    // While this node owns it.
    uint64_t turn = 0;  ///< grows with each take_over() and give_up()
    bool taken = false;
    bool held = false;
    bool saving = false;
    std::optional<DataClaim> durable;             ///< nothing while another is on its way
    std::function<void(const Outcome&)> waiting;  ///< of take_over(), until the claim is durable
    control::Subscription again;
  };
  [[nodiscard]] std::optional<DataClaim> wanted(const Group& group) const;
  [[nodiscard]] std::string refusal(const DataClaim& claim) const;
  Group& load(const std::string& name);
  void on_started(const std::string& name, Group& group, const Result<DataClaim>& claim);
  void review(const std::string& name, Group& group);
  void save(const std::string& name, Group& group, const DataClaim& claim);
  void answer(Group& group, const Outcome& outcome);

  control::EventLoop& loop_;
  Hooks hooks_;
  ClaimStore* store_ = nullptr;
  NodeId self_ = 0;
  std::map<std::string, Group> groups_;
};

}  // namespace itgtd::ha
