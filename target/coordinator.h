// Tells every worker, and knows when all have taken it.
//
// The one way in which what workers share changes: a message with a change number goes to each of them, and
// when the last has answered, what was waiting for it goes on. Belongs to the control thread.
#pragma once

#include <functional>
#include <unordered_map>
#include <vector>

#include "target/worker.h"

namespace itgtd::target {

class Coordinator {
 public:
  /// `workers` outlive the coordinator.
  explicit Coordinator(std::vector<WorkerMailbox*> workers) : workers_(std::move(workers)) {}

  /// A number that was never given out before.
  [[nodiscard]] Key next_key() { return ++last_key_; }

  /// Sends `message` to every worker; `done` runs when all have taken it. Returns the change number.
  template <typename Message>
  Key broadcast(Message message, std::function<void()> done) {
    message.change = next_key();
    pending_[message.change] = {workers_.size(), std::move(done)};
    for (WorkerMailbox* worker : workers_) worker->post(message);
    return message.change;
  }
  /// The same where nothing waits for it.
  template <typename Message>
  void tell_all(const Message& message) {
    for (WorkerMailbox* worker : workers_) worker->post(message);
  }
  void tell(WorkerIndex worker, WorkerMessage message) { workers_.at(worker)->post(std::move(message)); }

  void on_taken(Key change) {
    const auto found = pending_.find(change);
    if (found == pending_.end()) return;
    if (--found->second.missing != 0) return;
    const std::function<void()> done = std::move(found->second.done);
    pending_.erase(found);
    if (done) done();
  }

  [[nodiscard]] size_t worker_count() const { return workers_.size(); }

 private:
  struct Pending {
    size_t missing = 0;
    std::function<void()> done;
  };
  std::vector<WorkerMailbox*> workers_;
  std::unordered_map<Key, Pending> pending_;
  Key last_key_ = 0;
};

}  // namespace itgtd::target
