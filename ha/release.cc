#include "ha/release.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/log.h"
#include "base/parse.h"
#include "ha/adapters/command.h"
#include "ha/adapters/drbd.h"
#include "ha/adapters/gate.h"

namespace itgtd::ha {

namespace {

using std::chrono::milliseconds;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

/// Whether systemd has a job for the unit: at a stop and a restart it has, at the restart after a death not
/// yet. When it does not say, it has one.
bool has_job(const std::string& unit) {
  if (unit.empty()) return false;
  control::EventLoop loop;
  bool job = true;
  const Command command(loop, {"systemctl", "show", "--property=Job", "--value", unit}, milliseconds(1000),
                        [&](const CommandResult& result) {
                          const std::string word = result.out.substr(0, result.out.find('\n'));
                          if (result.status == 0) job = !word.empty() && word != "0";
                          loop.stop();
                        });
  loop.run();
  return job;
}

uint64_t boot_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_BOOTTIME, &time);
  return static_cast<uint64_t>(time.tv_sec);
}

/// What release() is about to wait for.
class Releaser {
 public:
  Releaser(const ReleaseWork& work, control::EventLoop& loop)
      : work_(work),
        loop_(loop),
        gate_(loop),
        addresses_(
            loop, [](const Vip&, const VipFacts&) {}, [](const VipPlace&) {}),
        drbd_(loop, [](const std::string&, const StorageFacts&) {}) {}

  /// True: all is given up.
  bool run(milliseconds limit) {
    close_gate();
    remove_vips();
    demote();
    auto timer = loop_.timer(limit, [this] { loop_.stop(); });
    if (left_ > 0) loop_.run();
    for (const std::string& resource : unfinished_)
      log::error("release: DRBD resource {} is still in the works", resource);
    check_vips();
    const bool all = ok_ && left_ == 0;
    // Nothing is left to guard. While something is, not even what the daemon has left in the kernel may
    // answer.
    if (all) gate_.remove();
    return all;
  }

 private:
  void close_gate() {
    if (work_.portals.empty()) return;
    auto closed = gate_.guard(work_.portals);
    if (closed.ok()) closed = gate_.close(work_.portals);
    if (closed.ok()) closed = gate_.lease(0);
    // The lease that nobody renews closes it by itself.
    if (!closed.ok()) log::warning("release: the gate: {}", closed.error().to_string());
  }

  void remove_vips() {
    if (work_.vips.empty()) return;
    if (const auto started = addresses_.start(); !started.ok()) {
      log::error("release: the addresses: {}", started.error().to_string());
      ok_ = false;
      return;
    }
    addresses_.follow(work_.vips);
    for (const Vip& vip : work_.vips) {
      if (!addresses_.facts(vip).present) continue;
      log::info("release: {} is removed", vip.address);
      addresses_.remove(vip);
    }
  }

  void check_vips() {
    for (const Vip& vip : work_.vips) {
      if (!addresses_.facts(vip).present) continue;
      log::error("release: {} is still here", vip.address);
      ok_ = false;
    }
  }

  void demote() {
    left_ = work_.drbd_resources.size();
    unfinished_ = work_.drbd_resources;
    for (const std::string& resource : work_.drbd_resources) {
      drbd_.demote(resource, false, [this, resource](const Drbd::Outcome& outcome) {
        if (outcome.ok) return on_demoted(resource, "Secondary");
        log::warning("release: DRBD resource {}: {}; by force", resource, outcome.text);
        drbd_.demote(resource, true, [this, resource](const Drbd::Outcome& forced) {
          if (forced.ok) return on_demoted(resource, "Secondary by force");
          log::error("release: DRBD resource {}: {}", resource, forced.text);
          ok_ = false;
          on_demoted(resource, "not Secondary");
        });
      });
    }
  }

  void on_demoted(const std::string& resource, std::string_view state) {
    log::info("release: DRBD resource {} is {}", resource, state);
    std::erase(unfinished_, resource);
    if (--left_ == 0) loop_.stop();
  }

  const ReleaseWork& work_;
  control::EventLoop& loop_;
  Gate gate_;
  Addresses addresses_;
  Drbd drbd_;
  std::vector<std::string> unfinished_;
  size_t left_ = 0;
  bool ok_ = true;
};

}  // namespace

ReleaseDecision decide_release(const DaemonEnd& end) {
  const std::string& result = end.service_result;
  if (result.empty()) return {true, "asked for by hand"};
  if (result == "success") return {true, "the daemon was stopped"};
  // The lease ended while it hung, so initiators have noticed already, and other nodes wait for the disks.
  if (result == "watchdog") return {true, "the daemon hung"};
  const bool died =
      result == "signal" || result == "core-dump" || result == "oom-kill" || result == "exit-code";
  if (!died) return {true, fmt::format("the daemon ended by \"{}\"", result)};
  // RestartPreventExitStatus of the unit: errors in the configuration.
  if (result == "exit-code" && end.exit_status == "2")
    return {true, "the daemon is not started again: status 2"};
  if (end.job) return {true, "the daemon died while it was being stopped"};
  if (end.deaths >= kDeathsMax)
    return {true, fmt::format("the daemon has died {} times within {} s", end.deaths, kDeathsWindow.count())};
  return {false, fmt::format("the daemon died ({} {}) and is started again: it takes over what it finds",
                             result, end.exit_status)};
}

uint32_t count_death(std::string& text, uint64_t now_s) {
  std::istringstream lines(text);
  std::string kept;
  uint32_t count = 1;
  for (std::string line; std::getline(lines, line);) {
    const auto at = parse_u64(line);
    if (!at || *at > now_s || now_s - *at > static_cast<uint64_t>(kDeathsWindow.count())) continue;
    kept += line + "\n";
    ++count;
  }
  text = kept + fmt::format("{}\n", now_s);
  return count;
}

DaemonEnd read_daemon_end() {
  DaemonEnd end;
  end.service_result = environment("SERVICE_RESULT");
  end.exit_status = environment("EXIT_STATUS");
  if (end.service_result.empty() || end.service_result == "success") return end;
  end.job = has_job(environment("ITGTD_UNIT"));
  const std::string folder = environment("RUNTIME_DIRECTORY");
  if (folder.empty()) return end;
  const std::filesystem::path file = std::filesystem::path(folder) / "deaths";
  std::string text;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) text += line + "\n";
  in.close();
  end.deaths = count_death(text, boot_seconds());
  std::ofstream(file) << text;
  return end;
}

int release(const ReleaseWork& work, std::chrono::milliseconds limit) {
  control::EventLoop loop;
  Releaser releaser(work, loop);
  return releaser.run(limit) ? 0 : 1;
}

int release_after_end(const ReleaseWork& work) {
  const ReleaseDecision decision = decide_release(read_daemon_end());
  log::info("release: {}{}", decision.release ? "" : "nothing is given up: ", decision.why);
  return decision.release ? release(work) : 0;
}

}  // namespace itgtd::ha
