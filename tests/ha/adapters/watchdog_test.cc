#include "ha/adapters/watchdog.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/clock.h"

namespace itgtd::ha {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

TEST(ServiceWatchdogTest, Timeout) {
  EXPECT_EQ(service_watchdog_timeout("5000000", "77", 77), microseconds(5000000));
  EXPECT_EQ(service_watchdog_timeout("5000000", "", 77), microseconds(5000000));
  EXPECT_FALSE(service_watchdog_timeout("5000000", "78", 77).has_value()) << "meant for another process";
  EXPECT_FALSE(service_watchdog_timeout("5000000", "x", 77).has_value());
  for (const char* usec : {"", "0", "-1", "5s", "99999999999999999999"})
    EXPECT_FALSE(service_watchdog_timeout(usec, "", 77).has_value()) << usec;
}

TEST(ServiceWatchdogTest, AliveOnlyWhileTheLoopTurns) {
  control::EventLoop loop;
  int beats = 0;
  const ServiceWatchdog watchdog(loop, milliseconds(40), [&] { ++beats; });
  EXPECT_EQ(beats, 0);
  auto end = loop.timer(milliseconds(210), [&] { loop.stop(); });
  loop.run();
  EXPECT_GE(beats, 3);
  EXPECT_LE(beats, 12);
  // A callback that hangs for several intervals: none while it does, and none to make up for it.
  int before = 0;
  auto hang = loop.timer(milliseconds(30), [&] {
    before = beats;
    const Instant until = now() + milliseconds(150);
    while (now() < until) {
    }
    EXPECT_EQ(beats, before);
    loop.stop();
  });
  loop.run();
  EXPECT_LE(beats, before + 1);
}

}  // namespace
}  // namespace itgtd::ha
