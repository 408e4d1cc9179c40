#include "target/coordinator.h"

#include <gtest/gtest.h>

#include "tests/daemon/fake_workers.h"

namespace itgtd::target {
namespace {

TEST(Coordinator, GoesOnWhenTheLastWorkerHasTakenIt) {
  FakeWorkers workers(3);
  Coordinator coordinator(workers.mailboxes());
  int done = 0;
  const Key change = coordinator.broadcast(RemoveTarget{}, [&] { ++done; });
  for (WorkerIndex worker = 0; worker < 3; ++worker) {
    const auto messages = workers.take_all<RemoveTarget>(worker);
    ASSERT_EQ(messages.size(), 1u);
    EXPECT_EQ(messages[0].change, change);
    EXPECT_EQ(done, 0);
    coordinator.on_taken(change);
  }
  EXPECT_EQ(done, 1);
}

TEST(Coordinator, AnUnknownOrLateAnswerChangesNothing) {
  FakeWorkers workers(1);
  Coordinator coordinator(workers.mailboxes());
  int done = 0;
  const Key change = coordinator.broadcast(RemoveTarget{}, [&] { ++done; });
  coordinator.on_taken(change + 1);
  EXPECT_EQ(done, 0);
  coordinator.on_taken(change);
  coordinator.on_taken(change);
  EXPECT_EQ(done, 1);
}

TEST(Coordinator, ChangesEndInAnyOrder) {
  FakeWorkers workers(2);
  Coordinator coordinator(workers.mailboxes());
  std::vector<int> done;
  const Key first = coordinator.broadcast(RemoveTarget{}, [&] { done.push_back(1); });
  const Key second = coordinator.broadcast(RemoveTarget{}, [&] { done.push_back(2); });
  EXPECT_NE(first, second);
  coordinator.on_taken(first);
  coordinator.on_taken(second);
  coordinator.on_taken(second);
  coordinator.on_taken(first);
  EXPECT_EQ(done, (std::vector<int>{2, 1}));
}

TEST(Coordinator, WhatFollowsMayBroadcastAgain) {
  FakeWorkers workers(1);
  Coordinator coordinator(workers.mailboxes());
  Key second = 0;
  bool done = false;
  const Key first = coordinator.broadcast(
      RemoveTarget{}, [&] { second = coordinator.broadcast(RemoveTarget{}, [&] { done = true; }); });
  coordinator.on_taken(first);
  ASSERT_NE(second, 0u);
  coordinator.on_taken(second);
  EXPECT_TRUE(done);
}

TEST(Coordinator, TellsOneOrAll) {
  FakeWorkers workers(2);
  Coordinator coordinator(workers.mailboxes());
  coordinator.tell(1, Lift{5});
  EXPECT_TRUE(workers.take(0).empty());
  EXPECT_EQ(workers.take_all<Lift>(1).size(), 1u);
  coordinator.tell_all(Lift{6});
  EXPECT_EQ(workers.take_all<Lift>(0).size(), 1u);
  EXPECT_EQ(workers.take_all<Lift>(1).size(), 1u);
}

}  // namespace
}  // namespace itgtd::target
