#include "target/service.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "net/socket.h"
#include "scsi/lu_snapshot.h"
#include "target/iscsi/login.h"
#include "tests/daemon/fake_workers.h"
#include "tests/daemon/memory_lu_store.h"

namespace itgtd::target {
namespace {

constexpr const char* kName = "iqn.2026-01.example:disk";
constexpr const char* kInitiator = "iqn.2026-01.example:initiator";

/// "127.0.0.1:PORT" where nothing listens.
std::string free_portal() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::listen(fd, 1), 0);  // without an address: the kernel finds a port
  const std::string any = net::local_address(fd).value().to_string();
  const std::string portal = "127.0.0.1" + any.substr(any.rfind(':'));
  ::close(fd);
  return portal;
}

config::LunConfig disk(uint16_t id, const std::string& path = "ram:1M") {
  config::LunConfig lun;
  lun.id = id;
  lun.path = path;
  lun.serial = "0123456789abcdef";
  lun.product = "disk";
  return lun;
}

config::TargetConfig serve(const std::string& portal, std::vector<config::LunConfig> luns) {
  config::TargetConfig target;
  target.name = kName;
  target.portals = {portal};
  target.luns = std::move(luns);
  return target;
}

class ServiceTest : public testing::Test {
 protected:
  ServiceTest() { workers_.answer(loop_, coordinator_); }

  void apply(std::vector<config::TargetConfig> targets) {
    begin(std::move(targets));
    ASSERT_TRUE(run_until(loop_, [this] { return applied_; }));
  }
  void begin(std::vector<config::TargetConfig> targets) {
    config::Config wanted;
    wanted.targets = std::move(targets);
    applied_ = false;
    service_.apply(wanted, [this] { applied_ = true; });
  }
  template <typename T>
  std::vector<T> seen() {
    return workers_.seen_of<T>();
  }
  /// Lets what was posted arrive.
  void settle() {
    const Instant start = now();
    ASSERT_TRUE(run_until(loop_, [&] { return now() > start + std::chrono::milliseconds(20); }));
  }
  OpenSession login(uint32_t slot, const char* initiator = kInitiator) {
    OpenSession message;
    message.connection = {0, {slot, 1}};
    message.identity.initiator_name = initiator;
    message.identity.target_name = kName;
    message.peer = Address::parse("127.0.0.1:5000", 0).value();
    message.listener = seen<AddListener>().front().listener;
    return message;
  }
  /// A session that is open, as its worker was told.
  SessionOpened logged_in(uint32_t slot) {
    service_.on_open_session(login(slot));
    settle();
    const auto opened = seen<SessionOpened>();
    EXPECT_FALSE(opened.empty());
    return opened.empty() ? SessionOpened{} : opened.back();
  }
  void left(const SessionOpened& session) {
    service_.on_session_closed({{0, session.connection}, session.nexus});
    service_.on_connection_closed({{0, session.connection}, false});
  }
  void accept_one() { service_.on_accepted({::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), 1}); }

  FakeWorkers workers_{2};
  control::EventLoop loop_;
  Coordinator coordinator_{workers_.mailboxes()};
  MemoryLuStore store_;
  StateWriter writer_{coordinator_, &store_};
  Registry registry_;
  Service service_{loop_, coordinator_, writer_, registry_, store_};
  bool applied_ = false;
  std::string portal_ = free_portal();
};

TEST_F(ServiceTest, StartsFromTheDiskToTheListener) {
  apply({serve(portal_, {disk(0), disk(1)})});
  const Service::Summary summary = service_.summary();
  EXPECT_EQ(summary.targets, 1u);
  EXPECT_EQ(summary.luns, 2u);
  EXPECT_EQ(summary.luns_down, 0u);
  EXPECT_EQ(summary.portals, 1u);
  settle();
  const auto luns = seen<AddLun>();
  ASSERT_EQ(luns.size(), 4u) << "two logical units, told to two workers";
  EXPECT_FALSE(luns[0].announce) << "nobody is there yet";
  EXPECT_EQ(luns[0].state->block_count, 2048u);
  EXPECT_EQ(seen<AddListener>().size(), 1u) << "one worker accepts";
  // Nobody gets in where nothing is ready: a worker has its listener behind everything else.
  const auto& last = workers_.seen.back();
  EXPECT_TRUE(std::holds_alternative<AddListener>(last));
  ASSERT_FALSE(seen<SetDirectory>().empty());
  EXPECT_EQ(seen<SetDirectory>().back().directory->targets.size(), 1u);
}

