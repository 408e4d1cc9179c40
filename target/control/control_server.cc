#include "target/control/control_server.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>

#include "base/assert.h"
#include "base/descriptor.h"
#include "base/log.h"
#include "target/config/text.h"

namespace itgtd::control {
namespace {

/// How long connections are left to wait when the process has no descriptors.
constexpr std::chrono::milliseconds kAcceptPause{1000};
constexpr int kBacklog = 64;

/// The groups of the process at the other end, its own and the supplementary ones.
bool has_group(int socket, const ucred& peer, gid_t wanted) {
  if (peer.gid == wanted) return true;
  std::vector<gid_t> groups(1024);
  auto bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  // More than fit: ERANGE, and who is in so many groups is not recognized by one of them.
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) != 0) return false;
  groups.resize(bytes / sizeof(gid_t));
  return std::find(groups.begin(), groups.end(), wanted) != groups.end();
}

const sockaddr* as_sockaddr(const sockaddr_un& address) {
  return static_cast<const sockaddr*>(static_cast<const void*>(&address));
}

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return Error{0, fmt::format("{}: a socket's path has less than {} characters: set control_socket to a "
                                "shorter one",
                                path, sizeof(address.sun_path))};
  }
  path.copy(&address.sun_path[0], path.size());
  return address;
}

/// Removes what a dead daemon left at `path`.
Result<void> make_way(const std::string& path, const sockaddr_un& address) {
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) {
    return errno == ENOENT ? Result<void>() : Error{errno, path};
  }
  if (!S_ISSOCK(file.st_mode)) {
    return Error{0, path + " is there and is no socket: remove it, or set control_socket to another path"};
  }
  const Descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe.ok()) return Error{errno, "no socket"};
  if (::connect(probe.get(), as_sockaddr(address), sizeof(address)) == 0 || errno != ECONNREFUSED) {
    return Error{0, "another itgtd listens at " + path + ": stop it, or set control_socket to another path"};
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Error{errno, "can't remove the stale " + path};
  return {};
}

}  // namespace

/// One connection.
class Client {
 public:
  /// Takes over `socket`.
  Client(ControlServer::Impl& server, int socket, uint64_t number);

  void start();
  void answer(std::string line);
  void call_ended() { --calls_; }

  [[nodiscard]] uint64_t number() const { return number_; }

 private:
  friend struct ControlServer::Impl;
  void on_readable();
  void on_writable();
  /// Takes the requests that are there, writes what is to be written, and watches for what comes next. This
  /// may be gone afterwards.
  void turn();
  void take_requests();
  [[nodiscard]] bool write_out();
  void watch();

  ControlServer::Impl& server_;
  Descriptor socket_;
  uint64_t number_;
  std::string input_;
  std::string output_;
  size_t calls_ = 0;         ///< that are not answered yet
  bool in_turn_ = false;     ///< true exactly while turn() runs: answers only gather
  bool input_over_ = false;  ///< the peer sends no more, or nothing that we would take
  bool broken_ = false;      ///< nothing can be written any more
  enum class Watched : uint8_t { nothing, readable, writable } watched_ = Watched::nothing;
  Subscription subscription_;
};

struct ControlServer::Impl : std::enable_shared_from_this<ControlServer::Impl> {
  struct Method {
    std::vector<Parameter> parameters;
    Handler handler;
  };

  explicit Impl(EventLoop& event_loop) : loop(event_loop) {}

  Result<void> listen_at(const std::string& wanted);
  void watch_accept();
  void on_acceptable();
  [[nodiscard]] bool may_call(int socket) const;
  void call(Client& client, const std::string& line);
  [[nodiscard]] RpcError no_such_method(const std::string& name) const;
  [[nodiscard]] Client* client(uint64_t number) const;
  void close(uint64_t number) { clients.erase(number); }
  void remove_file() const;

  EventLoop& loop;
  std::map<std::string, Method> methods;
  std::string path;
  ino_t inode = 0;  ///< of the file at `path`
  gid_t group = 0;  ///< its group
  std::optional<Descriptor> listener;
  Subscription accepting;
  Subscription pause;
  uint64_t next_number = 1;
  std::map<uint64_t, std::unique_ptr<Client>> clients;
};

// --- replies

struct Reply::Call {
  std::weak_ptr<ControlServer::Impl> server;
  uint64_t client = 0;
  std::string id;  ///< empty: a notification
  bool answered = false;

