// The first process of a guest of the lab: does what tests/lab/lab/agent.py asks for on a virtio-serial port.
// Shells and Python are some 20 times slower in an emulated machine; this is what is left of them.
//
// A request is a line "VERB ID N1 N2 N3 NUMBER" and N1 + N2 + N3 bytes; an answer "KIND ID NUMBER N1 N2" and
// N1 + N2 bytes.
//
//   run    arguments, each ended by a zero byte; standard input; path of a log, or nothing; limit in ms, 0:
//   none
//          "started" with the process id, then "exited" with the status, "signalled" with the signal or
//          "timeout"; each with standard output and standard error. With a log both go there.
//   kill   NUMBER is a signal, for the process group that ID's run has started. No answer but the run's own.
//   write  path, content; NUMBER is the mode: "exited" 0, or "failed" with the reason in the second text
//   read   path: "exited" 0 with the content in the first text, or "failed"
//
// When it starts it says "hello". Several runs go on at once.
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <list>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lab {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kOutputBytesMax = size_t{8} << 20;
constexpr size_t kRequestBytesMax = size_t{64} << 20;
constexpr const char* kPortName = "itgt.lab";

void pause_ms(int time_ms) {
  static_cast<void>(::poll(nullptr, 0, time_ms));
}

/// An open descriptor, closed once.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Descriptor() { close(); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_ = -1;
};

struct Request {
  std::string verb;
  uint64_t id = 0;
  std::array<std::string, 3> texts;
  int64_t number = 0;
};

/// A program that was asked for.
struct Run {
  uint64_t id = 0;
  pid_t pid = -1;
  Descriptor in, out, err;
  std::string to_write, output, errors;
  std::optional<Clock::time_point> deadline;
  bool timed_out = false;
};

class Port {
 public:
  explicit Port(int fd) : fd_(fd) {}
  [[nodiscard]] int fd() const { return fd_.get(); }

  /// What has come; false: nobody is at the other end.
  bool receive() {
    std::array<char, 65536> buffer{};
    const ssize_t got = ::read(fd(), buffer.data(), buffer.size());
    if (got > 0) received_.append(buffer.data(), static_cast<size_t>(got));
    return got > 0 || (got < 0 && errno == EAGAIN);
  }
  /// The next whole request.
  std::optional<Request> next() {
    const size_t end = received_.find('\n');
    if (end == std::string::npos) return std::nullopt;
    std::istringstream line(received_.substr(0, end));
    Request request;
    std::array<size_t, 3> bytes{};
    line >> request.verb >> request.id >> bytes[0] >> bytes[1] >> bytes[2] >> request.number;
    const size_t total = bytes[0] + bytes[1] + bytes[2];
    if (!line || total > kRequestBytesMax) {
      received_.erase(0, end + 1);
      return std::nullopt;
    }
    if (received_.size() < end + 1 + total) return std::nullopt;
    size_t at = end + 1;
    for (size_t i = 0; i < bytes.size(); ++i) {
      request.texts[i] = received_.substr(at, bytes[i]);
      at += bytes[i];
    }
    received_.erase(0, at);
    return request;
  }
  void answer(const char* kind, uint64_t id, int64_t number, std::string_view first = {},
              std::string_view second = {}) {
    std::ostringstream head;
    head << kind << ' ' << id << ' ' << number << ' ' << first.size() << ' ' << second.size() << '\n';
    send(head.str());
    send(first);
    send(second);
  }

 private:
  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t put = ::write(fd(), text.data(), text.size());
      if (put > 0) {
        text.remove_prefix(static_cast<size_t>(put));
        continue;
      }
      if (put < 0 && errno != EAGAIN && errno != EINTR) return;
      pollfd entry{fd(), POLLOUT, 0};
      if (::poll(&entry, 1, 5000) <= 0) return;
    }
  }

  Descriptor fd_;
  std::string received_;
};

/// The device of the port of that name; empty: not there yet.
std::string port_device() {
  const std::string folder = "/sys/class/virtio-ports";
  DIR* listing = ::opendir(folder.c_str());
  if (listing == nullptr) return {};
  std::string found;
  while (const dirent* entry = ::readdir(listing)) {
    std::ifstream file(folder + "/" + entry->d_name + "/name");
    std::string name;
    if (file >> name && name == kPortName) found = std::string("/dev/") + entry->d_name;
  }
  ::closedir(listing);
  return found;
}

bool make_pipe(Descriptor& reading, Descriptor& writing) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return false;
  reading = Descriptor(ends[0]);
  writing = Descriptor(ends[1]);
  return true;
}

void do_not_block(const Descriptor& descriptor) {
  ::fcntl(descriptor.get(), F_SETFL, ::fcntl(descriptor.get(), F_GETFL) | O_NONBLOCK);
}

/// Reads what there is; at the end, or beyond the limit of what is kept, goes on without keeping.
void drain(Descriptor& from, std::string& into) {
  std::array<char, 65536> buffer{};
  while (from.get() >= 0) {
    const ssize_t got = ::read(from.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) from.close();
    if (got > 0 && into.size() < kOutputBytesMax) into.append(buffer.data(), static_cast<size_t>(got));
  }
}

void feed(Run& run) {
  while (run.in.get() >= 0 && !run.to_write.empty()) {
    const ssize_t put = ::write(run.in.get(), run.to_write.data(), run.to_write.size());
    if (put < 0 && errno == EAGAIN) return;
    if (put <= 0) break;
    run.to_write.erase(0, static_cast<size_t>(put));
  }
  run.in.close();
}

class Agent {
 public:
  explicit Agent(Port& port) : port_(port) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    signals_ = Descriptor(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  }

