#include "target/groups.h"

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
constexpr const char* kUnit = "60014050123456789abcdef000000000";

/// Two workers that answer at once, and what the cluster asks for.
class GroupsTest : public testing::Test {
 protected:
  GroupsTest() {
    workers_.answer(loop_, coordinator_);
    std::ofstream(path_).close();
    std::filesystem::resize_file(path_, 1 << 20);
    groups_.set_on_sessions([this](const std::string&, uint32_t sessions,
                                   const std::vector<ha::TcpPair>& opened,
                                   const std::vector<ha::TcpPair>& closed) {
      sessions_ = sessions;
      opened_ += opened.size();
      closed_ += closed.size();
    });
    apply({disk(0)});
  }
  ~GroupsTest() override { std::filesystem::remove(path_); }

  config::LunConfig disk(uint16_t id) const {
    config::LunConfig lun;
    lun.id = id;
    lun.path = id == 0 ? path_ : "ram:1M";
    lun.serial = id == 0 ? "0123456789abcdef" : "0123456789abcd0" + std::to_string(id);
    lun.product = "disk";
    return lun;
  }
  void apply(std::vector<config::LunConfig> luns) {
    config::TargetConfig target;
    target.name = kName;
    target.group = "g";
    target.portals = {portal_};
    target.luns = std::move(luns);
    config::Config wanted;
    wanted.targets = {target};
    bool applied = false;
    service_.apply(wanted, [&] { applied = true; });
    ASSERT_TRUE(run_until(loop_, [&] { return applied; }));
  }
  static std::string free_portal() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::listen(fd, 1), 0);
    const std::string any = net::local_address(fd).value().to_string();
    ::close(fd);
    return "127.0.0.1" + any.substr(any.rfind(':'));
  }
  template <typename T>
  std::vector<T> seen() {
    return workers_.seen_of<T>();
  }
  void settle() {
    const Instant start = now();
    ASSERT_TRUE(run_until(loop_, [&] { return now() > start + std::chrono::milliseconds(20); }));
  }
  ha::GroupService::Done keep() {
    return [this](const Result<void>& result) { results_.push_back(result); };
  }
  Result<void> result() {
    EXPECT_TRUE(run_until(loop_, [this] { return !results_.empty(); }));
    if (results_.empty()) return Error{ETIMEDOUT, "no answer"};
    const Result<void> first = results_.front();
    results_.erase(results_.begin());
    return first;
  }
  Result<void> start() {
    groups_.start("g", 1, keep());
    return result();
  }
  Result<void> stop() {
    groups_.stop("g", keep());
    return result();
  }
  void log_in(uint32_t slot) {
    service_.on_accepted({::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), 1});
    OpenSession message;
    message.connection = {0, {slot, 1}};
    message.identity.initiator_name = "iqn.2026-01.example:initiator" + std::to_string(slot);
    message.identity.target_name = kName;
    message.peer = Address::parse("127.0.0.1:" + std::to_string(5000 + slot), 0).value();
    message.local = Address::parse(portal_, 0).value();
    message.listener = seen<AddListener>().front().listener;
    service_.on_open_session(message);
    settle();
  }

  std::string path_ = testing::TempDir() + "itgtd-groups-test." + std::to_string(::getpid());
  FakeWorkers workers_{2};
  control::EventLoop loop_;
  Coordinator coordinator_{workers_.mailboxes()};
  MemoryLuStore store_;
  StateWriter writer_{coordinator_, &store_};
  Registry registry_;
  Service service_{loop_, coordinator_, writer_, registry_, store_};
  Groups groups_{loop_, coordinator_, service_};
  std::string portal_ = free_portal();
  std::vector<Result<void>> results_;
  uint32_t sessions_ = 0;
  size_t opened_ = 0;
  size_t closed_ = 0;
};

