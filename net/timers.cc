#include "net/timers.h"

#include "base/assert.h"

namespace itgtd::net {

Timers::Timers(uint32_t capacity) {
  heap_.reserve(capacity);
}

void Timers::arm(Timer& timer, Instant deadline) {
  if (!timer.armed()) {
    ITGTD_ASSERT(heap_.size() < heap_.capacity());
    timer.deadline_ = deadline;
    heap_.push_back(&timer);
    timer.position_ = static_cast<uint32_t>(heap_.size() - 1);
    sift_up(timer.position_);
    return;
  }
  const bool earlier = deadline < timer.deadline_;
  timer.deadline_ = deadline;
  if (earlier) {
    sift_up(timer.position_);
  } else {
    sift_down(timer.position_);
  }
}

void Timers::disarm(Timer& timer) {
  if (!timer.armed()) return;
  const uint32_t position = timer.position_;
  ITGTD_ASSERT(position < heap_.size() && heap_[position] == &timer);
  timer.position_ = Timer::kIdle;
  Timer* last = heap_.back();
  heap_.pop_back();
  if (last == &timer) return;
  place(position, last);
  sift_up(position);
  sift_down(last->position_);
}

Instant Timers::next_deadline() const {
  return heap_.empty() ? Instant::max() : heap_.front()->deadline_;
}

Timer* Timers::pop_expired(Instant now) {
  if (heap_.empty() || heap_.front()->deadline_ > now) return nullptr;
  Timer* timer = heap_.front();
  disarm(*timer);
  return timer;
}

void Timers::sift_up(uint32_t position) {
  Timer* timer = heap_[position];
  while (position > 0) {
    const uint32_t parent = (position - 1) / 2;
    if (heap_[parent]->deadline_ <= timer->deadline_) break;
    place(position, heap_[parent]);
    position = parent;
  }
  place(position, timer);
}

void Timers::sift_down(uint32_t position) {
  Timer* timer = heap_[position];
  const auto count = static_cast<uint32_t>(heap_.size());
  for (;;) {
    uint32_t child = 2 * position + 1;
    if (child >= count) break;
    if (child + 1 < count && heap_[child + 1]->deadline_ < heap_[child]->deadline_) ++child;
    if (timer->deadline_ <= heap_[child]->deadline_) break;
    place(position, heap_[child]);
    position = child;
  }
  place(position, timer);
}

void Timers::place(uint32_t position, Timer* timer) {
  heap_[position] = timer;
  timer->position_ = position;
}

}  // namespace itgtd::net
