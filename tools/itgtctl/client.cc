#include "tools/itgtctl/client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/descriptor.h"

namespace itgtd::ctl {
namespace {

using Json = nlohmann::ordered_json;

/// The control thread never blocks; a daemon that takes longer hangs.
constexpr std::chrono::milliseconds kAnswerTimeout{10'000};

class SocketDaemon final : public Daemon {
 public:
  SocketDaemon(int socket, std::string path) : socket_(socket), path_(std::move(path)) {}

  Result<Json> call(const std::string& method, const Json& params) override {
    const Json request = {{"jsonrpc", "2.0"}, {"id", ++id_}, {"method", method}, {"params", params}};
    const std::string line = request.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
    // Far smaller than the socket's buffer: sent at once or never.
    if (::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
      const int code = errno;
      // What it said before it closed is worth more than that it did.
      const Result<std::string> last = read_line();
      return last ? answer_of(last.value())
                  : Result<Json>(Error{code, "the daemon at " + path_ + " is gone"});
    }
    const Result<std::string> answer = read_line();
    if (!answer) return answer.error();
    return answer_of(answer.value());
  }

  void wait(std::chrono::milliseconds time) override {
    (void)::poll(nullptr, 0, static_cast<int>(time.count()));
  }

  [[nodiscard]] int64_t now_ms() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(now().time_since_epoch()).count();
  }

 private:
  Result<std::string> read_line() {
    const Instant deadline = now() + kAnswerTimeout;
    for (;;) {
      if (const size_t end = in_.find('\n'); end != std::string::npos) {
        std::string line = in_.substr(0, end);
        in_.erase(0, end + 1);
        return line;
      }
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - now());
      pollfd ready{socket_.get(), POLLIN, 0};
      if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) == 0) {
        return Error{0, fmt::format("the daemon at {} has not answered for {} s: it hangs", path_,
                                    kAnswerTimeout.count() / 1000)};
      }
      std::array<char, 65536> buffer;
      const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return Error{errno, "the daemon at " + path_ + " is gone"};
      if (got == 0) return Error{0, "the daemon at " + path_ + " has closed the connection"};
      in_.append(buffer.data(), static_cast<size_t>(got));
    }
  }

  Result<Json> answer_of(const std::string& line) const {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("result")) return json["result"];
    if (json.is_object() && json.contains("error") && json["error"].is_object()) {
      return Error{0, json["error"].value("message", "the daemon said no, and not why")};
    }
    return Error{0, "what listens at " + path_ + " does not speak JSON-RPC: is it itgtd?"};
  }

  Descriptor socket_;
  std::string path_;
  std::string in_;
  uint64_t id_ = 0;
};

Error unreachable(const std::string& path, int code) {
  const char* advice =
      "is itgtd running? systemctl start itgtd; a path other than this one: --socket, as "
      "control_socket in itgtd.toml has it";
  if (code == EACCES || code == EPERM) advice = "only root and the group of the socket's file may use it";
  return {0, fmt::format("can't reach itgtd at {}: {}\n{}", path, std::strerror(code), advice)};
}

}  // namespace

Result<std::unique_ptr<Daemon>> connect_daemon(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return unreachable(path, ENAMETOOLONG);
  path.copy(&address.sun_path[0], path.size());
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.ok()) return Error{errno, "no socket"};
  const auto* generic = static_cast<const sockaddr*>(static_cast<const void*>(&address));
  if (::connect(socket.get(), generic, sizeof(address)) != 0) return unreachable(path, errno);
  return std::unique_ptr<Daemon>(std::make_unique<SocketDaemon>(socket.release(), path));
}

}  // namespace itgtd::ctl