TEST_F(GroupsTest, NothingIsOpenedBeforeTheStart) {
  settle();
  EXPECT_TRUE(seen<AddLun>().empty());
  EXPECT_EQ(seen<AddListener>().size(), 1u) << "its portal listens all the same";
  EXPECT_EQ(seen<SetDirectory>().back().directory->targets.size(), 1u) << "and discovery finds it";
  ASSERT_FALSE(seen<AddTarget>().empty());
  EXPECT_TRUE(seen<AddTarget>()[0].grouped);
  EXPECT_EQ(service_.summary().luns_down, 0u) << "a closed disk is looked for";
}

TEST_F(GroupsTest, AStartRestoresAndOpensBeforeLoginsGoOn) {
  scsi::LuState kept;
  kept.identifying_text = {std::byte{'x'}};
  store_.kept[kUnit] = scsi::snapshot(kept);
  log_in(1);
  log_in(2);
  EXPECT_TRUE(seen<SessionOpened>().empty());
  ASSERT_TRUE(start());
  settle();
  ASSERT_EQ(seen<AddLun>().size(), 2u);
  EXPECT_EQ(seen<AddLun>()[0].state->identifying_text, kept.identifying_text);
  EXPECT_NE(seen<AddLun>()[0].medium, nullptr);
  const auto opened = seen<SessionOpened>();
  ASSERT_EQ(opened.size(), 2u);
  EXPECT_EQ(opened[0].connection.index, 1u) << "in the order in which they came";
  EXPECT_TRUE(seen<SessionRefused>().empty());
}

TEST_F(GroupsTest, WhatIsKeptIsFetchedBeforeItIsRestored) {
  std::vector<std::string> asked;
  ha::GroupService::Done fetched;
  groups_.set_prepare([&](const std::string&, ha::Epoch epoch, const std::vector<std::string>& units,
                          ha::GroupService::Done done) {
    EXPECT_EQ(epoch, 7u);
    asked = units;
    fetched = std::move(done);
  });
  groups_.start("g", 7, keep());
  settle();
  EXPECT_EQ(asked, std::vector<std::string>{kUnit});
  EXPECT_TRUE(seen<AddLun>().empty());
  fetched(Error{EAGAIN, "no lease"});
  EXPECT_FALSE(result());
  groups_.start("g", 7, keep());
  fetched({});
  EXPECT_TRUE(result());
  EXPECT_EQ(seen<AddLun>().size(), 2u);
}

TEST_F(GroupsTest, StoppedWhenWhatWasPreparedIsGivenUp) {
  std::function<void()> given_up;
  groups_.set_release([&](const std::string&, std::function<void()> done) { given_up = std::move(done); });
  ASSERT_TRUE(start());
  groups_.stop("g", keep());
  ASSERT_TRUE(run_until(loop_, [&] { return given_up != nullptr; }));
  settle();
  EXPECT_TRUE(results_.empty()) << "the state device is open: another node can't have it";
  EXPECT_FALSE(start()) << "nor this one, again";
  given_up();
  EXPECT_TRUE(result());

  given_up = nullptr;
  std::filesystem::remove(path_);
  groups_.start("g", 2, keep());
  ASSERT_TRUE(run_until(loop_, [&] { return given_up != nullptr; }));
  groups_.stop("g", keep());
  settle();
  EXPECT_TRUE(results_.empty());
  given_up();
  EXPECT_FALSE(result()) << "the start";
  EXPECT_TRUE(result()) << "the stop";
}

TEST_F(GroupsTest, AUnitThatCannotBeRestoredKeepsAllClosed) {
  apply({disk(0), disk(1)});
  store_.kept["60014050123456789abcd01000000000"] = {std::byte{1}};
  const Result<void> started = start();
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().to_string().find("LUN 1"), std::string::npos) << started.error().to_string();
  settle();
  EXPECT_TRUE(seen<AddLun>().empty());
  store_.kept.clear();
  EXPECT_TRUE(start()) << "the disk is locked by the start that failed";
}

