#include "ha/core/types.h"

#include <algorithm>

namespace itgtd::ha {

const char* to_string(Phase phase) {
  switch (phase) {
    case Phase::idle:
      return "idle";
    case Phase::waiting:
      return "waiting";
    case Phase::starting:
      return "starting";
    case Phase::active:
      return "active";
    case Phase::suspended:
      return "suspended";
    case Phase::stopping:
      return "stopping";
  }
  return "unknown";
}

const char* to_string(StorageFitness fitness) {
  switch (fitness) {
    case StorageFitness::unknown:
      return "unknown";
    case StorageFitness::unusable:
      return "unusable";
    case StorageFitness::inconsistent:
      return "inconsistent";
    case StorageFitness::diskless:
      return "diskless";
    case StorageFitness::usable:
      return "usable";
  }
  return "unknown";
}

const char* to_string(Reason reason) {
  switch (reason) {
    case Reason::first_start:
      return "first start";
    case Reason::node_lost:
      return "node lost";
    case Reason::daemon_lost:
      return "daemon lost";
    case Reason::hung:
      return "daemon hung";
    case Reason::failed:
      return "failed";
    case Reason::more_paths:
      return "more paths";
    case Reason::failback:
      return "failback";
    case Reason::moved:
      return "moved";
    case Reason::drained:
      return "drained";
    case Reason::renewed:
      return "started again";
  }
  return "unknown";
}

Timing Timing::of(TimeMs token_ms, TimeMs consensus_ms) {
  Timing timing;
  // What a ring takes to form without a node that has died.
  const TimeMs forming_ms = token_ms + consensus_ms;
  timing.heartbeat_ms = std::max<TimeMs>(100, forming_ms / 30);
  // The newest heartbeat that was acknowledged before may be two heartbeats old when a node dies.
  timing.lease_ms = forming_ms + 200 + 3 * timing.heartbeat_ms;
  // Clocks that differ by 1 %, and what it takes to read one and act.
  timing.margin_ms = 100 + timing.lease_ms / 50;
  timing.hung_ms = timing.lease_ms + timing.margin_ms + 1000;
  return timing;
}

}  // namespace itgtd::ha
