// Runs ha/core in a virtual cluster.
//
//   ha_sim --seeds FROM..TO           random faults; each seed twice, with equal results
//   ha_sim --seed N [--verbose]       one of them, with its transcript
//   ha_sim --scripts DIR [--rewrite]  named scenarios with golden transcripts
//   ha_sim --mutant NAME --seeds ...  a broken rule; exit status 0 only if a seed finds it
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/parse.h"
#include "tests/ha/sim/chaos.h"
#include "tests/ha/sim/script.h"

namespace itgtd::ha::sim {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  uint64_t from = 0;
  uint64_t to = 0;
  bool verbose = false;
  bool rewrite = false;
  std::string scripts;
  std::string mutant;
};

void print_end(const World& world, bool all) {
  const std::vector<Line>& lines = world.transcript();
  const size_t first = all || lines.size() < 60 ? 0 : lines.size() - 60;
  for (size_t i = first; i < lines.size(); ++i) fmt::print("{:7} {}\n", lines[i].at, lines[i].text);
  for (const std::string& line : world.describe()) fmt::print("{}\n", line);
}

bool same(const World& a, const World& b) {
  return a.fingerprint() == b.fingerprint() &&
         std::equal(a.transcript().begin(), a.transcript().end(), b.transcript().begin(),
                    b.transcript().end(),
                    [](const Line& x, const Line& y) { return x.at == y.at && x.text == y.text; });
}

/// Whether the seed went well.
bool run_seed(uint64_t seed, const Arguments& arguments, const ChaosOptions& options) {
  const auto world = run_chaos(seed, options);
  if (arguments.verbose) print_end(*world, true);
  if (world->violation()) {
    if (!arguments.verbose && arguments.mutant.empty()) print_end(*world, false);
    fmt::print("seed {} at {} ms: {}\n", seed, world->now(), *world->violation());
    return false;
  }
  if (!same(*world, *run_chaos(seed, options))) {
    fmt::print("seed {}: two runs differ\n", seed);
    return false;
  }
  return true;
}

std::optional<ChaosOptions> options_of(const std::string& mutant) {
  ChaosOptions options;
  if (mutant == "margin")
    options.negative_margin = true;
  else if (mutant == "early-ack")
    options.fault.ack_before_stop = true;
  else if (mutant == "self-delivery")
    options.fault.lease_by_self_delivery = true;
  else if (!mutant.empty())
    return std::nullopt;
  return options;
}

int run_seeds(const Arguments& arguments) {
  const auto options = options_of(arguments.mutant);
  if (!options) {
    fmt::print("no such mutant; there are margin, early-ack and self-delivery\n");
    return 2;
  }
  uint64_t failed = 0;
  for (uint64_t seed = arguments.from; seed <= arguments.to; ++seed) {
    if (run_seed(seed, arguments, *options)) continue;
    ++failed;
    if (!arguments.mutant.empty() || failed == 10) break;
  }
  if (arguments.mutant.empty()) {
    fmt::print("{} seeds, {} failed\n", arguments.to - arguments.from + 1, failed);
    return failed == 0 ? 0 : 1;
  }
  if (failed == 0) fmt::print("no seed notices '{}'\n", arguments.mutant);
  return failed == 0 ? 1 : 0;
}

std::string read_text(const fs::path& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

/// Whether it went as its expectations and its golden transcript say.
bool run_one_script(const fs::path& path, bool rewrite) {
  const ScriptResult result = run_script(read_text(path));
  if (!result.problem.empty()) {
    fmt::print("{}{}: {}\n", result.transcript, path.filename().string(), result.problem);
    return false;
  }
  fs::path golden = path;
  golden.replace_extension(".golden");
  if (rewrite) std::ofstream(golden, std::ios::binary) << result.transcript;
  if (read_text(golden) == result.transcript) return true;
  fmt::print("{}{}: not the golden transcript; --rewrite, and read the difference\n", result.transcript,
             path.filename().string());
  return false;
}

int run_scripts(const Arguments& arguments) {
  std::vector<fs::path> paths;
  if (fs::is_directory(arguments.scripts)) {
    for (const auto& entry : fs::directory_iterator(arguments.scripts))
      if (entry.path().extension() == ".txt") paths.push_back(entry.path());
  } else {
    paths.emplace_back(arguments.scripts);
  }
  std::sort(paths.begin(), paths.end());
  const auto failed = std::count_if(paths.begin(), paths.end(), [&](const fs::path& path) {
    return !run_one_script(path, arguments.rewrite);
  });
  fmt::print("{} scenarios, {} failed\n", paths.size(), failed);
  return failed == 0 && !paths.empty() ? 0 : 1;
}

std::optional<Arguments> parse(const std::vector<std::string>& words) {
  Arguments arguments;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--verbose" || word == "--rewrite") {
      (word == "--verbose" ? arguments.verbose : arguments.rewrite) = true;
      continue;
    }
    if (++i == words.size()) return std::nullopt;
    if (word == "--scripts" || word == "--mutant") {
      (word == "--scripts" ? arguments.scripts : arguments.mutant) = words[i];
      continue;
    }
    const size_t dots = words[i].find("..");
    const auto from = parse_u64(words[i].substr(0, dots));
    const auto to =
        word == "--seed" || dots == std::string::npos ? from : parse_u64(words[i].substr(dots + 2));
    if ((word != "--seed" && word != "--seeds") || !from || !to) return std::nullopt;
    arguments.from = *from;
    arguments.to = *to;
  }
  return arguments;
}

}  // namespace
}  // namespace itgtd::ha::sim

int main(int argc, char** argv) {
  const auto arguments = itgtd::ha::sim::parse({argv + 1, argv + argc});
  if (!arguments) {
    fmt::print(
        "ha_sim --seeds FROM..TO [--mutant NAME] | --seed N [--verbose] | --scripts DIR [--rewrite]\n");
    return 2;
  }
  return arguments->scripts.empty() ? itgtd::ha::sim::run_seeds(*arguments)
                                    : itgtd::ha::sim::run_scripts(*arguments);
}
