// A network namespace that the test program makes for itself, so that nothing on the machine is touched.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>

#include "base/clock.h"
#include "base/descriptor.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

/// The namespace of the thread.
inline Descriptor present_namespace() {
  return Descriptor(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

/// Each test runs in a new, empty network namespace; skipped by name where that is not allowed.
class NetworkNamespaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "needs CAP_SYS_ADMIN for a network namespace";
    if (std::system("ip -Version >/dev/null 2>&1") != 0) GTEST_SKIP() << "needs iproute2";
    if (!succeeds("ip link add p0 type veth peer name p1 && ip link del p0")) GTEST_SKIP() << "needs veth";
    if (!succeeds("test -e /proc/self/net/if_inet6")) GTEST_SKIP() << "needs a kernel with IPv6";
    sh("ip link set lo up");
  }
  void TearDown() override { EXPECT_EQ(::setns(before_.get(), CLONE_NEWNET), 0); }

  static void sh(const std::string& command) { EXPECT_EQ(std::system(command.c_str()), 0) << command; }
  static bool succeeds(const std::string& command) {
    return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
  }
  /// Two ends of a cable, both up.
  static void cable(const std::string& one, const std::string& other) {
    sh(fmt::format("ip link add {0} type veth peer name {1} && ip link set {0} up && ip link set {1} up", one,
                   other));
  }
  /// Runs the loop until `done` or for `most`; whether it was done.
  bool run_until(const std::function<bool()>& done,
                 std::chrono::milliseconds most = std::chrono::seconds(4)) {
    const Instant end = now() + most;
    const std::function<void()> look = [&] {
      if (done() || now() >= end) return loop.stop();
      tick_ = loop.timer(std::chrono::milliseconds(1), look);
    };
    tick_ = loop.timer(std::chrono::milliseconds(0), look);
    loop.run();
    return done();
  }
  void run_for(std::chrono::milliseconds time) {
    (void)run_until([] { return false; }, time);
  }

  control::EventLoop loop;

 private:
  Descriptor before_ = present_namespace();
  control::Subscription tick_;
};

}  // namespace itgtd::ha
