#include "target/state_writer.h"

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "base/assert.h"
#include "base/log.h"
#include "base/random.h"
#include "scsi/lu_snapshot.h"
#include "scsi/rod_tokens.h"

namespace itgtd::target {

namespace {

/// For tokens that only who was given them may use.
std::array<std::byte, 16> unguessable() {
  std::array<std::byte, 16> bytes{};
  random_bytes(bytes);
  return bytes;
}

}  // namespace

StateWriter::StateWriter(Coordinator& coordinator, LuStore* store, Clock clock)
    : coordinator_(coordinator), store_(store), clock_(std::move(clock)) {}

uint64_t StateWriter::wall_clock() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

void StateWriter::add(Key lun_key, UnitName name, std::shared_ptr<const scsi::LuState> state,
                      std::optional<scsi::RegistrantAttentions> attentions) {
  Unit& unit = units_[lun_key];
  unit.name = std::move(name);
  unit.attentions = std::move(attentions);
  unit.saved = scsi::snapshot(*state, unit.attentions ? &*unit.attentions : nullptr);
  unit.state = std::move(state);
}

void StateWriter::set_unreadable(Key lun_key, bool unreadable) {
  units_.at(lun_key).unreadable = unreadable;
}

void StateWriter::set_attentions(Key lun_key, scsi::RegistrantAttentions attentions) {
  Unit& unit = units_.at(lun_key);
  if (unit.attentions) unit.attentions = std::move(attentions);
}

void StateWriter::remove(Key lun_key) {
  units_.erase(lun_key);
}

std::shared_ptr<const scsi::LuState> StateWriter::state(Key lun_key) const {
  return units_.at(lun_key).state;
}

bool StateWriter::has_lun(Key target, uint16_t lun) const {
  return std::any_of(units_.begin(), units_.end(), [&](const auto& unit) {
    return unit.second.name.target == target && unit.second.name.lun == lun;
  });
}

// --- One change
// ----------------------------------------------------------------------------------------------------

void StateWriter::decide(Key lun_key, const Decider& decide, Done done) {
  const auto found = units_.find(lun_key);
  if (found == units_.end()) {
    done(true);  // it was removed while this waited: nobody is left to tell
    return;
  }
  Unit& unit = found->second;
  if (unit.saving) {
    unit.waiting.push_back(
        [this, lun_key, decide, done = std::move(done)] { this->decide(lun_key, decide, done); });
    return;
  }
  const scsi::Decision decision = decide(*unit.state);
  std::vector<std::byte> kept = unit.saved;
  if (decision.state && store_ != nullptr && !unit.name.stored_as.empty())
    kept = snapshot_after(unit, decision);
  if (kept == unit.saved) {
    publish(lun_key, decision, [done = std::move(done)] { done(true); });
    return;
  }
  if (unit.unreadable) {
    on_saved(lun_key, decision, Error{EIO, "what is there can't be read"}, done);
    return;
  }
  unit.saving = true;
  const std::string name = unit.name.stored_as;
  store_->save(name, kept,
               [this, lun_key, decision, kept, done = std::move(done)](const Result<void>& result) {
                 const auto saved = units_.find(lun_key);
                 if (saved == units_.end()) {
                   done(static_cast<bool>(result));
                   return;
                 }
                 saved->second.saving = false;
                 if (result) saved->second.saved = kept;
                 on_saved(lun_key, decision, result, done);
               });
}

/// What a group's registrants are told by the decision is saved with it: a node that goes on with the unit
/// tells those who have not heard it from this one.
std::vector<std::byte> StateWriter::snapshot_after(Unit& unit, const scsi::Decision& decision) const {
  if (!unit.attentions) return scsi::snapshot(*decision.state);
  unit.attentions->settle(clock_());
  scsi::RegistrantAttentions next = *unit.attentions;
  next.raise(decision.unit_attentions, decision.state->generation);
  return scsi::snapshot(*decision.state, &next);
}

void StateWriter::on_saved(Key lun_key, const scsi::Decision& decision, const Result<void>& result,
                           const Done& done) {
  if (result) {
    publish(lun_key, decision, [done] { done(true); });
  } else {
    const UnitName& name = units_.at(lun_key).name;
    log::error(
        "LUN {}: what must survive a restart could not be saved as {}: {}; the command that asked for it "
        "fails, and what was before stays",
        name.lun, name.stored_as, result.error().to_string());
    done(false);
  }
  const auto unit = units_.find(lun_key);
  if (unit == units_.end()) return;
  // Each may start the next save: the rest goes on when that is done.
  while (!unit->second.saving && !unit->second.waiting.empty()) {
    const std::function<void()> next = std::move(unit->second.waiting.front());
    unit->second.waiting.pop_front();
    next();
    if (!units_.contains(lun_key)) return;
  }
}

void StateWriter::publish(Key lun_key, const scsi::Decision& decision, std::function<void()> done) {
  Unit& unit = units_.at(lun_key);
  if (decision.state) unit.state = decision.state;
  if (unit.attentions) unit.attentions->raise(decision.unit_attentions, unit.state->generation);
  if (!decision.state && decision.unit_attentions.empty()) {
    done();
    return;
  }
  PublishState message;
  message.lun_key = lun_key;
  message.state = decision.state;
  message.unit_attentions = decision.unit_attentions;
  coordinator_.broadcast(std::move(message), std::move(done));
}

void StateWriter::change(Key lun_key, const Decider& decide, std::function<void()> done) {
  this->decide(lun_key, decide, [done = std::move(done)](bool /*saved*/) {
    if (done) done();
  });
}

// --- What commands ask for
// -----------------------------------------------------------------------------------------

void StateWriter::on_update(const DecideUpdate& request) {
  if (!units_.contains(request.lun_key)) {
    const scsi::Done gone = scsi::check_condition(scsi::sense::logical_unit_not_supported());
    coordinator_.tell(request.worker, CommandDecided{request.task, gone, {}, {}});
    return;
  }
  // Shared with the decision that is made now or, behind a save, later: the command stays frozen until then.
  auto decision = std::make_shared<scsi::Decision>();
  const auto decider = [this, request, decision](const scsi::LuState& state) {
    std::vector<scsi::KnownNexus> nexuses;
    if (nexuses_) nexuses = nexuses_(units_.at(request.lun_key).name.target);
    const scsi::DecideContext context{request.nexus, clock_(), nexuses, unguessable()};
    *decision = request.decide(state, *request.command, context);
    return *decision;
  };
  decide(request.lun_key, decider, [this, request, decision](bool saved) {
    if (!saved) {
      decision->done = scsi::check_condition(scsi::sense::internal_target_failure());
      decision->after = scsi::AfterUpdate::done;
      decision->abort.clear();
      decision->data_in.clear();
    }
    answer(request, *decision);
  });
}

void StateWriter::answer(const DecideUpdate& request, const scsi::Decision& decision) {
  CommandDecided message{request.task, decision.done, decision.after, decision.data_in};
  const auto unit = units_.find(request.lun_key);
  if (decision.abort.empty() || !abort_ || unit == units_.end()) {
    coordinator_.tell(request.worker, std::move(message));
    return;
  }
  // SPC-4, PREEMPT AND ABORT: the answer comes behind the last command that it ends.
  const UnitName& name = unit->second.name;
  abort_(name.target, name.lun, decision.abort, request.nexus,
         [this, worker = request.worker, message = std::move(message)](bool all) mutable {
           if (!all) message.done = scsi::check_condition(scsi::sense::internal_target_failure());
           coordinator_.tell(worker, std::move(message));
         });
}

void StateWriter::on_break_tokens(const BreakTokens& request) {
  change(request.lun_key, [request](const scsi::LuState& state) {
    return scsi::on_blocks_written(state, request.lba, request.blocks);
  });
}

std::vector<SessionOpened::Attention> StateWriter::waiting_for(Key target,
                                                               const scsi::InitiatorPort& port) const {
  std::vector<SessionOpened::Attention> waiting;
  for (const auto& [key, unit] : units_) {
    if (unit.name.target != target || !unit.attentions) continue;
    for (const scsi::Asc asc : unit.attentions->waiting_for(port)) waiting.push_back({unit.name.lun, asc});
  }
  return waiting;
}

/// Not worth a save of its own: until the next one they may be told again.
void StateWriter::on_told(const AttentionTold& message) {
  for (auto& [key, unit] : units_) {
    if (unit.name.target != message.target || unit.name.lun != message.lun || !unit.attentions) continue;
    unit.attentions->on_told(message.port, message.asc, message.generation, clock_());
  }
}

// --- What no command asks for
// --------------------------------------------------------------------------------------

void StateWriter::on_nexus_loss(Key target, scsi::NexusId nexus) {
  apply_to([&](const Unit& unit) { return unit.name.target == target; },
           [nexus](const scsi::LuState& state) { return scsi::on_nexus_loss(state, nexus); }, {});
}

void StateWriter::on_nexus_reset(Key target, scsi::NexusId nexus, std::function<void()> done) {
  apply_to([&](const Unit& unit) { return unit.name.target == target; },
           [nexus](const scsi::LuState& state) {
             scsi::Decision decision = scsi::on_nexus_loss(state, nexus);
             decision.unit_attentions.push_back(
                 {scsi::UnitAttentionRaise::Scope::only, nexus, scsi::Asc::i_t_nexus_loss_occurred});
             return decision;
           },
           std::move(done));
}

void StateWriter::reset(Key target, bool all_luns, uint16_t lun, scsi::NexusId nexus,
                        std::function<void()> done) {
  apply_to([&](const Unit& unit) { return unit.name.target == target && (all_luns || unit.name.lun == lun); },
           [nexus](const scsi::LuState& state) { return scsi::on_logical_unit_reset(state, nexus); },
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
  std::vector<Key> keys;
  for (const auto& [key, unit] : units_) {
    if (!which(unit)) continue;
    keys.push_back(key);
  }
  join->missing += keys.size();
  for (const Key key : keys) change(key, decide, leave);
  leave();
}

}  // namespace itgtd::target
