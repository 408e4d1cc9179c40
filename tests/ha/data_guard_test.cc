#include "ha/data_guard.h"

#include <gtest/gtest.h>

namespace itgtd::ha {
namespace {

using Kind = DataClaim::Kind;

constexpr DataClaim kAll{};

/// One group's; what is saved is durable when the test says so.
class FakeClaims final : public ClaimStore {
 public:
  void start(const std::string&, Epoch, std::function<void(Result<DataClaim>)> done) override {
    started = true;
    done(claim);
  }
  void save(const std::string&, const DataClaim& wanted, std::function<void(Result<void>)> done) override {
    saving = wanted;
    done_ = std::move(done);
  }
  void stop(const std::string&) override { started = false; }
  std::pair<Version, DataClaim> known(const std::string&) override { return {version, claim}; }

  void end_save(const Result<void>& result = {}) {
    if (result) claim = *saving;
    saving.reset();
    std::exchange(done_, nullptr)(result);
  }
  DataClaim claim;
  Version version{};
  std::optional<DataClaim> saving;
  bool started = false;

 private:
  std::function<void(Result<void>)> done_;
};

StorageFacts facts_of(const std::string& disk, bool peers_connected) {
  StorageFacts facts;
  facts.fitness = disk == "UpToDate" ? StorageFitness::usable : StorageFitness::diskless;
  facts.disk = disk;
  facts.role = "Secondary";
  facts.peers_connected = peers_connected;
  return facts;
}

class DataGuardTest : public testing::Test {
 protected:
  DataGuardTest()
      : guard_(loop_, {.hold = [this](const std::string&) { held_ = true; },
                       .go_on = [this](const std::string&) { held_ = false; },
                       .judged = [this](const std::string&) { ++judged_; },
                       .name_of = [](NodeId id) { return "node-" + std::to_string(id); }}) {
    guard_.set_store(claims_);
    guard_.set_self(1);
  }
  void storage(const std::string& disk, bool peers_connected) {
    guard_.on_storage("g", facts_of(disk, peers_connected));
  }
  void take_over() {
    outcome_.reset();
    guard_.take_over("g", 5, [this](const DataGuard::Outcome& outcome) { outcome_ = outcome; });
  }
  StorageFacts judged(const StorageFacts& facts) { return guard_.judge("g", facts); }

