#include "ha/adapters/child_process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <utility>

#include "base/descriptor.h"

namespace itgtd::ha {

namespace {

/// What one wake-up reads of one pipe, in pieces of the buffer: a program that floods does not keep the
/// thread.
constexpr int kReadsPerTurn = 16;
constexpr size_t kReadBytes = 16384;

struct Pipe {
  std::optional<Descriptor> read;
  std::optional<Descriptor> write;
};

Result<void> open_pipe(Pipe& pipe) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return Error{errno, "pipe2"};
  pipe.read.emplace(ends[0]);
  pipe.write.emplace(ends[1]);
  // Only our end: programs do not expect a standard output that refuses.
  if (::fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) return Error{errno, "fcntl of a pipe"};
  return {};
}

/// posix_spawn's two objects, freed with their owner.
struct SpawnSettings {
  SpawnSettings() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

Result<pid_t> spawn(const std::vector<std::string>& arguments, int out, int err) {
  SpawnSettings settings;
  posix_spawn_file_actions_addopen(&settings.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&settings.actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&settings.actions, err, STDERR_FILENO);
  // Libraries open descriptors without O_CLOEXEC too.
  posix_spawn_file_actions_addclosefrom_np(&settings.actions, STDERR_FILENO + 1);
  sigset_t all;
  sigset_t none;
  sigfillset(&all);
  sigemptyset(&none);
  posix_spawnattr_setsigdefault(&settings.attributes, &all);
  posix_spawnattr_setsigmask(&settings.attributes, &none);
  posix_spawnattr_setpgroup(&settings.attributes, 0);
  posix_spawnattr_setflags(&settings.attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  std::vector<std::string> words = arguments;  // posix_spawn takes them as not const
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = -1;
  const int error =
      ::posix_spawnp(&pid, argv[0], &settings.actions, &settings.attributes, argv.data(), environ);
  if (error != 0) return Error{error, fmt::format("can't run {}", arguments[0])};
  return pid;
}

/// glibc 2.36 has it too, but its header has no C linkage.
int open_pidfd(pid_t pid) {
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
}

/// Reaps `pid`, which has been killed, now or later: a process in a system call that does not end is not
/// waited for. Nothing is lost when the loop ends before: the kernel gives the process to init with ours.
void reap(control::EventLoop& loop, pid_t pid, std::chrono::milliseconds next) {
  if (::waitpid(pid, nullptr, WNOHANG) != 0) return;
  loop.after(next,
             [&loop, pid, next] { reap(loop, pid, std::min(2 * next, std::chrono::milliseconds(1000))); });
}

}  // namespace

struct ChildProcess::Impl {
  Impl(control::EventLoop& event_loop, Callbacks functions)
      : loop(event_loop), callbacks(std::make_shared<Callbacks>(std::move(functions))) {}

  control::EventLoop& loop;
  /// Owners: this, and the call in progress, since a callback may destroy the object.
  std::shared_ptr<Callbacks> callbacks;
  /// Gone exactly when this is: how a loop of callbacks sees that one of them destroyed it.
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  pid_t pid = -1;  ///< -1: reaped
  Pipe out;
  Pipe err;
  std::optional<Descriptor> pidfd;
  control::Subscription out_watch;
  control::Subscription err_watch;
  control::Subscription exit_watch;

  /// Reads what is there; false: this has been destroyed by a callback.
  bool read(const Pipe& pipe, control::Subscription& watch, const std::function<void(std::string_view)>& sink,
            int reads_max) {
    const std::weak_ptr<bool> living = alive;
    const std::shared_ptr<Callbacks> keep = callbacks;
    std::array<char, kReadBytes> buffer;  // filled by read
    for (int i = 0; i < reads_max; ++i) {
      const ssize_t bytes = ::read(pipe.read->get(), buffer.data(), buffer.size());
      if (bytes < 0 && errno == EINTR) continue;
      if (bytes < 0 && errno == EAGAIN) return true;
      if (bytes <= 0) {
        watch.reset();
        return true;
      }
      if (sink) sink(std::string_view(buffer.data(), static_cast<size_t>(bytes)));
      if (living.expired()) return false;
    }
    return true;
  }

  void on_exited() {
    siginfo_t info{};
    if (::waitid(P_PIDFD, static_cast<id_t>(pidfd->get()), &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0)
      return;
    pid = -1;
    exit_watch.reset();
    // What it wrote is in the pipes; others that hold them may go on writing, so not until their end.
    if (!read(out, out_watch, callbacks->on_output, kReadsPerTurn)) return;
    if (!read(err, err_watch, callbacks->on_error, kReadsPerTurn)) return;
    out_watch.reset();
    err_watch.reset();
    const bool exited = info.si_code == CLD_EXITED;
    const std::shared_ptr<Callbacks> keep = callbacks;
    if (keep->on_exit) keep->on_exit({exited ? info.si_status : -1, exited ? 0 : info.si_status});
  }
};

Result<std::unique_ptr<ChildProcess>> ChildProcess::start(control::EventLoop& loop,
                                                          const std::vector<std::string>& arguments,
                                                          Callbacks callbacks) {
  auto impl = std::make_unique<Impl>(loop, std::move(callbacks));
  for (auto* pipe : {&impl->out, &impl->err}) {
    if (auto opened = open_pipe(*pipe); !opened.ok()) return opened.error();
  }
  auto pid = spawn(arguments, impl->out.write->get(), impl->err.write->get());
  if (!pid.ok()) return pid.error();
  impl->pid = *pid;
  impl->out.write.reset();
  impl->err.write.reset();
  // No race: only we reap it, so the number is its own until then.
  impl->pidfd.emplace(open_pidfd(*pid));
  const int error = errno;
  std::unique_ptr<ChildProcess> child(new ChildProcess(std::move(impl)));
  Impl& self = *child->impl_;
  if (!self.pidfd->ok()) return Error{error, "pidfd_open"};
  self.out_watch = loop.watch_readable(self.out.read->get(), [&self] {
    self.read(self.out, self.out_watch, self.callbacks->on_output, kReadsPerTurn);
  });
  self.err_watch = loop.watch_readable(self.err.read->get(), [&self] {
    self.read(self.err, self.err_watch, self.callbacks->on_error, kReadsPerTurn);
  });
  self.exit_watch = loop.watch_readable(self.pidfd->get(), [&self] { self.on_exited(); });
  return child;
}

ChildProcess::ChildProcess(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ChildProcess::~ChildProcess() {
  const pid_t pid = impl_->pid;
  if (pid < 0) return;
  kill();
  reap(impl_->loop, pid, std::chrono::milliseconds(5));
}

void ChildProcess::kill() {
  if (impl_->pid > 0) ::kill(-impl_->pid, SIGKILL);
}

}  // namespace itgtd::ha
