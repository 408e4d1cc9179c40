#include "target/listener_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "base/address.h"
#include "net/socket.h"

namespace itgtd::target {
namespace {

/// Runs `body` in a process that was passed `passed` as systemd passes descriptors (from 3 on); its answer is
/// the exit status.
template <typename Body>
int with_passed(std::vector<int> passed, Body body) {
  const pid_t child = fork();
  if (child == 0) {
    // First out of the way, so that none is overwritten while they are put in place.
    for (int& fd : passed) fd = fcntl(fd, F_DUPFD, 100);
    for (size_t i = 0; i < passed.size(); ++i) dup2(passed[i], 3 + static_cast<int>(i));
    setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
    setenv("LISTEN_FDS", std::to_string(passed.size()).c_str(), 1);
    _exit(body());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int listener(std::string& portal) {
  const int fd = net::listen_on(Address::parse("127.0.0.1", 0).value(), 1).value();
  portal = net::local_address(fd).value().to_string();
  return fd;
}

TEST(ListenerStore, FindsASocketByWhatItIsBoundTo) {
  std::string portal;
  const int fd = listener(portal);
  const int status = with_passed({fd}, [&] {
    ListenerStore store;
    store.inherit();
    if (store.size() != 1) return 1;
    if (store.take("127.0.0.1:1") >= 0) return 2;
    const int taken = store.take(portal);
    if (taken < 0 || net::local_address(taken).value().to_string() != portal) return 3;
    if (store.take(portal) >= 0) return 4;  // once
    return getenv("LISTEN_FDS") == nullptr ? 0 : 5;
  });
  EXPECT_EQ(status, 0);
  close(fd);
}

TEST(ListenerStore, WhatDoesNotListenIsClosed) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const int status = with_passed({pair[0]}, [&] {
    ListenerStore store;
    store.inherit();
    if (store.size() != 0) return 1;
    return fcntl(3, F_GETFD) < 0 ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
  close(pair[0]);
  close(pair[1]);
}

TEST(ListenerStore, WithoutAServiceManagerThereIsNothing) {
  ListenerStore store;
  store.inherit();
  EXPECT_EQ(store.size(), 0U);
  EXPECT_LT(store.take("127.0.0.1:3260"), 0);
  store.keep("127.0.0.1:3260", 0);
  store.forget("127.0.0.1:3260");
}

}  // namespace
}  // namespace itgtd::target
