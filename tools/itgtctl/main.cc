// itgtctl: the command line. CLI11 stays in this file.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "target/config/text.h"
#include "tools/itgtctl/commands.h"
#include "version.h"

namespace itgtd::ctl {
namespace {

void add_waiting(CLI::App& command, Options& options, bool& no_wait) {
  command.add_flag("--no-wait", no_wait, "return as soon as the daemon has taken it");
  command.add_option("--timeout", options.timeout_s, "how many seconds to wait")
      ->capture_default_str()
      ->check(CLI::Range(1, 86400))
      ->type_name("SECONDS");
}

void add_commands(CLI::App& app, Options& options, Command& command, bool& no_wait) {
  const auto add = [&](const char* name, const char* text, Command which) {
    CLI::App* added = app.add_subcommand(name, text);
    added->callback([&command, which] { command = which; });
    return added;
  };
  add("status", "the cluster on one screen: nodes, groups, storage, VIPs, what is wrong", Command::status);

  CLI::App* move = add("move", "give a group to a node (default: the best other one)", Command::move);
  move->add_option("GROUP", options.group, "the group")->required();
  move->add_option("NODE", options.node, "who gets it");
  add_waiting(*move, options, no_wait);

  CLI::App* drain = add("drain", "take all groups from a node, until undrain", Command::drain);
  drain->add_option("NODE", options.node, "the node")->required();
  add_waiting(*drain, options, no_wait);

  CLI::App* undrain = add("undrain", "let a node own groups again", Command::undrain);
  undrain->add_option("NODE", options.node, "the node")->required();

  CLI::App* maintenance =
      add("maintenance", "on: no group moves, whatever happens; off: as always", Command::maintenance);
  maintenance
      ->add_option_function<std::string>(
          "STATE", [&options](const std::string& state) { options.on = state == "on"; }, "on or off")
      ->required()
      ->check(CLI::IsMember({"on", "off"}));

  CLI::App* history = add("history", "changes of owner, with their pauses", Command::history);
  history->add_option("GROUP", options.group, "only of this group");
  history->add_option("-n,--count", options.count, "how many")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000))
      ->type_name("N");
  history->add_flag("-v,--verbose", options.verbose, "with the time of each step, and the notes");

  CLI::App* why = add("why", "who may own a group, best first, and what decided", Command::why);
  why->add_option("GROUP", options.group, "the group")->required();
}

/// What to say of a word where a command should be; empty: there is none.
std::string unknown_command(const CLI::App& app) {
  const std::vector<std::string> words = app.remaining();
  if (!app.get_subcommands().empty() || words.empty()) return "";
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  const std::vector<std::string_view> views(names.begin(), names.end());
  const std::string_view near = config::nearest(words.front(), views);
  return fmt::format("there is no command {}; {}", config::in_quotes(words.front()),
                     near.empty() ? "there are " + config::all_of(views) : fmt::format("is {} meant?", near));
}

int main_checked(int argc, char** argv) {
  CLI::App app("Asks and tells a running itgtd", "itgtctl");
  app.set_version_flag("--version", "itgtctl " ITGTD_VERSION);
  app.require_subcommand(1);
  // --socket and --json may stand behind the subcommand too.
  app.fallthrough();
  Options options;
  Command command = Command::status;
  bool no_wait = false;
  app.add_option("--socket", options.socket, "the daemon's control_socket")
      ->capture_default_str()
      ->type_name("PATH");
  app.add_flag("--json", options.json, "the daemon's answer as JSON");
  add_commands(app, options, command, no_wait);
  app.footer("Exit status: 0 done, 1 the daemon said no or can't be reached, 2 usage.\nitgtctl(8) has more.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (const std::string slip = unknown_command(app); !slip.empty()) {
      fmt::print(stderr, "itgtctl: {}\n", slip);
      return kExitUsage;
    }
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  options.wait = !no_wait;
  const Result<std::unique_ptr<Daemon>> daemon = connect_daemon(options.socket);
  if (!daemon) {
    fmt::print(stderr, "itgtctl: {}\n", daemon.error().to_string());
    return kExitFailed;
  }
  const char* no_color = std::getenv("NO_COLOR");
  const Style style{::isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0')};
  const Printed printed = run(command, options, *daemon.value(), style);
  std::fputs(printed.out.c_str(), stdout);
  if (!printed.error.empty()) fmt::print(stderr, "itgtctl: {}", printed.error);
  return std::fflush(stdout) == 0 ? printed.status : kExitFailed;
}

}  // namespace
}  // namespace itgtd::ctl

int main(int argc, char** argv) {
  try {
    return itgtd::ctl::main_checked(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "itgtctl: %s\n", error.what());
    return itgtd::ctl::kExitFailed;
  }
}
