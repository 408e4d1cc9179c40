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

/// What a subscription and the loop's operation share.
struct Subscription::Impl {
  explicit Impl(asio::io_context& io) : timer(io), descriptor(io) {}
  ~Impl() {
    if (descriptor.is_open()) descriptor.release();  // the descriptor is the caller's
  }
  asio::steady_timer timer;
  asio::posix::stream_descriptor descriptor;
  std::function<void()> action;
  bool cancelled = false;

  static void wait(const std::shared_ptr<Impl>& impl, asio::posix::stream_descriptor::wait_type type) {
    impl->descriptor.async_wait(type, [impl, type](const boost::system::error_code& error) {
      if (error || impl->cancelled) return;
      const std::function<void()> action = impl->action;  // it may end the subscription that holds it
      action();
      if (!impl->cancelled) wait(impl, type);
    });
  }
  static Subscription watch(asio::io_context& io, int fd, asio::posix::stream_descriptor::wait_type type,
                            std::function<void()> action) {
    auto impl = std::make_shared<Impl>(io);
    impl->descriptor.assign(fd);
    impl->action = std::move(action);
    wait(impl, type);
    return Subscription(std::move(impl));
  }
};

Subscription& Subscription::operator=(Subscription&& other) noexcept {
  if (this == &other) return *this;
  reset();
  impl_ = std::move(other.impl_);
  return *this;
}

void Subscription::reset() {
  if (!impl_) return;
  impl_->cancelled = true;
  impl_->timer.cancel();
  if (impl_->descriptor.is_open()) impl_->descriptor.release();
  impl_.reset();
}

EventLoop::EventLoop() : impl_(std::make_unique<Impl>()) {}
EventLoop::~EventLoop() = default;

void EventLoop::watch(int fd, std::function<void()> on_readable) {
  impl_->wait(
      *impl_->watches.emplace_back(std::make_unique<Impl::Watch>(impl_->io, fd, std::move(on_readable))));
}

Subscription EventLoop::watch_readable(int fd, std::function<void()> on_readable) {
  return Subscription::Impl::watch(impl_->io, fd, asio::posix::stream_descriptor::wait_read,
                                   std::move(on_readable));
}

Subscription EventLoop::watch_writable(int fd, std::function<void()> on_writable) {
  return Subscription::Impl::watch(impl_->io, fd, asio::posix::stream_descriptor::wait_write,
                                   std::move(on_writable));
}

Subscription EventLoop::timer(std::chrono::milliseconds delay, std::function<void()> action) {
  auto impl = std::make_shared<Subscription::Impl>(impl_->io);
  impl->timer.expires_after(delay);
  impl->timer.async_wait([impl, action = std::move(action)](const boost::system::error_code& error) {
    if (!error && !impl->cancelled) action();
  });
  return Subscription(std::move(impl));
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
