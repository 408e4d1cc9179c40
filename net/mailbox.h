// Messages to a thread that sleeps in its ring or its event loop.
//
// Any thread may post; one thread drains. For what is rare: configuration, hand-over, barriers. Nothing of a
// READ or WRITE goes through it.
#pragma once

#include <mutex>
#include <utility>
#include <vector>

#include "base/result.h"

namespace itgtd::net {

/// An eventfd: what a sleeper polls.
class WakeUp {
 public:
  static Result<WakeUp> create();
  WakeUp(WakeUp&& other) noexcept;
  WakeUp& operator=(WakeUp&& other) noexcept;
  ~WakeUp();
  [[nodiscard]] int fd() const { return fd_; }
  /// Makes the descriptor readable. Any thread.
  void signal() const;
  /// Makes it unreadable again. The sleeper's thread.
  void clear() const;

 private:
  explicit WakeUp(int fd) : fd_(fd) {}
  int fd_ = -1;
};

template <typename Message>
class Mailbox {
 public:
  explicit Mailbox(WakeUp wake_up) : wake_up_(std::move(wake_up)) {}

  /// Any thread. Messages of one poster arrive in the order in which it posted them.
  void post(Message message) {
    bool first = false;
    {
      const std::lock_guard lock(mutex_);
      first = messages_.empty();
      messages_.push_back(std::move(message));
    }
    if (first) wake_up_.signal();
  }
  /// The owner's thread: everything that has been posted.
  [[nodiscard]] std::vector<Message> drain() {
    wake_up_.clear();
    const std::lock_guard lock(mutex_);
    return std::exchange(messages_, {});
  }
  [[nodiscard]] int fd() const { return wake_up_.fd(); }

 private:
  WakeUp wake_up_;
  std::mutex mutex_;
  std::vector<Message> messages_;
};

}  // namespace itgtd::net
