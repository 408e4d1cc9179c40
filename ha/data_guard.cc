#include "ha/data_guard.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/digest.h"
#include "base/log.h"
#include "base/parse.h"

namespace itgtd::ha {

namespace {

constexpr std::chrono::milliseconds kSaveAgain{500};

const char* word_of(DataClaim::Kind kind) {
  switch (kind) {
    case DataClaim::Kind::all:
      return "all";
    case DataClaim::Kind::only:
      return "only";
    case DataClaim::Kind::all_but:
      return "all_but";
  }
  return "";
}

}  // namespace

bool DataClaim::lacks(NodeId self) const {
  return (kind == Kind::only && node != self) || (kind == Kind::all_but && node == self);
}

std::string DataClaim::to_text() const {
  return kind == Kind::all ? "all" : fmt::format("{} {}", word_of(kind), node);
}

std::optional<DataClaim> DataClaim::parse(std::string_view text) {
  if (text.empty() || text == "all") return DataClaim{};
  const size_t space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const auto node = parse_u64(text.substr(space + 1));
  if (!node || *node == 0 || *node > UINT32_MAX) return std::nullopt;
  for (const Kind kind : {Kind::only, Kind::all_but}) {
    if (text.substr(0, space) == word_of(kind)) return DataClaim{kind, static_cast<NodeId>(*node)};
  }
  return std::nullopt;
}

std::string claim_unit(const std::string& group) {
  return fmt::format("claim{:016x}", digest64(group));
}

// --- What is known
// -----------------------------------------------------------------------------------------------------

DataGuard::Group& DataGuard::load(const std::string& name) {
  Group& group = groups_[name];
  if (!group.loaded && store_ != nullptr) {
    group.loaded = true;
    std::tie(group.version, group.told) = store_->known(name);
  }
  return group;
}

void DataGuard::on_storage(const std::string& name, const StorageFacts& facts) {
  Group& group = groups_[name];
  group.facts = facts;
  group.facts_known = true;
  review(name, group);
}

void DataGuard::on_claim(const std::string& name, ClaimStore::Version version, const DataClaim& claim) {
  Group& group = load(name);
  if (version <= group.version) return;
  group.version = version;
  if (group.told == claim) return;
  group.told = claim;
  if (group.facts_known) hooks_.judged(name);
}

std::string DataGuard::refusal(const DataClaim& claim) const {
  const std::string what =
      claim.kind == DataClaim::Kind::only
          ? fmt::format("{} was written to while this node was away", hooks_.name_of(claim.node))
          : "its disk had failed, and the other node's was written to";
  return what + ": its data is old until it is connected to a node that is up to date";
}

StorageFacts DataGuard::judge(const std::string& name, const StorageFacts& facts) {
  if (store_ == nullptr || facts.peers_connected || facts.fitness <= StorageFitness::inconsistent)
    return facts;
  const Group& group = load(name);
  if (group.taken || !group.told.lacks(self_)) return facts;
  StorageFacts worse = facts;
  worse.fitness = StorageFitness::inconsistent;
  worse.detail = refusal(group.told);
  return worse;
}

/// What has to be true of the disks, as they are now; nothing: that is not known.
std::optional<DataClaim> DataGuard::wanted(const Group& group) const {
  const StorageFacts& facts = group.facts;
  if (!group.facts_known || facts.fitness == StorageFitness::unknown) return std::nullopt;
  const bool has_disk = facts.disk == "UpToDate" || facts.disk == "Consistent";
  if (has_disk) return facts.peers_connected ? DataClaim{} : DataClaim{DataClaim::Kind::only, self_};
  // Neither here nor there: nothing can be written.
  if (!facts.peers_connected) return std::nullopt;
  return DataClaim{DataClaim::Kind::all_but, self_};
}

// --- While this node owns it
// -----------------------------------------------------------------------------------------------------

void DataGuard::take_over(const std::string& name, Epoch epoch, std::function<void(const Outcome&)> done) {
  if (store_ == nullptr) return done({});
  give_up(name);
  Group& group = load(name);
  group.waiting = std::move(done);
  store_->start(name, epoch, [this, name, turn = group.turn](const Result<DataClaim>& claim) {
    Group& started = groups_[name];
    if (started.turn == turn) on_started(name, started, claim);
  });
}

void DataGuard::on_started(const std::string& name, Group& group, const Result<DataClaim>& claim) {
  if (!claim) return answer(group, {false, true, claim.error().to_string()});
  if (claim->lacks(self_) && !group.facts.peers_connected) {
    store_->stop(name);
    return answer(group, {false, false, refusal(claim.value())});
  }
  group.taken = true;
  group.durable = claim.value();
  review(name, group);
}

void DataGuard::give_up(const std::string& name) {
  if (store_ == nullptr) return;
  Group& group = groups_[name];
  ++group.turn;
  group.taken = group.held = group.saving = false;
  group.durable.reset();
  group.waiting = nullptr;
  group.again.reset();
  store_->stop(name);
}

bool DataGuard::holds(const std::string& name) const {
  const auto found = groups_.find(name);
  return found != groups_.end() && found->second.held;
}

void DataGuard::answer(Group& group, const Outcome& outcome) {
  if (!group.waiting) return;
  const auto done = std::exchange(group.waiting, nullptr);
  done(outcome);
}

/// Brings the claim to what is true. What makes nodes lack data has to be durable before anything is
/// answered; that they have caught up may be told later.
void DataGuard::review(const std::string& name, Group& group) {
  if (!group.taken) return;
  const std::optional<DataClaim> want = wanted(group);
  const bool is_so = !want || group.durable == want || want->kind == DataClaim::Kind::all;
  if (is_so) {
    if (std::exchange(group.held, false)) hooks_.go_on(name);
    answer(group, {});
  } else if (!group.waiting && !std::exchange(group.held, true)) {
    hooks_.hold(name);
  }
  if (want && group.durable != want && !group.saving && !group.again) save(name, group, *want);
}

void DataGuard::save(const std::string& name, Group& group, const DataClaim& claim) {
  group.saving = true;
  group.durable.reset();
  store_->save(name, claim, [this, name, claim, turn = group.turn](const Result<void>& saved) {
    Group& now = groups_[name];
    if (now.turn != turn) return;
    now.saving = false;
    if (saved) {
      now.durable = claim;
      log::info("group {}: who has all of its data: {}", name, claim.to_text());
      return review(name, now);
    }
    log::warning("group {}: who has all of its data can't be stored: {}", name, saved.error().to_string());
    if (now.waiting) return answer(now, {false, true, saved.error().to_string()});
    now.again = loop_.timer(kSaveAgain, [this, name] {
      Group& again = groups_[name];
      again.again.reset();
      review(name, again);
    });
  });
}

}  // namespace itgtd::ha
