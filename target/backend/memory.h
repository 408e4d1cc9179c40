// Media without a disk: "ram:1G" keeps what is written until the daemon ends, "null:1G" forgets it at once.
//
// Both complete within submit(), except for large ranges, which are done in parts over several turns.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "target/backend/backend.h"

namespace itgtd::backend {

/// Zeroed memory, taken from the system as it is first touched.
class RamMedium final : public Medium, public std::enable_shared_from_this<RamMedium> {
 public:
  static Result<std::shared_ptr<Medium>> open(uint64_t size_bytes, const MediumOptions& options);
  ~RamMedium() override;

  [[nodiscard]] scsi::Geometry geometry() const override { return geometry_; }
  [[nodiscard]] Result<uint64_t> size_bytes() const override { return uint64_t{memory_.size()}; }
  [[nodiscard]] std::unique_ptr<Backend> make_backend(net::Ring& ring, CompletedList& completed) override;
  [[nodiscard]] Bytes memory() const { return memory_; }

 private:
  RamMedium(Bytes memory, const scsi::Geometry& geometry) : memory_(memory), geometry_(geometry) {}
  Bytes memory_;
  scsi::Geometry geometry_;
};

/// Reads as zeros, whatever was written. A buffer holds what another command, perhaps another initiator, has
/// left there, so a read is answered with zeros that are lent, or clears the buffer.
class NullMedium final : public Medium {
 public:
  NullMedium(uint64_t size_bytes, const MediumOptions& options);
  [[nodiscard]] scsi::Geometry geometry() const override { return geometry_; }
  [[nodiscard]] Result<uint64_t> size_bytes() const override { return size_bytes_; }
  [[nodiscard]] std::unique_ptr<Backend> make_backend(net::Ring& ring, CompletedList& completed) override;

 private:
  uint64_t size_bytes_;
  scsi::Geometry geometry_;
};

}  // namespace itgtd::backend
