// A worker as backends see it: a ring, tasks in slots, and a list of what is completed.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "target/backend/backend.h"
#include "target/backend/uring_file.h"

namespace itgtd::backend {

/// Page-aligned memory, filled with a byte that no test writes on purpose.
class Buffer {
 public:
  static constexpr std::byte kOld{0xEE};
  explicit Buffer(size_t bytes)
      : bytes_(static_cast<std::byte*>(std::aligned_alloc(4096, (bytes + 4096) / 4096 * 4096 + 4096)),
               bytes) {
    fill(kOld);
  }
  ~Buffer() { std::free(bytes_.data()); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void fill(std::byte value) { std::fill(bytes_.begin(), bytes_.end(), value); }
  [[nodiscard]] Bytes bytes() const { return bytes_; }
  [[nodiscard]] std::byte* data() const { return bytes_.data(); }

 private:
  Bytes bytes_;
};

/// A directory that goes away with everything in it, on the file system of the temporary directory.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = ::testing::TempDir() + "itgtd-backend-XXXXXX";
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TemporaryDirectory() {
    for (const std::string& file : files_) ::unlink(file.c_str());
    ::rmdir(path_.c_str());
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  /// The path of a file in it, which is removed at the end.
  std::string file(const std::string& name) {
    files_.push_back(path_ + "/" + name);
    return files_.back();
  }

 private:
  std::string path_;
  std::vector<std::string> files_;
};

class Harness {
 public:
  static constexpr uint32_t kSlots = 64;

  explicit Harness(std::shared_ptr<Medium> medium) : medium_(std::move(medium)) {
    auto made = net::Ring::create({.entries = 64});
    EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().to_string());
    ring_ = std::move(*made);
    backend_ = medium_->make_backend(*ring_, completed_);
    for (uint32_t i = 0; i < kSlots; ++i) ops_[i].op = {net::OpKind::backend, {i, 1}};
  }

  /// Starts an operation in slot `slot`.
  BackendOp& start(uint32_t slot, const scsi::Io& io) {
    BackendOp& op = ops_[slot];
    op.io = io;
    op.result = {-1, 0};
    backend_->submit(op);
    return op;
  }
  /// Turns the crank once; returns the operations that completed.
  std::vector<BackendOp*> turn(Duration patience = std::chrono::seconds(5)) {
    if (completed_.empty()) {
      std::array<net::Completion, 16> done{};
      const size_t count = ring_->submit_and_wait(now() + patience, done);
      for (size_t i = 0; i < count; ++i) {
        if (done[i].op.kind != net::OpKind::backend) continue;
        backend_->on_completion(ops_[done[i].op.slot.index], done[i].result);
      }
    }
    std::vector<BackendOp*> finished;
    while (BackendOp* op = completed_.pop_front()) finished.push_back(op);
    return finished;
  }
  /// Until `count` operations have completed.
  std::vector<BackendOp*> wait_for(size_t count) {
    std::vector<BackendOp*> all;
    const Instant deadline = now() + std::chrono::seconds(10);
    while (all.size() < count && now() < deadline) {
      for (BackendOp* op : turn()) all.push_back(op);
    }
    EXPECT_EQ(all.size(), count) << "operations did not complete";
    return all;
  }
  scsi::IoResult run(const scsi::Io& io) {
    const BackendOp& op = start(0, io);
    wait_for(1);
    return op.result;
  }

  scsi::IoResult read(uint64_t offset, Bytes to) {
    return run({scsi::IoKind::read, false, offset, to.size(), to.data()});
  }
  scsi::IoResult write(uint64_t offset, Bytes from, bool durable = false) {
    return run({scsi::IoKind::write, durable, offset, from.size(), from.data()});
  }
  scsi::IoResult flush() { return run({scsi::IoKind::flush, false, 0, 0, nullptr}); }
  scsi::IoResult unmap(uint64_t offset, uint64_t bytes) {
    return run({scsi::IoKind::unmap, false, offset, bytes, nullptr});
  }
  scsi::IoResult write_zeroes(uint64_t offset, uint64_t bytes, bool durable = false) {
    return run({scsi::IoKind::write_zeroes, durable, offset, bytes, nullptr});
  }

  scsi::IoResult extent(uint64_t offset, uint64_t bytes) {
    return run({scsi::IoKind::extent, false, offset, bytes, nullptr});
  }

  [[nodiscard]] net::Ring& ring() { return *ring_; }
  [[nodiscard]] Backend& backend() { return *backend_; }
  [[nodiscard]] const UringFileBackend::Counters& file_counters() const {
    return dynamic_cast<const UringFileBackend&>(*backend_).counters();
  }

 private:
  std::shared_ptr<Medium> medium_;
  CompletedList completed_;
  std::array<BackendOp, kSlots> ops_;
  std::unique_ptr<net::Ring> ring_;
  std::unique_ptr<Backend> backend_;
};

inline std::shared_ptr<Medium> open_or_fail(const MediumOptions& options) {
  auto medium = Medium::open(options);
  EXPECT_TRUE(medium.ok()) << (medium.ok() ? "" : medium.error().to_string());
  return medium.ok() ? *medium : nullptr;
}

inline const UringFileMedium::Facts& facts_of(const Medium& medium) {
  return dynamic_cast<const UringFileMedium&>(medium).facts();
}

/// A medium of a file with facts of the test's choosing.
inline std::shared_ptr<UringFileMedium> medium_with(const std::string& path,
                                                    const UringFileMedium::Facts& facts,
                                                    int open_flags = O_RDWR) {
  const int fd = ::open(path.c_str(), open_flags | O_CREAT | O_CLOEXEC, 0600);
  EXPECT_GE(fd, 0);
  return std::make_shared<UringFileMedium>(path, fd, facts);
}

inline bool all_equal(ConstBytes bytes, std::byte value) {
  for (const std::byte byte : bytes) {
    if (byte != value) return false;
  }
  return true;
}

}  // namespace itgtd::backend
