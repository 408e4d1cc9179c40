#include "target/device_lu_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace itgtd::target {
namespace {

namespace fs = std::filesystem;
using Value = LuStore::Value;

constexpr uint64_t kMiB = uint64_t{1} << 20;

Value value_of(std::string_view text) {
  const ConstBytes bytes = as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

class StateDeviceTest : public ::testing::Test {
 protected:
  StateDeviceTest() {
    std::string name = (fs::temp_directory_path() / "device_XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    path_ = root_ / "disk";
    make(state_device_bytes(3));
  }
  ~StateDeviceTest() override { fs::remove_all(root_); }

  void make(uint64_t bytes) {
    std::ofstream(path_, std::ios::trunc).close();
    fs::resize_file(path_, bytes);
  }
  void poke(uint64_t offset, char byte) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
  }
  [[nodiscard]] StateDevice::Options options(ha::Epoch epoch = 5) const {
    return {path_.string(), "g", epoch, {}};
  }
  std::unique_ptr<StateDevice> device() {
    auto opened = StateDevice::open(options());
    EXPECT_TRUE(opened.ok()) << opened.error().to_string();
    return std::move(opened.value());
  }
  /// "ok" or why not.
  static std::string open(const StateDevice::Options& options) {
    const auto opened = StateDevice::open(options);
    return opened ? "ok" : opened.error().to_string();
  }
  std::string bytes_of_file() {
    std::ifstream stream(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  fs::path root_;
  fs::path path_;
};

TEST_F(StateDeviceTest, KeepsWhatWasSaved) {
  {
    const auto made = device();
    EXPECT_TRUE(made->values().empty());
    for (const char* text : {"one", "two", ""}) {
      ASSERT_TRUE(made->save("a1", as_bytes(text)).ok());
      EXPECT_EQ(device()->values().find("a1")->second, value_of(text));
    }
    ASSERT_TRUE(made->save("b2", as_bytes("other")).ok());
    ASSERT_TRUE(made->save("a1", Value(kStateDeviceValueBytesMax, std::byte{7})).ok());
    EXPECT_FALSE(made->save("a1", Value(kStateDeviceValueBytesMax + 1)).ok());
    EXPECT_FALSE(made->save("", Value(1)).ok());
  }
  const auto found = device();
  EXPECT_EQ(found->values().size(), 2u);
  EXPECT_EQ(found->values().find("a1")->second.size(), kStateDeviceValueBytesMax);
  EXPECT_EQ(found->values().find("b2")->second, value_of("other"));
}

TEST_F(StateDeviceTest, ForeignDataIsNeverOverwritten) {
  // ext4's superblock, something behind the first area's begin, and one in front of it.
  for (const uint64_t at : {uint64_t{1080}, kMiB, 3 * kMiB + 7, kMiB - 1}) {
    make(state_device_bytes(3));
    poke(at, 'x');
    const std::string before = bytes_of_file();
    const std::string said = open(options());
    EXPECT_NE(said.find("holds something else"), std::string::npos) << said;
    EXPECT_NE(said.find("fill it with zeros"), std::string::npos);
    EXPECT_EQ(bytes_of_file(), before);
  }
}

TEST_F(StateDeviceTest, OfAnotherGroupOrALaterEpoch) {
  ASSERT_TRUE(device()->save("a1", as_bytes("x")).ok());
  StateDevice::Options other = options();
  other.group = "h";
  EXPECT_NE(open(other).find("is that of group g"), std::string::npos);
  EXPECT_NE(open(options(4)).find("was written in epoch 5"), std::string::npos);
  EXPECT_EQ(open(options(6)), "ok");
}

TEST_F(StateDeviceTest, TooSmallSaysHowLargeItMustBe) {
  make(kMiB);
  EXPECT_NE(open(options()).find("at least " + std::to_string(3 * kMiB) + " bytes"), std::string::npos);
  make(state_device_bytes(2));
  StateDevice::Options three = options();
  three.units = {"a1", "b2", "c3"};
  EXPECT_NE(open(three).find("at least " + std::to_string(7 * kMiB) + " bytes"), std::string::npos);
  three.units.pop_back();
  EXPECT_EQ(open(three), "ok");
  const auto made = device();
  for (const char* unit : {"a1", "b2"}) ASSERT_TRUE(made->save(unit, as_bytes("x")).ok());
  EXPECT_NE(made->save("c3", as_bytes("x")).error().message.find("is full"), std::string::npos);
  three.units = {"a1", "c3"};
  EXPECT_NE(open(three).find("room for 2 logical units and 3 need it"), std::string::npos);
  EXPECT_NE(open({(root_ / "none").string(), "g", 5, {}}).find("cannot open"), std::string::npos);
}

TEST_F(StateDeviceTest, ATornWriteLeavesTheValueBefore) {
  {
    const auto made = device();
    for (const char* text : {"one", "two", "three"}) ASSERT_TRUE(made->save("a1", as_bytes(text)).ok());
  }
  // "one" is in both slots, "two" went to the first, "three" to the second.
  poke(2 * kMiB + 40, 'x');
  EXPECT_EQ(device()->values().find("a1")->second, value_of("two"));
  poke(kMiB + 40, 'x');
  EXPECT_NE(open(options()).find("can't be trusted at byte"), std::string::npos);
}

TEST_F(StateDeviceTest, AFirstSaveThatWasTornNeverWas) {
  ASSERT_TRUE(device()->save("a1", as_bytes("x")).ok());
  poke(3 * kMiB + 3, 'x');
  const auto found = device();
  EXPECT_EQ(found->values().size(), 1u);
  ASSERT_TRUE(found->save("b2", as_bytes("y")).ok());
  EXPECT_EQ(device()->values().find("b2")->second, value_of("y"));
}

TEST_F(StateDeviceTest, ADamagedSuperblock) {
  static_cast<void>(device());
  poke(20, 'x');
  EXPECT_NE(open(options()).find("its first block is damaged"), std::string::npos);
}

class DeviceLuStoreTest : public StateDeviceTest {
 protected:
  /// Runs the loop until `outcome` says something.
  void wait(const std::string& outcome) {
    for (int turns = 0; outcome.empty() && turns < 5000; ++turns) {
      loop_.after(std::chrono::milliseconds(1), [this] { loop_.stop(); });
      loop_.run();
    }
    EXPECT_FALSE(outcome.empty());
  }
  LuStore::SaveDone into(std::string& outcome) {
    return [&outcome](const Result<void>& result) { outcome = result ? "ok" : result.error().to_string(); };
  }
  std::string opened(ha::Epoch epoch = 5) {
    std::string outcome;
    store_->open(options(epoch), into(outcome));
    wait(outcome);
    return outcome;
  }
  void closed() {
    std::string outcome;
    store_->close([&] { outcome = "closed"; });
    wait(outcome);
  }

  control::EventLoop loop_;
  std::unique_ptr<DeviceLuStore> store_ = std::make_unique<DeviceLuStore>(loop_);
};

TEST_F(DeviceLuStoreTest, SavesInOrderAndLoadsWhatIsDurable) {
  EXPECT_FALSE(store_->load("a1").ok());
  EXPECT_EQ(opened(), "ok");
  EXPECT_FALSE(store_->load("a1").value());
  std::string first;
  std::string second;
  store_->save("a1", as_bytes("one"), into(first));
  store_->save("a1", as_bytes("two"), into(second));
  EXPECT_EQ(first + second, "") << "not on this thread";
  wait(second);
  EXPECT_EQ(first + second, "okok");
  EXPECT_EQ(store_->load("a1").value(), value_of("two"));
  closed();
  EXPECT_FALSE(store_->is_open());
  EXPECT_FALSE(store_->load("a1").ok());
  EXPECT_EQ(opened(6), "ok");
  EXPECT_EQ(store_->load("a1").value(), value_of("two"));
}

TEST_F(DeviceLuStoreTest, CloseEndsWhatWaits) {
  EXPECT_EQ(opened(), "ok");
  std::string first;
  std::string second;
  std::string after;
  store_->save("a1", as_bytes("one"), into(first));
  store_->save("b2", as_bytes("two"), into(second));
  closed();
  EXPECT_EQ(first, "ok");
  EXPECT_NE(second.find("stopped"), std::string::npos);
  store_->save("b2", as_bytes("two"), into(after));
  EXPECT_NE(after, "ok");
  closed();
}

TEST_F(DeviceLuStoreTest, IsClosedAwayFromThisThread) {
  EXPECT_EQ(opened(), "ok");
  std::string outcome;
  store_->close([&] { outcome = "closed"; });
  EXPECT_EQ(outcome, "") << "closing may block as well";
  EXPECT_TRUE(store_->is_open());
  EXPECT_NE(opened(), "ok");
  wait(outcome);
  EXPECT_EQ(outcome, "closed");
  EXPECT_FALSE(store_->is_open());
  EXPECT_EQ(opened(), "ok");
}

TEST_F(DeviceLuStoreTest, ClosedWhileItIsOpened) {
  std::string open_outcome;
  store_->open(options(), into(open_outcome));
  closed();
  EXPECT_NE(open_outcome, "ok");
  EXPECT_FALSE(store_->is_open());
  EXPECT_EQ(opened(), "ok");
}

TEST_F(DeviceLuStoreTest, GoneWhileItSaves) {
  EXPECT_EQ(opened(), "ok");
  std::string outcome;
  store_->save("a1", as_bytes("one"), into(outcome));
  store_.reset();
  loop_.after(std::chrono::milliseconds(50), [this] { loop_.stop(); });
  loop_.run();
  EXPECT_EQ(outcome, "");
}

}  // namespace
}  // namespace itgtd::target
