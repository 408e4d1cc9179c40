#include "target/blocking_calls.h"

#include <thread>

#include "net/mailbox.h"

namespace itgtd::target {

struct BlockingCalls::Shared {
  explicit Shared(net::WakeUp wake_up) : ended(std::move(wake_up)) {}
  net::Mailbox<std::function<void()>> ended;
};

BlockingCalls::BlockingCalls(control::EventLoop& loop)
    // An eventfd can't be had only when there are no descriptors left at start: not a place to go on from.
    : shared_(std::make_shared<Shared>(std::move(net::WakeUp::create().value()))),
      watch_(loop.watch_readable(shared_->ended.fd(), [this] {
        const auto shared = shared_;
        for (const std::function<void()>& done : shared->ended.drain()) done();
      })) {}

BlockingCalls::~BlockingCalls() = default;

void BlockingCalls::run(std::function<void()> work, std::function<void()> done) {
  // What `work` owns is gone before `done` is called: a disk that it closed is closed.
  std::thread([shared = shared_, work = std::move(work), done = std::move(done)]() mutable {
    work();
    work = {};
    shared->ended.post(std::move(done));
  }).detach();
}

}  // namespace itgtd::target
