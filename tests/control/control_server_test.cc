// The control socket with clients on the other end, good ones and bad ones. One thread: the loop runs until a
// client has what it waits for.
#include "target/control/control_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>

#include "base/descriptor.h"

namespace itgtd::control {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

class Folder {
 public:
  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "itgtd-control-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

int connect_to(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(&address.sun_path[0], sizeof(address.sun_path) - 1);
  const auto* generic = static_cast<const sockaddr*>(static_cast<const void*>(&address));
  EXPECT_EQ(::connect(fd, generic, sizeof(address)), 0);
  return fd;
}

class ControlServerTest : public testing::Test {
 protected:
  ControlServerTest() {
    server_.emplace(loop_);
    server_->add("echo", {{"text", Parameter::Type::text}}, [](const Params& params, const Reply& reply) {
      reply.result('"' + params.text("text") + '"');
    });
    server_->add("later", {}, [this](const Params&, const Reply& reply) { later_.push_back(reply); });
    server_->add("big", {}, [](const Params&, const Reply& reply) {
      reply.result('"' + std::string(size_t{1} << 20, 'x') + '"');
    });
    server_->add("forgets", {}, [](const Params&, const Reply&) {});
    server_->add("throws", {}, [](const Params&, const Reply&) { throw std::runtime_error("no"); });
    server_->add("no", {}, [](const Params&, const Reply& reply) { reply.refuse("not today"); });
  }

  void listen() {
    const Result<void> listening = server_->listen(path_);
    ASSERT_TRUE(listening.ok()) << listening.error().to_string();
  }
  /// Runs the loop until `done`, or fails.
  void run_until(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "it does not come";
      run_for(milliseconds(2));
    }
  }
  void run_for(milliseconds time) {
    const Subscription end = loop_.timer(time, [this] { loop_.stop(); });
    loop_.run();
  }

  class Peer {
   public:
    explicit Peer(const std::string& path) : socket_(connect_to(path)) {}
    void send(std::string_view text) {
      EXPECT_EQ(::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(text.size()));
    }
    void call(const std::string& method, const std::string& params = "{}", const std::string& id = "1") {
      send(R"({"jsonrpc":"2.0","id":)" + id + R"(,"method":")" + method + R"(","params":)" + params + "}\n");
    }
    /// Takes what is there.
    bool read() {
      std::array<char, 65536> buffer;
      const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got > 0) in_.append(buffer.data(), static_cast<size_t>(got));
      lines_ +=
          static_cast<size_t>(std::count(buffer.data(), buffer.data() + std::max<ssize_t>(got, 0), '\n'));
      if (got == 0 || (got < 0 && errno == ECONNRESET)) closed_ = true;
      return got > 0;
    }
    [[nodiscard]] size_t lines() {
      while (read()) {
      }
      return lines_;
    }
    [[nodiscard]] bool closed() {
      while (read()) {
      }
      return closed_;
    }
    [[nodiscard]] const std::string& in() const { return in_; }
    [[nodiscard]] int fd() const { return socket_.get(); }

   private:
    Descriptor socket_;
    std::string in_;
    size_t lines_ = 0;
    bool closed_ = false;
  };

  /// The answer to one call on a connection of its own.
  std::string answer(const std::string& method, const std::string& params = "{}") {
    Peer peer(path_);
    peer.call(method, params);
    run_until([&] { return peer.lines() == 1; });
    return peer.in();
  }

  Folder folder_;
  std::string path_ = folder_.file("run/itgtd/control.sock");
  EventLoop loop_;
  std::vector<Reply> later_;
  std::optional<ControlServer> server_;
};

TEST_F(ControlServerTest, AnswersOnOneConnectionInTheOrderOfTheCalls) {
  listen();
  Peer peer(path_);
  for (int i = 0; i < 50; ++i) peer.call("echo", R"({"text":"a"})", std::to_string(i));
  run_until([&] { return peer.lines() == 50; });
  EXPECT_THAT(peer.in(), testing::StartsWith("{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":\"a\"}\n"));
  EXPECT_THAT(peer.in(), testing::EndsWith("\"id\":49,\"result\":\"a\"}\n"));
}

TEST_F(ControlServerTest, ARequestMayComeInPieces) {
  listen();
  Peer peer(path_);
  peer.send(R"({"jsonrpc":"2.0","id":1,)");
  run_for(milliseconds(20));
  EXPECT_EQ(peer.lines(), 0u);
  peer.send("\"method\":\"echo\"}\r\n");
  run_until([&] { return peer.lines() == 1; });
  EXPECT_THAT(peer.in(), HasSubstr("\"result\":\"\""));
}

