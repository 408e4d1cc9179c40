#include "tests/ha/sim/script.h"

#include <fmt/format.h>

#include <functional>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "base/parse.h"
#include "tests/ha/sim/world.h"

namespace itgtd::ha::sim {

namespace {

using Words = std::vector<std::string>;

class Script {
 public:
  Script() {
    settings_.clocks_differ = false;
    set_timing(1000, 1200);
  }

  void line(const std::string& text);
  [[nodiscard]] std::string transcript() const;
  [[nodiscard]] std::string describe() const;

 private:
  using Command = void (Script::*)(const Words&);
  struct Entry {
    const char* name;
    size_t words;  ///< at least
    Command run;
  };
  static const std::vector<Entry>& entries();

  void nodes(const Words& words);
  void timing(const Words& words) { set_timing(number(words[1]), number(words[2])); }
  void isolated(const Words& words) { settings_.totem.isolated_extra_ms = number(words[1]); }
  void group(const Words& words);
  void boot(const Words& words);
  void run(const Words& words) { pass(number(words[1])); }
  void cut(const Words& words);
  void heal(const Words&) { world().heal(); }
  void machine(const Words& words);
  void corosync(const Words& words);
  void ghost(const Words& words) { world().totem().add_ghost({node(words[1]), 9}); }
  void wish(const Words& words);
  void promote(const Words& words);
  void vip(const Words& words);
  void disk(const Words& words);
  void mark(const Words& words) { world().mark_pause(words[1]); }
  void expect(const Words& words);
  void expect_stays(const std::string& group, NodeId wanted, TimeMs duration);
  void expect_owner(const std::string& group, NodeId wanted);
  void expect_vips(const std::string& group, NodeId at, TimeMs wanted);

  void set_timing(TimeMs token_ms, TimeMs consensus_ms);
  void pass(TimeMs duration);
  void within(TimeMs limit, const std::string& what, const std::function<bool()>& so);
  World& world();
  Host& host(const std::string& name) { return world().host(node(name)); }
  [[nodiscard]] std::string name(NodeId id) { return id == 0 ? "nobody" : world().host(id).name(); }
  NodeId node(const std::string& name) const;
  static TimeMs number(const std::string& word);

