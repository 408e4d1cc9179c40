#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "target/lu_store.h"

namespace itgtd::target {
namespace {

namespace fs = std::filesystem;
using Value = LuStore::Value;

Value value_of(std::string_view text) {
  const ConstBytes bytes = as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

class FileLuStoreTest : public ::testing::Test {
 protected:
  FileLuStoreTest() {
    std::string name = (fs::temp_directory_path() / "lu_store_XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    directory_ = root_ / "state";
  }
  ~FileLuStoreTest() override {
    std::error_code ignored;
    fs::permissions(directory_ / "units", fs::perms::owner_all, ignored);
    fs::remove_all(root_, ignored);
  }

  static Result<void> save(LuStore& store, std::string_view name, const Value& value) {
    std::optional<Result<void>> outcome;
    store.save(name, value, [&](Result<void> result) { outcome = std::move(result); });
    EXPECT_TRUE(outcome) << "files are done at once";
    return *outcome;
  }
  /// As a daemon that has just begun finds it.
  Result<std::optional<Value>> load(std::string_view name) {
    return FileLuStore(directory_.string()).load(name);
  }
  [[nodiscard]] fs::path file(const std::string& name) const {
    return directory_ / "units" / (name + ".state");
  }
  static std::string read_file(const fs::path& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  static void write_file(const fs::path& path, std::string_view bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }

  fs::path root_;
  fs::path directory_;
};

TEST_F(FileLuStoreTest, NothingWasEverSaved) {
  const auto loaded = load("6001405aaaaaaa0");
  ASSERT_TRUE(loaded.ok());
  EXPECT_FALSE(loaded.value());
  EXPECT_FALSE(fs::exists(directory_)) << "looking makes nothing";
}

TEST_F(FileLuStoreTest, SavesAndLoads) {
  FileLuStore store(directory_.string() + "/");
  for (const char* text : {"one", "", "three, which is longer", "4", "five"}) {
    ASSERT_TRUE(save(store, "a1", value_of(text)).ok());
    EXPECT_EQ(load("a1").value(), value_of(text));
    EXPECT_EQ(store.load("a1").value(), value_of(text));
  }
  ASSERT_TRUE(save(store, "b2", value_of("other")).ok());
  EXPECT_EQ(load("a1").value(), value_of("five"));
  EXPECT_EQ(load("b2").value(), value_of("other"));
  EXPECT_EQ(fs::status(file("a1")).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_ / "units"), {}), 2) << "no drafts are left";
}

TEST_F(FileLuStoreTest, AnotherDaemonGoesOn) {
  for (int i = 0; i < 5; ++i) {
    FileLuStore store(directory_.string());
    ASSERT_TRUE(save(store, "a1", Value(static_cast<size_t>(i) * 1000, std::byte{7})).ok());
  }
  EXPECT_EQ(load("a1").value(), Value(4000, std::byte{7}));
}

TEST_F(FileLuStoreTest, TheLargestValueAndOneMore) {
  FileLuStore store(directory_.string());
  const Value largest(kSlotPayloadBytesMax, std::byte{1});
  ASSERT_TRUE(save(store, "a1", largest).ok());
  ASSERT_TRUE(save(store, "a1", largest).ok());
  EXPECT_EQ(save(store, "a1", Value(kSlotPayloadBytesMax + 1)).error().code, EFBIG);
  EXPECT_EQ(load("a1").value(), largest);
}

// A crash before the file had its name: a draft, whole or not, counts for nothing.
TEST_F(FileLuStoreTest, ADraftIsNoFile) {
  FileLuStore store(directory_.string());
  ASSERT_TRUE(save(store, "a1", value_of("one")).ok());
  const std::string whole = read_file(file("a1"));
  for (size_t length = 0; length <= whole.size(); ++length) {
    fs::remove(file("a1"));
    write_file(file("a1").string() + ".new", whole.substr(0, length));
    const auto loaded = load("a1");
    ASSERT_TRUE(loaded.ok());
    EXPECT_FALSE(loaded.value());
  }
  FileLuStore next(directory_.string());
  ASSERT_TRUE(save(next, "a1", value_of("two")).ok());
  EXPECT_EQ(load("a1").value(), value_of("two"));
}

// The file itself, cut or torn at every byte of a later save.
TEST_F(FileLuStoreTest, ACrashWithinASave) {
  FileLuStore store(directory_.string());
  ASSERT_TRUE(save(store, "a1", value_of("one")).ok());
  const std::string before = read_file(file("a1"));
  ASSERT_TRUE(save(store, "a1", value_of("the second")).ok());
  const std::string after = read_file(file("a1"));
  const size_t slot = kSlotStrideBytes;
  for (size_t length = slot; length < after.size(); ++length) {
    write_file(file("a1"), after.substr(0, length));
    EXPECT_EQ(load("a1").value(), value_of("one")) << length;
  }
  // What comes next goes over the torn slot, not over the good one.
  FileLuStore next(directory_.string());
  ASSERT_TRUE(save(next, "a1", value_of("the other second")).ok());
  EXPECT_EQ(load("a1").value(), value_of("the other second"));
  EXPECT_EQ(read_file(file("a1")).substr(0, before.size()), before);
}

TEST_F(FileLuStoreTest, WhatCanNotBeTrustedIsAnErrorAndStays) {
  FileLuStore store(directory_.string());
  ASSERT_TRUE(save(store, "a1", value_of("one")).ok());
  std::string bytes = read_file(file("a1"));
  bytes.back() = 'X';
  for (const std::string& damaged : {bytes, std::string(), std::string(100, '\0'), std::string("rubbish")}) {
    write_file(file("a1"), damaged);
    const auto loaded = load("a1");
    ASSERT_FALSE(loaded.ok());
    EXPECT_NE(loaded.error().message.find(file("a1").string()), std::string::npos);
    FileLuStore fresh(directory_.string());
    EXPECT_FALSE(save(fresh, "a1", value_of("new")).ok());
    EXPECT_EQ(read_file(file("a1")), damaged);
  }
}

TEST_F(FileLuStoreTest, NamesThatAreNone) {
  FileLuStore store(directory_.string());
  for (const char* name : {"", "..", "a/b", "A1", "a.b", "a b"}) {
    EXPECT_EQ(load(name).error().code, EINVAL) << name;
    EXPECT_EQ(save(store, name, {}).error().code, EINVAL) << name;
  }
  EXPECT_FALSE(load(std::string(65, 'a')).ok());
}

TEST_F(FileLuStoreTest, ADirectoryThatIsNone) {
  write_file(root_ / "file", "");
  FileLuStore store((root_ / "file").string());
  EXPECT_FALSE(store.load("a1").ok());
  EXPECT_FALSE(save(store, "a1", value_of("one")).ok());
  FileLuStore deep((root_ / "no" / "such").string());
  EXPECT_EQ(save(deep, "a1", value_of("one")).error().code, ENOENT);
}

// A save that failed has destroyed nothing, and the next one succeeds.
TEST_F(FileLuStoreTest, AfterAnError) {
  FileLuStore store(directory_.string());
  ASSERT_TRUE(save(store, "a1", value_of("one")).ok());
  fs::rename(file("a1"), root_ / "away");
  EXPECT_FALSE(save(store, "a1", value_of("two")).ok());
  fs::rename(root_ / "away", file("a1"));
  EXPECT_EQ(load("a1").value(), value_of("one"));
  ASSERT_TRUE(save(store, "a1", value_of("three")).ok());
  EXPECT_EQ(load("a1").value(), value_of("three"));
}

}  // namespace
}  // namespace itgtd::target