TEST_F(ControlServerTest, ErrorsSayWhat) {
  listen();
  EXPECT_THAT(answer("ecko"), HasSubstr("there is no method 'ecko'; is echo meant?"));
  EXPECT_THAT(answer("zzzzzzzzz"), HasSubstr("there are big, echo, forgets, later, no and throws"));
  EXPECT_THAT(answer("echo", R"({"txt":"a"})"), HasSubstr("echo has no parameter 'txt'; it takes text"));
  EXPECT_THAT(answer("no"), HasSubstr("{\"code\":-32000,\"message\":\"not today\"}"));
  EXPECT_THAT(answer("forgets"), HasSubstr("-32603"));
  EXPECT_THAT(answer("throws"), HasSubstr("-32603"));
  Peer peer(path_);
  peer.send("nonsense\n\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"echo\"}\n");
  run_until([&] { return peer.lines() == 2; });
  EXPECT_THAT(peer.in(), HasSubstr("-32700"));
  EXPECT_THAT(peer.in(), HasSubstr("\"id\":2,\"result\""));
}

TEST_F(ControlServerTest, ANotificationIsDoneAndNotAnswered) {
  listen();
  Peer peer(path_);
  peer.send("{\"jsonrpc\":\"2.0\",\"method\":\"later\"}\n{\"jsonrpc\":\"2.0\",\"method\":\"nope\"}\n");
  run_until([&] { return later_.size() == 1; });
  later_[0].result("1");
  peer.call("echo");
  run_until([&] { return peer.lines() == 1; });
  EXPECT_THAT(peer.in(), HasSubstr("\"result\":\"\""));
}

TEST_F(ControlServerTest, AnAnswerMayComeLater) {
  listen();
  Peer first(path_);
  Peer second(path_);
  first.call("later", "{}", "\"x\"");
  first.call("echo");
  second.call("echo");
  run_until([&] { return later_.size() == 1 && second.lines() == 1 && first.lines() == 1; });
  later_[0].result("42");
  run_until([&] { return first.lines() == 2; });
  EXPECT_THAT(first.in(), testing::EndsWith("\"id\":\"x\",\"result\":42}\n"));
}

TEST_F(ControlServerTest, AnAnswerToWhoHasGoneIsDropped) {
  listen();
  {
    Peer peer(path_);
    peer.call("later");
    run_until([&] { return later_.size() == 1; });
  }
  run_for(milliseconds(20));
  later_[0].result("42");
  run_for(milliseconds(20));
  EXPECT_EQ(server_->clients(), 0u);

  Peer peer(path_);
  peer.call("later");
  run_until([&] { return later_.size() == 2; });
  server_.reset();
  later_[1].result("42");
  later_.clear();
  EXPECT_TRUE(peer.closed());
}

TEST_F(ControlServerTest, WhoEndsItsSideStillGetsItsAnswers) {
  listen();
  Peer peer(path_);
  peer.call("later");
  peer.send(R"({"jsonrpc":"2.0","id":2,"method":"echo"})");  // no newline
  ASSERT_EQ(::shutdown(peer.fd(), SHUT_WR), 0);
  run_until([&] { return later_.size() == 1 && peer.lines() == 1; });
  EXPECT_FALSE(peer.closed());
  later_[0].result("42");
  run_until([&] { return peer.closed(); });
  EXPECT_EQ(peer.lines(), 2u);
  EXPECT_EQ(server_->clients(), 0u);
}

