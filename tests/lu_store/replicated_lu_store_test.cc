#include "target/replicated_lu_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

namespace itgtd::target {
namespace {

namespace fs = std::filesystem;
using Value = LuStore::Value;

Value value_of(std::string_view text) {
  const ConstBytes bytes = as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

/// Members that do as they are told.
class FakeReplication final : public ha::UnitReplication {
 public:
  struct Asked {
    std::string unit;
    ha::UnitVersion version;
    Bytes bytes;
    std::function<void(Result<void>)> done;
  };
  void replicate(const std::string& /*group*/, const std::string& unit, ha::Epoch epoch, uint64_t version,
                 Bytes bytes, std::function<void(Result<void>)> done) override {
    asked.push_back({unit, {epoch, version}, std::move(bytes), std::move(done)});
    if (agree) asked.back().done({});
  }
  void fetch(const std::string& /*group*/, const std::vector<std::string>& /*units*/,
             std::function<void(Result<void>)> done) override {
    fetched = std::move(done);
    if (agree) fetched({});
  }

  bool agree = true;
  std::vector<Asked> asked;
  std::function<void(Result<void>)> fetched;
};

class ReplicatedLuStoreTest : public ::testing::Test {
 protected:
  ReplicatedLuStoreTest() {
    std::string name = (fs::temp_directory_path() / "lu_store_XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    open();
  }
  ~ReplicatedLuStoreTest() override { fs::remove_all(root_); }

  /// As a daemon that has just begun.
  void open() {
    store_.reset();
    versioned_.reset();
    files_ = std::make_unique<FileLuStore>((root_ / "members").string());
    versioned_ = std::make_unique<VersionedFiles>(*files_);
    store_ = std::make_unique<ReplicatedLuStore>("g", *versioned_, replication_);
  }
  /// "ok", why not, or nothing yet.
  std::string start(ha::Epoch epoch, const std::vector<std::string>& units) {
    auto outcome = std::make_shared<std::string>("nothing yet");
    store_->start(epoch, units, [outcome](const Result<void>& result) {
      *outcome = result ? "ok" : result.error().to_string();
    });
    return *outcome;
  }
  std::shared_ptr<std::string> save(std::string_view name, std::string_view text) {
    auto outcome = std::make_shared<std::string>("nothing yet");
    store_->save(name, as_bytes(text), [outcome](const Result<void>& result) {
      *outcome = result ? "ok" : result.error().to_string();
    });
    return outcome;
  }
  ha::UnitVersion stored(const std::string& unit) { return versioned_->load(unit)->value().version; }
  std::string put(ha::UnitStore& files, const std::string& unit, ha::UnitVersion version,
                  std::string_view text) {
    std::string outcome = "nothing yet";
    files.save(unit, {version, "g", value_of(text)}, [&](const Result<ha::UnitVersion>& result) {
      outcome = result ? std::to_string(result.value().epoch) + "." + std::to_string(result.value().version)
                       : result.error().to_string();
    });
    return outcome;
  }

  fs::path root_;
  FakeReplication replication_;
  std::unique_ptr<FileLuStore> files_;
  std::unique_ptr<VersionedFiles> versioned_;
  std::unique_ptr<ReplicatedLuStore> store_;
};

TEST_F(ReplicatedLuStoreTest, NothingBeforeTheGroupIsStarted) {
  EXPECT_FALSE(store_->load("a1").ok());
  EXPECT_NE(*save("a1", "x"), "ok");
  replication_.agree = false;
  EXPECT_EQ(start(5, {"a1"}), "nothing yet");
  EXPECT_FALSE(store_->load("a1").ok()) << "others' may be newer";
  EXPECT_FALSE(fs::exists(root_ / "members"));
}

TEST_F(ReplicatedLuStoreTest, DoneWhenMembersHaveItBehindThisNode) {
  ASSERT_EQ(start(5, {"a1"}), "ok");
  EXPECT_FALSE(store_->load("a1").value());
  replication_.agree = false;
  const auto outcome = save("a1", "one");
  EXPECT_EQ(*outcome, "nothing yet");
  EXPECT_EQ(versioned_->load("a1")->value().bytes, value_of("one")) << "here first";
  ASSERT_EQ(replication_.asked.size(), 2u);
  EXPECT_EQ(replication_.asked[1].version, (ha::UnitVersion{5, 2}));
  EXPECT_EQ(replication_.asked[1].bytes, value_of("one"));
  replication_.asked[1].done({});
  EXPECT_EQ(*outcome, "ok");
}

TEST_F(ReplicatedLuStoreTest, AnOwnerStoresWhatItFindsAsItsOwn) {
  put(*versioned_, "a1", {4, 7}, "found");
  open();
  ASSERT_EQ(start(5, {"a1", "b2"}), "ok");
  EXPECT_EQ(store_->load("a1").value(), value_of("found"));
  EXPECT_EQ(stored("a1"), (ha::UnitVersion{5, 1}));
  EXPECT_EQ(stored("b2"), (ha::UnitVersion{5, 1})) << "that there is nothing is an owner's word, too";
  EXPECT_FALSE(store_->load("b2").value());
  EXPECT_EQ(replication_.asked.size(), 2u);
}

TEST_F(ReplicatedLuStoreTest, NotStartedWhenMembersCanNotBeHadOrRefuse) {
  replication_.agree = false;
  auto outcome = std::make_shared<std::string>();
  const auto into = [outcome](const Result<void>& result) {
    *outcome = result ? "ok" : result.error().to_string();
  };
  store_->start(5, {"a1"}, into);
  replication_.fetched(Error{0, "only 1 of 3"});
  EXPECT_EQ(*outcome, "only 1 of 3");
  EXPECT_FALSE(store_->load("a1").ok());
  store_->start(5, {"a1"}, into);
  replication_.fetched({});
  ASSERT_EQ(replication_.asked.size(), 1u);
  replication_.asked[0].done(Error{0, "nobody could store it"});
  EXPECT_EQ(*outcome, "nobody could store it");
  EXPECT_FALSE(store_->load("a1").ok());
}

TEST_F(ReplicatedLuStoreTest, NoVersionIsUsedTwice) {
  ASSERT_EQ(start(5, {"a1"}), "ok");
  replication_.agree = false;
  save("a1", "lost");
  replication_.asked.back().done(Error{0, "no majority"});
  replication_.agree = true;
  EXPECT_EQ(*save("a1", "kept"), "ok");
  EXPECT_EQ(replication_.asked.back().version, (ha::UnitVersion{5, 3}));
  open();
  ASSERT_EQ(start(5, {"a1"}), "ok") << "the daemon came back as the same owner";
  EXPECT_EQ(stored("a1"), (ha::UnitVersion{5, 4}));
  EXPECT_EQ(store_->load("a1").value(), value_of("kept"));
}

TEST_F(ReplicatedLuStoreTest, ALaterOwnersValueIsNotOverwritten) {
  ASSERT_EQ(start(5, {"a1"}), "ok");
  EXPECT_EQ(put(*versioned_, "a1", {9, 1}, "later"), "9.1");
  EXPECT_NE(save("a1", "old")->find("a later owner"), std::string::npos);
  EXPECT_EQ(versioned_->load("a1")->value().bytes, value_of("later"));
  EXPECT_NE(start(6, {"a1"}).find("a later owner"), std::string::npos);
}

TEST_F(ReplicatedLuStoreTest, StopEndsWhatIsOnItsWay) {
  ASSERT_EQ(start(5, {"a1"}), "ok");
  replication_.agree = false;
  const auto outcome = save("a1", "one");
  store_->stop();
  EXPECT_NE(outcome->find("stopped"), std::string::npos);
  EXPECT_FALSE(store_->load("a1").ok());
  replication_.asked.back().done({});
  store_.reset();
  replication_.asked.back().done({});
  EXPECT_NE(*outcome, "ok");
}

TEST_F(ReplicatedLuStoreTest, AStopDuringTheStart) {
  replication_.agree = false;
  std::string outcome;
  store_->start(5, {"a1"}, [&](const Result<void>& result) { outcome = result ? "ok" : "stopped"; });
  store_->stop();
  replication_.fetched({});
  EXPECT_EQ(outcome, "stopped");
  EXPECT_FALSE(store_->load("a1").ok());
}

TEST_F(ReplicatedLuStoreTest, VersionsAreFoundAgain) {
  EXPECT_TRUE(versioned_->load_versions()->empty());
  EXPECT_EQ(put(*versioned_, "a1", {4, 7}, "x"), "4.7");
  EXPECT_EQ(put(*versioned_, "a1", {4, 6}, "older"), "4.7");
  EXPECT_EQ(put(*versioned_, "a1", {4, 7}, "the same"), "4.7");
  EXPECT_EQ(put(*versioned_, "b2", {5, 1}, ""), "5.1");
  EXPECT_EQ(versioned_->load("a1")->value().bytes, value_of("x"));
  open();
  const ha::UnitVersionMap expected = {{"a1", {4, 7}}, {"b2", {5, 1}}};
  EXPECT_EQ(versioned_->load_versions().value(), expected);
  EXPECT_EQ(put(*versioned_, "a1", {4, 6}, "older"), "4.7") << "after a restart, too";
  EXPECT_EQ(versioned_->load("a1")->value().group, "g");
  EXPECT_FALSE(versioned_->load("c3").value());
}

TEST_F(ReplicatedLuStoreTest, WhatIsDamagedIsLeftOut) {
  put(*versioned_, "a1", {4, 7}, "x");
  put(*versioned_, "b2", {4, 7}, "x");
  fs::resize_file(root_ / "members" / "units" / "a1.state", 40);
  open();
  EXPECT_EQ(versioned_->load_versions()->size(), 1u);
  EXPECT_NE(put(*versioned_, "a1", {4, 8}, "x").find("can't be trusted"), std::string::npos);
  // A value without a version is none.
  files_->save("c3", as_bytes("short"), [](const Result<void>&) {});
  EXPECT_FALSE(versioned_->load("c3").ok());
}

TEST_F(ReplicatedLuStoreTest, TooLargeAValueIsRefused) {
  const std::string large(ha::kUnitBytesMax + 1, 'x');
  EXPECT_NE(put(*versioned_, "a1", {4, 7}, large).find("too large"), std::string::npos);
  EXPECT_EQ(put(*versioned_, "a1", {4, 7}, large.substr(1)), "4.7");
}

TEST_F(ReplicatedLuStoreTest, TheRouterPicksByName) {
  FileLuStore others((root_ / "plain").string());
  LuStoreRouter router(others);
  ASSERT_EQ(start(5, {"a1"}), "ok");
  router.assign("a1", store_.get());
  EXPECT_TRUE(router.is_of_group("a1"));
  EXPECT_FALSE(router.is_of_group("b2"));
  for (const char* name : {"a1", "b2"}) {
    bool saved = false;
    router.save(name, as_bytes("x"), [&](const Result<void>& result) { saved = result.ok(); });
    EXPECT_TRUE(saved);
    EXPECT_EQ(router.load(name).value(), value_of("x"));
  }
  EXPECT_EQ(others.names().value(), std::vector<std::string>{"b2"});
  router.assign("a1", nullptr);
  EXPECT_FALSE(router.load("a1").value());
}

}  // namespace
}  // namespace itgtd::target
