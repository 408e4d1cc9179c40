#include "target/control/event_loop.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

namespace itgtd::control {

namespace asio = boost::asio;

struct EventLoop::Impl {
  struct Watch {
    Watch(asio::io_context& io, int fd, std::function<void()> action)
        : descriptor(io, fd), on_readable(std::move(action)) {}
    ~Watch() { descriptor.release(); }  // the descriptor is the caller's
    asio::posix::stream_descriptor descriptor;
    std::function<void()> on_readable;
  };

  asio::io_context io;
  std::vector<std::unique_ptr<Watch>> watches;
  std::vector<std::unique_ptr<asio::signal_set>> signal_sets;

  void wait(Watch& watch) {
    watch.descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                [this, &watch](const boost::system::error_code& error) {
                                  if (error) return;
                                  watch.on_readable();
                                  wait(watch);
                                });
  }
  void wait(asio::signal_set& signals, const std::function<void(int)>& on_signal) {
    signals.async_wait([this, &signals, on_signal](const boost::system::error_code& error, int number) {
      if (error) return;
      on_signal(number);
      wait(signals, on_signal);
    });
  }
};

EventLoop::EventLoop() : impl_(std::make_unique<Impl>()) {}
EventLoop::~EventLoop() = default;

void EventLoop::watch(int fd, std::function<void()> on_readable) {
  impl_->wait(
      *impl_->watches.emplace_back(std::make_unique<Impl::Watch>(impl_->io, fd, std::move(on_readable))));
}

void EventLoop::on_signals(const std::vector<int>& signals, std::function<void(int)> on_signal) {
  auto& set = *impl_->signal_sets.emplace_back(std::make_unique<asio::signal_set>(impl_->io));
  for (const int number : signals) set.add(number);
  impl_->wait(set, on_signal);
}

void EventLoop::after(std::chrono::milliseconds delay, std::function<void()> action) {
  auto timer = std::make_shared<asio::steady_timer>(impl_->io, delay);
  // The timer lives in its own handler: owned by nobody else, it goes when it has fired or the loop ends.
  timer->async_wait([timer, action = std::move(action)](const boost::system::error_code& error) {
    if (!error) action();
  });
}

void EventLoop::run() {
  impl_->io.run();
  impl_->io.restart();
}
void EventLoop::stop() {
  impl_->io.stop();
}

}  // namespace itgtd::control
