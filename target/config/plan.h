// From what runs to what is wanted: the steps of a start, a reload and a stop, in the order in which they
// must be taken. Pure.
//
// The order keeps three promises. Nobody gets in where nothing is ready: disks are opened before their target
// is found, targets are found before their listener opens. Nobody who was put out comes back: policies change
// before sessions end. Never two writers: a disk that moves between targets is closed before it is opened
// again.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "target/config/config.h"

namespace itgtd::config {

/// Log level and HTTP address as wanted.
struct ChangeDaemon {
  DaemonConfig wanted;
};
/// Stop accepting at "address:port"; connections that were accepted stay. No target has this portal any more.
struct CloseListener {
  std::string portal;
};
/// Logins and discovery don't find the target any more. Its sessions and LUNs are ended by steps of their
/// own.
struct RemoveTarget {
  std::string target;
};
/// Logins and discovery see these portals, lists, digests, alias and credentials from now on. Sessions that
/// are there keep what they negotiated. `wanted.luns` is not looked at.
struct ChangeTarget {
  TargetConfig wanted;
};
/// End sessions of `target`: tell the initiator (RFC 7143 §11.9: the target requests a logout), then close.
struct EndSessions {
  enum class Which : uint8_t {
    all,          ///< the target is gone
    portal_gone,  ///< those that came in through an address of which no portal of the target is left
    not_allowed,  ///< those whose initiator is not let in by the lists of `wanted` any more
  };
  std::string target;
  Which which = Which::all;
  TargetConfig wanted;  ///< what to judge by; empty with `all`
};
/// Let its commands finish, take it out of the target, close its medium. Where sessions stay, they are told
/// that the list of LUNs has changed (REPORTED LUNS DATA HAS CHANGED, 3Fh/0Eh).
struct RemoveLun {
  std::string target;
  uint16_t id = 0;
};
/// What may change under running commands: write_cache (MODE PARAMETERS CHANGED, 2Ah/01h).
struct ChangeLun {
  std::string target;
  LunConfig wanted;
};
/// Open its medium and put it into the target, which may not be there yet. Sessions that are there are told.
struct AddLun {
  std::string target;
  LunConfig lun;
};
/// Logins and discovery find the target. Its LUNs have been added.
struct AddTarget {
  TargetConfig target;
};
/// Accept at "address:port"; one listener serves all targets that have this portal.
struct OpenListener {
  std::string portal;
};

/// In the order in which a plan has them.
using Step = std::variant<ChangeDaemon, CloseListener, RemoveTarget, ChangeTarget, EndSessions, RemoveLun,
                          ChangeLun, AddLun, AddTarget, OpenListener>;

struct Plan {
  std::vector<Step> steps;
  /// A sentence for each thing that is wanted and takes a restart.
  std::vector<std::string> ignored;
  /// What runs when all steps have been taken: the wanted configuration but for what is ignored.
  Config result;
};

/// Both configurations were loaded without problems, and every LUN has its serial (serials.h).
[[nodiscard]] Plan plan(const Config& running, const Config& wanted);
/// From nothing: nothing is ignored.
[[nodiscard]] Plan plan_start(const Config& wanted);
/// To nothing.
[[nodiscard]] Plan plan_stop(const Config& running);

/// One line for the log, without secrets.
[[nodiscard]] std::string describe(const Step& step);

}  // namespace itgtd::config
