// Workers as the control thread sees them: mailboxes. The test reads what was posted and answers for them.
#pragma once

#include <unistd.h>

#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "target/control/event_loop.h"
#include "target/coordinator.h"

namespace itgtd::target {

class FakeWorkers {
 public:
  explicit FakeWorkers(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      boxes_.push_back(std::make_unique<WorkerMailbox>(std::move(*net::WakeUp::create())));
    }
  }
  FakeWorkers(const FakeWorkers&) = delete;
  FakeWorkers& operator=(const FakeWorkers&) = delete;
  ~FakeWorkers() {
    for (const auto& [key, fd] : listeners_) ::close(fd);
  }

  [[nodiscard]] std::vector<WorkerMailbox*> mailboxes() const {
    std::vector<WorkerMailbox*> all;
    for (const auto& box : boxes_) all.push_back(box.get());
    return all;
  }

  /// Every message that `worker` has been sent since the last call.
  std::vector<WorkerMessage> take(WorkerIndex worker) {
    std::vector<WorkerMessage> messages = boxes_.at(worker)->drain();
    for (WorkerMessage& message : messages) keep_descriptors(message);
    return messages;
  }
  /// Those of one type.
  template <typename T>
  std::vector<T> take_all(WorkerIndex worker) {
    std::vector<T> found;
    for (WorkerMessage& message : take(worker)) {
      if (auto* content = std::get_if<T>(&message)) found.push_back(std::move(*content));
    }
    return found;
  }

  /// Answers each change at once while `loop` runs, and keeps every message in `seen`.
  void answer(control::EventLoop& loop, Coordinator& coordinator) {
    for (WorkerIndex worker = 0; worker < boxes_.size(); ++worker) {
      loop.watch(boxes_[worker]->fd(), [this, worker, &coordinator] {
        for (WorkerMessage& message : take(worker)) {
          const Key change = std::visit([](const auto& content) { return change_of(content); }, message);
          seen.push_back(std::move(message));
          if (change != 0) coordinator.on_taken(change);
        }
      });
    }
  }
  template <typename T>
  [[nodiscard]] std::vector<T> seen_of() const {
    std::vector<T> found;
    for (const WorkerMessage& message : seen) {
      if (const auto* content = std::get_if<T>(&message)) found.push_back(*content);
    }
    return found;
  }
  std::vector<WorkerMessage> seen;

 private:
  template <typename T>
  static Key change_of(const T& message) {
    if constexpr (requires { message.change; }) {
      return message.change;
    } else {
      return 0;
    }
  }
  void keep_descriptors(WorkerMessage& message) {
    if (const auto* adopt = std::get_if<AdoptConnection>(&message)) ::close(adopt->fd);
    if (const auto* add = std::get_if<AddListener>(&message)) listeners_.emplace_back(add->listener, add->fd);
    if (const auto* remove = std::get_if<RemoveListener>(&message)) {
      std::erase_if(listeners_, [&](const auto& listener) {
        return listener.first == remove->listener && ::close(listener.second) == 0;
      });
    }
  }

  std::vector<std::unique_ptr<WorkerMailbox>> boxes_;
  std::vector<std::pair<Key, int>> listeners_;
};

/// Runs `loop` until `condition` holds; false when that took longer than ten seconds.
template <typename Condition>
bool run_until(control::EventLoop& loop, Condition condition) {
  const Instant deadline = now() + std::chrono::seconds(10);
  while (!condition()) {
    if (now() > deadline) return false;
    loop.after(std::chrono::milliseconds(1), [&loop] { loop.stop(); });
    loop.run();
  }
  return true;
}

}  // namespace itgtd::target