  void answer(std::string line) {
    ITGTD_ASSERT(!answered);
    answered = true;
    const auto alive = server.lock();
    Client* to = alive ? alive->client(client) : nullptr;
    if (to == nullptr) return;
    to->call_ended();
    to->answer(id.empty() ? "" : std::move(line));
  }
  Call() = default;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() {
    if (answered) return;
    answer(error_line(id, {RpcCode::internal_error, "the daemon gave no answer to this call"}));
  }
};

void Reply::result(std::string_view json) const {
  call_->answer(result_line(call_->id, json));
}
void Reply::error(const RpcError& error) const {
  call_->answer(error_line(call_->id, error));
}

// --- a connection

Client::Client(ControlServer::Impl& server, int socket, uint64_t number)
    : server_(server), socket_(socket), number_(number) {}

void Client::start() {
  watch();
}

void Client::answer(std::string line) {
  if (output_.size() + line.size() > kControlOutputBytesMax) {
    log::warning("control socket: a client does not read its answers; closed");
    broken_ = true;
    output_.clear();
  } else if (!broken_) {
    output_ += line;
  }
  if (!in_turn_) turn();
}

void Client::on_readable() {
  std::array<char, 16384> buffer;
  // A bounded number of reads, so that one client does not keep the loop.
  for (int reads = 0; reads < 16 && !input_over_; ++reads) {
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {
      input_over_ = true;
      if (got < 0) broken_ = true;
      if (!input_.empty()) input_ += '\n';  // the last line needs no end
      break;
    }
    input_.append(buffer.data(), static_cast<size_t>(got));
    if (input_.size() > kControlLineBytesMax) break;
  }
  turn();
}

void Client::on_writable() {
  turn();
}

void Client::turn() {
  in_turn_ = true;
  bool alive = true;
  // A request is taken only when the answers before it are out.
  do {
    if (output_.empty()) take_requests();
    alive = write_out();
  } while (alive && output_.empty() && input_.find('\n') != std::string::npos && calls_ < kControlCallsMax);
  in_turn_ = false;
  const bool done = input_over_ && calls_ == 0 && output_.empty();
  if (!alive || done) {
    server_.close(number_);
    return;
  }
  watch();
}

void Client::take_requests() {
  size_t begin = 0;
  while (output_.empty() && !broken_ && calls_ < kControlCallsMax) {
    const size_t end = input_.find('\n', begin);
    if (end == std::string::npos) break;
    if (end - begin > kControlLineBytesMax) break;
    const std::string line = input_.substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") != std::string::npos) server_.call(*this, line);
  }
  input_.erase(0, begin);
  const size_t end = input_.find('\n');
  if ((end == std::string::npos ? input_.size() : end) <= kControlLineBytesMax) return;
  answer(error_line("null", {RpcCode::invalid_request,
                             fmt::format("a line has at most {} bytes; closed", kControlLineBytesMax)}));
  input_.clear();
  input_over_ = true;
}

bool Client::write_out() {
  while (!output_.empty() && !broken_) {
    const ssize_t sent = ::send(socket_.get(), output_.data(), output_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return true;
    if (sent < 0) broken_ = true;
    if (sent > 0) output_.erase(0, static_cast<size_t>(sent));
  }
  return !broken_;
}

/// One watch at a time: the loop takes a descriptor once.
void Client::watch() {
  Watched wanted = Watched::nothing;
  if (!output_.empty()) {
    wanted = Watched::writable;
  } else if (!input_over_ && calls_ < kControlCallsMax) {
    wanted = Watched::readable;
  }
  if (wanted == watched_) return;
  watched_ = wanted;
  subscription_.reset();
  if (wanted == Watched::readable) {
    subscription_ = server_.loop.watch_readable(socket_.get(), [this] { on_readable(); });
  } else if (wanted == Watched::writable) {
    subscription_ = server_.loop.watch_writable(socket_.get(), [this] { on_writable(); });
  }
}

// --- the server

Result<void> ControlServer::Impl::listen_at(const std::string& wanted) {
  Result<sockaddr_un> address = address_of(wanted);
  if (!address) return address.error();
  std::error_code failed;
  const std::filesystem::path directory = std::filesystem::path(wanted).parent_path();
  if (!directory.empty()) std::filesystem::create_directories(directory, failed);
  if (failed)
    return Error{failed.value(), "can't make the directory of the control socket, " + directory.string()};
  if (Result<void> way = make_way(wanted, *address); !way) return way;
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.ok()) return Error{errno, "no control socket"};
  if (::bind(socket.get(), as_sockaddr(*address), sizeof(*address)) != 0) {
    return Error{errno, "can't make the control socket " + wanted};
  }
  // Nobody can connect before listen(), so the mode is right in time.
  struct stat file {};
  if (::chmod(wanted.c_str(), 0660) != 0 || ::stat(wanted.c_str(), &file) != 0 ||
      ::listen(socket.get(), kBacklog) != 0) {
    return Error{errno, "can't listen at the control socket " + wanted};
  }
  path = wanted;
  inode = file.st_ino;
  group = file.st_gid;
  listener.emplace(socket.release());
  watch_accept();
  return {};
}