TEST_F(ServiceTest, ATargetThatIsTakenOutEndsItsSessionsAndThenItsDisks) {
  apply({serve(portal_, {disk(0)})});
  accept_one();
  const SessionOpened session = logged_in(3);
  ASSERT_NE(session.nexus, 0u);
  begin({});
  ASSERT_TRUE(run_until(loop_, [&] { return !seen<CloseSession>().empty(); }));
  EXPECT_TRUE(seen<CloseSession>().back().announce);
  settle();
  EXPECT_FALSE(applied_) << "the session is still there";
  EXPECT_TRUE(seen<RemoveLun>().empty());
  left(session);
  ASSERT_TRUE(run_until(loop_, [this] { return applied_; }));
  settle();
  EXPECT_EQ(seen<RemoveLun>().size(), 2u);
  EXPECT_EQ(seen<RemoveTarget>().size(), 2u);
  EXPECT_EQ(seen<RemoveListener>().size(), 1u);
  EXPECT_EQ(service_.summary().targets, 0u);
}

TEST_F(ServiceTest, ALoginThatWaitedIsRefusedWhenItsTargetHasGone) {
  apply({serve(portal_, {disk(0)})});
  accept_one();
  accept_one();
  const SessionOpened first = logged_in(3);
  service_.on_open_session(login(4));  // takes the place of the first, when that is gone
  settle();
  EXPECT_EQ(seen<SessionOpened>().size(), 1u);
  begin({});
  settle();
  left(first);
  ASSERT_TRUE(run_until(loop_, [this] { return applied_; }));
  settle();
  EXPECT_EQ(seen<SessionOpened>().size(), 1u);
  const auto refused = seen<SessionRefused>();
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].connection.index, 4u);
  EXPECT_EQ(registry_.size(), 0u);
}

TEST_F(ServiceTest, ALoginJudgedByTheOldListsIsRefused) {
  apply({serve(portal_, {disk(0)})});
  config::TargetConfig strict = serve(portal_, {disk(0)});
  strict.initiators = {"iqn.2026-01.example:other"};
  apply({strict});
  service_.on_open_session(login(3));
  service_.on_open_session(login(4, "iqn.2026-01.example:other"));
  settle();
  ASSERT_EQ(seen<SessionRefused>().size(), 1u);
  EXPECT_EQ(seen<SessionRefused>()[0].connection.index, 3u);
  EXPECT_EQ(seen<SessionOpened>().size(), 1u);
}

TEST_F(ServiceTest, ALoginAtAPortalOfAnotherTargetIsRefused) {
  apply({serve(portal_, {disk(0)})});
  OpenSession message = login(3);
  message.listener = 9999;
  service_.on_open_session(message);
  settle();
  EXPECT_EQ(seen<SessionRefused>().size(), 1u);
  EXPECT_TRUE(seen<SessionOpened>().empty());
}

TEST_F(ServiceTest, ALoginThatEndsWhileItIsOpenedIsCountedOnce) {
  apply({serve(portal_, {disk(0)})});
  for (uint32_t round = 0; round < 3; ++round) {
    accept_one();
    service_.on_open_session(login(round));
    settle();
    // Its connection went before the worker knew: in the worker's order of messages.
    service_.on_connection_closed({{0, {round, 1}}, true});
    service_.on_session_closed({{0, {round, 1}}, seen<SessionOpened>().back().nexus, false});
  }
  accept_one();
  settle();
  EXPECT_EQ(seen<AdoptConnection>().size(), 4u) << "connections are refused, as if too many were logging in";
}

TEST_F(ServiceTest, ALunComesAndGoesUnderItsSessions) {
  apply({serve(portal_, {disk(0)})});
  accept_one();
  logged_in(3);
  apply({serve(portal_, {disk(0), disk(1)})});
  settle();
  EXPECT_TRUE(seen<AddLun>().back().announce);
  EXPECT_EQ(seen<AddLun>().back().lun, 1);
  apply({serve(portal_, {disk(0)})});
  settle();
  EXPECT_EQ(seen<RemoveLun>().size(), 2u);
  EXPECT_TRUE(seen<CloseSession>().empty());
  EXPECT_EQ(service_.summary().luns, 1u);
}

