#include "bench/load_thread.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace itgtd::bench {
namespace {

constexpr int kEventsPerTurn = 64;
constexpr std::chrono::seconds kHousekeeping{1};

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

}  // namespace

LoadThread::LoadThread() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  ITGTD_ASSERT(epoll_ >= 0);
}

LoadThread::~LoadThread() {
  close(epoll_);
}

void LoadThread::add(std::unique_ptr<LoadConnection> connection, uint64_t count) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = connections_.size();
  const int status = epoll_ctl(epoll_, EPOLL_CTL_ADD, connection->fd(), &event);
  ITGTD_ASSERT(status == 0);
  connections_.push_back(std::move(connection));
  counts_.push_back(count);
  armed_.push_back(false);
  finished_.push_back(false);
}

LoadThread::CpuTime LoadThread::cpu_time() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return {seconds_of(usage.ru_utime), seconds_of(usage.ru_stime)};
}

void LoadThread::begin_measurement(Instant at) {
  measuring_ = true;
  measured_from_ = at;
  cpu_from_ = cpu_time();
  for (const auto& connection : connections_) connection->count_into(statistics_);
}

void LoadThread::end_measurement(Instant at) {
  if (!measuring_) return;
  measuring_ = false;
  const CpuTime cpu = cpu_time();
  seconds_ = std::chrono::duration<double>(at - measured_from_).count();
  user_seconds_ = cpu.user - cpu_from_.user;
  system_seconds_ = cpu.system - cpu_from_.system;
  for (const auto& connection : connections_) connection->count_into(beside_);
}

void LoadThread::settle(size_t index) {
  LoadConnection& connection = *connections_[index];
  if (connection.failure()) failed_ = true;
  if (!finished_[index] && connection.finished()) {
    finished_[index] = true;
    --active_;
  }
  if (connection.wants_write() == armed_[index]) return;
  armed_[index] = !armed_[index];
  epoll_event event{};
  event.events = EPOLLIN;
  if (armed_[index]) event.events |= EPOLLOUT;
  event.data.u64 = index;
  epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.fd(), &event);
}

void LoadThread::turn(Instant wake, const PhaseShape& shape) {
  std::array<epoll_event, kEventsPerTurn> events;
  int ready = 0;
  if (shape.spin) {
    ready = epoll_wait(epoll_, events.data(), kEventsPerTurn, 0);
  } else {
    const auto left = std::max<int64_t>(0, (wake - itgtd::now()).count());
    const timespec timeout{left / 1'000'000'000, left % 1'000'000'000};
    ready = epoll_pwait2(epoll_, events.data(), kEventsPerTurn, &timeout, nullptr);
  }
  for (int i = 0; i < ready; ++i) {
    const epoll_event& event = events[static_cast<size_t>(i)];
    const size_t index = event.data.u64;
    LoadConnection& connection = *connections_[index];
    if ((event.events & EPOLLOUT) != 0) connection.advance(itgtd::now());
    if ((event.events & ~uint32_t{EPOLLOUT}) != 0) connection.on_readable();
    settle(index);
  }
  if (!shape.paced) return;
  const Instant at = itgtd::now();
  for (size_t i = 0; i < connections_.size(); ++i) {
    if (connections_[i]->next_due() > at) continue;
    connections_[i]->advance(at);
    settle(i);
  }
}

Instant LoadThread::wake_at(Instant at, Instant stage_end, const PhaseShape& shape) const {
  Instant wake = std::min<Instant>(stage_end, at + kHousekeeping);
  if (!shape.paced) return wake;
  for (const auto& connection : connections_) {
    // One that is late waits for an answer, not for the clock.
    if (connection->next_due() > at) wake = std::min(wake, connection->next_due());
  }
  return wake;
}

void LoadThread::look_for_stalls(Instant at) {
  for (size_t i = 0; i < connections_.size(); ++i) {
    LoadConnection& connection = *connections_[i];
    if (connection.outstanding() == 0 || at - connection.last_progress() < kStallLimit) continue;
    connection.give_up("no answer from the target for a minute");
    failed_ = true;
  }
}

void LoadThread::run(const PhaseShape& shape, std::atomic<bool>& abort) {
  prctl(PR_SET_TIMERSLACK, 1UL);  // paced I/Os start when they are due
  active_ = connections_.size();
  std::fill(finished_.begin(), finished_.end(), false);
  const bool timed = shape.phase == Phase::measure && shape.duration > Duration::zero();
  const bool measure = shape.phase == Phase::measure;
  const Instant started = itgtd::now();
  const Instant measure_at = started + shape.warmup;
  Instant end_at = timed ? measure_at + shape.duration : Instant::max();
  bool stopped = false;
  if (measure && shape.warmup == Duration::zero()) begin_measurement(started);
  for (size_t i = 0; i < connections_.size(); ++i) {
    connections_[i]->start(shape.phase, counts_[i], measuring_ ? statistics_ : beside_, itgtd::now());
    settle(i);
  }
  Instant at = started;
  Instant next_housekeeping = started + kHousekeeping;
  bool measured = measuring_;
  while (active_ > 0 && !failed_ && !abort.load(std::memory_order_relaxed)) {
    turn(wake_at(at, measured ? end_at : measure_at, shape), shape);
    at = itgtd::now();
    if (measure && !measured && at >= measure_at) {
      measured = true;
      if (timed) end_at = at + shape.duration;
      begin_measurement(at);
    }
    if (!stopped && at >= end_at) {
      stopped = true;
      end_measurement(at);
      for (size_t i = 0; i < connections_.size(); ++i) {
        connections_[i]->stop();
        settle(i);
      }
    }
    if (at >= next_housekeeping) {
      next_housekeeping = at + kHousekeeping;
      look_for_stalls(at);
    }
  }
  end_measurement(at);
  if (failed_) abort.store(true, std::memory_order_relaxed);
  // What went wrong outside the measurement counts as well; what went well does not.
  statistics_.errors += beside_.errors;
  statistics_.mismatches += beside_.mismatches;
  statistics_.note_error(beside_.first_error);
  read_back_ += shape.phase == Phase::read_back ? beside_.reads.total() : 0;
  beside_.clear();
}

}  // namespace itgtd::bench
