// Asymmetric logical unit access: target port groups and their states, as a value. SPC-4 §5.15.
//
// Who owns the states (the configuration, later the cluster) changes them by on_port_groups(). A takeover
// goes like this:
//   1. on_port_groups() with the groups concerned `transitioning`. Initiators keep their commands.
//   2. The owner arms a timer of transition_timeout_ms(), anew whenever it publishes a value in which
//      is_transitioning() holds.
//   3. The takeover ends: on_port_groups() with the new states. Or the timer ends first:
//      on_transition_timeout().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "scsi/sense.h"

namespace itgtd::scsi {

struct Decision;
struct LuState;

/// Groups of a logical unit and ports of a group: more than nodes and portals that a cluster has, and few
/// enough for the answers that list them all.
inline constexpr size_t kPortGroupsMax = 32;
inline constexpr size_t kPortsPerGroupMax = 16;

/// SPC-4 table 307, ASYMMETRIC ACCESS STATE.
enum class AccessState : uint8_t {
  active_optimized = 0x0,
  active_non_optimized = 0x1,
  standby = 0x2,
  unavailable = 0x3,
  logical_block_dependent = 0x4,
  offline = 0xE,
  transitioning = 0xF,
};

/// SPC-4 table 309, STATUS CODE: what changed the state last.
enum class AccessStatus : uint8_t {
  none = 0,
  by_command = 1,  ///< SET TARGET PORT GROUPS
  implicit = 2,    ///< the device itself
};

struct PortGroup {
  uint16_t id = 1;
  AccessState state = AccessState::active_optimized;
  AccessStatus status = AccessStatus::none;
  bool preferred = false;
  std::vector<uint16_t> relative_target_ports = {1};
  bool operator==(const PortGroup&) const = default;
};

/// The same on every node that serves the logical unit. Immutable once it is part of a LuState.
struct PortGroups {
  std::vector<PortGroup> groups;  ///< ascending by id
  /// IMPLICIT TRANSITION TIME of the extended header: how long a transition may take. 0: not said.
  uint8_t transition_seconds = 0;
  bool operator==(const PortGroups&) const = default;
};

/// The groups of `state`; without any, the one that all logical units start with: group 1, active/optimized,
/// port 1. Lives as long as `state`.
[[nodiscard]] const PortGroups& port_groups_of(const LuState& state);
/// Null: there is no such group.
[[nodiscard]] const PortGroup* find_group(const PortGroups& groups, uint16_t id);
[[nodiscard]] size_t port_count(const PortGroups& groups);

/// True exactly when a LuState may have these: one to kPortGroupsMax groups, ascending by id, each with one
/// to kPortsPerGroupMax ports, no port in two places, no number zero, and no logical block dependent state.
[[nodiscard]] bool is_valid(const PortGroups& groups);

/// What a command that a port in this state does not serve is told; nothing when it serves every command.
/// SPC-4 §5.15.2.
[[nodiscard]] std::optional<Sense> access_sense(AccessState state);

/// True exactly when a group is on its way from one state to another.
[[nodiscard]] bool is_transitioning(const PortGroups& groups);
/// How long that may take: transition_seconds, or what initiators wait when it is not said.
[[nodiscard]] uint32_t transition_timeout_ms(const PortGroups& groups);

// Changes that no command asks for, decided by the writer.

/// The groups are these now; null: the one group again. ASYMMETRIC ACCESS STATE CHANGED for every nexus when
/// a group came, went, or has another state, transitioning included. A value that is_valid() refuses changes
/// nothing.
[[nodiscard]] Decision on_port_groups(const LuState& state, std::shared_ptr<const PortGroups> groups);
/// The transition took too long: groups that are still transitioning are unavailable, and every nexus is
/// told IMPLICIT ASYMMETRIC ACCESS STATE TRANSITION FAILED. Nothing when it has ended in time.
[[nodiscard]] Decision on_transition_timeout(const LuState& state);

}  // namespace itgtd::scsi
