// The daemon's part in a cluster, and its control socket.
#include <fmt/format.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cstdlib>

#include "base/log.h"
#include "target/cluster_methods.h"
#include "target/cluster_setup.h"
#include "target/daemon.h"

namespace itgtd::target {
namespace {

/// What the nodes take to hand over everything that this one owns; after that it leaves as it is, and its
/// lease ends.
constexpr std::chrono::seconds kLeaveTime{10};

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

std::string counted(size_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

}  // namespace

std::string Daemon::summary() const {
  const Service::Summary summary = service_->summary();
  return fmt::format("{}, {}, {}, {}", counted(summary.targets, "target"), counted(summary.luns, "LUN"),
                     counted(summary.portals, "portal"), counted(registry_.size(), "session"));
}

void Daemon::make_cluster() {
  groups_ = std::make_unique<Groups>(loop_, *coordinator_, *service_);
  cluster_ = std::make_unique<ha::Runtime>(loop_, *groups_, config_.daemon.state_dir);
  group_stores_->connect(*cluster_);
  group_stores_->configure(config_);
  groups_->set_release([this](const std::string& group, std::function<void()> done) {
    group_stores_->close(group, std::move(done));
  });
  groups_->set_prepare(
      [this](const std::string& group, ha::Epoch epoch, const std::vector<std::string>& units,
             GroupStores::Done done) { group_stores_->open(group, epoch, units, std::move(done)); });
}

void Daemon::configure_cluster() {
  cluster_->configure(group_setups(config_));
}

Result<void> Daemon::start_control() {
  control_ = std::make_unique<control::ControlServer>(loop_);
  register_cluster_methods(*control_, cluster_.get(), [this] { return summary(); });
  const auto watched =
      ha::service_watchdog_timeout(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), getpid());
  if (watched) watchdog_.emplace(loop_, *watched, [] { sd_notify(0, "WATCHDOG=1"); });
  return control_->listen(config_.daemon.control_socket);
}

Result<void> Daemon::start_cluster() {
  if (!cluster_) return {};
  return cluster_->start(config_.cluster->name, group_setups(config_));
}

std::vector<std::string> Daemon::refuse_reload(const config::Config& wanted) const {
  std::vector<std::string> errors;
  if (wanted.cluster.has_value() != config_.cluster.has_value()) {
    errors.push_back(fmt::format("{}: {} [cluster] takes a restart of the daemon", config_path_,
                                 wanted.cluster ? "adding" : "removing"));
  } else if (wanted.cluster && wanted.cluster->name != config_.cluster->name) {
    errors.push_back(fmt::format("{}:{}: another name of the cluster takes a restart of the daemon",
                                 config_path_, wanted.cluster->place.line_of("name")));
  }
  return errors;
}

/// First what others can serve is handed over; then the workers stop.
void Daemon::leave_cluster() {
  if (!cluster_) {
    stop_workers();
    return;
  }
  log::info("stopping: handing over what this node owns");
  loop_.after(kLeaveTime, [this] {
    if (workers_stopping_) return;
    log::warning("the groups could not be handed over within {} s", kLeaveTime.count());
    stop_workers();
  });
  cluster_->stop([this] { stop_workers(); });
}

}  // namespace itgtd::target
