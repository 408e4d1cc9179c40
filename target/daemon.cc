#include "target/daemon.h"

#include <sched.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <csignal>
#include <future>

#include "base/log.h"
#include "base/random.h"
#include "target/config/load.h"
#include "target/config/serials.h"
#include "target/config/validate.h"

namespace itgtd::target {
namespace {

/// Workers that have not stopped this long after SIGTERM have an operation stuck in the kernel: the process
/// leaves without them.
constexpr std::chrono::seconds kStopTime = 2 * kDrainTime;

uint32_t cores_available() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return static_cast<uint32_t>(std::max(1, CPU_COUNT(&set)));
}

/// A descriptor per connection and per disk and worker: as many as the system lets us have.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

/// The event loop takes its signal handlers with it when it goes: a second SIGTERM between that and the end
/// of the process would otherwise make a clean stop look like a death.
void block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGHUP, SIGTERM, SIGINT}) sigaddset(&set, number);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Polling polling_of(config::Polling polling) {
  switch (polling) {
    case config::Polling::off:
      return Polling::off;
    case config::Polling::adaptive:
      return Polling::adaptive;
    case config::Polling::always:
      return Polling::always;
  }
  return Polling::adaptive;
}

log::Level level_of(config::LogLevel level) {
  switch (level) {
    case config::LogLevel::error:
      return log::Level::error;
    case config::LogLevel::warning:
      return log::Level::warning;
    case config::LogLevel::info:
      return log::Level::info;
    case config::LogLevel::debug:
      return log::Level::debug;
  }
  return log::Level::info;
}

}  // namespace

Daemon::Daemon(std::string config_path, config::Config config)
    : config_path_(std::move(config_path)), config_(std::move(config)) {}

Daemon::~Daemon() = default;

Result<void> Daemon::start_workers() {
  const uint32_t count = config_.daemon.workers != 0 ? config_.daemon.workers : cores_available();
  std::vector<WorkerMailbox*> mailboxes;
  for (WorkerIndex index = 0; index < count; ++index) {
    auto wake_up = net::WakeUp::create();
    if (!wake_up) return wake_up.error();
    mailboxes_.push_back(std::make_unique<WorkerMailbox>(std::move(*wake_up)));
    mailboxes.push_back(mailboxes_.back().get());
  }
  workers_.resize(count);
  for (WorkerIndex index = 0; index < count; ++index) {
    std::promise<Result<void>> started;
    auto result = started.get_future();
    const WorkerOptions options{index, polling_of(config_.daemon.polling)};
    workers_[index].thread = std::thread([options, mailboxes, control = mailbox_.get(), &started] {
      // A ring belongs to the thread that made it.
      auto worker = Worker::create(options, mailboxes, *control);
      if (!worker) {
        started.set_value(worker.error());
        return;
      }
      started.set_value({});
      (*worker)->run();
    });
    const Result<void> outcome = result.get();
    if (!outcome) {
      workers_[index].thread.join();
      workers_.resize(index);
      return Error{outcome.error().code, "a worker could not start: " + outcome.error().message};
    }
  }
  return {};
}

int Daemon::run() {
  log::set_level(level_of(config_.daemon.log_level));
  auto lock = StateDirLock::take(config_.daemon.state_dir);
  if (!lock) {
    log::error("not started: {}", lock.error().to_string());
    return 1;
  }
  state_dir_lock_.emplace(std::move(*lock));
  raise_descriptor_limit();
  auto wake_up = net::WakeUp::create();
  if (!wake_up) {
    log::error("{}", wake_up.error().to_string());
    return 1;
  }
  mailbox_ = std::make_unique<ControlMailbox>(std::move(*wake_up));
  // Whoever reads the log may go: the disks are served on.
  std::signal(SIGPIPE, SIG_IGN);
  // Blocked before the workers are made, so that signals are the control thread's alone.
  loop_.on_signals({SIGHUP, SIGTERM, SIGINT}, [this](int number) { on_signal(number); });
  loop_.watch(mailbox_->fd(), [this] { read_mailbox(); });
  const Result<void> started = start_workers();
  std::vector<WorkerMailbox*> mailboxes;
  for (size_t i = 0; i < workers_.size(); ++i) mailboxes.push_back(mailboxes_[i].get());
  coordinator_ = std::make_unique<Coordinator>(std::move(mailboxes));
  store_ = std::make_unique<FileLuStore>(config_.daemon.state_dir);
  if (config_.cluster)
    group_stores_ = std::make_unique<GroupStores>(loop_, *store_, config_.daemon.state_dir);
  LuStore& units = group_stores_ ? group_stores_->store() : *store_;
  writer_ = std::make_unique<StateWriter>(*coordinator_, &units);
  service_ = std::make_unique<Service>(loop_, *coordinator_, *writer_, registry_, units);
  task_management_ = std::make_unique<TaskManagement>(loop_, *coordinator_, *writer_, [this](Key target) {
    service_->close_sessions(target, "TARGET COLD RESET");
  });
  writer_->set_nexuses([this](Key target) { return registry_.nexuses(target); });
  writer_->set_abort([this](Key target, uint16_t lun, std::vector<scsi::InitiatorPort> ports,
                            scsi::NexusId nexus, std::function<void(bool)> done) {
    task_management_->abort(target, lun, std::move(ports), nexus, std::move(done));
  });
  service_->inherit_listeners();  // before anything opens a descriptor that is to be low
  if (config_.cluster) make_cluster();
  Result<void> ready = started;
  if (ready) ready = config::fill_serials(config_, random_bytes);
  if (ready) ready = start_control();
  if (!ready) {
    log::error("{}", ready.error().to_string());
    fail_start();
  } else {
    service_->apply(config_, [this] { on_started(); });
  }
  if (!workers_.empty()) loop_.run();
  for (WorkerThread& worker : workers_) worker.thread.join();
  block_signals();
  return exit_status_;
}

