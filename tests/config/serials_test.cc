#include "target/config/serials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>

#include "base/random.h"
#include "target/config/syntax.h"
#include "tests/config/fixture.h"

namespace itgtd::config {
namespace {

using testing::HasSubstr;

class SerialStore : public testing::Test {
 protected:
  /// Bytes that count up, so that each serial is known.
  RandomSource counting() {
    return [this](Bytes to) {
      std::fill(to.begin(), to.end(), std::byte{next_++});
      draws_++;
    };
  }
  LunConfig& add(const std::string& target, uint16_t id, const std::string& path,
                 const std::string& serial = "") {
    auto found = std::find_if(config_.targets.begin(), config_.targets.end(),
                              [&](const TargetConfig& one) { return one.name == target; });
    if (found == config_.targets.end()) {
      found = config_.targets.insert(found, TargetConfig());
      found->name = target;
    }
    LunConfig& lun = found->luns.emplace_back();
    lun.id = id;
    lun.path = path;
    lun.serial = serial;
    return lun;
  }
  Result<void> fill() { return fill_serials(config_, counting()); }
  /// As after a restart: what was made is forgotten, what is in the file is not.
  void restart() { config_.targets.clear(); }
  std::string file() const { return read_text(serials_path(config_.daemon.state_dir)); }

  SerialStore() { config_.daemon.state_dir = directory_.path() + "/state/deep"; }

