#include "target/state_writer.h"

#include <gtest/gtest.h>

#include "scsi/lu_snapshot.h"
#include "tests/daemon/fake_workers.h"
#include "tests/daemon/memory_lu_store.h"

namespace itgtd::target {
namespace {

using scsi::UnitAttentionRaise;

constexpr Key kTarget = 100;
constexpr Key kOtherTarget = 200;
constexpr scsi::NexusId kNexus = 7;
constexpr int64_t kNow = 1'700'000'000'000;

/// What RESERVE does: the nexus gets it unless another has it.
scsi::Decision reserve(const scsi::LuState& state, const scsi::Command&, const scsi::DecideContext& context) {
  scsi::LuState next = state;
  if (state.reserved_by == 0) next.reserved_by = context.nexus;
  scsi::Decision decision = scsi::publish(state, next);
  if (!decision.state) decision.done.status = scsi::Status::reservation_conflict;
  return decision;
}

/// Asks for everything that a decision can say.
scsi::Decision preempt(const scsi::LuState& state, const scsi::Command&, const scsi::DecideContext& context) {
  scsi::LuState next = state;
  next.reserved_by = context.nexus;
  next.timestamp_offset_ms = static_cast<int64_t>(context.time_ms);
  scsi::Decision decision = scsi::publish(state, next);
  decision.abort = {{"iqn.preempted", {}}};
  decision.after = scsi::AfterUpdate::resume;
  decision.data_in = {std::byte{7}};
  return decision;
}

class StateWriterTest : public testing::Test {
 protected:
  StateWriterTest() {
    for (const uint16_t lun : {uint16_t{0}, uint16_t{1}}) add(lun, kTarget, lun);
    add(2, kOtherTarget, 0);
  }
  void add(size_t index, Key target, uint16_t lun) {
    keys_[index] = coordinator_.next_key();
    writer_.add(keys_[index], {target, lun, ""}, std::make_shared<const scsi::LuState>());
  }
  DecideUpdate update(size_t index, scsi::NexusId nexus, uint32_t task) {
    return {1, {task, 1}, keys_[index], nexus, &command_, &reserve};
  }
  void reserved(size_t index, scsi::NexusId nexus) {
    writer_.on_update(update(index, nexus, 1));
    for (WorkerIndex worker = 0; worker < 2; ++worker) {
      for (const auto& message : workers_.take_all<PublishState>(worker))
        coordinator_.on_taken(message.change);
    }
    static_cast<void>(workers_.take(1));
  }

  FakeWorkers workers_{2};
  Coordinator coordinator_{workers_.mailboxes()};
  StateWriter writer_{coordinator_, nullptr, [] { return uint64_t{kNow}; }};
  scsi::Command command_;
  std::array<Key, 3> keys_{};
};

TEST_F(StateWriterTest, TheCommandGoesOnWhenEveryWorkerHasTheNewState) {
  writer_.on_update(update(0, kNexus, 3));
  const auto first = workers_.take_all<PublishState>(0);
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].lun_key, keys_[0]);
  ASSERT_TRUE(first[0].state);
  EXPECT_EQ(first[0].state->reserved_by, kNexus);
  coordinator_.on_taken(first[0].change);
  for (const auto& message : workers_.take(1)) EXPECT_FALSE(std::holds_alternative<CommandDecided>(message));
  coordinator_.on_taken(first[0].change);
  const auto decided = workers_.take_all<CommandDecided>(1);
  ASSERT_EQ(decided.size(), 1u);
  EXPECT_EQ(decided[0].task, (SlotId{3, 1}));
  EXPECT_EQ(decided[0].done.status, scsi::Status::good);
}

TEST_F(StateWriterTest, TheNextDecisionSeesTheOneBeforeThoughNobodyHasTakenItYet) {
  writer_.on_update(update(0, kNexus, 3));
  static_cast<void>(workers_.take(1));
  writer_.on_update(update(0, kNexus + 1, 4));
  const auto decided = workers_.take_all<CommandDecided>(1);
  ASSERT_EQ(decided.size(), 1u) << "nothing was changed, so nobody is waited for";
  EXPECT_EQ(decided[0].task, (SlotId{4, 1}));
  EXPECT_EQ(decided[0].done.status, scsi::Status::reservation_conflict);
  EXPECT_EQ(writer_.state(keys_[0])->reserved_by, kNexus);
}

