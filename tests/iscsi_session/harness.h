// A session on its own: the test is the initiator, the worker and the kernel.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "target/iscsi/session.h"
#include "tests/iscsi_session/fake_scsi.h"

namespace itgtd::iscsi::test {

using Data = std::vector<std::byte>;

/// `size` bytes that differ with `seed` and their place.
[[nodiscard]] Data pattern(size_t size, unsigned seed);

/// A PDU that the session sent, taken off the send list: header, data, and what it had to say.
struct Sent {
  Bhs bhs{};
  Data data;
  Data trailer;
  Data header_digest;

  [[nodiscard]] Opcode op() const { return bhs.op(); }
  template <typename T>
  [[nodiscard]] const T& as() const {
    EXPECT_EQ(bhs.op(), T::kOpcode);
    return *view<T>(bytes_of(bhs));
  }
};

struct HarnessOptions {
  Parameters parameters{.initial_r2t = false};
  SessionType type = SessionType::normal;
  uint32_t tasks = 64;
  uint32_t pdus = 256;
  size_t memory_bytes = size_t{8} << 20;
  uint32_t exp_cmd_sn = 1;
  std::shared_ptr<const Directory> directory;
};

class Harness {
 public:
  explicit Harness(HarnessOptions options = {});
  /// Ends the session as a connection does, and checks that everything was given back.
  ~Harness();
  Harness(const Harness&) = delete;
  Harness& operator=(const Harness&) = delete;

  Session& session() { return *session_; }
  Slab<Task>& tasks() { return tasks_; }
  Slab<OutPdu>& pdus() { return pdus_; }
  BuddyPool& memory() { return memory_; }
  ReadyList& ready() { return ready_; }
  MemoryWaitList& waiting() { return waiting_; }
  Data& disk() { return disk_; }
  scsi::LogicalUnit& lu() { return lu_; }

  /// Header and segment as the connection would deliver them.
  template <typename T>
  void deliver(T bhs, const Data& segment = {}, bool digest_ok = true, const Data& ahs = {}) {
    bhs.data_segment_length.set(static_cast<uint32_t>(segment.size()));
    bhs.total_ahs_length = static_cast<uint8_t>(ahs.size() / 4);
    deliver_bhs(*view<Bhs>(bytes_of(bhs)), segment, digest_ok, ahs);
  }
  /// Only the header: its segment is still on its way.
  template <typename T>
  Bytes deliver_header(T bhs, uint32_t length) {
    bhs.data_segment_length.set(length);
    held_bhs_ = *view<Bhs>(bytes_of(bhs));
    held_pdu_ = {&held_bhs_, {}};
    return session_->on_header(held_pdu_);
  }
  void deliver_rest(ConstBytes segment, bool digest_ok = true) {
    session_->on_data(held_pdu_, segment, digest_ok);
  }

  /// A command with the next CmdSN.
  [[nodiscard]] ScsiCommandBhs command(uint8_t opcode, uint32_t tag, uint32_t offset, uint32_t length);
  [[nodiscard]] ScsiCommandBhs read(uint32_t tag, uint32_t offset, uint32_t length);
  [[nodiscard]] ScsiCommandBhs write(uint32_t tag, uint32_t offset, uint32_t length);
  [[nodiscard]] ScsiDataOutBhs data_out(uint32_t tag, uint32_t target_tag, uint32_t data_sn, uint32_t offset,
                                        bool final) const;
  [[nodiscard]] TaskManagementRequestBhs management(TaskManagementFunction function, uint32_t tag,
                                                    uint32_t referenced_tag = kReservedTag);
  [[nodiscard]] NopOutBhs nop_out(uint32_t tag);
  [[nodiscard]] TextRequestBhs text(uint32_t tag, uint32_t target_tag = kReservedTag);
  [[nodiscard]] LogoutRequestBhs logout(uint32_t tag, uint8_t reason, uint16_t cid = 0);

  /// Starts what is ready and finishes it at once: reads and writes `disk`.
  void run();
  /// Starts what is ready without finishing it; the oldest is first.
  std::vector<Task*> start_all();
  void finish(Task& task);
  /// Everything that waits to be sent, as if it had left.
  std::vector<Sent> take_sent();
  /// One PDU, which must be there.
  Sent take_one();
  /// The sense data's key and code, of a SCSI Response with CHECK CONDITION.
  static uint32_t sense_of(const Sent& sent);

  uint32_t cmd_sn;

 private:
  void deliver_bhs(const Bhs& bhs, const Data& segment, bool digest_ok, const Data& ahs);

  struct AlignedDelete {
    void operator()(std::byte* memory) const {
      ::operator delete[](memory, std::align_val_t{BuddyPool::kBlockBytesMax});
    }
  };
  std::unique_ptr<std::byte[], AlignedDelete> region_;
  size_t region_bytes_;
  Slab<Task> tasks_;
  Slab<OutPdu> pdus_;
  BuddyPool memory_;
  ReadyList ready_;
  MemoryWaitList waiting_;
  SessionResources resources_;
  scsi::LogicalUnit lu_;
  scsi::LunMap luns_;
  Data disk_;
  Bhs held_bhs_{};
  Pdu held_pdu_;
  std::unique_ptr<Session> session_;
};

}  // namespace itgtd::iscsi::test
