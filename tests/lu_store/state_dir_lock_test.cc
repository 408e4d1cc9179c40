#include "target/state_dir_lock.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

namespace itgtd::target {
namespace {

namespace fs = std::filesystem;

TEST(StateDirLock, OneAtATime) {
  std::string name = (fs::temp_directory_path() / "lock_XXXXXX").string();
  const fs::path root = ::mkdtemp(name.data());
  const std::string directory = root / "state";
  {
    auto first = StateDirLock::take(directory);
    ASSERT_TRUE(first.ok()) << first.error().to_string();
    const auto second = StateDirLock::take(directory);
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.error().to_string(), "another itgtd (process " + std::to_string(::getpid()) +
                                              ") uses \"" + directory +
                                              "\"; stop it, or give this one a state_dir of its own");
    // Moved, it is held on.
    const StateDirLock moved = std::move(first.value());
    EXPECT_FALSE(StateDirLock::take(directory).ok());
  }
  EXPECT_TRUE(StateDirLock::take(directory).ok()) << "whoever comes later";
  const auto nowhere = StateDirLock::take((root / "no" / "such").string());
  ASSERT_FALSE(nowhere.ok());
  EXPECT_NE(nowhere.error().message.find("cannot make directory"), std::string::npos);
  fs::remove_all(root);
}

}  // namespace
}  // namespace itgtd::target