void Daemon::fail_start() {
  exit_status_ = 1;
  stop();
}

void Daemon::on_started() {
  if (stopping_) return;  // SIGTERM was quicker
  const Service::Summary summary = service_->summary();
  if (summary.portals == 0 && summary.portals_failed != 0) {
    // Most likely another daemon, perhaps another itgtd on the same disks: not a place to go on from.
    log::error("not started: no portal can be had; stop what listens there, or change the portals");
    fail_start();
    return;
  }
  if (const Result<void> joined = start_cluster(); !joined) {
    log::error("not started: {}", joined.error().to_string());
    fail_start();
    return;
  }
  log::info("serving {} target{} with {} LUN{} on {} portal{}, {} worker{}", summary.targets,
            summary.targets == 1 ? "" : "s", summary.luns, summary.luns == 1 ? "" : "s", summary.portals,
            summary.portals == 1 ? "" : "s", workers_.size(), workers_.size() == 1 ? "" : "s");
  if (!config_.daemon.http.empty()) {
    log::warning("daemon.http = \"{}\": this version serves no metrics and no status page yet",
                 config_.daemon.http);
  }
  sd_notify(0, "READY=1");
}

void Daemon::read_mailbox() {
  for (const ControlMessage& message : mailbox_->drain()) {
    std::visit([this](const auto& content) { on_message(content); }, message);
  }
}

void Daemon::on_signal(int number) {
  if (number == SIGHUP) {
    if (!stopping_) reload();
  } else {
    stop();
  }
}

void Daemon::reload() {
  sd_notify(0, "RELOADING=1");
  config::Loaded loaded = config::load_file(config_path_);
  std::vector<std::string> errors;
  for (const config::Problem& problem : loaded.problems) errors.push_back(problem.to_string());
  if (errors.empty()) {
    if (const auto refusal = config::refuse_at_start(loaded.config))
      errors.push_back(config_path_ + ": " + *refusal);
  }
  if (errors.empty()) errors = refuse_reload(loaded.config);
  if (errors.empty()) {
    const auto filled = config::fill_serials(loaded.config, random_bytes);
    if (!filled) errors.push_back(filled.error().to_string());
  }
  if (!errors.empty()) {
    for (const std::string& error : errors) log::error("{}", error);
    log::error("the configuration was not reloaded: what was running goes on");
    sd_notify(0, "READY=1");
    return;
  }
  log::set_level(level_of(loaded.config.daemon.log_level));
  config_ = loaded.config;
  if (group_stores_) group_stores_->configure(config_);  // before new units are restored
  service_->apply(config_, [this] {
    if (stopping_) return;
    if (cluster_) configure_cluster();
    const Service::Summary summary = service_->summary();
    log::info("configuration reloaded: {} targets, {} LUNs, {} portals", summary.targets, summary.luns,
              summary.portals);
    sd_notify(0, "READY=1");
  });
}

void Daemon::stop() {
  if (stopping_) return;
  stopping_ = true;
  sd_notify(0, "STOPPING=1");
  leave_cluster();
}

void Daemon::stop_workers() {
  if (workers_stopping_) return;
  workers_stopping_ = true;
  log::info("stopping: no new logins, commands in flight finish");
  service_->refuse_connections();
  coordinator_->tell_all(Stop{});
  loop_.after(kStopTime, [] {
    log::error("I/O is stuck in the kernel: leaving without it");
    _exit(1);
  });
}

void Daemon::on_message(const Stopped& message) {
  workers_.at(message.worker).stopped = true;
  for (const WorkerThread& worker : workers_) {
    if (!worker.stopped) return;
  }
  // Only now: until its last command was over, each of them may have needed another for a claim.
  coordinator_->tell_all(Quit{});
  log::info("stopped");
  loop_.stop();
}

}  // namespace itgtd::target
