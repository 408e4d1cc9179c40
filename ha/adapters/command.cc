#include "ha/adapters/command.h"

#include <algorithm>
#include <utility>

#include "ha/adapters/child_process.h"

namespace itgtd::ha {

namespace {

constexpr size_t kOutputBytesMax = size_t{1} << 20;
/// What a killed program gets to end before its result is given without it: in a system call of a driver it
/// may not be killable.
constexpr std::chrono::milliseconds kKillGrace{500};

void append(std::string& text, std::string_view more) {
  text.append(more.substr(0, std::min(more.size(), kOutputBytesMax - text.size())));
}

}  // namespace

struct Command::Impl {
  std::unique_ptr<ChildProcess> child;
  control::Subscription timer;
  CommandResult result;
  std::function<void(const CommandResult&)> done;

  /// The last thing that is done with this: `done` may destroy it.
  void finish() {
    timer.reset();
    child.reset();
    const auto call = std::move(done);
    const CommandResult ended = std::move(result);
    if (call) call(ended);
  }
};

Command::Command(control::EventLoop& loop, std::vector<std::string> arguments,
                 std::chrono::milliseconds deadline, std::function<void(const CommandResult&)> done)
    : impl_(std::make_unique<Impl>()) {
  Impl& self = *impl_;
  self.done = std::move(done);
  auto child =
      ChildProcess::start(loop, arguments,
                          {.on_output = [&self](std::string_view text) { append(self.result.out, text); },
                           .on_error = [&self](std::string_view text) { append(self.result.err, text); },
                           .on_exit =
                               [&self](const ExitStatus& exit) {
                                 self.result.status = self.result.timed_out ? -1 : exit.status;
                                 self.finish();
                               }});
  if (!child.ok()) {
    self.result.status = 127;
    self.result.err = child.error().to_string();
    self.timer = loop.timer(std::chrono::milliseconds(0), [&self] { self.finish(); });
    return;
  }
  self.child = std::move(*child);
  self.timer = loop.timer(deadline, [&self, &loop] {
    self.result.timed_out = true;
    self.child->kill();
    self.timer = loop.timer(kKillGrace, [&self] { self.finish(); });
  });
}

Command::~Command() = default;

}  // namespace itgtd::ha