TEST_F(StateWriterTest, CommandsAreEndedBehindThePublicationAndBeforeTheAnswer) {
  std::function<void(bool)> aborted;
  writer_.set_abort([&](Key target, uint16_t lun, const std::vector<scsi::InitiatorPort>& ports,
                        scsi::NexusId nexus, std::function<void(bool)> done) {
    EXPECT_EQ(target, kTarget);
    EXPECT_EQ(lun, 1);
    EXPECT_EQ(ports.size(), 1u);
    EXPECT_EQ(nexus, kNexus);
    aborted = std::move(done);
  });
  DecideUpdate asked = update(1, kNexus, 3);
  asked.decide = &preempt;
  writer_.on_update(asked);
  EXPECT_EQ(writer_.state(keys_[1])->timestamp_offset_ms, kNow);
  EXPECT_FALSE(aborted) << "new commands of the preempted must meet the new state first";
  for (const auto& message : workers_.take_all<PublishState>(0)) {
    coordinator_.on_taken(message.change);
    coordinator_.on_taken(message.change);
  }
  ASSERT_TRUE(aborted);
  EXPECT_TRUE(workers_.take_all<CommandDecided>(1).empty());
  aborted(true);
  const auto decided = workers_.take_all<CommandDecided>(1);
  ASSERT_EQ(decided.size(), 1u);
  EXPECT_EQ(decided[0].done.status, scsi::Status::good);
  EXPECT_EQ(decided[0].after, scsi::AfterUpdate::resume);
  EXPECT_EQ(decided[0].data_in, std::vector{std::byte{7}});
}

scsi::Decision identify(const scsi::LuState& state, const scsi::Command& command,
                        const scsi::DecideContext& /*context*/) {
  scsi::LuState next = state;
  next.identifying_information = {static_cast<std::byte>(command.cdb[0])};
  return scsi::publish(state, next);
}

class StateWriterSaveTest : public StateWriterTest {
 protected:
  StateWriterSaveTest() {
    key_ = coordinator_.next_key();
    saving_.add(key_, {kTarget, 5, "6001405"}, std::make_shared<const scsi::LuState>());
    first_.cdb[0] = 1;
    second_.cdb[0] = 2;
  }
  DecideUpdate identified(const scsi::Command& command, uint32_t task) {
    return {1, {task, 1}, key_, kNexus, &command, &identify};
  }
  std::vector<CommandDecided> decided() {
    for (const auto& message : workers_.take_all<PublishState>(0)) {
      coordinator_.on_taken(message.change);
      coordinator_.on_taken(message.change);
    }
    return workers_.take_all<CommandDecided>(1);
  }

  MemoryLuStore store_;
  StateWriter saving_{coordinator_, &store_};
  Key key_ = 0;
  scsi::Command first_;
  scsi::Command second_;
};

TEST_F(StateWriterSaveTest, WhatMustSurviveIsSavedBeforeAnybodySeesIt) {
  store_.slow = true;
  saving_.on_update(identified(first_, 3));
  EXPECT_TRUE(workers_.take(0).empty());
  EXPECT_TRUE(saving_.state(key_)->identifying_information.empty());
  store_.finish_one();
  EXPECT_EQ(saving_.state(key_)->identifying_information.size(), 1u);
  const auto done = decided();
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].done.status, scsi::Status::good);
  scsi::LuState restored;
  ASSERT_TRUE(scsi::restore(store_.kept.at("6001405"), restored));
  EXPECT_EQ(restored.identifying_information, saving_.state(key_)->identifying_information);
}

TEST_F(StateWriterSaveTest, WhatComesMeanwhileWaitsAndIsDecidedFromWhatWasSaved) {
  store_.slow = true;
  saving_.on_update(identified(first_, 3));
  saving_.on_update(identified(second_, 4));
  bool changed = false;
  saving_.change(
      key_, [](const scsi::LuState& state) { return scsi::on_capacity_change(state, 77); },
      [&] { changed = true; });
  EXPECT_EQ(store_.pending.size(), 1u);
  store_.finish_one();
  ASSERT_EQ(store_.pending.size(), 1u);
  EXPECT_EQ(saving_.state(key_)->block_count, 0u);
  store_.finish_one();
  EXPECT_EQ(saving_.state(key_)->identifying_information, std::vector{std::byte{2}});
  EXPECT_EQ(saving_.state(key_)->block_count, 77u);
  EXPECT_EQ(decided().size(), 2u);
  EXPECT_TRUE(changed);
}

TEST_F(StateWriterSaveTest, WhatCanNotBeSavedIsNotSo) {
  store_.full = true;
  saving_.on_update(identified(first_, 3));
  EXPECT_TRUE(saving_.state(key_)->identifying_information.empty());
  auto done = decided();
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].done.sense, scsi::sense::internal_target_failure());
  store_.full = false;
  saving_.on_update(identified(first_, 4));
  done = decided();
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].done.status, scsi::Status::good);
}

TEST_F(StateWriterSaveTest, WhatNeedNotSurviveIsNotSaved) {
  saving_.change(key_, [](const scsi::LuState& state) { return scsi::on_capacity_change(state, 77); });
  EXPECT_EQ(store_.saves, 0u);
}