TEST_F(GroupsTest, ADiskThatIsMissingIsNamed) {
  std::filesystem::remove(path_);
  const Result<void> started = start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, ENOENT);
  EXPECT_NE(started.error().message.find(path_), std::string::npos);
}

TEST_F(GroupsTest, AStopForgetsWhatIsInMemory) {
  ASSERT_TRUE(start());
  scsi::LuState elsewhere;
  elsewhere.identifying_text = {std::byte{'y'}};
  ASSERT_TRUE(stop());
  EXPECT_EQ(seen<EndTarget>().size(), 2u);
  EXPECT_EQ(seen<RemoveLun>().size(), 2u);
  const Key before = seen<AddLun>()[0].lun_key;
  workers_.seen.clear();                           // which have a share of the medium
  store_.kept[kUnit] = scsi::snapshot(elsewhere);  // by another node
  ASSERT_TRUE(start());
  settle();
  ASSERT_EQ(seen<AddLun>().size(), 2u);
  EXPECT_EQ(seen<AddLun>()[0].state->identifying_text, elsewhere.identifying_text);
  EXPECT_NE(seen<AddLun>()[0].lun_key, before);
}

TEST_F(GroupsTest, TheIdentityIsThatOfTheConfiguration) {
  ASSERT_TRUE(start());
  settle();
  const scsi::LuIdentity here = seen<AddLun>()[0].identity;
  ASSERT_TRUE(stop());
  workers_.seen.clear();  // the disk is locked
  // What another node makes of the same configuration.
  FakeWorkers workers(2);
  control::EventLoop loop;
  Coordinator coordinator(workers.mailboxes());
  workers.answer(loop, coordinator);
  coordinator.broadcast(EndTarget{}, {});  // another history of keys
  MemoryLuStore store;
  StateWriter writer(coordinator, &store);
  Registry registry;
  Service service(loop, coordinator, writer, registry, store);
  Groups groups(loop, coordinator, service);
  config::TargetConfig target;
  target.name = kName;
  target.group = "g";
  target.luns = {disk(0)};
  config::Config wanted;
  wanted.targets = {target};
  service.apply(wanted, {[] {}});
  bool started = false;
  ASSERT_TRUE(run_until(loop, [&] { return workers.seen_of<SetDirectory>().size() >= 2; }));
  groups.start("g", 9, [&](const Result<void>& outcome) { started = outcome.ok(); });
  ASSERT_TRUE(run_until(loop, [&] { return started; }));
  const scsi::LuIdentity there = workers.seen_of<AddLun>().at(0).identity;
  EXPECT_EQ(here.naa, there.naa);
  EXPECT_EQ(here.serial, there.serial);
  EXPECT_EQ(here.vendor + here.product + here.revision, there.vendor + there.product + there.revision);
  EXPECT_EQ(here.target_name, there.target_name);
}

TEST_F(GroupsTest, AQuiesceHoldsDrainsAndAnnouncesInThisOrder) {
  ASSERT_TRUE(start());
  log_in(1);
  groups_.quiesce("g", 1000, keep());
  ASSERT_TRUE(result());
  size_t hold = 0;
  size_t drain = 0;
  size_t announce = 0;
  for (size_t i = 0; i < workers_.seen.size(); ++i) {
    const WorkerMessage& message = workers_.seen[i];
    const auto* govern = std::get_if<GovernTarget>(&message);
    if (govern != nullptr && govern->hold) hold = i;
    if (std::holds_alternative<DrainTarget>(message)) drain = i;
    if (std::holds_alternative<AnnounceTarget>(message)) announce = i;
  }
  EXPECT_LT(0u, hold);
  EXPECT_LT(hold, drain);
  EXPECT_LT(drain, announce);
  EXPECT_TRUE(seen<CloseSession>().empty()) << "the sockets stay until stop()";
  log_in(2);
  EXPECT_EQ(seen<SessionOpened>().size(), 1u) << "who comes now is parked";
}

