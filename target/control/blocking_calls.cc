#include "target/control/blocking_calls.h"

#include <sys/eventfd.h>

#include <cerrno>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/descriptor.h"

namespace itgtd::control {

struct BlockingCalls::Shared {
  // None can be had only when there are no descriptors left at start: not a place to go on from.
  Shared() : wake_up(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { ITGTD_ASSERT(wake_up.ok()); }

  void post(std::function<void()> done) {
    const std::lock_guard lock(mutex);
    ended.push_back(std::move(done));
    ITGTD_ASSERT(::eventfd_write(wake_up.get(), 1) == 0);
  }
  std::vector<std::function<void()>> drain() {
    eventfd_t count = 0;
    const int cleared = ::eventfd_read(wake_up.get(), &count);
    ITGTD_ASSERT(cleared == 0 || errno == EAGAIN);
    const std::lock_guard lock(mutex);
    return std::exchange(ended, {});
  }

  const Descriptor wake_up;
  std::mutex mutex;
  std::vector<std::function<void()>> ended;
};

BlockingCalls::BlockingCalls(EventLoop& loop)
    : shared_(std::make_shared<Shared>()), watch_(loop.watch_readable(shared_->wake_up.get(), [this] {
        const auto shared = shared_;
        for (const std::function<void()>& done : shared->drain()) done();
      })) {}

BlockingCalls::~BlockingCalls() = default;

void BlockingCalls::run(std::function<void()> work, std::function<void()> done) {
  // What `work` owns is gone before `done` is called: a disk that it closed is closed.
  std::thread([shared = shared_, work = std::move(work), done = std::move(done)]() mutable {
    work();
    work = {};
    shared->post(std::move(done));
  }).detach();
}

}  // namespace itgtd::control