TEST_F(StateWriterSaveTest, NothingIsSavedOverWhatCouldNotBeRead) {
  saving_.set_unreadable(key_, true);
  saving_.on_update(identified(first_, 3));
  EXPECT_EQ(store_.saves, 0u);
  const auto done = decided();
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].done.status, scsi::Status::check_condition);
}

TEST_F(StateWriterTest, CommandsThatCanNotBeEndedAreNotHidden) {
  writer_.set_abort([](Key, uint16_t, const std::vector<scsi::InitiatorPort>&, scsi::NexusId,
                       const std::function<void(bool)>& done) { done(false); });
  DecideUpdate asked = update(0, kNexus, 3);
  asked.decide = &preempt;
  writer_.on_update(asked);
  for (const auto& message : workers_.take_all<PublishState>(0)) {
    coordinator_.on_taken(message.change);
    coordinator_.on_taken(message.change);
  }
  const auto decided = workers_.take_all<CommandDecided>(1);
  ASSERT_EQ(decided.size(), 1u);
  EXPECT_EQ(decided[0].done.sense, scsi::sense::internal_target_failure());
}

TEST_F(StateWriterTest, ALogicalUnitThatIsGoneIsSaidToBe) {
  writer_.remove(keys_[0]);
  EXPECT_FALSE(writer_.has_lun(kTarget, 0));
  EXPECT_TRUE(writer_.has_lun(kOtherTarget, 0));
  writer_.on_update(update(0, kNexus, 3));
  const auto decided = workers_.take_all<CommandDecided>(1);
  ASSERT_EQ(decided.size(), 1u);
  EXPECT_EQ(decided[0].done.status, scsi::Status::check_condition);
  EXPECT_EQ(decided[0].done.sense.asc, scsi::Asc::logical_unit_not_supported);
}

TEST_F(StateWriterTest, ALostNexusGivesUpWhatItHeldAndNothingElseIsPublished) {
  reserved(0, kNexus);
  reserved(1, kNexus + 1);
  static_cast<void>(workers_.take(0));
  writer_.on_nexus_loss(kTarget, kNexus);
  const auto published = workers_.take_all<PublishState>(0);
  ASSERT_EQ(published.size(), 1u);
  EXPECT_EQ(published[0].lun_key, keys_[0]);
  EXPECT_EQ(published[0].state->reserved_by, 0u);
  EXPECT_TRUE(published[0].unit_attentions.empty());
  EXPECT_EQ(writer_.state(keys_[1])->reserved_by, kNexus + 1);
}

TEST_F(StateWriterTest, ANexusThatIsResetIsToldOnEveryLun) {
  bool done = false;
  writer_.on_nexus_reset(kTarget, kNexus, [&] { done = true; });
  const auto published = workers_.take_all<PublishState>(0);
  ASSERT_EQ(published.size(), 2u);
  for (const PublishState& message : published) {
    ASSERT_EQ(message.unit_attentions.size(), 1u);
    EXPECT_EQ(message.unit_attentions[0].scope, UnitAttentionRaise::Scope::only);
    EXPECT_EQ(message.unit_attentions[0].nexus, kNexus);
    EXPECT_EQ(message.unit_attentions[0].asc, scsi::Asc::i_t_nexus_loss_occurred);
    EXPECT_FALSE(done);
    coordinator_.on_taken(message.change);
    coordinator_.on_taken(message.change);
  }
  EXPECT_TRUE(done);
}

TEST_F(StateWriterTest, AResetOfAllLunsEndsWithTheLastPublicationInAnyOrder) {
  int done = 0;
  writer_.reset(kTarget, true, 0, kNexus, [&] { ++done; });
  const auto published = workers_.take_all<PublishState>(0);
  ASSERT_EQ(published.size(), 2u) << "and not the LUN of the other target";
  for (const size_t index : {1u, 0u, 0u, 1u}) {
    EXPECT_EQ(done, 0);
    coordinator_.on_taken(published[index].change);
  }
  EXPECT_EQ(done, 1);
}

TEST_F(StateWriterTest, AResetOfOneLunLeavesTheOthersAlone) {
  writer_.reset(kTarget, false, 1, kNexus, {});
  const auto published = workers_.take_all<PublishState>(0);
  ASSERT_EQ(published.size(), 1u);
  EXPECT_EQ(published[0].lun_key, keys_[1]);
}

/// What a PREEMPT does to a registrant.
scsi::Decision take_away(const scsi::LuState& state, const scsi::Command&, const scsi::DecideContext&) {
  scsi::LuState next = state;
  next.identifying_text.push_back(std::byte{1});
  scsi::Decision decision = scsi::publish(state, next);
  decision.unit_attentions.push_back(
      {UnitAttentionRaise::Scope::port, 0, scsi::Asc::registrations_preempted, {"iqn.lost", {}}});
  return decision;
}

