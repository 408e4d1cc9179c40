#include "scsi/port_groups.h"

#include <algorithm>
#include <set>

#include "scsi/logical_unit.h"

namespace itgtd::scsi {
namespace {

/// What an initiator waits for the end of a transition when IMPLICIT TRANSITION TIME says nothing: that of
/// Linux' scsi_dh_alua.
constexpr uint32_t kTransitionSecondsDefault = 60;

/// True exactly when an initiator that knew `before` has to ask again.
bool access_differs(const PortGroups& before, const PortGroups& after) {
  return !std::ranges::equal(before.groups, after.groups, [](const PortGroup& a, const PortGroup& b) {
    return a.id == b.id && a.state == b.state;
  });
}

Decision tell_all(Decision decision, Asc asc) {
  decision.unit_attentions.push_back({UnitAttentionRaise::Scope::all, 0, asc});
  return decision;
}

}  // namespace

const PortGroups& port_groups_of(const LuState& state) {
  static const PortGroups kOneGroup{{PortGroup{}}, 0};
  return state.port_groups == nullptr ? kOneGroup : *state.port_groups;
}

const PortGroup* find_group(const PortGroups& groups, uint16_t id) {
  const auto found = std::ranges::find(groups.groups, id, &PortGroup::id);
  return found == groups.groups.end() ? nullptr : &*found;
}

size_t port_count(const PortGroups& groups) {
  size_t count = 0;
  for (const PortGroup& group : groups.groups) count += group.relative_target_ports.size();
  return count;
}

bool is_valid(const PortGroups& groups) {
  if (groups.groups.empty() || groups.groups.size() > kPortGroupsMax) return false;
  uint16_t id_before = 0;
  std::set<uint16_t> ports;
  for (const PortGroup& group : groups.groups) {
    if (group.id <= id_before) return false;
    id_before = group.id;
    if (group.state == AccessState::logical_block_dependent) return false;
    const auto& of_group = group.relative_target_ports;
    if (of_group.empty() || of_group.size() > kPortsPerGroupMax) return false;
    for (const uint16_t port : of_group) {
      if (port == 0 || !ports.insert(port).second) return false;
    }
  }
  return true;
}

std::optional<Sense> access_sense(AccessState state) {
  switch (state) {
    case AccessState::active_optimized:
    case AccessState::active_non_optimized:
    case AccessState::logical_block_dependent:
      return std::nullopt;
    case AccessState::standby:
      return sense::not_ready(Asc::target_port_in_standby_state);
    case AccessState::unavailable:
    case AccessState::offline:
      return sense::not_ready(Asc::target_port_in_unavailable_state);
    case AccessState::transitioning:
      return sense::not_ready(Asc::asymmetric_access_state_transition);
  }
  return std::nullopt;
}

bool is_transitioning(const PortGroups& groups) {
  return std::ranges::find(groups.groups, AccessState::transitioning, &PortGroup::state) !=
         groups.groups.end();
}

uint32_t transition_timeout_ms(const PortGroups& groups) {
  const uint32_t seconds =
      groups.transition_seconds != 0 ? groups.transition_seconds : kTransitionSecondsDefault;
  return seconds * 1000;
}

Decision on_port_groups(const LuState& state, std::shared_ptr<const PortGroups> groups) {
  if (groups != nullptr && !is_valid(*groups)) return {};
  LuState next = state;
  next.port_groups = std::move(groups);
  if (port_groups_of(next) == port_groups_of(state)) return {};
  Decision decision = publish(state, next);
  // SPC-4 §5.15.2: a change that no command asked for is told to every I_T nexus.
  if (!access_differs(port_groups_of(state), port_groups_of(next))) return decision;
  return tell_all(std::move(decision), Asc::asymmetric_access_state_changed);
}

Decision on_transition_timeout(const LuState& state) {
  if (!is_transitioning(port_groups_of(state))) return {};
  PortGroups groups = port_groups_of(state);
  for (PortGroup& group : groups.groups) {
    if (group.state != AccessState::transitioning) continue;
    group.state = AccessState::unavailable;
    group.status = AccessStatus::implicit;
  }
  LuState next = state;
  next.port_groups = std::make_shared<const PortGroups>(std::move(groups));
  return tell_all(publish(state, next), Asc::implicit_asymmetric_access_state_transition_failed);
}

}  // namespace itgtd::scsi
