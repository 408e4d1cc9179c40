// Virtual time: what is to happen when. Things of the same millisecond happen in the order in which they were
// asked for.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "ha/core/types.h"

namespace itgtd::ha::sim {

class Schedule {
 public:
  /// Of the world; a node's own clock differs from it.
  [[nodiscard]] TimeMs now() const { return now_; }

  void at(TimeMs when, std::function<void()> what) {
    entries_.push({when < now_ ? now_ : when, order_++, std::move(what)});
  }
  void after(TimeMs delay_ms, std::function<void()> what) { at(now_ + delay_ms, std::move(what)); }

  /// Does the next thing if it is due by `until`. False: there is none, and it is `until` now.
  bool step(TimeMs until) {
    if (entries_.empty() || entries_.top().when > until) {
      now_ = until > now_ ? until : now_;
      return false;
    }
    Entry entry = entries_.top();
    entries_.pop();
    now_ = entry.when;
    entry.what();
    return true;
  }

 private:
  struct Entry {
    TimeMs when;
    uint64_t order;
    std::function<void()> what;
    bool operator<(const Entry& other) const {
      return std::pair(when, order) > std::pair(other.when, other.order);
    }
  };
  TimeMs now_ = 0;
  uint64_t order_ = 0;
  std::priority_queue<Entry> entries_;
};

}  // namespace itgtd::ha::sim
