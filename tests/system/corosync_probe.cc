// The corosync adapter by itself: prints its events, a line each, and sends what it reads.
//
//   itgt-corosync-probe GROUP
//
// A line of the input: "send TEXT" sends a message with it; "flood N" sends N of them, numbered; "raw HEX"
// sends bytes that are no message to the group; "settings"; "dropped"; "stop" leaves the group and ends, as
// does the end of the input.

#include <corosync/cpg.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "base/parse.h"
#include "ha/adapters/corosync.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {
namespace {

template <typename... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  fmt::print("{}\n", fmt::vformat(format, fmt::make_format_args(args...)));
  std::fflush(stdout);
}

std::string text(const std::vector<NodeId>& nodes) {
  std::string out;
  for (const NodeId node : nodes) out += fmt::format("{}{}", out.empty() ? "" : ",", node);
  return out.empty() ? "-" : out;
}

struct Printer {
  void operator()(const NodesKnown& event) const {
    std::string out;
    for (const NodeName& node : event.nodes) out += fmt::format(" {}={}", node.id, node.name);
    say("nodes{}", out);
  }
  void operator()(const RingChanged& event) const {
    say("ring {}.{} nodes {}", event.ring.representative, event.ring.seq, text(event.nodes));
  }
  void operator()(const MembersChanged& event) const {
    std::string out;
    for (const Member& member : event.members) out += fmt::format(" {}/{}", member.node, member.pid);
    say("members{} ended {}", out, text(event.process_ended));
  }
  void operator()(const QuorumChanged& event) const {
    say("quorum {}.{} {} nodes {}", event.ring.representative, event.ring.seq, event.quorate ? "yes" : "no",
        text(event.nodes));
  }
  void operator()(const CorosyncLost& event) const { say("lost {}", event.reason); }
  void operator()(const Delivered& event) const {
    const auto* outcome = std::get_if<Outcome>(&event.message);
    say("message {}/{} {}", event.from.node, event.from.pid, outcome == nullptr ? "?" : outcome->text);
  }
  void operator()(const auto&) const { say("another event"); }
};

int send_raw(const std::string& group, std::span<char*> messages) {
  cpg_handle_t handle = 0;
  cpg_callbacks_t callbacks{};
  cpg_name name{.length = static_cast<uint32_t>(group.size()), .value = {}};
  std::ranges::copy(group, name.value);
  if (cpg_initialize(&handle, &callbacks) != CS_OK || cpg_join(handle, &name) != CS_OK) return 1;
  for (const std::string_view hex : messages) {
    std::vector<std::byte> bytes;
    for (size_t i = 0; i + 1 < hex.size(); i += 2) {
      const auto digit = [&](size_t at) { return std::string_view("0123456789abcdef").find(hex[at]); };
      bytes.push_back(static_cast<std::byte>(digit(i) * 16 + digit(i + 1)));
    }
    const iovec vector{.iov_base = bytes.data(), .iov_len = bytes.size()};
    if (cpg_mcast_joined(handle, CPG_TYPE_AGREED, &vector, 1) != CS_OK) return 1;
  }
  return cpg_finalize(handle) == CS_OK ? 0 : 1;
}

void settings(Corosync& corosync) {
  const Result<CorosyncSettings> read = corosync.read_settings(std::chrono::milliseconds(1000));
  if (!read) return say("settings error {}", read.error().to_string());
  const CorosyncSettings& found = read.value();
  say("settings self {} {} nodes {} token {} consensus {} provider {} two_node {} tie_breaker {} device {}",
      found.self, found.self_name, found.nodes.size(), found.token_ms, found.consensus_ms,
      found.quorum_provider, found.two_node, found.auto_tie_breaker, found.quorum_device);
}

int run(const std::string& group) {
  control::EventLoop loop;
  Corosync corosync(loop, [](const Event& event) { std::visit(Printer{}, event); });
  if (const Result<void> started = corosync.start(group); !started) {
    say("error {}", started.error().to_string());
    return 1;
  }
  say("pid {}", corosync.pid());
  std::string input;
  const auto send = [&](std::string sent) {
    corosync.send(Outcome{.group = "g", .epoch = 1, .text = std::move(sent)});
  };
  const auto obey = [&](std::string_view line) {
    const auto argument = line.substr(std::min(line.size(), line.find(' ') + 1));
    if (line.starts_with("send ")) send(std::string(argument));
    if (line == "settings") settings(corosync);
    if (line == "dropped") say("dropped {}", corosync.dropped());
    if (line == "stop") loop.stop();
    if (line.starts_with("flood ")) {
      const uint64_t count = parse_u64(argument).value_or(0);
      for (uint64_t i = 0; i < count; i++) send(fmt::format("{}", i));
    }
  };
  const auto input_watch = loop.watch_readable(STDIN_FILENO, [&] {
    std::array<char, 4096> part{};
    const ssize_t got = ::read(STDIN_FILENO, part.data(), part.size());
    if (got <= 0) return loop.stop();
    input.append(part.data(), static_cast<size_t>(got));
    for (size_t end = input.find('\n'); end != std::string::npos; end = input.find('\n')) {
      obey(std::string_view(input).substr(0, end));
      input.erase(0, end + 1);
    }
  });
  loop.run();
  corosync.stop();
  return 0;
}

}  // namespace
}  // namespace itgtd::ha

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  if (argc > 2) return itgtd::ha::send_raw(argv[1], std::span(argv, static_cast<size_t>(argc)).subspan(2));
  return itgtd::ha::run(argv[1]);
}
