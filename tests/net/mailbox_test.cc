#include "net/mailbox.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <memory>
#include <thread>

namespace itgtd::net {
namespace {

bool readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

TEST(MailboxTest, PostMakesReadableAndDrainUnreadable) {
  auto wake_up = WakeUp::create();
  ASSERT_TRUE(wake_up.ok());
  Mailbox<int> box(std::move(*wake_up));
  EXPECT_FALSE(readable(box.fd()));
  EXPECT_TRUE(box.drain().empty());
  box.post(1);
  box.post(2);
  EXPECT_TRUE(readable(box.fd()));
  EXPECT_EQ(box.drain(), (std::vector<int>{1, 2}));
  EXPECT_FALSE(readable(box.fd()));
  box.post(3);
  EXPECT_TRUE(readable(box.fd()));
  EXPECT_EQ(box.drain(), std::vector<int>{3});
}

TEST(MailboxTest, CarriesWhatCanOnlyBeMoved) {
  auto wake_up = WakeUp::create();
  ASSERT_TRUE(wake_up.ok());
  Mailbox<std::unique_ptr<int>> box(std::move(*wake_up));
  box.post(std::make_unique<int>(5));
  auto got = box.drain();
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(*got[0], 5);
}

TEST(MailboxTest, NothingIsLostBetweenThreads) {
  constexpr int kPosters = 3;
  constexpr int kEach = 20'000;
  auto wake_up = WakeUp::create();
  ASSERT_TRUE(wake_up.ok());
  Mailbox<std::pair<int, int>> box(std::move(*wake_up));
  std::vector<std::thread> posters;
  for (int poster = 0; poster < kPosters; ++poster) {
    posters.emplace_back([&box, poster] {
      for (int i = 0; i < kEach; ++i) box.post({poster, i});
    });
  }
  std::vector<int> next(kPosters, 0);
  int total = 0;
  while (total < kPosters * kEach) {
    pollfd entry{box.fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&entry, 1, 5000), 1) << "a wake-up was lost";
    for (const auto& [poster, number] : box.drain()) {
      ASSERT_EQ(number, next[static_cast<size_t>(poster)]++);
      ++total;
    }
  }
  for (auto& poster : posters) poster.join();
}

TEST(WakeUpTest, MoveLeavesOneOwner) {
  auto made = WakeUp::create();
  ASSERT_TRUE(made.ok());
  const int fd = made->fd();
  WakeUp second(std::move(*made));
  EXPECT_EQ(second.fd(), fd);
  auto third = WakeUp::create();
  ASSERT_TRUE(third.ok());
  *third = std::move(second);
  EXPECT_EQ(third->fd(), fd);
  third->signal();
  EXPECT_TRUE(readable(fd));
}

}  // namespace
}  // namespace itgtd::net
