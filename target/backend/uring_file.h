// A block device or a regular file behind io_uring.
//
// Direct (O_DIRECT) or through the page cache, for the whole life of the medium: the two are never mixed.
// Direct needs a logical block that is a multiple of what the device or file system transfers at least.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "target/backend/backend.h"

namespace itgtd::backend {

/// How a write that must be durable becomes so.
enum class Durability : uint8_t {
  always,       ///< each write is, when it is done: direct to a device without a volatile cache
  with_write,   ///< by RWF_DSYNC: the device takes FUA
  after_write,  ///< by fdatasync, which concurrent writes share
};

/// Anonymous memory for transfers: page-aligned, given back at the end.
class TransferMemory {
 public:
  explicit TransferMemory(size_t size_bytes, bool writable);
  ~TransferMemory();
  TransferMemory(const TransferMemory&) = delete;
  TransferMemory& operator=(const TransferMemory&) = delete;
  [[nodiscard]] Bytes bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

class UringFileMedium final : public Medium, public std::enable_shared_from_this<UringFileMedium> {
 public:
  /// Facts that open() found. Immutable.
  struct Facts {
    scsi::Geometry geometry;
    Durability durability = Durability::after_write;
    bool block_device = false;
    bool read_only = false;
    bool direct = false;
    uint32_t memory_alignment = 1;    ///< of buffers; 1 unless direct
    uint32_t transfer_alignment = 1;  ///< of offsets and lengths; 1 unless direct
    bool can_punch = false;           ///< FALLOC_FL_PUNCH_HOLE works
    /// Each transfer may block while it is submitted (no NOWAIT, as DRBD): a kernel worker does it.
    bool may_block = false;
  };

  static Result<std::shared_ptr<Medium>> open(const MediumOptions& options);
  /// Takes over `fd`. For open() and tests.
  UringFileMedium(std::string path, int fd, const Facts& facts);
  ~UringFileMedium() override;

  [[nodiscard]] scsi::Geometry geometry() const override { return facts_.geometry; }
  [[nodiscard]] Result<uint64_t> size_bytes() const override;
  /// Known of a thin file: what it holds, and what is free on its file system.
  [[nodiscard]] scsi::ThinUsage thin_usage() const override;
  [[nodiscard]] bool has_lost_writes() const override { return lost_writes_.load(std::memory_order_relaxed); }
  [[nodiscard]] Result<void> flush() override;
  [[nodiscard]] std::unique_ptr<Backend> make_backend(net::Ring& ring, CompletedList& completed) override;

  [[nodiscard]] const Facts& facts() const { return facts_; }
  [[nodiscard]] int fd() const { return fd_; }
  /// Zeros to write; read-only.
  [[nodiscard]] ConstBytes zeros() const { return zeros_.bytes(); }
  /// A worker's fdatasync failed. Any thread.
  void on_lost_writes() { lost_writes_.store(true, std::memory_order_relaxed); }

 private:
  std::string path_;
  int fd_;
  Facts facts_;
  TransferMemory zeros_;
  // The kernel tells of an error once per open file, so the one worker that hears of it tells the others.
  std::atomic<bool> lost_writes_{false};
};

class UringFileBackend final : public Backend {
 public:
  /// Operations of a medium that may block which the kernel has at most; the others wait here. A DRBD device
  /// whose I/O is suspended keeps a kernel worker for each of them. More than the disks below take at once.
  static constexpr uint32_t kBlockingOpsMax = 128;

  /// For metrics and tests.
  struct Counters {
    uint64_t syncs = 0;    ///< fdatasync
    uint64_t bounces = 0;  ///< parts that went through the aligned buffer
    uint64_t retries = 0;  ///< after -EAGAIN or -EINTR
  };

  UringFileBackend(std::shared_ptr<UringFileMedium> medium, net::Ring& ring, CompletedList& completed);
  ~UringFileBackend() override;

  void submit(BackendOp& op) override;
  void on_completion(BackendOp& op, int32_t result) override;
  void cancel(BackendOp& op) override;
  [[nodiscard]] const Counters& counters() const { return counters_; }

 private:
  enum class Stage : uint8_t;
  using WaitingList = IntrusiveList<BackendOp, WaitingTag>;

  void start(BackendOp& op);
  void admit(BackendOp& op);
  void leave(BackendOp& op);
  void look_up_extent(BackendOp& op);
  void transfer(BackendOp& op);
  void bounce(BackendOp& op);
  void on_transferred(BackendOp& op, uint32_t bytes);
  void change_range(BackendOp& op);
  void change_range_by_hand(BackendOp& op);
  void on_range_changed(BackendOp& op, int error);
  void reissue(BackendOp& op, int error);
  void reissue_with(BackendOp& op, net::Attempt attempt);
  void after_last_byte(BackendOp& op);
  void sync(BackendOp& op);
  void start_sync();
  void on_synced(BackendOp& leader, int error);
  void release_bounce(BackendOp& op);
  void complete(BackendOp& op, int error);
  [[nodiscard]] static uint64_t range_part(const BackendOp& op);
  [[nodiscard]] bool is_aligned(const BackendOp& op) const;

  std::shared_ptr<UringFileMedium> medium_;  // shared with the control thread, which opened it
  net::Ring& ring_;
  CompletedList& completed_;
  Counters counters_;

  // A flush covers what was written before it was asked for, so those that come while an fdatasync is under
  // way wait for the next one.
  WaitingList sync_running_;  // the first one's id travels with the fdatasync
  WaitingList sync_next_;

  // One aligned buffer for whoever has memory that the device can't take; those that come meanwhile wait.
  TransferMemory bounce_memory_;
  BackendOp* bounce_user_ = nullptr;
  WaitingList bounce_waiting_;

  // Of a medium that may block: how many operations count against kBlockingOpsMax, and those beyond.
  uint32_t blocking_ops_ = 0;
  WaitingList queued_;
  bool starting_queued_ = false;  ///< true while leave() is at it: what completes at once must not recurse

  // What fallocate turned out not to do on this medium.
  bool can_punch_;
  bool can_zero_range_ = true;
};

}  // namespace itgtd::backend
