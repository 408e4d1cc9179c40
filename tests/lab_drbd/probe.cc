// Does with the real DRBD what the arguments say, in turn, and prints what ha::Drbd tells: for run.
//
//   probe RESOURCE STEP...     preflight, promote, demote, force, wait-FITNESS, wait-primary, wait-secondary,
//   wait-peer,
//                              run:COMMAND (a shell's), turn:MILLISECONDS
#include <fmt/core.h>

#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/parse.h"
#include "ha/adapters/command.h"
#include "ha/adapters/drbd.h"

namespace itgtd::ha {
namespace {

using std::chrono::milliseconds;

class Probe {
 public:
  explicit Probe(std::string resource)
      : resource_(std::move(resource)), drbd_(loop_, [this](const std::string&, const StorageFacts& facts) {
          facts_ = facts;
          say(fmt::format("facts: {} role {} disk {}{}{}{}{}", to_string(facts.fitness), facts.role,
                          facts.disk, facts.peer_primary ? ", peer primary" : "",
                          facts.peers_connected ? ", peer ready" : "", facts.detail.empty() ? "" : ": ",
                          facts.detail));
        }) {
    drbd_.follow({resource_});
  }
  /// False: it did not become true.
  bool step(std::string_view what) {
    say(fmt::format("step {}", what));
    if (what == "preflight") {
      for (const Finding& finding : Drbd::preflight({resource_}))
        say(fmt::format("{}: {}", finding.severity == Finding::Severity::refuse ? "refuse" : "warn",
                        finding.text));
      return true;
    }
    if (what == "promote") return ended([this](auto done) { drbd_.promote(resource_, done); });
    if (what == "demote") return ended([this](auto done) { drbd_.demote(resource_, false, done); });
    if (what == "force") return ended([this](auto done) { drbd_.demote(resource_, true, done); });
    if (what == "wait-primary") return until([this] { return facts_.primary; });
    if (what == "wait-secondary") return until([this] { return !facts_.primary; });
    if (what == "wait-peer") return until([this] { return facts_.peers_connected; });
    if (what.starts_with("wait-")) return until([&] { return to_string(facts_.fitness) == what.substr(5); });
    if (what.starts_with("turn:")) {
      turn(milliseconds(parse_u64(what.substr(5)).value_or(0)));
      return true;
    }
    if (!what.starts_with("run:")) return false;
    bool ran = false;
    const Command command(loop_, {"/bin/sh", "-c", std::string(what.substr(4))}, milliseconds(30000),
                          [&](const CommandResult& result) {
                            say(fmt::format("status {} {}{}", result.status, result.out, result.err));
                            ran = true;
                          });
    return until([&] { return ran; });
  }

 private:
  void say(const std::string& text) {
    const auto since = std::chrono::duration_cast<milliseconds>(now() - begin_).count();
    fmt::print("{:6} {}\n", since, text);
    std::fflush(stdout);
  }
  void turn(milliseconds limit) {
    auto timer = loop_.timer(limit, [this] { loop_.stop(); });
    loop_.run();
  }
  bool until(const std::function<bool()>& condition) {
    for (int i = 0; i < 4000 && !condition(); ++i) turn(milliseconds(10));
    return condition();
  }
  bool ended(const std::function<void(Drbd::Done)>& begin) {
    std::optional<Drbd::Outcome> outcome;
    begin([&](const Drbd::Outcome& result) {
      outcome = result;
      say(fmt::format("done: {}{}{}", result.ok ? "ok" : "failed", result.retry_here ? "" : ", not here",
                      result.text.empty() ? "" : ": " + result.text));
    });
    return until([&] { return outcome.has_value(); });
  }

  const Instant begin_ = now();
  std::string resource_;
  control::EventLoop loop_;
  StorageFacts facts_;
  Drbd drbd_;
};

}  // namespace
}  // namespace itgtd::ha

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  itgtd::ha::Probe probe(argv[1]);
  for (int i = 2; i < argc; ++i) {
    if (!probe.step(argv[i])) {
      fmt::print("it did not: {}\n", argv[i]);
      return 1;
    }
  }
  return 0;
}