scsi::Decision take_away_nothing(const scsi::LuState& state, const scsi::Command&,
                                 const scsi::DecideContext&) {
  scsi::LuState next = state;
  next.identifying_text.push_back(std::byte{2});
  return scsi::publish(state, next);
}

class StateWriterGroupTest : public StateWriterTest {
 protected:
  StateWriterGroupTest() {
    key_ = coordinator_.next_key();
    group_.add(key_, {kTarget, 5, "6001405"}, std::make_shared<const scsi::LuState>(),
               scsi::RegistrantAttentions{});
  }
  void decide(scsi::Decide* what) {
    DecideUpdate asked = {1, {3, 1}, key_, kNexus, &command_, what};
    group_.on_update(asked);
  }
  /// Those that a node that goes on with the unit would tell.
  std::vector<scsi::Asc> kept() {
    scsi::LuState state;
    scsi::RegistrantAttentions attentions;
    EXPECT_TRUE(scsi::restore(store_.kept.at("6001405"), state, &attentions));
    return attentions.waiting_for(lost_);
  }
  const scsi::InitiatorPort lost_ = {"iqn.lost", {}};
  uint64_t now_ = kNow;
  MemoryLuStore store_;
  StateWriter group_{coordinator_, &store_, [this] { return now_; }};
  Key key_ = 0;
};

TEST_F(StateWriterGroupTest, WhatRegistrantsAreToldIsSavedWithTheDecision) {
  store_.full = true;
  decide(&take_away);
  EXPECT_TRUE(group_.waiting_for(kTarget, lost_).empty()) << "it was not saved: nothing has happened";
  store_.full = false;
  store_.slow = true;
  decide(&take_away);
  EXPECT_TRUE(group_.waiting_for(kTarget, lost_).empty());
  store_.finish_one();
  EXPECT_EQ(kept(), std::vector{scsi::Asc::registrations_preempted});
  const auto waiting = group_.waiting_for(kTarget, lost_);
  ASSERT_EQ(waiting.size(), 1u);
  EXPECT_EQ(waiting[0].lun, 5);
  EXPECT_EQ(waiting[0].asc, scsi::Asc::registrations_preempted);
  EXPECT_TRUE(group_.waiting_for(kOtherTarget, lost_).empty());
  EXPECT_TRUE(group_.waiting_for(kTarget, {"iqn.other", {}}).empty());
}

TEST_F(StateWriterGroupTest, WhatWasToldGoesWithALaterSave) {
  decide(&take_away);
  const uint64_t generation = group_.state(key_)->generation;
  group_.on_told({kTarget, 5, lost_, scsi::Asc::registrations_preempted, generation - 1});
  now_ += scsi::RegistrantAttentions::kSettledMs;
  decide(&identify);
  EXPECT_EQ(kept().size(), 1u) << "that was an earlier one";
  const size_t saves = store_.saves;
  group_.on_told({kTarget, 4, lost_, scsi::Asc::registrations_preempted, generation});
  group_.on_told({kTarget, 5, lost_, scsi::Asc::registrations_preempted, generation});
  EXPECT_EQ(store_.saves, saves) << "not worth one of its own";
  decide(&take_away_nothing);
  EXPECT_EQ(kept().size(), 1u) << "the status may have been lost with the node";
  now_ += scsi::RegistrantAttentions::kSettledMs;
  decide(&take_away_nothing);
  EXPECT_TRUE(kept().empty());
  EXPECT_TRUE(group_.waiting_for(kTarget, lost_).empty());
}

TEST_F(StateWriterGroupTest, WhatWasRestoredWaitsForItsLogin) {
  decide(&take_away);
  scsi::LuState state;
  scsi::RegistrantAttentions attentions;
  ASSERT_TRUE(scsi::restore(store_.kept.at("6001405"), state, &attentions));
  StateWriter other(coordinator_, &store_, [this] { return now_; });
  other.add(key_, {kTarget, 5, "6001405"}, std::make_shared<const scsi::LuState>(state), attentions);
  EXPECT_EQ(other.waiting_for(kTarget, lost_).size(), 1u);
  // A unit without a group keeps none.
  other.add(key_ + 1, {kOtherTarget, 5, "6001406"}, std::make_shared<const scsi::LuState>(state));
  other.set_attentions(key_ + 1, attentions);
  EXPECT_TRUE(other.waiting_for(kOtherTarget, lost_).empty());
}

TEST_F(StateWriterTest, AResetOfNothingIsDoneAtOnce) {
  bool done = false;
  writer_.reset(kTarget, false, 9, kNexus, [&] { done = true; });
  EXPECT_TRUE(done);
  EXPECT_TRUE(workers_.take(0).empty());
}

}  // namespace
}  // namespace itgtd::target