TEST_F(ServiceTest, SessionsOfAPortalThatGoesEndAndTheOthersStay) {
  const std::string second = free_portal();
  config::TargetConfig both = serve(portal_, {disk(0)});
  both.portals.push_back(second);
  apply({both});
  accept_one();
  logged_in(3);
  accept_one();
  OpenSession elsewhere = login(4, "iqn.2026-01.example:other");
  elsewhere.listener = seen<AddListener>().back().listener;
  service_.on_open_session(elsewhere);
  settle();
  const SessionOpened leaving = seen<SessionOpened>().back();
  begin({serve(portal_, {disk(0)})});
  ASSERT_TRUE(run_until(loop_, [&] { return !seen<CloseSession>().empty(); }));
  left(leaving);
  ASSERT_TRUE(run_until(loop_, [this] { return applied_; }));
  ASSERT_EQ(seen<CloseSession>().size(), 1u);
  EXPECT_EQ(seen<CloseSession>()[0].connection, leaving.connection);
  EXPECT_EQ(registry_.size(), 1u);
}

TEST_F(ServiceTest, AnInitiatorThatComesBackByAnotherPortFindsNothingOfTheOldOne) {
  apply({serve(portal_, {disk(0)})});
  settle();
  logged_in(3);
  EXPECT_TRUE(seen<SettleConnections>().empty()) << "nobody of that name was here";
  OpenSession second = login(4);
  second.identity.isid = {1, 2, 3, 4, 5, 6};
  service_.on_open_session(second);
  EXPECT_EQ(registry_.size(), 1u) << "not before every worker has said what it knows";
  settle();
  EXPECT_EQ(seen<SettleConnections>().size(), 2u) << "one to each worker";
  EXPECT_EQ(registry_.size(), 2u);
  EXPECT_EQ(seen<SessionOpened>().size(), 2u);
}

TEST_F(ServiceTest, AFileThatIsMissingIsAttachedWhenItComes) {
  const std::string path = testing::TempDir() + "itgtd-service-test." + std::to_string(::getpid());
  apply({serve(portal_, {disk(0, path)})});
  EXPECT_EQ(service_.summary().luns_down, 1u);
  settle();
  EXPECT_EQ(seen<AddLun>()[0].medium, nullptr);
  EXPECT_EQ(seen<AddLun>()[0].state->condition, scsi::LuCondition::not_ready);
  std::ofstream(path).close();
  std::filesystem::resize_file(path, 1 << 20);
  ASSERT_TRUE(run_until(loop_, [&] { return !seen<PublishState>().empty(); }));
  std::filesystem::remove(path);
  EXPECT_EQ(seen<AttachMedium>().size(), 2u) << "one to each worker";
  const PublishState published = seen<PublishState>()[0];
  EXPECT_EQ(published.state->condition, scsi::LuCondition::ready);
  EXPECT_EQ(published.state->block_count, 2048u);
  ASSERT_EQ(published.unit_attentions.size(), 1u);
  EXPECT_EQ(published.unit_attentions[0].asc, scsi::Asc::not_ready_to_ready_medium_may_have_changed);
  EXPECT_EQ(service_.summary().luns_down, 0u);
}

// Files that grow and fill up while they are served.
class WatchTest : public ServiceTest {
 protected:
  WatchTest() {
    std::ofstream(path_).close();
    std::filesystem::resize_file(path_, 1 << 20);
  }
  ~WatchTest() override { std::filesystem::remove(path_); }
  /// What was published since the last call.
  std::vector<PublishState> look() {
    service_.look_at_media();
    settle();
    std::vector<PublishState> all = seen<PublishState>();
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(known_));
    known_ += all.size();
    return all;
  }
  std::string path_ = testing::TempDir() + "itgtd-watch-test." + std::to_string(::getpid());
  size_t known_ = 0;
};

TEST_F(WatchTest, ASizeThatChangesIsToldWithoutAReload) {
  config::LunConfig lun = disk(0, path_);
  lun.thin = config::ThinPolicy::off;
  apply({serve(portal_, {lun})});
  EXPECT_TRUE(look().empty());
  for (const uint64_t blocks : {4096U, 1024U}) {
    std::filesystem::resize_file(path_, blocks * 512);
    const auto published = look();
    ASSERT_EQ(published.size(), 2U) << "to two workers";
    EXPECT_EQ(published[0].state->block_count, blocks);
    ASSERT_EQ(published[0].unit_attentions.size(), 1U);
    EXPECT_EQ(published[0].unit_attentions[0].asc, scsi::Asc::capacity_data_has_changed);
    EXPECT_TRUE(look().empty());
  }
}

