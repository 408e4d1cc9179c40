// What must hold after each step.
#include <fmt/format.h>

#include "ha/core/node.h"

namespace itgtd::ha {

namespace {

void check_group(const Node& node, const Group& group, TimeMs now, std::vector<std::string>& broken) {
  const std::string& name = group.spec.name;
  const Run& run = group.run;
  const Ownership ownership = ownership_of(node, name);
  const auto expect = [&](bool holds, const char* what) {
    if (!holds) {
      broken.push_back(fmt::format("group {}: {} (phase {}, epoch {}, table {} of node {}, acknowledged {})",
                                   name, what, to_string(run.phase), run.epoch, ownership.epoch,
                                   ownership.owner, run.acked));
    }
  };
  const bool runs =
      run.phase == Phase::starting || run.phase == Phase::active || run.phase == Phase::suspended;
  if (runs || run.phase == Phase::waiting) {
    expect(ownership.owner == node.self, "what another node owns is started or served");
    expect(ownership.epoch == run.epoch, "it is started or served under an epoch that is over");
  }
  expect(run.phase != Phase::active || (!node.lapsed && now < node.lease_until) || now > node.now,
         "active without a lease");
  expect(!runs || !run.released, "it runs and counts as released");
  expect(run.phase != Phase::idle || run.released || run.epoch == 0, "idle, and not released");
  expect(run.acked <= ownership.epoch, "an epoch was acknowledged that the table does not have");
  expect(run.released || run.acked < run.epoch || run.acked == 0 || run.epoch == 0 ||
             (run.phase == Phase::stopping && run.acked <= run.epoch && ownership.owner != node.self),
         "acknowledged a newer epoch while it may still be served here");
  expect(run.phase == Phase::stopping || run.step == StopStep::none, "a step of a stop outside of one");
  expect(run.phase != Phase::stopping || run.step != StopStep::none, "stopping without a step");
  const ActionId ids[] = {run.promote, run.addresses, run.service, run.stop};
  for (size_t i = 0; i < std::size(ids); ++i) {
    expect(ids[i] < node.next_action, "an action that was never given out");
    for (size_t j = 0; j < i; ++j) {
      expect(ids[i] == 0 || ids[i] != ids[j], "two actions have one id");
    }
  }
}

}  // namespace

std::vector<std::string> broken_invariants(const State& state, TimeMs now) {
  const Node& node = state.node();
  std::vector<std::string> broken;
  std::set<ActionId> ids;
  for (const auto& [name, group] : node.groups) {
    check_group(node, group, now, broken);
    for (const ActionId id : {group.run.promote, group.run.addresses, group.run.service, group.run.stop}) {
      if (id != 0 && !ids.insert(id).second) {
        broken.push_back(fmt::format("group {}: the id {} of an action is another group's too", name, id));
      }
    }
  }
  for (const auto& [name, ownership] : node.table.groups) {
    if (ownership.epoch == 0) {
      broken.push_back(fmt::format("group {}: epoch 0 in the table", name));
    }
  }
  if (node.started && state.wake_at() <= node.now) {
    broken.push_back(
        fmt::format("the next tick is due at {}, which is over at {}", state.wake_at(), node.now));
  }
  return broken;
}

}  // namespace itgtd::ha