TEST_F(GroupsTest, AStopEndsAQuiesceThatIsUnderWay) {
  ASSERT_TRUE(start());
  groups_.quiesce("g", 1000, keep());
  groups_.stop("g", keep());
  EXPECT_FALSE(result());
  EXPECT_TRUE(result());
}

TEST_F(GroupsTest, TooManyParkedLoginsAreClosedWithoutAWord) {
  const size_t many = kParkedLoginsMax + 1;
  for (uint32_t slot = 1; slot <= many; ++slot) {
    OpenSession message;
    message.connection = {0, {slot, 1}};
    message.identity.initiator_name = "i" + std::to_string(slot);
    message.identity.target_name = kName;
    message.listener = seen<AddListener>().front().listener;
    service_.on_open_session(message);
  }
  settle();
  ASSERT_EQ(seen<CloseSession>().size(), 1u);
  EXPECT_EQ(seen<CloseSession>()[0].connection.index, many);
  EXPECT_FALSE(seen<CloseSession>()[0].announce);
  EXPECT_TRUE(seen<SessionRefused>().empty());
}

TEST_F(GroupsTest, NoLoginIsRejectedWhenTheDaemonStops) {
  service_.refuse_connections();
  OpenSession message;
  message.connection = {0, {1, 1}};
  message.identity.initiator_name = "i";
  message.identity.target_name = kName;
  message.listener = seen<AddListener>().front().listener;
  service_.on_open_session(message);
  settle();
  EXPECT_TRUE(seen<SessionRefused>().empty());
  EXPECT_EQ(seen<CloseSession>().size(), 1u);
}

TEST_F(GroupsTest, SessionsAreCountedAndThoseThatAStopEndsAreNotReportedAsClosed) {
  ASSERT_TRUE(start());
  log_in(1);
  log_in(2);
  EXPECT_EQ(sessions_, 2u);
  EXPECT_EQ(opened_, 2u);
  const auto opened = seen<SessionOpened>();
  service_.on_session_closed({{0, opened.at(0).connection}, opened.at(0).nexus});
  settle();
  EXPECT_EQ(sessions_, 1u);
  EXPECT_EQ(closed_, 1u);
  groups_.stop("g", keep());
  service_.on_session_closed({{0, opened.at(1).connection}, opened.at(1).nexus});
  ASSERT_TRUE(result());
  settle();
  EXPECT_EQ(sessions_, 0u);
  EXPECT_EQ(closed_, 1u) << "its initiator must be reset by the next owner";
}

TEST_F(GroupsTest, ARenewedLeaseWakesWorkersOnlyWhenItHadEnded) {
  groups_.set_lease(boot_time_ms() + 60000);
  groups_.set_lease(boot_time_ms() + 60001);
  settle();
  EXPECT_EQ(seen<LeaseRenewed>().size(), 2u) << "once, to two workers";
  groups_.set_lease(boot_time_ms() - 1);
  groups_.set_lease(boot_time_ms() + 60000);
  settle();
  EXPECT_EQ(seen<LeaseRenewed>().size(), 4u);
}

TEST_F(GroupsTest, UnitsComeAndGoWithTheConfiguration) {
  apply({disk(0), disk(1)});
  EXPECT_TRUE(seen<AddLun>().empty());
  ASSERT_TRUE(start());
  apply({disk(0)});
  settle();
  EXPECT_EQ(seen<RemoveLun>().size(), 2u);
  apply({disk(0), disk(1)});
  settle();
  EXPECT_EQ(seen<AddLun>().size(), 6u);
  EXPECT_TRUE(seen<AddLun>().back().announce);
  ASSERT_TRUE(stop());
  apply({disk(0)});
  settle();
  EXPECT_EQ(seen<RemoveLun>().size(), 6u) << "one that is closed was told to go";
}

}  // namespace
}  // namespace itgtd::target