void ControlServer::Impl::watch_accept() {
  accepting = loop.watch_readable(listener->get(), [this] { on_acceptable(); });
}

void ControlServer::Impl::on_acceptable() {
  // A bounded number, so that who connects in a loop does not keep the loop.
  for (int accepted = 0; accepted < kBacklog; ++accepted) {
    Descriptor socket(::accept4(listener->get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket.ok()) {
      if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS) return;
      log::warning("control socket: {}", Error{errno, "can't accept a connection"}.to_string());
      accepting.reset();
      pause = loop.timer(kAcceptPause, [this] { watch_accept(); });
      return;
    }
    std::string refusal;
    if (clients.size() >= kControlClientsMax) {
      refusal = fmt::format("{} clients are connected already: close some", kControlClientsMax);
    } else if (!may_call(socket.get())) {
      refusal = "only root and the group of the socket's file may use it";
    }
    if (!refusal.empty()) {
      const std::string line = error_line("null", {RpcCode::refused, refusal});
      // A new socket has room for a line; whether it is read is the peer's matter.
      (void)::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      continue;
    }
    const uint64_t number = next_number++;
    auto& client =
        *clients.emplace(number, std::make_unique<Client>(*this, socket.release(), number)).first->second;
    client.start();
  }
}

bool ControlServer::Impl::may_call(int socket) const {
  ucred peer{};
  socklen_t bytes = sizeof(peer);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid() || has_group(socket, peer, group);
}

void ControlServer::Impl::call(Client& client, const std::string& line) {
  ReadRequest read = read_request(line);
  if (read.error) {
    client.answer(error_line(*read.request.id, *read.error));
    return;
  }
  const auto method = methods.find(read.request.method);
  std::variant<Params, RpcError> params;
  if (method == methods.end()) {
    params = no_such_method(read.request.method);
  } else {
    params = read_params(read.request.params, read.request.method, method->second.parameters);
  }
  if (const RpcError* error = std::get_if<RpcError>(&params)) {
    if (read.request.id) client.answer(error_line(*read.request.id, *error));
    return;
  }
  auto call = std::make_shared<Reply::Call>();
  call->server = weak_from_this();
  call->client = client.number();
  call->id = read.request.id.value_or("");
  ++client.calls_;
  const Reply reply(std::move(call));
  try {
    method->second.handler(std::get<Params>(params), reply);
  } catch (const std::exception& error) {
    // Style: exceptions end at the control thread's boundary; the reply's last copy answers.
    log::error("control socket: {}: {}", read.request.method, error.what());
  }
}

RpcError ControlServer::Impl::no_such_method(const std::string& name) const {
  std::vector<std::string_view> names;
  for (const auto& [known, method] : methods) names.push_back(known);
  const std::string_view near = config::nearest(name, names);
  return {RpcCode::method_not_found, fmt::format("there is no method {}; {}", config::in_quotes(name),
                                                 near.empty() ? "there are " + config::all_of(names)
                                                              : fmt::format("is {} meant?", near))};
}

Client* ControlServer::Impl::client(uint64_t number) const {
  const auto found = clients.find(number);
  return found == clients.end() ? nullptr : found->second.get();
}

void ControlServer::Impl::remove_file() const {
  struct stat file {};
  // Another daemon may have put its own there.
  if (path.empty() || ::lstat(path.c_str(), &file) != 0 || file.st_ino != inode) return;
  ::unlink(path.c_str());
}

ControlServer::ControlServer(EventLoop& loop) : impl_(std::make_shared<Impl>(loop)) {}

ControlServer::~ControlServer() {
  impl_->remove_file();
  impl_->clients.clear();
}

void ControlServer::add(const std::string& name, std::vector<Parameter> parameters, Handler handler) {
  const bool is_new =
      impl_->methods.emplace(name, Impl::Method{std::move(parameters), std::move(handler)}).second;
  ITGTD_ASSERT(is_new);
}

Result<void> ControlServer::listen(const std::string& path) {
  return impl_->listen_at(path);
}

size_t ControlServer::clients() const {
  return impl_->clients.size();
}

}  // namespace itgtd::control
