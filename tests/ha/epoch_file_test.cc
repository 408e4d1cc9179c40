#include "ha/epoch_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace itgtd::ha {
namespace {

class EpochFileTest : public ::testing::Test {
 protected:
  EpochFileTest() { std::filesystem::remove(path_); }
  ~EpochFileTest() override { std::filesystem::remove(path_); }
  [[nodiscard]] std::string text() const {
    std::ifstream file(path_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write(const std::string& text) const { std::ofstream(path_) << text; }

  std::string path_ = testing::TempDir() + "epoch-" + std::to_string(::getpid());
};

TEST_F(EpochFileTest, TheBoundIsAboveEveryEpochAfterARestart) {
  for (const Epoch epoch : {Epoch{1}, Epoch{0xFFFF}, Epoch{0x10000}, Epoch{0x90040}, Epoch{1} << 60}) {
    EpochFile file(path_);
    ASSERT_TRUE(file.load());
    ASSERT_TRUE(file.note(epoch));
    EpochFile next(path_);
    EXPECT_GT(next.load().value(), epoch);
  }
}

TEST_F(EpochFileTest, ItNeverGoesDown) {
  EpochFile file(path_);
  ASSERT_TRUE(file.note(0x90040));
  const std::string before = text();
  ASSERT_TRUE(file.note(0x80000));
  EXPECT_EQ(text(), before);
}

TEST_F(EpochFileTest, EpochsOfOneRingCostOneWrite) {
  EpochFile file(path_);
  ASSERT_TRUE(file.note(0x90000));
  std::filesystem::remove(path_);
  ASSERT_TRUE(file.note(0x90040));
  EXPECT_FALSE(std::filesystem::exists(path_));
  ASSERT_TRUE(file.note(0xA0000));
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(EpochFileTest, WithoutAFileThereIsNoBound) {
  EXPECT_EQ(EpochFile(path_).load().value(), 0U);
}

TEST_F(EpochFileTest, ADamagedFileIsAnErrorThatSaysWhatToDo) {
  for (const char* bad :
       {"", "\n", "00000000000000000001", "0000000000000000000x\n", "99999999999999999999\n"}) {
    write(bad);
    const auto loaded = EpochFile(path_).load();
    ASSERT_FALSE(loaded) << bad;
    EXPECT_NE(loaded.error().message.find("remove it"), std::string::npos);
  }
}

TEST_F(EpochFileTest, WhatCantBeWrittenIsAnError) {
  EpochFile file("/nonexistent/epoch");
  EXPECT_FALSE(file.note(1));
}

}  // namespace
}  // namespace itgtd::ha
