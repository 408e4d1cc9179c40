// The target's side of a cluster without the cluster: what ha/ would ask of the groups is read from the
// standard input, a command a line, and what comes of it is written to the standard output.
//
//   start GROUP | quiesce GROUP DRAIN_MS | stop GROUP | suspend GROUP | resume GROUP
//   lease MS     served until so long from now; negative: it has ended
//   block MS     the control thread hangs
//   reload
//
// For test_groups.py. SIGTERM ends it, as itgtd.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <future>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "target/config/load.h"
#include "target/groups.h"
#include "target/task_management.h"

namespace itgtd::target {
namespace {

class GroupDaemon {
 public:
  GroupDaemon(std::string path, config::Config config)
      : path_(std::move(path)),
        config_(std::move(config)),
        mailbox_(std::move(net::WakeUp::create().value())),
        mailboxes_(make_mailboxes(config_.daemon.workers)) {
    loop_.on_signals({SIGTERM, SIGINT}, [this](int) { stop(); });
    start_workers();
  }
  int run();

 private:
  void start_workers();
  void read_commands();
  void on_command(const std::string& line);
  void say(const std::string& line) {
    fmt::print("{}\n", line);
    std::fflush(stdout);
  }
  ha::GroupService::Done answer(const std::string& command) {
    return [this, command](const Result<void>& result) {
      say(command + (result ? std::string(": done") : ": " + result.error().to_string()));
    };
  }
  void stop() {
    service_.refuse_connections();
    coordinator_.tell_all(Stop{});
  }
  static std::vector<std::unique_ptr<WorkerMailbox>> make_mailboxes(uint32_t count) {
    std::vector<std::unique_ptr<WorkerMailbox>> made;
    for (uint32_t i = 0; i < count; ++i) {
      made.push_back(std::make_unique<WorkerMailbox>(std::move(net::WakeUp::create().value())));
    }
    return made;
  }
  [[nodiscard]] std::vector<WorkerMailbox*> boxes() const {
    std::vector<WorkerMailbox*> all;
    for (const auto& box : mailboxes_) all.push_back(box.get());
    return all;
  }
  void on_message(const Taken& message) { coordinator_.on_taken(message.change); }
  void on_message(const Accepted& message) { service_.on_accepted(message); }
  void on_message(const ConnectionClosed& message) { service_.on_connection_closed(message); }
  void on_message(const OpenSession& message) { service_.on_open_session(message); }
  void on_message(const SessionClosed& message) { service_.on_session_closed(message); }
  void on_message(const DecideUpdate& message) { writer_.on_update(message); }
  void on_message(const BreakTokens& message) { writer_.on_break_tokens(message); }
  void on_message(const AttentionTold& message) { writer_.on_told(message); }
  void on_message(const Manage& message) { task_management_.start(message); }
  void on_message(const Stopped&) {
    if (++stopped_ != threads_.size()) return;
    coordinator_.tell_all(Quit{});
    loop_.stop();
  }

  std::string path_;
  config::Config config_;
  control::EventLoop loop_;
  ControlMailbox mailbox_;
  std::vector<std::unique_ptr<WorkerMailbox>> mailboxes_;
  std::vector<std::thread> threads_;
  Coordinator coordinator_{boxes()};
  FileLuStore store_{config_.daemon.state_dir};
  StateWriter writer_{coordinator_, &store_};
  Registry registry_;
  Service service_{loop_, coordinator_, writer_, registry_, store_};
  TaskManagement task_management_{loop_, coordinator_, writer_, [](Key) {}};
  Groups groups_{loop_, coordinator_, service_};
  std::string input_;
  size_t stopped_ = 0;
};

void GroupDaemon::start_workers() {
  for (WorkerIndex index = 0; index < mailboxes_.size(); ++index) {
    std::promise<void> started;
    threads_.emplace_back([this, index, &started] {
      auto worker = Worker::create({index, Polling::off}, boxes(), mailbox_);
      if (!worker) {
        log::error("{}", worker.error().to_string());
        std::_Exit(1);
      }
      started.set_value();
      (*worker)->run();
    });
    started.get_future().wait();
  }
}

int GroupDaemon::run() {
  writer_.set_nexuses([this](Key target) { return registry_.nexuses(target); });
  loop_.watch(mailbox_.fd(), [this] {
    for (const ControlMessage& message : mailbox_.drain()) {
      std::visit([this](const auto& content) { on_message(content); }, message);
    }
  });
  groups_.set_on_sessions([this](const std::string& group, uint32_t sessions,
                                 const std::vector<ha::TcpPair>& opened,
                                 const std::vector<ha::TcpPair>& closed) {
    say(fmt::format("sessions {} {} opened {} closed {}", group, sessions, opened.size(), closed.size()));
  });
  service_.apply(config_, [this] {
    say("ready");
    loop_.watch(STDIN_FILENO, [this] { read_commands(); });
  });
  loop_.run();
  for (std::thread& thread : threads_) thread.join();
  return 0;
}

void GroupDaemon::read_commands() {
  std::array<char, 4096> bytes{};
  const ssize_t count = ::read(STDIN_FILENO, bytes.data(), bytes.size());
  if (count <= 0) {
    stop();
    return;
  }
  input_.append(bytes.data(), static_cast<size_t>(count));
  for (size_t end = input_.find('\n'); end != std::string::npos; end = input_.find('\n')) {
    const std::string line = input_.substr(0, end);
    input_.erase(0, end + 1);
    on_command(line);
  }
}

void GroupDaemon::on_command(const std::string& line) {
  std::istringstream words(line);
  std::string verb;
  std::string group;
  int64_t number = 0;
  words >> verb;
  if (verb == "lease" || verb == "block") {
    words >> number;
  } else {
    words >> group >> number;
  }
  if (verb == "start") {
    groups_.start(group, 1, answer(line));
  } else if (verb == "quiesce") {
    groups_.quiesce(group, number, answer(line));
  } else if (verb == "stop") {
    groups_.stop(group, answer(line));
  } else if (verb == "suspend") {
    groups_.suspend(group);
  } else if (verb == "resume") {
    groups_.resume(group);
  } else if (verb == "lease") {
    groups_.set_lease(boot_time_ms() + number);
  } else if (verb == "block") {
    ::poll(nullptr, 0, static_cast<int>(number));
  } else if (verb == "reload") {
    service_.apply(config::load_file(path_).config, [this, line] { say(line + ": done"); });
  } else {
    say("unknown: " + line);
  }
  if (verb == "suspend" || verb == "resume" || verb == "lease" || verb == "block") say(line + ": done");
}

}  // namespace
}  // namespace itgtd::target

int main(int argc, char** argv) {
  using namespace itgtd;
  if (argc != 2) return 2;
  config::Loaded loaded = config::load_file(argv[1]);
  for (const config::Problem& problem : loaded.problems) log::error("{}", problem.to_string());
  if (!loaded.problems.empty()) return 2;
  log::set_level(log::Level::debug);
  return target::GroupDaemon(argv[1], std::move(loaded.config)).run();
}
