#include "ha/adapters/drbd.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "ha/adapters/child_process.h"
#include "ha/adapters/command.h"
#include "ha/adapters/drbd_events.h"
#include "ha/adapters/drbd_model.h"
#include "ha/adapters/drbd_reply.h"
#include "ha/adapters/drbd_settings.h"

namespace itgtd::ha {

namespace {

using std::chrono::milliseconds;
using Verdict = DrbdReply::Verdict;

constexpr milliseconds kRestartDelay{1000};  ///< of events2, when it ended
constexpr milliseconds kLostDelay{100};  ///< of events2, when it lost events: a storm must not become ours
constexpr milliseconds kUpDeadline{20000};
/// DRBD 9 looks for its peers, waits for auto-promote-timeout, and fences: it takes its time in some
/// failures.
constexpr milliseconds kPrimaryDeadline{25000};
constexpr milliseconds kSecondaryDeadline{10000};
constexpr milliseconds kPromoteRetries{5000};  ///< how long a peer that is going away is waited for
constexpr milliseconds kPromoteRetryStep{250};
constexpr milliseconds kDemoteRetries{2000};  ///< how long udev's probes are waited for
constexpr milliseconds kDemoteRetryStep{200};
constexpr milliseconds kConnectWait{5000};
constexpr milliseconds kConnectStep{50};
constexpr size_t kBringUpsMax = 4;  ///< at the same time
constexpr size_t kLineBytesMax = 65536;

/// One line of what a program wrote to its standard error.
std::string first_line(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')));
}

}  // namespace

struct Drbd::Impl {
  /// A promotion or demotion in progress.
  struct Operation {
    std::string resource;
    Done done;
    std::unique_ptr<Command> command;
    control::Subscription timer;
    Instant retry_until;
    Instant connect_until;
    bool brought_up = false;  ///< true once drbdadm up was tried
    bool coming_up = false;   ///< true exactly while it runs
    bool forced = false;      ///< a demotion by force
  };

  Impl(control::EventLoop& event_loop,
       std::function<void(const std::string& resource, const StorageFacts&)> function)
      : loop(event_loop), on_change(std::move(function)) {}

  control::EventLoop& loop;
  std::function<void(const std::string& resource, const StorageFacts&)> on_change;
  std::set<std::string> followed;
  std::map<std::string, StorageFacts> told;  ///< what on_change got last
  DrbdModel model;
  std::unique_ptr<ChildProcess> reader;
  control::Subscription restart;
  std::string line;         ///< of events2, as far as it has come
  std::string errors;       ///< what events2 wrote to its standard error
  std::string unavailable;  ///< why there are no events; empty: there are, or will be in a moment
  std::map<std::string, std::unique_ptr<Operation>> operations;
  std::set<std::string> was_brought_up;
  std::deque<std::string> to_bring_up;
  std::map<std::string, std::unique_ptr<Command>> bring_ups;
  std::map<std::string, std::string> bring_up_failures;