  void turn() {
    wait();
    if (!port_.receive()) pause_ms(20);
    while (const std::optional<Request> request = port_.next()) handle(*request);
    std::array<char, 1024> ignored{};
    while (::read(signals_.get(), ignored.data(), ignored.size()) > 0) {
    }
    for (Run& run : runs_) {
      drain(run.out, run.output);
      drain(run.err, run.errors);
      feed(run);
      if (run.deadline && Clock::now() >= *run.deadline) {
        run.timed_out = true;
        run.deadline.reset();
        ::kill(-run.pid, SIGKILL);
      }
    }
    reap();
  }

 private:
  void wait() {
    std::vector<pollfd> entries{{port_.fd(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
    int limit_ms = 1000;
    for (const Run& run : runs_) {
      for (const Descriptor* from : {&run.out, &run.err})
        if (from->get() >= 0) entries.push_back({from->get(), POLLIN, 0});
      if (run.in.get() >= 0) entries.push_back({run.in.get(), POLLOUT, 0});
      if (!run.deadline) continue;
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(*run.deadline - Clock::now()).count();
      limit_ms = std::min(limit_ms, static_cast<int>(std::clamp<int64_t>(left + 1, 0, 1000)));
    }
    static_cast<void>(::poll(entries.data(), entries.size(), limit_ms));
  }

  void handle(const Request& request) {
    if (request.verb == "run") start(request);
    if (request.verb == "kill")
      for (const Run& run : runs_)
        if (run.id == request.id) ::kill(-run.pid, static_cast<int>(request.number));
    if (request.verb == "write") write_file(request);
    if (request.verb == "read") read_file(request);
  }

  void write_file(const Request& request) {
    const std::string& path = request.texts[0];
    const Descriptor file(
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, static_cast<mode_t>(request.number)));
    std::string_view rest = request.texts[1];
    while (file.get() >= 0 && !rest.empty()) {
      const ssize_t put = ::write(file.get(), rest.data(), rest.size());
      if (put <= 0) break;
      rest.remove_prefix(static_cast<size_t>(put));
    }
    if (file.get() < 0 || !rest.empty()) return fail(request, path);
    port_.answer("exited", request.id, 0);
  }

  void read_file(const Request& request) {
    Descriptor file(::open(request.texts[0].c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (file.get() < 0) return fail(request, request.texts[0]);
    std::string content;
    drain(file, content);
    port_.answer("exited", request.id, 0, content);
  }

  void fail(const Request& request, const std::string& what) {
    port_.answer("failed", request.id, errno, {}, what + ": " + std::strerror(errno));
  }

  void start(const Request& request) {
    Run run;
    run.id = request.id;
    run.to_write = request.texts[1];
    Descriptor child_in, child_out, child_err;
    const std::string& log = request.texts[2];
    bool made = make_pipe(child_in, run.in);
    if (log.empty()) {
      made = made && make_pipe(run.out, child_out) && make_pipe(run.err, child_err);
    } else {
      child_out = Descriptor(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
      made = made && child_out.get() >= 0;
    }
    if (!made) return fail(request, "run");
    std::vector<std::string> words;
    for (size_t at = 0, end = 0; (end = request.texts[0].find('\0', at)) != std::string::npos; at = end + 1)
      words.push_back(request.texts[0].substr(at, end - at));
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    run.pid = ::fork();
    if (run.pid < 0) return fail(request, "fork");
    if (run.pid == 0) {
      become(arguments, child_in.get(), child_out.get(), log.empty() ? child_err.get() : child_out.get());
    }
    for (const Descriptor* ours : {&run.in, &run.out, &run.err})
      if (ours->get() >= 0) do_not_block(*ours);
    feed(run);
    if (request.number > 0) run.deadline = Clock::now() + std::chrono::milliseconds(request.number);
    port_.answer("started", run.id, run.pid);
    runs_.push_back(std::move(run));
  }

  /// In the child.
  [[noreturn]] static void become(const std::vector<char*>& arguments, int in, int out, int err) {
    ::setsid();
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(err, 2);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    static_cast<void>(std::signal(SIGPIPE, SIG_DFL));
    ::execvp(arguments[0], arguments.data());
    std::fprintf(stderr, "%s: %s\n", arguments[0], std::strerror(errno));
    ::_exit(127);
  }

  /// Also what lost its parent: that is the first process's task.
  void reap() {
    int status = 0;
    for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      for (auto run = runs_.begin(); run != runs_.end(); ++run) {
        if (run->pid != pid) continue;
        // What it left running may hold the pipes open: only what is in them by now.
        drain(run->out, run->output);
        drain(run->err, run->errors);
        const bool exited = WIFEXITED(status);
        const char* kind = run->timed_out ? "timeout" : exited ? "exited" : "signalled";
        port_.answer(kind, run->id, exited ? WEXITSTATUS(status) : WTERMSIG(status), run->output,
                     run->errors);
        runs_.erase(run);
        break;
      }
    }
  }

  Port& port_;
  Descriptor signals_;
  std::list<Run> runs_;
};

}  // namespace
}  // namespace lab

int main() {
  ::setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
  ::setenv("HOME", "/", 1);
  ::setenv("LC_ALL", "C.UTF-8", 1);
  int fd = -1;
  for (int i = 0; i < 500 && fd < 0; ++i) {
    const std::string device = lab::port_device();
    if (!device.empty()) fd = ::open(device.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) lab::pause_ms(20);
  }
  if (fd < 0) {
    std::fprintf(stderr, "lab agent: there is no port %s\n", lab::kPortName);
    return 1;
  }
  lab::Port port(fd);
  lab::Agent agent(port);
  port.answer("hello", 0, ::getpid());
  while (true) agent.turn();
}
