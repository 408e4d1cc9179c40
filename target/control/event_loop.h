// The control thread's loop: descriptors, signals and timers. Boost.Asio lives behind this and nowhere else.
//
// Every callback runs on the thread that called run(). Not for the data path.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

namespace itgtd::control {

class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Calls `on_readable` whenever `fd` is readable. The descriptor stays the caller's and outlives the loop.
  void watch(int fd, std::function<void()> on_readable);
  /// Calls `on_signal` with each of `signals` that arrives.
  void on_signals(const std::vector<int>& signals, std::function<void(int)> on_signal);
  /// Calls `action` once, when `delay` has passed, unless the loop has ended.
  void after(std::chrono::milliseconds delay, std::function<void()> action);
  /// Runs callbacks until stop(); may be called again.
  void run();
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace itgtd::control
