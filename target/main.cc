// itgtd: arguments, configuration, daemon.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "base/log.h"
#include "ha/release.h"
#include "target/cluster_setup.h"
#include "target/config/load.h"
#include "target/config/validate.h"
#include "target/daemon.h"
#include "version.h"

namespace {

constexpr int kExitRuntime = 1;
constexpr int kExitConfiguration = 2;

enum class Job { serve, check, release };

int run(const std::string& path, Job job) {
  using namespace itgtd;
  config::Loaded loaded = config::load_file(path);
  for (const config::Problem& problem : loaded.problems) {
    std::fprintf(stderr, "%s\n", problem.to_string().c_str());
  }
  if (!loaded.problems.empty()) {
    const size_t count = loaded.problems.size();
    std::fprintf(stderr, "itgtd: %zu error%s in %s; nothing was done\n", count, count == 1 ? "" : "s",
                 path.c_str());
    return kExitConfiguration;
  }
  if (job == Job::release) return ha::release_after_end(target::release_work(loaded.config));
  if (job == Job::check) {
    std::printf("%s: no errors\n", path.c_str());
    return 0;
  }
  if (const auto refusal = config::refuse_at_start(loaded.config)) {
    std::fprintf(stderr, "%s: %s\n", path.c_str(), refusal->c_str());
    return kExitConfiguration;
  }
  target::Daemon daemon(path, std::move(loaded.config));
  return daemon.run();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"iSCSI target server with multipath portals"};
  std::string path = "/etc/itgtd/itgtd.toml";
  bool check_only = false;
  bool release = false;
  app.add_option("--config", path, "configuration file")->capture_default_str()->type_name("FILE");
  // Without an option text, --help has what excludes what in front of the description.
  auto* check = app.add_flag("--check", check_only,
                             "check the configuration, print every error as file:line: message, and leave")
                    ->option_text(" ");
  app.add_flag("--release", release,
               "give up the addresses and DRBD resources of all groups on this node, after the daemon has\n"
               "ended, so that another node can take them; for the unit's ExecStopPost")
      ->option_text(" ")
      ->excludes(check);
  app.set_version_flag("--version", "itgtd " ITGTD_VERSION);
  app.footer(
      "Signals: SIGHUP reloads the configuration; SIGTERM finishes what is in flight and stops.\n"
      "Exit status: 0 stopped as asked, 1 run time error, 2 configuration error.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : kExitConfiguration;
  }
  try {
    return run(path, release ? Job::release : check_only ? Job::check : Job::serve);
  } catch (const std::exception& error) {
    itgtd::log::error("{}", error.what());
    return kExitRuntime;
  }
}
