// For tests: a medium that fails and delays the operations of another one, as it is told.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "net/mailbox.h"
#include "target/backend/backend.h"

namespace itgtd::backend {

class FaultyMedium final : public Medium, public std::enable_shared_from_this<FaultyMedium> {
 public:
  static Result<std::shared_ptr<FaultyMedium>> wrap(std::shared_ptr<Medium> inner);

  /// The `nth` operation of `kind` from now on (1: the next one) ends with `error` and does not reach the
  /// medium. Any thread; so are all below.
  void fail(scsi::IoKind kind, uint32_t nth, int error);
  /// Operations of `kind` that start from now on are done by the medium only after release().
  void hold(scsi::IoKind kind);
  /// Lets go what is held, and holds nothing any more.
  void release();
  /// How many operations of `kind` were started, held and failed ones included.
  [[nodiscard]] uint64_t started(scsi::IoKind kind) const;
  /// How many are held now.
  [[nodiscard]] uint64_t held() const;

  [[nodiscard]] scsi::Geometry geometry() const override { return inner_->geometry(); }
  [[nodiscard]] Result<uint64_t> size_bytes() const override { return inner_->size_bytes(); }
  [[nodiscard]] scsi::ThinUsage thin_usage() const override { return inner_->thin_usage(); }
  [[nodiscard]] bool has_lost_writes() const override { return inner_->has_lost_writes(); }
  [[nodiscard]] std::unique_ptr<Backend> make_backend(net::Ring& ring, CompletedList& completed) override;

  /// What is to be done with an operation that starts. For the backend.
  struct Verdict {
    int error = 0;
    bool hold = false;
  };
  [[nodiscard]] Verdict on_start(scsi::IoKind kind);
  void on_held(int change);
  /// Readable while nothing is held back.
  [[nodiscard]] int gate_fd() const { return gate_.fd(); }

 private:
  static constexpr size_t kKinds = static_cast<size_t>(scsi::IoKind::write_zeroes) + 1;
  struct Fault {
    scsi::IoKind kind;
    uint32_t countdown;
    int error;
  };
  FaultyMedium(std::shared_ptr<Medium> inner, net::WakeUp gate)
      : inner_(std::move(inner)), gate_(std::move(gate)) {}

  std::shared_ptr<Medium> inner_;  // the test may keep it, too
  net::WakeUp gate_;
  mutable std::mutex mutex_;
  std::vector<Fault> faults_;
  std::array<bool, kKinds> hold_{};
  std::array<uint64_t, kKinds> started_{};
  uint64_t held_ = 0;
};

}  // namespace itgtd::backend
