#include "target/state_writer.h"

#include <algorithm>

#include "base/assert.h"

namespace itgtd::target {

void StateWriter::add(Key lun_key, Key target, uint16_t lun, std::shared_ptr<const scsi::LuState> state) {
  units_[lun_key] = {target, lun, std::move(state)};
}

void StateWriter::remove(Key lun_key) {
  units_.erase(lun_key);
}

std::shared_ptr<const scsi::LuState> StateWriter::state(Key lun_key) const {
  return units_.at(lun_key).state;
}

bool StateWriter::has_lun(Key target, uint16_t lun) const {
  return std::any_of(units_.begin(), units_.end(), [&](const auto& unit) {
    return unit.second.target == target && unit.second.lun == lun;
  });
}

void StateWriter::apply(Key lun_key, const scsi::Decision& decision, std::function<void()> done) {
  if (decision.state) units_.at(lun_key).state = decision.state;
  if (!decision.state && decision.unit_attentions.empty()) {
    if (done) done();
    return;
  }
  PublishState message;
  message.lun_key = lun_key;
  message.state = decision.state;
  message.unit_attentions = decision.unit_attentions;
  coordinator_.broadcast(std::move(message), std::move(done));
}

void StateWriter::on_update(const DecideUpdate& request) {
  const auto unit = units_.find(request.lun_key);
  if (unit == units_.end()) {
    const scsi::Done gone = scsi::check_condition(scsi::sense::logical_unit_not_supported());
    coordinator_.tell(request.worker, CommandDecided{request.task, gone});
    return;
  }
  const scsi::Decision decision = request.decide(*unit->second.state, *request.command, request.nexus);
  apply(request.lun_key, decision,
        [this, worker = request.worker, task = request.task, done = decision.done] {
          coordinator_.tell(worker, CommandDecided{task, done});
        });
}

void StateWriter::on_nexus_loss(Key target, scsi::NexusId nexus) {
  apply_to([&](const Unit& unit) { return unit.target == target; },
           [&](const scsi::LuState& state) { return scsi::on_nexus_loss(state, nexus); }, {});
}

void StateWriter::on_nexus_reset(Key target, scsi::NexusId nexus, std::function<void()> done) {
  apply_to([&](const Unit& unit) { return unit.target == target; },
           [&](const scsi::LuState& state) {
             scsi::Decision decision = scsi::on_nexus_loss(state, nexus);
             decision.unit_attentions.push_back(
                 {scsi::UnitAttentionRaise::Scope::only, nexus, scsi::Asc::i_t_nexus_loss_occurred});
             return decision;
           },
           std::move(done));
}

void StateWriter::reset(Key target, bool all_luns, uint16_t lun, scsi::NexusId nexus,
                        std::function<void()> done) {
  apply_to([&](const Unit& unit) { return unit.target == target && (all_luns || unit.lun == lun); },
           [&](const scsi::LuState& state) { return scsi::on_logical_unit_reset(state, nexus); },
           std::move(done));
}

void StateWriter::apply_to(const std::function<bool(const Unit&)>& which, const Decider& decide,
                           std::function<void()> done) {
  // Shared by the callbacks of all publications: the last one runs `done`.
  struct Join {
    size_t missing = 1;
    std::function<void()> done;
  };
  auto join = std::make_shared<Join>();
  join->done = std::move(done);
  const auto leave = [join] {
    if (--join->missing == 0 && join->done) join->done();
  };
  for (const auto& [key, unit] : units_) {
    if (!which(unit)) continue;
    ++join->missing;
    apply(key, decide(*unit.state), leave);
  }
  leave();
}

}  // namespace itgtd::target