  TemporaryDirectory directory_;
  Config config_;
  uint8_t next_ = 1;
  int draws_ = 0;
};

TEST_F(SerialStore, AMadeSerialSurvives) {
  add("t", 0, "/dev/a");
  ASSERT_TRUE(fill().ok());
  EXPECT_EQ(config_.targets[0].luns[0].serial, "0101010101010101");
  restart();
  add("t", 0, "/dev/a");
  ASSERT_TRUE(fill().ok());
  EXPECT_EQ(config_.targets[0].luns[0].serial, "0101010101010101");
  EXPECT_EQ(draws_, 1);
}

TEST_F(SerialStore, ASerialBelongsToTheDisk) {
  add("t", 0, "/dev/a");
  ASSERT_TRUE(fill().ok());
  restart();
  add("t", 0, "/dev/b");  // in front of the other
  add("u", 1, "/dev/a");  // and that one in another target
  ASSERT_TRUE(fill().ok());
  EXPECT_EQ(config_.targets[0].luns[0].serial, "0202020202020202");
  EXPECT_EQ(config_.targets[1].luns[0].serial, "0101010101010101");
}

TEST_F(SerialStore, ADiskThatComesBackIsTheSame) {
  add("t", 0, "/dev/a");
  ASSERT_TRUE(fill().ok());
  restart();
  add("t", 0, "/dev/b");
  ASSERT_TRUE(fill().ok());
  restart();
  add("t", 0, "/dev/a");
  ASSERT_TRUE(fill().ok());
  EXPECT_EQ(config_.targets[0].luns[0].serial, "0101010101010101");
}

TEST_F(SerialStore, MemoryDisksAreKeptByTheirNumbers) {
  add("t", 0, "ram:1G");
  add("t", 1, "ram:1G");
  add("u", 0, "ram:1G");
  ASSERT_TRUE(fill().ok());
  const Config before = config_;
  std::set<std::string> serials;
  for (const TargetConfig& target : config_.targets) {
    for (const LunConfig& lun : target.luns) serials.insert(lun.serial);
  }
  EXPECT_EQ(serials.size(), 3u);
  restart();
  add("t", 0, "ram:2G");
  add("t", 1, "ram:1G");
  add("u", 0, "ram:1G");
  ASSERT_TRUE(fill().ok());
  EXPECT_EQ(config_.targets[0].luns[0].serial, before.targets[0].luns[0].serial);
  EXPECT_EQ(config_.targets[1].luns[0].serial, before.targets[1].luns[0].serial);
}

TEST_F(SerialStore, AWrittenSerialIsLeftAlone) {
  add("t", 0, "/dev/a", "mine-a");
  ASSERT_TRUE(fill().ok());
  EXPECT_EQ(config_.targets[0].luns[0].serial, "mine-a");
  EXPECT_EQ(draws_, 0);
  EXPECT_FALSE(std::filesystem::exists(config_.daemon.state_dir)) << "nothing to keep, nothing to write";
}

TEST_F(SerialStore, AMadeSerialIsNoOthers) {
  add("t", 0, "/dev/a", "0101010101010101");
  add("t", 1, "/dev/b");
  ASSERT_TRUE(fill().ok());
  EXPECT_EQ(config_.targets[0].luns[1].serial, "0202020202020202");
}

TEST_F(SerialStore, AMadeSerialWrittenForAnotherDiskIsAnError) {
  add("t", 0, "/dev/a");
  ASSERT_TRUE(fill().ok());
  restart();
  add("t", 0, "/dev/a");
  add("t", 1, "/dev/b", "0101010101010101");
  const auto filled = fill();
  ASSERT_FALSE(filled.ok());
  EXPECT_THAT(filled.error().message, HasSubstr("0101010101010101"));
}

TEST_F(SerialStore, RandomnessThatRepeatsIsAnError) {
  add("t", 0, "/dev/a");
  add("t", 1, "/dev/b");
  const auto filled = fill_serials(config_, [](Bytes to) { std::fill(to.begin(), to.end(), std::byte{7}); });
  ASSERT_FALSE(filled.ok());
  EXPECT_THAT(filled.error().message, HasSubstr("repeat"));
  EXPECT_FALSE(std::filesystem::exists(config_.daemon.state_dir));
}

TEST_F(SerialStore, ACrashWhileWritingLeavesTheOldFile) {
  add("t", 0, "/dev/a");
  ASSERT_TRUE(fill().ok());
  const std::string before = file();
  // What a crash in the middle leaves: half of the next file beside the old one.
  std::ofstream(serials_path(config_.daemon.state_dir) + ".new") << "itgtd serials 1\n0101";
  restart();
  add("t", 0, "/dev/a");
  add("t", 1, "/dev/b");
  ASSERT_TRUE(fill().ok());
  EXPECT_EQ(config_.targets[0].luns[0].serial, "0101010101010101");
  EXPECT_EQ(file(), before + "0202020202020202 /dev/b\n");
  EXPECT_FALSE(std::filesystem::exists(serials_path(config_.daemon.state_dir) + ".new"));
}

TEST_F(SerialStore, AWriteThatFailsLeavesTheOldFile) {
  add("t", 0, "/dev/a");
  ASSERT_TRUE(fill().ok());
  const std::string before = file();
  std::filesystem::create_directory(serials_path(config_.daemon.state_dir) + ".new");
  add("t", 1, "/dev/b");
  const auto filled = fill();
  ASSERT_FALSE(filled.ok());
  EXPECT_THAT(filled.error().to_string(), HasSubstr("can't create"));
  EXPECT_EQ(file(), before);
}

TEST_F(SerialStore, AStateDirThatCantBeIsAnError) {
  directory_.write("file", "");
  config_.daemon.state_dir = directory_.path() + "/file/below";
  add("t", 0, "/dev/a");
  EXPECT_FALSE(fill().ok());
}

TEST_F(SerialStore, ADamagedFileIsAnErrorAndStays) {
  std::filesystem::create_directories(config_.daemon.state_dir);
  add("t", 0, "/dev/a");
  const std::string path = serials_path(config_.daemon.state_dir);
  for (const std::string text :
       {"x", "itgtd serials 2\n", "itgtd serials 1", "itgtd serials 1\n\n",
        "itgtd serials 1\n0101010101010101 /dev/a", "itgtd serials 1\n0101010101010101\n",
        "itgtd serials 1\n0101010101010101 \n", "itgtd serials 1\nx /dev/a\n",
        "itgtd serials 1\n010101010101010G /dev/a\n",
        "itgtd serials 1\n0101010101010101 /dev/a\n0202020202020202 /dev/a\n", "0101010101010101 /dev/a\n"}) {
    std::ofstream(path, std::ios::trunc) << text;
    const auto filled = fill();
    ASSERT_FALSE(filled.ok()) << text;
    EXPECT_THAT(filled.error().message, HasSubstr("damaged")) << text;
    EXPECT_EQ(read_text(path), text);
  }
}

TEST_F(SerialStore, AFileWithoutEndIsAnError) {
  std::filesystem::create_directories(config_.daemon.state_dir);
  ASSERT_EQ(symlink("/dev/zero", serials_path(config_.daemon.state_dir).c_str()), 0);
  add("t", 0, "/dev/a");
  EXPECT_FALSE(fill().ok());
}

TEST(Random, DrawsDiffer) {
  std::array<std::byte, 32> a{};
  std::array<std::byte, 32> b{};
  random_bytes(a);
  random_bytes(b);
  EXPECT_NE(a, b);
}

}  // namespace
}  // namespace itgtd::config