  Settings settings_;
  std::unique_ptr<World> world_;
};

TimeMs Script::number(const std::string& word) {
  const auto value = parse_u64(word);
  if (!value) throw std::runtime_error("'" + word + "' is no number");
  return static_cast<TimeMs>(*value);
}

NodeId Script::node(const std::string& name) const {
  const auto id = static_cast<NodeId>(name.size() == 1 ? name[0] - 'a' + 1 : 0);
  if (!settings_.totem.votes.contains(id)) throw std::runtime_error("there is no node '" + name + "'");
  return id;
}

World& Script::world() {
  if (!world_) throw std::runtime_error("nothing has been booted");
  return *world_;
}

void Script::set_timing(TimeMs token_ms, TimeMs consensus_ms) {
  settings_.totem.token_ms = token_ms;
  settings_.totem.consensus_ms = consensus_ms;
  settings_.timing = Timing::of(token_ms, consensus_ms);
}

void Script::nodes(const Words& words) {
  settings_.nodes = static_cast<size_t>(number(words[1]));
  for (NodeId id = 1; id <= settings_.nodes; ++id)
    settings_.totem.votes[id] = words.size() > 2 + id ? static_cast<uint32_t>(number(words[2 + id])) : 1;
}

void Script::group(const Words& words) {
  GroupSpec spec;
  spec.name = words[1];
  spec.storage = words[2] == "drbd" ? StorageKind::drbd : StorageKind::shared;
  for (TimeMs i = 1; i <= number(words[4]); ++i)
    spec.vips.push_back(fmt::format("192.0.2.{}", settings_.groups.size() * 10 + static_cast<size_t>(i)));
  std::istringstream list(words[6]);
  for (std::string it; std::getline(list, it, ',');) spec.nodes.push_back(node(it));
  spec.failback = words.size() > 7 && words[7] == "failback";
  spec.digest = 7;
  settings_.groups.push_back(spec);
}

void Script::boot(const Words& words) {
  if (!world_) world_ = std::make_unique<World>(settings_, 1);
  for (const auto& [id, host] : world_->hosts())
    if (words.size() == 1) host->boot();
  for (size_t i = 1; i < words.size(); ++i) host(words[i]).boot();
}

void Script::cut(const Words& words) {
  std::map<NodeId, int> component;
  int part = 0;
  for (size_t i = 1; i < words.size(); ++i)
    if (words[i] == "|")
      ++part;
    else
      component[node(words[i])] = part;
  if (component.size() != settings_.nodes) throw std::runtime_error("name every node");
  if (words[0] != "cut-disks") world().cut_cluster(component);
  if (words[0] != "cut-cluster") world().cut_disks(component);
}

void Script::machine(const Words& words) {
  Host& it = host(words[1]);
  const std::string& what = words[0];
  if (what == "crash")
    it.crash();
  else if (what == "kill")
    it.kill_daemon();
  else if (what == "start")
    it.start_daemon();
  else if (what == "pause")
    it.pause();
  else if (what == "resume")
    it.resume();
  else if (what == "hang")
    it.stall();
  else if (what == "go-on")
    it.go_on();
  else
    it.stop_daemon();
}

void Script::corosync(const Words& words) {
  Totem& totem = world().totem();
  const NodeId id = node(words[1]);
  if (words[0] == "corosync-end")
    totem.end(id);
  else if (words[0] == "corosync-start")
    totem.start(id);
  else if (words[0] == "corosync-hang")
    totem.stall(id);
  else
    totem.resume(id);
}

void Script::wish(const Words& words) {
  Wish it;
  if (words[0] == "move") {
    it.group = words[1];
    it.node = words.at(2) == "-" ? 0 : node(words[2]);
  } else if (words[0] == "maintenance") {
    it.kind = words[1] == "on" ? Wish::Kind::maintenance_on : Wish::Kind::maintenance_off;
  } else {
    it.kind = words[0] == "drain" ? Wish::Kind::drain : Wish::Kind::undrain;
    it.node = node(words[1]);
  }
  // At the node that it is about, or the first whose daemon runs.
  for (const auto& [id, host] : world().hosts())
    if (host->daemon_runs() && (it.node == 0 || it.node == id)) {
      host->ask(it);
      return;
    }
}

void Script::promote(const Words& words) {
  Host& it = host(words[1]);
  if (words[0] == "promote-fails")
    it.set_promote_fails(words[2], static_cast<int>(number(words.at(4))), words[3] == "retry");
  else if (words[0] == "demote-fails")
    it.set_demote_fails(words[2], static_cast<int>(number(words[3])));
  else
    it.set_promote_takes(words[2], number(words[3]));
}

void Script::vip(const Words& words) {
  Host& it = host(words[1]);
  const auto index = static_cast<size_t>(number(words[3]));
  if (words[0] == "vip-fails")
    it.set_vip_fails(words[2], index, words.at(4) == "on");
  else if (words[0] == "link")
    it.set_link(words[2], index, words.at(4) == "up");
  else
    it.remove_address(words[2], index);
}

void Script::disk(const Words& words) {
  for (StorageFitness fitness : {StorageFitness::usable, StorageFitness::diskless, StorageFitness::unusable,
                                 StorageFitness::inconsistent})
    if (words[3] == to_string(fitness)) world().set_fitness(words[2], node(words[1]), fitness);
}

void Script::pass(TimeMs duration) {
  if (!world().run(duration)) throw std::runtime_error(*world().violation());
}

void Script::within(TimeMs limit, const std::string& what, const std::function<bool()>& so) {
  const TimeMs end = world().now() + limit;
  while (!so()) {
    if (world().now() >= end) throw std::runtime_error(fmt::format("{} within {} ms", what, limit));
    pass(5);
  }
}

void Script::expect(const Words& words) {
  const std::string& what = words[1];
  const std::string& group = words.size() > 2 ? words[2] : what;
  if (what == "served" && words.size() == 7) {
    const NodeId wanted = node(words[4]);
    within(number(words[6]), "not served", [&] { return world().server(group) == wanted; });
  } else if (what == "unserved" && words.size() == 5) {
    within(number(words[4]), "still served", [&] { return world().server(group) == 0; });
  } else if (what == "stays" && words.size() == 6) {
    expect_stays(group, node(words[3]), number(words[5]));
  } else if (what == "silent" && words.size() == 5) {
    expect_stays(group, 0, number(words[4]));
  } else if (what == "owner" && words.size() == 4) {
    expect_owner(group, node(words[3]));
  } else if (what == "pause" && words.size() == 5) {
    if (world().pause(group) >= number(words[4]))
      throw std::runtime_error(fmt::format("writes paused for {} ms", world().pause(group)));
  } else if (what == "vips" && words.size() == 5) {
    expect_vips(group, node(words[3]), number(words[4]));
  } else if (what == "settled" && words.size() == 4) {
    within(number(words[3]), "not settled", [&] { return world().unsettled().empty(); });
  } else {
    throw std::runtime_error("no such expectation");
  }
}

void Script::expect_stays(const std::string& group, NodeId wanted, TimeMs duration) {
  for (TimeMs passed = 0; passed < duration; passed += 5) {
    const NodeId now = world().server(group);
    if (now != wanted) throw std::runtime_error(fmt::format("served by {}, not {}", name(now), name(wanted)));
    pass(5);
  }
}

void Script::expect_owner(const std::string& group, NodeId wanted) {
  for (const auto& [id, host] : world().hosts())
    if (const auto it = world().ownership(group, id); it && it->owner != wanted)
      throw std::runtime_error(fmt::format("{} says that {} owns it", host->name(), name(it->owner)));
}

void Script::expect_vips(const std::string& group, NodeId at, TimeMs wanted) {
  TimeMs present = 0;
  for (const GroupSpec& spec : settings_.groups)
    for (size_t i = 0; spec.name == group && i < spec.vips.size(); ++i)
      present += world().host(at).vip_present(group, i) ? 1 : 0;
  if (present != wanted) throw std::runtime_error(fmt::format("{} addresses are there", present));
}

const std::vector<Script::Entry>& Script::entries() {
  static const std::vector<Entry> table = {
      {"nodes", 2, &Script::nodes},
      {"timing", 3, &Script::timing},
      {"isolated", 2, &Script::isolated},
      {"group", 7, &Script::group},
      {"boot", 1, &Script::boot},
      {"run", 2, &Script::run},
      {"cut", 4, &Script::cut},
      {"cut-cluster", 4, &Script::cut},
      {"cut-disks", 4, &Script::cut},
      {"heal", 1, &Script::heal},
      {"crash", 2, &Script::machine},
      {"kill", 2, &Script::machine},
      {"start", 2, &Script::machine},
      {"pause", 2, &Script::machine},
      {"resume", 2, &Script::machine},
      {"hang", 2, &Script::machine},
      {"go-on", 2, &Script::machine},
      {"stop", 2, &Script::machine},
      {"corosync-end", 2, &Script::corosync},
      {"corosync-start", 2, &Script::corosync},
      {"corosync-hang", 2, &Script::corosync},
      {"corosync-go-on", 2, &Script::corosync},
      {"ghost", 2, &Script::ghost},
      {"move", 3, &Script::wish},
      {"drain", 2, &Script::wish},
      {"undrain", 2, &Script::wish},
      {"maintenance", 2, &Script::wish},
      {"promote-fails", 5, &Script::promote},
      {"promote-takes", 4, &Script::promote},
      {"demote-fails", 4, &Script::promote},
      {"vip-fails", 5, &Script::vip},
      {"link", 5, &Script::vip},
      {"address-removed", 4, &Script::vip},
      {"disk", 4, &Script::disk},
      {"mark", 2, &Script::mark},
      {"expect", 3, &Script::expect},
  };
  return table;
}

void Script::line(const std::string& text) {
  std::istringstream stream(text);
  Words words;
  for (std::string word; stream >> word && word[0] != '#';) words.push_back(word);
  if (words.empty()) return;
  if (world_ && words[0] != "run") world_->say("> " + text);
  for (const Entry& entry : entries())
    if (words[0] == entry.name && words.size() >= entry.words) {
      (this->*entry.run)(words);
      return;
    }
  throw std::runtime_error("no such command, or too few words");
}

std::string Script::transcript() const {
  std::string out;
  if (world_)
    for (const Line& it : world_->transcript()) out += fmt::format("{:6} {}\n", it.at, it.text);
  return out;
}

std::string Script::describe() const {
  std::string out;
  if (world_)
    for (const std::string& line : world_->describe()) out += line + "\n";
  return out;
}

}  // namespace

ScriptResult run_script(const std::string& text) {
  Script script;
  ScriptResult result;
  std::istringstream stream(text);
  int number = 0;
  try {
    for (std::string line; std::getline(stream, line);) {
      ++number;
      script.line(line);
    }
  } catch (const std::exception& error) {
    result.problem = fmt::format("line {}: {}", number, error.what());
  }
  result.transcript = script.transcript();
  if (!result.problem.empty()) result.transcript += script.describe();
  return result;
}

}  // namespace itgtd::ha::sim