  control::EventLoop loop_;
  FakeClaims claims_;
  DataGuard guard_;
  std::optional<DataGuard::Outcome> outcome_;
  bool held_ = false;
  int judged_ = 0;
};

TEST(DataClaim, TextAndBack) {
  for (const DataClaim claim : {kAll, DataClaim{Kind::only, 7}, DataClaim{Kind::all_but, 2}})
    EXPECT_EQ(DataClaim::parse(claim.to_text()), claim) << claim.to_text();
  EXPECT_EQ(DataClaim::parse(""), kAll) << "nothing was ever claimed";
  for (const char* text : {"only", "only ", "only 0", "only x", "some 1", "only 4294967296"})
    EXPECT_FALSE(DataClaim::parse(text)) << text;
}

TEST_F(DataGuardTest, WithItsReplicaItPromotesAtOnce) {
  storage("UpToDate", true);
  take_over();
  ASSERT_TRUE(outcome_ && outcome_->ok);
  EXPECT_FALSE(claims_.saving);
}

TEST_F(DataGuardTest, AloneItPromotesWhenTheOthersKnow) {
  storage("UpToDate", false);
  take_over();
  EXPECT_FALSE(outcome_);
  ASSERT_EQ(claims_.saving, (DataClaim{Kind::only, 1}));
  claims_.end_save();
  ASSERT_TRUE(outcome_ && outcome_->ok);
}

TEST_F(DataGuardTest, AloneAndWithoutAMajorityItDoesNot) {
  storage("UpToDate", false);
  take_over();
  claims_.end_save(Error{0, "no majority"});
  ASSERT_TRUE(outcome_ && !outcome_->ok);
  EXPECT_TRUE(outcome_->retry_here);
}

TEST_F(DataGuardTest, OldDataIsNotPromoted) {
  claims_.claim = {Kind::only, 2};
  storage("UpToDate", false);
  take_over();
  ASSERT_TRUE(outcome_ && !outcome_->ok);
  EXPECT_FALSE(outcome_->retry_here);
  EXPECT_NE(outcome_->text.find("node-2"), std::string::npos);
  EXPECT_FALSE(claims_.started);
  claims_.claim = {Kind::all_but, 1};
  take_over();
  EXPECT_TRUE(outcome_ && !outcome_->ok);
}

TEST_F(DataGuardTest, DataThatIsInSyncAgainIsPromoted) {
  claims_.claim = {Kind::only, 2};
  storage("UpToDate", true);
  take_over();
  ASSERT_TRUE(outcome_ && outcome_->ok);
  EXPECT_EQ(claims_.saving, kAll) << "nobody lacks any now";
}

TEST_F(DataGuardTest, NothingIsAnsweredUntilTheOthersKnowThatTheReplicaIsLost) {
  storage("UpToDate", true);
  take_over();
  storage("UpToDate", false);
  EXPECT_TRUE(held_);
  EXPECT_TRUE(guard_.holds("g"));
  ASSERT_EQ(claims_.saving, (DataClaim{Kind::only, 1}));
  claims_.end_save();
  EXPECT_FALSE(held_);
}

TEST_F(DataGuardTest, ReplicaThatIsBackEndsTheWait) {
  storage("UpToDate", true);
  take_over();
  storage("UpToDate", false);
  storage("UpToDate", true);
  EXPECT_FALSE(held_);
  claims_.end_save();
  EXPECT_EQ(claims_.saving, kAll);
}

TEST_F(DataGuardTest, LostAgainBeforeTheClaimWasTakenBack) {
  storage("UpToDate", false);
  take_over();
  claims_.end_save();
  storage("UpToDate", true);
  ASSERT_EQ(claims_.saving, kAll);
  storage("UpToDate", false);
  EXPECT_TRUE(held_) << "who has which claim is not known";
  claims_.end_save();
  EXPECT_TRUE(held_);
  ASSERT_EQ(claims_.saving, (DataClaim{Kind::only, 1}));
  claims_.end_save();
  EXPECT_FALSE(held_);
}

TEST_F(DataGuardTest, OwnDiskIsLost) {
  storage("UpToDate", true);
  take_over();
  storage("Diskless", true);
  EXPECT_TRUE(held_);
  ASSERT_EQ(claims_.saving, (DataClaim{Kind::all_but, 1}));
  claims_.end_save();
  EXPECT_FALSE(held_);
}

TEST_F(DataGuardTest, GivenUpItNeitherHoldsNorAnswers) {
  storage("UpToDate", true);
  take_over();
  storage("UpToDate", false);
  guard_.give_up("g");
  EXPECT_FALSE(guard_.holds("g"));
  claims_.end_save();
  storage("UpToDate", true);
  EXPECT_FALSE(claims_.saving);
}

TEST_F(DataGuardTest, OldDataIsNoCandidate) {
  storage("UpToDate", false);
  EXPECT_EQ(judged(facts_of("UpToDate", false)), facts_of("UpToDate", false));
  guard_.on_claim("g", {9, 1}, {Kind::only, 2});
  EXPECT_EQ(judged_, 1);
  EXPECT_EQ(judged(facts_of("UpToDate", false)).fitness, StorageFitness::inconsistent);
  EXPECT_EQ(judged(facts_of("UpToDate", true)).fitness, StorageFitness::usable);
  guard_.on_claim("g", {8, 7}, kAll);
  EXPECT_EQ(judged_, 1) << "an older one";
  guard_.on_claim("g", {9, 2}, kAll);
  EXPECT_EQ(judged(facts_of("UpToDate", false)).fitness, StorageFitness::usable);
}

}  // namespace
}  // namespace itgtd::ha
