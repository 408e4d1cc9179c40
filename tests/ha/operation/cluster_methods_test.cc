// The methods of the cluster, from a line on the control socket to the wish, with a cluster that is none.
#include "target/cluster_methods.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/descriptor.h"
#include "ha/history.h"
#include "tests/ha/operation/situations.h"

namespace itgtd::target {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

class FakeCluster final : public ha::Operator {
 public:
  [[nodiscard]] ha::ClusterStatus status() const override { return situation.status; }
  [[nodiscard]] std::vector<ha::Candidate> why(const std::string& group) const override {
    return group == "drbd0" ? situation.candidates : std::vector<ha::Candidate>();
  }
  [[nodiscard]] std::map<std::string, ha::GroupShown> shown() const override { return situation.shown; }
  [[nodiscard]] std::string trouble() const override { return situation.trouble; }
  void ask(const ha::Wish& wish, std::function<void(Result<void>)> done) override {
    wishes.push_back(wish);
    waiting.push_back(std::move(done));
    if (answer) waiting.back()(*answer);
  }
  [[nodiscard]] const ha::History& history() const override { return past; }

  ha::Situation situation = ha::healthy();
  ha::History past;
  std::vector<ha::Wish> wishes;
  std::vector<std::function<void(Result<void>)>> waiting;
  std::optional<Result<void>> answer = Result<void>();
};

class ClusterMethodsTest : public testing::Test {
 protected:
  ClusterMethodsTest() {
    std::string name = std::filesystem::temp_directory_path() / "itgtd-methods-XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~ClusterMethodsTest() override { std::filesystem::remove_all(folder_); }

  void listen(ha::Operator* cluster) {
    register_cluster_methods(server_, cluster, [] { return std::string("2 targets"); });
    ASSERT_TRUE(server_.listen(folder_ + "/s").ok());
  }
  Json call(const std::string& method, const Json& params = Json::object()) {
    const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (folder_ + "/s").copy(&address.sun_path[0], sizeof(address.sun_path) - 1);
    const auto* generic = static_cast<const sockaddr*>(static_cast<const void*>(&address));
    EXPECT_EQ(::connect(socket.get(), generic, sizeof(address)), 0);
    const std::string line =
        Json{{"jsonrpc", "2.0"}, {"id", 1}, {"method", method}, {"params", params}}.dump() + '\n';
    EXPECT_EQ(::send(socket.get(), line.data(), line.size(), 0), static_cast<ssize_t>(line.size()));
    std::string in;
    for (int turns = 0; turns < 5000 && in.find('\n') == std::string::npos; ++turns) {
      const control::Subscription end = loop_.timer(std::chrono::milliseconds(1), [this] { loop_.stop(); });
      loop_.run();
      std::array<char, 65536> buffer;
      const ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got > 0) in.append(buffer.data(), static_cast<size_t>(got));
    }
    return Json::parse(in);
  }
  std::string refusal(const std::string& method, const Json& params = Json::object()) {
    const Json answer = call(method, params);
    return answer.contains("error") ? answer["error"]["message"].get<std::string>() : answer.dump();
  }

