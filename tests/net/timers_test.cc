#include "net/timers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

namespace itgtd::net {
namespace {

using namespace std::chrono_literals;

constexpr Instant kStart{};

TEST(TimersTest, EmptyHasNoDeadline) {
  Timers timers(4);
  EXPECT_EQ(timers.next_deadline(), Instant::max());
  EXPECT_EQ(timers.pop_expired(Instant::max()), nullptr);
}

TEST(TimersTest, ExpiresAtItsDeadlineAndNotBefore) {
  Timers timers(4);
  Timer timer;
  timers.arm(timer, kStart + 10s);
  EXPECT_TRUE(timer.armed());
  EXPECT_EQ(timers.next_deadline(), kStart + 10s);
  EXPECT_EQ(timers.pop_expired(kStart + 10s - 1ns), nullptr);
  EXPECT_EQ(timers.pop_expired(kStart + 10s), &timer);
  EXPECT_FALSE(timer.armed());
  EXPECT_EQ(timers.pop_expired(kStart + 20s), nullptr);
}

TEST(TimersTest, RearmMovesBothWays) {
  Timers timers(4);
  Timer a;
  Timer b;
  timers.arm(a, kStart + 10s);
  timers.arm(b, kStart + 20s);
  timers.arm(a, kStart + 30s);
  EXPECT_EQ(timers.next_deadline(), kStart + 20s);
  timers.arm(a, kStart + 5s);
  EXPECT_EQ(timers.next_deadline(), kStart + 5s);
  timers.disarm(a);
  timers.disarm(a);  // idle already: no effect
  EXPECT_EQ(timers.pop_expired(kStart + 99s), &b);
}

TEST(TimersTest, AgreesWithASortedModel) {
  constexpr uint32_t kCount = 200;
  Timers timers(kCount);
  std::vector<std::unique_ptr<Timer>> all;
  for (uint32_t i = 0; i < kCount; ++i) all.push_back(std::make_unique<Timer>());
  std::vector<Timer*> armed;
  std::mt19937 random(42);
  for (int step = 0; step < 20'000; ++step) {
    Timer* timer = all[random() % kCount].get();
    const Instant instant = kStart + std::chrono::milliseconds(random() % 1000);
    const auto drop = [&](Timer* gone) {
      armed.erase(std::remove(armed.begin(), armed.end(), gone), armed.end());
    };
    switch (random() % 4) {
      case 0:
      case 1:
        drop(timer);
        timers.arm(*timer, instant);
        armed.push_back(timer);
        break;
      case 2:
        timers.disarm(*timer);
        drop(timer);
        break;
      default:
        if (Timer* expired = timers.pop_expired(instant); expired != nullptr) {
          EXPECT_LE(expired->deadline(), instant);
          drop(expired);
        }
    }
    Instant earliest = Instant::max();
    for (const Timer* it : armed) earliest = std::min(earliest, it->deadline());
    ASSERT_EQ(timers.next_deadline(), earliest);
  }
}

TEST(TimersDeathTest, MoreThanCapacityIsABug) {
  Timers timers(1);
  Timer a;
  Timer b;
  timers.arm(a, kStart);
  EXPECT_DEATH(timers.arm(b, kStart), "assertion failed");
}

}  // namespace
}  // namespace itgtd::net
