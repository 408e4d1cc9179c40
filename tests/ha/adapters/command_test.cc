#include "ha/adapters/command.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "base/descriptor.h"
#include "ha/adapters/child_process.h"

namespace itgtd::ha {
namespace {

using std::chrono::milliseconds;

class CommandTest : public ::testing::Test {
 protected:
  /// Runs the loop until stop() or the limit.
  void turn(milliseconds limit = milliseconds(10000)) {
    auto timer = loop_.timer(limit, [this] { loop_.stop(); });
    loop_.run();
  }
  CommandResult run(const std::vector<std::string>& arguments, milliseconds deadline = milliseconds(8000)) {
    std::optional<CommandResult> result;
    Command command(loop_, arguments, deadline, [&](const CommandResult& ended) {
      result = ended;
      loop_.stop();
    });
    EXPECT_FALSE(result.has_value()) << "done was called by the constructor";
    turn();
    EXPECT_TRUE(result.has_value());
    return result.value_or(CommandResult{});
  }
  CommandResult shell(const std::string& script, milliseconds deadline = milliseconds(8000)) {
    return run({"/bin/sh", "-c", script}, deadline);
  }
  /// Turns the loop until this process has no children any more; false: it still has after two seconds.
  bool no_children_left() {
    for (int i = 0; i < 200; ++i) {
      if (::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD) return true;
      turn(milliseconds(10));
    }
    return false;
  }
  control::EventLoop loop_;
};

TEST_F(CommandTest, ExitStatusAndOutput) {
  const CommandResult result = shell("echo out; echo err >&2; exit 17");
  EXPECT_EQ(result.status, 17);
  EXPECT_EQ(result.out, "out\n");
  EXPECT_EQ(result.err, "err\n");
  EXPECT_FALSE(result.timed_out);
}

TEST_F(CommandTest, IsSearchedInPath) {
  EXPECT_EQ(run({"true"}).status, 0);
}

TEST_F(CommandTest, NotFound) {
  const CommandResult result = run({"no-such-program-of-itgtd", "x"});
  EXPECT_EQ(result.status, 127);
  EXPECT_EQ(result.err, "can't run no-such-program-of-itgtd: No such file or directory");
}

TEST_F(CommandTest, EndedByASignal) {
  EXPECT_EQ(shell("kill -TERM $$").status, -1);
}

TEST_F(CommandTest, KilledAtTheDeadlineWithItsChildren) {
  // The grandchild would hold the pipe for a minute, and is in the group.
  const CommandResult result = shell("echo begun; sleep 60 & sleep 60", milliseconds(100));
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.status, -1);
  EXPECT_EQ(result.out, "begun\n");
  EXPECT_TRUE(no_children_left());
}

TEST_F(CommandTest, ChildrenThatHoldTheOutputDoNotDelayIt) {
  const CommandResult result = shell("(trap '' TERM; sleep 3) & echo done", milliseconds(2000));
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.out, "done\n");
}

TEST_F(CommandTest, OutputIsLimited) {
  const CommandResult result = shell("head -c 3000000 /dev/zero");
  EXPECT_EQ(result.status, 0) << "the rest is read and dropped";
  EXPECT_EQ(result.out.size(), size_t{1} << 20);
}

TEST_F(CommandTest, StandardInputIsEmpty) {
  EXPECT_EQ(shell("cat").out, "");
}

TEST_F(CommandTest, DestroyedEarlyItIsKilledAndReaped) {
  {
    Command command(loop_, {"/bin/sh", "-c", "sleep 60"}, milliseconds(60000),
                    [](const CommandResult&) { ADD_FAILURE() << "done called"; });
    turn(milliseconds(20));
  }
  EXPECT_TRUE(no_children_left());
}

TEST_F(CommandTest, MayBeDestroyedInDone) {
  std::unique_ptr<Command> command;
  bool called = false;
  command = std::make_unique<Command>(loop_, std::vector<std::string>{"/bin/sh", "-c", "echo x"},
                                      milliseconds(8000), [&](const CommandResult& result) {
                                        command.reset();
                                        called = result.out == "x\n";
                                        loop_.stop();
                                      });
  turn();
  EXPECT_TRUE(called);
  EXPECT_TRUE(no_children_left());
}

TEST_F(CommandTest, NoZombieIsLeft) {
  for (int i = 0; i < 20; ++i) EXPECT_EQ(shell("exit 3").status, 3);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST_F(CommandTest, DescriptorsDoNotLeakIntoChildren) {
  const Descriptor leak(::open("/dev/null", O_RDONLY));  // without O_CLOEXEC
  ASSERT_TRUE(leak.ok());
  // ls itself opens the folder that it lists, as 3.
  EXPECT_EQ(run({"ls", "/proc/self/fd"}).out, "0\n1\n2\n3\n");
}

size_t open_descriptors() {
  size_t count = 0;
  DIR* folder = ::opendir("/proc/self/fd");
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

TEST_F(CommandTest, DescriptorsDoNotLeakHere) {
  EXPECT_EQ(shell("true").status, 0);  // what the loop opens once
  const size_t before = open_descriptors();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(shell("true").status, 0);
    EXPECT_EQ(run({"no-such-program-of-itgtd"}).status, 127);
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(CommandTest, OutputComesAsItIsWritten) {
  std::string seen;
  bool exited = false;
  auto child = ChildProcess::start(loop_, {"/bin/sh", "-c", "echo one; sleep 60"},
                                   {.on_output =
                                        [&](std::string_view text) {
                                          seen += text;
                                          loop_.stop();
                                        },
                                    .on_error = {},
                                    .on_exit =
                                        [&](const ExitStatus& exit) {
                                          exited = exit.signal == SIGKILL && exit.status == -1;
                                          loop_.stop();
                                        }});
  ASSERT_TRUE(child.ok());
  turn();
  EXPECT_EQ(seen, "one\n");
  (*child)->kill();
  turn();
  EXPECT_TRUE(exited);
}

TEST_F(CommandTest, MayBeDestroyedWhileItsOutputIsRead) {
  std::unique_ptr<ChildProcess> child;
  int pieces = 0;
  auto started = ChildProcess::start(loop_, {"/bin/sh", "-c", "yes | head -c 100000"},
                                     {.on_output =
                                          [&](std::string_view) {
                                            ++pieces;
                                            child.reset();
                                          },
                                      .on_error = {},
                                      .on_exit = [](const ExitStatus&) { ADD_FAILURE() << "on_exit"; }});
  ASSERT_TRUE(started.ok());
  child = std::move(*started);
  EXPECT_TRUE(no_children_left());
  EXPECT_EQ(pieces, 1);
}

}  // namespace
}  // namespace itgtd::ha