TEST_F(ControlServerTest, ALineHasALimit) {
  listen();
  Peer peer(path_);
  const std::string part(65536, ' ');
  run_until([&] {
    if (!peer.closed()) (void)::send(peer.fd(), part.data(), part.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return peer.closed();
  });
  EXPECT_THAT(peer.in(), HasSubstr("a line has at most 1048576 bytes"));
  EXPECT_EQ(server_->clients(), 0u);
}

TEST_F(ControlServerTest, WhoDoesNotReadIsNotReadFrom) {
  listen();
  Peer peer(path_);
  // Far more answers than a socket takes: the calls wait, and the others are served.
  for (int i = 0; i < 6; ++i) peer.call("big", "{}", std::to_string(i));
  run_for(milliseconds(50));
  EXPECT_THAT(answer("echo"), HasSubstr("result"));
  run_until([&] { return peer.lines() == 6; });
  EXPECT_GE(peer.in().size(), size_t{6} << 20);
}

TEST_F(ControlServerTest, WhoDoesNotReadLateAnswersIsClosed) {
  listen();
  Peer peer(path_);
  for (int i = 0; i < 20; ++i) peer.call("later", "{}", std::to_string(i));
  run_until([&] { return later_.size() == 20; });
  const std::string big = '"' + std::string(size_t{1} << 20, 'x') + '"';
  for (const Reply& reply : later_) reply.result(big);
  EXPECT_EQ(server_->clients(), 0u);
  run_until([&] { return peer.closed(); });
  EXPECT_LT(peer.in().size(), size_t{10} << 20);
}

TEST_F(ControlServerTest, CallsOfOneClientAreBounded) {
  listen();
  Peer peer(path_);
  for (size_t i = 0; i < kControlCallsMax + 10; ++i) peer.call("later");
  run_until([&] { return later_.size() == kControlCallsMax; });
  run_for(milliseconds(20));
  EXPECT_EQ(later_.size(), kControlCallsMax);
  later_.front().result("1");
  run_until([&] { return later_.size() == kControlCallsMax + 1; });
}

TEST_F(ControlServerTest, ClientsAreBounded) {
  listen();
  std::vector<std::unique_ptr<Peer>> peers;
  for (size_t i = 0; i < kControlClientsMax; ++i) peers.push_back(std::make_unique<Peer>(path_));
  run_until([&] { return server_->clients() == kControlClientsMax; });
  Peer late(path_);
  run_until([&] { return late.closed(); });
  EXPECT_THAT(late.in(), HasSubstr("64 clients are connected already"));
  peers.pop_back();
  run_until([&] { return server_->clients() == kControlClientsMax - 1; });
  EXPECT_THAT(answer("echo"), HasSubstr("result"));
}

TEST_F(ControlServerTest, TheFileHasItsModeAndGoesWithTheServer) {
  listen();
  struct stat file {};
  ASSERT_EQ(::stat(path_.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0660u);
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(ControlServerTest, AStaleSocketIsReplacedALiveOneIsNot) {
  listen();
  ControlServer second(loop_);
  const Result<void> refused = second.listen(path_);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().to_string(), HasSubstr("another itgtd listens at"));
  EXPECT_THAT(answer("echo"), HasSubstr("result"));

  // As a daemon that was killed leaves it.
  const std::string stale = folder_.file("stale.sock");
  {
    const Descriptor dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    stale.copy(&address.sun_path[0], sizeof(address.sun_path) - 1);
    const auto* generic = static_cast<const sockaddr*>(static_cast<const void*>(&address));
    ASSERT_EQ(::bind(dead.get(), generic, sizeof(address)), 0);
  }
  ASSERT_TRUE(std::filesystem::exists(stale));
  EXPECT_TRUE(second.listen(stale).ok());
  const Peer peer(stale);
}

TEST_F(ControlServerTest, AFileThatIsNoSocketIsLeftAlone) {
  path_ = folder_.file("precious");
  std::ofstream(path_) << "data";
  const Result<void> refused = server_->listen(path_);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().to_string(), HasSubstr("is no socket"));
  EXPECT_EQ(std::filesystem::file_size(path_), 4u);
  const Result<void> too_long = server_->listen(folder_.file(std::string(200, 'a')));
  ASSERT_FALSE(too_long.ok());
  EXPECT_THAT(too_long.error().to_string(), HasSubstr("less than 108 characters"));
  EXPECT_FALSE(server_->listen(path_ + "/below/a.sock").ok());
}

TEST_F(ControlServerTest, OthersMayNotCall) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  listen();
  // Open to all by mistake: who is at the other end still counts.
  ASSERT_EQ(::chmod(path_.c_str(), 0666), 0);
  ASSERT_EQ(::chmod(folder_.file("").c_str(), 0755), 0);
  // Credentials are those of the time of connect().
  ASSERT_EQ(::setegid(65534), 0);
  ASSERT_EQ(::seteuid(65534), 0);
  std::optional<Peer> stranger(path_);
  ASSERT_EQ(::seteuid(0), 0);
  ASSERT_EQ(::setegid(0), 0);
  run_until([&] { return stranger->closed(); });
  EXPECT_THAT(stranger->in(), HasSubstr("only root and the group"));
}

}  // namespace
}  // namespace itgtd::control
