#include "target/backend/faulty.h"

#include <unordered_set>

namespace itgtd::backend {
namespace {

size_t index_of(scsi::IoKind kind) {
  return static_cast<size_t>(kind);
}

class FaultyBackend final : public Backend {
 public:
  FaultyBackend(std::shared_ptr<FaultyMedium> medium, std::unique_ptr<Backend> inner, net::Ring& ring,
                CompletedList& completed)
      : medium_(std::move(medium)), inner_(std::move(inner)), ring_(ring), completed_(completed) {}

  void submit(BackendOp& op) override {
    op.bytes_done = 0;
    const FaultyMedium::Verdict verdict = medium_->on_start(op.io.kind);
    if (verdict.error != 0) return fail(op, verdict.error);
    if (!verdict.hold) return inner_->submit(op);
    held_.insert(&op);
    medium_->on_held(1);
    // The gate's descriptor is readable once release() was called; the ring waits for that.
    ring_.poll_readable(op.op, medium_->gate_fd());
  }

  void on_completion(BackendOp& op, int32_t result) override {
    if (held_.erase(&op) == 0) return inner_->on_completion(op, result);
    medium_->on_held(-1);
    if (result < 0) return fail(op, -result);  // cancelled while it was held
    inner_->submit(op);
  }
  void cancel(BackendOp& op) override {
    if (held_.contains(&op)) return ring_.cancel(op.op);
    inner_->cancel(op);
  }

 private:
  void fail(BackendOp& op, int error) {
    op.result = {error, 0};
    completed_.push_back(op);
  }

  std::shared_ptr<FaultyMedium> medium_;  // the test has it, too, and drives it
  std::unique_ptr<Backend> inner_;
  net::Ring& ring_;
  CompletedList& completed_;
  std::unordered_set<BackendOp*> held_;
};

}  // namespace

Result<std::shared_ptr<FaultyMedium>> FaultyMedium::wrap(std::shared_ptr<Medium> inner) {
  auto gate = net::WakeUp::create();
  if (!gate) return gate.error();
  return std::shared_ptr<FaultyMedium>(new FaultyMedium(std::move(inner), std::move(*gate)));
}

void FaultyMedium::fail(scsi::IoKind kind, uint32_t nth, int error) {
  const std::lock_guard lock(mutex_);
  faults_.push_back({kind, nth, error});
}

void FaultyMedium::hold(scsi::IoKind kind) {
  const std::lock_guard lock(mutex_);
  hold_[index_of(kind)] = true;
  gate_.clear();
}

void FaultyMedium::release() {
  const std::lock_guard lock(mutex_);
  hold_.fill(false);
  gate_.signal();
}

uint64_t FaultyMedium::started(scsi::IoKind kind) const {
  const std::lock_guard lock(mutex_);
  return started_[index_of(kind)];
}

uint64_t FaultyMedium::held() const {
  const std::lock_guard lock(mutex_);
  return held_;
}

std::unique_ptr<Backend> FaultyMedium::make_backend(net::Ring& ring, CompletedList& completed) {
  return std::make_unique<FaultyBackend>(shared_from_this(), inner_->make_backend(ring, completed), ring,
                                         completed);
}

FaultyMedium::Verdict FaultyMedium::on_start(scsi::IoKind kind) {
  const std::lock_guard lock(mutex_);
  ++started_[index_of(kind)];
  Verdict verdict{0, hold_[index_of(kind)]};
  std::erase_if(faults_, [&](Fault& fault) {
    if (fault.kind != kind || --fault.countdown > 0) return false;
    verdict.error = fault.error;
    return true;
  });
  return verdict;
}

void FaultyMedium::on_held(int change) {
  const std::lock_guard lock(mutex_);
  held_ = static_cast<uint64_t>(static_cast<int64_t>(held_) + change);
}

}  // namespace itgtd::backend
