// corosync: the process group (libcpg, model v1), quorum (libquorum) and the settings (libcmap). Translates,
// decides nothing. Control thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "ha/core/event.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

/// What corosync runs with, from its cmap.
struct CorosyncSettings {
  NodeId self = 0;
  std::string self_name;
  std::vector<NodeName> nodes;   ///< nodelist.node.N.{nodeid,name}; without a name, its ring0_addr
  TimeMs token_ms = 0;           ///< runtime.config.totem.token
  TimeMs consensus_ms = 0;       ///< runtime.config.totem.consensus
  bool quorum_provider = false;  ///< quorum.provider is corosync_votequorum
  bool two_node = false;
  bool auto_tie_breaker = false;
  bool quorum_device = false;  ///< quorum.device.model is set
};

class Corosync {
 public:
  /// `on_event` gets NodesKnown, RingChanged, MembersChanged, QuorumChanged, Delivered, CorosyncLost.
  Corosync(control::EventLoop& loop, std::function<void(const Event&)> on_event);
  ~Corosync();
  Corosync(const Corosync&) = delete;
  Corosync& operator=(const Corosync&) = delete;

  /// The settings, when corosync has told them: never, as long as it hangs. An error says what to start or to
  /// change.
  void read_settings(std::function<void(const Result<CorosyncSettings>&)> on_read);
  /// The same for start-up: waits.
  [[nodiscard]] Result<CorosyncSettings> read_settings(std::chrono::milliseconds wait_max);
  /// What is to be said when there has been no answer for so long.
  [[nodiscard]] static Error no_answer(std::chrono::milliseconds waited);

  /// Connects, joins the group `name` and goes on: a connection that is lost is CorosyncLost, and made again.
  /// A corosync that hangs keeps nobody waiting: the connection is there when it goes on. An error now is one
  /// that a person must see to.
  [[nodiscard]] Result<void> start(const std::string& name);
  /// Leaves the group; waits a second for corosync to take note.
  void stop();
  /// Queued while corosync says "try again"; lost with the connection.
  void send(const Message& message);
  [[nodiscard]] uint32_t pid() const;
  /// Messages of another version, or with nonsense, that were dropped.
  [[nodiscard]] uint64_t dropped() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace itgtd::ha
