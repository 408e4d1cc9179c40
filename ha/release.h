// What is given up when the daemon has ended: the groups' addresses and DRBD resources of this node, so that
// another node can take them. `itgtd --release`, run by the unit's ExecStopPost. A process of its own:
// nothing of the daemon is there.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ha/adapters/addresses.h"

namespace itgtd::ha {

/// Of all groups, whoever owns them.
struct ReleaseWork {
  std::vector<std::string> drbd_resources;
  std::vector<Vip> vips;
  std::vector<std::string> portals;  ///< as Gate takes them: "192.168.222.35:3260"
};

/// How the daemon ended, as far as systemd tells ExecStopPost (systemd.exec(5)).
struct DaemonEnd {
  std::string service_result;  ///< $SERVICE_RESULT; empty: systemd did not start this
  std::string exit_status;     ///< $EXIT_STATUS: "2", "KILL"
  bool job = false;     ///< a job of the unit is under way: it is being stopped or restarted by somebody
  uint32_t deaths = 0;  ///< how often it has died in the last kDeathsWindow, this time included
};

/// A daemon that dies so often in that time does not serve.
inline constexpr uint32_t kDeathsMax = 3;
inline constexpr std::chrono::seconds kDeathsWindow{30};

struct ReleaseDecision {
  bool release = true;
  std::string why;
};

/// A daemon that died and is started again within the second takes over what it finds, which no initiator
/// notices; so then nothing is given up. In every other case, those that are not understood included,
/// everything is: that costs a takeover, where keeping a DRBD resource Primary that nobody serves keeps every
/// other node from serving it. Pure.
[[nodiscard]] ReleaseDecision decide_release(const DaemonEnd& end);

/// Notes a death at `now_s` in the text of the file that counts them: seconds of CLOCK_BOOTTIME, one a line.
/// What is too old, or no number, is dropped. Returns how many are left. Pure.
uint32_t count_death(std::string& text, uint64_t now_s);

/// From $SERVICE_RESULT, $EXIT_STATUS, $ITGTD_UNIT (asks systemctl for its job) and $RUNTIME_DIRECTORY (where
/// deaths are counted). Blocks for up to a second.
[[nodiscard]] DaemonEnd read_daemon_end();

/// Closes the gate, removes the VIPs that are here, makes the DRBD resources Secondary (by force where they
/// stay open), side by side, and logs what it did. Blocks for `limit` at most. 0: nothing of it is here any
/// more; 1: something is, and the gate stays closed.
[[nodiscard]] int release(const ReleaseWork& work, std::chrono::milliseconds limit = std::chrono::seconds(5));

/// What --release does: the four of above in turn. The exit status. Not to be called while the daemon runs.
[[nodiscard]] int release_after_end(const ReleaseWork& work);

}  // namespace itgtd::ha
