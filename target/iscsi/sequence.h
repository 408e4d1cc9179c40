// Sequence numbers: serial arithmetic and the command window. RFC 1982, RFC 7143 §4.2.2.1.
#pragma once

#include <cstdint>

namespace itgtd::iscsi {

/// `a` comes before `b` in serial arithmetic of 32 bits. RFC 1982 §3.2.
[[nodiscard]] constexpr bool serial_before(uint32_t a, uint32_t b) {
  return static_cast<int32_t>(a - b) < 0;
}

/// What a session accepts: ExpCmdSN to MaxCmdSN.
///
/// With one connection per session commands come in order, so only the expected one is taken; any other is
/// ignored without an answer.
class CommandWindow {
 public:
  explicit CommandWindow(uint32_t exp_cmd_sn) : exp_(exp_cmd_sn), max_(exp_cmd_sn) {}

  [[nodiscard]] uint32_t exp_cmd_sn() const { return exp_; }
  [[nodiscard]] uint32_t max_cmd_sn() const { return max_; }
  /// True exactly when a command with this number is to be taken: it is the next one, and the window is open.
  /// RFC 7143 §4.2.2.1: outside the window it MUST be ignored silently.
  [[nodiscard]] bool expects(uint32_t cmd_sn) const { return cmd_sn == exp_ && !serial_before(max_, cmd_sn); }
  /// RefCmdSN of a task management request names a command that may still come.
  [[nodiscard]] bool contains(uint32_t cmd_sn) const {
    return !serial_before(cmd_sn, exp_) && !serial_before(max_, cmd_sn);
  }
  /// The expected command was taken.
  void advance() { ++exp_; }
  /// From now on `count` further commands may come. MaxCmdSN never goes backwards: what was granted stays.
  void grant(uint32_t count) {
    const uint32_t wanted = exp_ + count - 1;
    if (serial_before(max_, wanted)) max_ = wanted;
  }

 private:
  uint32_t exp_;
  uint32_t max_;
};

}  // namespace itgtd::iscsi
