#include "net/ring.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

namespace itgtd::net {
namespace {

using namespace std::chrono_literals;

OpId id(OpKind kind, uint32_t index) {
  return {kind, {index, 7}};
}

class RingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = Ring::create({});
    ASSERT_TRUE(made.ok()) << made.error().to_string();
    ring_ = std::move(*made);
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair_.data()), 0);
  }
  void TearDown() override {
    ring_.reset();
    ::close(pair_[0]);
    ::close(pair_[1]);
  }
  /// Waits for one completion, at most five seconds.
  Completion wait_one() {
    std::array<Completion, 1> done{};
    const Instant deadline = now() + 5s;
    while (now() < deadline) {
      if (ring_->submit_and_wait(deadline, done) == 1) return done[0];
    }
    ADD_FAILURE() << "nothing completed";
    return {};
  }

  std::unique_ptr<Ring> ring_;
  std::array<int, 2> pair_{};
};

class TemporaryFile {
 public:
  TemporaryFile() {
    std::string name = ::testing::TempDir() + "itgtd-ring-XXXXXX";
    fd_ = ::mkostemp(name.data(), O_CLOEXEC);
    ::unlink(name.c_str());
  }
  ~TemporaryFile() { ::close(fd_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

class Region {
 public:
  explicit Region(size_t bytes)
      : bytes_(static_cast<std::byte*>(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)),
               bytes) {}
  ~Region() { ::munmap(bytes_.data(), bytes_.size()); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  [[nodiscard]] Bytes bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

TEST_F(RingTest, NothingQueuedAndADeadlineInThePastReturnsAtOnce) {
  std::array<Completion, 4> done{};
  EXPECT_EQ(ring_->submit_and_wait(Instant::min(), done), 0U);
  EXPECT_EQ(ring_->submit_and_wait(now(), done), 0U);
}

TEST_F(RingTest, WaitsUntilTheDeadlineAndNotLonger) {
  std::array<Completion, 4> done{};
  const Instant before = now();
  EXPECT_EQ(ring_->submit_and_wait(before + 30ms, done), 0U);
  const Duration took = now() - before;
  EXPECT_GE(took, 29ms);
  EXPECT_LT(took, 5s);
}

TEST_F(RingTest, CompletionCarriesTheOpIdUnchanged) {
  const OpId op{OpKind::backend, {0xFFFF'FFFF, kGenerationMask}};
  ring_->nothing(op);
  const Completion done = wait_one();
  EXPECT_EQ(done.op.kind, OpKind::backend);
  EXPECT_EQ(done.op.slot, op.slot);
  EXPECT_EQ(done.result, 0);
}

TEST_F(RingTest, SendAndReceiveGatherAndScatter) {
  std::string head = "head";
  std::string body = "body";
  std::array<iovec, 2> out = {{{head.data(), 4}, {body.data(), 4}}};
  msghdr message{};
  message.msg_iov = out.data();
  message.msg_iovlen = out.size();
  ring_->send(id(OpKind::send, 1), pair_[0], &message);
  EXPECT_EQ(wait_one().result, 8);

  std::string a(3, '.');
  std::string b(16, '.');
  std::array<iovec, 2> in = {{{a.data(), a.size()}, {b.data(), b.size()}}};
  msghdr got{};
  got.msg_iov = in.data();
  got.msg_iovlen = in.size();
  ring_->receive(id(OpKind::receive, 1), pair_[1], &got);
  EXPECT_EQ(wait_one().result, 8);
  EXPECT_EQ(a + b.substr(0, 5), "headbody");
}

TEST_F(RingTest, ReceiveWaitsForThePeerInEitherMode) {
  for (const Attempt attempt : {Attempt::at_once, Attempt::poll_first}) {
    std::string text(8, '.');
    iovec in = {text.data(), text.size()};
    msghdr message{};
    message.msg_iov = &in;
    message.msg_iovlen = 1;
    ring_->receive(id(OpKind::receive, 2), pair_[1], &message, 0, attempt);
    std::array<Completion, 2> done{};
    EXPECT_EQ(ring_->submit_and_wait(now() + 5ms, done), 0U);
    EXPECT_EQ(ring_->in_flight(), 1U);
    ASSERT_EQ(::write(pair_[0], "late", 4), 4);
    EXPECT_EQ(wait_one().result, 4);
    EXPECT_EQ(text.substr(0, 4), "late");
  }
}

TEST_F(RingTest, ReceiveSaysThatMoreIsThere) {
  ASSERT_EQ(::write(pair_[0], "abcdef", 6), 6);
  std::string text(3, '.');
  iovec in = {text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &in;
  message.msg_iovlen = 1;
  ring_->receive(id(OpKind::receive, 2), pair_[1], &message);
  EXPECT_TRUE(wait_one().more_to_receive());
  ring_->receive(id(OpKind::receive, 2), pair_[1], &message);
  EXPECT_FALSE(wait_one().more_to_receive());
}

TEST_F(RingTest, SendToAClosedPeerIsAnErrorAndNoSignal) {
  ::shutdown(pair_[1], SHUT_RDWR);
  std::string text = "x";
  iovec out = {text.data(), 1};
  msghdr message{};
  message.msg_iov = &out;
  message.msg_iovlen = 1;
  ring_->send(id(OpKind::send, 1), pair_[0], &message);
  EXPECT_EQ(wait_one().result, -EPIPE);
}

TEST_F(RingTest, SendLargerThanTheSocketBufferIsWhole) {
  std::vector<char> big(4 << 20, 'b');
  iovec out = {big.data(), big.size()};
  msghdr message{};
  message.msg_iov = &out;
  message.msg_iovlen = 1;
  ring_->send(id(OpKind::send, 1), pair_[0], &message);
  std::array<Completion, 1> done{};
  size_t drained = 0;
  std::vector<char> sink(1 << 20);
  while (drained < big.size()) {
    ring_->submit_and_wait(Instant::min(), done);
    const ssize_t got = ::recv(pair_[1], sink.data(), sink.size(), MSG_DONTWAIT);
    if (got > 0) drained += static_cast<size_t>(got);
  }
  const int32_t result = done[0].op.kind == OpKind::send ? done[0].result : wait_one().result;
  EXPECT_EQ(result, 4 << 20);
}

TEST_F(RingTest, CancelEndsAWaitingReceive) {
  std::string text(8, '.');
  iovec in = {text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &in;
  message.msg_iovlen = 1;
  ring_->receive(id(OpKind::receive, 3), pair_[1], &message);
  ring_->cancel(id(OpKind::receive, 3));
  bool receive_ended = false;
  bool cancel_ended = false;
  for (int i = 0; i < 2; ++i) {
    const Completion done = wait_one();
    if (done.op.kind == OpKind::receive) {
      receive_ended = true;
      EXPECT_EQ(done.result, -ECANCELED);
    } else {
      cancel_ended = done.op.kind == OpKind::cancel;
    }
  }
  EXPECT_TRUE(receive_ended && cancel_ended);
  EXPECT_EQ(ring_->in_flight(), 0U);
}

TEST_F(RingTest, CancelOfAnotherGenerationLeavesItAlone) {
  const int event = ::eventfd(0, EFD_CLOEXEC);
  ring_->poll_readable({OpKind::mailbox, {1, 1}}, event);
  ring_->cancel({OpKind::mailbox, {1, 2}});
  const Completion cancelled = wait_one();
  EXPECT_EQ(cancelled.op.kind, OpKind::cancel);
  EXPECT_LE(cancelled.result, 0);  // a count or -ENOENT, by kernel
  EXPECT_EQ(ring_->in_flight(), 1U);
  const uint64_t one = 1;
  ASSERT_EQ(::write(event, &one, sizeof one), 8);
  EXPECT_EQ(wait_one().op.slot.generation, 1U);
  ::close(event);
}

TEST_F(RingTest, ShutdownAndClose) {
  std::array<int, 2> other{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other.data()), 0);
  ring_->shutdown(id(OpKind::shutdown, 1), other[0]);
  EXPECT_EQ(wait_one().result, 0);
  char c = 0;
  EXPECT_EQ(::read(other[1], &c, 1), 0);
  ring_->close(id(OpKind::close, 1), other[0]);
  EXPECT_EQ(wait_one().result, 0);
  EXPECT_EQ(::fcntl(other[0], F_GETFD), -1);
  ::close(other[1]);
}

TEST_F(RingTest, MoreOperationsThanTheQueueHoldsAreAllDone) {
  auto made = Ring::create({.entries = 8});
  ASSERT_TRUE(made.ok());
  Ring& small = **made;
  constexpr uint32_t kCount = 1000;
  for (uint32_t i = 0; i < kCount; ++i) small.nothing(id(OpKind::backend, i));
  std::vector<bool> seen(kCount, false);
  std::array<Completion, 5> done{};
  size_t total = 0;
  while (total < kCount) {
    const size_t count = small.submit_and_wait(now() + 5s, done);
    ASSERT_GT(count, 0U);
    for (size_t i = 0; i < count; ++i) {
      EXPECT_FALSE(seen[done[i].op.slot.index]);
      seen[done[i].op.slot.index] = true;
    }
    total += count;
  }
  EXPECT_EQ(small.in_flight(), 0U);
  EXPECT_EQ(small.counters().submitted, kCount);
  EXPECT_EQ(small.counters().completed, kCount);
  // 1000 operations against 32 places: the kernel kept them, and it is counted.
  EXPECT_GT(small.counters().overflows, 0U);
}

TEST_F(RingTest, OneEnterPerTurn) {
  std::array<Completion, 64> done{};
  for (uint32_t i = 0; i < 32; ++i) ring_->nothing(id(OpKind::backend, i));
  EXPECT_EQ(ring_->submit_and_wait(now() + 5s, done), 32U);
  EXPECT_EQ(ring_->counters().enters, 1U);
  EXPECT_EQ(ring_->counters().overflows, 0U);
}

TEST_F(RingTest, FileReadWriteSyncAllocate) {
  const TemporaryFile file;
  std::vector<std::byte> out(8192, std::byte{0x5A});
  ring_->write(id(OpKind::backend, 1), file.fd(), out, 4096, 0);
  EXPECT_EQ(wait_one().result, 8192);
  ring_->write(id(OpKind::backend, 1), file.fd(), out, 12288, RWF_DSYNC, Attempt::by_worker);
  EXPECT_EQ(wait_one().result, 8192);
  ring_->sync_data(id(OpKind::backend, 1), file.fd());
  EXPECT_EQ(wait_one().result, 0);
  ring_->allocate(id(OpKind::backend, 1), file.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096);
  EXPECT_EQ(wait_one().result, 0);
  std::vector<std::byte> in(32768, std::byte{1});
  ring_->read(id(OpKind::backend, 1), file.fd(), in, 0);
  EXPECT_EQ(wait_one().result, 20480);  // short: the file ends there
  EXPECT_EQ(in[4096], std::byte{0});
  EXPECT_EQ(in[8192], std::byte{0x5A});
}

TEST_F(RingTest, RegionIsUsedWithinItsBoundsOnly) {
  const Region region(8 << 20);
  EXPECT_FALSE(ring_->in_region(region.bytes().data(), 1));
  const auto registered = ring_->register_region(region.bytes());
  if (!registered) GTEST_SKIP() << "this kernel refuses: " << registered.error().to_string();
  std::byte* start = region.bytes().data();
  EXPECT_TRUE(ring_->region_registered());
  EXPECT_TRUE(ring_->in_region(start, 8 << 20));
  EXPECT_FALSE(ring_->in_region(start, (8 << 20) + 1));
  EXPECT_FALSE(ring_->in_region(start + 1, 8 << 20));
  EXPECT_FALSE(ring_->in_region(start - 1, 1));
  EXPECT_FALSE(ring_->in_region(start + (8 << 20), 1));

  const TemporaryFile file;
  start[4095] = std::byte{0x77};
  ring_->write(id(OpKind::backend, 1), file.fd(), region.bytes().subspan(4095, 3), 0, 0);
  EXPECT_EQ(wait_one().result, 3);
  ring_->read(id(OpKind::backend, 1), file.fd(), region.bytes().subspan(100'000, 10), 0);
  EXPECT_EQ(wait_one().result, 3);
  EXPECT_EQ(start[100'000], std::byte{0x77});
}

TEST_F(RingTest, RegionAboveOneGibibyteIsUsedOnBothSidesOfTheBorder) {
  constexpr size_t kGibibyte = size_t{1} << 30;
  constexpr size_t kPiece = 4 << 20;
  const Region region(kGibibyte + kPiece);
  // The same memory over and over: only what is registered counts here, and a GiB takes seconds to touch.
  const int memory = ::memfd_create("region", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(memory, kPiece), 0);
  for (size_t at = 0; at < region.bytes().size(); at += kPiece) {
    ASSERT_NE(
        ::mmap(region.bytes().data() + at, kPiece, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory, 0),
        MAP_FAILED);
  }
  ::close(memory);
  const auto registered = ring_->register_region(region.bytes());
  if (!registered) GTEST_SKIP() << "this kernel refuses: " << registered.error().to_string();
  const TemporaryFile file;
  std::byte* border = region.bytes().data() + kGibibyte;
  border[-1] = std::byte{1};
  border[0] = std::byte{2};
  ring_->write(id(OpKind::backend, 1), file.fd(), {border, 1}, 0, 0);
  EXPECT_EQ(wait_one().result, 1);
  ring_->write(id(OpKind::backend, 1), file.fd(), {border - 1, 2}, 1, 0);  // crosses: not by a fixed buffer
  EXPECT_EQ(wait_one().result, 2);
  std::array<std::byte, 3> back{};
  ASSERT_EQ(::pread(file.fd(), back.data(), 3, 0), 3);
  EXPECT_EQ(back, (std::array{std::byte{2}, std::byte{1}, std::byte{2}}));
}

TEST_F(RingTest, RefusedRegionIsAnErrorAndTransfersGoOn) {
  // A child, because the limit can't be raised again by one who is not privileged.
  const pid_t child = ::fork();
  if (child == 0) {
    int verdict = 0;
    const rlimit little{1 << 20, 1 << 20};  // for the queues
    if (::setrlimit(RLIMIT_MEMLOCK, &little) != 0 ||
        (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0)) {
      ::_exit(77);
    }
    auto made = Ring::create({.entries = 8});
    if (!made) ::_exit(77);
    const Region region(8 << 20);
    const auto registered = (*made)->register_region(region.bytes());
    if (registered.ok()) ::_exit(77);
    if (registered.error().message.find("LimitMEMLOCK") == std::string::npos) verdict = 1;
    if ((*made)->in_region(region.bytes().data(), 1)) verdict = 2;
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) verdict = 3;
    (*made)->write(id(OpKind::backend, 1), pipe[1], region.bytes().subspan(0, 5), 0, 0);
    std::array<Completion, 1> done{};
    if ((*made)->submit_and_wait(now() + 5s, done) != 1 || done[0].result != 5) verdict = 4;
    ::_exit(verdict);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "the limit on locked memory does not bind here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(RingTest, SignalEndsTheWaitWithoutHarm) {
  const pid_t self = ::getpid();
  struct sigaction action {};
  action.sa_handler = [](int) {};
  struct sigaction before {};
  ::sigaction(SIGUSR1, &action, &before);
  const pid_t child = ::fork();
  if (child == 0) {
    ::poll(nullptr, 0, 20);
    ::kill(self, SIGUSR1);
    ::_exit(0);
  }
  std::array<Completion, 1> done{};
  const Instant start = now();
  EXPECT_EQ(ring_->submit_and_wait(start + 10s, done), 0U);
  EXPECT_LT(now() - start, 9s);
  int status = 0;
  ::waitpid(child, &status, 0);
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_F(RingTest, DestructionEndsWhatIsInFlight) {
  std::string text(8, '.');
  iovec in = {text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &in;
  message.msg_iovlen = 1;
  ring_->receive(id(OpKind::receive, 1), pair_[1], &message);
  std::array<Completion, 1> done{};
  ring_->submit_and_wait(Instant::min(), done);
  const Instant start = now();
  ring_.reset();
  EXPECT_LT(now() - start, 1s);
  ASSERT_EQ(::write(pair_[0], "late", 4), 4);
  EXPECT_EQ(text, "........");
}

TEST(RingCreate, AbsurdSizeIsAClearError) {
  const auto made = Ring::create({.entries = 1U << 20});
  ASSERT_FALSE(made.ok());
  EXPECT_FALSE(made.error().message.empty());
  EXPECT_NE(made.error().code, 0);
}

TEST(OpIdTest, PacksAndUnpacks) {
  for (const uint32_t index : {0U, 1U, 0xFFFF'FFFFU}) {
    for (const uint32_t generation : {0U, 1U, kGenerationMask}) {
      const OpId op{OpKind::cancel, {index, generation}};
      const OpId back = OpId::unpack(op.pack());
      EXPECT_EQ(back.kind, op.kind);
      EXPECT_EQ(back.slot, op.slot);
    }
  }
}

}  // namespace
}  // namespace itgtd::net
