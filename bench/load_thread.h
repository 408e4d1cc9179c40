// A thread's share of the connections, and the loop that drives them through one phase.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "bench/load_connection.h"
#include "bench/statistics.h"

namespace itgtd::bench {

/// How long a target may owe every answer before the run is given up: longer than any failover.
inline constexpr std::chrono::seconds kStallLimit{60};

struct PhaseShape {
  Phase phase = Phase::measure;
  Duration warmup{};    ///< before the measurement begins
  Duration duration{};  ///< of the measurement; 0: until the plans are exhausted
  bool spin = false;    ///< poll without sleeping
  bool paced = false;   ///< connections have intervals
};

class LoadThread {
 public:
  LoadThread();
  ~LoadThread();
  LoadThread(const LoadThread&) = delete;
  LoadThread& operator=(const LoadThread&) = delete;

  /// `count`: of this connection in the phase `measure`; 0: no limit.
  void add(std::unique_ptr<LoadConnection> connection, uint64_t count);

  /// One phase, to its end or until `abort`, which a failing connection sets. Run on a thread of its own.
  void run(const PhaseShape& shape, std::atomic<bool>& abort);

  [[nodiscard]] const std::vector<std::unique_ptr<LoadConnection>>& connections() const {
    return connections_;
  }
  [[nodiscard]] const Statistics& statistics() const { return statistics_; }
  /// Units that were read and compared in the phase `read_back`.
  [[nodiscard]] uint64_t read_back() const { return read_back_; }
  [[nodiscard]] double seconds() const { return seconds_; }
  [[nodiscard]] double user_seconds() const { return user_seconds_; }
  [[nodiscard]] double system_seconds() const { return system_seconds_; }

 private:
  struct CpuTime {
    double user = 0;
    double system = 0;
  };
  static CpuTime cpu_time();
  void begin_measurement(Instant at);
  void end_measurement(Instant at);
  void turn(Instant wake, const PhaseShape& shape);
  void settle(size_t index);
  void look_for_stalls(Instant at);
  [[nodiscard]] Instant wake_at(Instant at, Instant stage_end, const PhaseShape& shape) const;

  std::vector<std::unique_ptr<LoadConnection>> connections_;
  std::vector<uint64_t> counts_;
  std::vector<bool> armed_;     // true exactly when epoll also reports "writable"
  std::vector<bool> finished_;  // in this phase
  size_t active_ = 0;           // connections that are not finished
  bool failed_ = false;
  int epoll_ = -1;

  Statistics statistics_;  // of the measurement
  Statistics beside_;      // of everything else
  bool measuring_ = false;
  Instant measured_from_{};
  CpuTime cpu_from_{};
  uint64_t read_back_ = 0;
  double seconds_ = 0;
  double user_seconds_ = 0;
  double system_seconds_ = 0;
};

}  // namespace itgtd::bench
