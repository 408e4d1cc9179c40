// A target of one RAM disk that misbehaves as told, in threads of the test program, on a loopback port.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "bench/stream.h"

namespace itgtd::bench {

/// What the target does beyond serving its disk.
struct Behaviour {
  bool initial_r2t = false;
  bool immediate_data = true;
  uint32_t first_burst = 262144;
  uint32_t max_burst = 1048576;  ///< and the most that one R2T asks for
  uint32_t max_segment = 262144;
  uint32_t command_window = 64;
  int unit_attentions = 1;       ///< before the first GOOD of each session
  bool separate_status = false;  ///< a SCSI Response behind the data in place of the S bit
  bool ping_each_command = false;
  std::optional<uint64_t> fail_lba;  ///< CHECK CONDITION, MEDIUM ERROR
  std::optional<uint64_t> lose_lba;  ///< a write there is acknowledged and forgotten
  uint64_t close_after = 0;          ///< I/Os; 0: never
  uint64_t reject_after = 0;
  bool skip_stat_sn = false;
  bool short_reads = false;  ///< half of the data, with the underflow flagged
};

class ScriptedTarget {
 public:
  static constexpr uint32_t kBlockBytes = 512;
  static constexpr size_t kDiskBytes = size_t{4} << 20;

  explicit ScriptedTarget(const Behaviour& behaviour);
  ~ScriptedTarget();
  ScriptedTarget(const ScriptedTarget&) = delete;
  ScriptedTarget& operator=(const ScriptedTarget&) = delete;

  [[nodiscard]] std::string port() const { return std::to_string(port_); }
  [[nodiscard]] uint64_t ios() const { return ios_; }
  [[nodiscard]] uint64_t r2ts() const { return r2ts_; }
  [[nodiscard]] uint64_t pings_answered() const { return pings_answered_; }
  [[nodiscard]] uint64_t logouts() const { return logouts_; }

 private:
  class Session;
  void accept_all();

  Behaviour behaviour_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::mutex mutex_;
  std::vector<std::byte> disk_;  // under mutex_
  std::atomic<uint64_t> ios_{0};
  std::atomic<uint64_t> r2ts_{0};
  std::atomic<uint64_t> pings_answered_{0};
  std::atomic<uint64_t> logouts_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> sessions_;  // of the accepting thread until it ends
  std::thread acceptor_;
};

}  // namespace itgtd::bench