TEST_F(WatchTest, UsageIsToldWhenItMoves) {
  std::filesystem::resize_file(path_, 64 << 20);
  apply({serve(portal_, {disk(0, path_)})});
  settle();
  const scsi::ThinUsage before = seen<AddLun>()[0].state->thin_usage;
  if (!before.known) GTEST_SKIP() << "this file system has no holes";
  {
    const std::string megabyte(1 << 20, 'x');
    std::fstream file(path_, std::ios::in | std::ios::out);
    for (int i = 0; i < 4; ++i) file << megabyte;
  }
  const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(::fsync(fd), 0);  // not before are blocks allocated
  ::close(fd);
  const auto published = look();
  ASSERT_FALSE(published.empty());
  EXPECT_GE(published.back().state->thin_usage.used_blocks, before.used_blocks + 4 * 2048);
  EXPECT_TRUE(published.back().unit_attentions.empty()) << "no threshold is set";
}

TEST_F(ServiceTest, WhatWasKeptOfAUnitIsThereFromItsFirstCommand) {
  scsi::LuState kept;
  kept.identifying_text = {std::byte{'x'}};
  kept.condition = scsi::LuCondition::sanitizing;
  store_.kept["6001405aaaaaaa000000000000000000"] = scsi::snapshot(kept);
  config::LunConfig lun = disk(0);
  lun.serial = "aaaaaaa0";
  apply({serve(portal_, {lun})});
  settle();
  ASSERT_EQ(seen<AddLun>().size(), 2u);
  EXPECT_EQ(seen<AddLun>()[0].state->identifying_text, kept.identifying_text);
  EXPECT_EQ(seen<AddLun>()[0].state->condition, scsi::LuCondition::sanitize_failed)
      << "it was cut off by the end of the daemon";
}

TEST_F(ServiceTest, AUnitWhoseKeptStateIsDamagedIsNotReadyUntilItCanBeRead) {
  store_.unreadable = true;
  apply({serve(portal_, {disk(0), disk(1)})});
  EXPECT_EQ(service_.summary().luns_down, 2u);
  settle();
  EXPECT_EQ(seen<AddLun>()[0].medium, nullptr);
  EXPECT_EQ(seen<AddLun>()[0].state->condition, scsi::LuCondition::not_ready);
  store_.unreadable = false;
  ASSERT_TRUE(run_until(loop_, [&] { return service_.summary().luns_down == 0; }));
  ASSERT_TRUE(run_until(loop_, [&] { return seen<AttachMedium>().size() == 4; }));
}

TEST_F(ServiceTest, APortalThatIsTakenIsHadWhenItIsFree) {
  const int taken = net::listen_on(Address::parse(portal_, 0).value(), 1).value();
  apply({serve(portal_, {disk(0)})});
  EXPECT_EQ(service_.summary().portals, 0u);
  EXPECT_EQ(service_.summary().portals_failed, 1u);
  ::close(taken);
  ASSERT_TRUE(run_until(loop_, [&] { return !seen<AddListener>().empty(); }));
  EXPECT_EQ(service_.summary().portals, 1u);
  EXPECT_EQ(service_.summary().portals_failed, 0u);
}

TEST_F(ServiceTest, ReloadsQueueUp) {
  begin({serve(portal_, {disk(0)})});
  begin({serve(portal_, {disk(0), disk(1)})});
  begin({serve(portal_, {disk(1)})});
  int done = 0;
  config::Config last;
  last.targets = {serve(portal_, {disk(1)})};
  service_.apply(last, [&] { ++done; });
  ASSERT_TRUE(run_until(loop_, [&] { return done == 1; }));
  EXPECT_EQ(service_.summary().luns, 1u);
  EXPECT_EQ(service_.summary().portals, 1u);
}

TEST_F(ServiceTest, NobodyIsLetInWhenTheDaemonStops) {
  apply({serve(portal_, {disk(0)})});
  service_.refuse_connections();
  accept_one();
  service_.on_open_session(login(3));
  settle();
  EXPECT_TRUE(seen<AdoptConnection>().empty());
  ASSERT_EQ(seen<SessionRefused>().size(), 1u);
  EXPECT_EQ(seen<SessionRefused>()[0].login_status,
            static_cast<uint16_t>(iscsi::LoginStatus::service_unavailable));
}

}  // namespace
}  // namespace itgtd::target
