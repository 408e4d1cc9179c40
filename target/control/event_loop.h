// The control thread's loop: descriptors, signals and timers. Boost.Asio lives behind this and nowhere else.
//
// Every callback runs on the thread that called run(). Not for the data path.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

namespace itgtd::control {

/// A watch or a timer, for as long as this lives; gone, its callback is not called any more, not even when it
/// was due. May be destroyed within its own callback. Does not outlive the loop.
class Subscription {
 public:
  struct Impl;
  Subscription() = default;
  explicit Subscription(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  ~Subscription() { reset(); }
  Subscription(Subscription&& other) noexcept = default;
  Subscription& operator=(Subscription&& other) noexcept;
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

  void reset();
  [[nodiscard]] explicit operator bool() const { return impl_ != nullptr; }

 private:
  std::shared_ptr<Impl> impl_;  ///< owners: this and the operation that waits in the loop
};

class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Calls `on_readable` whenever `fd` is readable. The descriptor stays the caller's and outlives the loop.
  void watch(int fd, std::function<void()> on_readable);
  /// The same for as long as the subscription lives; the descriptor is closed only after that.
  [[nodiscard]] Subscription watch_readable(int fd, std::function<void()> on_readable);
  [[nodiscard]] Subscription watch_writable(int fd, std::function<void()> on_writable);
  /// Calls `on_signal` with each of `signals` that arrives.
  void on_signals(const std::vector<int>& signals, std::function<void(int)> on_signal);
  /// Calls `action` once, when `delay` has passed, unless the loop has ended.
  void after(std::chrono::milliseconds delay, std::function<void()> action);
  /// The same, unless the subscription has gone by then.
  [[nodiscard]] Subscription timer(std::chrono::milliseconds delay, std::function<void()> action);
  /// Runs callbacks until stop(); may be called again.
  void run();
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace itgtd::control