  // Events.
  void start_reader();
  void on_output(std::string_view text);
  void take_line(std::string_view text);
  void on_reader_ended();
  void publish(const std::set<std::string>& resources);
  [[nodiscard]] StorageFacts facts(const std::string& resource) const;
  // Bringing up what is down.
  void plan_bring_ups();
  void run_bring_ups();
  // Promotion and demotion.
  Operation& begin(const std::string& resource, Done done, milliseconds retries);
  void tell_ended(Done done);
  void finish(Operation& operation, const Outcome& outcome);
  void fail(Operation& operation, const DrbdReply& reply);
  void run(Operation& operation, const std::vector<std::string>& arguments, milliseconds deadline,
           void (Impl::*on_reply)(Operation&, const DrbdReply&));
  void later(Operation& operation, milliseconds delay, void (Impl::*action)(Operation&));
  void bring_up(Operation& operation);
  void wait_for_peers(Operation& operation);
  void on_brought_up(Operation& operation, const DrbdReply& reply);
  void run_primary(Operation& operation);
  void on_primary(Operation& operation, const DrbdReply& reply);
  void run_secondary(Operation& operation);
  void on_secondary(Operation& operation, const DrbdReply& reply);
  void on_without_force(Operation& operation, const DrbdReply& reply);
  void on_forced(Operation& operation, const DrbdReply& reply);
};

// Without --full: a complete dump and then what changes is the same, in fewer words, and the drbdsetup that
// drbd-utils runs on an 8.4 kernel does not know the option.
void Drbd::Impl::start_reader() {
  restart.reset();
  model.reset();
  line.clear();
  errors.clear();
  auto started = ChildProcess::start(loop, {"drbdsetup", "events2"},
                                     {.on_output = [this](std::string_view text) { on_output(text); },
                                      .on_error =
                                          [this](std::string_view text) {
                                            if (errors.size() < kLineBytesMax) errors += text;
                                          },
                                      .on_exit = [this](const ExitStatus&) { on_reader_ended(); }});
  if (started.ok()) {
    reader = std::move(*started);
    return;
  }
  errors = started.error().to_string();
  restart = loop.timer(milliseconds(0), [this] { on_reader_ended(); });
}

void Drbd::Impl::on_output(std::string_view text) {
  const bool was_complete = model.complete();
  while (!text.empty()) {
    const size_t end = text.find('\n');
    line += text.substr(0, end);
    if (line.size() > kLineBytesMax) line.clear();
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
    take_line(std::exchange(line, {}));
  }
  if (!model.complete()) return;
  unavailable.clear();
  const std::set<std::string> changed = model.take_changed();
  if (!was_complete) plan_bring_ups();
  publish(was_complete ? changed : followed);
  if (!model.lost_events()) return;
  reader.reset();
  restart = loop.timer(kLostDelay, [this] { start_reader(); });
}

void Drbd::Impl::take_line(std::string_view text) {
  if (const auto event = parse_drbd_event(text)) {
    model.apply(*event);
  } else if (!text.empty()) {
    log::debug("drbdsetup events2: not understood: {}", text);
  }
}

void Drbd::Impl::on_reader_ended() {
  reader.reset();
  // One that had told everything keeps what it told until the next one has: a second at most.
  if (!model.complete()) {
    const std::string why = errors.empty() ? "it ended" : first_line(errors);
    const std::string text = fmt::format("DRBD can't be watched (drbdsetup events2: {})", why);
    if (text != unavailable) log::warning("{}", text);
    unavailable = text;
    publish(followed);
  }
  restart = loop.timer(kRestartDelay, [this] { start_reader(); });
}

StorageFacts Drbd::Impl::facts(const std::string& resource) const {
  StorageFacts facts = model.facts(resource);
  const auto operation = operations.find(resource);
  if (!unavailable.empty()) {
    facts.detail = unavailable;
  } else if (bring_ups.contains(resource) ||
             (operation != operations.end() && operation->second->coming_up)) {
    // On its way it looks diskless and StandAlone, which means nothing.
    facts = {};
    facts.role = "Unknown";
    facts.detail = "the resource is being brought up";
  } else if (const auto failure = bring_up_failures.find(resource);
             failure != bring_up_failures.end() && !model.has(resource)) {
    facts.detail = failure->second;
  }
  return facts;
}

void Drbd::Impl::publish(const std::set<std::string>& resources) {
  if (!model.complete() && unavailable.empty()) return;
  const std::set<std::string> names = resources;  // a callback may change what it is of
  for (const std::string& resource : names) {
    if (!followed.contains(resource)) continue;
    const StorageFacts now_true = facts(resource);
    const auto known = told.find(resource);
    if (known != told.end() && known->second == now_true) continue;
    told.insert_or_assign(resource, now_true);
    on_change(resource, now_true);
  }
}

void Drbd::Impl::plan_bring_ups() {
  if (!model.complete()) return;
  for (const std::string& resource : followed) {
    if (model.has(resource)) was_brought_up.insert(resource);
    if (was_brought_up.insert(resource).second) to_bring_up.push_back(resource);
  }
  run_bring_ups();
}

void Drbd::Impl::run_bring_ups() {
  while (!to_bring_up.empty() && bring_ups.size() < kBringUpsMax) {
    const std::string resource = std::move(to_bring_up.front());
    to_bring_up.pop_front();
    auto on_done = [this, resource](const CommandResult& result) {
      const auto keep = bring_ups.extract(resource);
      bring_up_failures.erase(resource);
      if (const DrbdReply reply = parse_drbd_reply("drbdadm up", result); reply.verdict != Verdict::ok) {
        log::warning("DRBD resource {} can't be brought up: {}", resource, reply.text);
        bring_up_failures[resource] = reply.text;
      }
      publish({resource});
      run_bring_ups();
    };
    bring_ups[resource] = std::make_unique<Command>(loop, std::vector<std::string>{"drbdadm", "up", resource},
                                                    kUpDeadline, std::move(on_done));
  }
}

Drbd::Impl::Operation& Drbd::Impl::begin(const std::string& resource, Done done, milliseconds retries) {
  if (auto before = operations.extract(resource); !before.empty()) {
    // Its program is killed; what it began in the kernel may still happen, before what the next one asks for.
    before.mapped()->command.reset();
    before.mapped()->timer.reset();
    tell_ended(std::move(before.mapped()->done));
  }
  auto operation = std::make_unique<Operation>();
  operation->resource = resource;
  operation->done = std::move(done);
  operation->retry_until = now() + retries;
  return *(operations[resource] = std::move(operation));
}

void Drbd::Impl::tell_ended(Done done) {
  loop.after(milliseconds(0), [call = std::move(done)] {
    call({.ok = false, .retry_here = true, .text = "ended by what was asked for after it"});
  });
}

void Drbd::Impl::finish(Operation& operation, const Outcome& outcome) {
  const auto ended = operations.extract(operation.resource);
  ended.mapped()->done(outcome);
}

void Drbd::Impl::fail(Operation& operation, const DrbdReply& reply) {
  const bool never = reply.verdict == Verdict::not_here || reply.verdict == Verdict::absent;
  finish(operation, {.ok = false, .retry_here = !never, .text = reply.text});
}

void Drbd::Impl::run(Operation& operation, const std::vector<std::string>& arguments, milliseconds deadline,
                     void (Impl::*on_reply)(Operation&, const DrbdReply&)) {
  const std::string words = fmt::format("{} {}", arguments[0], arguments[1]);
  operation.command = std::make_unique<Command>(
      loop, arguments, deadline, [this, &operation, on_reply, words](const CommandResult& result) {
        (this->*on_reply)(operation, parse_drbd_reply(words, result));
      });
}

void Drbd::Impl::later(Operation& operation, milliseconds delay, void (Impl::*action)(Operation&)) {
  operation.timer = loop.timer(delay, [this, &operation, action] { (this->*action)(operation); });
}

void Drbd::Impl::bring_up(Operation& operation) {
  operation.brought_up = true;
  operation.coming_up = true;
  was_brought_up.insert(operation.resource);
  run(operation, {"drbdadm", "up", operation.resource}, kUpDeadline, &Impl::on_brought_up);
}

void Drbd::Impl::on_brought_up(Operation& operation, const DrbdReply& reply) {
  operation.coming_up = false;
  if (reply.verdict != Verdict::ok) bring_up_failures[operation.resource] = reply.text;
  if (reply.verdict == Verdict::ok) bring_up_failures.erase(operation.resource);
  publish({operation.resource});
  if (reply.verdict != Verdict::ok) return fail(operation, reply);
  operation.connect_until = now() + kConnectWait;
  wait_for_peers(operation);
}

// A resource that has just come up does not know yet whether a peer is Primary, or has newer data; 8.4 would
// become Primary all the same.
void Drbd::Impl::wait_for_peers(Operation& operation) {
  if (model.complete() && !model.has(operation.resource) && !operation.brought_up &&
      !bring_ups.contains(operation.resource))
    return bring_up(operation);
  const bool known = model.has(operation.resource) && !model.connecting(operation.resource);
  if (known || now() >= operation.connect_until) return run_primary(operation);
  later(operation, kConnectStep, &Impl::wait_for_peers);
}

void Drbd::Impl::run_primary(Operation& operation) {
  run(operation, {"drbdadm", "primary", operation.resource}, kPrimaryDeadline, &Impl::on_primary);
}

void Drbd::Impl::on_primary(Operation& operation, const DrbdReply& reply) {
  if (reply.verdict == Verdict::ok) return finish(operation, {.ok = true, .retry_here = true, .text = {}});
  if (reply.verdict == Verdict::again && now() < operation.retry_until)
    return later(operation, kPromoteRetryStep, &Impl::run_primary);
  if (reply.verdict == Verdict::down && !operation.brought_up) return bring_up(operation);
  fail(operation, reply);
}

void Drbd::Impl::run_secondary(Operation& operation) {
  run(operation, {"drbdadm", "secondary", operation.resource}, kSecondaryDeadline, &Impl::on_secondary);
}

/// What is down is Secondary, and so is what this node does not even have: one that is there for quorum.
bool is_secondary(Verdict verdict) {
  return verdict == Verdict::ok || verdict == Verdict::down || verdict == Verdict::absent;
}

void Drbd::Impl::on_secondary(Operation& operation, const DrbdReply& reply) {
  if (is_secondary(reply.verdict)) return finish(operation, {.ok = true, .retry_here = true, .text = {}});
  const bool passes = reply.verdict == Verdict::in_use || reply.verdict == Verdict::again;
  if (passes && now() < operation.retry_until)
    return later(operation, kDemoteRetryStep, &Impl::run_secondary);
  fail(operation, reply);
}

void Drbd::Impl::on_forced(Operation& operation, const DrbdReply& reply) {
  if (is_secondary(reply.verdict)) return finish(operation, {.ok = true, .retry_here = true, .text = {}});
  if (reply.verdict != Verdict::unknown_option) return fail(operation, reply);
  // Who had it open may have let go since. By drbdadm: drbdsetup of 8.4 wants the numbers of the devices.
  run(operation, {"drbdadm", "secondary", operation.resource}, kSecondaryDeadline, &Impl::on_without_force);
}

void Drbd::Impl::on_without_force(Operation& operation, const DrbdReply& reply) {
  if (is_secondary(reply.verdict)) return finish(operation, {.ok = true, .retry_here = true, .text = {}});
  DrbdReply said = reply;
  said.text += "; this DRBD can't be made Secondary by force: that needs DRBD 9 and drbd-utils 9.21";
  fail(operation, said);
}

Drbd::Drbd(control::EventLoop& loop,
           std::function<void(const std::string& resource, const StorageFacts&)> on_change)
    : impl_(std::make_unique<Impl>(loop, std::move(on_change))) {}

Drbd::~Drbd() = default;

void Drbd::follow(const std::vector<std::string>& resources) {
  Impl& self = *impl_;
  self.followed = {resources.begin(), resources.end()};
  std::erase_if(self.told, [&](const auto& entry) { return !self.followed.contains(entry.first); });
  std::erase_if(self.was_brought_up, [&](const auto& name) { return !self.followed.contains(name); });
  if (self.followed.empty()) {
    self.reader.reset();
    self.restart.reset();
    self.model.reset();
    return;
  }
  if (self.reader == nullptr && !self.restart) return self.start_reader();
  self.restart = self.loop.timer(milliseconds(0), [this] {
    Impl& impl = *impl_;
    impl.restart.reset();
    if (impl.reader == nullptr) return impl.start_reader();
    impl.publish(impl.followed);
    impl.plan_bring_ups();
  });
}

void Drbd::promote(const std::string& resource, Done done) {
  Impl& self = *impl_;
  Impl::Operation& operation = self.begin(resource, std::move(done), kPromoteRetries);
  if (self.model.complete() && !self.model.has(resource)) return self.bring_up(operation);
  // What comes up just now, or is not known yet, waits for its peers as well.
  const bool unknown_yet = !self.model.complete() && self.unavailable.empty();
  if (unknown_yet || self.bring_ups.contains(resource)) {
    operation.connect_until = now() + kConnectWait;
    return self.wait_for_peers(operation);
  }
  self.run_primary(operation);
}

void Drbd::demote(const std::string& resource, bool force, Done done) {
  Impl& self = *impl_;
  if (const auto same = self.operations.find(resource);
      force && same != self.operations.end() && same->second->forced) {
    // Begun anew each time that it is asked for, it would never end on a machine that is slow enough.
    self.tell_ended(std::exchange(same->second->done, std::move(done)));
    return;
  }
  Impl::Operation& operation = self.begin(resource, std::move(done), kDemoteRetries);
  operation.forced = force;
  if (force) {
    self.run(operation, {"drbdsetup", "secondary", "--force", resource}, kSecondaryDeadline,
             &Impl::on_forced);
  } else {
    self.run_secondary(operation);
  }
}

std::vector<Finding> Drbd::preflight(const std::vector<std::string>& resources) {
  std::vector<Finding> findings;
  if (resources.empty()) return findings;
  control::EventLoop loop;
  const auto run = [&loop](const std::vector<std::string>& arguments) {
    CommandResult result;
    const Command command(loop, arguments, milliseconds(10000), [&](const CommandResult& ended) {
      result = ended;
      loop.stop();
    });
    loop.run();
    return result;
  };
  const CommandResult version = run({"drbdadm", "--version"});
  if (version.status == 127) {
    findings.push_back(
        {Finding::Severity::refuse,
         fmt::format("DRBD's tools are missing: install drbd-utils ({})", first_line(version.err))});
    return findings;
  }
  const uint32_t kernel_version = parse_drbd_kernel_version(version.out);
  if (kernel_version == 0)
    findings.push_back(
        {Finding::Severity::warn,
         "drbdadm finds no DRBD in the kernel: load the module drbd (modprobe drbd), or install it"});
  const CommandResult dump = run({"drbdadm", "dump"});
  const auto settings = parse_drbd_dump(dump.out);
  for (const std::string& resource : std::set<std::string>(resources.begin(), resources.end())) {
    const auto found = settings.find(resource);
    if (found != settings.end()) {
      for (Finding& finding : judge_drbd_settings(resource, found->second, kernel_version))
        findings.push_back(std::move(finding));
      continue;
    }
    const DrbdReply reply = parse_drbd_reply("drbdadm dump", dump);
    findings.push_back({Finding::Severity::refuse,
                        fmt::format("DRBD resource {} is not configured on this node: see drbdadm dump and "
                                    "/etc/drbd.d{}{}",
                                    resource, reply.text.empty() ? "" : "; ", reply.text)});
  }
  return findings;
}

}  // namespace itgtd::ha