  std::string folder_;
  control::EventLoop loop_;
  FakeCluster cluster_;
  control::ControlServer server_{loop_};
};

TEST_F(ClusterMethodsTest, Questions) {
  listen(&cluster_);
  const Json status = call("status");
  EXPECT_EQ(status["result"]["groups"][0]["owner"], "iscsi-0");
  EXPECT_EQ(status["result"]["summary"], "2 targets");
  EXPECT_EQ(call("why", {{"group", "drbd0"}})["result"]["candidates"].size(), 3u);
  EXPECT_EQ(refusal("why", {{"group", "x"}}), "there is no group x; the groups are: drbd0");
  EXPECT_THAT(refusal("why"), HasSubstr("group is missing"));
  cluster_.past.note(1, 1, {ha::Note::Kind::decision, "drbd0", 2752513, ""}, cluster_.status());
  EXPECT_EQ(call("history")["result"]["changes"].size(), 1u);
  EXPECT_EQ(call("history", {{"group", "drbd0"}, {"count", 1}, {"notes", true}})["result"]["notes"].size(),
            1u);
  EXPECT_THAT(refusal("history", {{"group", "x"}}), HasSubstr("there is no group x"));
}

TEST_F(ClusterMethodsTest, Wishes) {
  listen(&cluster_);
  EXPECT_EQ(call("move", {{"group", "drbd0"}, {"node", "iscsi-2"}})["result"]["taken"], true);
  EXPECT_EQ(call("drain", {{"node", "iscsi-1"}})["result"]["taken"], true);
  cluster_.situation.status.nodes[1].drained = true;
  EXPECT_EQ(call("undrain", {{"node", "iscsi-1"}})["result"]["taken"], true);
  EXPECT_EQ(call("maintenance", {{"on", true}})["result"]["taken"], true);
  cluster_.situation.status.maintenance = true;
  EXPECT_EQ(call("maintenance", {{"on", false}})["result"]["taken"], true);
  ASSERT_EQ(cluster_.wishes.size(), 5u);
  EXPECT_EQ(cluster_.wishes[0].kind, ha::Wish::Kind::move);
  EXPECT_EQ(cluster_.wishes[0].node, 3u);
  EXPECT_EQ(cluster_.wishes[1].kind, ha::Wish::Kind::drain);
  EXPECT_EQ(cluster_.wishes[2].kind, ha::Wish::Kind::undrain);
  EXPECT_EQ(cluster_.wishes[3].kind, ha::Wish::Kind::maintenance_on);
  EXPECT_EQ(cluster_.wishes[4].kind, ha::Wish::Kind::maintenance_off);
}

TEST_F(ClusterMethodsTest, WhatCantBeDoesNotGoOut) {
  listen(&cluster_);
  EXPECT_THAT(refusal("move", {{"group", "drbd0"}, {"node", "iscsi-0"}}), HasSubstr("already"));
  EXPECT_THAT(refusal("drain", {{"node", "x"}}), HasSubstr("corosync knows no node x"));
  EXPECT_THAT(refusal("maintenance", {{"on", "yes"}}), HasSubstr("true or false"));
  EXPECT_TRUE(cluster_.wishes.empty());
  cluster_.answer = Error{0, "the send queue is full"};
  EXPECT_EQ(refusal("drain", {{"node", "iscsi-1"}}), "the send queue is full");
}

TEST_F(ClusterMethodsTest, WhatIsSoAlreadyIsNoError) {
  listen(&cluster_);
  EXPECT_EQ(call("undrain", {{"node", "iscsi-1"}})["result"]["taken"], true);
  EXPECT_EQ(call("maintenance", {{"on", false}})["result"]["taken"], true);
  cluster_.situation.status.nodes[1].drained = true;
  EXPECT_EQ(call("drain", {{"node", "iscsi-1"}})["result"]["taken"], true);
  EXPECT_TRUE(cluster_.wishes.empty());
}

TEST_F(ClusterMethodsTest, BeforeTheClusterIsJoined) {
  cluster_.situation.status = {};
  cluster_.situation.candidates.clear();
  cluster_.situation.trouble = "corosync can't be reached";
  listen(&cluster_);
  const Json group = call("status")["result"]["groups"][0];
  EXPECT_EQ(group["name"], "drbd0");
  EXPECT_EQ(group["state"], "unknown");
  EXPECT_EQ(refusal("why", {{"group", "drbd0"}}),
            "this node is not in the cluster yet: corosync can't be reached");
  EXPECT_EQ(call("history", {{"group", "drbd0"}})["result"]["changes"].size(), 0u);
  EXPECT_THAT(refusal("move", {{"group", "drbd0"}}), HasSubstr("no connection to corosync"));
}

TEST_F(ClusterMethodsTest, WithoutACluster) {
  listen(nullptr);
  const Json status = call("status");
  EXPECT_EQ(status["result"]["configured"], false);
  EXPECT_EQ(status["result"]["summary"], "2 targets");
  EXPECT_THAT(refusal("move", {{"group", "g"}}), HasSubstr("has no [cluster]"));
  EXPECT_THAT(refusal("history"), HasSubstr("has no [cluster]"));
}

}  // namespace
}  // namespace itgtd::target
